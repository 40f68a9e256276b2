"""The report of an audit: each real picture beside its nearest generated ones, and what can be said of the set."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twinscope.detect.fingerprint import chance
from twinscope.pixels import Image
from twinscope.report import pictures, words
from twinscope.report.page import environment
from twinscope.report.table import harmless
from twinscope.types import Audit, Audited

BUDGET = 20_000_000
"""Characters that all pictures of the page may take together."""
MOST = 60_000
SHOWN_PX = 320
COLUMNS = ("path", "known", "probability", "p", "margin", "nearest_to", "near", "near_distance", "near_apart",
           "near_aligned", "sha256")  # fmt: skip
CANNOT = (
    "It shows which real pictures come back, not how they got there: somebody may have put a real picture among the "
    "generated ones.",
    "A picture that does not come back may have been used all the same. A generator that has not learned its pictures "
    "by heart leaves no such trace.",
    "Real pictures that are nearly the same, such as neighbouring slices, are told apart badly: a copy of one speaks "
    "for the other.",
    "The probabilities rest on a prior, the share of real pictures taken to be used before looking, unless known "
    "examples were given.",
    "What was altered on purpose so as not to be found, more than a little shift, turn, tone or noise, may be missed.",
)

Opened = Callable[[str], Image | None]


def write(audit: Audit, case: Path, opened: Opened, told: int) -> Path:
    """Write report.html and audit.csv of an audit; opened: path -> picture or None. The page shows `told` pictures."""
    _replace(case / "audit.csv", table(audit))
    _replace(case / "report.html", render(audit, opened, told))
    return case / "report.html"


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="replace", newline="")
    os.replace(part, path)


def table(audit: Audit) -> str:
    """Return audit.csv: a row a real picture, with the nearest generated one, as findings.csv is written."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, dialect="excel")
    rows.writerow(COLUMNS)
    for one in audit.images:
        near = one.near[0] if one.near else None
        cells = [one.path, one.known or "", f"{one.probability:.4f}", f"{one.p:.4g}", f"{one.margin:.4f}",
                 str(one.nearest_to), near.path if near else "", f"{near.distance:.4f}" if near else "",
                 f"{near.apart:.4f}" if near else "", "" if near is None or near.aligned is None else
                 f"{near.aligned:.4f}", one.sha256]  # fmt: skip
        rows.writerow([harmless(cell) for cell in cells])
    return "\ufeff" + text.getvalue()


def render(audit: Audit, opened: Opened, told: int) -> str:
    """Return the report of an audit as HTML text; it has no script, and asks for nothing."""
    shown = audit.images[:told]
    count = len(shown) + len({near.path for one in shown for near in one.near})
    share = min(MOST, BUDGET // max(1, count))
    kept: dict[str, dict[str, Any] | None] = {}

    def picture(path: str) -> dict[str, Any] | None:
        if path not in kept:
            image = opened(path)
            kept[path] = None if image is None else {
                "uri": pictures.uri(image, share, SHOWN_PX), "tiny": max(image.shape[:2]) < 100,
                "size": f"{image.shape[1]} × {image.shape[0]} px",
            }  # fmt: skip
        return kept[path]

    made = environment()
    made.filters.update(file_name=words.file_name, chance=chance)
    made.globals.update(STATUS=words.STATUS)
    return made.get_template("audit.html").render(
        audit=audit,
        rows=[_row(number, one, picture) for number, one in enumerate(shown, 1)],
        hidden=len(audit.images) - len(shown),
        likely=sum(one.probability > 0.5 for one in audit.images) if audit.statement.evidence else 0,
        cannot=CANNOT,
    )


def _row(number: int, one: Audited, picture: Callable[[str], dict[str, Any] | None]) -> dict[str, Any]:
    near = [{"near": near, "picture": picture(near.path), "says": _says(near.distance, near.apart, near.aligned)}
            for near in one.near]  # fmt: skip
    return {"number": number, "image": one, "picture": picture(one.path), "near": near}


def _says(distance: float, apart: float, aligned: float | None) -> str:
    """Return what is known of a generated picture beside a real one, in words."""
    parts = [f"embedding {distance:.2f} (1 is the border)", f"laid over it {apart:.2f} (0 alike, 1.41 unlike)"]
    if aligned is not None:
        parts.append(f"aligned: the same source with {words.number(aligned)}" if aligned > 0 else "nothing aligns")
    return "; ".join(parts)
