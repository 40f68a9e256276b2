"""The sandboxed processes: each reads one document, writes panels to its folder, tells one JSON object a line.

`python -m twinscope.ingest.worker` is the process that they are forked from: it has loaded what they need, and opens no
document itself. It is asked by lines on its standard input. `{"job": ..., "notes": path}` has a worker forked that
tells on that named pipe; the answer is its number. `{"end": number, "wait_s": seconds}` has it killed unless it ends by
itself within that time; the answer is its exit status, negative for a signal. At the end of the input all are killed.

The limits of DESIGN 7 are set before a document is opened. Whatever a library prints is sent nowhere.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from twinscope.errors import BrokenError, InputError, RefusedError
from twinscope.ingest.job import Job, Note, Tell


def main() -> int:
    """Fork a worker for each job that is asked for, until standard input ends; return the exit code."""
    asked = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nowhere, standard)
    alive: set[int] = set()
    try:
        for line in asked:
            request = json.loads(line)
            if "job" in request:
                answer = _fork(Job.model_validate(request["job"]), request["notes"], (asked.fileno(), answers.fileno()))
                alive.add(answer)
            else:
                answer = _end(request["end"], request["wait_s"])
                alive.discard(request["end"])
            answers.write(b"%d\n" % answer)
    except BrokenPipeError:
        pass  # who asked is gone
    finally:
        for number in alive:
            _end(number, 0)
    return 0


def _fork(job: Job, notes: str, closed: tuple[int, ...]) -> int:
    """Return the number of a new process that reads a document; the files `closed` are not for it."""
    read = _reader(job.kind)  # loads libraries, once for all
    gc.freeze()  # a collection in a worker need not look at what is shared, and so copy it
    channel = os.open(notes, os.O_WRONLY)
    number = os.fork()
    if number:
        os.close(channel)
        return number
    code = 1
    try:
        os.setsid()
        for file in closed:
            os.close(file)
        code = work(job, read, channel)
    finally:
        os._exit(code)


def _end(number: int, wait_s: float) -> int:
    """Return the exit status of a worker, which is killed when it has not ended within a time."""
    until = time.monotonic() + wait_s
    while True:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            break
        time.sleep(0.01)
    for kill in (os.killpg, os.kill):  # a worker is a group of its own from its first moment on, or shortly after
        try:
            kill(number, signal.SIGKILL)
            break
        except ProcessLookupError:
            continue
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def work(job: Job, read: Callable[[Job, Tell], None], channel: int) -> int:
    """Read a document within the limits and tell what is found on a channel; return the exit code."""
    notes = os.fdopen(channel, "w", encoding="utf-8")

    def tell(note: Note) -> None:
        notes.write(note.model_dump_json(exclude_defaults=True) + "\n")
        notes.flush()

    _limit(job)
    try:
        read(job, tell)
        tell(Note(event="done"))
    except RefusedError as error:
        tell(Note(event="refused", reason=str(error)[:2000]))
    except (BrokenError, InputError) as error:
        tell(Note(event="broken", reason=str(error)[:2000]))
    except MemoryError:
        tell(Note(event="broken", reason="reading the file needs more memory than the limit"))
    return 0


def _limit(job: Job) -> None:
    """Set this process's limits: memory, processor time, size of a file, no core dumps, few open files."""
    limits = job.ingest.limits
    resource.setrlimit(resource.RLIMIT_AS, (limits.worker_bytes, limits.worker_bytes))
    seconds = int(limits.document_s) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.zip_bytes, limits.zip_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    Path(job.out).mkdir(parents=True, exist_ok=True)


@cache
def _reader(kind: str) -> Callable[[Job, Tell], None]:
    """Return what reads a kind of document; only its own libraries are loaded, and all that is done once is done."""
    import cv2
    import numpy as np

    from twinscope import pixels
    from twinscope.ingest import kinds, pictures
    from twinscope.settings import Ingest

    cv2.setNumThreads(1)
    kinds.forest()
    own = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    pictures.whole_or_split(pixels.decode(cv2.imencode(".png", own)[1].tobytes(), "png", own.size)[0], Ingest())
    if kind == "pdf":
        from twinscope.ingest import pdf

        return pdf.read
    from twinscope.ingest import office

    return office.readers()[kind]


if __name__ == "__main__":
    sys.exit(main())
