"""Routes by which cases come, are screened, shared and removed."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response

from twinscope.library.ledger import sync
from twinscope.web import access, cases, uploads, users
from twinscope.web.access import Known, Owned, Seen
from twinscope.web.uploads import Upload

UNLIMITED = 1 << 60
"""Of the body of an upload: what may come is counted as it comes."""
TITLE = 200

router = APIRouter(include_in_schema=False)


@router.post("/cases", max_body_size=UNLIMITED)
async def create(request: Request, user: Known) -> Response:
    """Make a case of the files of a form, and queue its screening."""
    state = request.app.state
    async with uploads.received(request, state.folder, state.options.desk) as upload:
        case = await run_in_threadpool(begin, request, user.name, upload, "")
    return _went(request, case)


@router.post("/cases/{case_id}/files", max_body_size=UNLIMITED)
async def add(request: Request, case: Seen) -> Response:
    """Add files to a case, and queue its screening again."""
    state = request.app.state
    async with uploads.received(request, state.folder, state.options.desk) as upload:
        await run_in_threadpool(_take, request, case, upload)
    return _went(request, case)


@router.get("/cases/{case_id}/files/{number}")
def original(request: Request, case: Seen, number: int) -> Response:
    """Give an uploaded file as it came: to be kept, never to be shown by the browser."""
    with cases.connected(request.app.state.folder) as db:
        found = [file for file in cases.files(db, case.id) if file.number == number]
    path = request.app.state.folder / case.id / cases.UPLOADS / (found[0].stored if found else "")
    if not path.is_file():
        raise HTTPException(404, "there is no such file")
    policy = {"Content-Security-Policy": "default-src 'none'; sandbox"}
    return FileResponse(path, media_type="application/octet-stream", filename=found[0].name, headers=policy)


@router.post("/cases/{case_id}/cancel")
def cancel(request: Request, case: Seen) -> Response:
    """End the screening of a case; what it has finished is kept for the next one."""
    request.app.state.jobs.cancel(case.id)
    return _went(request, case)


@router.post("/cases/{case_id}/rescreen")
def rescreen(request: Request, case: Seen) -> Response:
    """Screen a case again, from what it has finished."""
    with cases.connected(request.app.state.folder) as db:
        if not cases.files(db, case.id):
            raise HTTPException(
                409, "the case was screened by the command line, and its files are not here; screen it there"
            )
        queue(db, case.id)
    request.app.state.jobs.wake()
    return _went(request, case)


@router.post("/cases/{case_id}/remove")
def remove(request: Request, case: Owned) -> Response:
    """Remove a case with its files; the decisions that were made in it stay in the record."""
    take_out(request, case)
    return JSONResponse({"removed": case.id}) if access.wants_json(request) else RedirectResponse("/", 303)


@router.post("/cases/{case_id}/access")
def share(
    request: Request, case: Owned, user: Annotated[str, Form()], act: Annotated[str, Form(pattern="^(grant|revoke)$")]
) -> Response:
    """Let another user see a case, or no longer."""
    options = request.app.state.options
    if act == "grant" and (options.users is None or user not in users.read(options.users)):
        raise HTTPException(422, "there is no user of that name")
    with cases.connected(request.app.state.folder) as db:
        (cases.grant if act == "grant" else cases.revoke)(db, case.id, user)
    return _went(request, case)


# ---- what the API does, too -------------------------------------------------------------------------------------


def begin(request: Request, owner: str, upload: Upload, callback: str) -> cases.Case:
    """Make a case of an upload and queue its screening; all of it is on the disk when this returns."""
    folder = request.app.state.folder
    title = " ".join(upload.fields.get("title", "").split())[:TITLE] or _title(upload)
    with cases.connected(folder) as db:
        case = cases.create(db, folder, title, owner, callback)
    _take(request, case, upload)
    return case


def queue(db: sqlite3.Connection, case_id: str) -> None:
    """Queue the screening of a case, unless one waits there already."""
    latest = cases.latest_job(db, case_id, "screen")
    if latest is None or latest.state != "queued":
        cases.enqueue(db, case_id, "screen", {})


def take_out(request: Request, case: cases.Case) -> None:
    """Remove a case, when its processes are gone."""
    request.app.state.jobs.cancel(case.id)
    with request.app.state.filing, cases.connected(request.app.state.folder) as db:
        cases.remove(db, request.app.state.folder, case.id)


def _title(upload: Upload) -> str:
    first = Path(upload.files[0].name).stem.strip() or "Manuscript"
    more = len(upload.files) - 1
    return f"{first[:TITLE]}{f' and {more} more' if more else ''}"


def _take(request: Request, case: cases.Case, upload: Upload) -> None:
    """Move the files of an upload into a case and queue its screening."""
    folder: Path = request.app.state.folder
    place = folder / case.id / cases.UPLOADS
    with request.app.state.filing, cases.connected(folder) as db:
        if cases.get(db, case.id) is None:  # removed while the files came
            raise HTTPException(404, "there is no such case")
        place.mkdir(parents=True, exist_ok=True)
        last = max((file.number for file in cases.files(db, case.id)), default=0)
        for number, file in enumerate(upload.files, last + 1):
            stored = f"{number}/{uploads.safe(file.name)}"  # pages then show it by its own name
            (place / str(number)).mkdir(exist_ok=True)
            os.rename(file.path, place / stored)
            sync(place / str(number))
            cases.add_file(db, case.id, file.name, stored, file.sha256, file.size)
        for held in (place, place.parent, folder):
            sync(held)
        queue(db, case.id)
    request.app.state.jobs.wake()


def _went(request: Request, case: cases.Case) -> Response:
    """Answer what was done with a case: its page, or to a script where that is."""
    place = f"/cases/{case.id}"
    if access.wants_json(request):
        return JSONResponse({"id": case.id, "url": place})
    return RedirectResponse(place, 303)
