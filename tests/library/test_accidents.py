"""A library under kill -9, under several writers at once, and on a full disk. Real processes, a real file system.

TWINSCOPE_KILLS and TWINSCOPE_COMMITS ask for another number of kills than 200, of commits a process than 100.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.library import writer
from tests.library.rows import rows

from twinscope.errors import LibraryError
from twinscope.library import ledger, store

KILLS = int(os.environ.get("TWINSCOPE_KILLS", "200"))
COMMITS = int(os.environ.get("TWINSCOPE_COMMITS", "100"))


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.BaseContext:
    """Return a way to start processes quickly: LanceDB is loaded once, in a server that they are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.library.writer"])
    return context


def held(uri: str) -> list[str]:
    began = time.monotonic()
    opened = store.open_library(uri)
    assert time.monotonic() - began < 5
    assert store.verify(opened) == []
    return [one["document"] for one in store.documents(opened)]


def test_no_kill_loses_or_doubles_what_was_acknowledged(
    tmp_path: Path, processes: multiprocessing.context.BaseContext
) -> None:
    uri, log = str(tmp_path / "library"), tmp_path / "log"
    log.touch()
    rng = np.random.default_rng(1)
    mended = 0
    for kill in range(KILLS):
        before = log.read_text().split()
        work = processes.Process(target=writer.write, args=(uri, str(log), len(before) + kill * 1000, 1000, kill))
        work.start()
        deadline = time.monotonic() + 60
        while len(log.read_text().split()) == len(before) and time.monotonic() < deadline:
            time.sleep(0.002)  # at least one is acknowledged, so that the kill falls into the midst of the work
        time.sleep(float(rng.uniform(0, 0.15)))
        os.kill(work.pid, signal.SIGKILL)
        work.join()
        assert work.exitcode == -signal.SIGKILL
        safe = log.read_text().split()
        assert len(safe) > len(before)
        opened = store.open_library(uri)
        mended += bool(opened.told)
        there = held(uri)
        assert set(safe) <= set(there)
        assert len(set(there)) == len(there) <= len(safe) + kill + 1  # a kill may leave one safe but not told
        assert opened.table.count_rows() == 6 * len(there)
    assert mended > 0  # some kills fell into a commit


def test_several_writers_at_once_lose_nothing(tmp_path: Path, processes: multiprocessing.context.BaseContext) -> None:
    uri = str(tmp_path / "library")
    works = [
        processes.Process(target=writer.write, args=(uri, str(tmp_path / f"log{k}"), 100_000 * k, COMMITS, k))
        for k in range(4)
    ]
    for work in works:
        work.start()
    for work in works:
        work.join()
        assert work.exitcode == 0
    wanted = sorted(f"doc{100_000 * k + n:06d}" for k in range(4) for n in range(COMMITS))
    assert sorted(held(uri)) == wanted
    assert store.open_library(uri).table.count_rows() == 6 * 4 * COMMITS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of 2 MB of its own; skip the test where none can be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("a small disk cannot be mounted here: it takes the rights of root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_a_change_and_harms_nothing(small_disk: Path) -> None:
    uri = str(small_disk / "library")
    with store.writing(uri) as library:
        store.add(library, rows("first"))
    filler = small_disk / "filler"
    stopped = went = 0
    said: set[str] = set()
    for room in range(0, 160_000, 4096):
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        name = f"room{room}"
        try:
            with store.writing(uri) as library:
                store.add(library, rows(name, panels=20))
            went += 1
        except LibraryError as error:
            said.add(str(error))
            stopped += 1
            assert name not in held(uri)
        filler.unlink()
        assert "first" in held(uri)
        with store.writing(uri) as library:
            store.add(library, rows(name, panels=20))  # with space it goes on
            assert name in [one["document"] for one in store.documents(library)]
            store.remove(library, [name])
            store.compact(library)
    assert all("is full: the change was not made and the library is as it was; free space" in one for one in said)
    assert stopped >= 5
    assert went >= 5
    assert held(uri) == ["first"]


def test_everything_new_is_on_the_disk_before_it_is_acknowledged(tmp_path: Path, synced: list[str]) -> None:
    library = tmp_path / "library"
    with store.writing(str(library)) as opened:
        for name in ("one", "two"):
            synced.clear()
            store.add(opened, rows(name))
            at = synced.index(str(library / ledger.LEDGER))
            files = ledger.versions(library)[-1].files
            assert len(files) >= 3
            for file in files:
                path = library / file
                assert synced.index(str(path)) < synced.index(str(path.parent)) < at
            assert synced.index(str(library)) < at
