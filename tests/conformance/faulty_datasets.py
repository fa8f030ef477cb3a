"""A sound dataset, and datasets that break the contract in one way each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from ncbench import DataError, Dataset, Parameters, Split


class SoundParameters(Parameters):
    """Parameters of the sound dataset."""

    colours: Literal["kept", "dropped"] = Field("kept", description="whether the colours' labels are read")


def read_table(path):
    return np.array([line.split() for line in path.read_text().splitlines()], dtype=np.int64).reshape(-1, 2).T


class Sound(Dataset):
    """Squares in two colours and two sizes, one ``.npy`` file of images a split and a table of labels."""

    Parameters = SoundParameters
    folder = "squares"
    class_names = ("small", "large")
    image_size = (8, 8)

    def __init__(self, params, root):
        super().__init__(params, root)
        self.bias_names = ("red", "blue") if params.colours == "kept" else ()

    def source_files(self):
        paths = [self.source / f"{split}{suffix}" for split in ("train", "test") for suffix in (".npy", ".txt")]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise DataError(f"{', '.join(missing)} missing.")
        return paths

    def read(self):
        return {split: self.read_split(split) for split in ("train", "test")}

    def read_split(self, split):
        try:
            images = np.load(self.source / f"{split}.npy", allow_pickle=False)
            target, bias = read_table(self.source / f"{split}.txt")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"The {split} files in {self.source} are damaged ({error}).") from error
        kept = bias if self.params.colours == "kept" else None
        return Split(images, target, kept, [f"{split}-{row}" for row in range(len(images))])

    @classmethod
    def synthesize(cls, root):
        generator = np.random.default_rng(0)
        (root / cls.folder).mkdir()
        for split, number in (("train", 12), ("test", 8)):
            labels = generator.integers(2, size=(number, 2))
            images = generator.integers(0, 60, size=(number, 8, 8, 3), dtype=np.uint8)
            for image, (target, bias) in zip(images, labels, strict=True):
                image[: 3 + 4 * target, : 3 + 4 * target, 2 * bias] = 255
            np.save(root / cls.folder / f"{split}.npy", images)
            np.savetxt(root / cls.folder / f"{split}.txt", labels, fmt="%d")


class RepeatsAnId(Sound):
    """Two images share an id."""

    def read_split(self, split):
        whole = super().read_split(split)
        return Split(whole.inputs, whole.target, whole.bias, [whole.ids[0], whole.ids[0], *whole.ids[2:]])


class JittersColours(Sound):
    """Adds other noise to the images each time they are read."""

    def read_split(self, split):
        whole = super().read_split(split)
        noise = np.random.default_rng().integers(0, 20, size=whole.inputs.shape, dtype=np.uint8)
        return Split(whole.inputs // 2 + noise, whole.target, whole.bias, whole.ids)


class ShufflesGlobally(Sound):
    """Orders the images by NumPy's global generator."""

    def read_split(self, split):
        whole = super().read_split(split)
        order = np.random.permutation(len(whole.target))
        return Split(whole.inputs[order], whole.target[order], whole.bias, whole.ids)


class SeedsNumpy(Sound):
    """Seeds NumPy's global generator."""

    def read(self):
        np.random.seed(0)
        return super().read()


class TrustsItsFiles(Sound):
    """Lets whatever a damaged file causes through."""

    def read_split(self, split):
        images = np.load(self.source / f"{split}.npy", allow_pickle=False)
        target, bias = np.loadtxt(self.source / f"{split}.txt", dtype=np.int64, ndmin=2).T
        return Split(
            images, target, bias if self.bias_names else None, [f"{split}-{row}" for row in range(len(images))]
        )


class HidesATable(Sound):
    """Reads a file that it does not list."""

    def source_files(self):
        return [path for path in super().source_files() if path.suffix == ".npy"]


class LooksLater(Sound):
    """Lists files without looking whether they are there."""

    def source_files(self):
        return [self.source / f"{split}{suffix}" for split in ("train", "test") for suffix in (".npy", ".txt")]


class NamesOneClassTwice(Sound):
    """Two classes have the same name."""

    class_names = ("square", "square")


class MeasuresWrongly(Sound):
    """Its images have another size than it says."""

    image_size = (9, 9)


class WritesItsTwinBeside(Sound):
    """Leaves a file beside the twin's folder."""

    @classmethod
    def synthesize(cls, root):
        super().synthesize(root)
        (root / "generator.txt").write_text("0")


class DrawsANewTwin(Sound):
    """Its twin is another one each time."""

    @classmethod
    def synthesize(cls, root):
        super().synthesize(root)
        images = np.random.default_rng().integers(0, 255, size=(8, 8, 8, 3), dtype=np.uint8)
        np.save(root / cls.folder / "test.npy", images)


class CachesBesideItsSources(Sound):
    """Writes what it read next to the sources."""

    def read(self):
        (self.source / "cache.bin").write_bytes(b"\0")
        return super().read()


class KnowsOneChoice(Sound):
    """One of the choices it offers does not exist."""

    def read_split(self, split):
        if self.params.colours == "dropped":
            raise KeyError(split)
        return super().read_split(split)


class HasNoTwin(Sound):
    """Cannot be checked without its data."""

    @classmethod
    def synthesize(cls, root: Path) -> None:
        raise DataError("There is no twin.")


class PromisesAValidationSplit(Sound):
    """Says that there is a validation split, and reads none."""

    has_val = True
