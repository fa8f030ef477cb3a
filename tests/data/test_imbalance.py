from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncbench import ConfigurationError, DataError, Dataset, Parameters
from ncbench.contracts.dataset import DatasetParameters, Thinning
from ncbench.contracts.specs import Spec
from ncbench.data.store.imbalance import imbalanced, kept_counts
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare
from ncbench.data.store.verify import verify

from .conftest import CARDS, Toy, make_manifest, make_split

TEN = [f"c{index}" for index in range(10)]


class SizeParameters(Parameters):
    """Parameters of somebody's dataset, who has never heard of imbalance."""

    size: int = pydantic.Field(4, ge=1, description="of something")


class Theirs(Toy):
    """A third party's dataset."""

    Parameters = SizeParameters


def _params(**values: Any) -> Thinning:
    return Thinning.build(values, owner="toy")


def _kept(
    counts: np.ndarray, kind: Any, ratio: float, minority: float, names: list[str], per_class: int = 0
) -> np.ndarray:
    params = Thinning.model_construct(imbalance=kind, ratio=ratio, minority=minority, per_class=per_class)
    return kept_counts(counts, params, names)


def _theirs(values: dict[str, Any]) -> DatasetParameters:
    return DatasetParameters.build(Theirs, values, owner="theirs")


# ---------------------------------------------------------------- the option


def test_every_dataset_has_the_option_without_code_of_its_own() -> None:
    keys = [key for key, *_ in DatasetParameters.describe(Theirs)]
    assert keys == ["size", "imbalance", "ratio", "minority", "per_class"]
    params = _theirs({"imbalance": "step", "ratio": 2, "size": 3})
    assert params.own == SizeParameters(size=3)
    assert params.thinning == Thinning(imbalance="step", ratio=2)
    assert str(params.spec("theirs")) == "theirs:imbalance=step,ratio=2.0,size=3"
    assert pickle.loads(pickle.dumps(params)) == params
    assert Theirs.Parameters is SizeParameters
    assert SizeParameters.model_fields.keys() == {"size"}
    for card in CARDS.values():
        thin = DatasetParameters.build(card.load(), {"per_class": 3}, owner=card.name)
        assert str(thin.spec(card.name)) == f"{card.name}:per_class=3"
    with pytest.raises(ConfigurationError, match=r"Did you mean 'size'.*imbalance, minority, per_class, ratio, size"):
        _theirs({"siz": 3})


def test_a_dataset_that_is_not_thinned_out_keeps_its_name_and_records_every_parameter() -> None:
    params = _theirs({})
    assert params.as_dict() == {"size": 4, "imbalance": "none", "ratio": 1.0, "minority": 0.5, "per_class": 0}
    assert str(params.spec("theirs")) == "theirs"
    assert _theirs({"imbalance": "none", "ratio": 1, "minority": 0.5}) == params
    thinned = _theirs({"imbalance": "exp", "ratio": 7})
    assert thinned.as_dict() == {"size": 4, "imbalance": "exp", "ratio": 7.0, "minority": 0.5, "per_class": 0}
    assert _theirs(thinned.as_dict()) == thinned


def test_a_dataset_cannot_take_the_options_names() -> None:
    class RatioParameters(Parameters):
        ratio: float = pydantic.Field(3.0, description="of something else")

    with pytest.raises(TypeError, match=r"declares ratio, which every dataset has"):

        class Clash(Dataset):
            Parameters = RatioParameters


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 10}, "'ratio' of toy is not valid: it needs imbalance=step or imbalance=exp"),
        ({"imbalance": "none", "ratio": 10}, "'ratio' of toy is not valid: it needs imbalance=step or"),
        ({"minority": 0.3}, "'minority' of toy is not valid: it needs imbalance=step"),
        ({"imbalance": "exp", "ratio": 5, "minority": 0.3}, "'minority' of toy is not valid: it needs imbalance=step"),
        ({"imbalance": "step"}, "imbalance=step needs a ratio above 1, such as ratio=10"),
        ({"imbalance": "exp", "ratio": 1}, "imbalance=exp needs a ratio above 1"),
        ({"imbalance": "exp", "ratio": 0.1}, "greater than or equal to 1"),
        ({"imbalance": "exp", "ratio": float("inf")}, "finite number"),
        ({"imbalance": "step", "ratio": 2, "minority": 1}, "less than 1"),
        ({"imbalance": "step", "ratio": 2, "minority": 0}, "greater than 0"),
        ({"imbalance": "linear", "ratio": 2}, "'none', 'step' or 'exp'"),
        ({"per_class": -1}, "greater than or equal to 0"),
        ({"imbalnce": "step"}, "Did you mean 'imbalance'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _params(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the counts


def test_the_published_long_tailed_counts() -> None:
    # CIFAR-10-LT and CIFAR-100-LT at ratio 100 (Cui et al. 2019; Cao et al. 2019).
    ten = _kept(np.full(10, 5000), "exp", 100, 0.5, TEN)
    assert ten.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    hundred = _kept(np.full(100, 500), "exp", 100, 0.5, [str(index) for index in range(100)])
    assert (int(hundred.sum()), int(hundred[0]), int(hundred[-1])) == (10_847, 500, 5)


def test_the_step_counts() -> None:
    assert _kept(np.full(10, 5000), "step", 10, 0.5, TEN).tolist() == [5000] * 5 + [500] * 5
    assert _kept(np.full(10, 4900), "step", 49, 0.2, TEN).tolist() == [4900] * 8 + [100] * 2
    assert _kept(np.full(3, 60), "step", 3, 0.5, TEN[:3]).tolist() == [60, 20, 20]


def test_unequal_classes_are_brought_to_the_exact_shape() -> None:
    mnist = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    assert _kept(mnist, "step", 10, 0.5, TEN).tolist() == [5842] * 5 + [584] * 5
    # A small class may have to hold the others down.
    assert _kept(np.array([100, 100, 5, 100]), "step", 4, 0.5, TEN[:4]).tolist() == [20, 20, 5, 5]


def test_a_limit_balances_what_has_enough_and_scales_an_imbalance() -> None:
    mnist = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    assert _kept(mnist, "none", 1, 0.5, TEN, 5000).tolist() == [5000] * 10  # Papyan et al. 2020
    assert _kept(mnist, "none", 1, 0.5, TEN).tolist() == mnist.tolist()
    assert _kept(np.array([3, 9, 5]), "none", 1, 0.5, TEN[:3], 5).tolist() == [3, 5, 5]
    assert _kept(mnist, "step", 10, 0.5, TEN, 5000).tolist() == [5000] * 5 + [500] * 5
    assert _kept(mnist, "step", 10, 0.5, TEN, 50_000).tolist() == [5842] * 5 + [584] * 5


@pytest.mark.parametrize(
    ("kind", "ratio", "minority", "message"),
    [
        ("exp", 101, 0.5, "ratio=101 leaves no training image of class 'c9'"),
        ("step", 200, 0.5, "leaves no training image of class 'c5'.*at most 100"),
        ("step", 2, 0.04, "minority=0.04 makes 0 of 10 classes small"),
        ("step", 2, 0.96, "minority=0.96 makes 10 of 10 classes small"),
    ],
)
def test_counts_that_cannot_be_are_refused(kind: Any, ratio: float, minority: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _kept(np.full(10, 100), kind, ratio, minority, TEN)


@given(
    counts=st.lists(st.integers(1, 10_000), min_size=2, max_size=120),
    kind=st.sampled_from(["step", "exp"]),
    ratio=st.floats(1, 1e4, exclude_min=True),
    minority=st.floats(0.01, 0.99),
)
def test_the_counts_have_the_shape_asked_for(counts: list[int], kind: Any, ratio: float, minority: float) -> None:
    names = [str(index) for index in range(len(counts))]
    try:
        kept = _kept(np.array(counts), kind, ratio, minority, names)
    except ConfigurationError:
        return
    number = len(counts)
    assert (kept <= counts).all()
    assert (kept >= 1).all()
    assert (np.diff(kept) <= 0).all()  # the last classes are the small ones
    small = int(minority * number + 0.5)
    for index, value in enumerate(kept.tolist()):
        divisor = ratio ** (index / (number - 1)) if kind == "exp" else (ratio if index >= number - small else 1)
        # The first class has n_max or, where it is itself divided, less than one image below it.
        assert value == pytest.approx(kept[0] / divisor, abs=1 + 1e-6)
    # Nothing is thrown away without need: some class keeps all it has, up to the rounding.
    assert any(value >= count - 1 for value, count in zip(kept.tolist(), counts, strict=True))


# ---------------------------------------------------------------- the images


def _split(counts: list[int], seed: int = 0) -> Any:
    target = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    ids = [f"image {index}" for index in range(len(target))]
    return make_split(target.tolist(), ids=ids)


@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    kind=st.sampled_from(["step", "exp"]),
    ratio=st.floats(1.1, 30),
    seed=st.integers(0, 5),
)
def test_what_is_kept(counts: list[int], kind: Any, ratio: float, seed: int) -> None:
    split, names = _split(counts, seed), [str(index) for index in range(len(counts))]
    try:
        kept = imbalanced(split, _params(imbalance=kind, ratio=ratio), names)
    except ConfigurationError:
        return
    expected = _kept(np.array(counts), kind, ratio, 0.5, names)
    assert np.bincount(kept.target, minlength=len(counts)).tolist() == expected.tolist()
    where = [split.ids.index(identifier) for identifier in kept.ids]
    assert where == sorted(set(where))  # each once, in the order they had
    np.testing.assert_array_equal(kept.inputs, split.inputs[where])
    np.testing.assert_array_equal(kept.target, split.target[where])
    np.testing.assert_array_equal(kept.bias, split.bias[where])
    # The choice is one of ids: another order of the sources changes nothing about it.
    order = np.random.default_rng(1).permutation(len(split.ids))
    shuffled = make_split(split.target[order].tolist(), ids=[split.ids[index] for index in order])
    assert set(imbalanced(shuffled, _params(imbalance=kind, ratio=ratio), names).ids) == set(kept.ids)


@given(ratios=st.tuples(st.floats(1.1, 20), st.floats(1.1, 20)), kind=st.sampled_from(["step", "exp"]))
def test_a_larger_ratio_keeps_a_part_of_what_a_smaller_one_keeps(ratios: tuple[float, float], kind: Any) -> None:
    split = _split([30] * 5)
    mild, hard = (
        imbalanced(split, _params(imbalance=kind, ratio=ratio), TEN[:5]).ids for ratio in (min(ratios), max(ratios))
    )
    assert set(hard) <= set(mild)


def test_the_images_kept_stay_the_same_for_good() -> None:
    # Written down once: records of imbalanced runs refer to these images.
    split = make_split([0] * 8 + [1] * 8, ids=[f"train-{index:05d}" for index in range(16)])
    kept = imbalanced(split, _params(imbalance="step", ratio=4), ["a", "b"])
    assert kept.ids == [*split.ids[:8], "train-00009", "train-00015"]
    digests = {identifier: hashlib.sha256(identifier.encode()).hexdigest() for identifier in split.ids[8:]}
    assert {"train-00009", "train-00015"} == set(sorted(digests, key=digests.__getitem__)[:2])


def test_files_are_thinned_out_as_arrays_are() -> None:
    paths = [Path(f"{index}.png") for index in range(6)]
    split = make_split([0, 1] * 3, inputs=paths, bias=None, ids=[path.stem for path in paths])
    kept = imbalanced(split, _params(imbalance="step", ratio=3), ["a", "b"])
    assert [path.stem for path in kept.inputs] == list(kept.ids)
    assert kept.bias is None
    assert kept.target.tolist().count(1) == 1


# ---------------------------------------------------------------- the store


def _open(root: Path, values: dict[str, Any], **manifest: Any) -> Any:
    params = _theirs(values)
    return open_store(Theirs(params.own, root), params.spec("theirs"), make_manifest(**manifest))


STEP = {"imbalance": "step", "ratio": 3}
COUNTS = {"train": {"images": 6, "classes": [3, 3]}, "test": {"images": 6}}


def test_only_training_images_are_thinned_out_and_counts_are_of_what_was_read(toy_root: Path) -> None:
    whole, thin = _open(toy_root, {}, counts=COUNTS), _open(toy_root, STEP, counts=COUNTS)
    assert whole.folder != thin.folder
    assert thin.folder.name.startswith("imbalance=step-ratio=3.0-")
    assert np.bincount(thin.splits["train"].target).tolist() == [3, 1]
    np.testing.assert_array_equal(thin.splits["test"].inputs, whole.splits["test"].inputs)
    assert thin.splits["test"].ids.tolist() == whole.splits["test"].ids.tolist()
    assert thin.fingerprint != whole.fingerprint
    assert _open(toy_root, STEP, counts=COUNTS).fingerprint == thin.fingerprint
    (toy_root / "toy" / "train" / "cat_0.png").unlink()
    with pytest.raises(DataError, match="train: expected 6 images, found 5"):
        _open(toy_root, STEP, counts=COUNTS)


def test_a_limit_on_its_own_is_named_and_kept_too(toy_root: Path) -> None:
    limited = _open(toy_root, {"per_class": 2}, counts=COUNTS)
    assert limited.folder.name.startswith("per_class=2-")
    assert np.bincount(limited.splits["train"].target).tolist() == [2, 2]
    assert len(limited.splits["test"]) == 6


def test_verify_takes_the_part_for_whole(toy_root: Path) -> None:
    store = _open(toy_root, STEP, counts=COUNTS)
    dataset = Theirs(SizeParameters(), toy_root)
    lines: list[str] = []
    spec = Spec("theirs", {"imbalance": "step", "ratio": 3.0})
    assert verify(dataset, spec, make_manifest(counts=COUNTS), lines.append) == []
    assert f"Hashing the store {store.folder}" in lines


def test_a_store_of_an_older_rule_is_rebuilt_and_others_are_not(
    toy_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [_open(toy_root, values) for values in ({}, STEP)]
    built = [(store.folder / "meta.json").stat().st_mtime_ns for store in stores]
    assert json.loads((stores[0].folder / "meta.json").read_text())["imbalance"] is None
    monkeypatch.setattr("ncbench.data.store.open.RULE", 2)
    again = [_open(toy_root, values) for values in ({}, STEP)]
    assert (again[0].folder / "meta.json").stat().st_mtime_ns == built[0]
    assert json.loads((again[1].folder / "meta.json").read_text())["imbalance"] == 2


def test_a_carved_validation_split_is_left_whole() -> None:
    carved = prepare(CARDS["colored_digits"], {"val": 0.25})
    thin = prepare(CARDS["colored_digits"], {"val": 0.25, "imbalance": "exp", "ratio": 10})
    assert thin.splits["val"].ids.tolist() == carved.splits["val"].ids.tolist()
    available = np.bincount(carved.splits["train"].target)
    expected = _kept(available, "exp", 10, 0.5, TEN)
    assert np.bincount(thin.splits["train"].target).tolist() == expected.tolist()
    assert set(thin.splits["train"].ids.tolist()) < set(carved.splits["train"].ids.tolist())


def test_too_large_a_ratio_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"leaves no training image of class '5'.*at most 118"):
        prepare(CARDS["colored_digits"], {"imbalance": "step", "ratio": 1000})
