"""The evidence about two pictures as one picture: what they share, what differs, and the numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from twinscope import pixels
from twinscope.types import Finding, Panel, Screening

NAME = "comparison.png"
CELL_PX = 480
GAP_PX = 16
LINE_PX = 24
SHARED = (0, 158, 115)
CHANGED = (213, 94, 0)


def write(screening: Screening, case: Path) -> Path:
    """Write `comparison.png` into `case` for the strongest finding, or for the first two panels if there is none.

    Left a, in the middle b, right the heat-map of what differs, in b's frame; boxes mark what is shared (green) and
    what is changed (orange, dashed). Returns the path. The panels' PNG files must be in `case`.
    """
    panels = {panel.id: panel for panel in screening.panels}
    finding = max(screening.findings, key=lambda found: found.probability, default=None)
    ids = [finding.a, finding.b] if finding else list(panels)[:2]
    shown = [panels[name] for name in ids if name in panels]
    cells = [_panel_cell(panel, finding, case) for panel in shown]
    if finding and finding.heatmap_b:
        cells.append(_heatmap_cell(finding.heatmap_b, case))
    path = case / NAME
    _sheet(cells, _lines(shown, finding)).save(path)
    return path


def _panel_cell(panel: Panel, finding: Finding | None, case: Path) -> Image.Image:
    image = pixels.read_png(case / "panels" / f"{panel.id}.png")
    cell, scale = _fit(image)
    if finding:
        draw = ImageDraw.Draw(cell)
        region = finding.region_a if panel.id == finding.a else finding.region_b
        draw.rectangle(_scaled(region, scale), outline=SHARED, width=3)
        for box in finding.changes if panel.id == finding.b else ():
            _dashed(draw, _scaled(box, scale))
    return cell


def _heatmap_cell(relative: str, case: Path) -> Image.Image:
    image = pixels.read_png(case / relative)
    grey = image if image.ndim == 2 else image[..., 0]
    coloured = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    return _fit(np.asarray(coloured, np.uint8))[0]


def _fit(image: pixels.Image) -> tuple[Image.Image, float]:
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


def _lines(shown: list[Panel], finding: Finding | None) -> list[str]:
    names = [
        f"{letter}: {panel.id}, {panel.size[1]} x {panel.size[0]} px"
        for letter, panel in zip("ab", shown, strict=False)
    ]
    if finding is None:
        return [*names, "No evidence was found that the two show the same source."]
    steps = ", ".join(finding.steps) or "as it is"
    told = f"probability {finding.probability:.3f} that both show the same source; {finding.verdict}"
    return [*names, told, f"from a to b: {steps}"]


def _sheet(cells: list[Image.Image], lines: list[str]) -> Image.Image:
    width = sum(cell.width for cell in cells) + GAP_PX * (len(cells) + 1)
    height = max((cell.height for cell in cells), default=0) + 2 * GAP_PX + LINE_PX * len(lines)
    sheet = Image.new("RGB", (max(width, CELL_PX), height), "white")
    x = GAP_PX
    for cell in cells:
        sheet.paste(cell, (x, GAP_PX))
        x += cell.width + GAP_PX
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for index, line in enumerate(lines):
        top = height - GAP_PX // 2 - LINE_PX * (len(lines) - index)
        draw.text((GAP_PX, top), line, fill="black", font=font)
    return sheet
