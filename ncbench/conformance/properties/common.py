"""Checks of every kind: the card tells the truth, and parameters are documented and validated."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ncbench.conformance.subject import ConformanceError, Property, Skipped, Subject, require
from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, PluginError
from ncbench.contracts.method import Backbone, GroupInference, Method
from ncbench.contracts.metric import Metric
from ncbench.contracts.parameters import Parameters
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import registry

BASES: Mapping[str, type] = {
    "method": Method,
    "groups": GroupInference,
    "dataset": Dataset,
    "metric": Metric,
    "backbone": Backbone,
}
_CITED = ("method", "groups", "dataset")


def card_is_truthful(subject: Subject) -> None:
    """The card names a documented class of its kind and, for methods, groups and datasets, the source."""
    try:
        factory = subject.card.load()
    except PluginError as error:
        raise ConformanceError(str(error)) from error
    base = BASES[subject.kind]
    named = f"{subject.card.factory!r} on the card"
    require(isinstance(factory, type) and issubclass(factory, base), f"{named} is no subclass of {base.__name__}")
    require(bool(inspect.cleandoc(factory.__doc__ or "")), f"{named} has no docstring of its own")
    if subject.kind in _CITED:
        require(bool(subject.card.citation.strip()), "the card cites no source")


def card_imports_no_torch(subject: Subject) -> None:
    """Discovering the plugin imports no torch, so that ``ncbench --help`` stays fast."""
    if subject.plugin is None:
        raise Skipped("the card does not come from an installed plugin")
    distribution = subject.plugin.distribution
    require(
        not _discovery_imports_torch(distribution, tuple(sys.path)),
        f"looking up the cards of {distribution} imports torch; import it in the modules that the factories name",
    )


@functools.cache
def _discovery_imports_torch(distribution: str, path: tuple[str, ...]) -> bool:
    """Whether torch is there after looking up the cards of one distribution in an interpreter of its own."""
    code = "import sys; from ncbench.discovery.registry import registry; registry(); print('torch' in sys.modules)"
    result = subprocess.run(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-c", code],
        env={**os.environ, "NCBENCH_PLUGINS": distribution, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    require(result.returncode == 0, f"looking up its cards alone failed: {result.stderr.strip()[-200:]}")
    return result.stdout.split()[-1] == "True"


def parameters_are_documented(subject: Subject) -> None:
    """Every parameter has a description, and a default that is a scalar."""
    model = _model(subject)
    bare = [key for key, field in model.model_fields.items() if not field.description]
    require(not bare, f"parameters without a description: {', '.join(bare)}")
    required = [key for key, field in model.model_fields.items() if field.is_required()]
    require(not required, f"parameters without a default: {', '.join(required)}")
    values = model.build({}, owner=subject.spec.name).as_dict()
    odd = [key for key, value in values.items() if not isinstance(value, bool | int | float | str | None)]
    require(not odd, f"parameters that are no scalars, so that no spec can hold them: {', '.join(odd)}")


def parameters_are_validated(subject: Subject) -> None:
    """Defaults are valid, unknown keys and values out of range are refused, and a canonical spec reads back."""
    model, name = _model(subject), subject.spec.name
    default = model.build({}, owner=name)
    require(model.build(default.as_dict(), owner=name) == default, "the defaults, given as values, give others")
    accepted = [
        f"{key}={value!r}"
        for key, value in (("no_such_parameter", 1), *_invalid_values(model))
        if not _refuses(model, {key: value}, name)
    ]
    require(not accepted, f"accepted though not valid: {', '.join(accepted)}")
    for values in ({}, dict(subject.spec.parameters), *choices(model, {}, name)):
        params = model.build(values, owner=name)
        text = str(params.spec(name))
        again = model.build(Spec.parse(text).parameters, owner=name)
        require(again == params, f"the canonical spec {text!r} does not read back as the parameters it was made of")


CHECKS_OF_CARDS: Sequence[Property] = (card_is_truthful, card_imports_no_torch)
CHECKS_OF_PARAMETERS: Sequence[Property] = (parameters_are_documented, parameters_are_validated)


def require_backbone(spec: str) -> None:
    """Look up a backbone and validate its parameters.

    Raises:
        ConfigurationError: There is no such backbone, or a parameter is not valid.
    """
    backbone = Spec.parse(spec)
    factory = registry().find("backbones", backbone.name).card.load()
    factory.Parameters.build(backbone.parameters, owner=backbone.name)


def require_same_in_any_batch(function: Callable[[Tensor], Tensor], images: Tensor, what: str, rtol: float) -> None:
    """Require that a function gives an image the same again, in any batch, at any place in it.

    Args:
        function: (N, C, H, W) -> (N, ...).
        images: To try it on.
        what: It gives.
        rtol: How large a difference is taken for one of rounding.
    """
    whole = function(images)
    ways = {
        "a second time": function(images),
        "one at a time": torch.cat([function(image[None]) for image in images]),
        "in another order": function(images.flip(0)).flip(0),
    }
    for way, again in ways.items():
        require(torch.allclose(whole, again, rtol=rtol, atol=1e-4), f"images taken {way} have other {what}")


def variants(subject: Subject) -> list[Subject]:
    """Return the subject with one named choice or switch changed, for every one.

    Raises:
        Skipped: There is none.
    """
    name, given = subject.spec.name, dict(subject.spec.parameters)
    found = [replace(subject, spec=Spec(name, values)) for values in choices(subject.factory.Parameters, given, name)]
    if not found:
        raise Skipped("no parameter is a choice or a switch")
    return found


def choices(model: type[Parameters], given: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield `given` with one named choice or switch changed, for every one that is valid beside the others."""
    values = model.build(given, owner=name).as_dict()
    for key, field in model.model_fields.items():
        alternatives: tuple[Any, ...] = ()
        if typing.get_origin(field.annotation) is typing.Literal:
            alternatives = typing.get_args(field.annotation)
        elif field.annotation is bool:
            alternatives = (False, True)
        for alternative in alternatives:
            changed = {**given, key: alternative}
            if alternative != values[key] and not _refuses(model, changed, name):
                yield changed


def _model(subject: Subject) -> type[Parameters]:
    model = getattr(subject.factory, "Parameters", None)
    if not (isinstance(model, type) and issubclass(model, Parameters)):
        raise ConformanceError("its Parameters are no subclass of ncbench.Parameters")
    return model


def _refuses(model: type[Parameters], values: Mapping[str, Any], name: str) -> bool:
    try:
        model.build(values, owner=name)
    except ConfigurationError:
        return True
    return False


def _invalid_values(model: type[Parameters]) -> Iterator[tuple[str, Any]]:
    """Yield values of another type than each parameter's, outside its choices, or beyond a bound it declares."""
    for key, field in model.model_fields.items():
        if field.annotation in (int, float, bool) or typing.get_origin(field.annotation) is typing.Literal:
            yield key, "neither a number nor a choice"
        if field.annotation is float:
            yield key, float("nan")
        for bound in field.metadata:
            for attribute, beyond in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                if (limit := getattr(bound, attribute, None)) is not None:
                    yield key, limit + beyond
