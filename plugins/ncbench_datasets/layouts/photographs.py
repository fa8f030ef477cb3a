"""Photographs of any size, stored at one size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from ncbench import Dataset, Parameters


class PhotographParameters(Parameters):
    """Parameters of a dataset of photographs."""

    size: int = Field(224, ge=16, le=1024, description="height and width of the stored images, in pixels")


class WholePhotographs(Dataset):
    """Base of datasets whose images are stored as large as fits: resized to cover `size`, the middle cropped out."""

    Parameters = PhotographParameters

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.image_size = (params.size, params.size)


class Photographs(WholePhotographs):
    """Base of datasets whose images are stored as ImageNet's are evaluated: the shorter side is resized to 256 pixels
    and the central 224 x 224 are kept, or the same share of it for another `size`.
    """

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.shorter_side = round(params.size * 256 / 224)
