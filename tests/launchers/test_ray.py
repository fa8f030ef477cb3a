"""Runs as actors of a real Ray: two nodes on this machine."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from ncbench import ConfigurationError, Ended, Job, Started, Waiting, load_result
from ncbench.launch.sweep import make_launcher
from ncbench_launchers import shared
from ncbench_launchers.ray import launcher as ray_launcher
from ncbench_launchers.ray.node import Attempt, Demands
from ncbench_launchers.shared import versions, write_probe
from tests import served
from tests.launchers.jobs import DATASET, attempts, job, slow_method, wait_for
from tests.training.conftest import without_times

EPOCHS = 120  # of the slow method, whose epochs take a second each until the test lets them go
PRIVATE = "ncbench-ray-*"


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with slow_method(tmp_path_factory.mktemp("slow")) as go:
        yield go


@pytest.fixture(scope="module")
def cluster(go: Path) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def node_of(cluster: Any, process: int) -> Any:
    """The node whose daemon has started the actor that has started a process."""
    daemon = parent(parent(process))
    (node,) = (node for node in cluster.list_all_nodes() if node.all_processes["raylet"][0].process.pid == daemon)
    return node


def process_at(place: str) -> int:
    match = re.fullmatch(r"\S+, process (\d+)", place)
    assert match
    return int(match[1])


@pytest.mark.ray
def test_runs_are_spread_over_the_nodes_and_their_records_are_those_of_local(cluster: Any, tmp_path: Path) -> None:
    base, other = job("erm"), job("jtt", 1)
    faulty = Job("faulty", "emr", DATASET, None, 0, {})
    on_base, on_faulty = job("erm", 2, after=(base.run_id, "made before")), job("erm", 3, after=("faulty",))
    jobs = [on_base, base, other, faulty, on_faulty]
    output = tmp_path / "ray"
    events, nodes = [], []
    launcher = make_launcher(f"ray:address={cluster.address}", {"device": "cpu"})
    for event in launcher.launch(jobs, output, ["--output", str(output)]):
        events.append(event)
        if isinstance(event, Started):
            nodes.append(node_of(cluster, process_at(event.place)))
    assert len({id(node) for node in nodes[:2]}) == 2

    started = {event.job.run_id: index for index, event in enumerate(events) if isinstance(event, Started)}
    ended = {event.job.run_id: index for index, event in enumerate(events) if isinstance(event, Ended)}
    assert len([event for event in events if isinstance(event, Ended)]) == len(ended) == len(jobs)
    assert started.keys() == {base.run_id, other.run_id, "faulty", on_base.run_id}
    assert ended[base.run_id] < started[on_base.run_id]
    assert [event.job for event in events if isinstance(event, Waiting)] == [on_base, on_faulty]
    failed = events[ended["faulty"]]
    assert isinstance(failed, Ended)
    assert (failed.exit_code, "Did you mean 'erm'" in failed.message) == (2, True)
    assert events[ended[on_faulty.run_id]] == Ended.without(on_faulty, "faulty")
    assert [path.name for path in (output / ".launch").glob("ray*")] in ([], ["ray.log"])

    made, local = [on_base, base, other], tmp_path / "local"
    list(make_launcher("local:workers=1", {"device": "cpu"}).launch(made, local, ["--output", str(local)]))
    for each in made:
        assert events[ended[each.run_id]] == Ended(each, 0, "")
        one, two = (load_result(folder / each.run_id).record.model_dump(mode="json") for folder in (output, local))
        assert without_times(one) == without_times(two)


@pytest.mark.ray
def test_what_the_cluster_lacks_is_said_before_any_run(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--output", str(tmp_path)]
    large = make_launcher(f"ray:address={cluster.address},cpus=64,memory_gb=0.5", {})
    events = large.launch([job("erm")], tmp_path, arguments)  # a node that is large enough may join
    assert next(events) == Waiting(job("erm"), "no node of the cluster has 64 CPUs and 0.5 GiB for a run yet")
    events.close()

    here = versions()
    monkeypatch.setattr(ray_launcher, "versions", lambda: here | {"torch": "1.0"})
    launcher = make_launcher(f"ray:address={cluster.address}", {})
    with pytest.raises(ConfigurationError, match=r"has torch .*1\.0 where the sweep is.*install the same versions"):
        list(launcher.launch([job("erm")], tmp_path, arguments))
    assert not list(tmp_path.glob("erm-*"))


@pytest.mark.ray
def test_a_run_whose_node_is_lost_goes_on_from_its_checkpoint_on_another(
    cluster: Any, tmp_path: Path, go: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [job("slow", seed, epochs=EPOCHS, devices=2) for seed in (0, 1)]
    launcher = make_launcher(f"ray:address={cluster.address},cpus=0.5", {"device": "cpu"})
    places, lost, ends = dict[str, int](), "", []
    for event in launcher.launch(runs, tmp_path, ["--output", str(tmp_path), "--checkpoint-seconds", "1"]):
        if isinstance(event, Started) and not lost:
            places[event.job.run_id] = process_at(event.place)
            wait_for(lambda run_id=event.job.run_id: list(tmp_path.glob(f"{run_id}/checkpoints/*.pt")))
            if len(places) == 2:  # the sweep is on the head
                (lost,) = (name for name, process in places.items() if node_of(cluster, process) != cluster.head_node)
                cluster.remove_node(node_of(cluster, places[lost]), allow_graceful=False)
                wait_for(lambda process=places[lost]: not Path(f"/proc/{process}").exists())
        elif isinstance(event, Started):
            assert event.job.run_id == lost
            assert node_of(cluster, process_at(event.place)) == cluster.head_node
        elif isinstance(event, Waiting):
            assert event.job.run_id == lost
            go.touch()  # when the other has ended there is room for it
        else:
            ends.append(event)
    (other,) = places.keys() - {lost}
    assert [(end.job.run_id, end.exit_code, end.message) for end in ends] == [(other, 0, ""), (lost, 0, "")]
    assert attempts(tmp_path, lost) == ["started", "resumed"]
    assert attempts(tmp_path, other) == ["started"]
    result = load_result(tmp_path / lost)
    assert (result.status, result.record.environment["devices"]) == ("completed", 2)
    assert capfd.readouterr().out == ""
    assert "raylet" in (tmp_path / ".launch" / "ray.log").read_text()  # of the two messages, whichever came


def write_suite(path: Path, seeds: list[int]) -> Path:
    settings = {"recipe.epochs": EPOCHS, "recipe.measure_points": 1}
    block = {"methods": ["slow"], "datasets": [DATASET], "seeds": seeds, "settings": settings}
    path.write_text(yaml.safe_dump({"title": "Try", "description": "D", "runs": [block]}))
    return path


@pytest.mark.ray
def test_a_sweep_whose_head_is_lost_says_so_and_its_runs_go_on_elsewhere(tmp_path: Path, go: Path) -> None:
    from ray.cluster_utils import Cluster

    go.unlink(missing_ok=True)
    path, runs = write_suite(tmp_path / "suite.yaml", [0, 1]), tmp_path / "runs"
    doomed = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        sweep = served.Process(
            "-m", "ncbench", "sweep", path, "--output", runs, "--device", "cpu",
            "--launcher", f"ray:address={doomed.address}",
        )  # fmt: skip
        wait_for(lambda: any(attempts(runs, folder.name) for folder in runs.glob("slow-*")) or not sweep.running)
        assert sweep.running
        doomed.head_node.kill_gcs_server()
        ended = sweep.finish()
    finally:
        doomed.shutdown()
    assert (ended.returncode, ended.stdout) == (1, "")
    said = ended.stderr.splitlines()[-1]
    assert re.fullmatch(r"Error: The head of the Ray cluster, \S+, is lost \(.*\).* give the same command: .*", said)
    (slow,) = (folder.parent for folder in runs.glob("slow-*/checkpoints"))
    assert load_result(slow).status == "interrupted"  # it was told: the head is not needed for that
    go.touch()
    done = served.ncbench("sweep", path, "--output", runs, "--device", "cpu", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert attempts(runs, slow.name) == ["started", "resumed"]


@pytest.mark.ray
def test_a_sweep_with_a_ray_of_its_own_leaves_nothing_when_it_is_ended(tmp_path: Path, go: Path) -> None:
    go.unlink(missing_ok=True)
    path, runs = write_suite(tmp_path / "suite.yaml", [0, 1, 2]), tmp_path / "runs"
    before = set(Path("/tmp").glob(PRIVATE))
    mark = str(tmp_path / "mark")
    sweep = served.Process(
        "-m", "ncbench", "sweep", path, "--output", runs, "--device", "cpu", "--launcher", "ray", MARK=mark
    )
    wait_for(lambda: any(attempts(runs, folder.name) for folder in runs.glob("slow-*")) or not sweep.running)
    assert sweep.running
    sweep.send(signal.SIGTERM)
    ended = sweep.finish()
    assert (ended.returncode, ended.stdout) == (130, ""), ended.stderr
    wait_for(lambda: not marked(mark))
    assert set(Path("/tmp").glob(PRIVATE)) == before
    (slow, *_) = (folder.parent for folder in runs.glob("slow-*/checkpoints"))
    record = load_result(slow).record
    assert record.status == "interrupted"
    assert [path.name for path in (runs / ".launch").glob("ray*")] == ["ray.log"]

    go.touch()
    write_suite(path, [record.seed])
    done = served.ncbench("sweep", path, "--output", runs, "--device", "cpu", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert attempts(runs, slow.name) == ["started", "resumed"]


def marked(mark: str) -> list[str]:
    """The processes that have a variable in their environment, of the processes started with it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, state = (process / "environ").read_bytes(), (process / "stat").read_text()
        except OSError:  # it has ended just now
            continue
        if f"MARK={mark}\0".encode() in environment and state.rpartition(")")[2].split()[0] != "Z":
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.ray
def test_an_address_where_nothing_answers_is_said(tmp_path: Path) -> None:
    launcher = make_launcher("ray:address=127.0.0.1:9", {})
    (tmp_path / ".launch").mkdir()
    (tmp_path / ".launch" / "ray.log").write_text("Unauthenticated, another day")
    with pytest.raises(ConfigurationError, match=r"No Ray answers at 127\.0\.0\.1:9 \(.*refused\): start one with"):
        list(launcher.launch([job("erm")], tmp_path, []))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ray", r'needs the package ray \(.*\): pip install "ncbench\[ray\]"'),
        (
            "ray:address=ray://head:10001",
            r"not HOST:PORT\. Give this command on a node of the cluster",
        ),
        ("ray:gpus=1.5", r"gpus=1\.5 is neither a share of one GPU nor a whole number of them"),
        ("ray:gpu=1", "Did you mean 'gpus'"),
    ],
)
def test_what_ray_cannot_be_told_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, complaint: str) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=complaint):
        make_launcher(text, {})


def test_a_node_that_lacks_something_makes_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "CACHE_SECONDS", 0)
    folder = tmp_path / ".launch" / "ray-x"
    folder.mkdir(parents=True)
    word = write_probe(folder)
    for demands, complaint in (
        (Demands(folder, "another", versions()), f"does not see {tmp_path}; name an --output that all nodes share"),
        (Demands(folder, word, versions() | {"torch": "1.0"}), "(1.0 where the sweep is); install the same versions"),
    ):
        attempt = Attempt(demands, ["--method", "emr"], {})
        assert asyncio.run(attempt.place()) == ""
        code, message = asyncio.run(attempt.end())
        assert (code, complaint in message) == (2, True)
    attempt = Attempt(Demands(folder, word, versions()), ["--method", "emr"], {})
    code, message = asyncio.run(attempt.end())
    assert (code, "Did you mean 'erm'" in message) == (2, True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends by itself, a while later")
def test_a_run_is_gone_with_its_actor(tmp_path: Path) -> None:
    output = tmp_path / "runs"
    folder = output / ".launch" / "ray-x"
    folder.mkdir(parents=True)
    arguments = [
        *job("erm", epochs=4000).arguments(),
        "--output",
        str(output),
        "--device",
        "cpu",
        "--checkpoint-seconds",
        "0",
    ]
    code = f"""
import asyncio, pathlib
from ncbench_launchers.ray.node import Attempt, Demands
from ncbench_launchers.shared import versions
attempt = Attempt(Demands(pathlib.Path({str(folder)!r}), {write_probe(folder)!r}, versions()), {arguments!r}, {{}})
print(asyncio.run(attempt.place()))
asyncio.run(attempt.end())
"""
    actor = served.Process("-c", code)
    wait_for(lambda: list(output.glob("erm-*/checkpoints/*.pt")))
    run = process_at(actor.stdout.strip())
    assert Path(f"/proc/{run}").exists()
    actor.send(signal.SIGKILL)
    actor.finish()
    wait_for(lambda: not Path(f"/proc/{run}").exists())
    (made,) = output.glob("erm-*")
    with FileLock(made / ".lock", timeout=60):  # what it had forked is gone, too
        pass
