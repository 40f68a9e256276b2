"""The results of a batch of comparisons: pairs.csv, and index.html with a link to every report."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twinscope.report import pictures, words
from twinscope.report.page import environment
from twinscope.report.table import harmless
from twinscope.types import CLASSES, Classes

TABLE, PAGE = "pairs.csv", "index.html"
COLUMNS = (
    "a", "b", "status", "reason", "found", "probability", "verdict", *CLASSES, "edits", "folder",
)  # fmt: skip
THUMB_PX = 300
FINISHED = "pair.json"
"""In the folder of a pair that was compared in full; one that failed may stand where an earlier batch had another."""
BUDGET = 12_000_000
"""Characters that all pictures of the page may take together."""


def is_ours(case: Path) -> bool:
    """Tell whether a folder is that of a batch: its pairs.csv begins as ours does."""
    try:
        with (case / TABLE).open(encoding="utf-8-sig", newline="") as file:
            return file.readline().rstrip("\r\n") == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False


def write(rows: Sequence[dict[str, Any]], case: Path) -> Path:
    """Write pairs.csv and index.html of a batch and return the page; rows: one a pair, with `COLUMNS` as keys."""
    write_table(rows, case)
    _replace(case / PAGE, render(rows, case))
    return case / PAGE


def write_table(rows: Sequence[dict[str, Any]], case: Path) -> None:
    """Write pairs.csv, as findings.csv is written, whole or not at all."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, dialect="excel")
    lines.writerow(COLUMNS)
    for row in rows:
        lines.writerow([harmless(_cell(row[name])) for name in COLUMNS])
    _replace(case / TABLE, "\ufeff" + text.getvalue())


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="replace", newline="")
    os.replace(part, path)


def render(rows: Sequence[dict[str, Any]], case: Path) -> str:
    """Return the index of a batch as HTML text; it has no script, and asks for nothing."""
    share = min(40_000, BUDGET // max(1, len(rows)))
    told = [{**row, **_shown(row, case, share)} for row in rows]
    template = environment().get_template("index.html")
    return template.render(
        rows=told,
        found=sum(row["found"] == "yes" for row in rows),
        failed=sum(row["status"] == "failed" for row in rows),
        waiting=sum(row["status"] == "waiting" for row in rows),
    )


def _shown(row: dict[str, Any], case: Path, share: int) -> dict[str, Any]:
    """Return the three probabilities in words, both pictures as small ones, and whether there is a report to open."""
    classes = None
    if row["benign"] is not None:
        classes = Classes(**{name: row[name] for name in CLASSES})
    ready = row["status"] == "ok"
    return {
        "line": "" if classes is None else words.classes_line(classes),
        "thumbs": _thumbs(case / row["folder"], share) if ready else [],
        "report": f"{row['folder']}/report.html" if _is_reported(row, case) else "",
    }


def _is_reported(row: dict[str, Any], case: Path) -> bool:
    """Say whether the report in the folder of a pair is that pair's."""
    folder = case / row["folder"]
    if row["status"] == "waiting" or not (folder / "report.html").is_file():
        return False
    if row["status"] == "ok":
        return True
    try:
        inputs = json.loads((folder / "screening.json").read_text(encoding="utf-8"))["inputs"]
        read = {Path(one["path"]).parts for one in inputs}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    wanted = [Path(row[side] or "").parts for side in "ab"]
    return not (folder / FINISHED).exists() and all(
        any(name and parts[-len(name) :] == name for parts in read) for name in wanted
    )


def _thumbs(folder: Path, share: int) -> list[str]:
    """Return a and b as data URIs; they are kept in the pair's folder, so that the page is quickly written anew."""
    kept = folder / "cache" / "thumbnails.json"
    if kept.is_file():
        return [str(uri) for uri in json.loads(kept.read_text(encoding="utf-8"))]
    images = [pictures.load(folder, f"panels/{path.name}") for path in sorted((folder / "panels").glob("*.png"))[:2]]
    out = [pictures.uri(image, share // 2, THUMB_PX) for image in images if image is not None]
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(out), encoding="utf-8")
    return out
