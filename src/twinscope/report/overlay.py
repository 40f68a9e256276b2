"""What is drawn over the pictures: the shared region, the tick on its top edge, the orientation glyph.

All positions here are corner positions, as boxes and SVG have them: pixel (0, 0) spans 0..1. Transforms of records map
pixel centres, so `corner_transform` moves them by half a pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import geometry
from twinscope.geometry import corners
from twinscope.types import Box, Matrix

Points = NDArray[np.float64]
Square = NDArray[np.float64]


class Mark(NamedTuple):
    """A shared region in one panel: its outline, the tick on one edge, and the frame of the glyph."""

    outline: Points
    tick: Points
    glyph: Square


def corner_transform(transform: Matrix) -> Square:
    """Return the 3x3 float64 transform between corner positions from one between pixel centres."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    moved = half @ np.array(transform, dtype=np.float64) @ np.linalg.inv(half)
    return moved / moved[2, 2] if abs(moved[2, 2]) > 1e-12 else moved


def project(transform: Square, points: Points) -> Points:
    """Return the (N, 2) points moved by the transform; points at or beyond its horizon come back as NaN."""
    moved = np.column_stack([points, np.ones(len(points))]) @ transform.T
    depth = np.where(moved[:, 2:] > 1e-9, moved[:, 2:], np.nan)
    return np.asarray(moved[:, :2] / depth)


def affine(transform: Square, size: tuple[int, int], tolerance: float = 0.3) -> Square | None:
    """Return the transform without its perspective when that moves no corner of `size` by `tolerance` px, else None."""
    flat = transform.copy()
    flat[2] = (0, 0, 1)
    frame = corners((0, 0, size[1], size[0]))
    shift = project(transform, frame) - project(flat, frame)
    return flat if bool(np.all(np.abs(shift) < tolerance)) else None


def shared(transform: Square, region_a: Box, region_b: Box) -> tuple[Points, Points]:
    """Return the outline of the shared region in a and in b: (N, 2) each, the same corners in the same order.

    It is the part of region_b that region_a covers. Where the two do not meet, the boxes themselves come back.
    """
    boxes = corners(region_a), corners(region_b)
    quad = project(transform, boxes[0])
    if not np.all(np.isfinite(quad)) or not np.all(np.abs(quad) < 1e7):
        return boxes
    area, met = cv2.intersectConvexConvex(quad.astype(np.float32), boxes[1].astype(np.float32))
    if met is None or area < 1:
        return boxes
    outline_b = _distinct(np.asarray(met, dtype=np.float64).reshape(-1, 2))
    back: Square = np.asarray(np.linalg.inv(transform), dtype=np.float64)
    outline_a = project(back, outline_b)
    good = len(outline_b) >= 3 and bool(np.all(np.isfinite(outline_a)))
    return (outline_a, outline_b) if good else boxes


def marks(transform: Square, region_a: Box, region_b: Box) -> tuple[Mark, Mark]:
    """Return the marks of the shared region in a and in b: the same edge has the tick, the same corner the glyph."""
    outline_a, outline_b = shared(transform, region_a, region_b)
    edge = _top_edge(outline_a)
    turn = _linear_part(transform, outline_a.mean(axis=0))
    place_a = _glyph_place(outline_a)
    place_b = project(transform, place_a[None])[0]
    low, high = outline_b.min(axis=0), outline_b.max(axis=0)
    if not np.all((place_b > low) & (place_b < high)):
        place_b = _glyph_place(outline_b)
    return (
        Mark(outline_a, _tick(outline_a, edge), _glyph(outline_a, place_a, np.eye(2))),
        Mark(outline_b, _tick(outline_b, edge), _glyph(outline_b, place_b, turn)),
    )


def warp(image: NDArray[np.uint8], transform: Square, size: tuple[int, int], scale: float) -> NDArray[np.uint8]:
    """Return the picture moved by a corner transform into a frame of `size` (h, w), drawn at `scale`."""
    half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    whole = half @ np.diag([scale, scale, 1.0]) @ transform @ np.linalg.inv(half)
    out = (max(1, round(size[1] * scale)), max(1, round(size[0] * scale)))
    return np.asarray(cv2.warpPerspective(image, whole, out, flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _distinct(points: Points) -> Points:
    step = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
    return np.asarray(points[step > 0.05])


def _top_edge(outline: Points) -> int:
    """Return the index of the edge (i, i+1) that faces up the most, weighted by its length."""
    ahead = np.roll(outline, -1, axis=0)
    middle = (outline + ahead) / 2
    out = middle - outline.mean(axis=0)
    along = ahead - outline
    length = np.linalg.norm(along, axis=1)
    normal = np.column_stack([along[:, 1], -along[:, 0]]) / np.maximum(length, 1e-9)[:, None]
    normal *= np.where((normal * out).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    return int(np.argmax(-normal[:, 1] * length))


def _tick(outline: Points, edge: int) -> Points:
    """Return the two ends of a tick that stands outward on the middle of an edge; (2, 2)."""
    start, end = outline[edge], outline[(edge + 1) % len(outline)]
    middle = (start + end) / 2
    along = end - start
    normal = np.array([along[1], -along[0]]) / max(float(np.linalg.norm(along)), 1e-9)
    if normal @ (middle - outline.mean(axis=0)) < 0:
        normal = -normal
    return np.array([middle, middle + normal])


def _linear_part(transform: Square, point: Points) -> Square:
    """Return the 2x2 derivative of the transform at a point, scaled to keep areas."""
    slope = geometry.jacobian(transform, (float(point[0]), float(point[1])))
    size = float(np.sqrt(abs(np.linalg.det(slope))))
    return np.asarray(slope / size) if size > 1e-9 else np.eye(2)


def _glyph_place(outline: Points) -> Points:
    """Return the centre of the glyph, a little inward from the top left corner and never past the middle."""
    corner = outline[int(np.argmin(outline.sum(axis=1)))]
    inward = outline.mean(axis=0) - corner
    step = 0.85 * _glyph_side(outline)
    return np.asarray(corner + np.clip(inward, -step, step))


def _glyph_side(outline: Points) -> float:
    """Return the side of the glyph: a sixth of the shorter side of the outline, more where it is a thin strip."""
    short, long = sorted(float(extent) for extent in np.ptp(outline, axis=0))
    return min(0.45 * short, max(0.16 * short, 0.06 * long))


def _glyph(outline: Points, centre: Points, turn: Square) -> Square:
    """Return the 3x3 frame of the glyph: the unit square, turned, around a centre."""
    frame = np.eye(3)
    frame[:2, :2] = turn * _glyph_side(outline)
    frame[:2, 2] = centre - frame[:2, :2] @ np.array([0.5, 0.5])
    return frame
