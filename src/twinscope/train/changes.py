"""Pairs for the comparator (black-2021, sections 3.2 and 4.1): an original and what became of it, with the exact truth.

A pair is benign (the same picture, worn or moved), manipulated (something in it was edited) or distinct (another
picture). Edits come first, in the frame of the original; then, where the kind says so, the benign changes: what moves
the picture, one or two corruptions of ImageNet-C, another size, JPEG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate as m
from twinscope.errors import UsageError
from twinscope.manipulate import fields
from twinscope.manipulate.tone import decoded_jpeg
from twinscope.train.data import Bytes, Rng

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIZE = 224
BENIGN, MANIPULATED, DISTINCT = 0, 1, 2
KINDS = {"identical": BENIGN, "benign": BENIGN, "manipulated": MANIPULATED, "both": MANIPULATED, "distinct": DISTINCT}
"""The kinds of pairs (the rows of figure 7) and their labels."""
LEAST_CHANGE = 8 / 255
"""An edit whose changed pixels differ by less than this on the average is not seen, and is drawn anew."""
LEAST_PIXEL = 4 / 255
"""A place counts as changed where a pixel within 2 px of it differs by at least this."""
SHARES = (0.01, 0.3)
"""The share of the picture that is changed, at least and at most."""
PLACES = ("crop", "pad", "rotate", "flip", "perspective", "warp")
"""The benign changes that move the picture ("out of place" in the paper)."""
BENIGN_CLASSES = ("compressed", "resized", *m.CORRUPTIONS, *PLACES)
"""Every class of benign change, as figure 7 lists them."""
EDITS = ("splice", "clone", "erase", "in-paint", "retouch", "text")


class Pair(NamedTuple):
    """What a comparator sees of two pictures, and what is true of them.

    original, query: (S, S, 3) uint8 RGB. flow: (S, S, 2) float32, for each pixel (x, y) of the original the (dx, dy)
    px with which query[y + dy, x + dx] shows the same place (black-2021, equations 4 and 5). seen: (S, S) bool, where
    that place lies in the query for certain. changed: (S, S) bool on the original, where the query was edited and shows
    it. label: 0 benign, 1 manipulated, 2 distinct. how: the steps by name.

    Of a distinct pair flow is 0, seen False and changed True throughout (the paper's target T is one everywhere).
    """

    original: Bytes
    query: Bytes
    flow: Float
    seen: Mask
    changed: Mask
    label: int
    how: tuple[str, ...]


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


def pair(
    window: Bytes,
    others: Sequence[Bytes],
    rng: Rng,
    kind: str,
    size: int = SIZE,
    *,
    flips: bool = True,
    benign: str | None = None,
    worn: float = 0.0,
) -> Pair:
    """Return a pair of `kind` whose original is `window` (HxWx3 RGB uint8, resized to `size` px square).

    others: pictures that show something else; edits splice from them, and "distinct" shows the first. flips: mirrored
    queries, too. benign: one class of `BENIGN_CLASSES` alone (each is compressed, too). worn: the odds that the
    original of a benign, both or distinct pair has been compressed on its own; equal for all, so that it tells nothing.
    Raises UsageError for an unknown kind or class, and where "distinct" has no other picture.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind} is no kind of pair; take one of {', '.join(KINDS)}")
    if benign is not None and benign not in BENIGN_CLASSES:
        raise UsageError(f"{benign} is no benign change; take one of {', '.join(BENIGN_CLASSES)}")
    if kind == "distinct" and not len(others):
        raise UsageError("a distinct pair needs another picture")
    plain = rng.random() < 0.85
    original = shown(window, size, plain)
    source = shown(others[0], size, plain) if kind == "distinct" else original
    changed, how = np.zeros((size, size), np.bool_), ()
    if kind in ("manipulated", "both"):
        source, changed, how = edited(original, [shown(one, size, plain) for one in others[:3]], rng)
    query, flow, seen = source, np.zeros((size, size, 2), np.float32), np.ones((size, size), np.bool_)
    if kind in ("benign", "both", "distinct"):
        wear, flow, seen = _seen_wear(changed, rng, size, source.ndim == 2, flips, benign)
        query = worn_down(source, wear, rng)
        how = (*how, *wear.how)
        if rng.random() < worn:
            original = decoded_jpeg(original, int(rng.integers(60, 96)))
    if kind == "distinct":
        flow, seen, changed = np.zeros_like(flow), np.zeros_like(seen), np.ones_like(changed)
    else:
        changed = changed & seen
    return Pair(_rgb(original), _rgb(query), flow, seen, changed, KINDS[kind], how)


def shown(window: Bytes, size: int, plain: bool = True) -> Float:
    """Return a picture as float32 in [0, 1], `size` px square: HxW where `plain` and its channels are equal."""
    image = window
    if window.shape[:2] != (size, size):
        how = cv2.INTER_AREA if window.shape[0] * window.shape[1] > size**2 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(window, (size, size), interpolation=how), np.uint8)
    if plain and np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2]):
        image = np.ascontiguousarray(image[..., 0])
    return image.astype(np.float32) / np.float32(255)


# ---------------------------------------------------------------------------------------------------- edits


def edited(image: Float, others: Sequence[Float], rng: Rng) -> tuple[Float, Mask, tuple[str, ...]]:
    """Edit a picture in one to three places; return it (8-bit levels), where it did change, and the edits' names.

    What changed covers `SHARES` of the picture, and every edit is seen (`LEAST_CHANGE`).
    """
    for _ in range(8):
        many = int(rng.choice((1, 2, 3), p=(0.6, 0.28, 0.12)))
        whole = float(np.exp(rng.uniform(*np.log((0.013, 0.25)))))
        out, region, names = image, np.zeros(image.shape[:2], np.bool_), []
        for part in rng.dirichlet(np.full(many, 4.0)):
            found = _one_edit(out, others, rng, float(np.clip(part * whole, 0.008, 0.25)))
            if found is not None:
                out, names, region = found[0], [*names, found[2]], region | found[1]
        changed = region & difference(image, out)
        if names and SHARES[0] <= changed.mean() <= SHARES[1] and _visible(image, out, changed):
            return out, changed, tuple(names)
    region = m.blob((image.shape[0], image.shape[1]), rng, 0.06)
    out = m.cover(image, rng, region, value=float(image[region].mean() < 0.5)).image
    return out, region & difference(image, out), ("erase",)


def difference(a: Float, b: Float) -> Mask:
    """Return where two pictures differ: a pixel within 2 px does so by `LEAST_PIXEL` or more."""
    return np.asarray(cv2.dilate((_gap(a, b) >= LEAST_PIXEL).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)


def _one_edit(image: Float, others: Sequence[Float], rng: Rng, share: float) -> tuple[Float, Mask, str] | None:
    """Return the edited picture, the edit's region and its name, or None where six draws gave nothing to be seen."""
    size = (image.shape[0], image.shape[1])
    for _ in range(6):
        name = EDITS[int(rng.integers(len(EDITS)))]
        shape = m.rectangle if rng.random() < 0.35 else m.blob
        region = shape(size, rng, min(share, 0.08) if name == "in-paint" else share)
        feather = float(rng.choice((0.0, 2.0, 5.0)))
        if name == "splice":
            donor = _donor(image, others, rng)
            done = m.transplant(image, rng, region, donor, feather)
        elif name == "clone":
            done = m.transplant(image, rng, region, None, feather)
        elif name == "erase":
            value = None if rng.random() < 0.6 else float(rng.integers(2))
            done = m.cover(image, rng, region, value, feather)
        elif name == "in-paint":
            done = m.inpaint(image, rng, region)
        elif name == "retouch":
            done = m.mend(image, rng, region)
        else:
            done = m.words(image, rng)
        out = _levels(done.image)
        real = done.mask & difference(image, out)
        if real.sum() >= 0.5 * done.mask.sum() and _visible(image, out, real):
            return out, done.mask, name
    return None


def _donor(image: Float, others: Sequence[Float], rng: Rng) -> Float:
    """Return a picture to splice from, of the image's size and channels: a part of another one, or the image turned."""
    if not len(others):
        return np.ascontiguousarray(np.rot90(image, 2))
    other = others[int(rng.integers(len(others)))]
    if image.ndim == 2 and other.ndim == 3:
        other = np.asarray(cv2.cvtColor(other, cv2.COLOR_RGB2GRAY), np.float32)
    part = m.crop(other, rng, share=rng.uniform(0.3, 1.0)).image
    if image.ndim == 3 and part.ndim == 2:
        part = np.repeat(part[..., None], 3, 2)
    if rng.random() < 0.5:  # as bright as the picture that it goes into
        part = np.clip(part + (image.mean() - part.mean()), 0, 1)
    return np.asarray(cv2.resize(part, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _visible(a: Float, b: Float, mask: Mask) -> bool:
    return bool(mask.any()) and float(_gap(a, b)[mask].mean()) >= LEAST_CHANGE


def _gap(a: Float, b: Float) -> Float:
    gap = np.abs(a - b)
    return gap if gap.ndim == 2 else np.asarray(gap.max(2), np.float32)


# ---------------------------------------------------------------------------------------------------- benign changes


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


def flow_of(moves: Sequence[m.Move], size: int) -> tuple[Float, Mask]:
    """Return the flow of a picture of `size` px square after moves, and where it is sure and ends in the picture."""
    start = fields.grid((size, size))
    at, seen = start, np.ones((size, size), np.bool_)
    for move in moves:
        at, sure = m.carried(at, move)
        seen &= sure & (at > -0.25).all(2) & (at < size - 0.75).all(2)
    return np.asarray(at - start, np.float32), seen


def _seen_wear(
    changed: Mask, rng: Rng, size: int, grey: bool, flips: bool, only: str | None
) -> tuple[Wear, Float, Mask]:
    """Draw a benign change after which the query still shows what was edited: half of it, and not less than allowed."""
    for turn in range(6):
        wear = drawn_wear(rng, size, grey, flips, only)
        if turn == 5:
            wear = wear._replace(move=m.Move(np.eye(3)))
        flow, seen = flow_of(wear.moves(size), size)
        shown = int((changed & seen).sum())
        if shown >= max(0.5 * changed.sum(), SHARES[0] * size**2 if changed.any() else 0):
            break
    return wear, flow, seen


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


# ---------------------------------------------------------------------------------------------------- targets


def coarse(changed: Mask, side: int = 7) -> Float:
    """Return the share of each of side x side fields that is changed, float32 in [0, 1]: the paper's target T."""
    return np.asarray(cv2.resize(changed.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA), np.float32)


def aligned(one: Pair) -> Bytes:
    """Return the query sampled where the true flow says (equation 5): (S, S, 3) uint8 in the original's frame."""
    at = fields.grid((one.flow.shape[0], one.flow.shape[1])) + one.flow
    return np.asarray(cv2.remap(one.query, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _levels(image: Float) -> Float:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.float32) / np.float32(255)


def _rgb(image: Float) -> Bytes:
    byte = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.repeat(byte[..., None], 3, 2) if byte.ndim == 2 else byte
