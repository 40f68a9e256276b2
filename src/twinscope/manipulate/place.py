"""Manipulations of place: mirror, rotation, scale, crop, pad, perspective."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.manipulate.record import Image, Manipulated, Mask, Rng, Transform, done


def warp(
    image: Image, transform: Transform, size: tuple[int, int] | None = None, fill: float | None = 0.0
) -> Manipulated:
    """Warp by a 3x3 transform (source px -> result px), bicubic, smoothed first where it shrinks.

    `size` is (height, width) of the result, by default that of the image. `fill` is the value outside the source;
    None continues the picture by reflection, where a side is 1 px by repeating it.
    """
    height, width = size or (image.shape[0], image.shape[1])
    shrink = _local_scale(transform, (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2)
    source: NDArray[Any] = image
    if shrink < 0.95:
        source = cv2.GaussianBlur(image, (0, 0), 0.45 * float(np.sqrt(1 / shrink**2 - 1)))
    outside = cv2.BORDER_REFLECT_101 if min(image.shape[:2]) > 1 else cv2.BORDER_REPLICATE  # 1 px cannot be reflected
    border = outside if fill is None else cv2.BORDER_CONSTANT
    value = (fill or 0.0,) * 4
    flags = cv2.INTER_CUBIC
    out = cv2.warpPerspective(source, transform, (width, height), flags=flags, borderMode=border, borderValue=value)
    return done(out, transform)


def warp_mask(mask: Mask, transform: Transform, size: tuple[int, int]) -> Mask:
    """Carry a mask (bool HxW) through a transform: True wherever an edited pixel has a share in the result."""
    if not mask.any():
        return np.zeros(size, np.bool_)
    if np.array_equal(transform, np.eye(3)) and mask.shape == size:
        return mask
    whole = np.array_equal(transform, np.rint(transform)) and np.array_equal(transform[2], [0, 0, 1])
    if whole and np.array_equal(np.sort(np.abs(transform[:2, :2]), axis=None), [0, 0, 1, 1]):
        flat = cv2.warpPerspective(mask.astype(np.uint8), transform, size[::-1], flags=cv2.INTER_NEAREST)
        return np.asarray(flat > 0)
    shrink = min(1.0, _local_scale(transform, (mask.shape[1] - 1) / 2, (mask.shape[0] - 1) / 2))
    reach = 2 * int(np.ceil(2.0 / shrink)) + 1
    wide = cv2.dilate(mask.astype(np.float32), np.ones((reach, reach), np.uint8))
    return np.asarray(cv2.warpPerspective(wide, transform, size[::-1], flags=cv2.INTER_LINEAR) > 0)


def reflect(image: Image, rng: Rng, axis: Literal["left-right", "up-down"] | None = None) -> Manipulated:
    """Mirror left-right or up-down; exact."""
    axis = axis or ("left-right" if rng.random() < 0.5 else "up-down")
    height, width = image.shape[:2]
    if axis == "left-right":
        return done(image[:, ::-1], np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], np.float64))
    return done(image[::-1], np.array([[1, 0, 0], [0, -1, height - 1], [0, 0, 1]], np.float64))


def rotate(
    image: Image,
    rng: Rng,
    angle: float | None = None,
    fit: Literal["inner", "same", "expand"] = "inner",
    fill: float | None = 0.0,
) -> Manipulated:
    """Rotate by `angle` degrees counter-clockwise as seen (default U(-180, 180)); multiples of 90 are exact.

    `fit`: "inner" keeps the largest upright rectangle of the picture's own aspect without filled corners, "same" keeps
    the size, "expand" shows every source pixel.
    """
    angle = rng.uniform(-180, 180) if angle is None else angle
    height, width = image.shape[:2]
    if angle % 90 == 0:
        return _quarter_turns(image, int(angle // 90) % 4)
    cos, sin = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    if fit == "same":
        size = (height, width)
    elif fit == "expand":
        size = (int(np.ceil(width * sin + height * cos)), int(np.ceil(width * cos + height * sin)))
    else:
        share = min(width / (width * cos + height * sin), height / (width * sin + height * cos))
        size = (max(1, int(height * share)), max(1, int(width * share)))
    return warp(image, _about_centre(image, size, angle, 1.0), size, fill)


def scale(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Scale by `factor` (default U(.5, 2)): area filter when shrinking, bicubic when growing."""
    factor = rng.uniform(0.5, 2.0) if factor is None else factor
    height, width = image.shape[:2]
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return _resized(image, size)


def crop(
    image: Image, rng: Rng, share: float | None = None, box: tuple[int, int, int, int] | None = None
) -> Manipulated:
    """Keep a part: `box` (x0, y0, x1, y1) px, or a random place holding `share` of the area (default U(.25, .9))."""
    height, width = image.shape[:2]
    if box is None:
        side = float(np.sqrt(rng.uniform(0.25, 0.9) if share is None else share))
        new_h, new_w = max(1, round(height * side)), max(1, round(width * side))
        x0, y0 = int(rng.integers(0, width - new_w + 1)), int(rng.integers(0, height - new_h + 1))
        box = (x0, y0, x0 + new_w, y0 + new_h)
    x0, y0, x1, y1 = box
    return done(image[y0:y1, x0:x1], np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]], np.float64))


def pad(
    image: Image, rng: Rng, margins: tuple[int, int, int, int] | None = None, fill: float | None = None
) -> Manipulated:
    """Add `margins` (left, top, right, bottom px, default each up to 10 % of that side) of grey `fill`.

    By default the fill is black, white or the picture's mean grey. The result is larger than the picture.
    """
    height, width = image.shape[:2]
    if margins is None:
        left, top, right, bottom = (int(rng.integers(0, int(0.1 * n) + 1)) for n in (width, height, width, height))
    else:
        left, top, right, bottom = margins
    value = (0.0, 1.0, float(image.mean()))[int(rng.integers(3))] if fill is None else fill
    out = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(value,) * 4)
    return done(out, np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64))


def perspective(image: Image, rng: Rng, shift: float | None = None, fill: float | None = None) -> Manipulated:
    """Move each corner by up to `shift` of the shorter side (default .08), uniformly in x and y."""
    reach = (0.08 if shift is None else shift) * min(image.shape[:2])
    return warp(image, corner_transform(image.shape[:2], rng.uniform(-reach, reach, (4, 2))), fill=fill)


def similarity(
    image: Image,
    rng: Rng,
    angle: float | None = None,
    factor: float | None = None,
    shift: tuple[float, float] | None = None,
    fill: float | None = None,
) -> Manipulated:
    """Rotate (degrees, default +-45), scale (default .5-1.5) about the centre, translate (default +-8 % of a side)."""
    angle = rng.uniform(-45, 45) if angle is None else angle
    factor = rng.uniform(0.5, 1.5) if factor is None else factor
    dx, dy = rng.uniform(-0.08, 0.08, 2) * image.shape[1::-1] if shift is None else shift
    move = np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], np.float64)
    return warp(image, move @ _about_centre(image, (image.shape[0], image.shape[1]), angle, factor), fill=fill)


def corner_transform(shape: tuple[int, ...], shifts: NDArray[np.float64]) -> Transform:
    """Return the transform that moves corners (clockwise from top-left) by `shifts` (4x2 px); a side of 1 has none."""
    if min(shape[:2]) < 2:
        return np.eye(3)
    bottom, right = shape[0] - 1.0, shape[1] - 1.0
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    moved = (corners + shifts).astype(np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners, moved), np.float64)


def turn_about(angle: float, factor: float, centre: tuple[float, float]) -> Transform:
    """Return a turn by `angle` degrees counter-clockwise as seen and a scaling by `factor` about `centre` (x, y)."""
    out = np.eye(3)
    out[:2] = cv2.getRotationMatrix2D(centre, angle, factor)
    return out


def _about_centre(image: Image, size: tuple[int, int], angle: float, factor: float) -> Transform:
    height, width = image.shape[:2]
    move = np.eye(3)
    move[:2, 2] = (size[1] - width) / 2, (size[0] - height) / 2
    return move @ turn_about(angle, factor, ((width - 1) / 2, (height - 1) / 2))


def _local_scale(transform: Transform, x: float, y: float) -> float:
    w = transform[2] @ (x, y, 1.0)
    value = abs(np.linalg.det(transform)) / max(1e-12, abs(w) ** 3)
    return float(np.sqrt(value))


def _quarter_turns(image: Image, turns: int) -> Manipulated:
    transform = np.eye(3)
    for turn in range(turns):
        right = (image.shape[1] if turn % 2 == 0 else image.shape[0]) - 1
        transform = np.array([[0, 1, 0], [-1, 0, right], [0, 0, 1]], np.float64) @ transform
    return done(np.rot90(image, turns), transform)


def _resized(image: Image, size: tuple[int, int]) -> Manipulated:
    (height, width), (new_h, new_w) = image.shape[:2], size
    fx, fy = new_w / width, new_h / height
    transform = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]], np.float64)
    how = cv2.INTER_AREA if new_h * new_w < height * width else cv2.INTER_CUBIC
    return done(cv2.resize(image, (new_w, new_h), interpolation=how), transform)
