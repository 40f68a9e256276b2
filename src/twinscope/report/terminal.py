"""The result of a screening in a few lines of plain text, for the terminal."""

from __future__ import annotations

from pathlib import Path

from twinscope.report.table import ordered
from twinscope.report.words import count, number, panel_names, troubles, visible
from twinscope.types import PICTURE_KINDS, Screening

MOST = 20
"""Findings that are shown; all are in the report."""


def has_problems(screening: Screening) -> bool:
    """Tell whether a part of the input was not read; such a screening never reads as clean."""
    return bool(screening.problems) or any(source.status != "ok" for source in screening.inputs)


def summary(screening: Screening, page: Path) -> list[str]:
    """Return lines: the counts, the findings by probability, every problem, and where the report (`page`) is.

    Names and captions are hostile text: no line holds a control character.
    """
    return [_counts(screening), *_findings(screening), *_problems(screening), f"report: {visible(str(page))}"]


def _counts(screening: Screening) -> str:
    pictures = sum(panel.kind in PICTURE_KINDS for panel in screening.panels)
    inputs, panels = count(len(screening.inputs), "input"), count(len(screening.panels), "panel")
    findings = count(len(screening.findings), "finding")
    return f"{inputs}, {panels} ({pictures} compared as pictures), {findings}, {screening.seconds:.1f} s"


def _findings(screening: Screening) -> list[str]:
    names = panel_names(screening)
    for panel in screening.panels:
        if panel.source.page is not None and not names[panel.id].startswith("Page "):
            names[panel.id] += f" (page {panel.source.page})"
    lines = []
    for finding in ordered(screening)[:MOST]:
        a, b = (names.get(panel, visible(panel)) for panel in (finding.a, finding.b))
        percent = number(finding.probability).replace("\N{NO-BREAK SPACE}", " ")
        lines.append(f"{percent:>8}  {a} = {b}")
        lines.append(f"          {finding.verdict}: {visible(', '.join(finding.steps) or 'as it is')}")
    if len(screening.findings) > MOST:
        lines.append(f"          and {len(screening.findings) - MOST} more in the report")
    return lines


def _problems(screening: Screening) -> list[str]:
    return ["problem: " + ": ".join(visible(part) for part in trouble if part) for trouble in troubles(screening)]
