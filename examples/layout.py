"""Lay out an article: title, columns of text, figures with captions; and tell where every panel came to lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, NamedTuple

import numpy as np
import prose
from numpy.typing import NDArray
from paper import (
    BoxPt,
    Drawing,
    Paper,
    Sheet,
    as_stored,
    draw,
    drawing_box,
    place_picture,
    rasterise,
    text_width,
    write_text,
)

Picture = NDArray[np.uint8]
Mode = Literal["compound", "separate"]


class Cell(NamedTuple):
    """A panel in a figure: its box in points of the figure, its pixels or its drawing, what the truth says of it."""

    box: BoxPt
    picture: Picture | None
    drawing: Drawing | None
    kind: str
    letter: str
    truth: dict[str, Any]


@dataclass
class Figure:
    """A figure: `compound` is one raster of `dpi`, `separate` places each panel on the page as an object of its own."""

    width: float
    height: float
    cells: list[Cell]
    labels: list[Any] = field(default_factory=list)
    mode: Mode = "compound"
    dpi: float = 200.0
    quality: int | None = 90
    ground: int = 255
    span: bool = True
    vector_charts: bool = False
    caption: str = ""


class Placed(NamedTuple):
    """A panel on its page: `page` from 1, box in points, the pixels that a reader of the file gets."""

    figure: int
    cell: Cell
    page: int
    box_pt: BoxPt
    pixels: Picture


@dataclass(frozen=True)
class Style:
    """The look of an article."""

    size: tuple[float, float] = (595.0, 842.0)
    margin: float = 48.0
    columns: int = 2
    gap: float = 18.0
    font: str = "Times-Roman"
    bold: str = "Times-Bold"
    body: float = 9.2
    leading: float = 11.2
    heading: str = "Helvetica-Bold"
    header: str = "Journal of Drawn Results 12, 2026"

    @property
    def text_width(self) -> float:
        return self.size[0] - 2 * self.margin

    @property
    def column_width(self) -> float:
        return (self.text_width - self.gap * (self.columns - 1)) / self.columns


def place_figure(paper: Paper, sheet: Sheet, figure: Figure, number: int, x: float, y: float) -> list[Placed]:
    """Draw a figure with its top left corner at (x, y) of the page."""
    page = len(paper.sheets)
    if figure.mode == "separate":
        return _place_separate(paper, sheet, figure, number, (x, y), page)
    scale = figure.dpi / 72
    size = round(figure.height * scale), round(figure.width * scale)
    canvas = np.full((*size, 3), figure.ground, np.uint8)
    places: list[tuple[Cell, tuple[int, int, int, int]]] = []
    for cell in figure.cells:
        left, top = round(cell.box[0] * scale), round(cell.box[1] * scale)
        part = cell.picture
        tight: tuple[int, int, int, int] | None = None
        if part is None:
            assert cell.drawing is not None
            part = rasterise(cell.drawing, (cell.box[2] - cell.box[0], cell.box[3] - cell.box[1]), figure.dpi)
            ink = [round(v * scale) for v in drawing_box(cell.drawing)]
            tight = (
                left + max(0, ink[0]),
                top + max(0, ink[1]),
                left + min(part.shape[1], ink[2]),
                top + min(part.shape[0], ink[3]),
            )
        part = part[: size[0] - top, : size[1] - left]
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part if part.ndim == 3 else part[..., None]
        places.append((cell, tight or (left, top, left + part.shape[1], top + part.shape[0])))
    if figure.labels:
        ink_map = rasterise(figure.labels, (figure.width, figure.height), figure.dpi)[: size[0], : size[1], :1]
        share = 1 - ink_map.astype(np.float32) / 255
        canvas = (canvas + share * ((0 if figure.ground > 127 else 255) - canvas) + 0.5).astype(np.uint8)
    if (canvas[..., 0] == canvas[..., 1]).all() and (canvas[..., 1] == canvas[..., 2]).all():
        canvas = np.ascontiguousarray(canvas[..., 0])
    box = (x, y, x + size[1] / scale, y + size[0] / scale)
    place_picture(paper, sheet, box, canvas, figure.quality)
    stored = as_stored(canvas, figure.quality)
    out = []
    for cell, (x0, y0, x1, y1) in places:
        at = (x + x0 / scale, y + y0 / scale, x + x1 / scale, y + y1 / scale)
        out.append(Placed(number, cell, page, at, stored[y0:y1, x0:x1]))
    return out


def _place_separate(
    paper: Paper, sheet: Sheet, figure: Figure, number: int, corner: tuple[float, float], page: int
) -> list[Placed]:
    x, y = corner
    out = []
    if figure.ground < 128:
        ground = np.zeros((2, 2), np.uint8)
        place_picture(paper, sheet, (x, y, x + figure.width, y + figure.height), ground, None)
    for cell in figure.cells:
        x0, y0, x1, y1 = cell.box
        at = (x + x0, y + y0, x + x1, y + y1)
        if cell.picture is not None:
            place_picture(paper, sheet, at, cell.picture, figure.quality)
            out.append(Placed(number, cell, page, at, as_stored(cell.picture, figure.quality)))
            continue
        assert cell.drawing is not None
        raster = rasterise(cell.drawing, (x1 - x0, y1 - y0), figure.dpi)
        ink = drawing_box(cell.drawing)
        box = (x + x0 + ink[0], y + y0 + ink[1], x + x0 + ink[2], y + y0 + ink[3])
        if figure.vector_charts:
            draw(sheet, cell.drawing, x + x0, y + y0)
        else:
            place_picture(paper, sheet, at, raster, figure.quality)
            raster = as_stored(raster, figure.quality)
        a, b, c, d = (max(0, round(v * figure.dpi / 72)) for v in ink)
        out.append(Placed(number, cell, page, box, raster[b:d, a:c]))
    draw(sheet, figure.labels, x, y)
    return out


def article(
    paper: Paper, style: Style, words: Callable[[], str], head: tuple[str, str, str], figures: list[Figure]
) -> list[Placed]:
    """Write pages until every figure has been placed; `head` is title, authors, abstract; `words` gives paragraphs."""
    out: list[Placed] = []
    waiting = list(enumerate(figures, 1))
    lines = _flow(style, words)
    top = None
    while True:
        sheet = paper.sheet(style.size)
        number = len(paper.sheets)
        write_text(sheet, style.margin, 30, style.header, "Helvetica", 7)
        write_text(sheet, style.size[0] - style.margin - 10, style.size[1] - 24, str(number), "Helvetica", 7)
        y = _head(sheet, style, head) if number == 1 else style.margin
        bottom = style.size[1] - style.margin
        while waiting and (number > 1 or len(figures) > 5):
            height = waiting[0][1].height + _caption_height(style, waiting[0][1]) + 14
            if not waiting[0][1].span or y + height > bottom:
                break
            index, figure = waiting.pop(0)
            out += _with_caption(paper, sheet, style, figure, index, style.margin, y, style.text_width)
            y += height
        for column in range(style.columns):
            x, top = style.margin + column * (style.column_width + style.gap), y
            while waiting and not waiting[0][1].span and number > 1:
                height = waiting[0][1].height + _caption_height(style, waiting[0][1]) + 14
                if top + height > bottom:
                    break
                index, figure = waiting.pop(0)
                out += _with_caption(paper, sheet, style, figure, index, x, top, style.column_width)
                top += height
            while top + style.leading < bottom:
                top += style.leading
                text, font, stretch = next(lines)
                if text:
                    write_text(sheet, x, top, text, font, style.body, stretch=stretch)
        if not waiting:
            return out


def wrap(text: str, font: str, size: float, width: float) -> list[tuple[str, float]]:
    """Break a text into lines, each with the points to add to a space to fill the line."""
    out: list[tuple[str, float]] = []
    line: list[str] = []
    for word in text.split():
        if line and text_width(" ".join([*line, word]), font, size) > width:
            whole = " ".join(line)
            out.append((whole, (width - text_width(whole, font, size)) / max(1, len(line) - 1)))
            line = []
        line.append(word)
    return [*out, (" ".join(line), 0.0)]


def _flow(style: Style, words: Callable[[], str]) -> Iterator[tuple[str, str, float]]:
    for heading in prose.HEADINGS:
        yield "", style.font, 0.0
        yield heading, style.bold, 0.0
        for _ in range(5):
            for line, stretch in wrap(words(), style.font, style.body, style.column_width):
                yield line, style.font, stretch
    yield "", style.font, 0.0
    yield "References", style.bold, 0.0
    rng = np.random.default_rng(len(style.header))
    for number in count(1):
        for line, stretch in wrap(prose.reference(rng, number), style.font, style.body, style.column_width):
            yield line, style.font, stretch


def _head(sheet: Sheet, style: Style, head: tuple[str, str, str]) -> float:
    y = style.margin + 24
    for line, _ in wrap(head[0], style.heading, 17, style.text_width):
        write_text(sheet, style.margin, y, line, style.heading, 17)
        y += 21
    write_text(sheet, style.margin, y + 2, head[1], style.bold, 10)
    y += 22
    for line, stretch in wrap("Abstract. " + head[2], style.font, style.body, style.text_width):
        write_text(sheet, style.margin, y, line, style.font, style.body, stretch=stretch)
        y += style.leading
    return y + 8


def _caption_height(style: Style, figure: Figure) -> float:
    width = style.text_width if figure.span else style.column_width
    return 9.4 * len(wrap(figure.caption, "Helvetica", 7.4, width)) + 6


def _with_caption(
    paper: Paper, sheet: Sheet, style: Style, figure: Figure, number: int, x: float, y: float, width: float
) -> list[Placed]:
    placed = place_figure(paper, sheet, figure, number, x + max(0.0, (width - figure.width) / 2), y)
    at = y + figure.height + 10
    for line, stretch in wrap(figure.caption, "Helvetica", 7.4, width):
        write_text(sheet, x, at, line, "Helvetica", 7.4, stretch=stretch)
        at += 9.4
    return placed
