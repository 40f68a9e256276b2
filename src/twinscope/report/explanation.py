"""`twinscope explain`: two files in, one sheet, two maps and the numbers out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from twinscope import ingest, pixels
from twinscope.detect import embed, explain
from twinscope.detect.explain import Explanation, Floats
from twinscope.errors import InputError, UsageError
from twinscope.ingest import files
from twinscope.models import load
from twinscope.report import comparison, why
from twinscope.report.words import visible
from twinscope.settings import Settings
from twinscope.types import Panel

SHEET, NUMBERS = "explanation.png", "explanation.json"
MAPS = ("map-a.tif", "map-b.tif")
LEGEND_PX = (150, 360)


def write(a: Path, b: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Explain the distance of two picture files; write all into `folder` and return what explanation.json holds.

    Writes explanation.png (both pictures above their maps), map-a.tif and map-b.tif (float32 in [-1, 1], positive: what
    makes the two differ) and explanation.json. The files are read as `compare` reads them, in the sandbox, each as one
    picture. Raises UsageError for a folder or a file of several pictures and InputError for one that cannot be read.
    """
    panels = _read(a, b, folder, settings)
    images = [pixels.read_png(folder / "panels" / f"{panel.id}.png") for panel in panels]
    told = explain.explain(images[0], images[1], threads=settings.threads)
    card = load(embed.MODEL, settings.threads).card
    numbers: dict[str, Any] = {
        "distance": round(told.distance, 4),
        "border": card.border,
        "model": {"id": card.id, "sha256": card.sha256},
        "sheet": SHEET,
        "note": why.CAVEAT,
    }
    for name, path, panel, field, file in zip("ab", (a, b), panels, told[1:], MAPS, strict=True):
        pixels.write_tiff(folder / file, field)
        shares = {key: round(value, 6) for key, value in explain.shares(field).items()}
        numbers[name] = {
            "path": files.shown(path), "sha256": panel.source.sha256, "size": list(panel.size), "map": file,
            **shares, "words": why.in_words(field),
        }  # fmt: skip
    sheet(images, told, [visible(str(path)) for path in (a, b)]).save(folder / SHEET)
    (folder / NUMBERS).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return numbers


def _read(a: Path, b: Path, folder: Path, settings: Settings) -> list[Panel]:
    """Return the one panel of each file."""
    for path in (a, b):
        if path.is_dir():
            raise UsageError(f"{path} is a folder; `explain` takes two pictures")
    whole = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"split": False})})
    reading = ingest.read(list(dict.fromkeys([a, b])), folder, whole)
    out = []
    for path in (a, b):
        mine = [panel for panel in reading.panels if panel.source.path == files.shown(path)]
        if len(mine) > 1:
            raise UsageError(f"{path} holds {len(mine)} pictures; `explain` takes files of one picture each")
        if not mine:
            reasons = [one.reason for one in reading.inputs if one.path == files.shown(path) and one.reason]
            raise InputError(f"{path} could not be read as a picture: {reasons[0] if reasons else 'it holds none'}")
        out.append(mine[0])
    return out


def sheet(images: list[pixels.Image], told: Explanation, names: list[str]) -> Image.Image:
    """Return one picture: a and b side by side, each above its map, a legend, and the distance in words."""
    cells = []
    for image, field in zip(images, told[1:], strict=True):
        above, below = (comparison.fit(picture)[0] for picture in (image, why.coloured(field)))
        for cell in (above, below):
            _draw_outlines(cell, field)
        cells.append(_stacked(above, below))
    border = "1 is the border of “same”"
    lines = [
        *(f"{letter}: {name}, {image.shape[1]} x {image.shape[0]} px; {why.in_words(field)}"
          for letter, name, image, field in zip("ab", names, images, told[1:], strict=True)),
        f"distance {told.distance:.3f}; {border}. Above the pictures, below the maps of what the distance comes from",
        "no evidence of an edit: the two are compared whole, as they are, not aligned",
    ]  # fmt: skip
    return comparison.sheet([*cells, _legend()], lines)


def _stacked(above: Image.Image, below: Image.Image) -> Image.Image:
    cell = Image.new("RGB", (above.width, above.height + below.height + comparison.GAP_PX), "white")
    cell.paste(above, (0, 0))
    cell.paste(below, (0, above.height + comparison.GAP_PX))
    return cell


def _draw_outlines(cell: Image.Image, field: Floats) -> None:
    """Outline the strong parts of a map: solid what makes the two differ, dashed what makes them alike."""
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default(size=26)
    for outline in why.outlines(field, (cell.height, cell.width)):
        _line(draw, np.vstack([outline.points, outline.points[:1]]), dashed=outline.does == "alike")
    for peak in why.peaks(field, (cell.height, cell.width)):
        at = (min(max(peak.x, 16), cell.width - 16), min(max(peak.y, 16), cell.height - 16))
        draw.text(
            at, "+" if peak.does == "differ" else "-", "white", font, anchor="mm", stroke_width=3, stroke_fill="black"
        )


def _line(draw: ImageDraw.ImageDraw, points: why.Points, dashed: bool) -> None:
    """Draw a line in white on black; a dashed one in pieces of 8 px."""
    for width, colour in ((5, "black"), (2, "white")):
        if not dashed:
            draw.line([tuple(point) for point in points], fill=colour, width=width, joint="curve")
            continue
        for start, end in pairwise(points):
            _dashes(draw, start, end, colour, width)


def _dashes(draw: ImageDraw.ImageDraw, start: why.Points, end: why.Points, colour: str, width: int) -> None:
    long = float(np.linalg.norm(end - start))
    for at in np.arange(0, max(long, 1e-6), 14.0):
        piece = [start + (end - start) * min(1.0, (at + far) / max(long, 1e-6)) for far in (0.0, 7.0)]
        draw.line([tuple(point) for point in piece], fill=colour, width=width)


def _legend() -> Image.Image:
    """Return the scale of the maps with its ends told in words."""
    width, height = LEGEND_PX
    legend = Image.new("RGB", (width, height), "white")
    scale = np.repeat(np.linspace(1, -1, height - 160, dtype=np.float32)[:, None], 24, 1)
    legend.paste(Image.fromarray(why.coloured(scale)), (0, 66))
    draw, font = ImageDraw.Draw(legend), ImageFont.load_default(size=15)
    low = height - 90
    for top, mark, words in ((0, "+", "makes them\ndiffer"), (low, "-", "makes them\nalike")):
        _line(draw, np.array([[2.0, top + 46], [60.0, top + 46]]), dashed=mark == "-")
        draw.text((2, top), f"{mark}  {words}", "black", font)
    draw.text((32, 66 + (height - 160) / 2), "neither", "black", font, anchor="lm")
    return legend
