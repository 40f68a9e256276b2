"""From one picture to the panels on it: shared by everything that reads documents. Runs in the worker only."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinscope import pixels
from twinscope.errors import RefusedError
from twinscope.ingest import kinds
from twinscope.ingest.job import Job, Note, Tell
from twinscope.ingest.panels import Piece, split
from twinscope.settings import Ingest
from twinscope.types import Box, Figure, Origin, Panel, Problem

Image = NDArray[np.uint8]

LEAST_PX = 16
"""A panel with a shorter side than this is not kept: there is nothing to compare on it."""


_SPLIT_PX = 2400
"""Longer pictures are split on a copy of this size, so that edges are only about right."""

_PICTURED = ("micrograph", "blot", "photo")


class Budget:
    """Counts the pictures of a document against the limit."""

    def __init__(self, used: int, most: int) -> None:
        self.used = used
        self.most = most

    def take(self) -> None:
        """Count one picture; raise RefusedError beyond the limit."""
        self.used += 1
        if self.used > self.most:
            raise RefusedError(f"the document has more than {self.most} pictures; the rest is not read")


def whole_or_split(image: Image, ingest: Ingest) -> list[Piece]:
    """Return the panels of a picture; one that covers nearly all of it becomes the whole picture."""
    height, width = image.shape[:2]
    if min(height, width) < LEAST_PX:
        return []
    pieces = [p for p in panels_of(image, ingest) if min(p.box.width, p.box.height) >= LEAST_PX]
    if not pieces:
        return [whole(image)]
    if len(pieces) == 1 and pieces[0].box.area >= 0.9 * width * height:
        return [pieces[0]._replace(box=Box(0, 0, width, height))]
    return pieces


def panels_of(image: Image, ingest: Ingest) -> list[Piece]:
    """Return the panels of a picture; where they were found on a smaller copy, their edges are found again."""
    if not ingest.split:
        return [whole(image)]
    pieces = split(image)
    scale = max(image.shape[:2]) / _SPLIT_PX
    if scale <= 1:
        return pieces
    reach = math.ceil(scale) + 1
    return [p._replace(box=refined(image, p.box, reach)) if p.kind in _PICTURED else p for p in pieces]


def whole(image: Image) -> Piece:
    """Return a picture as one panel of no known kind."""
    return Piece(Box(0, 0, image.shape[1], image.shape[0]), "other", "")


def refined(image: Image, box: Box, reach: int) -> Box:
    """Return a box whose edges, at most `reach` px away, lie where the flat ground around the panel ends.

    An edge without flat ground beyond it (a neighbour touches) stays where it is.
    """
    x0, y0, x1, y1 = (round(v) for v in box)
    inner = image[y0:y1, x0:x1]
    if min(inner.shape[:2]) <= 4 * reach:
        return box
    left = _edge(image[y0 + reach : y1 - reach, max(0, x0 - reach - 2) : x0 + reach].swapaxes(0, 1))
    right = _edge(image[y0 + reach : y1 - reach, x1 - reach : x1 + reach + 2][:, ::-1].swapaxes(0, 1))
    top = _edge(image[max(0, y0 - reach - 2) : y0 + reach, x0 + reach : x1 - reach])
    bottom = _edge(image[y1 - reach : y1 + reach + 2, x0 + reach : x1 - reach][::-1])
    height, width = image.shape[:2]
    return Box(
        x0 if left is None else max(0, x0 - reach - 2) + left,
        y0 if top is None else max(0, y0 - reach - 2) + top,
        x1 if right is None else min(width, x1 + reach + 2) - right,
        y1 if bottom is None else min(height, y1 + reach + 2) - bottom,
    )


def _edge(band: Image) -> int | None:
    """Return the first row of a band that is not the flat ground of its first rows; None without such ground."""
    values = band.reshape(band.shape[0], band.shape[1], -1).astype(np.int16)
    ground = np.median(values[:2], axis=(0, 1))
    other = (np.abs(values - ground).max(axis=2) > 24).mean(axis=1)
    if other[:2].max() > 0.02 or not (other > 0.2).any():
        return None
    return int(np.argmax(other > 0.2))


def crop(image: Image, box: Box) -> tuple[Image, Box]:
    """Return the pixels of a box (px, rounded to whole pixels and kept inside) and the box that was cut."""
    height, width = image.shape[:2]
    x0, y0 = min(max(round(box.x0), 0), width - 1), min(max(round(box.y0), 0), height - 1)
    x1, y1 = min(max(round(box.x1), x0 + 1), width), min(max(round(box.y1), y0 + 1), height)
    return image[y0:y1, x0:x1], Box(x0, y0, x1, y1)


def save(job: Job, tell: Tell, panel: Panel, image: Image) -> None:
    """Write the pixels of a panel and tell the parent."""
    folder = Path(job.out) / "panels"
    folder.mkdir(exist_ok=True)
    pixels.write_png(folder / f"{panel.id}.png", image)
    tell(Note(event="panel", panel=panel))


def _corrected(pieces: list[Piece], image: Image, job: Job, page: int) -> list[Piece]:
    """Return the panels of a picture as a person has corrected them: some gone, those that were drawn at the end."""
    own = [one for one in job.corrections if one.page == page]
    gone = [one.replaces for one in own if one.replaces is not None]
    kept = [one for one in pieces if not any(np.allclose(crop(image, one.box)[1], box, atol=1) for box in gone)]
    for box in (Box(*one.box) for one in own if one.box is not None):
        part, inside = crop(image, box)
        if min(part.shape[:2]) >= LEAST_PX:
            kind = kinds.classify(part)
            kept.append(Piece(inside, "other" if kind in ("graph", "diagram") else kind, ""))
    return kept


def tell_picture(
    job: Job, tell: Tell, budget: Budget, image: Image, figure: str, caption: str, page: int | None
) -> None:
    """Tell the parent about a picture that is a file or a member of one: one figure and its panels."""
    budget.take()
    height, width = image.shape[:2]
    origin = Origin(path=job.path, sha256=job.sha256, page=page, box_px=(0, 0, width, height), how="image")
    pieces = _corrected(whole_or_split(image, job.ingest), image, job, page or 1)
    if not pieces:
        reason = f"a picture of {width} x {height} px is too small to compare"
        tell(Note(event="problem", problem=Problem(path=job.path, page=page, reason=reason)))
        return
    tell(Note(event="figure", figure=Figure(id=figure, source=origin, caption=caption)))
    for number, piece in enumerate(pieces, 1):
        cut, box = crop(image, piece.box)
        source = origin.model_copy(update={"box_px": tuple(box)})
        panel = Panel(
            id=f"{figure}-{number}",
            figure=figure,
            kind=piece.kind,
            size=(cut.shape[0], cut.shape[1]),
            label=piece.label,
            caption=caption,
            source=source,
        )
        save(job, tell, panel, cut)
