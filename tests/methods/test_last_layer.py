"""Methods of the last layer, against scikit-learn, closed forms, and limits in which they must agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from ncbench import ConfigurationError, Supervision
from ncbench_methods.last_layer import dfr as dfr_module
from ncbench_methods.last_layer.crt import CRT
from ncbench_methods.last_layer.dfr import DFR
from ncbench_methods.last_layer.fixed_features import Scaling, balanced_subset, halves
from ncbench_methods.last_layer.l1_logistic import fit_l1_logistic
from ncbench_methods.last_layer.ncm import NCM
from ncbench_methods.last_layer.tau_norm import CANDIDATES, TauNorm, normalised

from .conftest import problem

BIAS = Supervision(train="bias", val="bias")


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("C", [1.0, 0.03])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_l1_fit_is_scikit_learns(num_classes, C, weighted):
    features, target = problem(num_classes=num_classes)
    class_weight = torch.arange(1.0, num_classes + 1) if weighted else None
    reference = LogisticRegression(
        C=C,
        l1_ratio=1,
        solver="saga",
        tol=1e-8,
        max_iter=20000,
        class_weight=dict(enumerate(class_weight.tolist())) if weighted else None,
    ).fit(features.numpy(), target.numpy())
    weight, bias = fit_l1_logistic(features, target, num_classes, C, class_weight, tolerance=1e-9)
    probability = (features @ weight.T + bias).softmax(dim=1)
    np.testing.assert_allclose(probability, reference.predict_proba(features.numpy()), atol=1e-4)
    if num_classes == 2:
        np.testing.assert_allclose(2 * weight[1], reference.coef_[0], atol=1e-4)
        torch.testing.assert_close(weight[0], -weight[1])
    else:
        assert ((weight == 0) == (torch.tensor(reference.coef_).abs() < 1e-9)).all()


def test_without_strength_only_the_class_shares_are_left():
    features, target = problem()
    weight, bias = fit_l1_logistic(features, target, 3, C=1e-9, tolerance=1e-8)
    assert not weight.any()
    torch.testing.assert_close(bias.softmax(dim=0), torch.bincount(target) / len(target), check_dtype=False)


@given(st.integers(0, 100), st.floats(1e-3, 1.0), st.integers(2, 5))
@settings(max_examples=15, deadline=None)
def test_no_small_change_of_a_fit_is_better(seed, C, num_classes):
    features, target = problem(40, 5, num_classes, seed)

    def objective(weight, bias):
        return C * F.cross_entropy(features @ weight.T + bias, target, reduction="sum") + weight.abs().sum()

    weight, bias = fit_l1_logistic(features, target, num_classes, C, tolerance=1e-9)
    generator = torch.Generator().manual_seed(seed)
    for size in (1e-2, 1e-3):
        change = size * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        shift = size * torch.randn(bias.shape, generator=generator, dtype=torch.float64)
        assert objective(weight, bias) <= objective(weight + change, bias + shift) + 1e-9


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.floats(-1e3, 1e3), st.floats(1e-2, 1e2))
@settings(deadline=None)
def test_scaling_in_batches_is_scikit_learns_and_folds_back(sizes, centre, spread):
    generator = torch.Generator().manual_seed(0)
    features = centre + spread * torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64)
    features[:, 3] = 0.1  # constant, and not exactly so in a sum
    scaling = Scaling.of(iter(features.split(sizes)))
    scaler = StandardScaler().fit(features.numpy())
    np.testing.assert_allclose(scaling(features)[:, :3], scaler.transform(features.numpy())[:, :3], atol=1e-6)
    assert scaling.std[3] == 1
    weight, bias = torch.randn(2, 4, generator=generator).double(), torch.randn(2, generator=generator).double()
    folded, shifted = scaling.fold(weight, bias)
    torch.testing.assert_close(features @ folded.T + shifted, scaling(features) @ weight.T + bias, rtol=1e-6, atol=1e-6)


def test_units_that_are_nearly_dead_get_no_huge_weight():
    features, _ = problem()
    dead = torch.rand(len(features), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-8
    scaling = Scaling.of([torch.cat([features, dead], dim=1)])
    folded, _ = scaling.fold(torch.ones(3, features.shape[1] + 1, dtype=torch.float64), torch.zeros(3).double())
    assert folded[:, -1].abs().max() <= folded[:, :-1].abs().max() * 10
    torch.testing.assert_close(scaling.std[:-1], features.std(dim=0, correction=0))


@given(st.integers(1, 50), st.integers(0, 5))
def test_halves_deal_out_every_image_once(number, seed):
    first, second = halves(number, torch.Generator().manual_seed(seed))
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(number))
    assert len(first) - len(second) in (0, 1)


@given(st.lists(st.sampled_from([0, 2, 3]), min_size=1, max_size=40), st.integers(0, 5))
def test_a_balanced_subset_has_as_many_of_each_cell_as_the_smallest(cells, seed):
    cell = torch.tensor(cells)
    drawn = balanced_subset(cell, torch.Generator().manual_seed(seed))
    count = torch.bincount(cell)
    assert len(drawn.unique()) == len(drawn)
    assert torch.bincount(cell[drawn], minlength=len(count)).tolist() == [
        int(count[count > 0].min()) if each else 0 for each in count
    ]


def test_dfr_is_the_mean_of_scikit_learns_fits_on_balanced_subsets(toy_of, built, monkeypatch):
    toy = toy_of(num_images=90, num_bias=2)
    method, _ = built(DFR, toy, BIAS)
    drawn = []

    def noted(cell, generator):
        drawn.append(balanced_subset(cell, generator))
        return drawn[-1]

    monkeypatch.setattr(dfr_module, "balanced_subset", noted)
    monkeypatch.setattr(dfr_module, "REGULARISATION", (0.3,))
    method.finish(toy.split("train"), toy.split("val"))
    assert len(drawn) == 21
    with torch.no_grad():
        features = method.features(toy.images).numpy()
    scaled = StandardScaler().fit(features).transform(features)
    group = toy.target * 2 + toy.bias
    logits = np.zeros((90, 3))
    for positions in drawn[1:]:
        assert torch.bincount(group[positions], minlength=6).unique().tolist() == [int(torch.bincount(group).min())]
        fit = LogisticRegression(C=0.3, l1_ratio=1, solver="saga", tol=1e-7, max_iter=20000)
        fit.fit(scaled[positions], toy.target[positions])
        logits += fit.decision_function(scaled) / 20
    probability = torch.tensor(logits).softmax(dim=1)
    with torch.no_grad():
        torch.testing.assert_close(method(toy.images).softmax(dim=1), probability, rtol=1e-3, atol=1e-3)
    assert method.report["C"] == 0.3
    assert method.report["images_a_group"] == torch.bincount(group).min()


def test_dfr_on_balanced_images_fits_the_same_every_time(toy_of, built, monkeypatch):
    toy = toy_of(num_images=60, num_classes=2, num_bias=2)
    toy.bias[:] = torch.arange(60) // 2 % 2
    method, _ = built(DFR, toy, BIAS)
    fits = []

    def noted(*arguments):
        fits.append(fit_l1_logistic(*arguments))
        return fits[-1]

    monkeypatch.setattr(dfr_module, "fit_l1_logistic", noted)
    method.finish(toy.split("train"), toy.split("val"))
    assert len(fits) == 7 + 20
    for weight, bias in fits[8:]:
        torch.testing.assert_close(weight, fits[7][0], rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(bias, fits[7][1], rtol=1e-2, atol=1e-3)


def test_dfr_on_training_images_tunes_a_class_weight_too(toy_of, built, monkeypatch):
    monkeypatch.setattr(dfr_module, "REGULARISATION", (0.1, 0.01))
    toy = toy_of(num_images=60, num_classes=2, num_bias=2)
    method, _ = built(DFR, toy, BIAS, data="train")
    tried = []

    def noted(features, target, num_classes, C, class_weight):
        tried.append((C, None if class_weight is None else tuple(class_weight.tolist())))
        return fit_l1_logistic(features, target, num_classes, C, class_weight)

    monkeypatch.setattr(dfr_module, "fit_l1_logistic", noted)
    method.finish(toy.split("train"), toy.split("val"))
    assert len(tried) == 2 * 13 + 10
    assert {weights for _, weights in tried if weights} == {(w, 1.0) for w in (2, 3, 10, 100, 300, 1000)} | {
        (1.0, w) for w in (2, 3, 10, 100, 300, 1000)
    }
    assert method.report.keys() >= {"C", "chosen_by_worst_group_accuracy", "images_a_group"}


def test_dfr_uses_no_training_bias_unless_it_fits_on_training_images():
    assert DFR.supervision(DFR.Parameters(), BIAS) == Supervision(val="bias")
    assert DFR.supervision(DFR.Parameters(data="train"), BIAS) == BIAS


def test_dfr_refuses_a_group_without_validation_images_by_name(toy_of, make):
    toy = toy_of(num_images=60, num_classes=2, num_bias=2)
    toy.bias[toy.target == 1] = 0
    with pytest.raises(ConfigurationError, match=r"none of class 1 with bias 1\..*crt"):
        make(DFR, toy, BIAS)


@pytest.mark.parametrize(("method_class", "values"), [(DFR, {}), (TauNorm, {}), (NCM, {}), (CRT, {})])
def test_the_backbone_stays_as_it_was_in_training_mode_too(toy, built, method_class, values):
    method, base = built(method_class, toy, BIAS, **values)
    method.train()
    if method.stages(1):
        method.loss(toy.batch()).backward()
        assert all(parameter.grad is None for parameter in method.backbone.parameters())
        assert method.classifier.weight.grad.any()
        parameters = {id(parameter) for group in method.parameter_groups() for parameter in group["params"]}
        assert parameters == set(map(id, method.classifier.parameters()))
    else:
        method.eval()
        method.finish(toy.split("train"), toy.split("val"))
    kept = base.backbone.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in method.backbone.state_dict().items())


@pytest.mark.parametrize("by", ["class", "group"])
def test_crt_on_balanced_images_is_the_same_however_it_balances(toy_of, built, by):
    toy = toy_of(num_images=60, num_classes=2, num_bias=2)
    toy.bias[:] = torch.arange(60) // 2 % 2
    losses = []
    for balance in ("none", "weight", "sample"):
        method, _ = built(CRT, toy, BIAS, balance=balance, by=by)
        losses.append(method.train().loss(toy.batch()).item())
        if balance == "sample":
            orders = [method.order(toy.split(), torch.Generator().manual_seed(seed)) for seed in range(300)]
            seen = torch.bincount(torch.cat(orders), minlength=60) / (300 * 60)
            assert seen.tolist() == pytest.approx([1 / 60] * 60, abs=0.006)
        else:
            assert sorted(method.order(toy.split(), torch.Generator()).tolist()) == list(range(60))
    assert losses[1:] == pytest.approx([losses[0]] * 2)


def test_crt_converges_to_scikit_learns_logistic_regression(toy_of, built):
    toy = toy_of(num_images=90)
    method, _ = built(CRT, toy, balance="weight")
    method.train()
    optimizer = torch.optim.LBFGS(method.classifier.parameters(), max_iter=300, line_search_fn="strong_wolfe")
    penalty = 0.01

    def closure():
        optimizer.zero_grad()
        loss = method.loss(toy.batch(bias=False)) + penalty / 2 * method.classifier.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        features = method.features(toy.images)
        ours = method(toy.images).softmax(dim=1)
    fit = LogisticRegression(C=1 / (90 * penalty), class_weight="balanced", tol=1e-8, max_iter=5000)
    fit.fit(features.numpy(), toy.target.numpy())
    np.testing.assert_allclose(ours, fit.predict_proba(features.numpy()), atol=1e-3)


def test_crt_declares_bias_labels_only_where_it_balances_groups(toy, make):
    declared = Supervision(train="bias")
    used = [
        CRT.supervision(CRT.Parameters(balance=balance, by=by), declared).train
        for balance, by in (("sample", "class"), ("weight", "class"), ("none", "group"), ("sample", "group"))
    ]
    assert used == ["none", "none", "none", "bias"]
    with pytest.raises(ConfigurationError, match="crt:by=class"):
        make(CRT, toy, declared, by="group", bias_known=False)


def test_tau_of_0_is_erm_without_its_bias_and_of_1_has_unit_rows(toy, built):
    for tau in (0.0, 1.0):
        method, base = built(TauNorm, toy, tau=tau)
        method.finish(toy.split("train", bias=False), None)
        features = base.features(toy.images)
        if tau == 0:
            torch.testing.assert_close(method(toy.images), features @ base.classifier.weight.T)
        else:
            torch.testing.assert_close(method.classifier.weight.norm(dim=1), torch.ones(3).double())
        assert method.classifier_parameters()[1] is None
        assert method.report == {"tau": tau}


def test_tau_is_the_best_by_class_means_on_validation_images(toy_of, built):
    toy = toy_of(num_images=60)
    method, base = built(TauNorm, toy)
    with torch.no_grad():
        base.classifier.weight[0] *= 4  # a class that takes too much
    method.start_from(base)
    method.finish(toy.split("train", bias=False), toy.split("val", bias=False))
    with torch.no_grad():
        features = base.features(toy.images)
        predicted = [(features @ normalised(base.classifier.weight, tau).T).argmax(dim=1) for tau in CANDIDATES]
    means = [
        float(torch.stack([(each == toy.target)[toy.target == k].double().mean() for k in range(3)]).mean())
        for each in predicted
    ]
    assert method.report["tau"] == CANDIDATES[means.index(max(means))]
    assert method.report["chosen_by_class_mean_accuracy"] == pytest.approx(max(means))


def test_a_row_of_zeros_stays_one():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert normalised(weight, 1.0).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]


def test_ncm_is_scikit_learns_nearest_centroid(toy_of, built):
    toy = toy_of(num_images=60)
    method, _ = built(NCM, toy)
    method.finish(toy.split("train", bias=False), None)
    with torch.no_grad():
        features = method.features(toy.images)
        predicted = method(toy.images).argmax(dim=1)
    assert predicted.tolist() == NearestCentroid().fit(features, toy.target).predict(features).tolist()


def test_ncm_never_predicts_a_class_without_training_images(toy_of, built):
    toy = toy_of(num_images=60, num_classes=3)
    toy.target[toy.target == 1] = 2
    method, _ = built(NCM, toy)
    method.finish(toy.split("train", bias=False), None)
    logits = method(toy.images)
    assert torch.isfinite(logits).all()
    assert not (logits.argmax(dim=1) == 1).any()
