"""Data of the user's own: labelled inputs, in splits that are given or made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ncbench import (
    ConfigurationError,
    DataError,
    Dataset,
    LocalPath,
    Parameters,
    Split,
    codes_of,
    name_offenders,
    names_of,
)
from ncbench.contracts.groups import group_counts, ravel_attributes
from ncbench_datasets.made.held_out import ValShare, hold_out

SPLITS = {
    **dict.fromkeys(("train", "training", "0"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "1"), "val"),
    **dict.fromkeys(("test", "testing", "2"), "test"),
}
"""What a split may be called."""


class OwnParameters(Parameters):
    """Parameters of data of the user's own."""

    path: LocalPath = Field("", description="where the data lie; in specs and records a digest takes its place")
    val: ValShare = 0.0
    test: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="share of each group held out for the test, where there is no split called test"
    )


@dataclass(frozen=True, eq=False)
class Labelled:
    """What was read, N inputs.

    Args:
        inputs: (N, D) float32 vectors, or N paths of images.
        ids: N names, unique.
        target: Labels of the classes.
        attributes: Name -> labels, of each bias attribute.
        split: What the split of each is called; None where there are none.
    """

    inputs: np.ndarray | Sequence[Path]
    ids: Sequence[str]
    target: Sequence[int] | Sequence[str]
    attributes: Mapping[str, Sequence[int] | Sequence[str]]
    split: Sequence[int] | Sequence[str] | None


class OwnData(Dataset):
    """Base of datasets whose sources are the user's; subclasses implement :meth:`source_files` and :meth:`labelled`.

    Where no split is called test, a share of each group is drawn for it, and where `val` says so, a share of the rest
    for validation. Who is drawn follows from the ids alone: it is the same on every machine and for every seed.

    With each class goes along the bias value that most of its training images have; where two have as many, none does.
    """

    Parameters = OwnParameters

    @classmethod
    def place(cls, params: Any) -> Path | None:
        """Return the folder that `path` is, or lies in."""
        if not params.path:
            return None
        path = Path(params.path).expanduser().absolute()
        if params.path.startswith("sha256-"):
            raise ConfigurationError(
                f"path={params.path} is the digest that a record has in place of a path: say where the data lie here, "
                "by --dataset or, in Python, dataset=."
            )
        if not path.exists():
            raise DataError(f"{path} does not exist. Check the path.")
        return path if path.is_dir() else path.parent

    @cached_property
    def labelled(self) -> Labelled:
        """What lies in the sources.

        Raises:
            DataError: They are damaged; all offenders are named.
        """
        raise NotImplementedError

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]
        """The classes that occur."""
        return names_of(self.source, self.labelled.target)

    @cached_property
    def attributes(self) -> Mapping[str, Sequence[str]]:  # type: ignore[override]
        """Name -> values that occur, of each bias attribute."""
        return {name: names_of(self.source, labels) for name, labels in self.labelled.attributes.items()}

    @cached_property
    def aligned_bias(self) -> Sequence[int] | None:  # type: ignore[override]
        """For each class, the bias value that most of its training images have."""
        target, bias, split = self._coded
        if bias is None:
            return None
        train = split == "train"
        value = ravel_attributes(bias[train], [len(values) for values in self.attributes.values()])
        count = group_counts(target[train], value, len(self.class_names), len(self.bias_names))
        most = count.max(axis=1, keepdims=True)
        return count.argmax(axis=1).tolist() if (count == most).sum(axis=1).max() == 1 else None

    def read(self) -> Mapping[str, Split]:
        """Read the splits, or make them.

        Raises:
            DataError: The sources are damaged, a split has a name that means none, or classes of another split have no
                training image; all offenders are named. Or there is nothing to test on.
            ConfigurationError: Images are to be held out for validation where there is a validation split.
        """
        found, (target, bias, split) = self.labelled, self._coded
        return {
            name: Split(
                inputs=found.inputs[mine] if isinstance(found.inputs, np.ndarray) else [found.inputs[i] for i in mine],
                target=target[mine],
                bias=None if bias is None else bias[mine],
                ids=[found.ids[index] for index in mine],
            )
            for name in ("train", "val", "test")
            if len(mine := np.flatnonzero(split == name))
        }

    @cached_property
    def _coded(self) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Each one's class, (N,) int64, attributes, (N, A) int64 if it has any, and split, (N,) text."""
        found = self.labelled
        target = codes_of(self.source, found.target, self.class_names)
        columns = [codes_of(self.source, found.attributes[name], values) for name, values in self.attributes.items()]
        bias = np.stack(columns, axis=1) if columns else None
        split = self._splits(found, np.unique(np.column_stack([target, *columns]), axis=0, return_inverse=True)[1])
        unseen = sorted({self.class_names[y] for y in target} - {self.class_names[y] for y in target[split == "train"]})
        if unseen:
            raise DataError(
                f"{self.source}: no training image has the class {name_offenders(unseen)}. Put some of its images into "
                "train, or take it out of the other splits."
            )
        return target, bias, split

    def _splits(self, found: Labelled, group: np.ndarray) -> np.ndarray:
        """Return the name of each one's split, (N,) text."""
        given = ["train"] * len(found.ids) if found.split is None else [str(name).lower() for name in found.split]
        if unknown := sorted({name for name in given if name not in SPLITS}):
            raise DataError(
                f"{self.source}: {name_offenders(unknown)} is no split. They are called train, val and test, or 0, 1 "
                "and 2."
            )
        split = np.array([SPLITS[name] for name in given], dtype="<U5")
        for name, share in (("test", self.params.test), ("val", self.params.val)):
            if (split == name).any():
                if name == "val" and share:
                    raise ConfigurationError("val holds images out where there is no validation split; here is one.")
                continue
            here = np.flatnonzero(split == "train")
            held = hold_out([found.ids[index] for index in here], group[here].reshape(-1), share, name)
            split[here[held]] = name
        if not (split == "test").any():
            raise DataError(f"{self.source} has no images to test on, and test={self.params.test:g} holds none out.")
        return split
