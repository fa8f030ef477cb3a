"""``ncbench plugins new``: the packages it writes pass the linter, install, and pass their own tests as they are."""

from __future__ import annotations

import importlib.util
import stat
import tomllib
from pathlib import Path

import pytest

from ncbench import ConfigurationError
from ncbench.discovery.scaffold import STARTS, new_package
from tests import served

CALLED = {
    "method": "mine",
    "groups": "high_loss",
    "dataset": "my_own_data_2",
    "metric": "tensor",
    "backbone": "wide_2",
}  # a class Tensor must not get in the way


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    result = served.python(*command, cwd=cwd, **environment)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    assert set(CALLED) == set(STARTS)
    folder = tmp_path_factory.mktemp("packages")
    return {kind: new_package(name, kind, folder) for kind, name in CALLED.items()}


@pytest.mark.parametrize("kind", CALLED)
def test_the_package_is_complete_and_passes_the_linter(packages: dict[str, Path], kind: str) -> None:
    name, folder = CALLED[kind], packages[kind]
    assert folder.name == f"ncbench-{name.replace('_', '-')}"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    module = f"src/ncbench_{name}"
    manifest = {f"{module}/{name}.yaml"} if kind == "dataset" else set()
    code = {f"{module}/__init__.py", f"{module}/{kind}.py", f"tests/test_{name}.py"}
    assert files == {"pyproject.toml", "README.md"} | code | manifest
    assert not any("$" in (folder / file).read_text() for file in code)
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["ncbench"] == {name: f"ncbench_{name}"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    call("-m", "ruff", "check", "--isolated", "--no-cache", ".", cwd=folder)
    call("-m", "ruff", "format", "--isolated", "--no-cache", "--check", ".", cwd=folder)


@pytest.mark.skipif(
    importlib.util.find_spec("pip") is None or importlib.util.find_spec("hatchling") is None,
    reason="building the packages needs pip and hatchling",
)
def test_the_packages_install_and_pass_their_own_tests(packages: dict[str, Path], tmp_path: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    call("-m", "pip", "install", *options, "--target", tmp_path / "site", *packages.values(), cwd=tmp_path)
    tests = [folder / "tests" for folder in packages.values()]
    environment = {"PYTHONPATH": str(tmp_path / "site"), "NCBENCH_PLUGINS": ",".join(f.name for f in packages.values())}
    out = call("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=tmp_path, **environment)
    assert "failed" not in out
    assert "passed" in out


@pytest.mark.parametrize("name", ["", "Mine", "1st", "my-method", "a__b", "end_", "none", "x" * 65, "../up", "a b"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a plugin's name"):
        new_package(name, "method", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("erm", "method", "'erm' exists already, brought by methods of ncbench"),
        ("metrics", "method", "'ncbench_metrics' is installed already"),
    ],
)
def test_a_name_that_is_taken_is_refused(name: str, kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        new_package(name, kind, tmp_path)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ncbench-mine").mkdir()
    with pytest.raises(ConfigurationError, match="exists already and is left alone"):
        new_package("mine", "method", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["ncbench-mine"]


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Path.write_text, []

    def fails_on_the_third(path: Path, *arguments: str, **keywords: str) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return write(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "write_text", fails_on_the_third)
    with pytest.raises(ConfigurationError, match=r"cannot be written \(No space left on device\)"):
        new_package("mine", "method", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        new_package("mine", "method", tmp_path / "file" / "below")
