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
    pieces = [p for p in with_heat_maps(image, split(image)) if min(p.box.width, p.box.height) >= LEAST_PX]
    if not pieces:
        return [Piece(Box(0, 0, width, height), "other", "")] if min(height, width) >= LEAST_PX else []
    if len(pieces) == 1 and pieces[0].box.area >= 0.9 * width * height:
        return [pieces[0]._replace(box=Box(0, 0, width, height))]
    return pieces


def with_heat_maps(image: Image, pieces: list[Piece]) -> list[Piece]:
    """Return the panels with the cells of heat maps put together: neighbours of one flat colour each, of many colours.

    Blank pictures side by side (dark controls) are not cells: their colours are alike.
    """
    colors = {i: color for i, piece in enumerate(pieces) if (color := _flat(image, piece)) is not None}
    if len(colors) < 6:
        return pieces
    left, maps = set(colors), []
    while left:
        group, edge = set[int](), {left.pop()}
        while edge:
            one = edge.pop()
            group.add(one)
            near = {i for i in left if _beside(pieces[one].box, pieces[i].box)}
            left -= near
            edge |= near
        tones = np.array([colors[i] for i in group])
        spread = np.abs(tones[:, None] - tones[None]).max(axis=2) > 40
        vivid = (tones.max(axis=1) - tones.min(axis=1) > 40).sum()
        if len(group) >= 6 and vivid >= 2 and (spread.sum(axis=1) >= 2).sum() >= 3:
            boxes = np.array([pieces[i].box for i in group])
            maps.append(Box(*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()))
    out: list[Piece] = []
    for piece in pieces:
        box = next((box for box in maps if _inside(piece.box, box)), None)
        whole = piece if box is None else Piece(box, "graph", "")
        if whole not in out:
            out.append(whole)
    return out


def _flat(image: Image, piece: Piece) -> NDArray[np.float32] | None:
    """Return the colour of a panel that has but one."""
    x0, y0, x1, y1 = (round(v) for v in piece.box)
    dx, dy = max(1, (x1 - x0) // 6), max(1, (y1 - y0) // 6)
    part = image[y0 + dy : y1 - dy, x0 + dx : x1 - dx]
    if part.size == 0:
        return None
    values = part.reshape(-1, 3 if image.ndim == 3 else 1).astype(np.float32)
    return np.broadcast_to(values.mean(axis=0), (3,)).copy() if values.std(axis=0).max() < 8 else None


def _beside(a: Box, b: Box) -> bool:
    gap = max(a.x0 - b.x1, b.x0 - a.x1, a.y0 - b.y1, b.y0 - a.y1)
    return gap < 0.35 * min(a.width, a.height, b.width, b.height)


def _inside(box: Box, frame: Box) -> bool:
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return frame.x0 <= x < frame.x1 and frame.y0 <= y < frame.y1 and box.area <= frame.area


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
