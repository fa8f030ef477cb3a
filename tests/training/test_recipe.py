"""The optimizers of a recipe are torch's own, without its compiler, and a run by them ends where its loss is least."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import ncbench
from ncbench.features.predictions import read_predictions
from ncbench.training.recipe import Recipe

KINDS: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Linear(torch.nn.Linear):
    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.weight], "lr_scale": 0.5}, {"params": [self.bias]}]


@pytest.mark.parametrize("name", KINDS)
def test_an_optimizer_steps_and_is_restored_as_torch_does_it(name: str) -> None:
    torch.manual_seed(0)
    ours = Linear(7, 3)
    theirs = copy.deepcopy(ours)
    recipe = Recipe.build({"optimizer": name, "lr": 0.03, "weight_decay": 0.1}, owner="the recipe")
    options = {"momentum": recipe.momentum} if name == "sgd" else {}
    make: Any = recipe.make_optimizer
    one = make(ours)
    groups = [{"lr_scale": 1.0, **group} for group in theirs.parameter_groups()]
    other = KINDS[name](groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True, **options)
    for step in range(6):
        if step == 3:  # as when a run is resumed
            state = one.state_dict()
            one = make(ours)
            one.load_state_dict(state)
        inputs = torch.randn(5, 7)
        for model, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad(set_to_none=True)
            model(inputs).square().sum().backward()
            optimizer.step()
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert repr(one.state_dict()) == repr(other.state_dict())
    with pytest.raises(ValueError, match="more than one parameter group"):
        one.add_param_group({"params": [ours.bias]})


@pytest.mark.slow
def test_a_run_imports_neither_the_compiler_nor_what_draws(tmp_path: Path) -> None:
    arguments = ["-X", "importtime", "-m", "ncbench", "run", "--set", "recipe.epochs=1", "--output", str(tmp_path)]
    ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path)  # the first one reads the dataset's sources
    told = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stderr
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert "torch" in imported
    assert imported.isdisjoint({"matplotlib", "sklearn", "sympy", "torch._dynamo"})


def test_erm_on_vectors_is_the_logistic_regression_of_its_weight_decay(tmp_path: Path) -> None:
    """The mean loss + w |W|^2 / 2 has the minimum of scikit-learn's C sum of losses + |W|^2 / 2, if w = 1 / (C N)."""
    digits = load_digits(n_class=4)
    inputs, split = digits.data / 16, np.where(np.arange(len(digits.target)) % 4, "train", "test")
    train = split == "train"
    np.savez(tmp_path / "digits.npz", inputs=inputs, target=digits.target, split=split)
    C = 0.1
    recipe = {"epochs": 400, "evaluate_every": 400, "batch_size": train.sum(), "weight_decay": 1 / (C * train.sum())}
    recipe |= {"optimizer": "sgd", "lr": 2.0, "schedule": "cosine"}
    result = ncbench.run(
        "erm:classifier_bias=false",
        f"features:path='{tmp_path / 'digits.npz'}',split=split",
        set={f"recipe.{key}": value for key, value in recipe.items()},
        output=tmp_path / "runs",
        warn=lambda line: None,
    )
    predicted = read_predictions(result.path.parent)
    regression = LogisticRegression(C=C, fit_intercept=False, tol=1e-8, max_iter=1000)
    regression.fit(inputs[train], digits.target[train])
    expected = regression.predict_proba(inputs[np.array(predicted.ids, dtype=int)])
    np.testing.assert_allclose(predicted.probability, expected, atol=1e-5)
