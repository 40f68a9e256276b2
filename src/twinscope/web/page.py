"""The desk's pages: their templates, and what all of them know."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from twinscope import __version__
from twinscope.console import STAGES
from twinscope.report import html, page

DECISIONS = {
    "same": ("Same source", "The two panels show the same source, and that is a concern."),
    "not": ("Not the same", "The two panels do not show the same source."),
    "benign": ("Benign re-use", "The same source, and rightly so."),
    "unclear": ("Unclear", "It cannot be told from what is here."),
}
"""What a reviewer may decide: the button's words, and what they mean."""
SHARED = ("pool.html", "finding.html", "edits.html", "why.html")
"""Templates of the report that pages of the desk use."""
CONTROLS = {
    "shared control": "a shared control",
    "merge": "a merge of channels",
    "inset": "an inset or detail",
    "time series": "frames of a time series",
    "other": "another good reason",
}
"""What makes a re-use benign."""


@cache
def environment() -> jinja2.Environment:
    """Return the home of the desk's templates: its own, and those of the report."""
    made = page.environment()
    loaders = [
        jinja2.PackageLoader("twinscope.web", "templates"),
        jinja2.PackageLoader("twinscope.report", "templates"),
    ]
    made.loader = jinja2.ChoiceLoader(loaders)
    html.equip(made)
    made.globals.update(STAGES=STAGES, DECISIONS=DECISIONS, CONTROLS=CONTROLS, version=__version__, stamp=_stamp())
    return made


def warm() -> None:
    """Compile the desk's templates and what they use, so that the first page comes as quickly as the next."""
    made = environment()
    for name in (*made.list_templates(filter_func=lambda name: name.startswith("desk/")), *SHARED):
        made.get_template(name)


def _stamp() -> str:
    """Return what changes when a style or script of the desk does: a browser may keep them until then."""
    found = hashlib.sha256()
    for package in ("twinscope.web", "twinscope.report"):
        for file in sorted(files(package).joinpath("static").iterdir(), key=lambda one: one.name):
            found.update(file.read_bytes())
    return found.hexdigest()[:12]


def render(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page. `user` (None where nobody is known) must be among the values of pages with a menu."""
    text = environment().get_template(name).render(request=request, **{"user": None, **values})
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})
