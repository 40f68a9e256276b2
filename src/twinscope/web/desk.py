"""The pages of the desk: cases, findings, pages and panels; and what a reviewer does there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from pydantic import ValidationError

from twinscope import __version__
from twinscope.report import html, words
from twinscope.report import page as report_page
from twinscope.types import PICTURE_KINDS, Page
from twinscope.web import access, cases, ledger, look, page, pictures, users
from twinscope.web.access import User
from twinscope.web.cases import Case
from twinscope.web.ledger import Control, Decision, Entry, Kept
from twinscope.web.look import Found, Look

router = APIRouter(include_in_schema=False)
UserIs = Annotated[User, Depends(access.user)]
CaseIs = Annotated[Case, Depends(access.case)]
OwnIs = Annotated[Case, Depends(access.own)]
KEPT = {"Cache-Control": "private, max-age=86400"}
"""For pictures, whose addresses change when they do."""


# ---- the first page ---------------------------------------------------------------------------------------------
@router.get("/")
def home(request: Request, user: UserIs) -> Response:
    """Show where to drop files, and all cases that the user may see."""
    folder = request.app.state.folder
    rows = []
    with cases.connected(folder) as db:
        jobs = cases.latest_jobs(db)
        for case in cases.visible(db, user.name, user.admin):
            seen = seen_of(folder / case.id)
            done = look.decided(db, case.id) if seen and seen.findings else {}
            count = sum(1 for one in seen.findings if (d := done.get(one.key)) and d.decision) if seen else 0
            own = jobs.get(case.id, {})
            told = {"job": own.get("screen"), "beside": cases.beside(own)}
            rows.append({"case": case, "look": seen, "decided": count, **told})
    limit = f"{request.app.state.options.desk.upload_bytes >> 20} MB"
    return page.render(request, "desk/home.html", user=user, rows=rows, folder=folder, limit=limit)


@router.get("/help")
def help_page(request: Request, user: UserIs) -> Response:
    """Say what the desk shows, and what it cannot."""
    uri = request.app.state.options.library
    library = f"the panels of the library {words.visible(uri)}" if uri else ""
    return page.render(request, "desk/help.html", user=user, cannot_tell=words.cannot_tell(library))


@router.get("/static/report.css")
def report_css() -> Response:
    """Return the style that the desk's pages share with the reports."""
    return Response(str(report_page.static("report.css")), media_type="text/css", headers=KEPT)


# ---- a case -----------------------------------------------------------------------------------------------------
def seen_of(folder: Path) -> Look | None:
    """Return what a case holds; one that another version made and this one cannot read counts as not screened."""
    try:
        return look.load(folder)
    except ValidationError:
        return None


def screened(request: Request, case: Case) -> Look:
    seen = seen_of(request.app.state.folder / case.id)
    if seen is None:
        raise HTTPException(404, "this case was not screened yet")
    return seen


def found_in(seen: Look, key: str) -> Found:
    found = seen.find(key)
    if found is None:
        raise HTTPException(404, "there is no such finding in this case; it may have gone with a new screening")
    return found


@router.get("/cases/{case_id}")
def case_page(request: Request, case: CaseIs, user: UserIs) -> Response:
    """Show a case: its state, its findings as the report orders them, and its pages."""
    folder = request.app.state.folder
    seen = seen_of(folder / case.id)
    with cases.connected(folder) as db:
        jobs, files = cases.latest_jobs(db, case.id).get(case.id, {}), cases.files(db, case.id)
        done = look.decided(db, case.id)
        away = look.hidden(seen, ledger.hidden(db)) if seen else set()
        stood = cases.stood(db, user.name, case.id)
    values: dict[str, Any] = {"case": case, "job": jobs.get("screen"), "files": files, "look": seen, "rows": []}
    values |= {"jobs": jobs, "shown_beside": cases.beside(jobs), "sharing": False}
    if request.app.state.options.users is not None:
        values["sharing"] = user.admin or case.owner == user.name
    if seen is not None:
        rows = [_row(one, seen, done, one.key in away) for one in seen.findings]
        open_ones = [row["found"].key for row in rows if not row["decision"] and not row["hidden"]]
        began = bool(stood) and seen.find(stood) is not None
        values |= {
            "rows": rows,
            "hidden_count": len(away),
            "first": stood if began else (open_ones or [one.key for one in seen.findings] or [""])[0],
            "began": began,
            "troubles": words.troubles(seen.screening),
            "compared": sum(panel.kind in PICTURE_KINDS for panel in seen.screening.panels),
            "pages": [leaf(number, seen) for number in range(1, len(seen.pages) + 1)],
            "version_of": version_of(seen),
        }
    return page.render(request, "desk/case.html", user=user, **values)


@router.get("/cases/{case_id}/remove")
def remove_page(request: Request, case: OwnIs, user: UserIs) -> Response:
    """Ask whether a case is to be removed."""
    with cases.connected(request.app.state.folder) as db:
        entries = len(ledger.entries(db, case.id))
    return page.render(request, "desk/remove.html", user=user, case=case, entries=entries)


@router.get("/cases/{case_id}/access")
def access_page(request: Request, case: OwnIs, user: UserIs) -> Response:
    """Show who may see a case."""
    file = request.app.state.options.users
    known = sorted(users.read(file)) if file is not None else []
    with cases.connected(request.app.state.folder) as db:
        granted = cases.granted(db, case.id)
    others = [name for name in known if name not in (*granted, case.owner)]
    return page.render(request, "desk/access.html", user=user, case=case, granted=granted, others=others)


def _row(one: Found, seen: Look, done: dict[str, look.Decided], hidden: bool) -> dict[str, Any]:
    """Return what the list says of a finding."""
    told = done.get(one.key)
    decision = told.decision.entry.decision if told and told.decision else None
    notes = len(told.notes) if told else 0
    other = seen.panels.get(one.finding.b)
    earlier = other is not None and other.earlier is not None
    return {"found": one, "decision": decision, "notes": notes, "hidden": hidden, "earlier": earlier}


def version_of(seen: Look) -> str:
    """Return what changes when the pictures of a case may have changed."""
    return str((seen.folder / look.SCREENING).stat().st_mtime_ns)


def leaf(number: int, seen: Look) -> dict[str, Any]:
    """Return what is shown of a page: itself, its panels' boxes, and the numbers of the findings on it."""
    shown: Page = seen.pages[number - 1]
    boxes, numbers = [], set[int]()
    for panel in seen.screening.panels:
        box = look.box(panel)
        if box is None or not look.on_page(panel, shown):
            continue
        part_of = [one.number for one in seen.findings if panel.id in (one.finding.a, one.finding.b)]
        numbers |= set(part_of)
        boxes.append({"panel": panel, "box": box, "numbers": part_of, "name": seen.names[panel.id]})
    file = words.file_name(shown.path)
    return {"number": number, "page": shown, "file": file, "boxes": boxes, "numbers": sorted(numbers)}


@router.get("/cases/{case_id}/files-of/{relative:path}")
def picture(relative: str, request: Request, case: CaseIs) -> Response:
    """Return a picture of the case: a panel, a page, a heat-map."""
    file = pictures.served(request.app.state.folder / case.id, relative)
    if file is None:
        raise HTTPException(404, "the case holds no such picture")
    return FileResponse(file, headers=KEPT)


@router.get("/cases/{case_id}/thumbs/{panel}")
def thumb(panel: str, request: Request, case: CaseIs) -> Response:
    """Return a small picture of a panel."""
    data = pictures.thumbnail(request.app.state.folder / case.id, panel)
    if data is None:
        raise HTTPException(404, "the case holds no such panel")
    return Response(data, media_type="image/jpeg", headers=KEPT)


# ---- a finding --------------------------------------------------------------------------------------------------
@router.get("/cases/{case_id}/findings/{key}")
def finding_page(key: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Show a finding with its evidence, what was said about it, and what may be decided."""
    seen = screened(request, case)
    found = found_in(seen, key)
    folder = request.app.state.folder
    with cases.connected(folder) as db:
        away = look.hidden(seen, ledger.hidden(db))
        kept = ledger.entries(db, case.id)
        if request.headers.get("purpose") != "prefetch":
            cases.stand(db, user.name, case.id, key)
    version = version_of(seen)
    told, pool = html.one(
        seen.screening, seen.folder, found.finding, lambda name: f"/cases/{case.id}/files-of/{name}?{version}"
    )
    told["number"] = found.number
    previous, following = _beside(seen.findings, found, away)
    sides = {found.finding.a, found.finding.b}
    related = [one for one in seen.findings if one.key != key and sides & {one.finding.a, one.finding.b}]
    return page.render(
        request, "desk/finding.html", user=user, case=case, look=seen, found=found, told=told, pool=pool,
        pool_by_id={item["id"]: item for item in pool.values()}, previous=previous, next=following,
        hidden=key in away, related=related, library=request.app.state.options.library, **_said(kept, key),
    )  # fmt: skip


def _beside(findings: Sequence[Found], found: Found, away: set[str]) -> tuple[str | None, str | None]:
    """Return the keys of the findings before and after one, among those that are shown."""
    at = found.number - 1
    before = [one.key for one in findings[:at] if one.key not in away]
    after = [one.key for one in findings[at + 1 :] if one.key not in away]
    return before[-1] if before else None, after[0] if after else None


def _said(kept: list[Kept], key: str) -> dict[str, Any]:
    """Return what was said about a finding: the last decision that stands, and everything in its order."""
    standing = [one for one in ledger.standing(kept) if one.entry.finding == key]
    last = next((one.entry for one in reversed(standing) if one.entry.act == "decide"), None)
    about = {one.seq for one in kept if one.entry.finding == key}
    history = [one for one in kept if one.seq in about or one.entry.undoes in about]
    undone = {one.entry.undoes for one in kept if one.entry.act == "undo"}
    return {
        "decision": last.decision if last else None,
        "control": last.control if last else "",
        "who": last.who if last else "",
        "history": history,
        "undone": undone,
    }


@router.get("/cases/{case_id}/findings/{key}/points")
def matched_points(key: str, request: Request, case: CaseIs) -> Response:
    """Return the points of both panels that match."""
    seen = screened(request, case)
    found = found_in(seen, key)
    return JSONResponse(pictures.points(seen.folder, found.finding, seen.panels, request.app.state.options.settings))


@router.post("/cases/{case_id}/findings/{key}/seen")
def was_here(key: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Remember that the reviewer looks at this finding."""
    found_in(screened(request, case), key)
    with cases.connected(request.app.state.folder) as db:
        cases.stand(db, user.name, case.id, key)
    return JSONResponse({"says": ""})


# ---- what is decided --------------------------------------------------------------------------------------------
@router.post("/cases/{case_id}/findings/{key}/decide")
def decide(
    key: str, request: Request, case: CaseIs, user: UserIs,
    decision: Annotated[Decision, Form()], control: Annotated[Control, Form()] = "",
) -> Response:  # fmt: skip
    """Keep a decision about a finding."""
    reason: Control = control if decision == "benign" else ""
    label = page.DECISIONS[decision][0]
    says = f"Kept: {label}{f' ({page.CONTROLS[reason]})' if reason else ''}."
    return _append(request, case, user, key, says, act="decide", decision=decision, control=reason)


@router.post("/cases/{case_id}/findings/{key}/note")
def note(
    key: str, request: Request, case: CaseIs, user: UserIs, note: Annotated[str, Form(max_length=4000)]
) -> Response:
    """Keep a note about a finding."""
    if not note.strip():
        raise HTTPException(422, "the note is empty")
    return _append(request, case, user, key, "The note is kept.", act="note", note=note.strip())


@router.post("/cases/{case_id}/findings/{key}/never")
def never(key: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Mark a pair of pictures as never to be shown again, in any manuscript."""
    return _append(request, case, user, key, "This pair is not shown again, in any manuscript.", act="hide")


@router.post("/cases/{case_id}/findings/{key}/show")
def show(key: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Show a pair of pictures again."""
    return _append(request, case, user, key, "This pair is shown again.", act="show")


@router.post("/cases/{case_id}/findings/{key}/undo")
def undo_here(key: str, request: Request, case: CaseIs, user: UserIs) -> Response:
    """Take back the user's last act in this case, and show the finding."""
    says, of = _undo(request, case, user)
    seen = screened(request, case)
    if of and of != key and (other := seen.find(of)) is not None:
        says += f" It was about finding {other.number}."
    return _answer(request, case, key, says)


@router.post("/cases/{case_id}/undo")
def undo(request: Request, case: CaseIs, user: UserIs) -> Response:
    """Take back the user's last act in this case."""
    says, _ = _undo(request, case, user)
    if access.wants_json(request):
        return JSONResponse({"says": says})
    return RedirectResponse(f"/cases/{case.id}", 303)


def _undo(request: Request, case: Case, user: User) -> tuple[str, str]:
    """Append an undo; return what to say, and the key of the finding that it was about."""
    words_of = {"decide": "decision", "note": "note", "hide": "mark", "show": "mark"}
    with cases.connected(request.app.state.folder) as db, ledger.writing(db):
        own = [
            one
            for one in ledger.standing(ledger.entries(db, case.id))
            if one.entry.who == user.name and one.entry.act in words_of
        ]
        if not own:
            return "There is nothing of yours to take back in this case.", ""
        last = own[-1]
        about: dict[str, Any] = {name: getattr(last.entry, name) for name in ("finding", "shown", "pair")}
        ledger.add(db, Entry(case_id=case.id, act="undo", undoes=last.seq, **about, **signed(user)))
    return f"Your last {words_of[last.entry.act]} (no. {last.seq}) is taken back.", last.entry.finding


def signed(user: User) -> dict[str, Any]:
    """Return what every entry says of who made it, when, and with which twinscope."""
    return {"who": user.name, "at": cases.now(), "twinscope": __version__}


def _append(request: Request, case: Case, user: User, key: str, says: str, **act: Any) -> Response:
    """Append what was said about a finding, with what it was like when it was said; a decision that stands, once."""
    seen = screened(request, case)
    found = found_in(seen, key)
    entry = Entry(
        case_id=case.id, finding=key, shown=found.finding.id, probability=found.finding.probability,
        pair=look.pair_key(seen.folder, found.finding.a, found.finding.b), models=seen.screening.provenance.models,
        **signed(user), **act,
    )  # fmt: skip
    with cases.connected(request.app.state.folder) as db, ledger.writing(db):
        last = _said(ledger.entries(db, case.id), key)
        own = (entry.decision, entry.control, entry.who)
        if entry.act == "decide" and (last["decision"], last["control"], last["who"]) == own:
            says = "That is what you decided already."
        else:
            ledger.add(db, entry)
    return _answer(request, case, key, says)


def _answer(request: Request, case: Case, key: str, says: str) -> Response:
    """Return what stands about a finding now: to a script as JSON, to a form by the page itself."""
    if not access.wants_json(request):
        return RedirectResponse(f"/cases/{case.id}/findings/{key}", 303)
    with cases.connected(request.app.state.folder) as db:
        said = _said(ledger.entries(db, case.id), key)
    text = page.environment().get_template("desk/history.html").render(**said)
    return JSONResponse({"decision": said["decision"], "control": said["control"], "history": text, "says": says})
