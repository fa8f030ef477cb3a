"""Random search: settings that are drawn, the same ones for every method of a block."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from pydantic import Field

from ncbench.contracts.parameters import Values, draw
from ncbench.contracts.specs import Scalar
from ncbench.data.files import Part

MOST_TRIALS = 10_000


class Search(Part):
    """Random search: every method and dataset of the block gets the same number of draws.

    Args:
        trials: How many, at most 10,000.
        seed: Of the draws; those of one block depend on nothing else, so all its methods try the same recipes.
        space: Setting -> the values it may take, or bounds.
    """

    trials: int = Field(ge=1, le=MOST_TRIALS)
    seed: int = 0
    space: Mapping[str, Values] = Field(min_length=1)

    def draws(self) -> Iterator[dict[str, Scalar]]:
        """Yield the settings of each trial."""
        generator = random.Random(self.seed)  # noqa: S311 (no secret)
        for _ in range(self.trials):
            yield {key: draw(values, generator) for key, values in sorted(self.space.items())}
