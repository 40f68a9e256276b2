"""The robustness grid: each manipulation at several strengths, on whole windows of 256 px."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate as m
from twinscope.train import data

SIDE = 128
"""Every method is given pictures of at most this many px, whatever a manipulation leaves."""


class Shown(NamedTuple):
    """Plain pictures, their groups, and for each manipulation and strength the manipulated ones; grey uint8, 128 px."""

    plain: list[NDArray[np.uint8]]
    groups: list[int]
    cells: dict[tuple[str, str], list[NDArray[np.uint8]]]


def grid() -> dict[str, dict[str, m.Step]]:
    """Return manipulation -> strength -> step. Lengths and widths are px of 256, places are random."""
    out: dict[str, dict[str, m.Step]] = {
        "mirrored": {
            "left-right": partial(m.reflect, axis="left-right"),
            "up-down": partial(m.reflect, axis="up-down"),
        },
        "rotation": {f"{a}°": partial(m.rotate, angle=a) for a in (5, 15, 45, 90, 180)},
        "scale in its frame": {
            f"{f:g}": partial(m.similarity, angle=0.0, factor=f, shift=(0.0, 0.0)) for f in (0.5, 0.75, 1.25, 1.5, 2.0)
        },
        "crop to a share": {f"{s:g}": partial(m.crop, share=s) for s in (0.8, 0.6, 0.4, 0.25)},
        "perspective": {f"{s:g}": partial(m.perspective, shift=s) for s in (0.04, 0.08, 0.16)},
        "gamma": {f"{g:g}": partial(m.gamma, exponent=g) for g in (0.5, 0.7, 1.5, 2.0)},
        "contrast": {f"{f:g}": partial(m.contrast, factor=f) for f in (0.3, 0.6, 1.5, 2.0)},
        "inversion": {"whole": m.invert},
        "channel": {name: partial(m.one_channel, channel=k) for k, name in enumerate(("red", "green", "blue"))},
        "JPEG": {str(q): partial(m.jpeg, quality=q) for q in (80, 50, 30, 10)},
        "blur": {f"{s:g} px": partial(m.blur, sigma_px=s) for s in (1, 2, 4)},
        "noise": {f"{s:g}": partial(m.noise, sigma=s) for s in (0.02, 0.05, 0.1)},
        "re-sampling": {f"{f:g}": partial(m.resample, factor=f) for f in (0.5, 0.25, 0.125)},
        "letters": {f"{h} px": partial(m.letters, height_px=h) for h in (16, 32, 64)},
        "arrows": {f"{n} px": partial(m.arrow, length_px=n) for n in (24, 48, 96)},
        "boxes": {f"{n} px": partial(_box, n) for n in (48, 96, 192)},
        "erase": {f"{r} px": partial(m.erase, radius_px=r) for r in (13, 26, 51, 77)},
        "clone": {f"{n} px": partial(_pasted, n, True) for n in (32, 64, 96, 128)},
        "splice": {f"{n} px": partial(_pasted, n, False) for n in (32, 64, 96, 128)},
        "retouch": {f"{r} px": partial(m.retouch, radius_px=r) for r in (13, 26, 51, 77)},
    }
    out["channel"] |= {"false colour": m.false_colour, "merge": m.merge_channel}
    return out


def _box(side: int, image: m.Image, rng: m.Rng) -> m.Manipulated:
    x, y = (int(v) for v in rng.integers(0, image.shape[0] - side + 1, 2))
    return m.outline(image, rng, (x, y, x + side, y + side))


def _pasted(side: int, own: bool, image: m.Image, rng: m.Rng) -> m.Manipulated:
    """Paste a random square of the picture itself, or of it turned by 180 degrees, at a random place."""
    x, y = (int(v) for v in rng.integers(0, image.shape[0] - side + 1, 2))
    return (m.clone if own else m.splice)(image, rng, box=(x, y, x + side, y + side))


def shown(count: int, seed: int = 5) -> Shown:
    """Draw up to `count` windows of the test groups, one an image, and manipulate each in every way of the grid."""
    rng = np.random.default_rng(seed)
    pixels, windows = data.cut(data.micrographs("test"), rng, 1, levels=(256,))
    chosen = [int(k) for k in rng.permutation(len(pixels))[:count]]
    sources = [pixels[k].astype(np.float32) / np.float32(255) for k in chosen]
    cells = {
        (name, strength): [small(step(source, rng).image) for source in sources]
        for name, strengths in grid().items()
        for strength, step in strengths.items()
    }
    return Shown([small(source) for source in sources], [windows[k].group for k in chosen], cells)


def small(image: m.Image) -> NDArray[np.uint8]:
    """Return a picture (float32 [0, 1], HxW or RGB) as grey uint8 of at most 128 px."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrink = SIDE / max(grey.shape)
    if shrink < 1:
        size = (max(1, round(grey.shape[1] * shrink)), max(1, round(grey.shape[0] * shrink)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
