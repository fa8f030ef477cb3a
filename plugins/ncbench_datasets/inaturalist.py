"""iNaturalist, species of all kingdoms with the tree of life above them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from ncbench import Split
from ncbench_datasets.layouts.class_folders import write_class_folders
from ncbench_datasets.layouts.inaturalist_annotations import read_annotations
from ncbench_datasets.layouts.inaturalist_folders import parse_names, read_folders
from ncbench_datasets.layouts.photographs import PhotographParameters, Photographs
from ncbench_datasets.layouts.taxonomy import RANKS, Release
from ncbench_datasets.made.twin_pictures import striped_on

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

_TRAIN_FOLDERS = {2021: "train", "2021_mini": "train_mini"}
_ANNOTATIONS = {"train": "train2019.json", "test": "val2019.json"}


class InaturalistParameters(PhotographParameters):
    """Parameters of iNaturalist."""

    version: Literal[2021, "2021_mini", 2019] = Field(
        2021, description="the release: all training images of 2021, 50 of each species, or the release of 2019"
    )
    bias: Literal["none", "kingdom", "phylum", "class", "order", "family", "genus"] = Field(
        "none",
        description="rank of the tree of life taken for the bias attribute; every species has one group of it",
    )


class Inaturalist(Photographs):
    """Photographs of 10,000 species (version 2021; Van Horn et al., Benchmarking Representation Learning for Natural
    World Image Collections, CVPR 2021) or 1,010 species (version 2019, of the competition at CVPR 2019).

    The hierarchy, of height 7, is kingdom, phylum, class, order, family, genus and species, read off the data. The
    published validation images are the test split, since the test images' labels are not published.

    The sources are, of version 2021, ``2021/{train,train_mini,val}/<number>_<kingdom>_…_<epithet>/<image>``, of which
    the parameter takes ``train`` or ``train_mini``; of version 2019 ``2019/{train,val}2019.json`` and the images that
    they list, ``2019/train_val2019/…``.
    """

    Parameters = InaturalistParameters
    folder = "inaturalist"
    has_val = False
    aligned_bias = None  # every image is of its species' group: none conflicts with it

    @classmethod
    def counts_hold(cls, params: Any) -> Literal["all", "images", "none"]:
        """The manifest counts the images of version 2021."""
        return "all" if params.version == 2021 else "none"

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]  # they are read off the data
        """Names of the species; of the version 2019 as published, obscured or not."""
        return self._release.taxonomy.class_names

    @cached_property
    def bias_names(self) -> Sequence[str]:  # type: ignore[override]
        """Names of the groups of the rank asked for."""
        return () if self.params.bias == "none" else self._release.taxonomy.groups(self.params.bias)[1]

    @cached_property
    def hierarchy(self) -> Hierarchy:  # type: ignore[override]
        """The tree of life over the species."""
        return self._release.taxonomy.hierarchy(f"inaturalist_{self.params.version}")

    def source_files(self) -> Sequence[Path]:
        """Return every image, and the annotations of version 2019.

        Raises:
            DataError: A file or folder is missing, or not what the release has.
        """
        return self._release.files

    def read(self) -> Mapping[str, Split]:
        """Return the splits, with the bias attribute asked for; ids are ``<split>/<number of the species>/<file's
        stem>``, or ``<split>/<id of the image>`` for version 2019.

        Raises:
            DataError: As :meth:`source_files`.
        """
        splits = self._release.splits
        if self.params.bias == "none":
            return splits
        groups, _ = self._release.taxonomy.groups(self.params.bias)
        return {name: replace(split, bias=groups[split.target]) for name, split in splits.items()}

    @cached_property
    def _release(self) -> Release:
        # Kept, since listing millions of files takes minutes; a changed folder is another dataset's object.
        if self.params.version == 2019:
            return read_annotations(self.source / "2019", _ANNOTATIONS)
        train = _TRAIN_FOLDERS[self.params.version]
        return read_folders({"train": self.source / "2021" / train, "test": self.source / "2021" / "val"})

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both releases with eight species: a species is a direction of stripes, a kingdom a colour."""
        generator = np.random.default_rng(0)
        kingdoms = parse_names(_TWIN_SPECIES)[1].groups("kingdom")[0]

        def draw(index: int) -> np.ndarray:
            return striped_on(_TWIN_GROUNDS[kingdoms[index]], index, len(kingdoms), generator, (32, 32))

        for folder, number in (("train", 16), ("train_mini", 10), ("val", 6)):
            write_class_folders(root / cls.folder / "2021" / folder, _TWIN_SPECIES, number, draw)
        _write_annotations(root / cls.folder / "2019", {"train": 12, "test": 6}, draw)


_TWIN_SPECIES = (
    "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
    "00001_Animalia_Arthropoda_Insecta_Lepidoptera_Nymphalidae_Vanessa_atalanta",
    "00002_Animalia_Arthropoda_Insecta_Lepidoptera_Nymphalidae_Vanessa_cardui",
    "00003_Animalia_Chordata_Aves_Passeriformes_Corvidae_Corvus_corax",
    "00004_Fungi_Basidiomycota_Agaricomycetes_Agaricales_Amanitaceae_Amanita_muscaria",
    "00005_Fungi_Basidiomycota_Agaricomycetes_Boletales_Boletaceae_Boletus_edulis",
    "00006_Plantae_Tracheophyta_Magnoliopsida_Fagales_Fagaceae_Quercus_robur",
    "00007_Plantae_Tracheophyta_Magnoliopsida_Fagales_Fagaceae_Quercus_rubra",
)
_TWIN_GROUNDS = ((150, 110, 70), (120, 90, 150), (70, 150, 90))


def _write_annotations(folder: Path, numbers: Mapping[str, int], draw: Callable[[int], np.ndarray]) -> None:
    from PIL import Image  # here, since only twins need it

    _, taxonomy = parse_names(_TWIN_SPECIES)
    categories = [
        {"id": index, "name": name, **dict(zip(RANKS, lineage, strict=True))}
        for index, (name, lineage) in enumerate(zip(taxonomy.species, taxonomy.lineages, strict=True))
    ]
    total = 0
    for split, number in numbers.items():
        images, annotations = [], []
        for record in categories:
            place = folder / "train_val2019" / str(record["kingdom"]) / str(record["id"])
            place.mkdir(parents=True, exist_ok=True)
            for _ in range(number):
                path = place / f"{total:032x}.jpg"
                Image.fromarray(draw(int(record["id"]))).save(path, "JPEG", quality=90)
                images.append({"id": total, "file_name": path.relative_to(folder).as_posix()})
                annotations.append({"id": total, "image_id": total, "category_id": record["id"]})
                total += 1
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / _ANNOTATIONS[split]).write_text(json.dumps(content), encoding="utf-8")
