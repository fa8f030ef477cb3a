"""What a method says and returns, checked before anything goes by it: an order, a loss, groups, a report, a space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from ncbench.contracts.errors import PluginError
from ncbench.contracts.method import GroupInference, Method
from ncbench.contracts.parameters import Values
from ncbench.contracts.task import Batch, Groups, SplitView


def sound_order(method: Method, number: int, order: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
    """Return what the method's `order` returned for so many training images, on the CPU.

    Raises:
        PluginError: It is not made of int64 positions of training images, at least one in it and in each batch.
    """
    batches = [order] if isinstance(order, Tensor) else list(order)
    problem = "" if batches else "returns no batch"
    for batch in batches:
        if not isinstance(batch, Tensor) or batch.dtype != torch.int64 or batch.dim() != 1 or not len(batch):
            problem = f"must return int64 positions, or batches of them, not {batch!r:.80}"
        elif not 0 <= batch.min() <= batch.max() < number:
            problem = f"must return positions in 0..{number - 1}, not {int(batch.min())} to {int(batch.max())}"
    if problem:
        raise PluginError(f"order() of {type(method).__name__} {problem}.")
    return order.cpu() if isinstance(order, Tensor) else [batch.cpu() for batch in batches]


def sound_loss(method: Method, batch: Batch, autocast: torch.dtype | None) -> dict[str, Tensor]:
    """Return the terms of a method's loss by name, with the one to minimise as ``"loss"``.

    Raises:
        PluginError: It is neither a scalar nor a dict of named scalars, a term has the name of their sum, or nothing
            can be learned from it.
    """
    name, device = type(method).__name__, batch.target.device.type
    with torch.autocast(device, dtype=autocast, enabled=autocast is not None):
        returned: object = method.loss(batch)
    terms = {"loss": returned} if isinstance(returned, Tensor) else returned
    if not (isinstance(terms, dict) and terms and all(map(_is_named_scalar, terms.items()))):
        got = f"a tensor of shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else f"{returned!r:.80}"
        raise PluginError(f"loss() of {name} must return a scalar tensor or a dict of named ones, not {got}.")
    if terms is returned:
        if "loss" in terms:
            raise PluginError(
                f"{name} has a term named 'loss', which is what the sum of all terms is called; give it another name."
            )
        # Autocast leaves some terms in bfloat16, in which sums over an epoch would stop growing.
        terms = {name: term.float() for name, term in terms.items()}
        terms = {"loss": torch.stack(list(terms.values())).sum(), **terms}
    if not terms["loss"].requires_grad:
        raise PluginError(f"loss() of {name} depends on no parameter that could be trained.")
    return terms


def _is_named_scalar(item: tuple[object, object]) -> bool:
    name, term = item
    return isinstance(name, str) and isinstance(term, Tensor) and term.dim() == 0


def sound_groups(method: Method, train: SplitView, val: SplitView | None) -> Groups | None:
    """Return the groups that a method infers; None of one that infers none.

    Raises:
        PluginError: They are not those of the images of the splits.
    """
    if not isinstance(method, GroupInference):
        return None
    groups: object = method.infer(train, val)
    annotates = val is not None and method.annotates_val(method.params)
    problem = ""
    if not isinstance(groups, Groups):
        problem = f"must return ncbench.Groups, not {groups!r:.80}"
    elif len(groups.train) != len(train):
        problem = f"returns the groups of {len(groups.train)} of {len(train)} training images"
    elif (groups.val is not None) != annotates:
        problem = f"gives {'no ' if annotates else ''}groups of validation images, against what annotates_val() says"
    elif val is not None and groups.val is not None and len(groups.val) != len(val):
        problem = f"returns the groups of {len(groups.val)} of {len(val)} validation images"
    if problem or not isinstance(groups, Groups):
        raise PluginError(f"infer() of {type(method).__name__} {problem}.")
    return groups


def sound_search_space(method: type[Method]) -> dict[str, Values]:
    """Return what a search tries of a method.

    Raises:
        PluginError: It is no choices or bounds by name.
    """
    try:
        return TypeAdapter(dict[str, Values]).validate_python(getattr(method, "search_space", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][:1])) or "the whole"
        raise PluginError(f"search_space of {method.__name__} is not valid: {where}: {first['msg']}.") from error


def sound_report(method: Method) -> dict[str, float]:
    """Return the numbers that the method has to report.

    Raises:
        PluginError: They are not finite numbers by name.
    """
    report: object = method.report
    if not (isinstance(report, Mapping) and all(map(_is_named_number, report.items()))):
        raise PluginError(f"report of {type(method).__name__} must be finite numbers by name, not {report!r:.80}.")
    return {name: float(number) for name, number in report.items()}


def _is_named_number(item: tuple[object, object]) -> bool:
    name, number = item
    return isinstance(name, str) and isinstance(number, Real) and math.isfinite(number)
