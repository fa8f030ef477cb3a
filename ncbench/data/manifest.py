"""The manifest: what a dataset is, where it comes from, what it must contain, and how it is trained on by default."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import pydantic
import yaml
from pydantic import Field

from ncbench.contracts.errors import DataError
from ncbench.contracts.specs import NAME, Scalar


def _inside(path: str) -> str:
    """Refuse a path that is absolute or climbs out of the data root: a manifest says where files are written."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in parts[0]:
        raise ValueError("must be a relative path that stays inside its folder")
    return path


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[str, pydantic.AfterValidator(_inside)]
Url = Annotated[str, Field(pattern=r"^https?://")]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Licence(_Part):
    """The terms the data come under; `url` is where they are stated."""

    name: str
    url: str


class HttpFile(_Part):
    """One file to download.

    Args:
        path: Where it is placed, relative to the data root.
        urls: Mirrors in order of preference.
        sha256: Of the file as it is served.
        bytes: Its size, for the disk-space check and the progress display.
    """

    path: RelativePath
    urls: tuple[Url, ...] = Field(min_length=1)
    sha256: Sha256
    bytes: int = Field(gt=0)


class HttpSource(_Part):
    """Files served over http(s); all of them make up the dataset."""

    kind: Literal["http"]
    files: tuple[HttpFile, ...] = Field(min_length=1)


class HubSource(_Part):
    """A dataset repository on the Hugging Face hub.

    Args:
        id: ``owner/name``.
        revision: A commit. It pins every byte, so no checksum is needed beside it.
        path: Folder the repository's files are placed in, relative to the data root.
        patterns: The files wanted, as glob patterns; empty means all of them.
    """

    kind: Literal["hub"]
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    path: RelativePath
    patterns: tuple[str, ...] = ()


class ManualSource(_Part):
    """What a person has to do to get the data: one paragraph, shown as it is."""

    kind: Literal["manual"]
    instructions: str


class SourceFile(_Part):
    """A source file whose content is known.

    Args:
        path: Relative to the dataset's folder; the file may also lie there compressed, with ``.gz`` appended.
        sha256: Of the decompressed content.
        bytes: Size of the decompressed content.
    """

    path: RelativePath
    sha256: Sha256
    bytes: int = Field(ge=0)


class SplitCounts(_Part):
    """What a split must contain.

    Args:
        images: How many images.
        classes: Images of each class, where that is fixed.
        groups: Images of each group (y, a), a row a class, where that is fixed.
    """

    images: int = Field(gt=0)
    classes: tuple[int, ...] | None = None
    groups: tuple[tuple[int, ...], ...] | None = None


class Manifest(_Part):
    """What ncbench knows of a dataset without having it.

    Args:
        name: The dataset's name, as on its card.
        title: Its name in prose.
        version: Of the data as they are read; raise it when the same sources give other images or labels.
        licence: Terms of use.
        citation: Author, title, venue and year.
        homepage: Where it is described.
        sources: Ways to get it, in order of preference; empty for an embedded dataset.
        files: Source files whose content is known, checked before they are used.
        counts: What each split must contain. A ``val`` split that is not listed here is counted with ``train``,
            which it was carved from.
        backbone: Spec of the default backbone.
        recipe: Default recipe values by key.
        primary_metric: The metric the dataset's results are reported in.
        selection: The default criterion that picks the reported epoch.
        channel_mean: Of the channels in [0, 1], for the ``standard`` input scaling; ImageNet's by default.
        channel_std: Likewise.
        notes: Anything a user should know.
    """

    name: str = Field(pattern=f"^{NAME.pattern}$")
    title: str
    version: str
    licence: Licence
    citation: str
    homepage: str
    sources: tuple[Annotated[HttpSource | HubSource | ManualSource, Field(discriminator="kind")], ...] = ()
    files: tuple[SourceFile, ...] = ()
    counts: Mapping[Literal["train", "val", "test"], SplitCounts] = Field(default_factory=dict)
    backbone: str
    recipe: Mapping[str, Scalar] = Field(default_factory=dict)
    primary_metric: str
    selection: str
    channel_mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    channel_std: tuple[float, ...] = (0.229, 0.224, 0.225)
    notes: str = ""

    def counting(self, what: Literal["all", "images", "none"]) -> Manifest:
        """Return the manifest with those of its counts that hold (see :attr:`Dataset.counts_hold`)."""
        if what == "all":
            return self
        images = {split: SplitCounts(images=counts.images) for split, counts in self.counts.items()}
        return self.model_copy(update={"counts": images if what == "images" else {}})

    def for_twin(self) -> Manifest:
        """Return the manifest without what holds for the real data only: counts and checksums."""
        return self.model_copy(update={"counts": {}, "files": ()})


def load_manifest(reference: str) -> Manifest:
    """Read and validate a manifest.

    Args:
        reference: ``"package:path/to/file.yaml"``, a resource of an installed package.

    Raises:
        DataError: The file does not exist, is not YAML, or has a missing, unknown or invalid field; every one is named.
    """
    package, _, path = reference.partition(":")
    try:
        text = _resource(package, path).read_text(encoding="utf-8")
    except (OSError, ImportError) as error:
        raise DataError(f"The manifest {reference} cannot be read ({error}).") from error
    try:
        return Manifest.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise DataError(f"The manifest {reference} is not valid YAML: {' '.join(str(error).split())}.") from error
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}" for item in error.errors()
        )
        raise DataError(f"The manifest {reference} is not valid: {problems}.") from error


def _resource(package: str, path: str) -> Traversable:
    inside = importlib.resources.files(package).joinpath(path)
    if package == "ncbench" and not inside.is_file():
        # A wheel carries datasets_manifest/ inside the package; in a checkout it lies beside it.
        return Path(str(importlib.resources.files(package))).parent / path
    return inside
