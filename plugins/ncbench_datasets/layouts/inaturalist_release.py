"""What both layouts of iNaturalist are read into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncbench import Split
from ncbench_datasets.layouts.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class Release:
    """A release on disk.

    Args:
        taxonomy: Of its classes.
        splits: By name, without a bias attribute.
        files: Every source file.
    """

    taxonomy: Taxonomy
    splits: Mapping[str, Split]
    files: Sequence[Path]
