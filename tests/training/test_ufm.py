"""The unconstrained features model does what the theory says: in runs, and in float64 where runs do not get.

lambda is the penalty of the theory's sum form, sum CE + lambda/2 (|W|^2 + |H|^2): N times a recipe's weight decay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor, nn

import ncbench
from ncbench.collapse import measure
from ncbench.records.archive import RunResult
from ncbench_backbones.ufm import UFM, UFMParameters


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Such small tensors are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(output: Path, counts: Sequence[int], penalty: float, epochs: int = 500) -> RunResult:
    """Run the manifest's recipe, with the weight decay that is this lambda, in fewer epochs."""
    ratio = counts[0] // counts[-1]
    imbalance = f",imbalance=step,ratio={ratio}" if ratio > 1 else ""
    return ncbench.run(
        "erm",
        f"ufm:classes={len(counts)},samples={counts[0]}{imbalance}",
        set={"recipe.weight_decay": penalty / sum(counts), "recipe.epochs": epochs},
        output=output,
    )


def trained_parameters(result: RunResult) -> tuple[Tensor, Tensor]:
    """Return W (K, d) and the table of all vectors, H among them."""
    state = torch.load(result.folder / "model.pt", weights_only=True)
    assert state.keys() == {"classifier.weight", "backbone.table"}  # no bias
    return state["classifier.weight"].double(), state["backbone.table"].double()


def cosine(rows: Tensor, i: int, j: int) -> float:
    return F.cosine_similarity(rows[i], rows[j], dim=0).item()


class Model:
    """Backbone and classifier in float64, brought to the minimum by L-BFGS."""

    def __init__(self, counts: Sequence[int], dim: int = 12) -> None:
        torch.manual_seed(0)
        self.target = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        numbers = torch.arange(len(self.target))
        digits = int(numbers[-1]).bit_length()
        self.digits = (numbers[:, None] >> torch.arange(digits).flip(0) & 1).double()
        self.backbone = UFM((digits,), UFMParameters(dim=dim)).double()
        self.classifier = nn.Linear(dim, len(counts), bias=False).double()
        self.parameters = [*self.backbone.parameters(), *self.classifier.parameters()]

    def minimise(self, penalty: float) -> dict[str, float]:
        """Go on from where it is to the minimum for this lambda; return the collapse measures there."""

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:  # over lambda, to be of one size for every lambda
            nn.utils.vector_to_parameters(torch.tensor(x), self.parameters)
            logits = self.classifier(self.backbone(self.digits))
            value = F.cross_entropy(logits, self.target, reduction="sum") / penalty
            value = value + sum(parameter.square().sum() for parameter in self.parameters) / 2
            gradients = torch.autograd.grad(value, self.parameters)
            return value.item(), torch.cat([gradient.flatten() for gradient in gradients]).numpy()

        start = nn.utils.parameters_to_vector(self.parameters).detach().numpy()
        options = {"maxiter": 5000, "maxfun": 10000, "maxcor": 50, "ftol": 1e-15, "gtol": 1e-8}
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        nn.utils.vector_to_parameters(torch.tensor(found.x), self.parameters)
        with torch.no_grad():
            return measure(self.backbone(self.digits), self.target, self.classifier.weight)


def test_balanced_classes_collapse_to_the_simplex_etf_at_the_predicted_scale(tmp_path: Path) -> None:
    classes, samples, penalty = 4, 10, 0.02
    result = train(tmp_path, [samples] * classes, penalty)
    measures = result.metrics["train"]
    assert measures["nc1"] < 1e-10
    assert measures["nc2_etf_distance"] < 1e-4
    assert measures["nc2_etf_distance_classifier"] < 1e-4
    assert measures["nc3_self_duality"] < 1e-8
    assert measures["nc4_disagreement"] == 0

    # On collapsed, self-dual simplex ETFs one number is left: by how much s the right logit exceeds the others. The
    # cheapest factors of those logits, a matrix of K - 1 singular values s sqrt(n), cost lambda times their sum.
    def objective(s: float) -> float:
        cross_entropy = classes * samples * math.log1p((classes - 1) * math.exp(-s))
        return cross_entropy + penalty * (classes - 1) * math.sqrt(samples) * s

    s = minimize_scalar(objective, bounds=(0, 50), method="bounded", options={"xatol": 1e-10}).x
    assert s == pytest.approx(math.log(classes * math.sqrt(samples) / penalty - classes + 1))
    assert result.record.history[-1].losses["loss"] == pytest.approx(math.log1p(3 * math.exp(-s)), rel=1e-4)
    weight, table = trained_parameters(result)
    squares = table.square().sum(dim=1)
    expected = s * math.sqrt(samples) * (classes - 1) / classes  # |w_c|^2 = n |h_i|^2
    assert weight.square().sum(dim=1).tolist() == pytest.approx([expected] * classes, rel=1e-4)
    assert squares[:40].tolist() == pytest.approx([expected / samples] * 40, rel=1e-4)
    assert squares[40:].max() < 1e-6  # rows of no sample


@pytest.mark.parametrize(("ratio", "distances"), [(10, (0.093, 0.050)), (100, (0.131, 0.070))])
def test_the_minimum_nears_seli_as_the_penalty_vanishes(ratio: int, distances: tuple[float, float]) -> None:
    model = Model([ratio] * 5 + [1] * 5)
    path = [model.minimise(penalty) for penalty in (1e-1, 1e-2, 1e-4, 1e-6)]
    for name in ("seli_distance_classifier", "seli_distance_means"):
        values = [measures[name] for measures in path]
        assert values == sorted(values, reverse=True)
        assert values[-1] < path[-1][name.replace("seli", "nc2_etf").replace("_means", "")] / 5
    # Towards 0, but logarithmically: four orders of magnitude about halve it.
    assert path[1]["seli_distance_classifier"] == pytest.approx(distances[0], abs=1e-3)
    assert path[3]["seli_distance_classifier"] == pytest.approx(distances[1], abs=1e-3)


def test_runs_near_seli_as_the_penalty_falls_and_slower_for_a_larger_ratio(tmp_path: Path) -> None:
    runs = {
        (ratio, penalty): train(tmp_path, [ratio] * 5 + [1] * 5, penalty).metrics["train"]
        for ratio, penalty in [(10, 0.1), (10, 0.01), (100, 0.1)]
    }
    for (ratio, penalty), measures in runs.items():
        exact = Model([ratio] * 5 + [1] * 5).minimise(penalty)
        for name in ("seli_distance_classifier", "seli_distance_means", "nc2_etf_distance_classifier"):
            assert measures[name] == pytest.approx(exact[name], abs=1e-3)
        assert measures["seli_distance_classifier"] < measures["nc2_etf_distance_classifier"]
    for name in ("seli_distance_classifier", "seli_distance_means"):
        assert runs[10, 0.01][name] < runs[10, 0.1][name] < runs[100, 0.1][name]


@pytest.mark.parametrize("counts", [[20, 20, 4, 4], [20, 20, 2, 2]], ids=["R=5", "R=10"])
def test_minority_classifiers_merge_in_runs_beyond_the_threshold(tmp_path: Path, counts: list[int]) -> None:
    threshold = math.sqrt(counts[-1])
    apart, merged = (
        trained_parameters(train(tmp_path, counts, factor * threshold, epochs=300))[0] for factor in (0.9, 1.1)
    )
    assert cosine(apart, 2, 3) < 0.9
    assert cosine(merged, 2, 3) > 1 - 1e-6
    assert (merged[2] - merged[3]).norm() < 1e-3 * merged[2].norm()
    assert cosine(merged, 0, 1) < 0.9  # the majority's do not


@pytest.mark.parametrize("ratio", [2, 10, 100])
@pytest.mark.parametrize("smallest", [1, 3])
def test_the_threshold_is_the_root_of_the_smallest_count_whatever_the_ratio(ratio: int, smallest: int) -> None:
    model = Model([ratio * smallest] * 3 + [smallest] * 3)
    gaps = []
    for factor in (0.98, 1.02):
        model.minimise(factor * math.sqrt(smallest))
        weight = model.classifier.weight.detach()
        gaps.append(float((weight[3] - weight[4]).norm() / weight.norm()))
    assert gaps[0] > 0.02
    assert gaps[1] < 1e-5
