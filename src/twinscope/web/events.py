"""What a page hears of the jobs while it is open: server-sent events.

An event comes at least every `event_s`, also when nothing changes, so that a page knows that the desk is there.
No listener holds a thread or a connection to the database between two events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from twinscope.console import STAGES
from twinscope.web import access, cases
from twinscope.web.access import Known, Seen, User
from twinscope.web.cases import Job

NAP_S = 0.2
"""How long a listener is deaf to the server's end, s."""
RECENT_S = 120.0
"""A page that begins to listen is told of what ended so shortly before, s."""

router = APIRouter(include_in_schema=False)


class Heard(NamedTuple):
    """What is told of a job: `place` counts the jobs before it, `findings` is known when it is done."""

    job: Job
    place: int
    findings: int | None

    def data(self) -> dict[str, Any]:
        """Return it as the data of an event."""
        job = self.job
        return {
            "case": job.case_id, "job": job.id, "kind": job.kind, "state": job.state,
            "stage": STAGES.get(job.stage, job.stage),
            "done": job.done, "total": job.total, "place": self.place, "reason": job.reason, "findings": self.findings,
        }  # fmt: skip


@router.get("/events")
async def of_all(request: Request, user: Known) -> StreamingResponse:
    """Tell of the jobs of all cases that the user may see."""
    return _answer(_stream(request, user, None))


@router.get("/cases/{case_id}/events")
async def of_case(request: Request, user: Known, case: Seen) -> StreamingResponse:
    """Tell of the newest job of each kind of a case."""
    return _answer(_stream(request, user, case.id))


def _answer(stream: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _stream(request: Request, user: User, case_id: str | None) -> AsyncIterator[str]:
    """Yield events until the server stops, the listener goes, or it may not listen any more."""
    state = request.app.state
    known: dict[str, Heard] | None = None
    yield "retry: 2000\n\n"
    while not state.jobs.stopping.is_set() and access.who(request, used=False) == user:
        heard = await run_in_threadpool(_look, state.folder, user, case_id, known)
        if heard is None:
            return
        fresh, known = heard
        # in one piece: many small ones to a page that has gone are a warning each
        yield "".join(f"data: {json.dumps(one.data())}\n\n" for one in fresh) or "event: beat\ndata: {}\n\n"
        await _nap(state.jobs, state.options.desk.event_s)


async def _nap(jobs: Any, seconds: float) -> None:
    until = asyncio.get_running_loop().time() + seconds
    while not jobs.stopping.is_set() and (left := until - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(min(NAP_S, left))


def _look(
    folder: Path, user: User, case_id: str | None, known: dict[str, Heard] | None
) -> tuple[list[Heard], dict[str, Heard]] | None:
    """Return what is to be told now, and the newest job of each kind of each case, by both.

    None where the one case is no more, or not for this user.
    """
    with cases.connected(folder) as db:
        if case_id is None:
            seen = {case.id for case in cases.visible(db, user.name, user.admin)}
            latest = {name: jobs for name, jobs in cases.latest_jobs(db).items() if name in seen}
        else:
            case = cases.get(db, case_id)
            if case is None or not cases.may_see(db, case, user.name, user.admin):
                return None
            latest = cases.latest_jobs(db, case_id)
        before = {number: place for place, number in enumerate(cases.waiting(db))}
    now = {}
    for name, job in ((f"{job.case_id} {kind}", job) for jobs in latest.values() for kind, job in jobs.items()):
        last = known.get(name) if known else None
        findings = None
        if last is not None and last.job == job:
            findings = last.findings
        elif job.state == "done" and (known is not None or _is_told(job, case_id is not None)):
            findings = count(folder, job.case_id)
        now[name] = Heard(job, before.get(job.id, 0) if job.state == "queued" else 0, findings)
    if known is None:
        return [one for one in now.values() if _is_told(one.job, case_id is not None)], now
    return [one for name, one in now.items() if one.job.state == "running" or known.get(name) != one], now


def _is_told(job: Job, alone: bool) -> bool:
    """Say whether a page that begins to listen is told of a job: one that waits, runs or has just ended, or its own."""
    border = datetime.now(UTC) - timedelta(seconds=RECENT_S)
    recent = bool(job.ended) and datetime.fromisoformat(job.ended) > border
    return alone or recent or job.state in cases.WAITING


def count(folder: Path, case_id: str) -> int | None:
    """Return how many findings the screening of a case has, None where there is none that can be read."""
    path = folder / case_id / "screening.json"
    try:
        stat = path.stat()
        return _count(path, stat.st_ino, stat.st_mtime_ns)
    except (OSError, ValueError, KeyError):
        return None


@lru_cache(4096)
def _count(path: Path, *version: int) -> int:
    return len(json.loads(path.read_text(encoding="utf-8"))["findings"])
