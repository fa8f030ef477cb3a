"""Dogs & Cats: pets told apart, which in training goes along with the brightness of their fur."""

from __future__ import annotations

from pydantic import Field

from ncbench_datasets.layouts.aligned_folders import AlignedFolders
from ncbench_datasets.layouts.photographs import PhotographParameters


class DogsAndCatsParameters(PhotographParameters):
    """Parameters of Dogs & Cats."""

    conflict: float = Field(0.01, gt=0, lt=1, description="share of conflicting training images: 0.01 reads 1pct")


class DogsAndCats(AlignedFolders):
    """Pets told apart, which in training goes along with the brightness of their fur.

    From Kim et al. (Learning Not to Learn, CVPR 2019), in the shares of Lee et al. (Revisiting the Importance of
    Amplifying Bias for Debiasing, AAAI 2023).
    """

    Parameters = DogsAndCatsParameters
    folder = "dogs_and_cats"
    class_names = ("cat", "dog")
    bias_names = ("dark", "bright")
    twin_grounds = ((50, 45, 40), (190, 185, 175))
