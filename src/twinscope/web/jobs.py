"""The queue of a desk: each job is a process of its own, which stands back behind all else on the machine.

The queue itself is in the database, so that it survives whatever happens to the server: a job that ran when it went
down is begun again, and a screening goes on from its cache. The processes end with the server.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import twinscope
from twinscope.errors import UsageError
from twinscope.settings import Settings
from twinscope.web import cases
from twinscope.web.cases import Job
from twinscope.web.job import Asked
from twinscope.web.options import Options

COMMAND = (sys.executable, "-P", "-m", "twinscope.web.job")
LOG = "job.log"
"""What a job's process says on its standard error, below `cache/` of the case."""
GONE_S = 2.0
"""How long a killed process may take to be gone, s."""
_MOST_LINE = 1 << 16

Ended = Callable[[Job], None]


class Jobs:
    """Runs the jobs of a desk in their order; for many threads. `ended` hears of each job that has ended.

    Screenings have `jobs_at_once` lanes. Two panels that a reviewer wants compared have one of their own, so that they
    do not wait for a screening of somebody else.
    """

    def __init__(self, folder: Path, options: Options, ended: Ended | None = None) -> None:
        self.folder = folder
        self.options = options
        self.stopping = threading.Event()
        self._ended = ended
        self._running: dict[int, subprocess.Popen[str] | None] = {}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._lock: TextIO | None = None

    def claim(self) -> None:
        """Take the folder for this server. Raises UsageError where another one has it."""
        if self._lock is not None:
            return
        lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UsageError(f"another desk is open on {self.folder}; close it first, or use it") from None
        self._lock = lock

    def start(self) -> None:
        """Take up what was left, and begin. Raises UsageError where another server has the folder."""
        self.claim()
        with cases.connected(self.folder) as db:
            cases.requeue_unfinished(db)
        lanes: list[cases.JobKind] = ["pair"]
        for _ in range(self.options.desk.jobs_at_once):
            lanes.append("screen")
        self._threads = [threading.Thread(target=self._work, args=(kind,), name=f"{kind} jobs") for kind in lanes]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look for a new job now."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """End all processes; their jobs stay in the queue for the next start."""
        with self._changed:
            self.stopping.set()
            self._changed.notify_all()
            running = list(self._running.values())
        _end_all(running, self.options.desk.grace_s / 2)
        for thread in self._threads:
            thread.join()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def cancel(self, case_id: str) -> list[Job]:
        """End the jobs of a case, those that wait and the one that runs, and return them; their processes are gone."""
        with self._changed:  # no job begins meanwhile
            with cases.connected(self.folder) as db:
                found = cases.cancel(db, case_id)
            running = [self._running[job.id] for job in found if job.id in self._running]
            waited = [job for job in found if job.id not in self._running]
        _end_all(running, self.options.desk.grace_s)
        for job in waited:
            self._tell_end(job.model_copy(update={"state": "cancelled"}))
        with self._changed:
            self._changed.wait_for(lambda: not any(job.id in self._running for job in found), timeout=5)
        return found

    def _work(self, kind: cases.JobKind) -> None:
        """Do one job after the other until the desk stops."""
        while True:
            with self._changed:
                if self.stopping.is_set():
                    return
                try:
                    with cases.connected(self.folder) as db:
                        job = cases.next_job(db, kind)
                except (sqlite3.Error, UsageError) as error:  # a full disk, say: it may pass
                    logging.getLogger(__name__).error("the queue cannot be read: %s", error)
                    job = None
                if job is None:
                    self._changed.wait(1.0)
                    continue
                self._running[job.id] = None
            try:
                self._do(job)
            except (sqlite3.Error, OSError, UsageError) as error:
                logging.getLogger(__name__).error("job %d of case %s was left: %s", job.id, job.case_id, error)
                self._leave(job, str(error))
            finally:
                with self._changed:
                    del self._running[job.id]
                    self._changed.notify_all()

    def _do(self, job: Job) -> None:
        """Run one job to its end and note how it ended."""
        with cases.connected(self.folder) as db:
            names = tuple(file.stored for file in cases.files(db, job.case_id))
        case = self.folder / job.case_id
        asked = Asked(
            kind=job.kind,
            what=job.what,
            files=names,
            settings=_sharper(self.options),
            library=self.options.library,
            nice=self.options.desk.nice,
            progress_s=self.options.desk.progress_s,
        )
        (case / "cache").mkdir(parents=True, exist_ok=True)
        with (case / "cache" / LOG).open("w+", encoding="utf-8", errors="replace") as log:
            with self._changed:
                if self.stopping.is_set():
                    return
                process = self._running[job.id] = _begin(case, log)
            try:
                said = self._listen(job, process, asked)
                code = process.wait()
            finally:
                end(process, 0)
                _close(process)
            log.seek(0)
            lines = log.read()[-4000:].strip().splitlines()
        if self.stopping.is_set() and "findings" not in said:
            return  # it still runs by the database's word, and so begins again at the next start
        state: cases.JobState = "done" if code == 0 and "findings" in said else "failed"
        with cases.connected(self.folder) as db:
            cases.finish(db, job.id, state, "" if state == "done" else said.get("failed") or why(code, lines))
            now = cases.job(db, job.id)
        if now is not None:
            self._tell_end(now)

    def _leave(self, job: Job, reason: str) -> None:
        """End a job that could not be run, where that can be noted at all."""
        with suppress(sqlite3.Error, UsageError), cases.connected(self.folder) as db:
            cases.finish(db, job.id, "failed", f"the screening could not go on ({reason}); start it again")

    def _tell_end(self, job: Job) -> None:
        if self._ended is not None:
            self._ended(job)

    def _listen(self, job: Job, process: subprocess.Popen[str], asked: Asked) -> dict[str, Any]:
        """Note how far a job is until it has no more to say; return how it ended by its own word."""
        assert process.stdin is not None
        assert process.stdout is not None
        said: dict[str, Any] = {}
        with suppress(BrokenPipeError):  # it died at once; its exit code says why
            process.stdin.write(asked.model_dump_json() + "\n")
            process.stdin.flush()
        with cases.connected(self.folder) as db:
            now = cases.job(db, job.id)
            if now is None or now.state != "running":  # cancelled before its process was there
                end(process, 0)
            while line := process.stdout.readline(_MOST_LINE):
                told = _told(line)
                if "stage" in told:
                    cases.progress(db, job.id, told["stage"], told["done"], told["total"])
                else:
                    said |= told
        return said


def _sharper(options: Options) -> Settings:
    """Return the settings of a screening, with pages on which boxes can be drawn."""
    ingest = options.settings.ingest.model_copy(update={"thumbnail_dpi": options.desk.page_dpi})
    return options.settings.model_copy(update={"ingest": ingest})


def _told(line: str) -> dict[str, Any]:
    """Return what a line of a job says; nothing where it was cut off in the middle."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _begin(case: Path, log: TextIO) -> subprocess.Popen[str]:
    """Start the process of a job, in a session and so a process group of its own."""
    package = str(Path(twinscope.__file__).resolve().parent.parent)
    paths = [package, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(one for one in paths if one))}
    return subprocess.Popen(
        (*COMMAND, str(case)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env=environment,
        start_new_session=True,
    )


def _end_all(processes: list[subprocess.Popen[str] | None], grace_s: float) -> None:
    enders = [threading.Thread(target=end, args=(one, grace_s)) for one in processes if one is not None]
    for thread in enders:
        thread.start()
    for thread in enders:
        thread.join()


def end(process: subprocess.Popen[str], grace_s: float) -> None:
    """End a process and all that it began: asked first where there is time, then killed."""
    family = descendants(process.pid)
    if process.poll() is None and grace_s > 0:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        family |= descendants(process.pid)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    killed = [(number, began) for number, began in family.items() if _alive(number, began)]
    for number, _ in killed:  # those that made a group of their own, as the sandboxed workers do
        with suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)
    process.wait()
    until = time.monotonic() + GONE_S
    while any(_alive(*one) for one in killed) and time.monotonic() < until:
        time.sleep(0.01)


def _close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):
            if stream is not None:
                stream.close()


def descendants(number: int) -> dict[int, str]:
    """Return the processes below a process and when each began, where /proc tells them; elsewhere none.

    Elsewhere the workers end all the same: their standard input ends with the process.
    """
    below: dict[int, list[tuple[int, str]]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parent, began, _ = _stat(int(place.name))
            below.setdefault(parent, []).append((int(place.name), began))
    found: dict[int, str] = {}
    waiting = [number]
    while waiting:
        children = below.get(waiting.pop(), [])
        found.update(children)
        waiting += [one for one, _ in children]
    return found


def _alive(number: int, began: str) -> bool:
    """Say whether a process that began then still is one."""
    try:
        _, now, state = _stat(number)
    except (OSError, IndexError, ValueError):
        return False
    return now == began and state != "Z"


def _stat(number: int) -> tuple[int, str, str]:
    """Return the parent of a process, when it began (in ticks since the machine did), and its state."""
    fields = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return int(fields[1]), fields[19], fields[0]


def why(code: int, lines: list[str]) -> str:
    """Return in a sentence why a job that said nothing ended with an exit code; `lines` are the last of its log."""
    if code in (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGBUS):
        return "the screening was killed, perhaps for lack of memory; start it again, it goes on where it stopped"
    if code < 0:
        return f"the screening died ({signal.Signals(-code).name}); start it again, it goes on where it stopped"
    return f"the screening ended with an error ({lines[-1] if lines else f'exit code {code}'}); start it again"
