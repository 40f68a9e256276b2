"""The sandboxed process: reads one document, writes panels to its folder, tells the parent one JSON object a line.

Run as `python -m twinscope.ingest.worker`; the job is one JSON object on standard input. Standard output carries the
notes, so whatever a library prints is sent elsewhere. The limits of DESIGN 7 are set before a document is opened.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from twinscope.errors import BrokenError, InputError, RefusedError
from twinscope.ingest.job import Job, Note, Tell


def main() -> int:
    """Read the job on standard input and tell what is found on standard output; return the exit code."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    def tell(note: Note) -> None:
        channel.write(note.model_dump_json(exclude_defaults=True) + "\n")
        channel.flush()

    job = Job.model_validate_json(sys.stdin.buffer.read(1_000_000))
    sys.stdin.close()
    _limit(job)
    try:
        _reader(job.kind)(job, tell)
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


def _reader(kind: str) -> Callable[[Job, Tell], None]:
    """Return what reads a kind of document; only its own libraries are loaded."""
    import cv2

    cv2.setNumThreads(1)
    if kind == "pdf":
        from twinscope.ingest import pdf

        return pdf.read
    from twinscope.ingest import office

    return office.readers()[kind]


if __name__ == "__main__":
    sys.exit(main())
