"""The `figure` preset: all that pictures suffer on their way into a published figure, in one composable chain."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from twinscope.manipulate import local, tone
from twinscope.manipulate.place import corner_transform, turn_about, warp
from twinscope.manipulate.presets import chain
from twinscope.manipulate.record import Image, Manipulated, Rng, Step, Transform, done, luma

Box = tuple[int, int, int, int]


def figure(
    image: Image, rng: Rng, *, frame: Box | None = None, size: tuple[int, int] | None = None, donor: Image | None = None
) -> Manipulated:
    """Treat a picture as a figure may: place, local edits, tone and colour, overlays, compression, in this order.

    `frame` (x0, y0, x1, y1 px, default all) is the part of `image` that is the picture; what lies around it is context
    that turning may bring in. `size` (height, width) is that of the result; by default it follows from crop and scale.
    `donor` (any picture) gives the pieces that are spliced in; by default they come from the picture itself. All of the
    geometry is one warp. The result is grey or RGB whatever the picture was: channels are taken out, grey is painted.
    """

    def place(source: Image, rng: Rng) -> Manipulated:
        transform, shape = figure_transform(source.shape, rng, frame, size)
        fill = (None, None, 0.0, 1.0)[int(rng.integers(4))]
        return warp(source, transform, shape, fill)

    steps: list[Step] = [place]
    for share, step in changes(donor):
        if rng.random() < share:
            steps.append(step)
    return chain(image, rng, steps)


def figure_transform(
    shape: tuple[int, ...], rng: Rng, frame: Box | None = None, size: tuple[int, int] | None = None
) -> tuple[Transform, tuple[int, int]]:
    """Return the `figure` preset's random geometry, source px to result px, and the result's (height, width).

    Mirror (.3), quarter turns (.25), turns by a few (.15) or any degrees (.15), perspective (.15), another aspect (.2),
    crop to .55-1 of each side (.5), scale .5-1.5 (.4).
    """
    x0, y0, x1, y1 = frame or (0, 0, shape[1], shape[0])
    wide, tall = x1 - x0, y1 - y0
    out = _moved(-(x0 + x1 - 1) / 2, -(y0 + y1 - 1) / 2)
    if rng.random() < 0.15:
        reach = 0.06 * min(wide, tall)
        centred = corner_transform((tall, wide), rng.uniform(-reach, reach, (4, 2)))
        out = _moved(-(wide - 1) / 2, -(tall - 1) / 2) @ centred @ _moved((wide - 1) / 2, (tall - 1) / 2) @ out
    if rng.random() < 0.3:
        out = np.diag([-1.0, 1, 1]) @ out
    if rng.random() < 0.2:
        aspect = float(np.exp(rng.normal(0, 0.1)))
        out = np.diag([aspect, 1 / aspect, 1]) @ out
    draw = rng.random()
    turn = 90.0 * rng.integers(1, 4) if draw < 0.25 else 0.0
    if 0.25 <= draw < 0.55:
        turn = float(rng.normal(0, 6)) if draw < 0.4 else float(rng.uniform(0, 360))
    out = _whole_turn(turn) @ out
    if turn % 180 == 90:
        wide, tall = tall, wide
    if frame is None and turn % 90 != 0 and rng.random() < 0.6:  # the largest upright part without filled corners
        cos, sin = abs(np.cos(np.radians(turn))), abs(np.sin(np.radians(turn)))
        share = min(wide / (wide * cos + tall * sin), tall / (wide * sin + tall * cos))
        wide, tall = (min(n, max(8, int(n * share))) for n in (wide, tall))
    part_w, part_h = wide, tall
    if rng.random() < 0.5:
        part_w, part_h = (min(n, max(8, round(n * rng.uniform(0.55, 1)))) for n in (wide, tall))
    left, top = int(rng.integers(0, wide - part_w + 1)), int(rng.integers(0, tall - part_h + 1))
    out = _moved((wide - 1) / 2 - left, (tall - 1) / 2 - top) @ out
    factor = float(np.exp(rng.uniform(np.log(0.5), np.log(1.5)))) if rng.random() < 0.4 else 1.0
    new_h, new_w = size or (max(8, round(part_h * factor)), max(8, round(part_w * factor)))
    fx, fy = new_w / part_w, new_h / part_h
    return np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]]) @ out, (new_h, new_w)


def changes(donor: Image | None) -> list[tuple[float, Step]]:
    """Return what `figure` does after the geometry: the odds of each step, in the order in which they are taken."""
    return [
        (0.08, local.erase),
        (0.08, local.local_contrast),
        (0.08, feathered),
        (0.06, partial(feathered, donor=donor)),
        (0.1, local.retouch),
        (0.15, _colour),
        (0.12, tone.invert),
        (0.35, tone.gamma),
        (0.35, tone.contrast),
        (0.3, tone.brightness),
        (0.2, panel_letter),
        (0.12, local.letters),
        (0.15, local.scale_bar),
        (0.12, local.arrow),
        (0.1, local.outline),
        (0.15, tone.blur),
        (0.15, tone.noise),
        (0.2, tone.resample),
        (0.15, screenshot),
        (0.5, repeated_jpeg),
    ]


def panel_letter(image: Image, rng: Rng) -> Manipulated:
    """Write a panel's letter (A, b, (c)) into a corner, black or white, half of the time on a box of the other."""
    height, width = image.shape[:2]
    letter = "ABCDEFGHabcdefgh"[int(rng.integers(16))]
    text = f"({letter})" if rng.random() < 0.2 else letter
    tall = max(6.0, rng.uniform(0.08, 0.18) * height)
    scale, thick = tall / 22.0, max(1, round(tall / 9))
    (text_w, text_h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    margin = max(1, round(tall / 4))
    x = margin if rng.random() < 0.8 else max(0, width - margin - text_w)
    y = margin + text_h if rng.random() < 0.85 else height - margin
    ink, boxed, cover = float(rng.integers(2)), rng.random() < 0.5, np.zeros((height, width), np.uint8)
    out, mask = image, np.zeros((height, width), np.bool_)
    if boxed:
        inside = (slice(max(0, y - text_h - margin), y + margin), slice(max(0, x - margin), x + text_w + margin))
        out = image.copy()
        out[inside], mask[inside] = 1 - ink, True
    cv2.putText(cover, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thick, cv2.LINE_AA)
    painted = local.painted(out, cover, ink)
    return done(painted.image, mask=mask | painted.mask)


def sharpen(image: Image, rng: Rng, amount: float | None = None) -> Manipulated:
    """Sharpen by an unsharp mask of 1 px (default amount U(.3, 1.5)), clipped to [0, 1]."""
    amount = rng.uniform(0.3, 1.5) if amount is None else amount
    return done(image + np.float32(amount) * (image - cv2.GaussianBlur(image, (0, 0), 1.0)))


def screenshot(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Show at another size (default factor U(.5, 1.6)), sharpen, quantise to 8 bit, and bring back to the size."""
    factor = rng.uniform(0.5, 1.6) if factor is None else factor
    height, width = image.shape[:2]
    how = cv2.INTER_AREA if factor < 1 else (cv2.INTER_NEAREST_EXACT, cv2.INTER_LINEAR)[int(rng.integers(2))]
    shown = cv2.resize(image, (max(2, round(width * factor)), max(2, round(height * factor))), interpolation=how)
    shown = sharpen(np.asarray(shown, np.float32), rng).image if rng.random() < 0.5 else shown
    shown = np.rint(np.clip(shown, 0, 1) * 255).astype(np.float32) / np.float32(255)
    return done(cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR))


def repeated_jpeg(image: Image, rng: Rng, times: int | None = None) -> Manipulated:
    """Save as JPEG one to three times, at qualities 20-95."""
    out = image
    for _ in range(int(rng.integers(1, 4)) if times is None else times):
        out = tone.decoded_jpeg(out, int(rng.integers(20, 96)))
    return done(out)


def feathered(image: Image, rng: Rng, donor: Image | None = None) -> Manipulated:
    """Paste a part of `donor` (default: of the picture itself) with a hard or blended border (0, 2 or 6 px)."""
    feather = float(rng.choice([0.0, 2.0, 6.0]))
    if donor is None:
        return local.clone(image, rng, feather_px=feather)
    return local.splice(image, rng, _like(donor, image), feather_px=feather)


def _like(donor: Image, image: Image) -> Image:
    """Return the donor with the picture's channels, at least as large as the picture."""
    height, width = (max(a, b) for a, b in zip(donor.shape[:2], image.shape[:2], strict=True))
    if (height, width) != donor.shape[:2]:
        donor = np.asarray(cv2.resize(donor, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    if image.ndim == 2:
        return luma(donor)
    return donor if donor.ndim == 3 else np.repeat(donor[..., None], 3, 2)


def _colour(image: Image, rng: Rng) -> Manipulated:
    """Take one channel of a colour picture, or paint grey in a false colour, or put it into a merge."""
    if image.ndim == 3 and rng.random() < 0.6:
        one = tone.one_channel(image, rng)
        return one if float(one.image.std()) > 0.25 * float(image.std()) else done(luma(image))
    return tone.false_colour(image, rng) if rng.random() < 0.6 else tone.merge_channel(image, rng)


def _moved(dx: float, dy: float) -> Transform:
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], np.float64)


def _whole_turn(angle: float) -> Transform:
    """Return a turn about the origin, counter-clockwise as seen; exact for quarter turns."""
    out = turn_about(angle, 1.0, (0.0, 0.0))
    return np.rint(out) if angle % 90 == 0 else out
