"""Local edits: what is drawn over a picture, and what is erased, copied or retouched in it."""

from __future__ import annotations

import string

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.manipulate.record import Image, Manipulated, Mask, Rng, blend, done


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
    return painted(image, cover, _ink(rng, value))


def scale_bar(image: Image, rng: Rng, length_px: int | None = None, value: float | None = None) -> Manipulated:
    """Draw a horizontal bar in a lower corner (default 12-30 % of the width), black or white."""
    height, width = image.shape[:2]
    length = int(rng.uniform(0.12, 0.3) * width) if length_px is None else length_px
    thick, margin = max(2, height // 60), max(3, height // 20)
    x0 = width - margin - length if rng.random() < 0.7 else margin
    cover = np.zeros((height, width), np.uint8)
    cover[max(0, height - margin - thick) : height - margin, max(0, x0) : max(0, x0 + length)] = 255
    return painted(image, cover, _ink(rng, value))


def arrow(image: Image, rng: Rng, length_px: float | None = None, value: float | None = None) -> Manipulated:
    """Draw an arrow with a random place and direction (default 8-20 % of the shorter side), black or white."""
    height, width = image.shape[:2]
    length = rng.uniform(0.08, 0.2) * min(height, width) if length_px is None else length_px
    tip = (int(rng.integers(0, width)), int(rng.integers(0, height)))
    angle = rng.uniform(0, 2 * np.pi)
    tail = (round(tip[0] + length * np.cos(angle)), round(tip[1] + length * np.sin(angle)))
    cover = np.zeros((height, width), np.uint8)
    cv2.arrowedLine(cover, tail, tip, (255, 255, 255), max(1, round(length / 12)), cv2.LINE_AA, 0, 0.4)
    return painted(image, cover, _ink(rng, value))


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
    return painted(image, cover, float(rng.uniform(0, 1)) if value is None else value)


def clutter(image: Image, rng: Rng) -> Manipulated:
    """V02's clutter: a quarter rectangle outlines, a quarter text (5-14 letters, 16 px, grey .75-1), half nothing."""
    draw = rng.random()
    if draw < 0.25:
        return outline(image, rng)
    if draw < 0.5:
        text = "".join(rng.choice(list(string.ascii_letters), int(rng.integers(5, 15))))
        return letters(image, rng, text, height_px=16, value=rng.uniform(0.75, 1))
    return done(image)


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
    return done(blend(image, np.float32(value), 1 - keep), mask=keep < 1)


def local_contrast(
    image: Image,
    rng: Rng,
    centre: tuple[float, float] | None = None,
    radius_px: float | None = None,
    factor: float | None = None,
) -> Manipulated:
    """Multiply a disc by `factor` (default 1.5-2), blending to 1 at twice the radius, clipped to 1."""
    gain, mask = local_gain(image, rng, centre, radius_px, factor)
    return done(image * (gain if image.ndim == 2 else gain[..., None]), mask=mask)


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
    out[place] = blend(image[place], source[y0 : y0 + part_h, x0 : x0 + part_w], alpha)
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[place] = True
    return done(out, mask=mask)


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
    return done(blend(image, other, alpha), mask=alpha > 0)


def painted(image: Image, cover: NDArray[np.uint8], value: float) -> Manipulated:
    """Blend the grey `value` in where `cover` (uint8 HxW) is set: 255 hides the picture."""
    return done(blend(image, np.float32(value), cover.astype(np.float32) / np.float32(255)), mask=cover > 0)


def _ink(rng: Rng, value: float | None) -> float:
    return float(rng.integers(0, 2)) if value is None else float(value)


def _disc(image: Image, rng: Rng, centre: tuple[float, float] | None, radius_px: float | None) -> Image:
    """Return the distance in px to the rim of a disc, negative inside."""
    height, width = image.shape[:2]
    if centre is None:
        centre = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height)
    radius = rng.uniform(0.05, 0.2) * min(height, width) if radius_px is None else radius_px
    y, x = np.ogrid[:height, :width]
    return np.asarray(np.hypot(x - centre[0], y - centre[1]) - radius, np.float32)


def local_gain(
    image: Image,
    rng: Rng,
    centre: tuple[float, float] | None = None,
    radius_px: float | None = None,
    factor: float | None = None,
) -> tuple[Image, Mask]:
    """Return the factor of each pixel for a local change of contrast (HxW), and where it is not 1."""
    radius = rng.uniform(0.05, 0.2) * min(image.shape[:2]) if radius_px is None else radius_px
    far = _disc(image, rng, centre, radius)
    share = np.clip(1 - far / max(radius, 1e-6), 0, 1)
    gain = 1 + share * ((rng.uniform(1.5, 2.0) if factor is None else factor) - 1)
    return gain.astype(np.float32), np.asarray(share > 0)
