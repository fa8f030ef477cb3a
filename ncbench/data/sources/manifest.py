"""The manifest: what a dataset is, where it comes from, what it must contain, and how it is trained on by default.

The JSON Schema of :class:`Manifest` is committed beside this module (``manifest.schema.json``); a test keeps them
equal.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from ncbench.contracts.cards import NAME
from ncbench.contracts.errors import DataError, name_offenders
from ncbench.contracts.specs import Scalar, read_yaml
from ncbench.data.files import Part, faults


def stays_inside(path: str) -> bool:
    """Whether a path with forward slashes is relative and cannot climb out of the folder it is taken from."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not (path.startswith("/") or ".." in parts or "\\" in path or ":" in parts[0])


def _inside(path: str) -> str:
    """Refuse a path that leads out of the data root: a manifest says where files are written."""
    if not stays_inside(path):
        raise ValueError("must be a relative path that stays inside its folder")
    return path


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[str, pydantic.AfterValidator(_inside)]
Url = Annotated[str, Field(pattern=r"^https?://")]


class Licence(Part):
    """The terms the data come under; `url` is where they are stated."""

    name: str
    url: str


class Extraction(Part):
    """How a downloaded archive is unpacked.

    Args:
        kind: ``tar`` may be compressed, with gzip, bzip2 or xz.
        bytes: Size of all files that are unpacked; an archive that holds more is refused.
        folder: The folder of the archive whose content is wanted; None for the whole archive.
    """

    kind: Literal["zip", "tar"]
    bytes: int = Field(gt=0)
    folder: RelativePath | None = None


class HttpFile(Part):
    """One file to download.

    Args:
        path: Where it is placed, relative to the data root; of an archive, the folder its content becomes.
        urls: Mirrors in order of preference.
        sha256: Of the file as it is served.
        bytes: Its size, for the disk-space check and the progress display.
        extract: How to unpack it, if it is an archive.
    """

    path: RelativePath
    urls: tuple[Url, ...] = Field(min_length=1)
    sha256: Sha256
    bytes: int = Field(gt=0)
    extract: Extraction | None = None


class HttpSource(Part):
    """Files served over http(s); all of them make up the dataset."""

    kind: Literal["http"]
    files: tuple[HttpFile, ...] = Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _archives_have_folders_of_their_own(self) -> HttpSource:
        # A folder is moved into place in one step, so nothing else can lie in it.
        for archive in self.files:
            for file in self.files:
                if archive.extract and file is not archive and PurePosixPath(file.path).is_relative_to(archive.path):
                    raise ValueError(f"{file.path} lies in {archive.path}, which is made of an archive")
        return self


class HubSource(Part):
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


class ManualSource(Part):
    """What a person has to do to get the data: one paragraph, shown as it is."""

    kind: Literal["manual"]
    instructions: str


class SourceFile(Part):
    """A source file whose content is known.

    Args:
        path: Relative to the dataset's folder; the file may also lie there compressed, with ``.gz`` appended.
        sha256: Of the decompressed content.
        bytes: Size of the decompressed content.
        optional: Whether it may be missing, as it is where a dataset has several layouts.
    """

    path: RelativePath
    sha256: Sha256
    bytes: int = Field(ge=0)
    optional: bool = False


SplitName = Literal["train", "val", "test"]


class SplitCounts(Part):
    """What a split must contain.

    Args:
        images: How many images.
        classes: Images of each class, where that is fixed.
        groups: Images of each group (y, a), a row a class, where that is fixed.
    """

    images: int = Field(gt=0)
    classes: tuple[int, ...] | None = None
    groups: tuple[tuple[int, ...], ...] | None = None


class Lookalike(Part):
    """Data that circulate as the dataset, in its layout, and are not what was released.

    Args:
        description: What they are, as it goes on after "it is".
        counts: What tells them: data that have all of these counts are taken for them.
    """

    description: str
    counts: Mapping[SplitName, SplitCounts] = Field(min_length=1)


class TunedRecipe(Part):
    """Values of a recipe that were chosen by looking at test results.

    Args:
        keys: Which.
        reason: How they were chosen, as the end of a sentence that begins with them.
    """

    keys: tuple[str, ...] = Field(min_length=1)
    reason: str = Field(min_length=1)


class Manifest(Part):
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
        fingerprints: Of the stores, by version and spec, where the content is the same on every machine; records of
            other data do not count. Those of earlier versions stay, since records of them do.
        lookalikes: Other data that are known to circulate as this dataset, to call them by name.
        backbone: Spec of the default backbone.
        recipe: Default recipe values by key.
        tuned_on_test: Those of them that were chosen by looking at test results. Rows that keep any never rank.
        primary_metric: The metric the dataset's results are reported in.
        selection: The default criterion that picks the reported epoch, the recipe's ``selection``.
        channel_mean: Of the channels in [0, 1], for the ``standard`` input scaling; ImageNet's by default.
        channel_std: Likewise.
        notes: Anything a user should know.
        yours: Whether everybody has data of their own under this name. Rows of such data never rank.
    """

    name: str = Field(pattern=f"^{NAME.pattern}$")
    title: str
    version: str
    licence: Licence
    citation: str
    homepage: str
    sources: tuple[Annotated[HttpSource | HubSource | ManualSource, Field(discriminator="kind")], ...] = ()
    files: tuple[SourceFile, ...] = ()
    counts: Mapping[SplitName, SplitCounts] = Field(default_factory=dict)
    fingerprints: Mapping[str, Mapping[str, Sha256]] = Field(default_factory=dict)
    lookalikes: tuple[Lookalike, ...] = ()
    backbone: str
    recipe: Mapping[str, Scalar] = Field(default_factory=dict)
    tuned_on_test: TunedRecipe | None = None
    primary_metric: str
    selection: str
    channel_mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    channel_std: tuple[float, ...] = (0.229, 0.224, 0.225)
    notes: str = ""
    yours: bool = False

    @pydantic.model_validator(mode="after")
    def _one_selection(self) -> Manifest:
        if self.recipe.get("selection", self.selection) != self.selection:
            raise ValueError(f"recipe.selection is not {self.selection}, which the manifest's selection says")
        return self

    @pydantic.model_validator(mode="after")
    def _tuned_keys_are_in_the_recipe(self) -> Manifest:
        missing = [key for key in (self.tuned_on_test.keys if self.tuned_on_test else ()) if key not in self.recipe]
        if missing:
            raise ValueError(f"tuned_on_test names {', '.join(missing)}, which the recipe does not have")
        return self

    def fingerprint(self, spec: str) -> str | None:
        """Return the fingerprint of the data as they are read today; None where it is not the same everywhere."""
        return self.fingerprints.get(self.version, {}).get(spec)

    def version_of(self, spec: str, fingerprint: str) -> str | None:
        """Return the version of the data with a fingerprint, today's if it is one of several; None if it is unknown."""
        names = (self.version, *self.fingerprints)
        return next((name for name in names if self.fingerprints.get(name, {}).get(spec) == fingerprint), None)

    def counting(self, what: Literal["all", "images", "none"]) -> Manifest:
        """Return the manifest with those of its counts that hold (see :meth:`Dataset.counts_hold`)."""
        if what == "all":
            return self
        images = {split: SplitCounts(images=counts.images) for split, counts in self.counts.items()}
        return self.model_copy(update={"counts": images if what == "images" else {}})

    def for_twin(self) -> Manifest:
        """Return the manifest without what holds for the real data only: counts, look-alikes and checksums."""
        return self.model_copy(update={"counts": {}, "lookalikes": (), "files": ()})


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
        return _parsed(text)
    except pydantic.ValidationError as error:
        raise DataError(f"The manifest {reference} is not valid: {name_offenders(faults(error))}.") from error
    except ValueError as error:
        raise DataError(f"The manifest {reference} is not valid YAML: {error}.") from error


@functools.cache  # every run of a suite asks for the manifest of its dataset, and YAML is slow to read
def _parsed(text: str) -> Manifest:
    return Manifest.model_validate(read_yaml(text))


def _resource(package: str, path: str) -> Traversable:
    inside = importlib.resources.files(package).joinpath(path)
    if package == "ncbench" and not inside.is_file():
        # A wheel carries datasets_manifest/ inside the package; in a checkout it lies beside it.
        return Path(str(importlib.resources.files(package))).parent / path
    return inside
