"""The contract of a dataset: source files in, splits of inputs and labels out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from ncbench.contracts.errors import DataError, unknown_name
from ncbench.contracts.groups import attribute_names, ravel_attributes
from ncbench.contracts.parameters import Parameters
from ncbench.contracts.specs import Spec

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
        bias: (N,) int64 bias attribute 0..B-1, or None where it is unknown; (N, A) int64 where the dataset has several
            `attributes`, which the core ravels into one.
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


class Thinning(Parameters):
    """What every dataset can be asked for: training images thinned out to equal or unequal class counts.

    The core does it to what a dataset reads (see :mod:`ncbench.data.store.imbalance`), so a dataset has no code for it.
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

    @classmethod
    def of(cls, spec: Spec) -> Thinning:
        """Return what a dataset's spec asks for.

        Raises:
            ConfigurationError: A value is not valid.
        """
        return cls.build({key: value for key, value in spec.parameters.items() if key in cls.model_fields}, spec.name)

    def __bool__(self) -> bool:
        """Whether a part of the training images is left out."""
        return self.imbalance != "none" or self.per_class > 0


@dataclass(frozen=True)
class DatasetParameters:
    """Everything a dataset is asked for: one set of keys in specs, in records and on the command line.

    Args:
        own: The dataset's own parameters, which it is made with.
        thinning: What the core keeps of its training images.
    """

    own: Parameters
    thinning: Thinning

    @classmethod
    def build(cls, kind: type[Dataset], values: Mapping[str, Any], owner: str) -> Self:
        """Validate `values`; raises :class:`ConfigurationError` as :meth:`Parameters.build` does."""
        own, common = kind.Parameters.model_fields, Thinning.model_fields
        for key in values:
            if key not in own and key not in common:
                raise unknown_name(f"parameter of {owner}", key, [*own, *common])
        return cls(
            kind.Parameters.build({key: value for key, value in values.items() if key in own}, owner),
            Thinning.build({key: value for key, value in values.items() if key in common}, owner),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return every value, defaults included, as plain scalars; the dataset's own come first."""
        return {**self.own.as_dict(), **self.thinning.as_dict()}

    def spec(self, name: str, published: Mapping[str, Any] = MappingProxyType({})) -> Spec:
        """Return the canonical spec, as :meth:`Parameters.spec` does."""
        parts = (part.spec(name, published).parameters for part in (self.own, self.thinning))
        return Spec(name, {key: value for part in parts for key, value in part.items()})

    @staticmethod
    def describe(kind: type[Dataset]) -> list[tuple[str, str, str, str]]:
        """Return (key, type, default, description) of everything that datasets of a kind can be asked for."""
        return [*kind.Parameters.describe(), *Thinning.describe()]


class Dataset:
    """A dataset in its original layout on disk.

    Subclasses set the class attributes and implement :meth:`source_files` and :meth:`read`; a dataset that can write
    a twin of itself implements :meth:`synthesize`. Users can thin out the training images of any dataset by the keys of
    :class:`Thinning`, so its own `Parameters` have none of these names.

    Args:
        params: Its own parameters, validated.
        root: The data root that holds `folder`; None for an embedded dataset.

    Attributes:
        folder: Where the sources lie below a data root; None if the dataset is embedded in a package.
        class_names: K names.
        attributes: Name -> value names of each bias attribute, where there are several. The core ravels them into one
            whose values are their combinations (see :func:`ncbench.contracts.groups.ravel_attributes`).
        bias_names: B names; empty if the attribute is unknown. Of several `attributes` they follow by themselves:
            ``"ground=water, side=left"``.
        image_size: (H, W) of the stored images; None for feature vectors.
        shorter_side: Of image files: pixels their shorter side is resized to before the centre is cropped out; None
            resizes them to cover `image_size`.
        cut_bottom: Of image files: rows cut off at the bottom before that, such as a banner.
        hierarchy: Of the classes, or None.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    folder: ClassVar[str | None]

    class_names: Sequence[str]
    attributes: Mapping[str, Sequence[str]] = MappingProxyType({})
    image_size: tuple[int, int] | None = None
    shorter_side: int | None = None
    cut_bottom: int = 0
    hierarchy: Hierarchy | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if taken := sorted(cls.Parameters.model_fields.keys() & Thinning.model_fields.keys()):
            raise TypeError(f"{cls.__qualname__}.Parameters declares {', '.join(taken)}, which every dataset has.")

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

    @functools.cached_property
    def bias_names(self) -> Sequence[str]:
        """B names, which a dataset with one attribute sets."""
        return attribute_names(self.attributes)

    @property
    def aligned_bias(self) -> Sequence[int] | None:
        """For each class, the bias value that goes along with it in training: its own index where K = B.

        Of several attributes, the combination of their values of that index where each has K.
        """
        number = len(self.class_names)
        sizes = [len(values) for values in self.attributes.values()] or [len(self.bias_names)]
        if any(size != number for size in sizes):
            return None
        own = np.arange(number)[:, None].repeat(len(sizes), axis=1)  # (K, A)
        aligned: list[int] = ravel_attributes(own, sizes).tolist()
        return aligned

    @property
    def has_val(self) -> bool | None:
        """Whether it has a validation split; None where only reading it tells."""
        return None

    @classmethod
    def place(cls, params: Any) -> Path | None:
        """Return the folder of the sources where the parameters name one of the user's own; None below a data root."""
        return None

    @classmethod
    def val_uses_bias(cls, params: Any) -> bool:
        """Whether the bias attribute decided, with these parameters, which images the validation split has.

        Whatever selects or fits by such a split has used bias labels of validation images, whichever metric it takes.
        It is for a split that is made by a parameter, not for one that was released.
        """
        return False

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
