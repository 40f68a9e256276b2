"""The letters that name the panels of a figure, where they are text of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from twinscope.ingest.layout import Line, common, grow
from twinscope.types import Box


def letters(lines: Sequence[Line], box: Box) -> list[tuple[str, float, float]]:
    """Return the panel letters of a figure, (letter, x, y): single letters that run on from A without a gap."""
    found: dict[str, tuple[str, float, float]] = {}
    for line in lines:
        match = re.fullmatch(r"[(\[]?([A-Za-z])[)\].:]?", line.text)
        if match and common(line.box, grow(box, 3)) > 0.5 * line.box.area:
            place = (match.group(1), (line.box.x0 + line.box.x1) / 2, (line.box.y0 + line.box.y1) / 2)
            known = found.get(match.group(1))
            if known is None or place[2] + place[1] < known[2] + known[1]:
                found[match.group(1)] = place
    first = "A" if "A" in found else "a"
    run = []
    while first in found:
        run.append(found[first])
        first = chr(ord(first) + 1)
    return run if len(run) >= 2 else []


def letter_of(box: Box, places: Sequence[tuple[str, float, float]]) -> str:
    """Return the letter that stands nearest above or left of a panel; '' where there is none."""
    near = []
    for letter, x, y in places:
        if x <= box.x0 + 0.35 * box.width and y <= box.y0 + 0.5 * box.height:
            near.append((max(0.0, box.x0 - x) + 2 * max(0.0, box.y0 - y), letter))
    return min(near)[1] if near else ""
