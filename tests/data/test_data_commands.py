from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ncbench import DataError, NcbenchError
from ncbench.cli.commands.data import data
from ncbench.data.sources import manifest as manifest_module

from .conftest import Server

pytestmark = pytest.mark.usefixtures("no_data")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def failure(*arguments: str | Path) -> NcbenchError:
    result = call(*arguments)
    assert isinstance(result.exception, NcbenchError), result.output
    assert "\n" not in str(result.exception)
    return result.exception


def test_list_says_what_is_here_and_what_is_missing(mnist_root: Path) -> None:
    call("prepare", "colored_digits")
    rows = {row["name"]: row for row in json.loads(call("list", "--json", "--data-root", mnist_root).stdout)}
    assert rows["colored_digits"]["sources"] == "embedded"
    assert rows["colored_digits"]["stores"] == 1
    assert rows["colored_digits"]["store_bytes"] > 300_000
    assert rows["colored_mnist"]["sources"] == "present"
    assert rows["colored_mnist"]["where"] == str(mnist_root / "mnist")
    assert rows["bar"]["sources"] == "missing"
    assert "github.com/alinlab/BAR" in rows["bar"]["reason"]
    assert rows["fashion_mnist"]["reason"] == "to get it: ncbench data fetch fashion_mnist (30.9 MB)"
    text = call("list", "--data-root", mnist_root).stdout
    assert len(text.splitlines()) == 1 + len(rows)


def test_every_line_of_the_list_is_short_and_says_what_to_do_next(tmp_path: Path) -> None:
    (tmp_path / "bar" / "train").mkdir(parents=True)
    lines = call("list", "--data-root", tmp_path).stdout.splitlines()
    assert max(map(len, lines)) <= 100
    shown = {line.split()[0]: line for line in lines}
    assert shown["colored_digits"].endswith("in the package")
    assert shown["fashion_mnist"].endswith("ncbench data fetch fashion_mnist (30.9 MB)")
    assert shown["bffhq"].endswith("ncbench data info bffhq says how")
    assert shown["bar"].endswith("ncbench data info bar says what")
    info = "".join(call("info", "bar", "--data-root", tmp_path).stdout.split())  # wherever its lines end
    assert "".join(f"incomplete: {tmp_path / 'bar' / 'train'} is empty. To get it: ".split()) in info


def test_list_does_not_count_a_store_of_another_format(cache: Path) -> None:
    call("prepare", "colored_digits")
    (meta,) = (cache / "stores" / "colored_digits").glob("*/meta.json")
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 1}))
    rows = {row["name"]: row for row in json.loads(call("list", "--json").stdout)}
    assert rows["colored_digits"]["stores"] == 0
    assert rows["colored_digits"]["store_bytes"] == 0


def test_list_tells_incomplete_sources(mnist_root: Path) -> None:
    next((mnist_root / "mnist/MNIST/raw").glob("t10k-labels*")).unlink()
    rows = {row["name"]: row for row in json.loads(call("list", "--json", "--data-root", mnist_root).stdout)}
    assert rows["colored_mnist"]["sources"] == "incomplete"


def test_info_prints_the_manifest_and_the_parameters() -> None:
    content = json.loads(call("info", "colored_mnist:conflict=0.02", "--json").stdout)
    assert content["manifest"]["counts"]["train"]["images"] == 60_000
    values = {row["name"]: row["value"] for row in content["parameters"]}
    assert values == {
        "conflict": 0.02,
        "severity": 4,
        "val": 0.0,
        "val_bias": "same",
        "imbalance": "none",
        "ratio": 1.0,
        "minority": 0.5,
        "per_class": 0,
    }
    text = call("info", "colored_mnist").stdout
    assert "60,000" in text
    # Counts are shown of what they hold for.
    assert "10,047" in call("info", "dogs_and_cats:protocol=tb1").stdout.partition("notes")[0]
    assert "10,047" not in call("info", "dogs_and_cats").stdout.partition("notes")[0]
    assert "CC BY-SA" in text


def test_prepare_verify_and_synthesize(tmp_path: Path) -> None:
    root = tmp_path / "twins"
    assert "--data-root" in call("synthesize", "bar", root).stdout
    assert (root / "bar" / "train" / "pole vaulting_1.jpg").is_file()
    prepared = call("prepare", "bar:size=32", "--synthetic")
    assert prepared.exit_code == 0
    assert "72 images of 32 x 32 x 3" in prepared.stdout
    verified = call("verify", "bar:size=32", "--synthetic").stdout
    assert verified.startswith("bar:size=32 in ")
    assert verified.endswith("bar is whole.\n")


def test_other_data_are_prepared_if_the_user_says_so(bar_root: Path) -> None:
    error = failure("prepare", "bar:size=32", "--data-root", bar_root)
    assert error.exit_code == 3
    assert "train: expected 1941 images, found 72" in str(error)
    assert "--allow-mismatch" in str(error)
    prepared = call("prepare", "bar:size=32", "--data-root", bar_root, "--allow-mismatch")
    assert prepared.exit_code == 0
    assert "mismatch    train: expected 1941 images, found 72" in prepared.stdout


def test_verify_lists_every_problem_and_ends_with_an_error(bar_root: Path) -> None:
    for number in (1, 2, 3):
        path = bar_root / "bar" / "train" / f"diving_{number}.jpg"
        path.write_bytes(path.read_bytes()[:-300])
    result = call("verify", "bar:size=32", "--data-root", bar_root)
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3
    for number in (1, 2, 3):
        assert f"diving_{number}.jpg" in result.stdout
    assert "expected 1941 images, found 72" in result.stdout
    assert "ncbench data info bar says where" in str(result.exception)


def test_a_damaged_store_of_an_embedded_dataset_is_repaired_by_the_next_run() -> None:
    folder = Path(call("prepare", "colored_digits").stdout.split()[-1])
    np.lib.format.open_memmap(folder / "train.inputs.npy", mode="r+")[0, 0, 0] += 1
    result = call("verify", "colored_digits")
    assert f"delete {folder}, the next run builds it anew" in result.stdout
    assert "1 problem with colored_digits" in str(result.exception)
    assert "data info" not in str(result.exception)  # nothing is to be got again
    assert call("prepare", "colored_digits").exit_code == 0
    assert "is whole" in call("verify", "colored_digits").stdout


def test_names_that_do_not_exist_are_usage_errors() -> None:
    for command in ("info", "fetch", "prepare", "verify"):
        error = failure(command, "colored_mnsit")
        assert error.exit_code == 2
        assert "Did you mean 'colored_mnist'" in str(error)
    assert "Did you mean 'conflict'" in str(failure("prepare", "colored_digits:conflct=0.1"))
    assert failure("prepare", "colored_digits", "--synthetic").exit_code == 2
    assert failure("synthesize", "colored_digits", "anywhere").exit_code == 2
    assert "Unknown parameter of bar 'bad'" in str(failure("synthesize", "bar:bad=1", "anywhere"))


def test_missing_data_exit_with_three() -> None:
    error = failure("prepare", "colored_mnist")
    assert error.exit_code == 3
    assert "ncbench data fetch colored_mnist" in str(error)


def serve_twin(server: Server, mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the files of colored_mnist's twin, and let its manifest name them and their content."""
    served, known = [], []
    for path in sorted((mnist_root / "mnist/MNIST/raw").iterdir()):
        content = path.read_bytes()
        server.files[f"/{path.name}"] = content
        whole = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        served.append({"path": f"mnist/MNIST/raw/{path.name}", "urls": [server.url(f"/{path.name}")], **whole})
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        of_content = {"sha256": hashlib.sha256(plain).hexdigest(), "bytes": len(plain)}
        known.append({"path": f"MNIST/raw/{path.name.removesuffix('.gz')}", **of_content})
    real = manifest_module.load_manifest("ncbench:datasets_manifest/colored_mnist.yaml").for_twin()
    changes = {"sources": [{"kind": "http", "files": served}], "files": known}
    twin = type(real).model_validate(real.model_dump() | changes)
    monkeypatch.setattr(manifest_module, "load_manifest", lambda reference: twin)


def test_fetch_goes_to_the_cache_and_never_to_the_shared_data(
    server: Server, cache: Path, mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("NCBENCH_DATA", str(shared))
    serve_twin(server, mnist_root, monkeypatch)
    assert call("fetch", "colored_mnist").exit_code == 0
    assert (cache / "data" / "mnist" / "MNIST" / "raw").is_dir()
    assert list(shared.iterdir()) == []
    before = len(server.requests)
    assert "is here already" in call("fetch", "colored_mnist").stdout
    assert len(server.requests) == before


def test_fetched_files_that_damaged_ones_stand_before_are_no_success(
    server: Server, cache: Path, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_twin(server, mnist_root, monkeypatch)
    monkeypatch.setenv("NCBENCH_DATA", str(mnist_root))
    labels = next((mnist_root / "mnist/MNIST/raw").glob("t10k-labels*"))
    content = bytearray(gzip.decompress(labels.read_bytes()) if labels.suffix == ".gz" else labels.read_bytes())
    content[-1] ^= 1
    labels.write_bytes(gzip.compress(bytes(content)) if labels.suffix == ".gz" else bytes(content))
    error = failure("fetch", "colored_mnist")
    assert f"{mnist_root / 'mnist'}, whose files are not the published ones, is found first" in str(error)
    assert "is here already" in call("fetch", "colored_mnist", "--data-root", cache / "data").stdout


def test_what_is_fetched_but_not_complete_is_no_success(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/one"] = b"one"
    file = {
        "path": "mnist/MNIST/raw/train-images-idx3-ubyte",
        "urls": [server.url("/one")],
        "sha256": hashlib.sha256(b"one").hexdigest(),
        "bytes": 3,
    }
    real = manifest_module.load_manifest("ncbench:datasets_manifest/mnist.yaml").for_twin()
    short = type(real).model_validate(real.model_dump() | {"sources": [{"kind": "http", "files": [file]}]})
    monkeypatch.setattr(manifest_module, "load_manifest", lambda reference: short)
    error = failure("fetch", "mnist", "--data-root", tmp_path)
    assert "was fetched, but is not complete" in str(error)
    assert error.exit_code == 3


def test_fetch_of_what_is_embedded_or_got_by_hand(tmp_path: Path) -> None:
    assert "nothing to fetch" in call("fetch", "colored_digits").stdout
    assert "alinlab/BAR" in str(failure("fetch", "bar", "--data-root", tmp_path / "root"))
    assert not (tmp_path / "root").exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, ncbench.cli.commands.data; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "[]\n"
