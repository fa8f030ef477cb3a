"""BFFHQ: faces told apart by age, which in training goes along with gender."""

from __future__ import annotations

from pydantic import Field

from ncbench_datasets.layouts.aligned_folders import AlignedFolders
from ncbench_datasets.layouts.photographs import PhotographParameters


class BffhqParameters(PhotographParameters):
    """Parameters of BFFHQ."""

    conflict: float = Field(0.005, gt=0, lt=1, description="share of conflicting training images: 0.005 reads 0.5pct")


class Bffhq(AlignedFolders):
    """Faces told apart by age, which in training goes along with gender (Kim et al., BiaSwap, ICCV 2021)."""

    Parameters = BffhqParameters
    folder = "bffhq"
    class_names = ("young", "old")
    bias_names = ("female", "male")
    twin_grounds = ((200, 150, 130), (90, 90, 110))
