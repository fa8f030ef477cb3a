"""Fixtures and markers shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ncbench.cli.main import main

# No timed assertion: a busy machine is no failure. The same examples every time: neither is chance.
settings.register_profile("ncbench", deadline=None, derandomize=True)
settings.load_profile("ncbench")
# Models here are tiny, and several workers share the cores. Nothing has imported torch yet.
os.environ["OMP_NUM_THREADS"] = "1"
# What somebody has installed beside ncbench is not what is tested; tests of plugins name their own.
os.environ["NCBENCH_PLUGINS"] = "ncbench"
# A shell ignores Ctrl-C on behalf of what it starts in the background, and nohup a closed terminal; tests of these are
# about those who do not.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep prepared stores out of the user's cache, and share them between the tests, also those of other workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NCBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process and return its exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ncbench", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return call


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with a reason, what this machine cannot run."""
    for item in items:
        if item.get_closest_marker("real_data") and not os.environ.get("NCBENCH_DATA"):
            item.add_marker(pytest.mark.skip(reason="set NCBENCH_DATA to a folder with the real datasets"))
        if item.get_closest_marker("ray") and (lack := _lack_of_ray()):
            item.add_marker(pytest.mark.skip(reason=lack))
        if item.get_closest_marker("slurm") and (lack := _lack_of_slurm()):
            item.add_marker(pytest.mark.skip(reason=lack))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


def _lack_of_ray() -> str:
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed: pip install -e '.[ray]'"
    script = "tests/launch/ray_here.sh"
    alone = "RAY_HERE" in os.environ
    return "" if alone else f"Ray needs a network of its own: {script} pytest -m ray, where one can be made"


def _lack_of_slurm() -> str:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "Slurm's daemons are started by root alone"
    if "PYTEST_XDIST_WORKER" in os.environ:
        return "there is one Slurm on a machine; -m slurm, without -n, runs these"
    path = f"{os.environ['PATH']}:/usr/sbin"
    found = all(shutil.which(name, path=path) for name in ("slurmctld", "slurmd", "munged"))
    return "" if found else "there is no Slurm here: tests/launch/slurm_here.sh install"


@pytest.fixture(scope="session")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of ncbench for which a folder is on a read-only file system: `read_only(folder, *arguments)`."""
    apart = ["unshare", "--mount", *([] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["--map-root-user"])]
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'

    def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*apart, "sh", "-c", script, "sh", folder, *command], capture_output=True, text=True, check=False
        )

    if shutil.which("unshare") is None or run(tmp_path_factory.mktemp("probe"), "true").returncode:
        pytest.skip("no folder can be made read-only here")
    return lambda folder, *arguments: run(folder, sys.executable, "-m", "ncbench", *arguments)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a file where torchvision's weights of ResNet-18 are looked for."""
    import torch
    from torchvision import models

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(1)
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
