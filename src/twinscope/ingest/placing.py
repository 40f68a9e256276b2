"""How Office documents place a picture: what they crop away, mirror and turn. Runs in the worker only.

DrawingML keeps the crop in `a:srcRect` and mirror and turn in `a:xfrm` of the picture and of each group around it; VML
keeps the crop in the picture itself. Turns are taken to the nearest quarter: a picture that stands askew comes out
upright, with its own pixels.
"""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from twinscope.ingest.job import Note, Tell
from twinscope.types import Origin

Image = NDArray[np.uint8]
Sides = tuple[float, float, float, float]

TRIVIAL = 0.02
"""A crop that hides no more than this share of the picture is not applied: the whole raster says more."""

_DEGREE = 60_000
_LEAST_PX = 16


class Placing(NamedTuple):
    """What a document does to a picture: shares cut off (left, top, right, bottom), then a mirror, then a turn.

    `mirrored` is left-right and comes first; `turn` is in degrees, clockwise. Top-bottom is both with 180.
    """

    crop: Sides = (0.0, 0.0, 0.0, 0.0)
    mirrored: bool = False
    turn: float = 0.0


PLAIN = Placing()


class Place(NamedTuple):
    """A placing of one picture of known size: the box that is seen (px), what is done to it, the share it hides."""

    box: tuple[int, int, int, int]
    mirrored: bool
    quarters: int
    hidden: float

    def cut(self, image: Image) -> Image:
        """Return what the reader sees of an image HxW or HxWx3."""
        x0, y0, x1, y1 = self.box
        seen = image[y0:y1, x0:x1]
        seen = seen[:, ::-1] if self.mirrored else seen
        return np.ascontiguousarray(np.rot90(seen, -self.quarters))

    def back(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return the place in the raster of a box (px) in what the reader sees."""
        x0, y0, x1, y1 = box
        left, top, right, bottom = self.box
        width, height = right - left, bottom - top
        for turned in range(self.quarters):  # undo one clockwise quarter at a time
            tall = height if (self.quarters - turned) % 2 == 0 else width
            wide = width + height - tall
            x0, y0, x1, y1 = y0, wide - x1, y1, wide - x0
        if self.mirrored:
            x0, x1 = width - x1, width - x0
        return x0 + left, y0 + top, x1 + left, y1 + top


def within(node: ElementTree.Element, around: Placing) -> Placing:
    """Return how things inside `node` are placed: what is around it, with its own crop, mirror and turn."""
    out = around
    if _local(node) == "blipFill":
        out = out._replace(crop=_crop(_child(node, "srcRect"), 100_000, "ltrb"))
    for name in ("spPr", "grpSpPr"):
        frame = _child(_child(node, name), "xfrm")
        if frame is not None:
            out = _inside(out, _flag(frame, "flipH"), _flag(frame, "flipV"), _number(frame.get("rot")) / _DEGREE)
    return out


def within_vml(node: ElementTree.Element, around: Placing) -> Placing:
    """Return how the picture of a VML `imagedata` node is placed; any other node changes nothing."""
    if _local(node) != "imagedata":
        return around
    return around._replace(crop=_crop(node, 65_536, ("cropleft", "croptop", "cropright", "cropbottom")))


def place(placing: Placing, size: tuple[int, int]) -> Place:
    """Return the placing of a picture of `size` (h, w); a trivial crop, or one that leaves nothing, is not applied."""
    height, width = size
    left, top, right, bottom = placing.crop
    box = round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height)
    hidden = 1 - max(0, box[2] - box[0]) * max(0, box[3] - box[1]) / (width * height)
    if hidden <= TRIVIAL or min(box[2] - box[0], box[3] - box[1]) < min(_LEAST_PX, width, height):
        box, hidden = (0, 0, width, height), 0.0
    return Place(box, placing.mirrored, round(placing.turn / 90) % 4, hidden)


def in_raster(tell: Tell, place: Place) -> Tell:
    """Return a teller that puts the `box_px` of figures and panels back into the raster of the file."""

    def told(note: Note) -> None:
        if note.figure is not None:
            note = note.model_copy(update={"figure": note.figure.model_copy(update=_source(note.figure.source, place))})
        if note.panel is not None:
            note = note.model_copy(update={"panel": note.panel.model_copy(update=_source(note.panel.source, place))})
        tell(note)

    return told


def _source(origin: Origin, place: Place) -> dict[str, Origin]:
    box = None if origin.box_px is None else place.back(origin.box_px)
    return {"source": origin.model_copy(update={"box_px": box})}


def _inside(around: Placing, flip_h: bool, flip_v: bool, turn: float) -> Placing:
    """Return the placing of what is flipped, then turned, inside something that is itself placed.

    A mirror seen through a mirror is none, and a turn seen through one goes the other way.
    """
    mirrored, turn = flip_h != flip_v, turn + (180 if flip_v else 0)
    turn = around.turn + (-turn if around.mirrored else turn)
    return around._replace(mirrored=around.mirrored != mirrored, turn=turn % 360)


def _crop(node: ElementTree.Element | None, unit: int, names: str | tuple[str, ...]) -> Sides:
    """Return the shares that four attributes cut off; what is no share of a picture is 0."""
    if node is None:
        return PLAIN.crop
    shares = []
    for name in names:
        text = (node.get(name) or "").strip()
        if text.endswith("%"):
            share = _number(text[:-1]) / 100
        elif unit == 65_536 and not text.endswith("f"):
            share = _number(text)  # VML: a plain number is a share, one with an f counts in 65536ths
        else:
            share = _number(text.removesuffix("f")) / unit
        shares.append(min(max(share, 0.0), 1.0))
    return shares[0], shares[1], shares[2], shares[3]


def _number(text: str | None) -> float:
    value = 0.0
    with contextlib.suppress(ValueError):
        value = float(text or 0)
    return value if math.isfinite(value) and abs(value) < 1e9 else 0.0


def _flag(node: ElementTree.Element, name: str) -> bool:
    return node.get(name) in ("1", "true", "on")


def _child(node: ElementTree.Element | None, name: str) -> ElementTree.Element | None:
    return None if node is None else next((child for child in node if _local(child) == name), None)


def _local(node: ElementTree.Element) -> str:
    return str(node.tag).rpartition("}")[2]
