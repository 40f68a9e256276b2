"""Pairs for the comparator (black-2021, sections 3.2 and 4.1): an original and what became of it, with the exact truth.

A pair is benign (the same picture, worn or moved), manipulated (something in it was edited) or distinct (another
picture). Edits come first, in the frame of the original; then, where the kind says so, the benign changes: what moves
the picture, one or two corruptions of ImageNet-C, another size, JPEG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from twinscope import manipulate as m
from twinscope.errors import UsageError
from twinscope.manipulate import fields
from twinscope.manipulate.tone import decoded_jpeg
from twinscope.train import data, stock
from twinscope.train.data import Bytes, Rng, Window
from twinscope.train.wear import BENIGN_CLASSES, Wear, drawn_wear, flow_of, worn_down

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
EDITS = {"splice": 0.22, "clone": 0.2, "erase": 0.16, "in-paint": 0.16, "retouch": 0.16, "text": 0.1}
"""The editorial changes, and how often each is tried first."""


class Pair(NamedTuple):
    """What a comparator sees of two pictures, and what is true of them.

    original, query: (S, S, 3) uint8 RGB. flow: (S, S, 2) float32, for each pixel (x, y) of the original the (dx, dy)
    px with which query[y + dy, x + dx] shows the same place (black-2021, equations 4 and 5). seen: (S, S) bool, where
    that place lies in the query and the flow is right for certain (where short waves of elastic fold, it is not).
    changed: (S, S) bool on the original, where the query was edited, unless that place lies outside the query. label:
    0 benign, 1 manipulated, 2 distinct. how: the steps by name.

    Of a distinct pair flow is 0, seen False and changed True throughout (the paper's target T is one everywhere).
    """

    original: Bytes
    query: Bytes
    flow: Float
    seen: Mask
    changed: Mask
    label: int
    how: tuple[str, ...]


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
    how: tuple[str, ...] = ()
    original = shown(window, size, plain)
    source = shown(others[0], size, plain) if kind == "distinct" else original
    changed = np.zeros((size, size), np.bool_)
    if kind in ("manipulated", "both"):
        source, changed, how = edited(original, [shown(one, size, plain) for one in others[:3]], rng)
    query, flow = source, np.zeros((size, size, 2), np.float32)
    seen = inside = np.ones((size, size), np.bool_)
    if kind in ("benign", "both", "distinct"):
        wear, flow, seen, inside = _seen_wear(changed, rng, size, source.ndim == 2, flips, benign)
        query = worn_down(source, wear, rng)
        how = (*how, *wear.how)
        if rng.random() < worn:
            original = decoded_jpeg(original, int(rng.integers(60, 96)))
    if kind == "distinct":
        flow, seen, changed = np.zeros_like(flow), np.zeros_like(seen), np.ones_like(changed)
    else:
        changed = changed & inside
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
        out, region = image, np.zeros(image.shape[:2], np.bool_)
        names: list[str] = []
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
    """Return the edited picture, the edit's region and its name, or None where eight draws gave nothing to be seen."""
    size = (image.shape[0], image.shape[1])
    name = ""
    for turn in range(8):
        if turn % 4 == 0:
            name = str(rng.choice(list(EDITS), p=list(EDITS.values())))
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
    other = others[0 if rng.random() < 0.5 else int(rng.integers(len(others)))]
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
    gap: Float = np.abs(a - b)
    return gap if gap.ndim == 2 else np.maximum(np.maximum(gap[..., 0], gap[..., 1]), gap[..., 2])


def _seen_wear(
    changed: Mask, rng: Rng, size: int, grey: bool, flips: bool, only: str | None
) -> tuple[Wear, Float, Mask, Mask]:
    """Draw a benign change after which the query still shows what was edited: half of it, and not less than allowed."""
    for turn in range(6):
        wear = drawn_wear(rng, size, grey, flips, only if turn < 5 else "compressed")
        flow, seen, inside = flow_of(wear.moves(size), size)
        visible = int((changed & inside).sum())
        if visible >= max(0.5 * changed.sum(), SHARES[0] * size**2 if changed.any() else 0):
            break
    return wear, flow, seen, inside


# ---------------------------------------------------------------------------------------------------- targets


def coarse(changed: Mask, side: int = 7) -> Float:
    """Return the share of each of side x side fields that is changed, float32 in [0, 1]: the paper's target T."""
    return np.asarray(cv2.resize(changed.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA), np.float32)


def aligned(one: Pair) -> Bytes:
    """Return the query sampled where the true flow says (equation 5): (S, S, 3) uint8 in the original's frame."""
    at = fields.grid((one.flow.shape[0], one.flow.shape[1])) + one.flow
    return np.asarray(cv2.remap(one.query, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


# ---------------------------------------------------------------------------------------------------- batches


class Changes(NamedTuple):
    """Pairs of a batch, stacked: (n, S, S, 3) uint8 twice, (n, S, S, 2) float32, (n, S, S) bool twice, (n,) int64."""

    original: Bytes
    query: Bytes
    flow: Float
    seen: Mask
    changed: Mask
    label: NDArray[np.int64]
    how: tuple[tuple[str, ...], ...]


def stacked(pairs: Sequence[Pair]) -> Changes:
    """Return pairs of one size as a batch."""
    original, query, flow, seen, changed = (np.stack([one[k] for one in pairs]) for k in range(5))
    label = np.array([one.label for one in pairs], np.int64)
    return Changes(original, query, flow, seen, changed, label, tuple(one.how for one in pairs))


class Batches(Dataset[Changes]):
    """Batch `step` of a run, from (seed, step) alone: pairs of fresh windows, balanced over the three classes.

    One in twenty benign pairs is identical, 15 % of the manipulated ones are not worn, half of the distinct ones are
    look-alikes: another window of the same image, a field of the same group, a member of the same drawn family.
    """

    def __init__(
        self, source: stock.Stock, seed: int, pairs: int, size: int, steps: int, flips: bool = False, worn: float = 0.3
    ) -> None:
        self.source, self.seed, self.pairs, self.size, self.steps = source, seed, pairs, size, steps
        self.flips, self.worn = flips, worn
        self.fresh = stock.FreshBatches(source, seed, pairs + 4, size, steps)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Changes:
        if step >= self.steps:
            raise IndexError(step)
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, step])
        parts, windows = self.fresh.draw(rng)
        same, unsure = data.relations(windows)
        labels = rng.permutation((np.arange(self.pairs) + step) % 3)
        out = []
        for k, label in enumerate(labels):
            others = data.strangers(k, parts, same, unsure, rng)
            near = lookalike(self.source, self.fresh.fields, windows[k], rng) if rng.random() < 0.5 else None
            others = others if near is None else [near, *others[:2]]
            kind = self._kind(int(label), rng)
            if kind == "distinct" and not others:
                kind = "benign"
            out.append(pair(parts[k], others, rng, kind, self.size, flips=self.flips, worn=self.worn))
        return stacked(out)

    def _kind(self, label: int, rng: Rng) -> str:
        draw = rng.random()
        if label == BENIGN:
            return "identical" if draw < 0.05 else "benign"
        if label == MANIPULATED:
            return "manipulated" if draw < 0.15 else "both"
        return "distinct"


def lookalike(source: stock.Stock, groups: dict[int, list[int]], window: Window, rng: Rng) -> Bytes | None:
    """Return a window (256x256 RGB uint8) that looks like `window` of the stock but shows another place, or None."""
    first = len(source.pictures)
    if window.image >= first:
        family, member = divmod(window.image - first, stock.MEMBERS)
        grey = source.drawn[family, (member + int(rng.integers(1, stock.MEMBERS))) % stock.MEMBERS]
        side = int(rng.integers(128, data.SIDE + 1))
        x, y = (int(v) for v in rng.integers(0, data.SIDE - side + 1, 2))
        return np.repeat(stock.whole(grey[y : y + side, x : x + side])[..., None], 3, 2)
    fields_of_group = [k for k in groups[source.pictures[window.image].group] if k != window.image]
    if fields_of_group and window.source in data.NEIGHBOURS_ARE_APART and rng.random() < 0.5:
        other = fields_of_group[int(rng.integers(len(fields_of_group)))]
        return next((part for _, part in stock.cut_fresh(source.picture(other), rng, 1)), None)
    picture, (x0, y0, x1, y1) = source.picture(window.image), window.box
    for _ in range(4):
        for box in stock.fresh_tiles((picture.shape[0], picture.shape[1]), rng):
            if box[2] <= x0 or box[0] >= x1 or box[3] <= y0 or box[1] >= y1:
                part = picture[box[1] : box[3], box[0] : box[2]]
                if not data.blank(part):
                    return stock.whole(part)
    return None


@lru_cache(maxsize=2)
def _windows(split: str, seed: int, most: int = 800) -> tuple[Bytes, list[Window]]:
    """Return windows of a split, in an order that goes round its groups: `most` of them, or what there is."""
    rng = np.random.default_rng([seed, 11])
    rows = data.micrographs(split)
    groups: dict[str, list[dict[str, str]]] = {}
    for k in rng.permutation(len(rows)):
        groups.setdefault(rows[k]["source"] + rows[k]["group"], []).append(rows[k])
    each = max(2, -(-most // (3 * max(1, len(groups)))))
    chosen = [row for group in groups.values() for row in group[:each]]
    parts, windows = data.cut(chosen, rng, 8, (256, 384, 0))
    turn: dict[int, int] = {}
    order: list[tuple[int, int, int]] = []
    for k in rng.permutation(len(windows)):
        turn[windows[k].group] = turn.get(windows[k].group, 0) + 1
        order.append((turn[windows[k].group], len(order), int(k)))
    kept = [k for _, _, k in sorted(order)][:most]
    return parts[kept], [windows[k] for k in kept]


def evaluation(
    split: str,
    count: int,
    kind: str,
    seed: int,
    size: int = SIZE,
    *,
    flips: bool = True,
    benign: str | None = None,
) -> Iterator[Pair]:
    """Yield `count` pairs of a kind from the val or test groups of the micrographs, the same for the same seed.

    Pair k has the same original whatever the kind and class. Windows go round the groups, so that each has its say; of
    distinct pairs half are look-alikes (the same image or group), where there are any. Raises UsageError for a split
    that is none of the two.
    """
    if split not in ("val", "test"):
        raise UsageError(f"pairs for evaluation come from val or test, not from {split}")
    parts, windows = _windows(split, seed)
    same, unsure = data.relations(windows)
    group = np.array([window.group for window in windows])
    for number in range(count):
        rng = np.random.default_rng([seed, number, 5])
        k = number % len(windows)
        sure = ~same[k] & ~unsure[k]
        near = np.flatnonzero(sure & (group == group[k]))
        far = rng.permutation(np.flatnonzero(group != group[k]))[:3]
        first = [int(rng.choice(near))] if len(near) and number // len(windows) % 2 == number % 2 else []
        others = [parts[j] for j in (*first, *far)]
        yield pair(parts[k], others, np.random.default_rng([seed, number]), kind, size, flips=flips, benign=benign)


def sources(split: str, count: int, seed: int) -> list[int]:
    """Return for each pair of `evaluation` of the same split, count and seed the group that its original is of."""
    _, windows = _windows(split, seed)
    return [windows[number % len(windows)].group for number in range(count)]


def near(split: str, count: int, seed: int) -> NDArray[np.bool_]:
    """Return which originals of `evaluation` are one, or may share content: (count, count) bool."""
    _, windows = _windows(split, seed)
    same, unsure = data.relations(windows)
    number = np.arange(count) % len(windows)
    return np.asarray((same | unsure)[np.ix_(number, number)])


def _levels(image: Float) -> Float:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.float32) / np.float32(255)


def _rgb(image: Float) -> Bytes:
    byte = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.repeat(byte[..., None], 3, 2) if byte.ndim == 2 else byte
