"""Last layers that are refitted, finetuned, scaled or replaced by prototypes, against definitions and their limits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench import ConfigurationError, Supervision
from ncbench.contracts.method import Stage
from ncbench_methods.invariance.environments import scale_gradients
from ncbench_methods.last_layer import dispel as dispel_module
from ncbench_methods.last_layer.afr import AFR, AFRParameters, hardness_weights, refit
from ncbench_methods.last_layer.dispel import DISPEL, mixing_pairs
from ncbench_methods.last_layer.dpe import DPE, distances
from ncbench_methods.last_layer.evals import EVaLS, candidates, extremes
from ncbench_methods.last_layer.fixed_features import Scaling, halves
from ncbench_methods.last_layer.l1_logistic import fit_l1_logistic
from ncbench_methods.last_layer.lws import LWS
from ncbench_methods.last_layer.self_llr import SELF, highest

from .conftest import problem

BIAS = Supervision(train="bias", val="bias")
VAL_BIAS = Supervision(val="bias")


class TestAFR:
    START = torch.zeros(3, 6, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)

    def test_weights_fall_with_the_probability_and_even_out_classes(self):
        logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
        target = torch.tensor([0, 0, 0, 1])
        weight = hardness_weights(logits, target, gamma=4.0)
        p = logits.softmax(dim=1)
        raw = [torch.exp(-4 * p[i, y]) * 4 / (3 if y == 0 else 1) for i, y in enumerate(target.tolist())]
        torch.testing.assert_close(weight, torch.stack(raw) / sum(raw))

    def test_without_gamma_and_with_equal_classes_it_is_cross_entropy(self):
        features, _ = problem(30, 6)
        target = torch.arange(30) % 3
        weight = hardness_weights(features[:, :3], target, gamma=0.0)
        torch.testing.assert_close(weight, torch.full((30,), 1 / 30, dtype=torch.float64))
        moved, _ = refit(features, target, weight, self.START, AFRParameters(lr=0.1, steps=1))
        W = self.START[0].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(features @ W.T, target), W)
        assert gradient.norm() < 1  # so nothing is clipped
        torch.testing.assert_close(moved, -0.1 * gradient)

    @pytest.mark.parametrize("penalty", [0.05, 0.5])
    def test_with_a_penalty_it_converges_to_what_lbfgs_finds(self, penalty):
        features, target = problem(90, 6)
        generator = torch.Generator().manual_seed(1)
        start = torch.randn(3, 6, generator=generator).double(), torch.randn(3, generator=generator).double()
        weight = hardness_weights(features @ start[0].T + start[1], target, gamma=3.0)
        found = refit(features, target, weight, start, AFRParameters(penalty=penalty, lr=0.3, steps=1000))
        W, b = (part.clone().requires_grad_() for part in start)
        exactly = {"tolerance_grad": 1e-12, "tolerance_change": 1e-16, "line_search_fn": "strong_wolfe"}
        optimizer = torch.optim.LBFGS([W, b], max_iter=500, **exactly)

        def closure():
            optimizer.zero_grad()
            losses = F.cross_entropy(features @ W.T + b, target, reduction="none")
            distance = (W - start[0]).square().sum() + (b - start[1]).square().sum()
            loss = (weight * losses).sum() + penalty * distance
            loss.backward()
            return loss

        optimizer.step(closure)
        torch.testing.assert_close(found[0], W.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[1], b.detach(), rtol=1e-5, atol=1e-6)

    def test_a_large_penalty_keeps_the_erm(self):
        features, target = problem(90, 6)
        start = torch.ones(3, 6).double(), torch.zeros(3).double()
        weight = hardness_weights(features @ start[0].T, target, gamma=3.0)
        moved, _ = refit(features, target, weight, start, AFRParameters(penalty=1e3, lr=1e-4, steps=100))
        assert (moved - start[0]).abs().max() < 1e-3

    def test_a_step_is_never_longer_than_the_learning_rate(self):
        features, target = problem(90, 6)
        weight = hardness_weights(features[:, :3], target, gamma=0.0)
        moved, shift = refit(1e4 * features, target, weight, self.START, AFRParameters(lr=0.5, steps=1))
        assert torch.cat([moved.flatten(), shift]).norm().item() == pytest.approx(0.5)

    def test_the_erm_sees_four_fifths_and_the_refit_the_rest(self, toy_of, make):
        toy = toy_of(num_images=50)
        method = make(AFR, toy)
        split = toy.split("train", bias=False)
        orders = [method.order(split, torch.Generator().manual_seed(seed)) for seed in range(3)]
        assert all(len(order) == 40 and len(order.unique()) == 40 for order in orders)
        assert len({frozenset(order.tolist()) for order in orders}) == 1
        assert len({tuple(order.tolist()) for order in orders}) == 3
        other = set(range(50)) - set(orders[0].tolist())
        seen = []

        def noted(view, index):
            seen.extend(index.tolist())
            return AFR.features_of(method, view, index)

        method.eval().features_of = noted
        method.finish(split, None)
        assert set(seen) == other
        assert 1 <= method.report["effective_images"] <= 10


class TestSELF:
    def test_of_equal_scores_the_first_are_taken(self):
        assert highest(torch.zeros(9), 4).tolist() == [0, 1, 2, 3]
        assert highest(torch.tensor([1.0, 3.0, 4.0, 3.0]), 2).tolist() == [1, 2]

    def test_stages_are_one_training_cut_in_two(self, toy, make):
        method = make(SELF, toy, early=0.2)
        assert method.stages(10) == [Stage("early", 2), Stage("train", 8, continues=True)]
        assert method.stages(1) == [Stage("early", 0), Stage("train", 1)]
        assert make(SELF, toy, score="loss").stages(10) == [Stage("train", 10)]

    def test_scores_are_the_divergence_of_the_early_from_the_last_prediction(self, toy, make):
        method = make(SELF, toy).eval()
        val = toy.split("val", bias=False)
        method.start_stage(Stage("train", 1, continues=True), toy.split("train", bias=False), val)
        index = torch.tensor([3, 0, 7])
        torch.testing.assert_close(method._scores(val, index), torch.zeros(3).double(), atol=1e-12, rtol=0)
        early = method(toy.images)[index].log_softmax(dim=1)
        with torch.no_grad():
            method.classifier.weight.mul_(3)
        last = method(toy.images)[index].log_softmax(dim=1)
        expected = F.kl_div(last, early, log_target=True, reduction="none").sum(dim=1)
        torch.testing.assert_close(method._scores(val, index), expected)
        method = make(SELF, toy, score="loss").eval()
        expected = F.cross_entropy(method(toy.images)[index], toy.target[index], reduction="none")
        torch.testing.assert_close(method._scores(val, index), expected)

    def test_with_all_images_it_is_class_balanced_retraining_whatever_the_scores(self, toy_of, make):
        toy = toy_of(num_images=40)
        toy.target[:20] = 0
        val = toy.split("val", bias=False)
        results = []
        for factor in (1.0, 3.0):
            method = make(SELF, toy, images=1000, lr=0.3, steps=5, global_seed=2).eval()
            method.start_stage(Stage("train", 1, continues=True), val, val)
            with torch.no_grad():
                method.early[1].weight.mul_(factor)
            start = [p.detach().clone().requires_grad_() for p in method.classifier.parameters()]
            method.finish(val, val)
            results.append([p.detach().clone() for p in method.classifier.parameters()])
        held_out = halves(40, method.task.generator("self_llr"))[0].sort().values
        features, target = method.features(toy.images[held_out]).detach(), toy.target[held_out]
        share = 1 / torch.bincount(target)[target].double()
        generator = method.task.generator("self_llr steps")
        optimizer = torch.optim.SGD(start, lr=0.3, momentum=0.9, weight_decay=1e-4)
        for _ in range(5):
            drawn = torch.multinomial(share, 32, replacement=True, generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(F.linear(features[drawn], *start), target[drawn]).backward()
            optimizer.step()
        for found in results:
            torch.testing.assert_close(found, [p.detach() for p in start])

    def test_only_the_last_layer_changes_and_only_by_held_out_images(self, toy_of, make):
        toy = toy_of(num_images=40)
        method = make(SELF, toy, images=5).eval()
        val = toy.split("val", bias=False)
        method.start_stage(Stage("train", 1, continues=True), val, val)
        before = {name: value.clone() for name, value in method.state_dict().items()}
        method.finish(toy.split("train", bias=False), val)
        changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {"classifier.weight", "classifier.bias"}
        optimised = {id(p) for group in method.parameter_groups() for p in group["params"]}
        assert not optimised & set(map(id, method.early.parameters()))


class TestLWS:
    def test_it_starts_as_the_erm_and_trains_the_scales_alone(self, toy, built):
        method, base = built(LWS, toy)
        torch.testing.assert_close(method(toy.images), base(toy.images))
        method.train().loss(toy.batch(bias=False)).backward()
        assert [name for name, p in method.named_parameters() if p.grad is not None] == ["scale"]
        with torch.no_grad():
            method.scale.copy_(torch.tensor([1.0, 2.0, -1.0]))
        torch.testing.assert_close(method.eval()(toy.images), base(toy.images) * torch.tensor([1.0, 2.0, -1.0]))

    def test_classes_are_drawn_equally_often(self, toy, built):
        toy.target[:16] = 0
        method, _ = built(LWS, toy)
        split = toy.split("train", bias=False)
        drawn = torch.cat([method.order(split, torch.Generator().manual_seed(seed)) for seed in range(200)])
        assert torch.bincount(toy.target[drawn]) / len(drawn) == pytest.approx([1 / 3] * 3, abs=0.02)


class TestDPE:
    def fitted(self, built, toy, **values):
        method, _ = built(DPE, toy, VAL_BIAS, **{"heads": 2, "epochs": 2, "batch_size": 8, **values})
        method.finish(toy.split("train"), toy.split("val"))
        return method

    def test_one_head_is_an_isomax_head(self, toy_of, built):
        method = self.fitted(built, toy_of(num_images=60, num_bias=2), heads=1)
        images = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        h, p, s = method.features(images), method.prototypes[0], method.scales[0]
        by_hand = torch.stack(
            [torch.stack([-s.abs() * (row / row.norm() - each / each.norm()).norm() for each in p]) for row in h]
        )
        torch.testing.assert_close(method(images), by_hand.log_softmax(dim=1))
        assert method.classifier_parameters() is None

    def test_a_head_without_diversity_minimises_isomaxs_loss(self, toy_of, built):
        toy = toy_of(num_images=60, num_bias=2)
        method, _ = built(DPE, toy, VAL_BIAS, heads=1, epochs=1, batch_size=1000, lr=0.1)
        unit = F.normalize(method.features(toy.images).detach(), dim=1)
        ((prototypes, scale),) = method._epochs(unit, toy.target, 0, 0.0, torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(0)
        start = (0.01 * torch.randn(3, 7, generator=generator, dtype=torch.float64)).requires_grad_()
        s = torch.ones((), dtype=torch.float64, requires_grad=True)
        far = s.abs() * (unit[:, None] - start / start.norm(dim=1, keepdim=True)).norm(dim=2)
        loss = F.cross_entropy(-30 * far, toy.target) + 10 * start.norm(dim=1).square().mean()
        to_start, to_s = torch.autograd.grad(loss, (start, s))
        torch.testing.assert_close(prototypes, (start - 0.1 * to_start).detach())
        torch.testing.assert_close(scale, (s - 0.1 * to_s).detach())

    def test_diversity_is_the_modulus_of_the_summed_similarities(self, toy_of, built):
        toy = toy_of(num_images=60, num_bias=2)
        method, _ = built(DPE, toy, VAL_BIAS, heads=3, epochs=1, batch_size=1000, lr=0.1)
        unit = F.normalize(method.features(toy.images).detach(), dim=1)
        generator = torch.Generator().manual_seed(5)
        method.prototypes[:2] = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)
        moved = [
            next(iter(method._epochs(unit, toy.target, 2, c, torch.Generator().manual_seed(0))))[0] for c in (0.0, 40.0)
        ]
        start = 0.01 * torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        start.requires_grad_()
        pairs = [(start[k] * method.prototypes[q, k]).sum() for k in range(3) for q in range(2)]
        similarity = (sum(pairs) / 3).abs() / (6 * 3)
        (gradient,) = torch.autograd.grad(40 * similarity, start)
        torch.testing.assert_close(moved[1], moved[0] - 0.1 * gradient)

    def test_the_weight_of_the_diversity_falls_from_the_third_head_on(self, toy_of, built, monkeypatch):
        weights = []

        def noted(method, features, target, head, diversity, generator):
            weights.append(diversity)
            yield torch.ones(3, 7).double(), torch.ones(()).double()

        monkeypatch.setattr(DPE, "_epochs", noted)
        self.fitted(built, toy_of(num_images=60, num_bias=2), heads=4, diversity=100.0)
        assert weights == pytest.approx([100, 100, 100 / 1.05, 100 / 1.1])

    def test_equal_heads_are_one_head_and_their_order_is_irrelevant(self, toy_of, built):
        toy = toy_of(num_images=60, num_bias=2)
        method = self.fitted(built, toy, heads=3)
        logits = method(toy.images)
        torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(60).double())
        order = torch.tensor([2, 0, 1])
        method.prototypes.copy_(method.prototypes[order])
        method.scales.copy_(method.scales[order])
        torch.testing.assert_close(method(toy.images), logits)
        method.prototypes.copy_(method.prototypes[:1].expand(3, -1, -1).clone())
        method.scales.fill_(2.0)
        alone = -distances(F.normalize(method.features(toy.images), dim=1), method.prototypes[0], torch.tensor(2.0))
        torch.testing.assert_close(method(toy.images), alone.log_softmax(dim=1))

    def test_heads_see_balanced_groups_and_differ(self, toy_of, built):
        toy = toy_of(num_images=90, num_bias=2)
        method = self.fitted(built, toy)
        least = int(torch.bincount(toy.target * 2 + toy.bias).min())
        assert method.report == {"images_a_head": 6 * least}
        assert not torch.equal(method.prototypes[0], method.prototypes[1])

    def test_it_needs_groups_only_where_it_balances_them(self, toy_of, built, make):
        assert DPE.supervision(DPE.Parameters(by="class"), VAL_BIAS) == Supervision()
        toy = toy_of(num_images=60, num_classes=2, num_bias=2)
        toy.bias[toy.target == 1] = 0
        with pytest.raises(ConfigurationError, match=r"dpe needs .*none of class 1 with bias 1\..*dpe:by=class"):
            make(DPE, toy, VAL_BIAS)
        method, _ = built(DPE, toy, VAL_BIAS, by="class", heads=1, epochs=1)
        method.finish(toy.split("train", bias=False), toy.split("val", bias=False))


class TestDISPEL:
    @given(st.floats(0, 1), st.integers(0, 20))
    @settings(deadline=None, max_examples=20)
    def test_partners_are_of_the_class_and_of_the_balanced_set(self, alpha, seed):
        generator = torch.Generator().manual_seed(seed)
        target = torch.randint(3, (60,), generator=generator)
        cell = target * 2 + (torch.rand(60, generator=generator) < 0.3).long()
        own, partner = mixing_pairs(target, cell, alpha, generator)
        assert torch.equal(target[own], target[partner])
        assert len(torch.bincount(target[own]).unique()) == 1
        assert len(own.unique()) == len(own)

    def test_all_mixed_partners_are_balanced_over_groups(self):
        generator = torch.Generator().manual_seed(0)
        target = torch.arange(400) % 2
        cell = target * 2 + (torch.arange(400) < 40).long()
        drawn = torch.cat([mixing_pairs(target, cell, 1.0, generator)[1] for _ in range(30)])
        assert torch.bincount(cell[drawn]) / len(drawn) == pytest.approx([0.25] * 4, abs=0.02)

    def fits(self, toy, built, monkeypatch, **values):
        monkeypatch.setattr(dispel_module, "REGULARISATION", (0.3,))
        monkeypatch.setattr(dispel_module, "DRAWS", 3)
        seen = []

        def noted(features, target, num_classes, C):
            seen.append((features, target))
            return fit_l1_logistic(features, target, num_classes, C)

        monkeypatch.setattr(dispel_module, "fit_l1_logistic", noted)
        method, _ = built(DISPEL, toy, VAL_BIAS, **values)
        method.finish(toy.split("train"), toy.split("val"))
        with torch.no_grad():
            features = method.features(toy.images)
        return method, Scaling.of([features])(features), seen

    def test_with_s_of_1_it_fits_balanced_images(self, toy_of, built, monkeypatch):
        toy = toy_of(num_images=90, num_bias=2)
        _, scaled, seen = self.fits(toy, built, monkeypatch, s=1.0)
        for features, target in seen:
            distance, place = torch.cdist(features, scaled).min(dim=1)
            assert distance.max() < 1e-6
            assert torch.equal(toy.target[place], target)

    def test_without_alpha_it_is_class_balanced_logistic_regression(self, toy_of, built, monkeypatch):
        toy = toy_of(num_images=90, num_bias=2)
        method, scaled, seen = self.fits(toy, built, monkeypatch, alpha=0.0)
        for _, target in seen:
            assert len(torch.bincount(target).unique()) == 1
        # Classes are equally frequent here, so that each set is all images.
        weight, bias = fit_l1_logistic(scaled, toy.target, 3, 0.3)
        torch.testing.assert_close(method(toy.images), scaled @ weight.T + bias, rtol=1e-2, atol=1e-2)
        assert method.report["s"] == 1.0

    def test_mixtures_lie_between(self, toy_of, built, monkeypatch):
        toy = toy_of(num_images=90, num_bias=2)
        _, scaled, seen = self.fits(toy, built, monkeypatch, s=0.5)
        spread = scaled.square().sum(dim=1).mean()
        assert all(features.square().sum(dim=1).mean() < spread for features, _ in seen)


class TestEVaLS:
    def test_extremes_by_hand(self):
        loss = torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0, 9.0, 8.0, 7.0])
        target = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
        assert extremes(loss, target, 1).tolist() == [0, 1, 5, 7]
        assert extremes(loss, target, 2).tolist() == [0, 4, 3, 1, 5, 6, 7]
        assert candidates(target) == [1]
        assert candidates(torch.arange(60) % 2) == [5, 10]

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 9))
    def test_extremes_are_each_image_once_and_as_many_a_class(self, labels, k):
        target = torch.tensor(labels)
        found = extremes(torch.arange(len(labels)).float() % 7, target, k)
        assert len(found.unique()) == len(found)
        count, taken = torch.bincount(target, minlength=4), torch.bincount(target[found], minlength=4)
        assert torch.equal(taken, count.clamp_max(2 * k))

    def test_k_is_the_best_on_the_other_half(self, toy_of, built):
        toy = toy_of(num_images=180, num_bias=2)
        toy.images[torch.arange(180), toy.target] += 1  # noise alone leaves some group without a hit, whatever k is
        method, _ = built(EVaLS, toy, VAL_BIAS, lr=0.01)
        method.finish(toy.split("train"), toy.split("val"))
        fitting, other = halves(180, method.task.generator("evals"))
        scores = {}
        for k in candidates(toy.target[fitting]):
            given, _ = built(EVaLS, toy, VAL_BIAS, k=k, lr=0.01)
            given.finish(toy.split("train", bias=False), toy.split("val", bias=False))
            hit = given(toy.images)[other].argmax(dim=1) == toy.target[other]
            group = (toy.target * 2 + toy.bias)[other]
            scores[k] = min(hit[group == each].double().mean().item() for each in group.unique())
        assert 0 < scores[5] < scores[10]
        assert method.report["chosen_by_worst_group_accuracy"] == pytest.approx(max(scores.values()))
        assert method.report["k"] == max(scores, key=scores.__getitem__)

    def test_environments_are_eiils_and_need_no_labels(self, toy_of, built):
        toy = toy_of(num_images=90, num_bias=2)
        method, base = built(EVaLS, toy, VAL_BIAS, choose="environment")
        assert method.task.supervision == Supervision()
        method.finish(toy.split("train", bias=False), toy.split("val", bias=False))
        _, other = halves(90, method.task.generator("evals"))
        environment = (scale_gradients(base(toy.images), toy.target) > 0)[other]
        hit = (method(toy.images).argmax(dim=1) == toy.target)[other]
        worst = min(hit[environment == each].double().mean().item() for each in environment.unique())
        assert method.report["chosen_by_worst_environment_accuracy"] == pytest.approx(worst)

    def test_it_needs_groups_only_where_they_choose(self):
        used = [
            EVaLS.supervision(EVaLS.Parameters(**values), VAL_BIAS).val
            for values in ({}, {"k": 5}, {"choose": "environment"})
        ]
        assert used == ["bias", "none", "none"]


@pytest.mark.parametrize("method_class", [SELF, DPE, EVaLS])
def test_without_validation_images_they_are_refused(toy, make, method_class):
    values = {DPE: {"by": "class"}, EVaLS: {"choose": "environment"}}.get(method_class, {})
    method = make(method_class, toy, VAL_BIAS, **values)
    object.__setattr__(method.task, "has_val", False)
    with pytest.raises(ConfigurationError, match=r"fits the last layer on validation images.*val=0\.1"):
        method_class(method.task, method.params, method.make_backbone)


@pytest.mark.parametrize(
    ("method_class", "values"),
    [(DPE, {"heads": 1, "epochs": 1}), (DISPEL, {"s": 0.9}), (EVaLS, {"k": 5}), (LWS, {})],
)
def test_the_backbone_stays_as_it_was(toy_of, built, method_class, values):
    toy = toy_of(num_images=60, num_bias=2)
    method, base = built(method_class, toy, BIAS if method_class is LWS else VAL_BIAS, **values)
    method.train()
    if method.stages(1):
        method.loss(toy.batch(bias=False)).backward()
    method.eval()
    method.finish(toy.split("train"), toy.split("val"))
    kept = base.backbone.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in method.backbone.state_dict().items())
