"""Backbones that compute their process's rows of a batch, and have the features of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.method import Backbone
from ncbench.contracts.task import derived_seed
from ncbench.training.devices.ranks import Ranks

_CONVERTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def splitting(make_backbone: Callable[..., Backbone], ranks: Ranks) -> Callable[..., Backbone]:
    """Return what makes the same backbones, whose work the processes of a run share.

    To whoever calls one it is as it was, for every derivative of any order: images of the whole batch go in, and the
    features of the whole batch come out, in every process alike. Where a method looks inside, by hooks of its own, or
    calls a part of it, that is computed for the whole batch in every process.

    Raises:
        ConfigurationError: On making one: it has batch normalisation, whose statistics this device cannot share.
    """
    if ranks.count == 1:
        return make_backbone

    def make(spec: str | None = None) -> Backbone:
        backbone = make_backbone(spec)
        if any(True for _ in backbone.parameters()):  # else there is no work to share
            _share_statistics(backbone, ranks)
            rows = _Rows(ranks)
            before, after = rows.before, rows.after
            if backbone._compiled_call_impl is not None:
                before, after = map(torch.compiler.disable, (before, after))
            backbone.register_forward_pre_hook(before)
            backbone.register_forward_hook(after, always_call=True)
        return backbone

    return make


def _share_statistics(backbone: Backbone, ranks: Ranks) -> None:
    """Let batch normalisation be over the rows of all processes."""
    norms = {type(module) for module in backbone.modules() if isinstance(module, _BatchNorm)} - {nn.SyncBatchNorm}
    on_cuda = ranks.device.type == "cuda"
    if unknown := norms.difference(_CONVERTED) if on_cuda else norms:
        kind, other = min(each.__name__ for each in unknown), "" if on_cuda else "CUDA devices, "
        raise ConfigurationError(
            f"The backbone {type(backbone).__name__} has batch normalisation ({kind}), which "
            f"{'torch' if on_cuda else 'a CPU'} cannot compute over {ranks.count} processes. Use another backbone, "
            f"such as mlp, {other}or leave out --devices."
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(backbone)  # type: ignore[no-untyped-call]


class _Rows:
    """The hooks of one backbone, and of its copies."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.number: int | None = None  # of rows in the pass under way; None where all are computed here
        self.seeded: tuple[int, int] = (0, 0)  # from which seed the generators started, and passes since
        self.outside: list[Tensor] = []  # states of the generators
        self.given: list[tuple[nn.Module, str, nn.Parameter]] = []  # parameters that others stand in for, and where

    def __deepcopy__(self, memo: dict[int, Any]) -> _Rows:
        return _Rows(self.ranks)

    def before(self, backbone: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Pass on this process's rows."""
        images = given[0]
        self.number = None
        if len(images) < self.ranks.count or _is_watched(backbone):
            return None
        self.number = len(images)
        if torch.is_grad_enabled():
            self._stand_in(backbone)
        if backbone.training:
            self._start_drawing()
        own = _Own.apply(images, self.ranks) if images.requires_grad else images[self.ranks.part(len(images))]
        return own, *given[1:]

    def after(self, backbone: nn.Module, given: tuple[Any, ...], features: Tensor | None) -> Tensor | None:
        """Return the features of all rows, or nothing where the pass has failed."""
        number, self.number = self.number, None
        while self.given:
            module, name, parameter = self.given.pop()
            module._parameters[name] = parameter
        if number is None or features is None:
            return features
        if backbone.training:
            self._stop_drawing()
        whole: Tensor = _Whole.apply(features, self.ranks, number)
        return whole

    def _start_drawing(self) -> None:
        """Let this process's dropout draw numbers of its own, so that all go on alike with what they draw in common."""
        generators, seed = self._generators(), torch.initial_seed()
        self.seeded = seed, self.seeded[1] + 1 if self.seeded[0] == seed else 0
        self.outside = [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(derived_seed(*self.seeded, "rows", self.ranks.index))
        self.inside = [generator.get_state() for generator in generators]

    def _stand_in(self, backbone: nn.Module) -> None:
        """Let the pass see each parameter as the same values whose gradient is averaged."""
        self.given = [
            (module, name, parameter)
            for module in backbone.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None and parameter.requires_grad
        ]
        distinct = list({id(parameter): parameter for *_, parameter in self.given}.values())
        averaged = dict(zip(map(id, distinct), _Averaged.apply(self.ranks, *distinct), strict=True))
        for module, name, parameter in self.given:
            module._parameters[name] = averaged[id(parameter)]

    def _stop_drawing(self) -> None:
        for generator, inside, outside in zip(self._generators(), self.inside, self.outside, strict=True):
            self.ranks.draws |= not torch.equal(generator.get_state(), inside)
            generator.set_state(outside)

    def _generators(self) -> list[torch.Generator]:
        of_device = (
            [torch.cuda.default_generators[torch.cuda.current_device()]] if self.ranks.device.type == "cuda" else []
        )
        return [torch.default_generator, *of_device]


def _is_watched(backbone: nn.Module) -> bool:
    """Whether somebody looks at what happens inside, who is to see it for the whole batch."""
    inside = any(
        module._forward_hooks or module._forward_pre_hooks for module in backbone.modules() if module is not backbone
    )
    return inside or len(backbone._forward_hooks) + len(backbone._forward_pre_hooks) > 2


# What every process has alike has the true gradient; what is one process's own, `count` times that, since the mean over
# the processes is taken of parameters' gradients. So the two steps below are each other's gradients, up to that factor.


class _Own(torch.autograd.Function):
    """This process's rows of what all have."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks, ctx.number = ranks, len(whole)
        return whole[ranks.part(len(whole))].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole: Tensor = _Whole.apply(gradients[0], ctx.ranks, ctx.number)
        return whole / ctx.ranks.count, None


class _Whole(torch.autograd.Function):
    """The rows of all processes."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks, number: int) -> Tensor:
        ctx.ranks = ranks
        return ranks.gather(own, number)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own: Tensor = _Own.apply(gradients[0], ctx.ranks)
        return own * ctx.ranks.count, None, None


class _Averaged(torch.autograd.Function):
    """Parameters as they are; their gradients are averaged once all of them are there, and told in one message."""

    @staticmethod
    def forward(ctx: Any, ranks: Ranks, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.ranks = ranks
        ctx.set_materialize_grads(False)
        return tuple(parameter.view_as(parameter) for parameter in parameters)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        means = iter(_Mean.apply(ctx.ranks, *(gradient for gradient in gradients if gradient is not None)))
        return None, *(None if gradient is None else next(means) for gradient in gradients)


class _Mean(torch.autograd.Function):
    """The means over the processes; their gradients are handed on, as those of what is computed a process."""

    @staticmethod
    def forward(ctx: Any, ranks: Ranks, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(ranks.average(gradients))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradients
