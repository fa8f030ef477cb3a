"""What must hold for every built-in method, whatever it does."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

import ncbench_backbones
import ncbench_methods
from ncbench import Method, Supervision
from ncbench.contracts.specs import Spec
from ncbench.contracts.task import Progress
from ncbench.training.recipe import Recipe

from .conftest import Toy, ToyBackbone, total

CARDS = {card.name: card for card in ncbench_methods.ncbench_methods()}
BACKBONES = {card.name: card for card in ncbench_backbones.ncbench_backbones()}
each_method = pytest.mark.parametrize("name", sorted(CARDS))
# Fitted after training alone, if at all.
FITTED = {name for name, card in CARDS.items() if not card.trains}
each_trained_method = pytest.mark.parametrize("name", sorted(CARDS.keys() - FITTED))
# Others learn on the features of a base, which there is none of here.
each_method_without_a_base = pytest.mark.parametrize(
    "name", sorted(name for name, card in CARDS.items() if not card.builds_on)
)

# With which the toy is learned: its two dozen images of noise make little of few errors and of few images.
ON_THE_TOY = {
    **{"jtt": {"upweight": 2}, "mmd": {"weight": 0.1}, "flac": {"weight": 10.0}, "subsample": {"redraw": True}},
    **{"lc": {"mix_epochs": 60}, "irm": {"weight": 1.0}},
    **{"afr": {"penalty": 10.0}, "bias_contrastive": {"ce_weight": 1.0}},
}
# Each head saw a third of the images, and the others outvote it; an erm saw four fifths.
LEARNED = {"domain_independent": 0.6, "afr": 0.7}


@pytest.fixture
def build(toy, make):
    def build_method(name: str, **values: object) -> Method:
        return make(CARDS[name].load(), toy, CARDS[name].supervision, **values)

    return build_method


@each_method
def test_it_cites_its_source_and_documents_its_parameters(name):
    method_class = CARDS[name].load()
    assert CARDS[name].citation
    assert inspect.getdoc(method_class) != inspect.getdoc(Method)
    for key, _, _, description in method_class.Parameters.describe():
        assert description, key


@each_method
def test_its_published_settings_are_valid(name):
    method_class = CARDS[name].load()
    for dataset, published in method_class.published.items():
        assert published.source
        method_class.Parameters.build(published.parameters, owner=name)
        Recipe.build(published.recipe, owner=dataset)
        if published.backbone is not None:
            backbone = Spec.parse(published.backbone)
            BACKBONES[backbone.name].load().Parameters.build(backbone.parameters, owner=dataset)


@each_method_without_a_base
def test_it_trains_through_all_its_stages_and_learns_the_toy(name, toy, build):
    # Without BatchNorm in the toy: an up-weighted epoch may end with a batch of one image.
    method = build(name, norm=False, **ON_THE_TOY.get(name, {}))
    split = toy.split(bias=CARDS[name].supervision.train == "bias")
    generator = torch.Generator().manual_seed(0)
    for stage in method.stages(30):
        method.progress = Progress(stage.name, 0, stage.epochs)
        method.start_stage(stage, split, None)
        method.double().train()
        optimizer = torch.optim.Adam(method.parameter_groups(), lr=0.01)
        for epoch in range(stage.epochs):
            method.progress = Progress(stage.name, epoch, stage.epochs)
            for step, index in enumerate(method.order(split, generator).split(12)):
                method.progress = Progress(stage.name, epoch, stage.epochs, step, 2)
                loss = total(method.loss(toy.batch(index, bias=CARDS[name].supervision.train == "bias")))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        method.eval()
        method.finish(split, toy.split("val", bias=False))
    assert (method.eval()(toy.images).argmax(1) == toy.target).float().mean() > LEARNED.get(name, 0.8)


def uneven(toy: Toy) -> Toy:
    """Give a toy uneven classes, and an attribute that goes along with them."""
    toy.target[:] = torch.tensor([0] * 12 + [1] * 8 + [2] * 4)
    toy.bias[:] = torch.where(torch.arange(24) % 4 == 0, (toy.target + 1) % 3, toy.target)
    return toy


def logits_after(method: Method, toy: Toy) -> torch.Tensor:
    """Return a method's logits after ten epochs, each stage of the same batches whatever its `order` is.

    By Adam, to which a multiple of a loss is the same loss.
    """
    split = toy.split()
    for stage in method.stages(10):
        method.progress = Progress(stage.name, 0, stage.epochs)
        method.eval()
        method.start_stage(stage, split, None)
        method.double().train()
        if not stage.continues:
            generator = torch.Generator().manual_seed(0)
            optimizer = torch.optim.Adam(method.parameter_groups(), lr=0.01, eps=1e-12)
        for epoch in range(stage.epochs):
            for step, index in enumerate(torch.randperm(24, generator=generator).split(12)):
                method.progress = Progress(stage.name, epoch, stage.epochs, step, 2)
                loss = total(method.loss(toy.batch(index)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    method.eval()
    method.finish(split, toy.split("val"))
    return method(toy.images).detach()


# The loss is erm's, and what differs is which images an epoch visits: tested where they are drawn.
DRAWN = {"resample", "subsample", "pde"}


@pytest.mark.parametrize("name", sorted(n for n, card in CARDS.items() if not card.builds_on and n != "erm"))
@pytest.mark.parametrize("given", [False, True], ids=["features are learned", "features are given"])
def test_none_is_erm_in_disguise(name, given, toy_of, make):
    if given and CARDS[name].load().learns_features:
        return  # a run refuses it
    toy = uneven(toy_of())
    ours, erms = (
        logits_after(make(CARDS[each].load(), toy, CARDS[each].supervision, norm=False, given=given), toy)
        for each in (name, "erm")
    )
    assert torch.allclose(ours, erms, rtol=1e-3, atol=1e-4) == (name in DRAWN)


def test_those_that_are_refused_where_features_are_given_are_these():
    assert {name for name, card in CARDS.items() if card.load().learns_features} == {
        *("mmd", "coral", "end", "dann", "badd", "flac"),
        *("cnc", "bias_contrastive", "softcon"),
        *("rebias", "denetdm", "disent"),
        *("fixed_etf", "fixed_seli"),
    }


@each_method
def test_predictions_and_the_classifier_agree(name, toy, build):
    method = build(name).eval()
    features = method.features(toy.images)
    torch.testing.assert_close(method.classify(features), method(toy.images))
    if (parameters := method.classifier_parameters()) is None:
        return
    weight, bias = parameters
    torch.testing.assert_close(features @ weight.T + (0 if bias is None else bias), method(toy.images))


@each_method
def test_the_same_seed_builds_the_same_method(name, build):
    first, second = build(name).state_dict(), build(name).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@each_trained_method
def test_its_loss_keeps_float32_state_under_autocast(name, toy, build):
    method = build(name).float()
    batch = toy.batch(bias=CARDS[name].supervision.train == "bias")
    batch = type(batch)(batch.images.float(), batch.target, batch.index, batch._bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method.loss(batch)
    for term in [terms] if isinstance(terms, torch.Tensor) else terms.values():
        assert term.dtype == torch.float32
        assert torch.isfinite(term)
    assert all(value.dtype != torch.bfloat16 for value in method.state_dict().values())


# What the literature says of them, a line a family; the others use nothing but the target.
USES = {
    Supervision(train="bias"): {
        *("group_dro", "reweight", "sqrt_reweight", "resample", "subsample", "pde", "bpa"),
        *("bias_balance", "learned_mixin", "rubi"),
        *("shortcut_prime",),
        *("irm", "vrex", "mmd", "coral", "domain_independent"),
        *("dann", "pgi", "fishr", "end", "badd", "flac"),
        *("crt",),
        *("cnc",),
        *("bias_contrastive",),
        *("lisa",),
    },
    Supervision(train="bias", val="bias"): {"dfr"},
    Supervision(val="bias"): {"dpe", "dispel", "evals"},
    Supervision(hierarchy=True): {"haframe", "soft_labels", "hxe", "crm", "hier_cos"},
}


def test_supervision_is_what_the_literature_says():
    for used, names in USES.items():
        assert {name for name, card in CARDS.items() if card.supervision == used} == names
    others = CARDS.keys() - set().union(*USES.values())
    assert all(CARDS[name].supervision == Supervision() for name in others)
    assert others >= {
        *("erm", "fixed_etf", "fixed_seli", "lff", "jtt", "tau_norm", "ncm"),
        *("lws", "afr", "self_llr", "softcon"),
        *("logit_adjustment", "balanced_softmax", "vs_loss", "ldam", "focal", "cb_loss"),
        *("cvar_dro", "chi2_dro", "spectral_decoupling", "mixup"),
        *(
            "disent",
            "lc",
            "bias_ensemble",
            "dpr",
            "bam",
            "denetdm",
            "ecs_ga",
            "debian",
            "rebias",
            "selecmix",
            "masktune",
        ),
    }


@pytest.mark.parametrize(
    ("name", "values"), [("erm", {}), ("erm", {"classifier_bias": False}), ("shortcut_prime", {}), ("lff", {})]
)
def test_linear_classifiers_are_drawn_as_the_network_prescribes(name, values, build, monkeypatch):
    monkeypatch.setattr(
        ToyBackbone, "init_classifier", lambda self, classifier: nn.init.constant_(classifier.weight, 7)
    )
    method = build(name, **values)
    classifiers = [method.classifier, *([method.biased[1]] if name == "lff" else [])]
    assert all((classifier.weight == 7).all() for classifier in classifiers)
