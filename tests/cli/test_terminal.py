"""Where output goes: encodings, closed and full streams, names that look like markup, and paths from home."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ncbench
from ncbench.cli.terminal import sound_streams, text_console
from ncbench.contracts.errors import ConfigurationError
from ncbench.data.sources.roots import cache_folder, data_roots

Cli = Callable[..., tuple[int, str, str]]

NAME = "erm[red]x[/2]:key:"  # to a console that reads markup and emoji codes: colours, an error, a picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / NAME
    for seed in (0, 1):
        ncbench.run("erm", "colored_digits:per_class=25", seed, set={"recipe.epochs": 1}, output=output)
    return output


def in_shell(line: str, **environment: str) -> tuple[int, bytes, str]:
    """Run a line of the shell, in which ``ncbench`` is started anew with the streams the line gives it."""
    command = f'ncbench() {{ "{sys.executable}" -m ncbench "$@"; }}; {line}'
    variables = {**os.environ, "PYTHONUNBUFFERED": "", **environment}
    done = subprocess.run(["bash", "-c", command], env=variables, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def written(encoding: str, text: str) -> bytes:
    """What reaches a standard output of an encoding."""
    buffer = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        stream = io.TextIOWrapper(buffer, encoding)
        patch.setattr(sys, "stdout", stream)
        with sound_streams():
            print(text, end="", flush=True)
            text_console().print(text, end="", soft_wrap=True)
        stream.flush()
        return buffer.getvalue()


@given(
    st.sampled_from(["ascii", "latin-1", "cp1252", "gbk", "utf-8"]), st.text(st.characters(exclude_categories=["C"]))
)
def test_a_stream_takes_every_text(encoding: str, text: str) -> None:
    expected = text.encode(encoding, "backslashreplace")
    assert written(encoding, text).startswith(expected)


def test_a_name_that_is_no_text_is_written_as_the_bytes_it_is() -> None:
    name = b"run-\xff\xe9-\xc3\xb1"
    assert written("utf-8", os.fsdecode(name)) == 2 * name
    assert written("ascii", os.fsdecode(b"run-\xff")) == 2 * b"run-\xff"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk"])
def test_a_comparison_is_whole_in_every_encoding(folder: Path, encoding: str) -> None:
    code, out, err = in_shell(f"ncbench compare '{folder}'", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert "±" in out.decode(encoding) or rb"\xb1" in out
    assert b"standard deviation over the runs" in out


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_is_one_line(encoding: str, unbuffered: str) -> None:
    code, _, err = in_shell("ncbench list methods > /dev/full", PYTHONIOENCODING=encoding, PYTHONUNBUFFERED=unbuffered)
    assert (code, err) == (1, "Error: Standard output cannot be written to (No space left on device).\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ncbench list methods >&-", 0),
        ("ncbench --help >&- 2>&- <&-", 0),
        ("ncbench compare nowhere 2>&-", 3),
        ("ncbench compare nowhere 2>/dev/full", 3),
        ("set -o pipefail; ncbench list methods | true", 1),
    ],
)
def test_streams_that_lead_nowhere_are_no_fault(line: str, expected: int) -> None:
    code, _, err = in_shell(line)
    assert (code, err) == (expected, "")


def test_a_run_needs_no_streams(tmp_path: Path) -> None:
    command = "ncbench run --method erm --dataset colored_digits:per_class=25 --set recipe.epochs=1 --output"
    code, _, _ = in_shell(f"{command} '{tmp_path}' >&- 2>&- <&-")
    assert code == 0
    (record,) = tmp_path.glob("*/result.json")
    assert ncbench.load_result(record).status == "completed"


def test_names_are_never_read_as_markup(folder: Path, cli: Cli, tmp_path: Path) -> None:
    arguments = ("run", "--method", "erm", "--dataset", "colored_digits:per_class=25", "--set", "recipe.epochs=1")
    code, out, err = cli(*arguments, "--output", folder)
    assert (code, err.count("finished already")) == (0, 1)
    assert f"Record: {folder}/" in out
    code, _, err = cli("compare", folder / "nowhere")
    assert code == 3
    assert str(folder / "nowhere") in err
    code, out, _ = cli("plot", folder, "--output", tmp_path / NAME)
    assert code == 0
    assert str(tmp_path / NAME / "curves.png") in out


def test_a_path_is_read_as_a_shell_reads_it(
    tmp_path: Path, cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    assert cli("compare", f"~/{folder.name}")[0] == 0
    assert cli("plot", f"~/{folder.name}", "--output", "~/plots")[0] == 0
    assert cli("plugins", "new", "athome", "--output=~/made")[0] == 0
    assert cli("leaderboard", "build", "--board", "~/board")[2].startswith(
        f"Error: There is no leaderboard at {folder.parent}/board"
    )
    assert ncbench.load_result(f"~/{folder.name}/{next(folder.iterdir()).name}").status == "completed"
    assert {"plots", "made"} <= {path.name for path in folder.parent.iterdir()}
    assert not list(tmp_path.iterdir())


def test_variables_may_name_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NCBENCH_CACHE", "~/cache")
    monkeypatch.setenv("NCBENCH_DATA", "~/data")
    assert data_roots(Path("~/given")) == [tmp_path / "given", tmp_path / "data", tmp_path / "cache" / "data"]
    monkeypatch.setenv("NCBENCH_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(ConfigurationError, match=r"not known here; write \./~nobody"):
        cache_folder()
