"""Archives in `fetch`: what is unpacked, and what never is."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from ncbench import DataError
from ncbench.data.sources.download import RetryPolicy
from ncbench.data.sources.fetch import UNPACKED, fetch
from ncbench.data.sources.manifest import Manifest

from .conftest import Server, make_manifest

QUICK = RetryPolicy(timeout=1, pause=0.01, longest=0.05)
FILES = {"images/a.png": b"a" * 5000, "images/deep/b.png": b"b" * 3000, "notes.txt": b"notes"}
SIZE = sum(map(len, FILES.values()))


def zipped(files: dict[str, bytes] = FILES, edit: Callable[[zipfile.ZipFile], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if edit is not None:
            edit(archive)
    return buffer.getvalue()


def tarred(
    files: dict[str, bytes] = FILES, edit: Callable[[tarfile.TarFile], None] | None = None, mode: str = "w:gz"
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if edit is not None:
            edit(archive)
    return buffer.getvalue()


def serving(server: Server, content: bytes, kind: str, size: int = SIZE, **extraction: Any) -> Manifest:
    """Let the server have an archive and return the manifest that names it."""
    server.files["/archive"] = content
    file = {
        "path": "toy/data",
        "urls": [server.url("/archive")],
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "extract": {"kind": kind, "bytes": size, **extraction},
    }
    return make_manifest(sources=[{"kind": "http", "files": [file]}])


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != UNPACKED
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("kind", "content"),
    [("zip", zipped()), *[("tar", tarred(mode=mode)) for mode in ("w", "w:gz", "w:bz2", "w:xz")]],
    ids=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"],
)
def test_an_archive_becomes_a_folder(server: Server, root: Path, kind: str, content: bytes) -> None:
    seen: list[tuple[str, int, int]] = []
    manifest = serving(server, content, kind)
    fetch(manifest, root, progress=lambda *step: seen.append(step), policy=QUICK)
    assert content_of(root / "toy" / "data") == FILES
    assert seen[-1] == ("toy/data", SIZE, SIZE)
    assert not (root / ".ncbench-partial" / "toy").exists()
    before = len(server.requests)
    fetch(manifest, root, policy=QUICK)
    assert len(server.requests) == before


@pytest.mark.parametrize(("kind", "content"), [("zip", zipped()), ("tar", tarred())])
def test_one_folder_of_an_archive(server: Server, root: Path, kind: str, content: bytes) -> None:
    fetch(serving(server, content, kind, folder="images"), root, policy=QUICK)
    assert set(content_of(root / "toy" / "data")) == {"a.png", "deep/b.png"}
    with pytest.raises(DataError, match="it holds no files in 'pictures'"):
        fetch(serving(server, content, kind, folder="pictures"), root / "other", policy=QUICK)


def test_the_folder_a_tar_was_started_in_is_no_offender(server: Server, root: Path) -> None:
    def started(archive: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("./")
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)

    fetch(serving(server, tarred({"./a": b"a"}, started), "tar"), root, policy=QUICK)
    assert content_of(root / "toy" / "data") == {"a": b"a"}


def _tar_entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        archive.addfile(entry)

    return add


def _zip_entry(name: str, mode: int = 0, flags: int = 0) -> Callable[[zipfile.ZipFile], None]:
    def add(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, b"../../outside")
        entry.flag_bits |= flags  # as the central directory will have it

    return add


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("tar", tarred(edit=_tar_entry("/etc/absolute")), "'/etc/absolute' (outside of the folder)"),
        ("tar", tarred(edit=_tar_entry("../climbs")), "'../climbs' (outside of the folder)"),
        ("tar", tarred(edit=_tar_entry("images/../../climbs")), "climbs' (outside of the folder)"),
        ("tar", tarred(edit=_tar_entry("images\\climbs")), "climbs' (outside of the folder)"),
        ("tar", tarred(edit=_tar_entry("soft", tarfile.SYMTYPE, "/etc/passwd")), "'soft' (a link or a device)"),
        ("tar", tarred(edit=_tar_entry("inner", tarfile.SYMTYPE, "notes.txt")), "'inner' (a link or a device)"),
        ("tar", tarred(edit=_tar_entry("hard", tarfile.LNKTYPE, "notes.txt")), "'hard' (a link or a device)"),
        ("tar", tarred(edit=_tar_entry("pipe", tarfile.FIFOTYPE)), "'pipe' (a link or a device)"),
        ("tar", tarred(edit=_tar_entry("tape", tarfile.CHRTYPE)), "'tape' (a link or a device)"),
        ("tar", tarred(edit=_tar_entry("./notes.txt")), "'notes.txt' (twice)"),
        ("tar", tarred(edit=_tar_entry("notes.txt/within")), "'notes.txt/within' (a file in a file)"),
        ("zip", zipped(edit=_zip_entry("/absolute")), "'/absolute' (outside of the folder)"),
        ("zip", zipped(edit=_zip_entry("../climbs")), "'../climbs' (outside of the folder)"),
        ("zip", zipped(edit=_zip_entry("C:/drive")), "'C:/drive' (outside of the folder)"),
        ("zip", zipped(edit=_zip_entry("soft", stat.S_IFLNK | 0o777)), "'soft' (a link or a device)"),
        ("zip", zipped(edit=_zip_entry("tape", stat.S_IFCHR | 0o600)), "'tape' (a link or a device)"),
        ("zip", zipped(edit=_zip_entry("secret", flags=1)), "'secret' (encrypted)"),
    ],
)
def test_members_that_could_do_harm_are_refused_and_nothing_is_unpacked(
    server: Server, root: Path, kind: str, content: bytes, reason: str
) -> None:
    with pytest.raises(DataError) as caught:
        fetch(serving(server, content, kind), root, policy=QUICK)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    left = {path.name for path in root.parent.rglob("*") if not path.is_dir()}
    assert left <= {"toy.lock", "data.archive"}


def test_every_refused_member_is_counted(server: Server, root: Path) -> None:
    content = tarred({f"../climbs_{number:02d}": b"" for number in range(25)})
    with pytest.raises(DataError) as caught:
        fetch(serving(server, content, "tar"), root, policy=QUICK)
    assert str(caught.value).count("climbs_") == 20
    assert "and 5 more" in str(caught.value)


@pytest.mark.parametrize(("kind", "content"), [("zip", zipped()), ("tar", tarred())])
def test_an_archive_larger_than_announced_is_refused(server: Server, root: Path, kind: str, content: bytes) -> None:
    with pytest.raises(DataError, match=f"{SIZE} bytes, more than the {SIZE - 1} that were announced"):
        fetch(serving(server, content, kind, size=SIZE - 1), root, policy=QUICK)
    assert not (root / "toy").exists()


def test_a_member_that_understates_its_size_is_refused(server: Server, root: Path) -> None:
    # A bomb that lies: 5,000 bytes packed as one megabyte that the directory states as 5,000.
    honest = zipped({"bomb": b"\0" * 1_000_000})
    lying = honest.replace((1_000_000).to_bytes(4, "little"), (5000).to_bytes(4, "little"))
    assert lying != honest
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch(serving(server, lying, "zip", size=5000), root, policy=QUICK)
    assert not (root / "toy").exists()


def test_damaged_archives_are_refused(server: Server, root: Path) -> None:
    whole = zipped({"a": bytes(range(256)) * 40})
    middle = len(whole) // 2
    for kind, content in (
        ("zip", b"no archive"),
        ("tar", b"no archive"),
        ("zip", whole[:middle]),
        ("zip", whole[: middle - 40] + bytes([whole[middle - 40] ^ 255]) + whole[middle - 39 :]),
        ("tar", tarred({"a": zlib.compress(bytes(5000)) * 100})[:-60]),
    ):
        with pytest.raises(DataError, match="cannot be unpacked: it is damaged or no"):
            fetch(serving(server, content, kind, size=1 << 20), root, policy=QUICK)
        assert not (root / "toy").exists()


def test_an_interrupted_unpacking_begins_again_without_the_download(server: Server, root: Path) -> None:
    manifest = serving(server, zipped(), "zip")

    def interrupt(path: str, here: int, size: int) -> None:
        if size == SIZE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(manifest, root, progress=interrupt, policy=QUICK)
    assert not (root / "toy").exists()
    fetch(manifest, root, policy=QUICK)
    assert content_of(root / "toy" / "data") == FILES
    assert len(server.requests) == 1


def test_a_folder_that_is_there_is_left_alone(server: Server, root: Path) -> None:
    manifest = serving(server, zipped(), "zip")
    (root / "toy" / "data").mkdir(parents=True)
    (root / "toy" / "data" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="move it away"):
        fetch(manifest, root, policy=QUICK)
    assert server.requests == []
    (root / "toy" / "data" / "mine.txt").unlink()
    fetch(manifest, root, policy=QUICK)
    (root / "toy" / "data" / "notes.txt").write_text("cut")
    with pytest.raises(DataError, match="is not whole"):
        fetch(manifest, root, policy=QUICK)


def test_the_disk_must_hold_the_archive_and_its_content(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    content = zipped()
    free = len(content) + SIZE - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10 * free, 9 * free, free))
    with pytest.raises(DataError, match="fetched and unpacked"):
        fetch(serving(server, content, "zip"), root, policy=QUICK)
    assert server.requests == []


@pytest.mark.parametrize("other", ["toy/data", "toy/data/more.txt"])
def test_nothing_else_may_lie_in_an_archives_folder(server: Server, other: str) -> None:
    manifest = serving(server, zipped(), "zip")
    archive = manifest.sources[0].model_dump()["files"][0]
    with pytest.raises(pydantic.ValidationError, match="made of an archive"):
        make_manifest(sources=[{"kind": "http", "files": [archive, {**archive, "path": other, "extract": None}]}])
