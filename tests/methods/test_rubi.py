"""rubi: logits masked by a table of the attribute."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench import Supervision
from ncbench_methods.erm import ERM
from ncbench_methods.imbalance.rubi import RUBi

from .conftest import total

BIAS = Supervision(train="bias")


def test_it_is_its_formula_with_a_row_of_the_table_for_each_value(toy, make):
    method = make(RUBi, toy, BIAS, weight=0.3)
    batch = toy.batch(torch.arange(11))
    table = method.branch.weight.T + method.branch.bias  # (B, K)
    masked = torch.stack([z * table[b].sigmoid() for z, b in zip(method(batch.images), batch.bias, strict=True)])
    terms = method.loss(batch)
    torch.testing.assert_close(terms["masked"], F.cross_entropy(masked, batch.target))
    of_branch = F.cross_entropy(method.branch_classifier(table)[batch.bias], batch.target)
    torch.testing.assert_close(terms["branch"], 0.3 * of_branch)


def test_with_an_open_mask_the_network_is_erms(toy, make):
    method, erm = make(RUBi, toy, BIAS), make(ERM, toy)
    torch.nn.init.zeros_(method.branch.weight)
    torch.nn.init.constant_(method.branch.bias, 100.0)
    assert method.loss(toy.batch())["masked"].item() == pytest.approx(erm.loss(toy.batch(bias=False)).item())
    assert torch.equal(method.eval()(toy.images), erm.eval()(toy.images))


def test_each_term_teaches_its_own_part_and_both_teach_the_table(toy, make):
    method = make(RUBi, toy, BIAS)
    terms = method.loss(toy.batch())
    network = [*method.backbone.parameters(), *method.classifier.parameters()]
    parts = (network, list(method.branch.parameters()), list(method.branch_classifier.parameters()))
    taught = {}
    for name, term in terms.items():
        gradients = [torch.autograd.grad(term, part, retain_graph=True, allow_unused=True) for part in parts]
        taught[name] = [any(each is not None and bool(each.any()) for each in part) for part in gradients]
    assert taught == {"masked": [True, True, False], "branch": [False, True, True]}


def test_the_mask_opens_for_what_the_attribute_says(toy, make):
    method = make(RUBi, toy, BIAS)
    toy.bias[:] = toy.target  # the attribute says it all
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        total(method.loss(toy.batch())).backward()
        optimizer.step()
    table = (method.branch.weight.T + method.branch.bias).detach()
    assert (method.branch_classifier(table).argmax(dim=1) == torch.arange(3)).all()
