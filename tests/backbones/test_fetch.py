"""``ncbench backbones fetch``: weights whose hash their name carries, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result
from torchvision import models

from ncbench import ConfigurationError, DataError
from ncbench.cli.commands.backbones import backbones
from ncbench_backbones.torchvision_resnet import ResNet18
from tests.backbones.cards import build
from tests.data.conftest import Server, server  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.manual_seed(1)
    file = io.BytesIO()
    torch.save(models.resnet18(weights=None).state_dict(), file)
    return file.getvalue()


@pytest.fixture
def place(
    content: bytes,
    server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Where the weights belong; the server has them."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[f"/models/{name}"] = content
    monkeypatch.setattr(ResNet18, "imagenet", SimpleNamespace(url=server.url(f"/models/{name}")))
    return tmp_path / "hub" / "checkpoints" / name


def fetch(spec: str = "resnet18:weights=imagenet,frozen=true") -> Result:
    return CliRunner().invoke(backbones, ["fetch", spec], catch_exceptions=False)


def test_weights_come_to_where_a_run_looks_for_them_once(server: Server, place: Path, content: bytes) -> None:  # noqa: F811
    with pytest.raises(DataError, match="To get it: ncbench backbones fetch resnet18:weights=imagenet;"):
        build("resnet18", (3, 64, 64), weights="imagenet")
    assert server.requests == [], "a run downloads nothing"
    assert fetch().stdout == "Next: ncbench run --backbone resnet18:frozen=true,weights=imagenet\n"
    assert place.read_bytes() == content
    build("resnet18", (3, 64, 64), weights="imagenet")
    assert "is here already" in fetch().stderr
    assert len(server.requests) == 1


def test_a_damaged_file_is_replaced_and_a_part_is_gone_on_with(server: Server, place: Path, content: bytes) -> None:  # noqa: F811
    place.parent.mkdir(parents=True)
    place.write_bytes(content[:-1])
    part = place.with_name(f"{place.name}.part")
    part.write_bytes(content[:1_000_000])
    fetch()
    assert place.read_bytes() == content
    assert [asked for _, asked in server.requests] == ["bytes=1000000-"]
    assert not part.exists()


def test_a_part_of_something_else_is_thrown_away(server: Server, place: Path, content: bytes) -> None:  # noqa: F811
    place.parent.mkdir(parents=True)
    place.with_name(f"{place.name}.part").write_bytes(b"x" * 1000)
    fetch()
    assert place.read_bytes() == content
    assert len(server.requests) == 2


@pytest.mark.parametrize("wrong", [b"<html>gone</html>", b""])
def test_another_file_than_the_published_one_is_not_placed(server: Server, place: Path, wrong: bytes) -> None:  # noqa: F811
    server.files[f"/models/{place.name}"] = wrong
    with pytest.raises(DataError, match=f"{place.name} was not fetched: .*sha256 differs") as caught:
        fetch()
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in place.parent.iterdir()] == [".lock"]


def test_a_server_without_the_file_is_named(server: Server, place: Path) -> None:  # noqa: F811
    server.files.clear()
    with pytest.raises(DataError, match=f"{server.url('/models/')}.*answered 404"):
        fetch()


@pytest.mark.parametrize("spec", ["resnet18", "mlp", "small_cnn"])
def test_a_backbone_without_a_file_is_refused(spec: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{spec} has no file of weights to fetch"):
        fetch(spec)
