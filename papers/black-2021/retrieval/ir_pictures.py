"""The pictures of table 1 of black-2021: originals, queries, and distractors that can be made again from their number.

Originals are windows of the micrographs' test groups, queries what `train.changes` makes of them (section 4.1 of the
paper). A distractor is cut from a picture of the other groups (train and val; of train alone where val is asked): a
box at a random place, its side log-uniform from 96 px to the picture's shorter side, brought to 224 px, turned by a
multiple of 90 degrees and mirrored at random. One in five is manipulated as well: edited, worn or both, a third each.
Pictures are drawn with odds of the root of their area. Number n of shard s depends on (seed, s, n) alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.train import changes, data, wear

Bytes = NDArray[np.uint8]
SIDE = 224
LEAST_PX = 96
MANIPULATED = 0.2
SETS = {"benign": "benign", "manipulated": "manipulated", "both": "manipulated and benign"}
"""The query sets, by their names in `changes`."""
OTHERS = {"test": ("train", "val"), "val": ("train",)}
"""The splits whose groups the distractors of a split's queries come from."""


class Shelf(NamedTuple):
    """Whole pictures (HxWx3 or, without colour, HxW uint8), and how likely each is to be drawn."""

    pictures: list[Bytes]
    odds: NDArray[np.float64]


def shelf(split: str) -> Shelf:
    """Read the pictures that distractors are cut from, for the queries of a split."""
    pictures = [plain(data.read_rgb(row["path"])) for part in OTHERS[split] for row in data.micrographs(part)]
    return shelf_of(pictures)


def shelf_of(pictures: list[Bytes]) -> Shelf:
    """Return pictures with their odds: the root of the area."""
    roots = np.sqrt([float(one.shape[0] * one.shape[1]) for one in pictures])
    return Shelf(pictures, np.cumsum(roots / roots.sum()))


def plain(picture: Bytes) -> Bytes:
    """Return a picture of equal channels as one channel."""
    same = np.array_equal(picture[..., 0], picture[..., 1]) and np.array_equal(picture[..., 0], picture[..., 2])
    return np.ascontiguousarray(picture[..., 0]) if same else picture


def distractor(source: Shelf, seed: int, shard: int, number: int) -> Bytes:
    """Return distractor `number` of a shard: 224x224 or 224x224x3 uint8."""
    rng = np.random.default_rng([seed, shard, number])
    out = cut(source, rng)
    if rng.random() >= MANIPULATED:
        return out
    what = int(rng.integers(3))  # edited, worn, both
    image = out.astype(np.float32) / np.float32(255)
    if what != 1:
        other = cut(source, rng).astype(np.float32) / np.float32(255)
        image, _, _ = changes.edited(image, [other], rng)
    if what != 0:
        image = wear.worn_down(image, wear.drawn_wear(rng, SIDE, image.ndim == 2), rng)
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)


def cut(source: Shelf, rng: np.random.Generator) -> Bytes:
    """Return a part of a picture, 224x224 or 224x224x3 uint8, that is not blank if six draws give one."""
    part = np.zeros((1, 1), np.uint8)
    for _ in range(6):
        number = min(int(np.searchsorted(source.odds, rng.random())), len(source.pictures) - 1)
        whole = source.pictures[number]
        short = min(whole.shape[:2])
        side = int(np.exp(rng.uniform(*np.log((min(LEAST_PX, short), short + 1e-6)))))
        y, x = (int(rng.integers(0, length - side + 1)) for length in whole.shape[:2])
        part = whole[y : y + side, x : x + side]
        if not blank(part):
            break
    part = np.rot90(part, int(rng.integers(4)))
    part = np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)
    how = cv2.INTER_AREA if part.shape[0] > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=how), np.uint8)


def blank(part: Bytes) -> bool:
    """Tell whether a part shows nothing, as `train.data` does."""
    return data.blank(np.repeat(part[..., None], 3, 2) if part.ndim == 2 else part)


class Asked(NamedTuple):
    """What is looked for: `originals` (n, 224, 224, 3) uint8, `queries` of each set likewise, in the same order;
    `groups` (n,) of the originals; `near` (n, n) bool, originals that are one or may share content.
    """

    originals: Bytes
    queries: dict[str, Bytes]
    groups: NDArray[np.int64]
    near: NDArray[np.bool_]


def asked(split: str, count: int, seed: int) -> Asked:
    """Return `count` originals of a split and the three query sets made of them."""
    queries = {}
    originals = np.zeros((0, SIDE, SIDE, 3), np.uint8)
    for name in SETS:
        pairs = list(changes.evaluation(split, count, name, seed, SIDE))
        originals = np.stack([one.original for one in pairs])
        queries[name] = np.stack([one.query for one in pairs])
    groups = np.array(changes.sources(split, count, seed), np.int64)
    return Asked(originals, queries, groups, changes.near(split, count, seed))


def shard(source: Shelf, seed: int, number: int, first: int, size: int, lot: int = 64) -> Iterator[list[Bytes]]:
    """Yield `size` distractors of a shard, from `first` on, in lots."""
    for start in range(first, first + size, lot):
        yield [distractor(source, seed, number, k) for k in range(start, min(first + size, start + lot))]
