"""The result of a screening in a few lines of plain text, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twinscope.report.groups import Group, groups
from twinscope.report.words import (
    caution,
    classes_line,
    count,
    document,
    edit_kinds,
    number,
    panel_names,
    together,
    troubles,
    visible,
)
from twinscope.types import PICTURE_KINDS, Screening

MOST = 20
"""Findings that are shown; all are in the report."""
MOST_PAIRS = 40
"""Pairs of a batch that are shown; all are in its table."""


def has_problems(screening: Screening) -> bool:
    """Tell whether a part of the input was not read; such a screening never reads as clean."""
    return bool(screening.problems) or any(source.status != "ok" for source in screening.inputs)


def summary(screening: Screening, page: Path, picture: Path | None = None) -> list[str]:
    """Return lines: the counts, the findings group by group, every problem, where the picture and the report are.

    Names and captions are hostile text: no line holds a control character.
    """
    findings = _findings(screening) or [_nothing(screening)]
    places = [] if picture is None else [f"picture: {visible(str(picture))}"]
    return [_counts(screening), *findings, *_problems(screening), *places, f"report: {visible(str(page))}"]


def batch(rows: Sequence[dict[str, Any]], case: Path) -> list[str]:
    """Return lines for a batch of comparisons: the counts, a line for each of at most `MOST_PAIRS`, what failed."""
    found = sum(row["found"] == "yes" for row in rows)
    failed = [row for row in rows if row["status"] != "ok"]
    told = [row for row in rows if row["status"] == "ok"]
    lines = [f"{count(len(rows), 'pair')}, {found} with evidence of the same source, {len(failed)} with problems"]
    for row in told[:MOST_PAIRS]:
        percent = number(row["probability"]) if row["found"] == "yes" else "none"
        said = row["verdict"] if row["found"] == "yes" else "no evidence of the same source"
        sign = "=" if row["found"] == "yes" else "and"
        names = f"{visible(row['a'])} {sign} {visible(row['b'])}"
        lines.append(f"{row['folder']}  {percent:>8}  {names}: {said}".replace("\N{NO-BREAK SPACE}", " "))
    if len(told) > MOST_PAIRS:
        lines.append(f"      and {len(told) - MOST_PAIRS} more in the table")
    lines += [f"problem: {row['folder']}: {visible(row['reason'] or row['status'])}" for row in failed[:MOST_PAIRS]]
    if len(failed) > MOST_PAIRS:
        lines.append(f"problem: and {len(failed) - MOST_PAIRS} more; the table has all of them")
    return [*lines, f"table: {visible(str(case / 'pairs.csv'))}", f"index: {visible(str(case / 'index.html'))}"]


def _nothing(screening: Screening) -> str:
    """Return what to say where no finding was told; it never reads as a clean bill for what was not read."""
    unread = ", which says nothing about the parts that were not read" if has_problems(screening) else ""
    return f"No two compared panels were found to show the same source{unread}."


def _counts(screening: Screening) -> str:
    own = [panel for panel in screening.panels if not panel.earlier]
    pictures = sum(panel.kind in PICTURE_KINDS for panel in own)
    inputs, panels = count(len(screening.inputs), "input"), count(len(own), "panel")
    findings = count(len(screening.findings), "finding")
    return f"{inputs}, {panels} ({pictures} compared as pictures), {findings}, {screening.seconds:.1f} s"


def _findings(screening: Screening) -> list[str]:
    names, files = _names(screening)
    lines, left = [], MOST
    for group in groups(screening):
        lines += _group(group, names, files, left)
        left = max(0, left - len(group.findings))
    if len(screening.findings) > MOST:
        lines.append(f"          and {len(screening.findings) - MOST} more in the report")
    return lines


def _names(screening: Screening) -> tuple[dict[str, str], dict[str, str]]:
    """Return the name of each panel with its page, and its file where there are several and the name is not it."""
    names, files = panel_names(screening, across=False), {}
    many = len({panel.source.path for panel in screening.panels}) > 1
    for panel in screening.panels:
        file = document(panel)
        if many and not names[panel.id].startswith(file):
            files[panel.id] = file
        if panel.source.page is not None and not names[panel.id].startswith("Page "):
            names[panel.id] += f" (page {panel.source.page})"
    return names, files


def _group(group: Group, names: dict[str, str], files: dict[str, str], most: int) -> list[str]:
    """Return lines for at most `most` findings of a group; one of several findings has a title."""
    shown = group.findings[:most]
    several = len(group.findings) > 1
    lines = [f"    {together(group)[0]}:"] if shown and several else []
    margin = "    " if several else ""
    for finding in shown:
        a, b = (names.get(panel, visible(panel)) for panel in (finding.a, finding.b))
        file_a, file_b = (f" in {files[panel]}" if panel in files else "" for panel in (finding.a, finding.b))
        percent = number(finding.probability).replace("\N{NO-BREAK SPACE}", " ")
        lines.append(f"{margin}{percent:>8}  {a}{file_a if file_a != file_b else ''} = {b}{file_b}")
        told = [f"{finding.verdict}: {visible(', '.join(finding.steps) or 'as it is')}"]
        if finding.edits:
            told.append(f"edits: {edit_kinds(finding.edits)}")
        if finding.classes is not None:
            told.append(classes_line(finding.classes).replace("\N{NO-BREAK SPACE}", " "))
        if (careful := caution(finding)) is not None:
            told.append(careful)
        lines += [f"{margin}          {line}" for line in told]
    return lines


def _problems(screening: Screening) -> list[str]:
    return ["problem: " + ": ".join(visible(part) for part in trouble if part) for trouble in troubles(screening)]
