"""The evidence about two pictures as one picture: what they share, what differs, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from twinscope import pixels
from twinscope.report import edits, overlay, pictures, words
from twinscope.report.words import panel_names
from twinscope.types import Box, Finding, Panel, Screening

NAME = "comparison.png"
CELL_PX = 480
GAP_PX = 16
LINE_PX = 24
TICK_PX = 16
SHARED = (0, 158, 115)
CHANGED = (213, 94, 0)
YELLOW, DARK, WHITE = (255, 227, 77), (16, 20, 26), (255, 255, 255)
PIN_PX = 11
MOST_EDITS = 6
"""Edits that are told in words below the pictures; all are drawn."""


def write(screening: Screening, case: Path) -> Path:
    """Write `comparison.png` into `case` for the strongest finding, or for the first two panels if there is none.

    Left a, in the middle b, right the heat-map of what differs, in b's frame. What is shared is outlined (green), with
    a tick on the edge that is the top one in a; what is changed is boxed (orange, dashed) and numbered, and outlined
    where the heat-map reaches `edits.level`: yellow on dark ground, dark on light ground. Returns the path. The panels'
    PNG files must be in `case`.
    """
    panels = {panel.id: panel for panel in screening.panels}
    finding = max(screening.findings, key=lambda found: found.probability, default=None)
    ids = [finding.a, finding.b] if finding else list(panels)[:2]
    shown = [panels[name] for name in ids if name in panels]
    path = case / NAME
    drawn = cells(shown, finding, case, edits.level(screening))
    sheet(drawn, _lines(shown, finding, panel_names(screening))).save(path)
    return path


def cells(shown: Sequence[Panel], finding: Finding | None, case: Path, level: float) -> list[Image.Image]:
    """Return the panels of a finding with its marks, and its heat-map; each with its longest side `CELL_PX`.

    level: a place is outlined where the heat-map reaches it.
    """
    marks = _marks(finding) if finding else ()
    out = [_panel_cell(panel, finding, marks[i : i + 1], case, "ab"[i], level) for i, panel in enumerate(shown)]
    if finding and finding.heatmap_b:
        out.append(_heatmap_cell(finding.heatmap_b, case))
    return out


def _marks(finding: Finding) -> tuple[overlay.Mark, ...]:
    transform = overlay.corner_transform(finding.transform)
    return overlay.marks(transform, Box(*finding.region_a), Box(*finding.region_b))


def _panel_cell(
    panel: Panel, finding: Finding | None, marks: tuple[overlay.Mark, ...], case: Path, side: str, level: float
) -> Image.Image:
    image = pixels.read_png(case / "panels" / f"{panel.id}.png")
    cell, scale = fit(image)
    draw = ImageDraw.Draw(cell)
    if finding and finding.edits:
        heat = pictures.load(case, finding.heatmap_a if side == "a" else finding.heatmap_b)
        if heat is not None:
            _draw_outlines(draw, cell, image, heat, level)
    for mark in marks:
        outline = [tuple(point) for point in np.clip(mark.outline * scale, 1, np.array(cell.size) - 2)]
        draw.line([*outline, outline[0]], fill=SHARED, width=3)
        start, end = mark.tick
        inward = np.clip(np.stack([start * scale, start * scale - (end - start) * TICK_PX]), 1, np.array(cell.size) - 2)
        draw.line([tuple(point) for point in inward], fill=SHARED, width=7)
    for box in finding.changes if finding and side == "b" and not finding.edits else ():
        _dashed(draw, _scaled(box, scale))
    for number, edit in enumerate(finding.edits if finding else (), 1):
        box = _scaled(edit.box_a if side == "a" else edit.box_b, scale)
        _dashed(draw, box)
        _pin(draw, box, str(number), cell.size)
    return cell


def _draw_outlines(
    draw: ImageDraw.ImageDraw, cell: Image.Image, image: pixels.Image, heat: pixels.Image, level: float
) -> None:
    """Draw where a heat-map reaches a level; each outline in yellow or dark, by the ground beneath it."""
    size = (cell.height, cell.width)
    grounds = edits.by_ground(image, size, edits.outlines(pictures.grey(heat), size, level))
    for (casing, colour), lines in zip(((DARK, YELLOW), (WHITE, DARK)), grounds, strict=True):
        strokes: tuple[tuple[int, tuple[int, int, int]], ...] = ((4, casing), (2, colour))
        for width, paint in strokes:
            for points in lines:
                draw.line([tuple(point) for point in [*points, points[0]]], fill=paint, width=width, joint="curve")


def _pin(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], text: str, size: tuple[int, int]) -> None:
    """Draw a number beside the top left corner of a box, inside of the picture."""
    x, y = (min(max(value, PIN_PX), most - PIN_PX) for value, most in zip(box[:2], size, strict=True))
    draw.ellipse((x - PIN_PX, y - PIN_PX, x + PIN_PX, y + PIN_PX), fill=DARK, outline=YELLOW, width=2)
    draw.text((x, y), text, fill="white", font=ImageFont.load_default(size=14), anchor="mm")


def _heatmap_cell(relative: str, case: Path) -> Image.Image:
    image = pixels.read_png(case / relative)
    grey = image if image.ndim == 2 else image[..., 0]
    coloured = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    return fit(np.asarray(coloured, np.uint8))[0]


def fit(image: pixels.Image) -> tuple[Image.Image, float]:
    """Return a picture whose longest side is `CELL_PX`, and by how much it was scaled."""
    scale = CELL_PX / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.LANCZOS), scale


def _scaled(box: tuple[float, float, float, float], scale: float) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (value * scale for value in box)
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def _dashed(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], dash: int = 6) -> None:
    x0, y0, x1, y1 = box
    for start in np.arange(x0, x1, 2 * dash):
        for y in (y0, y1):
            draw.line((start, y, min(start + dash, x1), y), fill=CHANGED, width=2)
    for start in np.arange(y0, y1, 2 * dash):
        for x in (x0, x1):
            draw.line((x, start, x, min(start + dash, y1)), fill=CHANGED, width=2)


def _lines(shown: list[Panel], finding: Finding | None, called: dict[str, str]) -> list[str]:
    names = [
        f"{letter}: {called[panel.id]}, {panel.size[1]} x {panel.size[0]} px"
        for letter, panel in zip("ab", shown, strict=False)
    ]
    if finding is None:
        return [*names, "No evidence was found that the two show the same source."]
    steps = ", ".join(finding.steps).replace("×", "x") or "as it is"  # the font of the sheet has no ×
    told = f"probability {finding.probability:.3f} that both show the same source; {finding.verdict}"
    right = ["right: what differs, in the frame of b; dark blue is equal, yellow differs"] if finding.heatmap_b else []
    careful = words.caution(finding)
    return [*names, *right, told, *([careful] if careful else []), *_told_edits(finding), f"from a to b: {steps}"]


def _told_edits(finding: Finding) -> list[str]:
    """Return the three probabilities and what each edit is, in plain words."""
    classes = (
        [] if finding.classes is None else [words.classes_line(finding.classes).replace("\N{NO-BREAK SPACE}", " ")]
    )
    told = [
        f"{number}: {words.edit(edit.kind, edit.source_a is not None).lower()}"
        for number, edit in enumerate(finding.edits, 1)
    ]
    more = [f"and {len(told) - MOST_EDITS} more places"] if len(told) > MOST_EDITS else []
    return [*classes, *told[:MOST_EDITS], *more]


def sheet(cells: list[Image.Image], lines: list[str]) -> Image.Image:
    """Return cells side by side with lines of text below, each cut where the sheet ends."""
    width = sum(cell.width for cell in cells) + GAP_PX * (len(cells) + 1)
    height = max((cell.height for cell in cells), default=0) + 2 * GAP_PX + LINE_PX * len(lines)
    sheet = Image.new("RGB", (max(width, CELL_PX), height), "white")
    x = GAP_PX
    for cell in cells:
        sheet.paste(cell, (x, GAP_PX))
        x += cell.width + GAP_PX
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    room = sheet.width - 2 * GAP_PX
    for index, line in enumerate(shortened(line, font, room) for line in lines):
        top = height - GAP_PX // 2 - LINE_PX * (len(lines) - index)
        draw.text((GAP_PX, top), line, fill="black", font=font)
    return sheet


def shortened(line: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int) -> str:
    """Return as much of a line as there is room for, with an ellipsis where it was cut."""
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + "…") > room:
        line = line[:-1]
    return line + "…"
