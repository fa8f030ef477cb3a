"""What one pass over a split keeps, and in which precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ncbench import Evaluation, Method, Metric, NcbenchError, Parameters, Supervision
from ncbench.collapse import measure
from ncbench.contracts.cards import DatasetCard
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import Store
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.features.snapshot import take_snapshot
from ncbench.training.evaluation.evaluator import Evaluator
from ncbench.training.splits import LoadedSplit, task_of

TOKENS, WIDTH = 20, 16


class FirstToken(Method):
    """A net whose features are a view into something larger, as a vision transformer's are."""

    def build(self) -> None:
        self.layer = nn.Linear(8 * 8 * 3, TOKENS * WIDTH)
        self.classifier = nn.Linear(WIDTH, self.task.num_classes)

    def features(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.layer(images.flatten(1)).reshape(len(images), TOKENS, WIDTH)
        return tokens[:, 0]


class Everything(Metric):
    """Asks for all there is, and for features of the training split alone."""

    needs = frozenset({"logits"})


class OfFeatures(Metric):
    needs = frozenset({"features"})
    splits = ("train",)


FAMILIES: dict[str, Metric] = {"one": Everything(), "another": OfFeatures()}


@pytest.fixture(scope="module")
def store() -> Store:
    card: DatasetCard = registry().find("datasets", "colored_digits").card
    return prepare(card, {})


@pytest.fixture
def method(store: Store) -> Method:
    torch.manual_seed(0)
    return FirstToken(task_of(store, 0, Supervision()), Parameters(), lambda: pytest.fail("it needs no backbone"))


class Faulty(Metric):
    """Fails, or changes what it is given, as it is told."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def compute(self, evaluation: Evaluation) -> dict[str, float]:
        if self.fault == "changes the target":
            evaluation.target.zero_()
        if self.fault == "SystemExit":
            raise SystemExit
        return {"share": 1 / 0 if self.fault == "ZeroDivisionError" else 1.0}


def split_of(store: Store, name: str) -> LoadedSplit:
    stored = store.splits[name]
    loader = Loader(stored, torch.device("cpu"), "unit", "none", (), ())
    return LoadedSplit(name, loader, torch.tensor(stored.target), None)


def images_of(split: LoadedSplit) -> Tensor:
    return torch.cat([images for images, _ in split.loader.batches(torch.arange(len(split.target)), 1000)])


@torch.no_grad()
def test_collapse_is_measured_in_float32_whatever_the_training_is_in(store: Store, method: Method) -> None:
    evaluator = Evaluator(store, FAMILIES, 256, torch.bfloat16)
    train = split_of(store, "train")
    seen = evaluator.look(method, train, scheduled=True)
    torch.testing.assert_close(seen.features, method.features(images_of(train)))
    torch.testing.assert_close(seen.logits, method(images_of(train)))


@torch.no_grad()
def test_classes_do_not_tie_in_bfloat16(store: Store, method: Method) -> None:
    evaluator = Evaluator(store, FAMILIES, 256, torch.bfloat16)
    test = split_of(store, "test")
    seen = evaluator.look(method, test, scheduled=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = method.features(images_of(test))
    assert features.dtype == torch.bfloat16
    assert seen.features is None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, method.classify(features.float()))
    assert torch.equal(seen.predicted, seen.logits.argmax(1))
    assert not torch.equal(seen.logits, seen.logits.bfloat16().float())


def test_no_more_is_kept_than_what_the_families_need(store: Store, method: Method) -> None:
    train = split_of(store, "train")
    seen = Evaluator(store, {"one": OfFeatures()}, 256, None).look(method, train, scheduled=True)
    assert seen.features is not None
    assert seen.features.untyped_storage().nbytes() == len(train.target) * WIDTH * 4
    assert seen.logits is None
    assert Evaluator(store, {}, 256, None).look(method, train, scheduled=True).features is None


@torch.no_grad()
@pytest.mark.parametrize("bias_known", [True, False])
def test_collapse_and_what_is_drawn_are_the_same_whether_or_not_features_are_kept(
    store: Store, method: Method, monkeypatch: pytest.MonkeyPatch, bias_known: bool
) -> None:
    families = {"collapse": registry().find("metrics", "collapse").card.load()()}
    train = split_of(store, "train")
    if bias_known:
        train = replace(train, bias=torch.tensor(store.splits["train"].bias))
    evaluator = Evaluator(store, families, 256, None)
    kept = evaluator.look(method, train, scheduled=True)
    monkeypatch.setattr("ncbench.training.evaluation.evaluator._HELD", 0)
    passed = evaluator.look(method, train, scheduled=True)
    assert kept.features is None
    assert kept.feature_stream is not None
    assert kept.feature_stream.held is not None
    assert passed.feature_stream is not None
    assert passed.feature_stream.held is None
    assert next(rows.stop for rows, _ in passed.feature_stream.batches()) == 256
    features = method.features(images_of(train))
    torch.testing.assert_close(torch.cat([batch for _, batch in passed.feature_stream.batches()]), features)
    torch.testing.assert_close(passed.feature_stream.rows(torch.tensor([700, 3])), features[[700, 3]])

    numbers, others = (evaluator.measure(each, scheduled=True).metrics for each in (kept, passed))
    assert numbers == pytest.approx(others, rel=1e-12)
    assert ("bias_nc1" in numbers) == bias_known
    direct = measure(features, train.target, *(tensor.float() for tensor in method.classifier_parameters() or ()))
    assert {name: numbers[name] for name in direct} == pytest.approx(direct, rel=1e-6)
    drawn, again = take_snapshot(kept), take_snapshot(passed)
    assert drawn is not None
    assert again is not None
    assert torch.equal(drawn.vectors.means, again.vectors.means)
    torch.testing.assert_close(drawn.features, again.features)


def test_features_that_are_not_finite_have_no_measures(store: Store, method: Method) -> None:
    families = {"collapse": registry().find("metrics", "collapse").card.load()()}
    with torch.no_grad():
        method.layer.bias[3] = float("inf")
        method.classifier.weight.zero_()
    method.classify = lambda features: method.classifier(features.nan_to_num())  # type: ignore[method-assign]
    seen = Evaluator(store, families, 256, None).look(method, split_of(store, "train"), scheduled=True)
    assert seen.feature_stream is not None
    assert not seen.feature_stream.finite
    assert Evaluator(store, families, 256, None).measure(seen, scheduled=True).metrics == {}


@pytest.mark.parametrize("fault", ["changes the target", "SystemExit", "ZeroDivisionError"])
def test_a_faulty_family_is_named(store: Store, method: Method, fault: str) -> None:
    evaluator = Evaluator(store, {"the metric family 'share' of their-package": Faulty(fault)}, 256, None)
    with pytest.raises(NcbenchError, match=rf"'share' of their-package.*{fault}.*NCBENCH_PLUGINS"):
        evaluator.evaluate(method, split_of(store, "test"), scheduled=True)


def test_two_families_that_compute_one_number_are_refused(store: Store, method: Method) -> None:
    evaluator = Evaluator(store, {"the family 'one'": Faulty(""), "the family 'two'": Faulty("")}, 256, None)
    with pytest.raises(NcbenchError, match=r"the family 'two' computes 'share', which another family has computed\."):
        evaluator.evaluate(method, split_of(store, "test"), scheduled=True)
