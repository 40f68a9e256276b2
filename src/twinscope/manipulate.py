"""Manipulations of pictures, each with its exact transform and the mask of its local edits.

Every manipulation is a function `(image, rng, **strength) -> Manipulated`: `image` is float32 in [0, 1], HxW or HxWx3
RGB; `rng` alone decides what is not given as a strength. Training, tests and benchmarks use the same functions.

Points are (x, y), the centre of the first pixel is (0, 0). A transform maps source px to result px. A mask is True
where local content was edited; outside it a purely local edit changes nothing.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Transform = NDArray[np.float64]
Rng = np.random.Generator


class Manipulated(NamedTuple):
    """A manipulated picture: float32 [0, 1] image, 3x3 float64 source px -> result px, bool HxW of local edits."""

    image: Image
    transform: Transform
    mask: Mask


Step = Callable[[Image, Rng], Manipulated]


def chain(image: Image, rng: Rng, steps: Sequence[Step]) -> Manipulated:
    """Apply manipulations one after the other; transforms are multiplied and masks carried along."""
    whole = Manipulated(image, np.eye(3), np.zeros(image.shape[:2], np.bool_))
    for step in steps:
        part = step(whole.image, rng)
        shape = (part.image.shape[0], part.image.shape[1])
        mask = part.mask | warp_mask(whole.mask, part.transform, shape)
        whole = Manipulated(part.image, part.transform @ whole.transform, mask)
    return whole


# ---------------------------------------------------------------------------------------------- geometry


def warp(
    image: Image, transform: Transform, size: tuple[int, int] | None = None, fill: float | None = 0.0
) -> Manipulated:
    """Warp by a 3x3 transform (source px -> result px), bicubic, smoothed first where it shrinks.

    `size` is (height, width) of the result, by default that of the image. `fill` is the value outside the source;
    None continues the picture by reflection.
    """
    height, width = size or (image.shape[0], image.shape[1])
    shrink = _local_scale(transform, (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2)
    source: NDArray[Any] = image
    if shrink < 0.95:
        source = cv2.GaussianBlur(image, (0, 0), 0.45 * float(np.sqrt(1 / shrink**2 - 1)))
    border = cv2.BORDER_REFLECT_101 if fill is None else cv2.BORDER_CONSTANT
    value = (fill or 0.0,) * 4
    flags = cv2.INTER_CUBIC
    out = cv2.warpPerspective(source, transform, (width, height), flags=flags, borderMode=border, borderValue=value)
    return _done(out, transform)


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
        return _done(image[:, ::-1], np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], np.float64))
    return _done(image[::-1], np.array([[1, 0, 0], [0, -1, height - 1], [0, 0, 1]], np.float64))


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
    return _done(image[y0:y1, x0:x1], np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]], np.float64))


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
    """Return the transform that moves the corners (clockwise from top-left) by `shifts` (4x2 px)."""
    bottom, right = shape[0] - 1.0, shape[1] - 1.0
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    moved = (corners + shifts).astype(np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners, moved), np.float64)


# -------------------------------------------------------------------------------------------------- tone


def gamma(image: Image, rng: Rng, exponent: float | None = None) -> Manipulated:
    """Raise to a power (default log-uniform in .5-2)."""
    exponent = float(np.exp(rng.uniform(np.log(0.5), np.log(2)))) if exponent is None else exponent
    return _done(np.power(image, np.float32(exponent)))


def contrast(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Stretch around the mean grey value by `factor` (default U(.5, 1.5)), clipped to [0, 1]."""
    factor = rng.uniform(0.5, 1.5) if factor is None else factor
    middle = image.mean()
    return _done((image - middle) * np.float32(factor) + middle)


def brightness(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Multiply by `factor` (default U(.7, 1.3)), clipped to [0, 1]."""
    return _done(image * np.float32(rng.uniform(0.7, 1.3) if factor is None else factor))


def invert(image: Image, rng: Rng) -> Manipulated:
    """Return the negative; it takes no strength and no random draw."""
    return _done(1 - image)


def one_channel(image: Image, rng: Rng, channel: int | None = None) -> Manipulated:
    """Return one channel (0-2) of an RGB picture as grey; a grey picture comes back unchanged."""
    index = int(rng.integers(0, 3)) if channel is None else channel
    return _done(image if image.ndim == 2 else image[..., index])


def merge_channel(image: Image, rng: Rng, channel: int | None = None, other: Image | None = None) -> Manipulated:
    """Put the picture (grey) into one channel of an RGB merge; `other` (grey, same size) fills the next channel."""
    index = int(rng.integers(0, 3)) if channel is None else channel
    out = np.zeros((*image.shape[:2], 3), np.float32)
    out[..., index] = _luma(image)
    if other is not None:
        out[..., (index + 1) % 3] = _luma(other)
    return _done(out)


def false_colour(image: Image, rng: Rng, colour: tuple[float, float, float] | None = None) -> Manipulated:
    """Paint the grey values from black to `colour` (RGB in [0, 1]; by default a usual one of microscopy)."""
    usual = [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.4, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0)]
    chosen = usual[int(rng.integers(0, len(usual)))] if colour is None else colour
    return _done(_luma(image)[..., None] * np.array(chosen, np.float32))


# --------------------------------------------------------------------------------------------- degradation


def jpeg(image: Image, rng: Rng, quality: int | None = None) -> Manipulated:
    """Compress as JPEG and decode (default quality 10-95)."""
    quality = int(rng.integers(10, 96)) if quality is None else quality
    return _done(_decoded_jpeg(image, quality))


def blur(image: Image, rng: Rng, sigma_px: float | None = None) -> Manipulated:
    """Blur with a Gaussian (default sigma U(.5, 2) px)."""
    return _done(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0) if sigma_px is None else sigma_px))


def noise(image: Image, rng: Rng, sigma: float | None = None) -> Manipulated:
    """Add Gaussian noise (default sigma U(.01, .06)), clipped to [0, 1]."""
    sigma = rng.uniform(0.01, 0.06) if sigma is None else sigma
    return _done(image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32))


def resample(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Scale down by `factor` (default U(.4, .9)) and back up to the same size."""
    factor = rng.uniform(0.4, 0.9) if factor is None else factor
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=3)
    return _done(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


# ------------------------------------------------------------------------------------------------ drawn over


def letters(
    image: Image, rng: Rng, text: str | None = None, height_px: float | None = None, value: float | None = None
) -> Manipulated:
    """Write `text` (default 1-14 letters) of `height_px` in grey `value` (default black or white) at a random place."""
    if text is None:
        text = "".join(rng.choice(list(string.ascii_letters), int(rng.integers(1, 15))))
    tall = (rng.uniform(0.06, 0.15) * image.shape[0]) if height_px is None else height_px
    factor, thick = tall / 22.0, max(1, round(tall / 12))
    (width, up), down = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, factor, thick)
    x = int(rng.integers(0, max(1, image.shape[1] - width)))
    y = int(rng.integers(min(up, image.shape[0] - 1), max(up + 1, image.shape[0] - down)))
    cover = np.zeros(image.shape[:2], np.uint8)
    cv2.putText(cover, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, factor, (255, 255, 255), thick, cv2.LINE_AA)
    return _painted(image, cover, _ink(rng, value))


def scale_bar(image: Image, rng: Rng, length_px: int | None = None, value: float | None = None) -> Manipulated:
    """Draw a horizontal bar in a lower corner (default 12-30 % of the width), black or white."""
    height, width = image.shape[:2]
    length = int(rng.uniform(0.12, 0.3) * width) if length_px is None else length_px
    thick, margin = max(2, height // 60), max(3, height // 20)
    x0 = width - margin - length if rng.random() < 0.7 else margin
    cover = np.zeros((height, width), np.uint8)
    cover[max(0, height - margin - thick) : height - margin, max(0, x0) : max(0, x0 + length)] = 255
    return _painted(image, cover, _ink(rng, value))


def arrow(image: Image, rng: Rng, length_px: float | None = None, value: float | None = None) -> Manipulated:
    """Draw an arrow with a random place and direction (default 8-20 % of the shorter side), black or white."""
    height, width = image.shape[:2]
    length = rng.uniform(0.08, 0.2) * min(height, width) if length_px is None else length_px
    tip = (int(rng.integers(0, width)), int(rng.integers(0, height)))
    angle = rng.uniform(0, 2 * np.pi)
    tail = (round(tip[0] + length * np.cos(angle)), round(tip[1] + length * np.sin(angle)))
    cover = np.zeros((height, width), np.uint8)
    cv2.arrowedLine(cover, tail, tip, (255, 255, 255), max(1, round(length / 12)), cv2.LINE_AA, 0, 0.4)
    return _painted(image, cover, _ink(rng, value))


def outline(
    image: Image, rng: Rng, box: tuple[int, int, int, int] | None = None, value: float | None = None
) -> Manipulated:
    """Draw the outline of a box: V02's clutter (corner in the top-left half, sides 1/3-1/2, 1-2 px, grey U(0, 1))."""
    height, width = image.shape[:2]
    if box is None:
        x0, y0 = int(rng.integers(0, max(1, width // 2))), int(rng.integers(0, max(1, height // 2)))
        box = (x0, y0, x0 + int(rng.uniform(1 / 3, 1 / 2) * width), y0 + int(rng.uniform(1 / 3, 1 / 2) * height))
    cover = np.zeros((height, width), np.uint8)
    cv2.rectangle(cover, box[:2], (box[2] - 1, box[3] - 1), (255, 255, 255), int(rng.integers(1, 3)))
    return _painted(image, cover, float(rng.uniform(0, 1)) if value is None else value)


def clutter(image: Image, rng: Rng) -> Manipulated:
    """V02's clutter: a quarter rectangle outlines, a quarter text (5-14 letters, 16 px, grey .75-1), half nothing."""
    draw = rng.random()
    if draw < 0.25:
        return outline(image, rng)
    if draw < 0.5:
        text = "".join(rng.choice(list(string.ascii_letters), int(rng.integers(5, 15))))
        return letters(image, rng, text, height_px=16, value=rng.uniform(0.75, 1))
    return _done(image)


# ----------------------------------------------------------------------------------------------- local edits


def erase(
    image: Image,
    rng: Rng,
    centre: tuple[float, float] | None = None,
    radius_px: float | None = None,
    ramp_px: float = 10.0,
    value: float = 0.0,
) -> Manipulated:
    """Erase a disc to `value` with a linear ramp (default: centre in .1-.9, radius .05-.2 of the shorter side)."""
    far = _disc(image, rng, centre, radius_px)
    keep = np.clip(far / max(ramp_px, 1e-6), 0, 1).astype(np.float32)
    return _done(_blend(image, np.float32(value), 1 - keep), mask=keep < 1)


def local_contrast(
    image: Image,
    rng: Rng,
    centre: tuple[float, float] | None = None,
    radius_px: float | None = None,
    factor: float | None = None,
) -> Manipulated:
    """Multiply a disc by `factor` (default 1.5-2), blending to 1 at twice the radius, clipped to 1."""
    gain, mask = _local_gain(image, rng, centre, radius_px, factor)
    return _done(image * (gain if image.ndim == 2 else gain[..., None]), mask=mask)


def clone(
    image: Image,
    rng: Rng,
    box: tuple[int, int, int, int] | None = None,
    to: tuple[int, int] | None = None,
    feather_px: float = 0.0,
) -> Manipulated:
    """Copy the part in `box` of the picture over the place whose top-left corner is `to` (default: both random)."""
    return splice(image, rng, image, box, to, feather_px)


def splice(
    image: Image,
    rng: Rng,
    donor: Image | None = None,
    box: tuple[int, int, int, int] | None = None,
    to: tuple[int, int] | None = None,
    feather_px: float = 0.0,
) -> Manipulated:
    """Paste `box` of `donor` (default: the picture turned by 180 degrees) at `to`, with `feather_px` of blended border.

    `donor` has the image's channels; the default part is 10-30 % of each side, both places random.
    """
    source = np.ascontiguousarray(image[::-1, ::-1]) if donor is None else donor
    height, width = source.shape[:2]
    if box is None:
        side_w, side_h = (max(1, int(rng.uniform(0.1, 0.3) * n)) for n in (width, height))
        x0, y0 = int(rng.integers(0, width - side_w + 1)), int(rng.integers(0, height - side_h + 1))
        box = (x0, y0, x0 + side_w, y0 + side_h)
    x0, y0, x1, y1 = box
    part_h, part_w = min(y1 - y0, image.shape[0]), min(x1 - x0, image.shape[1])
    if to is None:
        to = (int(rng.integers(0, image.shape[1] - part_w + 1)), int(rng.integers(0, image.shape[0] - part_h + 1)))
    part_h, part_w = min(part_h, image.shape[0] - to[1]), min(part_w, image.shape[1] - to[0])
    place = (slice(to[1], to[1] + part_h), slice(to[0], to[0] + part_w))
    alpha = np.ones((part_h, part_w), np.float32)
    if feather_px > 0:
        edge = np.minimum.outer(*(np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) for n in (part_h, part_w)))
        alpha = np.clip(edge / (feather_px + 1), 0, 1).astype(np.float32)
    out = image.copy()
    out[place] = _blend(image[place], source[y0 : y0 + part_h, x0 : x0 + part_w], alpha)
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[place] = True
    return _done(out, mask=mask)


def retouch(
    image: Image, rng: Rng, centre: tuple[float, float] | None = None, radius_px: float | None = None
) -> Manipulated:
    """Cover a disc with content from elsewhere in the picture: brightness matched, border blended."""
    height, width = image.shape[:2]
    far = _disc(image, rng, centre, radius_px)
    inside = far <= 0
    dx, dy = (int(rng.integers(n // 4, max(n // 4 + 1, n - n // 4))) for n in (width, height))
    other = np.roll(image, (dy, dx), (0, 1))
    reach = max(2.0, float(np.sqrt(inside.sum() / np.pi)) / 3)
    alpha = np.clip(1 - far / reach, 0, 1).astype(np.float32)
    ring = (alpha > 0) & ~inside
    if ring.any():
        other = other + (image[ring].mean(0) - other[ring].mean(0))
    return _done(_blend(image, other, alpha), mask=alpha > 0)


# -------------------------------------------------------------------------------------------------- presets


def v02(image: Image, rng: Rng, *, deformed: bool = True, cluttered: bool = True, size: int = 128) -> Manipulated:
    """Apply the deformation of cicconet-2019 (V02) to a source picture (256x256): the `size` centre, deformed.

    In this order, each with p .5 (one in ten pictures is only cropped): reflections, perspective (corners +-20 px),
    similarity (+-45 degrees, .5-1.5, +-20 px); crop and subtract the minimum; JPEG quality 10-49; gamma .5-2; erase or
    local contrast. Then clutter, which anchors have too: `deformed=False` gives the plain centre, cluttered. The three
    geometric steps are one bicubic warp; outside the source lies 0. Lengths in px are for 256 and grow with the source.
    """
    steps = bool(deformed and rng.random() < 0.9)
    transform = v02_transform(image.shape[:2], rng, size) if steps else _centre_crop(image.shape[:2], size)
    out = warp(image, transform, (size, size)).image if steps else _cut(image, size)
    out = out - out.min()
    mask = np.zeros((size, size), np.bool_)
    if steps:
        if rng.random() < 0.5:
            out = _decoded_jpeg(out, int(rng.integers(10, 50)))
        if rng.random() < 0.5:
            out = np.power(out, np.float32(rng.uniform(0.5, 2.0)))
        if rng.random() < 0.5:
            if rng.random() < 0.5:
                out, _, mask = erase(out, rng)
            else:
                gain, mask = _local_gain(out, rng)
                out = out * (gain if out.ndim == 2 else gain[..., None])
                out = out / max(1e-6, float(out.max()))
    if cluttered:
        out, _, drawn = clutter(out, rng)
        mask = mask | drawn
    return _done(out, transform, mask)


def v02_transform(shape: tuple[int, ...], rng: Rng, size: int = 128) -> Transform:
    """Return V02's random geometric transform from a source of `shape` to its `size` centre."""
    height, width = shape[:2]
    reach = 20.0 * min(height, width) / 256
    whole = np.eye(3)
    if rng.random() < 0.5:
        for axis in (0, 1):
            if rng.random() < 0.5:
                mirror = np.eye(3)
                mirror[axis, axis], mirror[axis, 2] = -1, (width, height)[axis] - 1
                whole = mirror @ whole
    if rng.random() < 0.5:
        whole = corner_transform(shape, rng.uniform(-reach, reach, (4, 2))) @ whole
    if rng.random() < 0.5:
        angle, factor = rng.uniform(-45, 45), rng.uniform(0.5, 1.5)
        move = np.eye(3)
        move[:2, 2] = rng.uniform(-reach, reach, 2)
        whole = move @ _turn(angle, factor, ((width - 1) / 2, (height - 1) / 2)) @ whole
    return _centre_crop(shape, size) @ whole


# -------------------------------------------------------------------------------------------------- helpers


def _done(image: NDArray[Any], transform: Transform | None = None, mask: Mask | None = None) -> Manipulated:
    clipped = np.ascontiguousarray(np.clip(image, 0, 1), dtype=np.float32)
    whole = np.eye(3) if transform is None else transform
    return Manipulated(clipped, whole, np.zeros(clipped.shape[:2], np.bool_) if mask is None else np.asarray(mask))


def _local_scale(transform: Transform, x: float, y: float) -> float:
    w = transform[2] @ (x, y, 1.0)
    value = abs(np.linalg.det(transform)) / max(1e-12, abs(w) ** 3)
    return float(np.sqrt(value))


def _turn(angle: float, factor: float, centre: tuple[float, float]) -> Transform:
    out = np.eye(3)
    out[:2] = cv2.getRotationMatrix2D(centre, angle, factor)
    return out


def _about_centre(image: Image, size: tuple[int, int], angle: float, factor: float) -> Transform:
    height, width = image.shape[:2]
    move = np.eye(3)
    move[:2, 2] = (size[1] - width) / 2, (size[0] - height) / 2
    return move @ _turn(angle, factor, ((width - 1) / 2, (height - 1) / 2))


def _quarter_turns(image: Image, turns: int) -> Manipulated:
    transform = np.eye(3)
    for turn in range(turns):
        right = (image.shape[1] if turn % 2 == 0 else image.shape[0]) - 1
        transform = np.array([[0, 1, 0], [-1, 0, right], [0, 0, 1]], np.float64) @ transform
    return _done(np.rot90(image, turns), transform)


def _resized(image: Image, size: tuple[int, int]) -> Manipulated:
    (height, width), (new_h, new_w) = image.shape[:2], size
    fx, fy = new_w / width, new_h / height
    transform = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]], np.float64)
    how = cv2.INTER_AREA if new_h * new_w < height * width else cv2.INTER_CUBIC
    return _done(cv2.resize(image, (new_w, new_h), interpolation=how), transform)


def _centre_crop(shape: tuple[int, ...], size: int) -> Transform:
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)


def _cut(image: Image, size: int) -> Image:
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def _luma(image: Image) -> Image:
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def _decoded_jpeg(image: Image, quality: int) -> Image:
    data = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    data = data if data.ndim == 2 else data[..., ::-1]
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(data), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    back = np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED))
    return (back if back.ndim == 2 else back[..., ::-1]).astype(np.float32) / np.float32(255)


def _ink(rng: Rng, value: float | None) -> float:
    return float(rng.integers(0, 2)) if value is None else float(value)


def _painted(image: Image, cover: NDArray[np.uint8], value: float) -> Manipulated:
    return _done(_blend(image, np.float32(value), cover.astype(np.float32) / np.float32(255)), mask=cover > 0)


def _blend(image: Image, other: Any, alpha: Image) -> Image:
    """Return the image where alpha is 0, bit for bit, and `other` where it is 1."""
    share = alpha if image.ndim == 2 else alpha[..., None]
    return np.asarray(image + share * (other - image), np.float32)


def _disc(image: Image, rng: Rng, centre: tuple[float, float] | None, radius_px: float | None) -> Image:
    """Return the distance in px to the rim of a disc, negative inside."""
    height, width = image.shape[:2]
    if centre is None:
        centre = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height)
    radius = rng.uniform(0.05, 0.2) * min(height, width) if radius_px is None else radius_px
    y, x = np.ogrid[:height, :width]
    return np.asarray(np.hypot(x - centre[0], y - centre[1]) - radius, np.float32)


def _local_gain(
    image: Image,
    rng: Rng,
    centre: tuple[float, float] | None = None,
    radius_px: float | None = None,
    factor: float | None = None,
) -> tuple[Image, Mask]:
    radius = rng.uniform(0.05, 0.2) * min(image.shape[:2]) if radius_px is None else radius_px
    far = _disc(image, rng, centre, radius)
    share = np.clip(1 - far / max(radius, 1e-6), 0, 1)
    gain = 1 + share * ((rng.uniform(1.5, 2.0) if factor is None else factor) - 1)
    return gain.astype(np.float32), np.asarray(share > 0)
