"""Exports of a case: the report with the decisions in it as HTML and PDF, and all of it as JSON."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from twinscope.report import html, printed
from twinscope.report.said import Decided, Said
from twinscope.web import cases, ledger, page
from twinscope.web.cases import Case
from twinscope.web.desk import CaseIs, screened
from twinscope.web.ledger import Kept
from twinscope.web.look import Look

router = APIRouter(include_in_schema=False)


@router.get("/cases/{case_id}/export.html")
def as_html(request: Request, case: CaseIs) -> Response:
    """Give the report with the decisions as one HTML file."""
    seen, told, _ = _told(request, case)
    return _file(html.render(seen.screening, seen.folder, told).encode(errors="replace"), case, "html", "text/html")


@router.get("/cases/{case_id}/export.pdf")
def as_pdf(request: Request, case: CaseIs) -> Response:
    """Give the report with the decisions as a PDF."""
    seen, told, _ = _told(request, case)
    return _file(printed.render(seen.screening, seen.folder, case.title, told), case, "pdf", "application/pdf")


@router.get("/cases/{case_id}/export.json")
def as_json(request: Request, case: CaseIs) -> Response:
    """Give the screening, all entries of the record about this case, and what stands about each finding."""
    seen, told, kept = _told(request, case)
    return JSONResponse(result(case, seen, told, kept), headers=_named(case, "json"))


def result(case: Case, seen: Look, told: Decided, kept: list[Kept]) -> dict[str, Any]:
    """Return a case as JSON: the screening, and by finding id the decision that stands."""
    undone = {one.entry.undoes for one in kept if one.entry.act == "undo"}
    last = {
        one.entry.finding: one for one in ledger.standing(kept) if one.entry.act == "decide"
    }  # the later replaces the earlier
    return {
        "case": case.model_dump(exclude={"callback"}),
        "screening": seen.screening.model_dump(mode="json"),
        "decisions": {
            one.finding.id: {
                "decision": last[one.key].entry.decision,
                "control": last[one.key].entry.control,
                "who": last[one.key].entry.who,
                "at": last[one.key].entry.at,
                "entry": last[one.key].seq,
            }
            for one in seen.findings
            if one.key in last
        },
        "keys": {one.finding.id: one.key for one in seen.findings},
        "record": [
            {"seq": one.seq, "hash": one.hash, "taken_back": one.seq in undone, **one.entry.model_dump(mode="json")}
            for one in kept
        ],
        "head": {"seq": told.record[0], "hash": told.record[1]},
    }


def _told(request: Request, case: Case) -> tuple[Look, Decided, list[Kept]]:
    seen = screened(request, case)
    with cases.connected(request.app.state.folder) as db:
        kept, record = ledger.entries(db, case.id), ledger.head(db)
    return seen, decided(seen, kept, record), kept


def decided(seen: Look, kept: list[Kept], record: tuple[int, str]) -> Decided:
    """Return what stands about each finding, in the words of a report."""
    ids = {one.key: one.finding.id for one in seen.findings}
    said: dict[str, tuple[Said, ...]] = {}
    for seq, entry, _ in ledger.standing(kept):
        if entry.act not in ("decide", "note") or entry.finding not in ids:
            continue
        words = page.DECISIONS[entry.decision][0] if entry.decision else ""
        if entry.control:
            words += f" ({page.CONTROLS[entry.control]})"
        name = ids[entry.finding]
        said[name] = (*said.get(name, ()), Said(words, entry.note, entry.who, entry.at, seq))
    return Decided(said, record)


def _file(data: bytes, case: Case, suffix: str, kind: str) -> Response:
    return Response(data, media_type=kind, headers=_named(case, suffix))


def _named(case: Case, suffix: str) -> dict[str, str]:
    """Return the headers of a file to be kept; its name is the case's title without anything unusual."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", case.title).strip("-.")[:80] or "case"
    policy = {"Content-Security-Policy": "default-src 'none'; sandbox"}
    return {"Content-Disposition": f'attachment; filename="{name}-twinscope.{suffix}"', **policy}
