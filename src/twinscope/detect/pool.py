"""Work on many items side by side: in processes where it is many small steps of Python, for which threads would wait
on each other; in threads where it is large pictures and a network, which processes would have to send about.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2
from threadpoolctl import threadpool_limits

from twinscope.errors import WorkerError

S = TypeVar("S")
I = TypeVar("I")
R = TypeVar("R")

_shared: list[Any] = []


def each(work: Callable[[S, I], R], state: S, items: Sequence[I], processes: int) -> Iterator[R]:
    """Yield work(state, item) for every item, in order, computed in up to `processes` processes.

    Where processes can be forked they see the state without a copy; elsewhere it is sent to each of them once. `work`
    is a function of a module, and must not use a network: ONNX Runtime's threads do not survive a fork. What it raises
    is raised here. Raises WorkerError where a process is killed, as by a system that is short of memory.
    """
    processes = min(processes, len(items))
    if processes < 2:
        for item in items:
            yield work(state, item)
        return
    forked = "fork" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if forked else "spawn")
    _alone()  # before the fork: OpenCV's threads must not be there when a process that lacks them is made
    pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(state, os.getpid(), forked))
    try:
        with warnings.catch_warnings():
            # LanceDB warns of forks; nothing of it is under way here, and these processes do not use it
            warnings.filterwarnings("ignore", "lancedb fork support is experimental", RuntimeWarning)
            waiting = [pool.submit(_run, work, item) for item in items]
        for one in waiting:
            yield one.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a process that compares panels was killed, perhaps for lack of memory; "
            "run the same command again with --threads 1, it goes on where it stopped"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def threaded(work: Callable[[I], R], items: Sequence[I], threads: int) -> Iterator[R]:
    """Yield work(item) for every item, in order, computed in up to `threads` threads of this process.

    What `work` raises is raised here; what has not begun by then, or when nobody asks on, is not done.
    """
    _alone()
    with ThreadPoolExecutor(max(1, threads)) as executor:
        waiting = [executor.submit(work, item) for item in items]
        try:
            for one in waiting:
                yield one.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _alone() -> None:
    """Let OpenCV and BLAS use one thread each in this process: what works side by side has a core each."""
    cv2.setNumThreads(1)
    threadpool_limits(1, "blas")


def _start(state: Any, parent: int, forked: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and stops its processes in order
    if not forked:
        _alone()
    _shared[:] = [state]
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _run(work: Callable[[Any, Any], Any], item: Any) -> Any:
    return work(_shared[0], item)
