"""Smooth displacements: fields that are drawn, applied, inverted and told apart from what a 3x3 transform can say.

A field is float32 (H, W, 2), in px, on the pixels of the result: result[y, x] = source[y + dy, x + dx], as OpenCV's
remap takes it. Its inverse lives on the pixels of the source and says where each of them went.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.manipulate.record import Image, Manipulated, Mask, Rng, Transform, done

Field = NDArray[np.float32]


class Move(NamedTuple):
    """How content moves: result[q] = source[transform^-1(q + field[q])]; `field` (H, W, 2) px or None."""

    transform: Transform
    field: Field | None = None


def grid(size: tuple[int, int]) -> Field:
    """Return the points (x, y) of all pixels of a picture of `size` (height, width): float32 (H, W, 2)."""
    y, x = np.indices(size, np.float32)
    return np.stack([x, y], 2)


def smooth_field(size: tuple[int, int], rng: Rng, reach_px: float, grain_px: float) -> Field:
    """Return a random smooth field whose largest displacement is `reach_px`, with waves of about `grain_px`."""
    nodes = tuple(max(4, round(n / grain_px) + 3) for n in size)
    coarse = rng.standard_normal((*nodes, 2)).astype(np.float32)
    fine = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    most = float(np.sqrt((fine**2).sum(2).max()))
    return np.asarray(fine * np.float32(reach_px / max(most, 1e-6)), np.float32)


def bend(
    image: Image, rng: Rng, reach_px: float | None = None, grain_px: float | None = None
) -> tuple[Manipulated, Move]:
    """Warp by a smooth random field: `reach_px` at most (default 1-4 % of the side), waves of `grain_px` (20-60 %).

    Returns the record, whose transform is the identity, and the move with the field. Outside the picture it is
    continued by reflection.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    reach = side * rng.uniform(0.01, 0.04) if reach_px is None else reach_px
    grain = side * rng.uniform(0.2, 0.6) if grain_px is None else grain_px
    move = Move(np.eye(3), smooth_field((height, width), rng, reach, grain))
    return done(displaced(image, move)), move


def displaced(image: Image, move: Move, how: int = cv2.INTER_CUBIC) -> Image:
    """Return the picture moved (same size), sampled once; outside it is continued by reflection."""
    at = grid((image.shape[0], image.shape[1]))
    if move.field is not None:
        at = at + move.field
    at = through(np.linalg.inv(move.transform), at)
    return np.asarray(cv2.remap(image, at, None, how, borderMode=cv2.BORDER_REFLECT_101), np.float32)


def through(transform: NDArray[Any], points: Field) -> Field:
    """Return points (..., 2) px after a 3x3 transform, float32."""
    if np.array_equal(transform, np.eye(3)):
        return points
    flat = points.reshape(-1, 1, 2)
    return np.asarray(cv2.perspectiveTransform(flat, transform), np.float32).reshape(points.shape)


def carried(points: Field, move: Move, rounds: int = 12, slack_px: float = 0.1) -> tuple[Field, Mask]:
    """Return where points (H, W, 2) of the source come to lie in the result, and for which of them that is sure.

    Solves q + field[q] = transform(p) by fixed-point iteration. Not sure is what has not come within `slack_px` after
    `rounds`: the field folds there, and the place is shown several times or not at all.
    """
    aim = through(move.transform, points)
    if move.field is None:
        return aim, np.ones(points.shape[:2], np.bool_)
    at, here = aim, _looked_up(move.field, aim)
    error = np.zeros_like(aim)
    for number in range(rounds):
        at = aim - here if number < 3 else at - np.float32(0.7) * error
        here = _looked_up(move.field, at)
        error = at + here - aim
        if number > 1 and float(np.abs(error).max()) < 0.2 * slack_px:
            break
    return at, (np.abs(error[..., 0]) < slack_px) & (np.abs(error[..., 1]) < slack_px)


def _looked_up(field: Field, at: Field) -> Field:
    return np.asarray(cv2.remap(field, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
