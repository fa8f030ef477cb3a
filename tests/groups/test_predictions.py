"""The groups of correct-n-contrast: what the reference model predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import ncbench
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.training.configuration import resolve


def inferred(output: Path, method: str, groups: str) -> np.ndarray:
    result = ncbench.run(method, groups=groups, output=output, set={"recipe.epochs": 1}, warn=lambda line: None)
    assert result.record.status == "completed"
    assert result.record.base is not None
    with np.load(output / result.record.base.run_id / "groups.npz", allow_pickle=False) as arrays:
        found: np.ndarray = arrays["train"]
    return found


def test_a_group_is_the_class_that_the_reference_model_takes_an_image_for(tmp_path: Path) -> None:
    predictions = inferred(tmp_path, "cnc", "predictions:epochs=2")
    errors = inferred(tmp_path, "bpa", "errors:epochs=2")  # of the same model
    parameters = resolve("erm", "colored_digits", None, 0, {}, synthetic=False).dataset.params
    target = prepare(registry().find("datasets", "colored_digits").card, parameters).splits["train"].target
    assert 0 < errors.sum() < len(errors)
    assert np.array_equal(predictions != target, errors == 1)
