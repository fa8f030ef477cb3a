"""Every dataset's twin, damaged at random: nothing but a clear error, and never another dataset taken for this one.

Damage may go unnoticed only where no reader could notice it: where pixels and labels are what they were.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ncbench import DataError, Dataset
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import Store, damaged_splits, open_store
from ncbench.data.store.prepare import write_twin
from ncbench.data.store.verify import verify

from .conftest import CARDS

CASES = int(os.environ.get("NCBENCH_DAMAGE_CASES", "4"))  # of each dataset; fewer of one whose twin is large
SMALL = 300  # images
ON_DISK = sorted(name for name, card in CARDS.items() if card.load().folder is not None)
Damage = Callable[[random.Random, Sequence[Path], Path], None]


def _flip(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    path = draw.choice(files)
    content = bytearray(path.read_bytes())
    for position in draw.sample(range(len(content)), min(len(content), draw.randint(1, 3))):
        content[position] ^= draw.randint(1, 255)
    path.write_bytes(content)


def _cut(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    path = draw.choice(files)
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def _grow(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    with draw.choice(files).open("ab") as file:
        file.write(draw.randbytes(draw.randint(1, 50)))


def _delete(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    draw.choice(files).unlink()


def _rename(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    path = draw.choice(files)
    stem = list(path.name)
    stem[draw.randrange(len(stem))] = draw.choice("0123456789abz_.-")
    if not os.path.lexists(path.with_name("".join(stem))) and "".join(stem) not in (".", ".."):
        path.rename(path.with_name("".join(stem)))


def _swap(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    one, other = draw.sample(files, 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _link(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    path = draw.choice(files)
    shutil.copy(path, outside)
    path.unlink()
    path.symlink_to(outside)


def _insert(draw: random.Random, files: Sequence[Path], outside: Path) -> None:
    path = draw.choice(files)
    content = path.read_bytes()
    position = draw.randrange(len(content))
    path.write_bytes(content[:position] + draw.randbytes(draw.randint(1, 5)) + content[position:])


DAMAGES: tuple[Damage, ...] = (_flip, _flip, _cut, _grow, _delete, _rename, _swap, _link, _insert)


class Patient:
    """A twin with its store, which can be damaged and healed."""

    def __init__(self, name: str, root: Path) -> None:
        card = CARDS[name]
        kind: type[Dataset] = card.load()
        small = {"size": 16} if "size" in kind.Parameters.model_fields else {}
        root.mkdir()
        write_twin(kind, root)
        self.kind, self.params, self.root = kind, kind.Parameters.build(small, owner=name), root
        self.spec = self.params.spec(name)
        self.manifest = load_manifest(card.manifest).for_twin()
        self.folder = self.dataset.source
        self.files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        self.content = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in self.files}
        self.store = self.open()
        images = sum(map(len, self.store.splits.values()))
        self.cases = max(1, CASES * SMALL // max(SMALL, images))
        self.kept = root.with_name(f"{root.name}-store")
        shutil.copytree(self.store.folder, self.kept)

    @property
    def dataset(self) -> Dataset:
        """As every command has it: made anew, so nothing that it read before the damage is kept."""
        return self.kind(self.params, self.root)

    def open(self) -> Store:
        return open_store(self.dataset, self.spec, self.manifest)

    def problems(self) -> list[str]:
        return verify(self.dataset, self.spec, self.manifest)

    def heal(self) -> None:
        for path in list(self.folder.rglob("*")):
            if not path.is_dir() and path not in self.content:
                path.unlink()
        for path, (content, modified) in self.content.items():
            if path.is_symlink() or not path.exists() or path.read_bytes() != content:
                path.unlink(missing_ok=True)
                path.write_bytes(content)
            os.utime(path, ns=(modified, modified))
        shutil.rmtree(self.store.folder, ignore_errors=True)
        shutil.copytree(self.kept, self.store.folder)

    def difference(self) -> str:
        """Open the data anew; return why they cannot be, or whether they are others, or nothing."""
        try:
            opened = self.open()
        except DataError as error:
            return str(error)
        if opened.fingerprint == self.store.fingerprint and not damaged_splits(opened):
            return ""
        return "other pixels or labels"


@pytest.fixture
def patient(request: pytest.FixtureRequest, tmp_path: Path) -> Patient:
    return Patient(request.param, tmp_path / "root")


@pytest.mark.filterwarnings("ignore")  # Pillow warns about damaged EXIF data
@pytest.mark.parametrize(
    "patient",
    [pytest.param(name, marks=pytest.mark.slow) if name == "tiered_imagenet_h" else name for name in ON_DISK],
    indirect=True,
)
def test_damage_is_noticed_or_harmless(patient: Patient, tmp_path: Path) -> None:
    assert patient.problems() == []
    draw = random.Random(patient.spec.name)
    for case in range(1, patient.cases + 1):
        damage = draw.choice(DAMAGES)
        # The store has fewer files, each of which matters.
        files = patient.files if case % 4 else sorted(patient.store.folder.iterdir())
        damage(draw, files, tmp_path / "outside")
        problems, difference = patient.problems(), patient.difference()
        assert problems or not difference, f"{damage.__name__} went unnoticed: {difference}"
        assert not any("\n" in text for text in (*problems, difference))
        patient.heal()
    assert patient.problems() == []
