"""The process of one job: `python -m twinscope.web.job CASE` in a process group of its own.

It reads what to do as one line of JSON on its standard input, and tells how far it is on its standard output, a line of
JSON a step. When its input ends, whoever started it is gone, and it ends with all processes that it began.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from twinscope.errors import TwinscopeError, WorkerError
from twinscope.settings import Settings
from twinscope.types import Progress, Record, Screening
from twinscope.web import hands

ROOM = "work"
"""Where a case is screened, below it: until that is done, the case shows what it showed before."""
MOST_HITS = 12
"""Panels of the library that are told for one of a case."""
LOCK_S = 15.0
"""How long a job waits for an earlier one of the same case, whose server died, to be gone."""


class Asked(Record):
    """What a job is to do: `files` lie in the case's `uploads/`, `what` says more by the kind of job."""

    kind: str
    what: dict[str, Any]
    files: tuple[str, ...]
    settings: Settings
    library: str | None
    nice: int
    progress_s: float


def main() -> int:
    """Do the job that is asked for; return 0, or 4 where twinscope foresaw why it cannot be done."""
    asked = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    line = asked.readline()
    if not line:
        return 4
    request = Asked.model_validate_json(line)
    threading.Thread(target=_leave_with, args=(asked,), daemon=True).start()
    signal.signal(signal.SIGTERM, _interrupted)
    os.nice(request.nice)
    with suppress(OSError):  # where memory is short, this process goes before the server does
        Path("/proc/self/oom_score_adj").write_text("500")
    case = Path(sys.argv[1]).resolve()
    try:
        with _alone(case):
            found = KINDS[request.kind](case, request, _teller(answers, request.progress_s))
    except TwinscopeError as error:
        _say(answers, {"failed": str(error)})
        return 4
    _say(answers, {"findings": found})
    return 0


def _say(answers: TextIO, told: dict[str, Any]) -> None:
    answers.write(json.dumps(told) + "\n")
    answers.flush()


def _leave_with(asked: TextIO) -> None:
    """Wait until the server is gone, then end this process and all of its group."""
    asked.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _interrupted(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _teller(answers: TextIO, pause_s: float) -> Progress:
    """Return a progress that tells the first and the last step of each stage, and others no more often than a pause."""
    last_stage, last_at = "", 0.0
    lock = threading.Lock()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last_stage, last_at
        with lock:
            now = time.monotonic()
            if stage == last_stage and done < total and now - last_at < pause_s:
                return
            last_stage, last_at = stage, now
            _say(answers, {"stage": stage, "done": done, "total": total})

    return tell


@contextmanager
def _alone(case: Path) -> Iterator[None]:
    """Hold a case for a block, and clear away what an earlier job that was killed left in it."""
    cache = case / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        until = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise WorkerError("another process works on this case; try again when it has ended") from None
                time.sleep(0.1)
        for pattern in ("unpack-*", "reading-*"):
            for left in (case / ROOM / "cache").glob(pattern):
                shutil.rmtree(left, ignore_errors=True)
        yield


def _screen(case: Path, asked: Asked, tell: Progress) -> int:
    """Screen all uploads of a case as the command line does; return how many findings there are."""
    from twinscope.screen import screen

    os.chdir(case / "uploads")  # so that a screening names its inputs by their names alone
    paths = [Path(name) for name in asked.files]
    boxes = hands.boxes(case).corrections
    screening = screen(paths, case / ROOM, asked.settings, tell, library=asked.library, corrections=boxes)
    hands.show(case / ROOM, case / ROOM / "whole", paths, screening, asked.settings)
    _publish(case)
    hands.tidy(case, screening)
    _report(case, screening, tell)
    return len(screening.findings)


def _publish(case: Path) -> None:
    """Put a new screening in the place of the one before, which was to be seen until now."""
    room, old = case / ROOM, case / ROOM / "old"
    shutil.rmtree(old, ignore_errors=True)
    old.mkdir()
    for kept in (case / "heatmaps").glob("h*.png"):  # of pairs that were compared by hand
        shutil.copyfile(kept, room / "heatmaps" / kept.name)
    for name in ("panels", "pages", "heatmaps"):
        if (case / name).exists():
            (case / name).rename(old / name)
        (room / name).rename(case / name)
    for name in (hands.PICTURES, "screening.json"):  # last what says that there is a new one
        (room / name).replace(case / name)
    shutil.rmtree(old, ignore_errors=True)


def _pair(case: Path, asked: Asked, tell: Progress) -> int:
    """Compare two panels of a case, which a reviewer has chosen; return how many findings that gave."""
    tell("pair", 0, 1)
    what = asked.what
    found = hands.compare(case, what["a"], what["b"], asked.settings, what.get("places", ("", "")))
    tell("pair", 1, 1)
    return 0 if found is None else 1


def _report(case: Path, screening: Screening, tell: Progress) -> None:
    from twinscope.report import html, table

    tell("report", 0, 1)
    table.write(screening, case)
    html.write(screening, case)
    tell("report", 1, 1)


def _library(case: Path, asked: Asked, tell: Progress) -> int:
    """Look for a panel of a case in the library; keep what is told of the hits, and their pictures."""
    from twinscope import corpus, earlier, pixels
    from twinscope.library import store

    screening = Screening.model_validate_json((case / "screening.json").read_bytes())
    name = hands.held(case, screening, asked.what["panel"], asked.what.get("place", ""))
    file = hands.hits_file(case, "", hands.places(screening.panels)[name])
    library = store.open_library(asked.library or "")
    image = pixels.read_png(case / "panels" / f"{name}.png")
    hits = corpus.search([image], library, asked.settings, tell)[0][:MOST_HITS]
    keys = [(hit.row["document"], hit.row["panel"]) for hit in hits]
    kept = store.pictures(library, keys)
    file.parent.mkdir(exist_ok=True)
    rows = []
    for number, (hit, key) in enumerate(zip(hits, keys, strict=True), 1):
        picture = f"library/{file.stem}-{number}.jpg"
        (case / picture).write_bytes(kept[key])
        rows.append({**earlier.told(hit, asked.settings), "picture": picture})
    half = file.with_suffix(".part")
    problems = [one.reason for one in (*earlier.mended(library), *earlier.searched(library)[1])]
    half.write_text(json.dumps({"hits": rows, "problems": problems}, indent=1, default=str) + "\n", encoding="utf-8")
    half.replace(file)
    return len(rows)


KINDS: dict[str, Callable[[Path, Asked, Progress], int]] = {"screen": _screen, "pair": _pair, "library": _library}
"""What does each kind of job; it returns the number of findings."""


if __name__ == "__main__":
    sys.exit(main())
