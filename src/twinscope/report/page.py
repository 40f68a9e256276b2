"""What the pages of a report share: their templates, and the style and script that lie inside of them."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import jinja2
from markupsafe import Markup

from twinscope.report import words


def environment() -> jinja2.Environment:
    """Return the home of the templates, with the filters and functions that all of them use."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("twinscope.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(visible=words.visible, percent=words.number, csp_hash=csp_hash)
    made.globals.update(count=words.count, static=static)
    return made


def static(name: str) -> Markup:
    """Return a style or a script as it stands in a page."""
    return Markup(files("twinscope.report").joinpath("static", name).read_text(encoding="utf-8"))


def csp_hash(text: str) -> str:
    """Return the hash by which a page's Content-Security-Policy allows a style or a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
