"""From one picture to the panels on it: shared by everything that reads documents. Runs in the worker only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinscope import pixels
from twinscope.errors import RefusedError
from twinscope.ingest.job import Job, Note, Tell
from twinscope.ingest.kinds import classify
from twinscope.ingest.panels import Piece, split
from twinscope.types import Box, Figure, Origin, Panel, Problem

Image = NDArray[np.uint8]

LEAST_PX = 16
"""A panel with a shorter side than this is not kept: there is nothing to compare on it."""


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


def whole_or_split(image: Image, divide: bool = True) -> list[Piece]:
    """Return the panels of a picture; one that covers nearly all of it, or `divide=False`, gives the whole picture."""
    height, width = image.shape[:2]
    if not divide:
        return [Piece(Box(0, 0, width, height), classify(image), "")]
    pieces = [p for p in split(image) if min(p.box.width, p.box.height) >= LEAST_PX]
    if not pieces:
        return [Piece(Box(0, 0, width, height), "other", "")] if min(height, width) >= LEAST_PX else []
    if len(pieces) == 1 and pieces[0].box.area >= 0.9 * width * height:
        return [pieces[0]._replace(box=Box(0, 0, width, height))]
    return pieces


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


def tell_picture(
    job: Job, tell: Tell, budget: Budget, image: Image, figure: str, caption: str, page: int | None
) -> None:
    """Tell the parent about a picture that is a file or a member of one: one figure and its panels."""
    budget.take()
    height, width = image.shape[:2]
    origin = Origin(path=job.path, sha256=job.sha256, page=page, box_px=(0, 0, width, height), how="image")
    pieces = whole_or_split(image, job.ingest.split)
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
