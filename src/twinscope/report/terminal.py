"""The result of a screening in a few lines of plain text, for the terminal."""

from __future__ import annotations

from pathlib import Path

from twinscope.report.table import ordered
from twinscope.report.words import number, visible
from twinscope.types import PICTURE_KINDS, Panel, Screening

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
    inputs, panels = _count(len(screening.inputs), "input"), _count(len(screening.panels), "panel")
    findings = _count(len(screening.findings), "finding")
    return f"{inputs}, {panels} ({pictures} compared as pictures), {findings}, {screening.seconds:.1f} s"


def _findings(screening: Screening) -> list[str]:
    names = {panel.id: _name(panel) for panel in screening.panels}
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
    lines = [
        f"{source.status}: {visible(source.path)}: {visible(source.reason)}"
        for source in screening.inputs
        if source.status != "ok"
    ]
    for problem in screening.problems:
        where = visible(problem.path) + (f", page {problem.page}" if problem.page else "")
        lines.append(f"problem: {where}: {visible(problem.reason)}")
    return lines


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _name(panel: Panel) -> str:
    label = f" ({visible(panel.label)})" if panel.label else ""
    page = f", page {panel.source.page}" if panel.source.page else ""
    return f"{visible(panel.id)}{label}{page}"
