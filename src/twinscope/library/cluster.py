"""A library filled by many machines: Ray Data deals out the documents, lance-ray builds the index.

    driver    this process: starts the others, hears what became of the items, and ends a run that stands still
    dealer    one process: has Ray Data deal out the items; if it is killed, so are the workers
    workers   a core each: read and embed an item, and hand its rows over batch by batch
    writer    one process: says which documents are new, and writes a batch at a time through `store.writing`

One writer, because then a folder is written under its lock and its ledger as ever, no document is there twice, and
what a library holds is read once and not before each batch. Items and results travel pickled, as everything in Ray
does; they come from these processes alone, never from a file. A worker goes on when its rows are safe: if all machines
stop, it has lost one batch. The writer embeds nothing; how much it can write a second is in docs/scale.md.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from twinscope import errors
from twinscope.errors import LibraryError, TwinscopeError, UsageError
from twinscope.library import store
from twinscope.library.ledger import is_local
from twinscope.settings import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterator

Claim = Callable[[Sequence[str]], dict[str, int]]
"""Given hashes of documents, returns those that the caller is to read: nobody holds or reads them. Or the library holds
so many panels of one, more than none, and it was read only in part."""
Write = Callable[[pa.Table], int]
"""Writes rows and returns, when they are safe, how many were new."""
Work = Callable[[Any, Claim, Write], Any]
"""What a worker does with an item; it is sent to the workers, and so must be a function of a module."""


class Outcome(NamedTuple):
    """What a run gave: the results of the items that were done, by number; what was mended; why it ended early."""

    results: dict[int, Any]
    mended: tuple[str, ...] = ()
    stopped: str = ""


def run(
    items: Sequence[Any],
    work: Work,
    uri: str,
    model: str,
    shelf: Shelf,
    address: str,
    heard: Callable[[int], None] | None = None,
) -> Outcome:
    """Have all items worked on by the cores of a cluster but one, and the index built; `heard` gets each number done.

    address: "local" (the cores of this machine), "auto", or that of a cluster: HOST:PORT or ray://HOST:PORT. A worker
    or a machine that dies is replaced, and its item begun again. Where nothing gets further for `shelf.stalled_s`
    seconds the run ends, and `stopped` says so. Raises UsageError, LibraryError.
    """
    ray = _ray()
    with _connected(ray, uri, address):
        workers = _workers(ray)
        writer = _started(ray, Writer, uri, model)
        mended = tuple(_told(ray, writer.mended.remote()))
        dealer = _started(ray, Dealer, work, writer, workers)
        results, stopped = _watched(ray, items, dealer, writer, shelf.stalled_s, heard)
        if not stopped and items:
            with store.writing(uri) as library:
                store.refresh(library, shelf, lambda library, shelf: build(ray, library, shelf, workers))
    return Outcome(results, mended, stopped)


class Writer:
    """The one process that writes: what a library holds, and who reads what."""

    THREADS = 1

    def __init__(self, uri: str, model: str) -> None:
        self.uri, self.model = uri, model
        self.steps = 0
        self.readers: dict[str, int] = {}
        with store.writing(uri) as library:
            self._look(library)
            self._mended = library.told

    def mended(self) -> tuple[str, ...]:
        """Return what was mended when the library was opened."""
        return self._mended

    def claim(self, number: int, names: Sequence[str]) -> dict[str, int]:
        """Return those documents that item `number` is to read; the same item may ask again, after its worker died."""
        self.steps += 1
        free = [one for one in names if one not in self.held and self.readers.setdefault(one, number) == number]
        return {name: self.left.get(name, 0) for name in free}

    def write(self, rows: pa.Table) -> int:
        """Write rows of documents that are new, and return how many there are when they are safe."""
        with store.writing(self.uri) as library:
            if library.table.version != self.version:  # somebody else has written
                self._look(library)
            fresh, again = store.parted(store.parted(rows, self.held)[0], self.left)
            count = store.append(library, fresh) if len(fresh) else 0
            self.version += 1 if len(fresh) else 0
            if len(again):
                count += store.renew(library, again)
                self._look(library)
        self.held |= set(pc.unique(fresh["document"]).to_pylist())
        self.steps += 1
        return count

    def progress(self) -> int:
        """Return a number that grows whenever anything is done."""
        return self.steps

    def _look(self, library: store.Library) -> None:
        self.left = store.in_part(library, self.model)
        self.held = store.held(library, self.model) - self.left.keys()
        self.version = library.table.version


class Dealer:
    """The one process that runs Ray Data: items to workers, results back."""

    THREADS = 2

    def __init__(self, work: Work, writer: Any, workers: int) -> None:
        self.work, self.writer, self.workers = work, writer, workers
        self.fresh: deque[tuple[int, bytes]] = deque()

    def run(self, items: Sequence[bytes]) -> None:
        """Have each item worked on by a pool of processes with a core each."""
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        if not items:
            return
        size = min(self.workers, len(items))
        rows = [{"number": number, "item": item} for number, item in enumerate(items)]
        plan = ray.data.from_items(rows, override_num_blocks=len(items)).map_batches(
            Worker,
            fn_constructor_args=(self.work, self.writer),
            batch_size=1,
            batch_format="numpy",
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
        )
        for batch in plan.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            self.fresh.extend(zip(batch["number"].tolist(), batch["result"].tolist(), strict=True))

    def done(self) -> list[tuple[int, bytes]]:
        """Return the results that came since the last call."""
        return [self.fresh.popleft() for _ in range(len(self.fresh))]


class Worker:
    """A process that works on one item after another, as Ray Data has it: columns in, columns out."""

    def __init__(self, work: Work, writer: Any) -> None:
        import ray

        self.work, self.writer, self.get = work, writer, ray.get

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        out: dict[str, list[Any]] = {"number": [], "result": []}
        for number, item in zip(batch["number"].tolist(), batch["item"].tolist(), strict=True):

            def claim(names: Sequence[str], number: int = number) -> dict[str, int]:
                free: dict[str, int] = self.get(self.writer.claim.remote(number, list(names)))
                return free

            def write(rows: pa.Table) -> int:
                return int(self.get(self.writer.write.remote(rows)))

            out["number"].append(number)
            out["result"].append(pickle.dumps(self.work(pickle.loads(item), claim, write)))
        return out


def build(ray: Any, library: store.Library, shelf: Shelf, workers: int) -> None:
    """Build the index with all workers: lance-ray trains the lists and the codebook once, has each worker sort a share
    of the files in, and commits all at once. It has a process of its own: pylance minds the forks of this one.
    """
    rows = library.table.count_rows()
    task = ray.remote(_built).options(num_cpus=0, scheduling_strategy=_here(ray), max_retries=0)
    _told(ray, task.remote(library.table.uri, rows, shelf, workers))
    library.table.checkout_latest()


def _built(uri: str, rows: int, shelf: Shelf, workers: int) -> None:
    import lance_ray

    lance_ray.create_index(
        uri=uri, column="vector", index_type="IVF_PQ", name=store.INDEX, metric="l2", num_partitions=shelf.lists,
        num_sub_vectors=shelf.bytes_a_vector, num_workers=workers, ray_remote_args={"num_cpus": 1},
        sample_rate=max(2, min(256, rows // max(256, shelf.lists))),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- Ray


def _ray() -> Any:
    """Return Ray, told to keep quiet: nothing about its use leaves the machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray

        if importlib.util.find_spec("lance_ray") is None:
            raise ImportError("lance_ray")
    except ImportError as error:
        raise UsageError(
            "--cluster needs Ray and lance-ray; get them with `pip install 'twinscope[cluster]'`"
        ) from error
    return ray


@contextmanager
def _connected(ray: Any, uri: str, address: str) -> Iterator[None]:
    """Be part of a cluster for a while; one that was started here ends with it."""
    if not re.fullmatch(r"local|auto|(ray://)?[^/:\s]+:\d+", address):
        raise UsageError(f"--cluster {address} is no address; give local, auto, HOST:PORT or ray://HOST:PORT")
    if address.startswith("ray://") and is_local(uri):
        raise UsageError(
            f"{uri} is a folder of this machine, which {address} cannot write; name an object store, s3://..."
        )
    if ray.is_initialized():
        raise UsageError("this process is part of a Ray cluster already; call ray.shutdown() first")
    _join(ray, address)
    try:
        yield
    finally:
        ray.shutdown()


def _join(ray: Any, address: str) -> None:
    """Become part of a cluster. Its process for a client sometimes dies as it starts (a fork amid threads): again."""
    own = {"include_dashboard": False} if address == "local" else {}
    for left in reversed(range(TRIES)):
        try:
            with warnings.catch_warnings():
                # Ray's processes are new programs, not forks of this one
                warnings.filterwarnings("ignore", "lance.*fork")
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
            return
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            ray.shutdown()  # else Ray goes on taking this process for a client
            if not isinstance(error, ConnectionAbortedError):
                raise UsageError(
                    f"no Ray cluster answers at {address}; begin one with `ray start --head`, or say local"
                ) from error
            if not left:
                raise UsageError(
                    f"the Ray cluster at {address} answers, but started no process for this one in {TRIES} tries; its "
                    "logs, ray_client_server*.err, say why"
                ) from error
            time.sleep(PAUSE_S)


def _workers(ray: Any) -> int:
    """Return how many workers there are: all cores but one, for Ray Data hangs where its actors take every core."""
    cores = int(ray.cluster_resources().get("CPU", 0))
    if cores < 2:
        raise UsageError(f"the cluster has {cores} core; it takes two: one for a worker, and one left free")
    return cores - 1


def _started(ray: Any, kind: type, *given: Any) -> Any:
    """Start a process on the machine of this one: a library's folder is there, and nobody else's end ends it."""
    options = {"num_cpus": 0, "scheduling_strategy": _here(ray), "max_restarts": 0}
    return ray.remote(kind).options(**options, max_concurrency=kind.THREADS).remote(*given)  # type: ignore[attr-defined]


def _here(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _told(ray: Any, asked: Any) -> Any:
    """Return an answer of the writer; what stands in its way is said in its own sentence."""
    try:
        return ray.get(asked)
    except ray.exceptions.RayError as error:
        raise _meant(error) from error


def _meant(error: BaseException) -> TwinscopeError:
    """Return the error of twinscope's of which Ray tells, by its text; else one that tells Ray's last line."""
    at: BaseException | None = error
    while at is not None:
        found = re.findall(r"^\s*twinscope\.errors\.(\w+): (.+)$", str(at), re.MULTILINE)
        if found:
            kind: type[TwinscopeError] = getattr(errors, found[-1][0])
            return kind(found[-1][1])
        at = at.__cause__
    last = (str(error).strip() or type(error).__name__).splitlines()[-1]
    return LibraryError(f"the cluster could not go on ({last[:200]}); run the same command again to go on")


def _watched(
    ray: Any, items: Sequence[Any], dealer: Any, writer: Any, patience_s: float, heard: Callable[[int], None] | None
) -> tuple[dict[int, Any], str]:
    """Return the results by number, and why the run was ended, if it was."""
    results: dict[int, Any] = {}
    running = dealer.run.remote([pickle.dumps(item) for item in items])
    seen, since, ended = -1, time.monotonic(), False
    while True:
        ended = bool(ray.wait([running], timeout=POLL_S)[0])
        for number, result in _told(ray, dealer.done.remote()):
            results[number] = pickle.loads(result)
            if heard is not None:
                heard(number)
        if ended:
            _told(ray, running)
            return results, ""
        asked, _ = ray.wait([writer.progress.remote()], timeout=POLL_S)  # it may be writing a large batch
        now = _told(ray, asked[0]) if asked else seen
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > patience_s:
            ray.kill(dealer)
            return results, (
                f"nothing got further for {patience_s:g} s, and the run was ended; what was written is safe: look at "
                f"the machines of the cluster, then run the same command again to go on"
            )


POLL_S = 0.5
"""How often the driver looks at what was done."""
TRIES = 3
PAUSE_S = 2.0
"""How often, and how long after, a cluster that could not start its process for a client is asked again."""
