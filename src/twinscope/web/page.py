"""The desk's pages: their templates."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from twinscope.report import page


@cache
def environment() -> jinja2.Environment:
    """Return the home of the desk's templates."""
    made = page.environment()
    made.loader = jinja2.PackageLoader("twinscope.web", "templates")
    return made


def render(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page. `user` (None where nobody is known) must be among the values of pages with a menu."""
    text = environment().get_template(name).render(request=request, **{"user": None, **values})
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})
