"""The contract of a dataset: source files in, splits of inputs and labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from ncbench.contracts.errors import DataError
from ncbench.contracts.parameters import Parameters

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy


class ImageFile(Protocol):
    """The content of an image file: a path, or what lies inside another file, such as a row of a parquet file.

    Its ``str`` says where it is, for messages.
    """

    def read_bytes(self) -> bytes:
        """Return the encoded image; of what is no path, it may be called by several threads at once.

        Raises:
            DataError: The file around it is damaged.
        """


@dataclass(frozen=True, eq=False)
class Split:
    """One split, as the dataset reads it from its sources.

    Args:
        inputs: (N, H, W, C) uint8 images; or N image files, usually paths, that the store decodes to the dataset's
            `image_size`; or (N, D) float32 feature vectors.
        target: (N,) int64 classes 0..K-1.
        bias: (N,) int64 bias attribute 0..B-1, or None where it is unknown.
        ids: N identifiers, unique within the split, that lead back to the source.
    """

    inputs: np.ndarray | Sequence[ImageFile]
    target: np.ndarray
    bias: np.ndarray | None
    ids: Sequence[str]

    @property
    def images(self) -> np.ndarray | Sequence[ImageFile]:
        """The same as `inputs`, which was called so before there were feature vectors."""
        return self.inputs


_init = Split.__init__


def _init_by_older_name(split: Split, *given: Any, **named: Any) -> None:
    if "images" in named:
        named["inputs"] = named.pop("images")
    _init(split, *given, **named)


Split.__init__ = _init_by_older_name  # type: ignore[method-assign, assignment]


class DatasetParameters(Parameters):
    """What every dataset can be asked for: training images thinned out to equal or unequal class counts.

    The core does it to what a dataset reads (see :mod:`ncbench.data.store.imbalance`), so a dataset has no code for it.
    A dataset's own `Parameters` may extend any :class:`Parameters`: :class:`Dataset` adds these fields.
    """

    imbalance: Literal["none", "step", "exp"] = Field(
        "none", description="class counts of the training images: as they are, two levels, or exponentially falling"
    )
    ratio: float = Field(
        1.0, ge=1, validate_default=True, description="of an imbalance: the largest class count over the smallest"
    )
    minority: float = Field(
        0.5,
        gt=0,
        lt=1,
        validate_default=True,
        description="of imbalance=step: share of the classes, the last ones, that are small",
    )

    per_class: int = Field(
        0, ge=0, description="most training images kept of a class; 0 for all; a number that all have balances them"
    )

    @pydantic.field_validator("ratio")
    @classmethod
    def _ratio_fits(cls, ratio: float, info: pydantic.ValidationInfo) -> float:
        imbalance = info.data.get("imbalance")
        if imbalance == "none" and ratio != 1:
            raise PydanticCustomError("imbalance", "it needs imbalance=step or imbalance=exp beside it")
        if imbalance in ("step", "exp") and ratio == 1:
            raise PydanticCustomError("imbalance", f"imbalance={imbalance} needs a ratio above 1, such as ratio=10")
        return ratio

    @pydantic.field_validator("minority")
    @classmethod
    def _minority_fits(cls, minority: float, info: pydantic.ValidationInfo) -> float:
        if info.data.get("imbalance") in ("none", "exp") and minority != 0.5:
            raise PydanticCustomError("imbalance", "it needs imbalance=step beside it")
        return minority

    @property
    def thinned(self) -> bool:
        """Whether a part of the training images is left out."""
        return self.imbalance != "none" or self.per_class > 0


class Dataset:
    """A dataset in its original layout on disk.

    Subclasses set the class attributes and implement :meth:`source_files` and :meth:`read`; a dataset that can write
    a twin of itself implements :meth:`synthesize`. Whatever `Parameters` a subclass declares, it gets the fields of
    :class:`DatasetParameters` besides.

    Args:
        params: Validated parameters.
        root: The data root that holds `folder`; None for an embedded dataset.

    Attributes:
        folder: Where the sources lie below a data root; None if the dataset is embedded in a package.
        class_names: K names.
        bias_names: B names; empty if the attribute is unknown.
        image_size: (H, W) of the stored images; None for feature vectors.
        shorter_side: Of image files: pixels their shorter side is resized to before the centre is cropped out; None
            resizes them to cover `image_size`.
        cut_bottom: Of image files: rows cut off at the bottom before that, such as a banner.
        hierarchy: Of the classes, or None.
    """

    Parameters: ClassVar[type[Parameters]] = DatasetParameters
    folder: ClassVar[str | None]

    class_names: Sequence[str]
    bias_names: Sequence[str] = ()
    image_size: tuple[int, int] | None = None
    shorter_side: int | None = None
    cut_bottom: int = 0
    hierarchy: Hierarchy | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = cls.Parameters
        if issubclass(declared, DatasetParameters):
            return
        if taken := sorted(declared.model_fields.keys() & DatasetParameters.model_fields.keys()):
            raise TypeError(f"{cls.__qualname__}.Parameters declares {', '.join(taken)}, which every dataset has.")
        cls.Parameters = pydantic.create_model(
            declared.__name__,
            __base__=(DatasetParameters, declared),  # in this order, the dataset's own fields come first
            __module__=cls.__module__,
            __doc__=declared.__doc__,
        )
        cls.Parameters.__qualname__ = f"{cls.__qualname__}.Parameters"  # where pickle and people find it

    def __init__(self, params: Any, root: Path | None) -> None:
        self.params = params
        self.root = root

    @property
    def source(self) -> Path:
        """The folder with the sources.

        Raises:
            DataError: The dataset is embedded, or no data root was given.
        """
        if self.root is None or self.folder is None:
            raise DataError(f"{type(self).__name__} has no folder on disk.")
        return self.root / self.folder

    @property
    def aligned_bias(self) -> Sequence[int] | None:
        """For each class, the bias value that goes along with it in training: its own index where K = B."""
        return range(len(self.class_names)) if len(self.class_names) == len(self.bias_names) else None

    @classmethod
    def counts_hold(cls, params: Any) -> Literal["all", "images", "none"]:
        """What of the manifest's counts holds with these parameters: all, only the number of images, or none."""
        return "all"

    def source_files(self) -> Sequence[Path]:
        """Return every source file the splits depend on; an embedded dataset has none.

        Raises:
            DataError: A file or folder of the layout is missing; the message names it.
        """
        raise NotImplementedError

    def read(self) -> Mapping[str, Split]:
        """Read the splits: ``"train"``, ``"test"`` and, where the protocol has one, ``"val"``.

        Raises:
            DataError: A source is damaged or not what the manifest promises; the message names it.
        """
        raise NotImplementedError

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write a twin below `root`: the real layout with generated images that carry a learnable target and a
        stronger bias. An embedded dataset has no need of one.

        Raises:
            DataError: The dataset has no twin.
        """
        raise DataError(f"{cls.__name__} has no synthetic twin.")
