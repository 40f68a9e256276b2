"""Pages and panels: correcting boxes, comparing two panels by hand, searching the library with a panel."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import Field

from twinscope.errors import InputError
from twinscope.report import html, words
from twinscope.types import PICTURE_KINDS, BoxField, Correction, Page, Panel, Record
from twinscope.web import access, cases, hands, intake, ledger, look, page
from twinscope.web.desk import CaseIs, UserIs, leaf, screened, signed, version_of
from twinscope.web.ledger import Entry
from twinscope.web.look import Look

router = APIRouter(include_in_schema=False)


class Change(Record):
    """One box of a page as the page sends it: where it is now (None: taken out), and which panel it was."""

    panel: str = ""
    box: BoxField | None = None


class Changes(Record):
    """The boxes of a page that were drawn, moved or taken out."""

    changes: tuple[Change, ...] = Field(min_length=1, max_length=500)


@router.get("/cases/{case_id}/pages/{number}")
def page_view(number: int, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Show a page with the boxes of its panels, to be corrected."""
    seen = screened(request, case)
    total = len(seen.pages)
    if not 1 <= number <= total:
        raise HTTPException(404, f"this case has {words.count(total, 'page')}")
    own = leaf(number, seen)
    keys = {one.number: one.key for one in seen.findings}
    return page.render(
        request, "desk/page.html", user=user, case=case, look=seen, leaf=own, total=total, keys=keys,
        version_of=version_of(seen),
    )  # fmt: skip


@router.post("/cases/{case_id}/pages/{number}/panels")
def correct(number: int, changes: Changes, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Keep corrected boxes of a page, and screen the case again with them."""
    seen = screened(request, case)
    if not 1 <= number <= len(seen.pages):
        raise HTTPException(404, "there is no such page in this case")
    shown = seen.pages[number - 1]
    new = [_correction(change, seen, shown) for change in changes.changes]
    folder = request.app.state.folder
    with cases.connected(folder) as db:
        if not cases.files(db, case.id):
            raise HTTPException(409, "the files of this case are not here, so it cannot be screened again; upload them")
    try:
        hands.correct(folder / case.id, new)
    except InputError as error:
        raise HTTPException(409, str(error)) from error
    with cases.connected(folder) as db:
        for change, one in zip(changes.changes, new, strict=True):
            details: dict[str, Any] = {"page": shown.page, "file": shown.sha256, "panel": change.panel}
            details |= {name: list(box) for name, box in (("box", one.box), ("replaces", one.replaces)) if box}
            ledger.append(db, Entry(case_id=case.id, act="panel", details=details, **signed(user)))
        intake.queue(db, case.id)
    request.app.state.jobs.wake()
    return JSONResponse({"url": f"/cases/{case.id}", "says": "The boxes are kept; the case is screened again."})


def _correction(change: Change, seen: Look, shown: Page) -> Correction:
    if not change.panel:
        if change.box is None:
            raise HTTPException(422, "a box that is new needs a place")
        return Correction(sha256=shown.sha256, page=shown.page, box=change.box)
    panel = seen.panels.get(change.panel)
    if panel is None or not look.on_page(panel, shown) or look.box(panel) is None:
        raise HTTPException(404, "there is no such panel on this page; it may have changed with a new screening")
    return Correction(sha256=shown.sha256, page=shown.page, box=change.box, replaces=look.box(panel))


@router.get("/cases/{case_id}/panels")
def panels_page(request: Request, case: CaseIs, user: UserIs) -> Response:
    """Show all panels of a case, to choose two of them, or to search the library with one."""
    seen = screened(request, case)
    within = words.panel_names(seen.screening, across=False)
    pages = {(one.sha256, one.page): number for number, one in enumerate(seen.pages, 1)}
    rows = [
        {
            "panel": panel,
            "name": within[panel.id],
            "full": seen.names[panel.id],
            "page": pages.get((panel.source.sha256, panel.source.page or 1)),
            "found": [one for one in seen.findings if panel.id in (one.finding.a, one.finding.b)],
            "compared": panel.kind in PICTURE_KINDS,
        }
        for panel in seen.screening.panels
        if panel.earlier is None
    ]
    nothing = [tuple(seen.names.get(name, name) for name in pair) for pair in seen.compared.nothing]
    return page.render(
        request, "desk/panels.html", user=user, case=case, look=seen, rows=rows, nothing=nothing,
        library=request.app.state.options.library, version_of=version_of(seen),
    )  # fmt: skip


@router.post("/cases/{case_id}/pairs")
def compare(request: Request, case: CaseIs, user: UserIs, panel: Annotated[list[str], Form()]) -> Response:
    """Have two panels compared that a reviewer has chosen."""
    seen = screened(request, case)
    if len(set(panel)) != 2:
        raise HTTPException(422, "choose two different panels")
    for name in panel:
        _own(seen, name)
    a, b = panel
    folder = request.app.state.folder
    with cases.connected(folder) as db:
        pair = look.pair_key(seen.folder, a, b)
        ledger.append(db, Entry(case_id=case.id, act="pair", pair=pair, details={"a": a, "b": b}, **signed(user)))
        at = hands.places(seen.screening.panels)  # ids pass to other panels when a box is corrected
        cases.enqueue(db, case.id, "pair", {"a": a, "b": b, "places": [at[a], at[b]]})
    request.app.state.jobs.wake()
    if access.wants_json(request):
        return JSONResponse({"url": f"/cases/{case.id}", "says": "The two panels are being compared."}, 202)
    return RedirectResponse(f"/cases/{case.id}", 303)


def _own(seen: Look, name: str) -> Panel:
    panel = seen.panels.get(name)
    if panel is None or panel.earlier is not None:
        raise HTTPException(404, "there is no such panel in this case")
    return panel


@router.get("/cases/{case_id}/library/{panel_id}")
def hits(panel_id: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Show the panels of the library that are nearest to one of the case, as they were last looked for."""
    seen = screened(request, case)
    panel = _own(seen, panel_id)
    with cases.connected(request.app.state.folder) as db:
        job = cases.latest_job(db, case.id, "library")
    at = hands.places(seen.screening.panels)[panel.id]
    looking = job is not None and panel.id == hands.finder(seen.folder, seen.screening)(
        job.what["panel"], job.what.get("place", "")
    )
    file = hands.hits_file(seen.folder, panel.id, at)
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found = told.get("hits")
    return page.render(
        request, "desk/library.html", user=user, case=case, panel=panel, called=seen.names[panel.id], hits=found,
        job=job if looking else None, look=seen, library=request.app.state.options.library,
        version_of=str(file.stat().st_mtime_ns) if found is not None else "",
        problems=told.get("problems", []),
    )  # fmt: skip


@router.post("/cases/{case_id}/library/{panel_id}")
def search(panel_id: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Look for a panel of the case in the library."""
    seen = screened(request, case)
    panel = _own(seen, panel_id)
    if request.app.state.options.library is None:
        raise HTTPException(409, "this desk has no library; start it with `twinscope serve --library DIR`")
    with cases.connected(request.app.state.folder) as db:
        at = hands.places(seen.screening.panels)[panel.id]
        cases.enqueue(db, case.id, "library", {"panel": panel.id, "place": at})
    request.app.state.jobs.wake()
    return RedirectResponse(f"/cases/{case.id}/library/{panel.id}", 303)


@router.get("/cases/{case_id}/findings/{key}/why")
def why(key: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Return the part of a finding's page that says what its distance comes from."""
    seen = screened(request, case)
    found = seen.find(key)
    if found is None:
        raise HTTPException(404, "there is no such finding in this case")
    told, pool = html.explained(seen.screening, seen.folder, found.finding)
    return page.render(request, "desk/why.html", user=user, told=told, pool=pool)
