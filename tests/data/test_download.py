from __future__ import annotations

import hashlib
import shutil
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ncbench import DataError
from ncbench.data.sources.download import RetryPolicy
from ncbench.data.sources.fetch import fetch
from ncbench.data.sources.manifest import Manifest

from .conftest import Server, _Handler, make_manifest

QUICK = RetryPolicy(timeout=1, pause=0.01, longest=0.05)
CONTENT = bytes(range(256)) * 2000  # 512 kB


def _manifest(*urls: str, content: bytes = CONTENT, path: str = "toy/data.bin") -> Manifest:
    file = {"path": path, "urls": urls, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return make_manifest(sources=[{"kind": "http", "files": [file]}])


def _nothing_is_left(root: Path) -> bool:
    return [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_a_file_is_fetched_and_placed(server: Server, root: Path) -> None:
    server.files["/data"] = CONTENT
    seen: list[tuple[str, int, int]] = []
    fetch(_manifest(server.url("/data")), root, progress=lambda *step: seen.append(step), policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT
    assert seen[-1] == ("toy/data.bin", len(CONTENT), len(CONTENT))
    assert not (root / ".ncbench-partial" / "toy").exists()


def test_what_is_here_is_not_fetched_again(server: Server, root: Path) -> None:
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "data.bin").write_bytes(CONTENT)
    fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert server.requests == []


def test_a_damaged_file_is_replaced(server: Server, root: Path) -> None:
    server.files["/data"] = CONTENT
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "data.bin").write_bytes(CONTENT[:-1] + b"!")
    fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT


def test_what_was_cut_off_is_gone_on_with(server: Server, root: Path) -> None:
    server.files["/data"] = CONTENT

    def cut(handler: _Handler) -> bool:
        if handler.range_start():
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:300_000])
        handler.close_connection = True
        return True

    server.rules["/data"] = cut
    fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT
    first, second = server.requests
    assert first[1] is None
    assert second[1] is not None
    assert 0 < int(second[1].removeprefix("bytes=").rstrip("-")) <= 300_000


def test_an_interrupted_fetch_is_gone_on_with_the_next_time(server: Server, root: Path) -> None:
    server.files["/data"] = CONTENT

    def interrupt(path: str, here: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(_manifest(server.url("/data")), root, progress=interrupt, policy=QUICK)
    assert not (root / "toy").exists()
    fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT
    assert server.requests[1][1] is not None


def test_a_server_that_ignores_ranges_sends_all_again(server: Server, root: Path) -> None:
    requests = []

    def cut_then_whole(handler: _Handler) -> bool:
        requests.append(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT if len(requests) > 1 else CONTENT[:1000])
        handler.close_connection = True
        return True

    server.rules["/data"] = cut_then_whole
    fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT


def test_mirrors_are_tried_in_order(server: Server, root: Path) -> None:
    server.files["/good"] = CONTENT
    fetch(_manifest(server.url("/gone"), server.url("/good"), server.url("/never")), root, policy=QUICK)
    assert [path for path, _ in server.requests] == ["/gone", "/good"]


@pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"!", CONTENT + b"more", b"<html>gone</html>"])
def test_wrong_bytes_are_discarded(server: Server, root: Path, wrong: bytes) -> None:
    server.files["/wrong"] = wrong
    with pytest.raises(DataError, match="/wrong") as caught:
        fetch(_manifest(server.url("/wrong")), root, policy=QUICK)
    assert "\n" not in str(caught.value)
    assert not (root / "toy").exists()
    server.files["/good"] = CONTENT
    fetch(_manifest(server.url("/wrong"), server.url("/good")), root, policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT


def test_wrong_bytes_of_the_right_size_leave_nothing(server: Server, root: Path) -> None:
    server.files["/wrong"] = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match="sha256 differs"):
        fetch(_manifest(server.url("/wrong")), root, policy=QUICK)
    assert _nothing_is_left(root)


def test_redirects_are_followed(server: Server, root: Path) -> None:
    server.files["/new"] = CONTENT

    def moved(handler: _Handler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", server.url("/new"))
        handler.end_headers()
        return True

    server.rules["/old"] = moved
    fetch(_manifest(server.url("/old")), root, policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_a_redirect_to_another_scheme_is_not_followed(server: Server, root: Path, tmp_path: Path, scheme: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    places = {"file": secret.as_uri(), "ftp": server.url("/data").replace("http", "ftp"), "data": "data:,secret"}

    def moved(handler: _Handler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", places[scheme])
        handler.end_headers()
        return True

    server.rules["/old"] = moved
    with pytest.raises(DataError, match=f"No connection adapters were found for '{scheme}:"):
        fetch(_manifest(server.url("/old")), root, policy=QUICK)
    assert not (root / "toy").exists()
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize("later", ["3600", "Wed, 21 Oct 2065 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_a_busy_server_is_asked_again(server: Server, root: Path, status: int, later: str) -> None:
    server.files["/data"] = CONTENT
    answers = [status, status]

    def busy(handler: _Handler) -> bool:
        if not answers:
            return False
        handler.send_response(answers.pop())
        handler.send_header("Retry-After", later)  # some are far more than anyone waits
        handler.end_headers()
        return True

    server.rules["/data"] = busy
    started = time.monotonic()
    fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert len(server.requests) == 3
    assert time.monotonic() - started < 60


def test_a_slow_server_is_waited_for(server: Server, root: Path) -> None:
    def slow(handler: _Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for start in range(0, len(CONTENT), 100_000):
            handler.wfile.write(CONTENT[start : start + 100_000])
            time.sleep(0.02)
        return True

    server.rules["/slow"] = slow
    fetch(_manifest(server.url("/slow")), root, policy=QUICK)
    assert len(server.requests) == 1


def test_a_server_that_falls_silent_is_given_up(server: Server, root: Path) -> None:
    server.files["/good"] = CONTENT

    def silent(handler: _Handler) -> bool:
        time.sleep(0.5)
        return True

    server.rules["/silent"] = silent
    policy = RetryPolicy(timeout=0.1, pause=0.001, longest=0.01)
    fetch(_manifest(server.url("/silent"), server.url("/good")), root, policy=policy)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT


def test_a_server_that_drips_is_given_up(server: Server, root: Path) -> None:
    server.files["/good"] = CONTENT
    ended: list[str] = []

    def drip(handler: _Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for position in range(1000):
            try:
                handler.wfile.write(CONTENT[position : position + 1])
            except OSError:
                ended.append("the client went away")
                return True
            time.sleep(0.02)
        ended.append("the client waited")
        return True

    server.rules["/drip"] = drip
    said: list[str] = []
    policy = RetryPolicy(timeout=0.2, pause=0.001, longest=0.01)
    fetch(_manifest(server.url("/drip"), server.url("/good")), root, report=said.append, policy=policy)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT
    assert any("less than a kilobyte a second" in line for line in said)
    assert [path for path, _ in server.requests] == ["/drip", "/good"]
    while not ended:
        time.sleep(0.01)
    assert ended == ["the client went away"]


def test_what_a_server_says_is_shown_without_control_characters(server: Server, root: Path) -> None:
    def rude(handler: _Handler) -> bool:
        handler.send_response(404, "gone\x1b[2J\x07\x9b31m away")
        handler.end_headers()
        return True

    server.rules["/rude"] = rude
    said: list[str] = []
    with pytest.raises(DataError, match="the server answered 404 gone") as caught:
        fetch(_manifest(server.url("/rude")), root, report=said.append, policy=QUICK)
    assert all(line.isprintable() for line in (*said, str(caught.value)))


def test_a_part_that_does_not_belong_is_thrown_away(server: Server, root: Path) -> None:
    server.files["/data"] = CONTENT[:100]  # shorter than what is here: 416
    partial = root / ".ncbench-partial" / "toy" / "toy" / "data.bin.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 1000)
    with pytest.raises(DataError):
        fetch(_manifest(server.url("/data")), root, policy=QUICK)
    server.files["/data"] = CONTENT
    fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert (root / "toy" / "data.bin").read_bytes() == CONTENT


def test_nothing_is_placed_before_everything_is_here(server: Server, root: Path) -> None:
    server.files["/a"] = CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    files = [
        {"path": f"toy/{name}", "urls": [server.url(f"/{name}")], "sha256": digest, "bytes": len(CONTENT)}
        for name in ("a", "b")
    ]
    manifest = make_manifest(sources=[{"kind": "http", "files": files}])
    with pytest.raises(DataError, match="/b: the server answered 404"):
        fetch(manifest, root, policy=QUICK)
    assert not (root / "toy").exists()
    server.files["/b"] = CONTENT
    fetch(manifest, root, policy=QUICK)
    assert [path for path, _ in server.requests] == ["/a", "/b", "/b"]


def test_a_disk_that_is_too_small_is_noticed_first(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(DataError, match="MB free"):
        fetch(_manifest(server.url("/data")), root, policy=QUICK)
    assert server.requests == []


def test_a_root_that_cannot_be_written_to(server: Server, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="--data-root"):
        fetch(_manifest(server.url("/data")), blocked / "root", policy=QUICK)


def test_the_next_source_is_tried_and_manual_instructions_come_last(server: Server, root: Path) -> None:
    http = _manifest(server.url("/gone")).sources[0].model_dump()
    manual = {"kind": "manual", "instructions": "write a letter."}
    with pytest.raises(DataError, match=r"404.*by hand: write a letter"):
        fetch(make_manifest(sources=[manual, http]), root, policy=QUICK)


def test_what_is_got_by_hand_leaves_no_trace(root: Path) -> None:
    with pytest.raises(DataError, match="write a letter"):
        fetch(make_manifest(sources=[{"kind": "manual", "instructions": "write a letter."}]), root)
    assert not root.exists()
    with pytest.raises(DataError, match="nothing to fetch"):
        fetch(make_manifest(), root)


class _Hub(types.ModuleType):
    """Stands in for huggingface_hub: the network is not there in a test."""

    def __init__(self, error: Exception | None = None, files: Sequence[str] = ("data/train.parquet",)) -> None:
        super().__init__("huggingface_hub")
        self.error = error
        self.files = files
        self.calls: list[dict[str, Any]] = []

    def snapshot_download(self, repo_id: str, *, local_dir: Path, **options: Any) -> str:
        self.calls.append({"repo_id": repo_id, **options})
        (local_dir / ".cache").mkdir(parents=True)
        for name in self.files:
            (local_dir / name).parent.mkdir()
            (local_dir / name).write_bytes(b"PAR1")
        if self.error is not None:
            raise self.error
        return str(local_dir)


HUB = {"kind": "hub", "id": "someone/toy", "revision": "a" * 40, "path": "toy", "patterns": ["data/*"]}


def test_the_hub_is_asked_for_the_pinned_revision(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = _Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    fetch(make_manifest(sources=[HUB]), root)
    assert hub.calls == [
        {"repo_id": "someone/toy", "repo_type": "dataset", "revision": "a" * 40, "allow_patterns": ["data/*"]}
    ]
    assert [path.name for path in (root / "toy").iterdir()] == ["data"]


def test_a_hub_that_fails_leaves_nothing_to_be_taken_for_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", _Hub(RuntimeError("no\n\x1b[31mroute")))
    with pytest.raises(DataError, match=r"someone/toy: no \[31mroute"):
        fetch(make_manifest(sources=[HUB]), root)
    assert not (root / "toy").exists()


def test_a_hub_without_the_files_wanted_is_not_taken_for_the_dataset(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", _Hub(files=()))
    with pytest.raises(DataError, match=r"someone/toy has no files data/\*"):
        fetch(make_manifest(sources=[HUB]), root)
    assert not (root / "toy").exists()
