"""3x3 transforms, boxes, and a transform told in words.

Transforms act on homogeneous column points (x, y, 1) in pixels, x to the right and y down, so that a positive
rotation turns clockwise as seen. A pixel's centre lies at whole numbers (OpenCV's convention).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinscope.types import Box, Matrix

Transform = NDArray[np.float64]


class Parts(NamedTuple):
    """A transform taken apart at one point: mirror left-right first, then rotation, then scale and the rest.

    `angle` in degrees, clockwise, in (-180, 180]; `scale` is the geometric mean; `anisotropy` >= 1 is the ratio of
    the two singular values of the Jacobian; `perspective` is the relative change of scale across the region.
    """

    mirrored: bool
    angle: float
    scale: float
    anisotropy: float
    perspective: float


def apply(transform: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Map points (N, 2) by a 3x3 transform -> (N, 2) float64; points at infinity become inf."""
    flat = np.asarray(points, np.float64).reshape(-1, 2)
    mapped = np.column_stack([flat, np.ones(len(flat))]) @ np.asarray(transform, np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        out: NDArray[np.float64] = mapped[:, :2] / mapped[:, 2:3]
    return out


def corners(box: Sequence[float]) -> NDArray[np.float64]:
    """Return the corners (4, 2) of a box, clockwise from the top left."""
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def pixel_corners(pixels: ArrayLike) -> NDArray[np.float64]:
    """Return the corners (4 N, 2) of pixels (N, 2), each (x, y) of its upper left one."""
    whole = np.asarray(pixels, np.float64)
    return np.concatenate([whole + corner for corner in ((0, 0), (1, 0), (1, 1), (0, 1))])


def bounds(points: ArrayLike) -> Box:
    """Return the smallest box that holds points (N, 2)."""
    flat = np.asarray(points, np.float64).reshape(-1, 2)
    (x0, y0), (x1, y1) = flat.min(0), flat.max(0)
    return Box(float(x0), float(y0), float(x1), float(y1))


def intersection(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the area that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Return intersection over union of two boxes in [0, 1]; 0 when both are empty."""
    shared = intersection(a, b)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def clip(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Return the box cut to a picture of `size` (height, width)."""
    height, width = size
    x0, x1 = (min(max(v, 0.0), float(width)) for v in (box[0], box[2]))
    y0, y1 = (min(max(v, 0.0), float(height)) for v in (box[1], box[3]))
    return Box(x0, y0, max(x0, x1), max(y0, y1))


def scaling(sx: float, sy: float | None = None) -> Transform:
    """Return the transform of pixel centres when a picture is resized by (sx, sy)."""
    sy = sx if sy is None else sy
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], np.float64)


def mirror(width: int) -> Transform:
    """Return the left-right mirror of a picture `width` px wide."""
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], np.float64)


def jacobian(transform: ArrayLike, at: Sequence[float]) -> NDArray[np.float64]:
    """Return the 2x2 derivative of a transform at the point (x, y)."""
    matrix = np.asarray(transform, np.float64)
    mapped = matrix @ np.array([at[0], at[1], 1.0])
    w = mapped[2]
    x, y = mapped[0] / w, mapped[1] / w
    return np.array(
        [
            [(matrix[0, 0] - x * matrix[2, 0]) / w, (matrix[0, 1] - x * matrix[2, 1]) / w],
            [(matrix[1, 0] - y * matrix[2, 0]) / w, (matrix[1, 1] - y * matrix[2, 1]) / w],
        ]
    )


def take_apart(transform: ArrayLike, region: Sequence[float]) -> Parts:
    """Take a transform apart over a region (box in px of a); the mirror is left-right and comes first."""
    centre = ((region[0] + region[2]) / 2, (region[1] + region[3]) / 2)
    local = jacobian(transform, centre)
    mirrored = bool(np.linalg.det(local) < 0)
    proper = local @ np.diag([-1.0, 1.0]) if mirrored else local
    u, s, vt = np.linalg.svd(proper)
    rotation = u @ vt
    angle = math.degrees(math.atan2(rotation[1, 0], rotation[0, 0]))
    areas = [abs(np.linalg.det(jacobian(transform, point))) for point in corners(region)]
    spread = math.sqrt(max(areas) / max(min(areas), 1e-12)) - 1.0
    return Parts(mirrored, angle, math.sqrt(s[0] * s[1]), s[0] / max(s[1], 1e-12), spread)


def words(transform: ArrayLike, region: Sequence[float], cropped: bool = False) -> list[str]:
    """Tell a transform (a px -> b px) in words, in the order in which it is applied to a.

    Whole turns and mirrors are named first ("mirrored left-right", "rotated 90° clockwise"), then scale, then what
    is left of shear and perspective; nothing is said of what is below the precision of an alignment.
    """
    parts = take_apart(transform, region)
    angle = parts.angle
    out: list[str] = []
    if parts.mirrored and abs(abs(angle) - 180) < 2:
        out.append("mirrored top-bottom")
        angle = angle - math.copysign(180, angle)
    elif parts.mirrored:
        out.append("mirrored left-right")
    if abs(angle) >= 0.5:
        quarter = round(angle / 90) * 90
        shown = quarter if abs(angle - quarter) < 0.5 else round(angle, 1)
        if abs(shown) == 180:
            out.append("rotated 180°")
        else:
            out.append(f"rotated {abs(shown):g}° {'clockwise' if shown > 0 else 'anticlockwise'}")
    if abs(parts.scale - 1) >= 0.015:
        out.append(f"scaled to {parts.scale * 100:.0f} %")
    if parts.anisotropy >= 1.03:
        out.append(f"stretched or sheared by {(parts.anisotropy - 1) * 100:.0f} %")
    if parts.perspective >= 0.04:
        out.append(f"perspective changed by {parts.perspective * 100:.0f} %")
    if cropped:
        out.append("cropped")
    return out


def as_matrix(transform: ArrayLike) -> Matrix:
    """Return a transform as a record's matrix, scaled so that its last entry is 1."""
    matrix = np.asarray(transform, np.float64)
    matrix = matrix / matrix[2, 2]
    rows = [tuple(float(round(value, 9)) for value in row) for row in matrix]
    return (rows[0], rows[1], rows[2])  # type: ignore[return-value]
