"""A search can do better than what is published: it may come upon it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import ncbench_methods
from ncbench import LogUniform, Method, Uniform
from ncbench.contracts.parameters import Scalar, Values

METHODS = {card.name: card.load() for card in ncbench_methods.ncbench_methods()}


def settled(method: type[Method], key: str) -> Iterator[Scalar]:
    """Yield the values of a searched setting that a method has by default, or on a dataset as published."""
    part, _, name = key.partition(".")
    if part == "method":
        yield method.Parameters.model_fields[name].default
    for published in method.published.values():
        given = published.parameters if part == "method" else published.recipe
        if name in given:
            yield given[name]


def is_within(value: Scalar, values: Values) -> bool:
    if isinstance(values, Uniform | LogUniform):
        low, high = values.bounds
        return low <= value <= high
    return value in values


@pytest.mark.parametrize("name", sorted(METHODS.keys()))
def test_a_search_may_come_upon_every_default_and_published_value(name: str) -> None:
    method = METHODS[name]
    outside = {
        key: missed
        for key, values in method.search_space.items()
        if (missed := [value for value in settled(method, key) if not is_within(value, values)])
    }
    assert not outside
