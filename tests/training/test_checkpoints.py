"""Going on from a checkpoint that is of other code: refused with the way on, however it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ncbench import DataError, Method
from ncbench.training.checkpoints import load_latest_checkpoint, newest_epoch, refuse_other, save_checkpoint

from .test_seams import Plain, train


class Wider(Plain):
    def build(self) -> None:
        super().build()
        self.classifier = nn.Linear(self.backbone.feature_dim, self.task.num_classes + 1)


class MoreOfIt(Plain):
    def build(self) -> None:
        super().build()
        self.register_buffer("seen", torch.zeros(3))


class TwoGroups(Plain):
    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [parameter]} for parameter in self.parameters()]


class AnotherOrder(Plain):
    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters())[::-1]}]


class Restores(Plain):
    def load_state_dict(self, *arguments: Any, **others: Any) -> Any:
        raise KeyError("seen")


@pytest.mark.parametrize(
    ("of_today", "complaint"),
    [
        (Wider, "size mismatch for classifier.weight"),
        (MoreOfIt, "Missing key"),
        (TwoGroups, "different number of parameter groups"),
        (AnotherOrder, "has the shape"),
        (Restores, "KeyError: 'seen'"),
    ],
)
def test_state_that_does_not_fit_the_code_is_refused_with_the_way_on(
    tmp_path: Path, of_today: type[Method], complaint: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Plain, tmp_path, stop_after=2)
    with pytest.raises(DataError, match=rf"does not fit the method as it is now \(.*{complaint}.*--force"):
        train(of_today, tmp_path, resume=True)


@pytest.mark.parametrize(
    "age",
    [
        lambda state: state.pop("made_with"),
        lambda state: state.pop("report"),
        lambda state: state.update(rng=1),
        lambda state: state["best"].update(last={"epoch": 2, "score": 2.0}),
    ],
)
def test_a_checkpoint_of_another_layout_is_refused_with_the_way_on(
    tmp_path: Path, age: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Plain, tmp_path, stop_after=2)
    state: Any = load_latest_checkpoint(tmp_path, torch.device("cpu"))
    age(state)
    save_checkpoint(tmp_path, 3, state)
    with pytest.raises(DataError, match=r"were written by another version of ncbench.*--force"):
        train(Plain, tmp_path, resume=True)


def test_what_differs_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Plain, tmp_path, stop_after=2)
    state: Any = load_latest_checkpoint(tmp_path, torch.device("cpu"))
    state["made_with"] = {"theirs": "0.1.0.dev20260101", "precision": "bfloat16", "the data's fingerprint": "a" * 64}
    now = {"precision": "float32", "the data's fingerprint": "b" * 64}
    expected = r"precision was bfloat16, is float32; the data's fingerprint was a{12}, is b{12}; theirs was 0.1.0.dev20"
    with pytest.raises(DataError, match=expected):
        refuse_other(state, now, tmp_path)


def test_what_others_leave_beside_checkpoints_is_none(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Plain, tmp_path, stop_after=2)
    (tmp_path / "epoch-00003 (copy).pt").write_bytes(b"")
    assert newest_epoch(tmp_path) == 2
    assert len(train(Plain, tmp_path, resume=True)[1].history) == 4
