"""Tables as CSV, safe to open in a spreadsheet: findings.csv, a line a finding, and the areas of what was segmented."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twinscope.report.groups import groups
from twinscope.types import CLASSES, Box, Finding, Panel, Screening

COLUMNS = (
    "finding", "group", "probability", "expected_false", "verdict", "kind", "distance",
    "a", "a_file", "a_page", "a_figure", "a_label", "a_kind", "a_region_px",
    "b", "b_file", "b_page", "b_figure", "b_label", "b_kind", "b_region_px",
    "steps", "changes", "transform",
    *CLASSES, "edits", "edits_px",
)  # fmt: skip

_FORMULA_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: a leading apostrophe where it could; NUL is dropped."""
    text = text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return "'" + text if text.lstrip(" \u00a0\ufeff").startswith(tuple(_FORMULA_STARTS)) else text


def write(screening: Screening, case: Path) -> Path:
    """Write findings.csv (UTF-8 with a byte-order mark, CRLF lines, findings group by group) and return its path."""
    labels = {figure.id: figure.label for figure in screening.figures}
    panels = {panel.id: panel for panel in screening.panels}
    text = io.StringIO(newline="")
    rows = csv.writer(text, dialect="excel")
    rows.writerow(COLUMNS)
    told = [(number, finding) for number, group in enumerate(groups(screening), 1) for finding in group.findings]
    for number, finding in told:
        cells = [
            finding.id, str(number), f"{finding.probability:.6g}", f"{finding.expected_false:.6g}",
            finding.verdict, finding.kind,
            "" if finding.distance is None else f"{finding.distance:.6g}",
            *_panel_cells(finding.a, panels.get(finding.a), labels, Box(*finding.region_a)),
            *_panel_cells(finding.b, panels.get(finding.b), labels, Box(*finding.region_b)),
            "; ".join(finding.steps), str(len(finding.changes)),
            json.dumps(finding.transform), *_edit_cells(finding),
        ]  # fmt: skip
        rows.writerow([harmless(cell) for cell in cells])
    path = case / "findings.csv"
    path.write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
    return path


AREAS = ("image", "label", "area_px", "x_px", "y_px", "probability")


def write_areas(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the objects of segmented pictures (rows with `image` and `areas`) as CSV, as `write` does: a row each."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(AREAS)
    for row in rows:
        name = harmless(str(row["image"]))
        table.writerows([name, *(area[key] for key in AREAS[1:])] for area in row["areas"])
    path.write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")


def _edit_cells(finding: Finding) -> list[str]:
    """Return the three probabilities, the kinds of the edits and their boxes in b; empty where none is told."""
    told = finding.classes
    shares = [f"{getattr(told, name):.6g}" if told else "" for name in CLASSES]
    boxes = (" ".join(f"{round(value, 1):g}" for value in edit.box_b) for edit in finding.edits)
    return [*shares, "; ".join(edit.kind for edit in finding.edits), "; ".join(boxes)]


def _panel_cells(name: str, panel: Panel | None, labels: dict[str, str], region: Box) -> list[str]:
    box = " ".join(f"{round(value, 1):g}" for value in region)
    if panel is None:
        return [name, "", "", "", "", "", box]
    page = "" if panel.source.page is None else str(panel.source.page)
    return [name, panel.source.path, page, labels.get(panel.figure, ""), panel.label, panel.kind, box]
