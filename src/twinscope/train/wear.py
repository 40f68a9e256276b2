"""Benign changes of a picture, drawn first and applied later, so that its true flow is known (black-2021, section 4.1).

What moves the picture comes first (crop, pad, rotation, flip, perspective, a smooth warp), then corruptions of
ImageNet-C, another size, and JPEG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate as m
from twinscope.manipulate import fields
from twinscope.manipulate.tone import decoded_jpeg
from twinscope.train.data import Rng

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

PLACES = ("crop", "pad", "rotate", "flip", "perspective", "warp")
"""The benign changes that move the picture ("out of place" in the paper)."""
BENIGN_CLASSES = ("compressed", "resized", *m.CORRUPTIONS, *PLACES)
"""Every class of benign change, as figure 7 lists them."""


class Wear(NamedTuple):
    """A drawn benign change: how it moves the picture, the fill of what is empty then, corruptions, size, quality."""

    move: m.Move
    fill: float | None
    corruptions: tuple[tuple[str, int], ...]
    elastic: tuple[m.Move, ...]
    resized: float
    quality: int
    how: tuple[str, ...]

    def moves(self, size: int) -> list[m.Move]:
        """Return every move in order, that of zoom blur (its mean) and of elastic included."""
        elastic = iter(self.elastic)
        out = [self.move]
        for name, severity in self.corruptions:
            if name in m.MOVING:
                out.append(m.zoom_move((size, size), severity) if name == "zoom_blur" else next(elastic))
        return out


def drawn_wear(rng: Rng, size: int, grey: bool, flips: bool = True, only: str | None = None) -> Wear:
    """Draw a benign change: the picture is worn in place, moved, or both, a third each, then compressed (40 to 90).

    In place: one corruption of severity 1-5, or (.3) two of 1-3. Moved: one to three of `PLACES`. A third is shown at
    .5-1 of its size before. `only` takes one class of `BENIGN_CLASSES` and compression.
    """
    names, places = _steps(rng, grey, flips, only)
    most = 5 if len(names) == 1 else 3
    corruptions = tuple((name, int(rng.integers(1, most + 1))) for name in names)
    move, fill = _placed(rng, size, places)
    elastic = tuple(m.elastic_move((size, size), rng, severity) for name, severity in corruptions if name == "elastic")
    small = only == "resized" or (only is None and rng.random() < 1 / 3)
    resized, quality = float(rng.uniform(0.5, 1.0)) if small else 1.0, int(rng.integers(40, 91))
    how = [*places, *(f"{name} {severity}" for name, severity in corruptions)]
    how += [f"resized {resized:.2f}"] if small else []
    return Wear(move, fill, corruptions, elastic, resized, quality, (*how, f"compressed {quality}"))


def _steps(rng: Rng, grey: bool, flips: bool, only: str | None) -> tuple[list[str], list[str]]:
    """Return the names of the corruptions and of what moves the picture."""
    if only is not None:
        return [only] if only in m.CORRUPTIONS else [], [only] if only in PLACES else []
    group = rng.random()
    names: list[str] = []
    places: list[str] = []
    if group < 2 / 3:
        fit = [name for name in m.CORRUPTIONS if not (grey and name == "saturate")]
        names = [fit[k] for k in rng.permutation(len(fit))[: 1 if rng.random() < 0.7 else 2]]
    if group >= 1 / 3:
        free = [name for name in PLACES if flips or name != "flip"]
        chosen = rng.permutation(len(free))[: int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15)))]
        places = [free[k] for k in sorted(chosen)]
    return names, places


def _placed(rng: Rng, size: int, places: Sequence[str]) -> tuple[m.Move, float | None]:
    """Return the move of the picture, result `size` px square again, and the fill of what is empty then."""
    whole, field = np.eye(3), None
    for name in places:
        if name == "warp":
            field = m.smooth_field((size, size), rng, size * rng.uniform(0.01, 0.04), size * rng.uniform(0.2, 0.6))
        else:
            whole = _PLACES[name](rng, size) @ whole
    fills: tuple[float | None, ...] = (0.0, 1.0, 0.5, None)
    fill = fills[int(rng.integers(3 if "pad" in places else 4))]
    return m.Move(whole, field), fill


def _box_to_square(box: Sequence[float], size: int) -> m.Transform:
    """Return the transform that brings a box (x0, y0, x1, y1, borders of pixels) to `size` px square."""
    fx, fy = size / (box[2] - box[0]), size / (box[3] - box[1])
    return np.array([[fx, 0, fx * (0.5 - box[0]) - 0.5], [0, fy, fy * (0.5 - box[1]) - 0.5], [0, 0, 1]], np.float64)


def _crop(rng: Rng, size: int) -> m.Transform:
    area, aspect = rng.uniform(0.7, 0.95), float(np.exp(rng.uniform(-0.04, 0.04)))
    wide, tall = (min(size, size * float(np.sqrt(area)) * f) for f in (aspect, 1 / aspect))
    x, y = rng.uniform(0, size - wide), rng.uniform(0, size - tall)
    return _box_to_square((x, y, x + wide, y + tall), size)


def _pad(rng: Rng, size: int) -> m.Transform:
    left, top, right, bottom = rng.uniform(0, 0.1, 4) * size
    return _box_to_square((-left, -top, size + right, size + bottom), size)


def _rotate(rng: Rng, size: int) -> m.Transform:
    angle, middle = rng.uniform(-15, 15), (size - 1) / 2
    inner = float(np.cos(np.radians(angle)) + np.sin(np.radians(abs(angle)))) if rng.random() < 0.5 else 1.0
    out = np.eye(3)
    out[:2] = cv2.getRotationMatrix2D((middle, middle), angle, inner)  # inner: enlarged until no corner is empty
    return out


def _flip(rng: Rng, size: int) -> m.Transform:
    if rng.random() < 0.7:
        return np.array([[-1, 0, size - 1], [0, 1, 0], [0, 0, 1]], np.float64)
    return np.array([[1, 0, 0], [0, -1, size - 1], [0, 0, 1]], np.float64)


def _perspective(rng: Rng, size: int) -> m.Transform:
    reach = size * rng.uniform(0.02, 0.07)
    return m.corner_transform((size, size), rng.uniform(-reach, reach, (4, 2)))


_PLACES: dict[str, Callable[[Rng, int], m.Transform]] = {
    "crop": _crop, "pad": _pad, "rotate": _rotate, "flip": _flip, "perspective": _perspective,
}  # fmt: skip


def flow_of(moves: Sequence[m.Move], size: int) -> tuple[Float, Mask, Mask]:
    """Return the flow of a picture of `size` px square after moves, where it is sure, and where it ends in the picture.

    What has left the picture does not come back. Where it is sure it also ends in the picture.
    """
    start = fields.grid((size, size))
    at, sure, inside = start, np.ones((size, size), np.bool_), np.ones((size, size), np.bool_)
    for move in moves:
        if move.field is None and np.array_equal(move.transform, np.eye(3)):
            continue
        at, good = m.carried(at, move)
        low, high = np.minimum(at[..., 0], at[..., 1]), np.maximum(at[..., 0], at[..., 1])
        inside &= (low > -0.25) & (high < size - 0.75)
        sure &= good & inside
    return np.asarray(at - start, np.float32), sure, inside


def nearest(flow: Float, seen: Mask, rng: Rng) -> m.Transform | None:
    """Return the 3x3 transform nearest to a flow (S, S, 2) px where it is seen; None where next to nothing is."""
    ys, xs = np.nonzero(seen)
    if len(ys) < 64:
        return None
    chosen = rng.integers(0, len(ys), 400)
    here = np.column_stack([xs[chosen], ys[chosen]]).astype(np.float32)
    found, _ = cv2.findHomography(here, here + flow[ys[chosen], xs[chosen]], 0)
    return None if found is None else np.asarray(found, np.float64)


def worn_down(image: Float, wear: Wear, rng: Rng) -> Float:
    """Return the picture (SxS or SxSx3) after a drawn benign change; `rng` draws the noise."""
    size, out = image.shape[0], image
    moved = not np.array_equal(wear.move.transform, np.eye(3))
    if moved:
        out = m.warp(out, wear.move.transform, (size, size), wear.fill).image
    if wear.move.field is not None:
        out = m.displaced(out, m.Move(np.eye(3), wear.move.field))
    elastic = iter(wear.elastic)
    for name, severity in wear.corruptions:
        if name == "elastic":
            out = np.clip(m.displaced(out, next(elastic), cv2.INTER_LINEAR), 0, 1)
        else:
            out = m.CORRUPTIONS[name](np.clip(out, 0, 1), rng, severity).image
    if wear.resized < 1:
        small = max(8, round(size * wear.resized))
        out = cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA)
        out = cv2.resize(out, (size, size), interpolation=cv2.INTER_CUBIC)
    return decoded_jpeg(np.asarray(out, np.float32), wear.quality)
