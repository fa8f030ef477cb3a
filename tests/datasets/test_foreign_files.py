"""What systems, archives and people leave in a dataset's folder: passed over, read all the same, or named."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ncbench import DataError, Dataset
from ncbench.data.sources.integrity import signature

from .conftest import CARDS, copy_tree

LARGE = {"tiered_imagenet_h", "cifar100"}  # twins of many files, in the layouts of imagenet and cifar10
WITH_TWIN = [name for name, card in CARDS.items() if card.load().folder and name not in LARGE]
LEFT_THERE = (
    ".DS_Store",
    "._picture_0_1.jpg",
    ".ipynb_checkpoints/picture_0_1-checkpoint.jpg",
    "Thumbs.db",
    "ehthumbs.db",
    "Desktop.ini",
    "@eaDir/picture_0_1.jpg/SYNOPHOTO_THUMB_M.jpg",
    "__MACOSX/train/._picture_0_1.jpg",
    "#recycle/picture_0_1.jpg",
    "$RECYCLE.BIN/picture_0_1.jpg",
    "System Volume Information/IndexerVolumeGuid",
    "lost+found/picture_0_1.jpg",
    "Icon\r",
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root with the twins, each written when it is first asked for; read only."""
    root = tmp_path_factory.mktemp("twins")
    yield root
    shutil.rmtree(root)


def _root(name: str, twins: Path, tmp_path: Path) -> Path:
    """A data root with a twin that a test may change."""
    kind = CARDS[name].load()
    if not (twins / kind.folder).exists():
        kind.synthesize(twins)
    copy_tree(twins / kind.folder, tmp_path / "root" / kind.folder)
    return tmp_path / "root"


def _dataset(name: str, root: Path, **params: Any) -> Dataset:
    kind = CARDS[name].load()
    return kind(kind.Parameters(**params), root)


@pytest.mark.parametrize("name", WITH_TWIN)
def test_what_systems_leave_is_passed_over_in_every_layout(name: str, twins: Path, tmp_path: Path) -> None:
    root = _root(name, twins, tmp_path)
    before = _dataset(name, root)
    files, splits = before.source_files(), before.read()
    for folder in [path for path in root.rglob("*") if path.is_dir()]:
        for left in LEFT_THERE:
            (folder / left).parent.mkdir(parents=True, exist_ok=True)
            (folder / left).write_bytes(b"no image")
    after = _dataset(name, root)
    assert sorted(after.source_files()) == sorted(files)
    assert tuple(after.class_names) == tuple(before.class_names)
    for split, now in after.read().items():
        assert list(now.ids) == list(splits[split].ids)
        np.testing.assert_array_equal(now.target, splits[split].target)


TABLES = {
    "waterbirds": "metadata.csv",
    "celeba": "list_eval_partition.txt",
    "metashift": "metadata_metashift.csv",
    "fgvc_aircraft": "data/images_family_val.txt",
    "stl10": "stl10_binary/class_names.txt",
    "inaturalist": "2019/val2019.json",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("change", ["byte order mark", "Windows line ends", "blanks at the ends", "no last line end"])
def test_a_table_that_was_saved_anew_reads_the_same(name: str, change: str, twins: Path, tmp_path: Path) -> None:
    root = _root(name, twins, tmp_path)
    params = {"version": 2019} if name == "inaturalist" else {}
    before = _dataset(name, root, **params).read()
    table = root / CARDS[name].load().folder / TABLES[name]
    text = table.read_text(encoding="utf-8")
    changed = {
        "byte order mark": "\ufeff" + text,
        "Windows line ends": text.replace("\n", "\r\n"),
        "blanks at the ends": text if name in ("waterbirds", "metashift") else text.replace("\n", " \n"),
        "no last line end": text.rstrip("\n"),
    }[change]
    table.write_bytes(changed.encode())
    for split, now in _dataset(name, root, **params).read().items():
        assert list(now.ids) == list(before[split].ids)
        np.testing.assert_array_equal(now.target, before[split].target)


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"inaturalist"}))
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_another_encoding_is_named(name: str, encoding: str, twins: Path, tmp_path: Path) -> None:
    root = _root(name, twins, tmp_path)
    table = root / CARDS[name].load().folder / TABLES[name]
    table.write_bytes(table.read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(DataError, match=rf"{table.name} cannot be read: it is in UTF-16; save it in UTF-8"):
        _dataset(name, root).read()


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"inaturalist"}))
def test_a_file_of_gigabytes_in_the_place_of_a_table_is_not_read(name: str, twins: Path, tmp_path: Path) -> None:
    root = _root(name, twins, tmp_path)
    os.truncate(root / CARDS[name].load().folder / TABLES[name], 1 << 40)
    with pytest.raises(DataError, match=r"cannot be read: it is no table, with its 1099511627776 bytes"):
        _dataset(name, root).read()


def test_numbers_in_quotes_and_with_blanks_are_numbers(twins: Path, tmp_path: Path) -> None:
    root = _root("waterbirds", twins, tmp_path)
    before = _dataset("waterbirds", root).read()
    table = root / CARDS["waterbirds"].load().folder / "metadata.csv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    quoted = [",".join(f'"{cell} "' if cell.isdigit() else f'"{cell}"' for cell in row.split(",")) for row in rows]
    table.write_text("\n".join([header, *quoted]), encoding="utf-8")
    for split, now in _dataset("waterbirds", root).read().items():
        np.testing.assert_array_equal(now.bias, before[split].bias)


@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_listed_name_is_found_in_another_form_of_unicode(
    listed: str, on_disk: str, twins: Path, tmp_path: Path
) -> None:
    root = _root("waterbirds", twins, tmp_path)
    folder = root / CARDS["waterbirds"].load().folder
    table = folder / "metadata.csv"
    text = table.read_text(encoding="utf-8")
    bird = text.splitlines()[1].split(",")[1].partition("/")[0]
    renamed = unicodedata.normalize(on_disk, f"{bird} é")
    (folder / bird).rename(folder / renamed)
    image = sorted((folder / renamed).iterdir())[0]
    image.rename(image.with_name(unicodedata.normalize(on_disk, "ü.jpg")))
    text = text.replace(f"{bird}/{image.name}", f"{bird}/ü.jpg").replace(f"{bird}/", f"{bird} é/")
    table.write_text(unicodedata.normalize(listed, text), encoding="utf-8")
    dataset = _dataset("waterbirds", root)
    paths = [path for split in dataset.read().values() for path in split.inputs]
    assert all(isinstance(path, Path) and path.is_file() for path in paths)
    assert set(paths) < set(dataset.source_files())
    assert sum(path.name == image.with_name(unicodedata.normalize(on_disk, "ü.jpg")).name for path in paths) == 1


def test_class_folders_in_two_forms_of_unicode_are_one_class(twins: Path, tmp_path: Path) -> None:
    root = _root("inaturalist", twins, tmp_path)
    folder = root / "inaturalist" / "2021"
    name = sorted(path.name for path in (folder / "val").iterdir())[0]
    (folder / "train" / name).rename(folder / "train" / unicodedata.normalize("NFC", f"{name}é"))
    (folder / "val" / name).rename(folder / "val" / unicodedata.normalize("NFD", f"{name}é"))
    dataset = _dataset("inaturalist", root)
    assert dataset.class_names[0] == unicodedata.normalize("NFC", dataset.class_names[0])
    assert (dataset.read()["test"].target == 0).sum() > 0
    shutil.copytree(folder / "val" / unicodedata.normalize("NFD", f"{name}é"), folder / "val" / f"{name}\u00e9")
    with pytest.raises(DataError, match="has the name of another class folder, in another form of Unicode"):
        _dataset("inaturalist", root).source_files()


# ---------------------------------------------------------------- links, pipes and devices


@pytest.mark.parametrize("target", [".", "..", "../align", "../../.."])
def test_a_link_that_leads_back_is_named(target: str, twins: Path, tmp_path: Path) -> None:
    root = _root("bffhq", twins, tmp_path)
    link = root / "bffhq" / "0.5pct" / "align" / "again"
    link.symlink_to(target)
    with pytest.raises(DataError, match=r"again.* is a link that leads back to .*which it lies in: remove it"):
        _dataset("bffhq", root).source_files()


def test_two_links_that_lead_to_each_other_are_named(twins: Path, tmp_path: Path) -> None:
    root = _root("bffhq", twins, tmp_path)
    align, conflict = (root / "bffhq" / "0.5pct" / name for name in ("align", "conflict"))
    (align / "there").symlink_to(conflict)
    (conflict / "back").symlink_to(align)
    with pytest.raises(DataError, match="is a link that leads back"):
        _dataset("bffhq", root).source_files()


@pytest.mark.parametrize("name", ["bffhq", "bar", "imagenet"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link to itself", "link to nothing", "link out of the folder"])
def test_what_is_no_file_in_the_dataset_is_named(name: str, kind: str, twins: Path, tmp_path: Path) -> None:
    root = _root(name, twins, tmp_path)
    image = _dataset(name, root).source_files()[0]
    content = image.read_bytes()
    image.unlink()
    if kind == "pipe":
        os.mkfifo(image)
    elif kind == "link out of the folder":
        (tmp_path / "elsewhere").write_bytes(content)
        image.symlink_to(tmp_path / "elsewhere")
    else:
        image.symlink_to({"device": "/dev/zero", "link to itself": image.name, "link to nothing": "none"}[kind])
    dataset = _dataset(name, root)
    with pytest.raises(DataError) as caught:
        signature(dataset.source_files(), dataset.source)
    reason = {"pipe": "not a file", "device": "a link out of the folder", "link to itself": "a link to itself"}
    assert f"{image} ({reason.get(kind, f'a {kind}')}" in str(caught.value)
    assert ("the whole folder may be a link (ln -s" in str(caught.value)) == ("out of" in str(caught.value))


@pytest.mark.parametrize("name", ["waterbirds", "celeba", "fgvc_aircraft", "stl10", "mnist", "svhn"])
def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(name: str, twins: Path, tmp_path: Path) -> None:
    root = _root(name, twins, tmp_path)
    folder = root / CARDS[name].load().folder
    tables = [path for path in folder.rglob("*") if path.suffix in (".csv", ".txt", ".bin", ".gz", ".mat")]
    for table in tables:
        table.unlink()
        os.mkfifo(table)
    with pytest.raises(DataError, match=r"missing|not a file|holds neither"):
        _dataset(name, root).read()


def test_the_whole_folder_may_be_a_link(twins: Path, tmp_path: Path) -> None:
    root = _root("bffhq", twins, tmp_path)
    before = _dataset("bffhq", root)
    (root / "bffhq").rename(tmp_path / "elsewhere")
    (root / "bffhq").symlink_to(tmp_path / "elsewhere")
    after = _dataset("bffhq", root)
    assert signature(after.source_files(), after.source) == signature(before.source_files(), before.source)


def test_a_link_inside_the_dataset_is_followed(twins: Path, tmp_path: Path) -> None:
    root = _root("bffhq", twins, tmp_path)
    before = _dataset("bffhq", root).read()
    moved = root / "bffhq" / "kept elsewhere"
    (root / "bffhq" / "test").rename(moved)
    (root / "bffhq" / "test").symlink_to(moved)
    dataset = _dataset("bffhq", root)
    signature(dataset.source_files(), dataset.source)
    assert list(dataset.read()["test"].ids) == list(before["test"].ids)


# ---------------------------------------------------------------- another place, another name


def _refusal(name: str, data_root: Path) -> str:
    from ncbench.data.sources.manifest import load_manifest
    from ncbench.data.store.prepare import locate

    card = CARDS[name]
    with pytest.raises(DataError) as caught:
        locate(card, {}, load_manifest(card.manifest), data_root=data_root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "lies_in", "way"),
    [
        ("bffhq", "bffhq/bffhq", "use --data-root {root}/bffhq."),
        ("waterbirds", "waterbirds/{folder}", "use --data-root {root}/waterbirds."),
        ("waterbirds", "{folder}/data_v1.0", "move what is in it to {root}/{folder}."),
        ("waterbirds", "waterbird_complete95_forest2water2_v1", "move it to {root}/{folder}."),
        ("waterbirds", "Waterbirds v1.0", "move it to {root}/{folder}."),
        ("celeba", "CelebA", "move it to {root}/celeba."),
        ("imagenet", "ImageNet-2012/ILSVRC", "move it to {root}/imagenet."),
        ("mnist", "MNIST (1)", "move it to {root}/mnist."),
        ("bar", "BAR-master/bar", "use --data-root {root}/BAR-master."),
        ("bar", ".", "rename it {root.parent}/bar, or link it (ln -s {root} {root.parent}/bar), and use --data-root"),
    ],
)
def test_a_dataset_at_another_place_is_found_and_named(
    name: str, lies_in: str, way: str, twins: Path, tmp_path: Path, no_data: None
) -> None:
    folder = CARDS[name].load().folder
    here = _root(name, twins, tmp_path) / folder
    root = tmp_path / "others"
    place = root / lies_in.format(folder=folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    here.rename(place)
    message = _refusal(name, root)
    assert f"{place} has the layout that is looked for: if that is the dataset, " in message
    assert way.format(root=root, folder=folder) in message


def test_the_folder_itself_may_be_the_current_one(
    twins: Path, tmp_path: Path, no_data: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _root("bffhq", twins, tmp_path)
    monkeypatch.chdir(root / "bffhq")
    assert f"if that is the dataset, use --data-root {root}." in _refusal("bffhq", Path())


def test_another_dataset_of_the_same_layout_is_not_taken_for_it(twins: Path, tmp_path: Path, no_data: None) -> None:
    for name in ("fashion_mnist", "cifar10"):
        root = _root(name, twins, tmp_path)
    (root / "cifar10").rename(root / "cifar100")
    assert "has the layout" not in _refusal("mnist", root)
    assert "has the layout" not in _refusal("cifar10", root)


def test_a_name_with_a_line_break_stays_in_its_line(twins: Path, tmp_path: Path, no_data: None) -> None:
    from click.testing import CliRunner

    from ncbench.cli.commands.data import data

    root = _root("bffhq", twins, tmp_path)
    image = sorted((root / "bffhq" / "test").iterdir())[0]
    broken = image.rename(image.with_name(f"a\nb\x1b[2J\u2028{image.name}"))
    broken.write_bytes(b"nothing")
    shown = f"a\\nb\\x1b[2J\\u2028{image.name}"
    result = CliRunner().invoke(data, ["prepare", "bffhq:size=32", "--data-root", str(root), "--allow-mismatch"])
    assert isinstance(result.exception, DataError)
    assert shown in str(result.exception)
    assert not set("\n\x1b\u2028") & set(str(result.exception))
    problems = CliRunner().invoke(data, ["verify", "bffhq:size=32", "--data-root", str(root)]).stdout.splitlines()
    assert sum(shown in line for line in problems) == 1
    renamed = root.rename(tmp_path / "data\nroot")
    where = CliRunner().invoke(data, ["list", "--data-root", str(renamed)]).stdout
    assert len(where.splitlines()) == 1 + len(CARDS)
    assert "data\\nroot" in where
