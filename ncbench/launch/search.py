"""Random search: settings that are drawn, the same ones for every method of a block."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from ncbench.contracts.specs import Scalar
from ncbench.data.files import Part

MOST_TRIALS = 10_000
DIGITS = 3  # significant ones of a drawn number: nobody tunes more, and specs stay readable

Values = Annotated[tuple[Scalar, ...], Field(min_length=1)]
"""What to choose from."""


class Uniform(Part):
    """Numbers drawn evenly between two bounds."""

    uniform: tuple[float, float]


class LogUniform(Part):
    """Positive numbers whose logarithm is drawn evenly between two bounds."""

    log_uniform: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class Search(Part):
    """Random search: every method and dataset of the block gets the same number of draws.

    Args:
        trials: How many, at most 10,000.
        seed: Of the draws; those of one block depend on nothing else, so all its methods try the same recipes.
        space: Setting -> the values it may take, or bounds.
    """

    trials: int = Field(ge=1, le=MOST_TRIALS)
    seed: int = 0
    space: Mapping[str, Values | Uniform | LogUniform] = Field(min_length=1)

    def draws(self) -> Iterator[dict[str, Scalar]]:
        """Yield the settings of each trial."""
        generator = random.Random(self.seed)  # noqa: S311 (no secret)
        for _ in range(self.trials):
            yield {key: _draw(generator, values) for key, values in sorted(self.space.items())}


def _draw(generator: random.Random, values: Values | Uniform | LogUniform) -> Scalar:
    if isinstance(values, tuple):
        return generator.choice(values)
    if isinstance(values, Uniform):
        drawn = generator.uniform(*values.uniform)
    else:
        drawn = math.exp(generator.uniform(*map(math.log, values.log_uniform)))
    return float(f"{drawn:.{DIGITS}g}")
