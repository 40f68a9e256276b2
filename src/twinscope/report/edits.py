"""Where two panels differ, made visible: outlines of the heat-map, where nothing can be said, each edit enlarged.

Positions are corner positions, as boxes and SVG have them: pixel (0, 0) spans 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import geometry
from twinscope.pixels import Image
from twinscope.report import overlay
from twinscope.settings import Compare
from twinscope.types import Box, Edit, EditKind, Finding, Screening

LEVEL = Compare().threshold
"""A place is shown as edited from this probability on, where a screening does not say with which it was made."""
MOST = 12
"""Edits of a finding that are enlarged; all of them are outlined."""
TRACED_PX = (320, 160, 80, 40, 20)
"""Longest sides of a map when it is traced, the next where there are too many points."""
MOST_POINTS = 800
CUT_PX = 320
"""Longest side of an enlarged piece as the report holds it."""
LIGHT = 118
"""Mean grey (0..255) from which on a ground counts as light."""

Points = NDArray[np.float64]


class Shown(NamedTuple):
    """An edit as it is shown: its boxes (a's is unknown in old findings), its kind, the view around it in b's frame.

    `source` is the other place of a clone in b's frame; it may lie beyond b where it is a that repeats itself.
    """

    number: int
    kind: EditKind | None
    box_a: Box | None
    box_b: Box
    view: Box
    source_a: Box | None = None
    source_b: Box | None = None
    source: Box | None = None
    source_view: Box | None = None


def level(screening: Screening) -> float:
    """Return the probability from which on a place is shown as edited: that of the screening, to the per cent."""
    told = screening.provenance.threshold
    return LEVEL if told is None else min(max(round(told, 2), 0.01), 0.99)  # as the slider has it


def shown(finding: Finding, size: tuple[int, int], size_a: tuple[int, int]) -> list[Shown]:
    """Return the edits of a finding for a panel b of `size`; plain changes, of no kind, where it has no edits."""
    if not finding.edits:
        boxes = [Box(*box) for box in finding.changes]
        return [Shown(i, None, None, box, view(box, size)) for i, box in enumerate(boxes, 1)]
    transform = overlay.corner_transform(finding.transform)
    return [_shown(number, edit, size, size_a, transform) for number, edit in enumerate(finding.edits, 1)]


def _shown(number: int, edit: Edit, size: tuple[int, int], size_a: tuple[int, int], transform: overlay.Square) -> Shown:
    box, whole = Box(*edit.box_b), Box(0, 0, size[1], size[0])
    places = (None if place is None else Box(*place) for place in (edit.source_a, edit.source_b))
    one = Shown(number, edit.kind, Box(*edit.box_a), box, view(box, size), *places)
    source, frame = one.source_b, whole
    if source is None and one.source_a is not None:
        source, frame = _moved(one.source_a, transform, whole, Box(0, 0, size_a[1], size_a[0]))
    if source is None:
        return one
    wide, high = max(one.view.width, source.width), max(one.view.height, source.height)  # both places at one scale
    wide, high = min(wide, whole.width), min(high, whole.height)
    both = _fitted(box, wide, high, whole), _fitted(source, wide, high, frame)
    return one._replace(view=both[0], source=source, source_view=both[1])


def _moved(source: Box, transform: overlay.Square, whole: Box, whole_a: Box) -> tuple[Box | None, Box]:
    """Return a place of a in b's frame, None where it has none there, and what holds all of b and a in that frame."""
    moved, panel = (overlay.project(transform, geometry.corners(box)) for box in (source, whole_a))
    if not np.isfinite(moved).all():
        return None, whole
    points = np.concatenate([geometry.corners(whole), moved, panel])
    return geometry.bounds(moved), geometry.bounds(points[np.isfinite(points).all(axis=1)])


def view(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of a panel of `size` (height, width) that shows a box with a margin, at most 1.6 to 1."""
    margin = max(8.0, 0.4 * max(box.width, box.height))
    wide, high = box.width + 2 * margin, box.height + 2 * margin
    wide, high = max(wide, high / 1.6), max(high, wide / 1.6)
    return _fitted(box, wide, high, Box(0, 0, size[1], size[0]))


def _fitted(box: Box, wide: float, high: float, frame: Box) -> Box:
    """Return a box of a size around the middle of another, moved and cut so that it lies in a frame."""
    wide, high = min(wide, frame.width), min(high, frame.height)
    x0 = min(max(frame.x0, (box.x0 + box.x1 - wide) / 2), frame.x1 - wide)
    y0 = min(max(frame.y0, (box.y0 + box.y1 - high) / 2), frame.y1 - high)
    return Box(x0, y0, x0 + wide, y0 + high)


def cut(image: Image, transform: overlay.Square, part: Box) -> Image:
    """Return the part of b's frame (corner positions) as a picture shows it once moved by the corner transform."""
    shift = np.array([[1, 0, -part.x0], [0, 1, -part.y0], [0, 0, 1.0]])
    scale = min(1.0, CUT_PX / max(part.width, part.height))
    return overlay.warp(image, shift @ transform, (round(part.height), round(part.width)), scale)


def outlines(heat: Image, size: tuple[int, int], level: float = LEVEL) -> list[Points]:
    """Return the outlines of what reaches `level` in a heat-map (H, W) uint8, for a picture of `size`; (n, 2) each.

    Holes have outlines of their own. A map of many specks is traced more coarsely, `MOST_POINTS` in all.
    """
    return _traced(heat, level * 255, size)


def unsure(mask: Image, size: tuple[int, int]) -> list[Points]:
    """Return the outlines of where nothing can be said (over 127 in `mask`), for a picture of `size`."""
    return _traced(mask, 127.5, size)


def _traced(values: Image, least: float, size: tuple[int, int]) -> list[Points]:
    """Return the outlines of what reaches `least`, along the edges of the pixels, simplified."""
    out: list[Points] = []
    for long_side in TRACED_PX:
        scale = long_side / max(values.shape[:2])
        wanted = (max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale)))
        small = cv2.resize(values, wanted, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        found = _edges(small >= least)
        if sum(map(len, found)) > 12 * MOST_POINTS:
            continue
        factor = np.array([size[1] / wanted[0], size[0] / wanted[1]])
        simple = (cv2.approxPolyDP(contour, 1.2, True).reshape(-1, 2).astype(np.float64) for contour in found)
        out = [np.clip((points - 0.5) / 2, 0, wanted) * factor for points in simple if len(points) >= 3]
        if sum(map(len, out)) <= MOST_POINTS:
            break
    return out


def _edges(strong: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Return the outlines of a mask in pixels of half the size, padded by one."""
    doubled = np.repeat(np.repeat(strong.astype(np.uint8), 2, 0), 2, 1)
    return list(cv2.findContours(np.pad(doubled, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0])


def by_ground(image: Image, size: tuple[int, int], lines: Sequence[Points]) -> tuple[list[Points], list[Points]]:
    """Return the outlines over dark ground, to be drawn in yellow, and those over light ground, to be drawn dark.

    A ground is light where the mean grey beneath the outline is at least `LIGHT`; image: HxW or HxWx3, of `size`.
    """
    dark: list[Points] = []
    light: list[Points] = []
    if not lines:
        return dark, light
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    for points in lines:
        x, y = np.clip(points / np.array([size[1], size[0]]) * 48, 0, 47).astype(int).T
        (light if grey[y, x].mean() >= LIGHT else dark).append(points)
    return dark, light


def path(lines: Sequence[Points]) -> str:
    """Return outlines as the data of an SVG path; several together leave holes under the rule "evenodd"."""
    return "".join("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + "Z" for points in lines)


def corner_marks(box: Box, part: Box) -> str:
    """Return the four corners around a box as the data of an SVG path, sized for the view `part`."""
    gap, long = 0.015 * max(part.width, part.height), 0.08 * max(part.width, part.height)
    out = []
    for x, sx in ((box.x0 - gap, 1), (box.x1 + gap, -1)):
        for y, sy in ((box.y0 - gap, 1), (box.y1 + gap, -1)):
            out.append(f"M{x + sx * long:.2f},{y:.2f}H{x:.2f}V{y + sy * long:.2f}")
    return "".join(out)
