"""Run a worker on a document and survive whatever it does.

The worker's notes come over a pipe, are bounded and validated; its pictures are checked to be plain PNG files of the
size that it told. It is killed when a page or the document takes too long, and started again at the next page.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

import twinscope
from twinscope.errors import WorkerError
from twinscope.ingest.job import ID, Job, Note
from twinscope.types import InputStatus, Panel, Problem

COMMAND = (sys.executable, "-P", "-m", "twinscope.ingest.worker")
_MOST_LINE = 1 << 20
_MOST_TOLD = 256 << 20


class Told(NamedTuple):
    """What a document gave: its notes in order, its status, a reason and its number of pages."""

    notes: list[Note]
    status: InputStatus
    reason: str
    pages: int | None
    died: bool = False


def run(
    workers: Workers,
    job: Job,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    found: Callable[[Panel], None] | None = None,
) -> Told:
    """Return what workers tell about a document; `stop` ends it early.

    `progress` hears (pages done, pages), `found` each panel as soon as its picture is written below the job's `out`.

    A worker that dies or hangs is replaced by one that begins at the next page, `limits.restarts` times at most.
    """
    limits = job.ingest.limits
    deadline = time.monotonic() + limits.document_s
    notes: list[Note] = []
    pages: int | None = None
    died = False
    for attempt in range(limits.restarts + 1):
        page: int | None = None
        try:
            for note in _listen(workers, job, deadline, stop):
                if note.event == "start":
                    pages = note.pages
                elif note.event == "page":
                    page = note.page
                    if progress is not None and note.page and note.pages:
                        progress(note.page - 1, note.pages)
                elif note.event in ("refused", "broken"):
                    return _ended(notes, "refused" if note.event == "refused" else "failed", note.reason, pages, died)
                elif note.event == "done":
                    return _ended(notes, "ok", "", pages, died)
                else:
                    notes.append(note)
                    if note.panel is not None and found is not None:
                        found(note.panel)
        except WorkerError as error:
            died = True
            last = pages is not None and page is not None and page >= pages
            over = time.monotonic() >= deadline
            if page is None and not job.cautious and not over and attempt < limits.restarts:
                job = job.model_copy(update={"cautious": True})
                continue
            notes.append(Note(event="problem", problem=Problem(path=job.path, page=page, reason=str(error))))
            if page is None:
                return _ended(notes, "failed", str(error), pages, died)
            if last or over or attempt == limits.restarts:
                if not last:
                    reason = f"reading stopped after page {page}; the later pages are not read"
                    notes.append(Note(event="problem", problem=Problem(path=job.path, reason=reason)))
                return _ended(notes, "ok", "", pages, died)
            written = sum(note.event == "panel" for note in notes)
            job = job.model_copy(update={"first": page + 1, "images": written})
    return _ended(notes, "failed", "reading failed", pages, died)


def _ended(notes: list[Note], status: InputStatus, reason: str, pages: int | None, died: bool) -> Told:
    """Return what was told with the status that it earns: what gave something is never `failed`."""
    gave = any(note.event in ("panel", "member", "shown") for note in notes)
    problems = [note.problem.reason for note in notes if note.problem is not None]
    if status == "ok" and problems:
        status, reason = ("partial" if gave else "failed"), problems[0] if len(problems) == 1 else _many(problems)
    elif status != "ok" and gave:
        notes.append(Note(event="problem", problem=None if not reason else Problem(path="", reason=reason)))
        status = "partial"
    return Told(notes, status, reason, pages, died)


def _many(problems: list[str]) -> str:
    return f"{len(problems)} problems; the first: {problems[0]}"


class Worker(NamedTuple):
    """A process that reads a document: its number, and the file that its notes come from."""

    number: int
    notes: int


class Workers:
    """Starts workers, each forked from a process that has loaded what they need; for many threads.

    A context: at its end all are gone, and none can be started. The process begins with the first worker.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._room = tempfile.TemporaryDirectory(prefix="twinscope-")
        self._count = 0
        self._over = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over = True
            self._close()
        self._room.cleanup()

    def start(self, job: Job) -> Worker:
        """Return a worker that reads a document. Raises WorkerError where none can be started."""
        with self._lock:
            if self._over:
                raise WorkerError("no more documents are read")
            self._count += 1
            path = Path(self._room.name) / f"notes-{self._count}"
        os.mkfifo(path)
        notes = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            number = self._ask({"job": job.model_dump(mode="json"), "notes": str(path)}, begin=True)
        except BaseException:
            os.close(notes)
            raise
        path.unlink()
        return Worker(number, notes)

    def end(self, worker: Worker, wait_s: float = 0.0) -> int:
        """Kill a worker that does not end by itself within a time, s; return its exit status, negative for a signal."""
        os.close(worker.notes)
        try:
            return self._ask({"end": worker.number, "wait_s": wait_s})
        except WorkerError:  # the process that it was forked from is gone
            return -signal.SIGKILL

    def _ask(self, request: dict[str, object], begin: bool = False) -> int:
        with self._lock:
            if self._process is None and begin and not self._over:
                self._process = _forker()
            if self._process is not None and self._process.stdin is not None and self._process.stdout is not None:
                try:
                    self._process.stdin.write(json.dumps(request).encode() + b"\n")
                    self._process.stdin.flush()
                    answer = self._process.stdout.readline()
                    if answer.endswith(b"\n"):
                        return int(answer)
                except BrokenPipeError:
                    pass  # as for an answer that is none
                self._close()
        raise WorkerError("the process that reads documents was stopped from outside")

    def _close(self) -> None:
        """End the process; it ends all workers."""
        if self._process is None:
            return
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = None


def _forker() -> subprocess.Popen[bytes]:
    """Return the process that workers are forked from."""
    package = str(Path(twinscope.__file__).resolve().parent.parent)
    paths = [package, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(p for p in paths if p)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    return subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )


def _listen(workers: Workers, job: Job, deadline: float, stop: threading.Event | None) -> Iterator[Note]:
    """Yield the notes of one worker. Raises WorkerError when it dies, hangs or says something it must not."""
    worker = workers.start(job)
    wait_s = 0.0
    try:
        yield from _notes(worker.notes, job, deadline, stop)
    except EOFError:
        wait_s = 5.0
    finally:
        status = workers.end(worker, wait_s)
    if wait_s:
        raise WorkerError(_death(status))


def _notes(stream: int, job: Job, deadline: float, stop: threading.Event | None) -> Iterator[Note]:
    """Yield the notes that come from a file. Raises WorkerError, and EOFError where it ends before they do."""
    limits = job.ingest.limits
    os.set_blocking(stream, False)
    rest, told = b"", 0
    began = time.monotonic()
    ended = False
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not ended:
            now = time.monotonic()
            left = min(deadline, began + limits.page_s) - now
            if left <= 0:
                whole = deadline <= began + limits.page_s
                seconds = limits.document_s if whole else limits.page_s
                raise WorkerError(f"reading took longer than {seconds:g} s and was stopped")
            if stop is not None and stop.is_set():
                raise WorkerError("reading was interrupted")
            if not selector.select(min(left, 0.5)):
                continue
            chunk = os.read(stream, 1 << 16)
            told += len(chunk)
            ended = not chunk
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MOST_LINE or told > _MOST_TOLD:
                raise WorkerError("the reading process told more than it may and was stopped")
            for line in lines:
                note = _checked(line, job)
                if note.event == "page":
                    began = time.monotonic()
                yield note
                if note.event in ("done", "refused", "broken"):
                    return
    raise EOFError


def _death(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "reading took more processor time than the limit and was stopped"
    if code in (-signal.SIGABRT, -signal.SIGTRAP, -signal.SIGILL, -signal.SIGKILL):
        return "the reading process ran out of memory or was stopped"
    return "the reading process died" if code < 0 else "the reading process gave up"


def _checked(line: bytes, job: Job) -> Note:
    """Return a line as a note whose records name this document, and whose pictures are what they say."""
    try:
        note = Note.model_validate_json(line)
    except ValidationError as error:
        raise WorkerError("the reading process told something that is not understood and was stopped") from error
    sources = [r.source for r in (note.figure, note.panel) if r is not None]
    named = [(s.path, s.sha256) for s in sources] + ([(note.shown.path, note.shown.sha256)] if note.shown else [])
    ids = [note.figure.id] if note.figure else [note.panel.id, note.panel.figure] if note.panel else []
    if any(name != (job.path, job.sha256) for name in named) or not all(re.fullmatch(ID[1:-1], i) for i in ids):
        raise WorkerError("the reading process told of another document and was stopped")
    out = Path(job.out)
    if note.panel is not None and _png_size(out / "panels" / f"{note.panel.id}.png") != note.panel.size:
        raise WorkerError("the reading process told of a picture that is not there and was stopped")
    if note.shown is not None and note.shown.thumbnail is not None:
        name = f"pages/p{note.shown.page:03d}.jpg"
        if note.shown.thumbnail != name or not _plain(out / name):
            raise WorkerError("the reading process told of a page that is not there and was stopped")
    if note.member is not None and not _plain(out / note.member.file):
        raise WorkerError("the reading process told of a file that is not there and was stopped")
    return note


def _plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _png_size(file: Path) -> tuple[int, int] | None:
    """Return (height, width) from the header of a plain PNG file, None for anything else."""
    if not _plain(file):
        return None
    with file.open("rb") as stream:
        head = stream.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height = struct.unpack(">II", head[16:24])
    return height, width
