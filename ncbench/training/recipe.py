"""The recipe: everything about the optimisation that is neither the method nor the data."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from ncbench.contracts.errors import ConfigurationError, PluginError, unknown_name
from ncbench.contracts.parameters import Parameters
from ncbench.training.selection import find_criterion

if TYPE_CHECKING:  # the leaderboard reads recipes, and imports no torch
    import torch

    from ncbench.contracts.method import Method, Stage


BASE = "base."
"""What the settings of the run that another one builds on begin with."""

OF_EPOCHS = frozenset(
    {
        *("epochs", "optimizer", "lr", "weight_decay", "momentum", "schedule", "schedule_every", "schedule_factor"),
        *("augmentation", "evaluate_every", "measure_points"),
    }
)
"""Keys without effect where nothing is trained by epochs."""


class Recipe(Parameters):
    """How a method is trained; the same keys in manifests, in ``--set recipe.KEY=VALUE`` and in records."""

    epochs: int = Field(100, ge=1, description="passes over the training images in the method's main stage")
    batch_size: int = Field(128, ge=1, description="images a step")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="the optimizer")
    lr: float = Field(0.1, gt=0, description="learning rate at the start of a stage")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty (decoupled for adamw)")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    schedule: Literal["constant", "cosine", "step", "thirds"] = Field(
        "constant",
        description="course of the learning rate; step: times schedule_factor every schedule_every epochs; "
        "thirds: at a third and at two thirds of the stage",
    )
    schedule_every: int = Field(30, ge=1, description="epochs between the steps of the step schedule")
    schedule_factor: float = Field(0.1, gt=0, description="factor at each step of the step and thirds schedules")
    input_scaling: Literal["unit", "standard", "unit_twice", "centred"] = Field(
        "standard",
        description="x/255; (x/255 - mean)/std; x/255/255, as published code for colored MNIST has it; (x - 127)/128",
    )
    augmentation: Literal["none", "crop_flip", "resized_crop_flip"] = Field(
        "none", description="of training images, in batches on the device"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="autocast type of training's forward pass; auto: bfloat16 on CUDA devices that have it, float32 "
        "elsewhere; TF32 in convolutions is as PyTorch has it",
    )
    compile: bool = Field(False, description="torch.compile the backbones")
    evaluate_every: int = Field(1, ge=1, description="epochs between evaluations of val and test")
    measure_points: int = Field(
        20, ge=1, description="how many epochs of a stage, log-spaced, also measure the training split"
    )
    selection: str = Field(
        "last",
        description="the primary criterion: which epoch's model the record's metrics are of; last, or val_METRIC for "
        "the best epoch by a metric of the validation split that has a direction, as val_worst_group_accuracy",
    )

    @field_validator("selection")
    @classmethod
    def _is_a_criterion(cls, name: str) -> str:
        find_criterion(name)
        return name

    def learning_rate(self, epoch: int, epochs: int) -> float:
        """Return the learning rate of one epoch of a stage.

        A pure function of the position, so that resuming restores it by construction.

        Args:
            epoch: Epochs of the stage already done.
            epochs: Length of the stage.
        """
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        if self.schedule == "step":
            return self.lr * self.schedule_factor ** (epoch // self.schedule_every)
        if self.schedule == "thirds":
            return self.lr * self.schedule_factor ** (3 * epoch // epochs)
        return self.lr

    def measured_epochs(self, epochs: int) -> frozenset[int]:
        """Return the log-spaced epochs, counted from 1 and ending with the last, that measure the training split.

        Args:
            epochs: Length of the stage.
        """
        steps = self.measure_points - 1
        return frozenset({*(round(epochs ** (index / steps)) for index in range(steps)), epochs})

    def make_optimizer(self, method: Method) -> torch.optim.Optimizer:
        """Create the optimizer for the method's parameter groups."""
        import torch

        groups = [{"lr_scale": 1.0, **group} for group in method.parameter_groups()]
        # fused: one kernel for all parameters; on a small net the optimizer is a third of the step otherwise.
        lr, weight_decay = self.lr, self.weight_decay
        if self.optimizer == "sgd":
            sgd = _without_compiler(torch.optim.SGD)
            return sgd(groups, lr, self.momentum, weight_decay=weight_decay, fused=True)
        adam = _without_compiler(torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW)
        return adam(groups, lr, weight_decay=weight_decay, fused=True)

    def autocast(self, device: torch.device) -> torch.dtype | None:
        """Return the data type of training's forward pass on a device; None stands for float32."""
        import torch

        if self.precision == "bfloat16" or (
            self.precision == "auto"
            and device.type == "cuda"
            and torch.cuda.is_bf16_supported(including_emulation=False)
        ):
            return torch.bfloat16
        return None


def _without_compiler(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return one of torch's optimizers whose methods are not wrapped for graphs that the compiler traces.

    No step here is part of such a graph, and the wrappers import torch's compiler, which takes as long as all of torch.
    """
    import torch

    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {**plain, "step": torch.no_grad()(inspect.unwrap(kind.step))})


def recipe_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return, by the recipe's keys, a user's settings of a run.

    Raises:
        ConfigurationError: There is one that no recipe has.
    """
    valid = [f"recipe.{key}" for key in Recipe.model_fields]
    for key in settings:
        if key not in valid:
            raise unknown_name("setting", key, valid)
    return {key.removeprefix("recipe."): value for key, value in settings.items()}


def base_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the run that one with these settings builds on."""
    return {key.removeprefix(BASE): value for key, value in settings.items() if key.startswith(BASE)}


def refuse_without_effect(
    method: str, own_epochs: bool, base: str | None, given: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Refuse what sets up training by epochs, of a method that does none, or the epochs of one that has its own.

    Args:
        method: Its name.
        own_epochs: Whether it trains, and a parameter `epochs` says for how long.
        base: The spec of the method that it builds on, if any.
        given: Key of the recipe -> what is given. All keys together are those of a record, to make its run again, and
            what the recipe has anyway changes nothing: neither is a mistake.
        values: Key -> what the dataset and the method give.

    Raises:
        ConfigurationError: There is some.
    """
    without_effect = {"epochs"} if own_epochs else OF_EPOCHS
    for key in [] if given.keys() == Recipe.model_fields.keys() else sorted(given.keys() & without_effect):
        if given[key] != values.get(key, Recipe.model_fields[key].get_default()):
            if own_epochs:
                raise ConfigurationError(
                    f"{method} has epochs of its own: {method}:epochs={given[key]}, not recipe.epochs."
                )
            way = "Leave it out" if base is None else f"That of the {base} it builds on is set by {BASE}recipe.{key}"
            raise ConfigurationError(f"{method} trains nothing by epochs, so that recipe.{key} has no effect. {way}.")


def schedules(stages: Sequence[Stage]) -> list[tuple[int, int]]:
    """For each stage, how many epochs of its learning-rate schedule are done before it, and how many there are in all.

    A stage has a schedule of its own, which the stages that continue it share.
    """
    shared: list[list[Stage]] = []
    for stage in stages:
        if stage.continues and shared:
            shared[-1].append(stage)
        else:
            shared.append([stage])
    return [
        (sum(earlier.epochs for earlier in group[:position]), sum(stage.epochs for stage in group))
        for group in shared
        for position in range(len(group))
    ]


def rescale(optimizer: torch.optim.Optimizer, method: Method) -> None:
    """Take over the learning-rate scales of a stage that goes on with the optimizer of the one before.

    Raises:
        PluginError: Its parameters are not those that the optimizer knows.
    """
    groups = method.parameter_groups()
    known = [list(map(id, group["params"])) for group in optimizer.param_groups]
    if [list(map(id, group["params"])) for group in groups] != known:
        raise PluginError(
            f"{type(method).__name__} changes its parameters in the stage {method.progress.stage!r}, which continues "
            "the one before."
        )
    for group, declared in zip(optimizer.param_groups, groups, strict=True):
        group["lr_scale"] = declared.get("lr_scale", 1.0)
