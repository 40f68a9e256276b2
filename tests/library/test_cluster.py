"""A library filled by a Ray cluster of two nodes: the same rows as by one process, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from tests.detect.scenes import scene
from tests.library import crew
from tests.library.rows import rows, vector
from tests.test_corpus import written

from twinscope import corpus
from twinscope.detect import embed
from twinscope.errors import LibraryError, UsageError
from twinscope.library import cluster, store
from twinscope.settings import Settings, Shelf

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file.*ray_client_server:ResourceWarning"),  # Ray's own
    pytest.mark.filterwarnings("ignore:lancedb fork support is experimental:RuntimeWarning"),  # Ray's are new programs
]
Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parent.parent.parent
ORDER = [("document", "ascending"), ("panel", "ascending"), ("crop", "ascending")]
NODE = {"object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def two_nodes(endpoint: str) -> Iterator[Cluster]:
    """Return a cluster of two nodes, of two cores and of one, that know the tests and the object store."""
    store_keys = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "key",
                  "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}  # fmt: skip
    there = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "RAY_AUTH_MODE": "disabled",
             "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", **store_keys,
             "GRPC_ENABLE_FORK_SUPPORT": "0"}  # fmt: skip  # as gRPC would have it where a new program follows a fork
    with pytest.MonkeyPatch.context() as patch:
        for name, value in there.items():
            patch.setenv(name, value)
        head = {"num_cpus": 2, "include_dashboard": False, "ray_client_server_port": free_port(), **NODE}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        nodes.add_node(num_cpus=1, **NODE)
        yield nodes
        nodes.shutdown()


def free_port() -> int:
    """Return a port that nobody has and that stays free until Ray's server for clients comes, seconds later.

    Not one that the system gives: it may give it to a connection of Ray's meanwhile. Nor one of Ray's own for workers
    (10002 to 19999) and for clients (23000 to 23999).
    """
    for port in range(24100 + os.getpid() % 5000, 32768):
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        return port
    raise OSError("all ports are taken")


def filled(uri: str, groups: list[list[str]], panels: int = 3) -> pa.Table:
    """Return the table that one process makes of groups of documents."""
    with store.writing(uri) as library:
        for names in groups:
            store.add(library, pa.concat_tables([rows(name, panels=panels) for name in names]))
    return table(uri)


def table(uri: str) -> pa.Table:
    opened = store.open_library(uri)
    assert store.verify(opened) == []
    return opened.table.to_arrow().select(store.SCHEMA.names).sort_by(ORDER).combine_chunks()


def test_papers_taken_in_by_a_cluster_are_those_of_one_process(
    two_nodes: Cluster, bucket: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = written(tmp_path / "papers", **{f"scene{k}": scene(k) for k in range(5)})
    (papers / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    settings = Settings()
    alone = corpus.add([papers], str(tmp_path / "alone"), settings)
    address = two_nodes.address
    code, out, err = run("library", "add", str(papers), "--library", f"{bucket}/library", "--cluster", address)
    assert (code, f"5 documents added to {bucket}/library, with 5 panels" in out, "broken.pdf" in err) == (
        3,
        True,
        True,
    )
    monkeypatch.setenv("RAY_ADDRESS", address)  # of the cluster that this machine is part of
    code, out, _ = run(
        "library", "add", str(papers / "scene1.png"), "--library", f"{bucket}/library", "--cluster", "auto"
    )
    assert (code, "0 documents added" in out, "1 were there already" in out) == (0, True, True)
    one, many = table(str(tmp_path / "alone")), table(f"{bucket}/library")
    assert len(one) == alone.vectors == 30
    assert many.equals(one)
    queries = embed.embed([scene(k)[:, ::-1] for k in range(3)])
    for a, b in zip(*(store.nearest(store.open_library(uri), queries, 10, embed.MODEL, settings.library)
                      for uri in (str(tmp_path / "alone"), f"{bucket}/library")), strict=True):  # fmt: skip
        assert [hit.key for hit in a] == [hit.key for hit in b]
        assert [hit.distance for hit in a] == [hit.distance for hit in b]


def test_a_killed_node_changes_nothing(two_nodes: Cluster, tmp_path: Path) -> None:
    uri, log, groups = str(tmp_path / "library"), tmp_path / "log", crew.groups(240)
    node = two_nodes.add_node(num_cpus=1, **NODE)
    done: list[int] = []
    killed: list[set[str]] = []

    def heard(number: int) -> None:
        done.append(number)
        if len(done) == 6:
            killed.append({line.split()[0] for line in log.read_text().splitlines()})
            two_nodes.remove_node(node, allow_graceful=False)

    work = partial(crew.draw, log=str(log), pause_s=0.02)
    outcome = cluster.run(groups, work, uri, crew.MODEL, Shelf(), two_nodes.address, heard)
    assert (sorted(outcome.results), outcome.stopped) == (list(range(24)), "")
    assert len(killed[0]) == 3  # all three workers had begun
    assert table(uri).equals(filled(str(tmp_path / "alone"), groups))


def test_a_killed_worker_costs_one_group(two_nodes: Cluster, tmp_path: Path) -> None:
    uri, log, groups = str(tmp_path / "library"), tmp_path / "log", crew.groups(240)
    done: list[int] = []

    def heard(number: int) -> None:
        done.append(number)
        while len(done) == 6:  # in the midst of a group
            lines = log.read_text().splitlines()
            process = lines[-1].split()[0]
            if 2 < sum(line.startswith(f"{process} ") for line in lines) % 10 < 7:
                os.kill(int(process), signal.SIGKILL)
                return

    work = partial(crew.draw, log=str(log), pause_s=0.02)
    cluster.run(groups, work, uri, crew.MODEL, Shelf(), two_nodes.address, heard)
    drawn = [line.split()[1] for line in log.read_text().splitlines()]
    assert 0 < len(drawn) - 240 <= 10
    assert table(uri).equals(filled(str(tmp_path / "alone"), groups))


def test_a_killed_driver_costs_a_group_for_each_worker(two_nodes: Cluster, tmp_path: Path) -> None:
    uri, log, groups = str(tmp_path / "library"), tmp_path / "log", crew.groups(300)
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.library.crew", two_nodes.address, uri, str(log), "300"], cwd=ROOT
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < 100):
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    before = still(log)
    assert 100 <= before < 300
    work = partial(crew.draw, log=str(log))
    outcome = cluster.run(groups, work, uri, crew.MODEL, Shelf(), two_nodes.address)
    drawn = [line.split()[1] for line in log.read_text().splitlines()]
    assert len(set(drawn)) == 300
    assert len(drawn) - 300 <= 2 * 10  # two workers, groups of ten
    assert sum(outcome.results.values()) == 6 * (len(drawn) - before)
    assert table(uri).equals(filled(str(tmp_path / "alone"), groups))


def still(log: Path) -> int:
    """Return how many lines a log has once nobody writes to it."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        now = len(log.read_text().splitlines())
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.1)
    return seen


def test_a_run_that_stands_still_is_ended_and_can_go_on(two_nodes: Cluster, tmp_path: Path) -> None:
    uri, groups = str(tmp_path / "library"), crew.groups(60)
    began = time.monotonic()
    outcome = cluster.run(groups, crew.stall, uri, crew.MODEL, Shelf(stalled_s=20), two_nodes.address)
    assert time.monotonic() - began < 120
    assert outcome.stopped.startswith("nothing got further for 20 s, and the run was ended; what was written is safe")
    assert set(outcome.results) <= {0, 1}
    assert len(table(uri)) == 20 * 6
    outcome = cluster.run(groups, crew.draw, uri, crew.MODEL, Shelf(stalled_s=60), two_nodes.address)
    assert (outcome.stopped, sum(outcome.results.values())) == ("", 40 * 6)
    assert table(uri).equals(filled(str(tmp_path / "alone"), groups))


def test_a_run_that_was_ended_is_a_problem_with_its_exit_code(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = written(tmp_path / "papers", one=scene(1))
    monkeypatch.setattr(cluster, "run", lambda *_: cluster.Outcome({}, (), "nothing got further"))
    code, _, err = run("library", "add", str(papers), "--library", str(tmp_path / "library"), "--cluster", "local")
    assert (code, "nothing got further" in err) == (3, True)


@pytest.mark.parametrize("place", ["folder", "store"])
def test_lance_ray_builds_the_index(two_nodes: Cluster, bucket: str, tmp_path: Path, place: str) -> None:
    """Into a folder as a machine of the cluster, and into an object store from outside, by Ray's client."""
    port = two_nodes.head_node._ray_params.ray_client_server_port
    address = two_nodes.address if place == "folder" else f"ray://127.0.0.1:{port}"
    shelf = Shelf(exact=600, lists=4, probed=4, bytes_a_vector=16, refined=20)
    uri = str(tmp_path / "library") if place == "folder" else f"{bucket}/library"
    work = partial(crew.draw, panels=30)
    outcome = cluster.run(crew.groups(40), work, uri, crew.MODEL, shelf, address)
    assert sum(outcome.results.values()) == 2400
    opened = store.open_library(uri)
    assert store.info(opened)["index"] == {"name": store.INDEX, "unindexed": 0}
    assert opened.table.index_stats(store.INDEX).num_indices == 2  # a part by each of two workers
    names = ("doc00003", "doc00022", "doc00039")
    queries = pa.concat_tables([rows(name, panels=30).slice(8, 1) for name in names])
    found = store.nearest(
        opened, queries["vector"].combine_chunks().flatten().to_numpy().reshape(3, -1), 1, "m-1", shelf
    )
    assert [(hits[0].key, hits[0].distance) for hits in found] == [((name, "p1-f1-4"), 0.0) for name in names]
    assert store.verify(opened) == []
    with store.writing(uri) as library:  # and the ordinary way goes on from there
        store.add(library, rows("later", panels=200))
        assert store.refresh(library, shelf)
    opened = store.open_library(uri)
    assert store.info(opened)["index"]["unindexed"] == 0
    (hits,) = store.nearest(opened, vector(rows("later", panels=200), 8)[None], 1, "m-1", shelf)
    assert hits[0].key == ("later", "p1-f1-4")


def test_others_may_write_meanwhile(two_nodes: Cluster, tmp_path: Path) -> None:
    uri, groups = str(tmp_path / "library"), crew.groups(100)
    once = threading.Event()

    def heard(_: int) -> None:
        if not once.is_set():
            once.set()
            with store.writing(uri) as library:
                store.add(library, pa.concat_tables([rows("doc00099"), rows("another")]))

    cluster.run(groups, partial(crew.draw, pause_s=0.02), uri, crew.MODEL, Shelf(), two_nodes.address, heard)
    assert table(uri).equals(filled(str(tmp_path / "alone"), [*groups, ["another"]]))


# ---------------------------------------------------------------------------------------------------- wrong use


def test_what_stands_in_the_way_is_said_in_the_same_words(two_nodes: Cluster, bucket: str, tmp_path: Path) -> None:
    def run(uri: str, address: str = two_nodes.address) -> None:
        cluster.run(crew.groups(10), crew.draw, uri, crew.MODEL, Shelf(), address)

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(
        UsageError, match=r"^\S+/other holds files that are not of a library; name a new or empty folder$"
    ):
        run(str(tmp_path / "other"))
    with pytest.raises(LibraryError, match=r"^there is no bucket for s3://no-such-bucket/library; make it first"):
        run("s3://no-such-bucket/library")
    with pytest.raises(UsageError, match="is no address; give local, auto, HOST:PORT or ray://HOST:PORT"):
        run(f"{bucket}/library", "somewhere")
    with pytest.raises(UsageError, match=r"is a folder of this machine, which ray://127\.0\.0\.1:1 cannot write"):
        run(str(tmp_path / "library"), "ray://127.0.0.1:1")
    assert not (tmp_path / "library").exists()


@pytest.mark.parametrize("failures", [2, 3])
def test_a_client_whose_process_dies_as_it_starts_is_tried_again(
    two_nodes: Cluster, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """As seen of Ray 2.60: its proxy forks amid the threads of gRPC, and now and then the new process is dead."""
    import ray
    from ray.util.client.worker import Worker

    address = f"ray://127.0.0.1:{two_nodes.head_node._ray_params.ray_client_server_port}"
    begin, left = Worker._server_init, [failures]

    def dying(*given: object) -> object:
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionAbortedError("Initialization failure from server")
        return begin(*given)

    monkeypatch.setattr(Worker, "_server_init", dying)
    monkeypatch.setattr(cluster, "PAUSE_S", 0.0)
    if failures == 2:
        with cluster._connected(ray, "s3://bucket/library", address):
            assert ray.cluster_resources()["CPU"] == 3
    else:
        said = rf"^the Ray cluster at {address} answers, but started no process for this one in 3 tries; its logs, "
        with pytest.raises(UsageError, match=said), cluster._connected(ray, "s3://bucket/library", address):
            pytest.fail("it is no part of it")
        assert left == [0]
    with cluster._connected(ray, "s3://bucket/library", two_nodes.address):  # nothing of the failures is left
        assert ray.cluster_resources()["CPU"] == 3


def test_without_the_extra_it_is_said_how_to_get_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    papers = written(tmp_path / "papers", one=scene(1))
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = run("library", "add", str(papers), "--library", str(tmp_path / "library"), "--cluster", "local")
    assert (code, "get them with `pip install 'twinscope[cluster]'`" in err) == (2, True)
    assert not (tmp_path / "library").exists()


def test_the_writer_lets_a_document_that_was_read_in_part_be_read_again(tmp_path: Path) -> None:
    uri = str(tmp_path / "library")
    part = rows("part", panels=1)
    why = pa.array(["the rest is not read"] * len(part))
    part = part.set_column(part.schema.get_field_index("partial"), store.SCHEMA.field("partial"), why)
    with store.writing(uri) as library:
        store.add(library, pa.concat_tables([rows("whole"), part]))
    writer = cluster.Writer(uri, crew.MODEL)
    assert writer.claim(1, ["whole", "part", "new"]) == {"part": 1, "new": 0}
    assert writer.claim(2, ["part", "new"]) == {}
    assert writer.write(pa.concat_tables([rows("new"), rows("part"), rows("whole")])) == 12
    assert writer.claim(3, ["whole", "part", "new"]) == {}
    assert writer.write(rows("last")) == 6
    assert table(uri).equals(filled(str(tmp_path / "alone"), [["whole", "part", "new", "last"]]))


def test_a_core_is_left_free() -> None:
    class Ray:
        cores = 3.0

        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": self.cores}

    ray = Ray()
    assert cluster._workers(ray) == 2
    ray.cores = 1.0
    with pytest.raises(UsageError, match="the cluster has 1 core; it takes two"):
        cluster._workers(ray)
