"""Work side by side: in order, with the state of the parent, its errors told, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
import time

import cv2
import numpy as np
import psutil
import pytest

from twinscope.detect import pool
from twinscope.errors import WorkerError


def scaled(state: list[int], item: int) -> tuple[int, int]:
    time.sleep(0.02 * (item % 3))  # so that later items are done before earlier ones
    return state[0] * item, os.getpid()


def breaks(state: None, item: int) -> int:
    if item == 2:
        raise ValueError(f"item {item} is wrong")
    return item


def dies(state: None, item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def sleeps(state: None, item: int) -> int:
    time.sleep(0.05)
    return item


def test_results_come_in_order_from_several_processes() -> None:
    told = list(pool.each(scaled, [7], range(12), 2))
    assert [value for value, _ in told] == [7 * k for k in range(12)]
    assert len({where for _, where in told}) == 2
    assert os.getpid() not in {where for _, where in told}


@pytest.mark.parametrize(("items", "processes"), [(range(5), 1), (range(1), 4)])
def test_one_process_is_enough_for_little(items: range, processes: int) -> None:
    assert {where for _, where in pool.each(scaled, [1], items, processes)} == {os.getpid()}


def blurred(state: np.ndarray, item: int) -> float:
    return float(cv2.GaussianBlur(state, (0, 0), 3 + item).std())


def test_threads_of_opencv_in_the_parent_do_no_harm() -> None:
    cv2.setNumThreads(4)
    picture = np.random.default_rng(0).random((1500, 1500)).astype(np.float32)
    expected = [blurred(picture, k) for k in range(4)]  # the parent's threads exist now
    assert list(pool.each(blurred, picture, range(4), 2)) == pytest.approx(expected, rel=1e-5)


def test_an_error_in_a_process_is_raised_here() -> None:
    with pytest.raises(ValueError, match="item 2 is wrong"):
        list(pool.each(breaks, None, range(5), 2))


def test_a_killed_process_is_told_in_a_sentence() -> None:
    with pytest.raises(WorkerError, match="killed, perhaps for lack of memory; run the same command again"):
        list(pool.each(dies, None, range(5), 2))


def test_stopping_early_leaves_no_process_behind() -> None:
    before = set(psutil.Process().children())
    work = pool.each(sleeps, None, range(1000), 2)
    assert next(work) == 0
    started = set(psutil.Process().children()) - before
    assert started
    work.close()
    _, alive = psutil.wait_procs(list(started), timeout=5)
    assert not alive


def test_results_come_in_order_from_several_threads() -> None:
    seen = set()

    def work(item: int) -> int:
        seen.add(threading.get_ident())
        time.sleep(0.02 * (item % 3))
        return 7 * item

    assert list(pool.threaded(work, range(12), 2)) == [7 * k for k in range(12)]
    assert len(seen) == 2
    assert threading.get_ident() not in seen


def test_an_error_in_a_thread_is_raised_and_what_has_not_begun_is_not_done() -> None:
    done = []

    def work(item: int) -> int:
        if item == 2:
            raise ValueError(f"item {item} is wrong")
        time.sleep(0.01)
        done.append(item)
        return item

    with pytest.raises(ValueError, match="item 2 is wrong"):
        list(pool.threaded(work, range(500), 2))
    assert len(done) < 20
    before = threading.active_count()
    work_on = pool.threaded(lambda item: time.sleep(0.01), range(500), 2)
    next(work_on)
    assert threading.active_count() == before + 2
    start = time.monotonic()
    work_on.close()  # nobody asks on
    assert threading.active_count() == before
    assert time.monotonic() - start < 2
