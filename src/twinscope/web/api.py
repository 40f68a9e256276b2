"""The REST API for other programs: make a case, ask how far it is, fetch what was found and decided."""

from __future__ import annotations

import sqlite3
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field, ValidationError

from twinscope.errors import UsageError
from twinscope.types import Record, Screening
from twinscope.web import callbacks, cases, events, export, intake, ledger, uploads
from twinscope.web.access import Known, Owned, Seen
from twinscope.web.ledger import Entry

Id = Annotated[str, Path(max_length=100)]


class Told(Record):
    """Why there is no other answer, in one sentence."""

    type: str = "about:blank"
    status: int
    detail: str


class Progress(Record):
    """How far a screening is: its stage, and how many steps of it are done."""

    stage: str
    done: int
    total: int


class Counts(Record):
    """How many files there are, findings (null before the screening has ended), and entries of reviewers."""

    files: int
    findings: int | None
    entries: int


class Shown(Record):
    """A case. `place` counts the jobs before it in the queue."""

    id: str
    title: str
    owner: str
    made: str
    state: Literal["new", "queued", "running", "done", "failed", "cancelled"]
    reason: str = ""
    place: int = 0
    progress: Progress | None = None
    counts: Counts
    url: str = Field(description="the page of the case, for people")


class Made(Shown):
    """A new case. With a callback: the key with which what it sends is signed (HMAC-SHA256)."""

    callback_key: str = ""


class Numbered(Record):
    """An entry of the record of decisions: its number in the chain, its hash, what it says."""

    seq: int
    hash: str
    entry: Entry


class Result(Record):
    """What was found, as `screening.json`, and all entries of reviewers, what was taken back, too."""

    case: Shown
    screening: Screening
    decisions: tuple[Numbered, ...]


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": what, "model": Told, "content": {"application/problem+json": {"schema": {
        "$ref": "#/components/schemas/Told"}}}}
    for status, what in {
        400: "The request is damaged or comes under another host name.", 401: "There is no valid key.",
        403: "The case is not the caller's own, or the request came from another site.",
        404: "There is no such case for this caller.", 408: "The upload stalled.",
        409: "The case is not so far.", 413: "The request brings too much.", 415: "The request is no multipart form.",
        422: "A field is not what it should be.", 507: "The disk is full.",
    }.items()
}  # fmt: skip


def _no(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: REFUSALS[status] for status in (400, 401, *statuses)}


router = APIRouter(prefix="/api/v1", tags=["cases"])
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "PDF, DOCX, PPTX, ODT, EPUB, images, ZIP",
                        },
                        "title": {"type": "string", "description": "the first file's name if none is given"},
                        "callback": {"type": "string", "description": "an address that is told of the end"},
                    },
                }
            }
        },
    }
}


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, user: Known) -> Response:
    """Return the description of this API."""
    return JSONResponse(request.app.openapi())


@router.post(
    "/cases",
    status_code=201,
    max_body_size=intake.UNLIMITED,
    openapi_extra=FORM,
    responses=_no(403, 408, 413, 415, 422, 507),
)
async def create(request: Request, response: Response, user: Known) -> Made:
    """Make a case of the files of a form, and queue its screening."""
    state = request.app.state
    async with uploads.received(request, state.folder, state.options.desk) as upload:
        callback = upload.fields.get("callback", "").strip()
        if callback:
            try:
                callbacks.check(callback, state.options)
            except UsageError as error:
                raise HTTPException(422, str(error)) from error
        case = await run_in_threadpool(intake.begin, request, user.name, upload, callback)
    shown = await run_in_threadpool(_show, request, case)
    response.headers["Location"] = f"/api/v1/cases/{case.id}"
    key = callbacks.signing_key(state.folder, case.id) if callback else ""
    return Made(**dict(shown), callback_key=key)


@router.get("/cases", responses=_no())
def listing(request: Request, user: Known) -> list[Shown]:
    """List the cases that the caller may see, the newest first."""
    with cases.connected(request.app.state.folder) as db:
        return [_shown(request, case, db) for case in cases.visible(db, user.name, user.admin)]


@router.get("/cases/{case_id}", responses=_no(404))
def show(request: Request, case_id: Id, case: Seen) -> Shown:
    """Show a case: its state, how far it is, how many findings."""
    return _show(request, case)


@router.get("/cases/{case_id}/result", responses=_no(404, 409))
def result(request: Request, case_id: Id, case: Seen) -> Result:
    """Return what was found in a case, and what was decided. 409 before its screening has ended."""
    shown = _show(request, case)
    path = request.app.state.folder / case.id / "screening.json"
    if shown.state != "done" or not path.is_file():
        raise HTTPException(409, f"the case has no result; its state is {shown.state}")
    with cases.connected(request.app.state.folder) as db:
        kept = ledger.entries(db, case.id)
    try:
        screening = Screening.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise HTTPException(409, "the case was screened by another version of twinscope; screen it again") from error
    decisions = tuple(Numbered(seq=one.seq, hash=one.hash, entry=one.entry) for one in kept)
    return Result(case=shown, screening=screening, decisions=decisions)


@router.get(
    "/cases/{case_id}/report",
    response_class=HTMLResponse,
    responses={200: {"description": "The report, one HTML file.", "content": {"text/html": {}}}, **_no(404, 409)},
)
def report(request: Request, case_id: Id, case: Seen) -> Response:
    """Return the report of a case with what was decided: one HTML file. 409 before its screening has ended."""
    shown = _show(request, case)
    if shown.state != "done" or shown.counts.findings is None:
        raise HTTPException(409, f"the case has no report; its state is {shown.state}")
    return export.as_html(request, case)


@router.post("/cases/{case_id}/cancel", responses=_no(403, 404))
def cancel(request: Request, case_id: Id, case: Seen) -> Shown:
    """End the screening of a case; what it has finished is kept."""
    request.app.state.jobs.cancel(case.id)
    return _show(request, case)


@router.delete("/cases/{case_id}", status_code=204, responses=_no(403, 404))
def remove(request: Request, case_id: Id, case: Owned) -> None:
    """Remove a case with its files; the decisions that were made in it stay in the record."""
    intake.take_out(request, case)


def _show(request: Request, case: cases.Case) -> Shown:
    with cases.connected(request.app.state.folder) as db:
        return _shown(request, case, db)


def _shown(request: Request, case: cases.Case, db: sqlite3.Connection) -> Shown:
    """Return a case as it is told; its state is that of its newest screening, whatever else is done in it."""
    job = cases.latest_job(db, case.id, "screen")
    done = job is not None and job.state == "done"
    counts = Counts(
        files=len(cases.files(db, case.id)),
        findings=events.count(request.app.state.folder, case.id) if done else None,
        entries=len(ledger.entries(db, case.id)),
    )
    place = cases.place(db, job.id) if job is not None and job.state == "queued" else 0
    running = job is not None and job.state == "running"
    return Shown(
        id=case.id,
        title=case.title,
        owner=case.owner,
        made=case.made,
        state=job.state if job is not None else "new",
        reason=job.reason if job is not None else "",
        place=place,
        progress=Progress(stage=job.stage, done=job.done, total=job.total) if job is not None and running else None,
        counts=counts,
        url=f"{request.app.state.options.address}/cases/{case.id}",
    )
