"""Data of the user's own: labelled inputs, in splits that are given or made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ncbench import ConfigurationError, DataError, Dataset, LocalPath, Parameters, Split, name_offenders, names_of
from ncbench import codes_of as positions
from ncbench_datasets.made.held_out import ValShare, hold_out

SPLITS = {
    **dict.fromkeys(("train", "training", "0"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "1"), "val"),
    **dict.fromkeys(("test", "testing", "2"), "test"),
}
"""What a split may be called."""

DEFAULT_TEST = 0.2


class OwnParameters(Parameters):
    """Parameters of data of the user's own."""

    path: LocalPath = Field("", description="where the data lie; in specs and records a digest takes its place")
    val: ValShare = 0.0
    test: Annotated[float, Field(ge=0, lt=1)] = Field(
        DEFAULT_TEST, description="share of each group held out for the test, where there is no split called test"
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
                f"path={params.path} is the digest that a record has in place of a path: say where the data lie here."
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
    def bias_names(self) -> Sequence[str]:
        """The values of the attribute, or the combinations of several ones' values."""
        return Dataset.bias_names.func(self)

    @cached_property
    def aligned_bias(self) -> Sequence[int] | None:  # type: ignore[override]
        """For each class, the bias value that most of its training images have."""
        if not self.attributes:
            return None
        train = self.read()["train"]
        sizes = [len(values) for values in self.attributes.values()]
        assert train.bias is not None
        bias = np.ravel_multi_index(tuple(train.bias.T), tuple(sizes))
        count = np.zeros((len(self.class_names), int(np.prod(sizes))), np.int64)
        np.add.at(count, (train.target, bias), 1)
        most = count.max(axis=1, keepdims=True)
        return count.argmax(axis=1).tolist() if (count == most).sum(axis=1).max() == 1 else None

    def read(self) -> Mapping[str, Split]:
        """Read the splits, or make them.

        Raises:
            DataError: The sources are damaged, a split has a name that means none, or classes of another split have no
                training image; all offenders are named.
            ConfigurationError: A share leaves a group without images to train on.
        """
        found = self.labelled
        target = positions(self.source, found.target, self.class_names)
        columns = [positions(self.source, found.attributes[name], values) for name, values in self.attributes.items()]
        bias = np.stack(columns, axis=1) if columns else None
        split = self._splits(found, np.unique(np.column_stack([target, *columns]), axis=0, return_inverse=True)[1])
        unseen = sorted({self.class_names[y] for y in target} - {self.class_names[y] for y in target[split == "train"]})
        if unseen:
            raise DataError(f"{self.source}: no training image has the class {name_offenders(unseen)}.")
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
