"""Pairs that people made, for evaluation only: blots edited twice, edited photographs, copy-move forgeries.

They lie in ../shared/data (blots, photos, copymove); nothing that ships may learn from them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.errors import UsageError
from twinscope.train import data
from twinscope.train.changes import MANIPULATED, SIZE, Mask
from twinscope.train.data import Bytes

Float = NDArray[np.float32]

COPIED_GAP = 4
"""Grey values of 255 by which a forged place differs from the original at least, beyond twice what others differ by."""


class RealPair(NamedTuple):
    """A pair as `changes.Pair` has it, with None for what nobody knows: (S, S) flow, seen, changed.

    original, query: (S, S, 3) uint8 RGB, their aspect given up. changed lies in the original's frame. how: the set, the
    name of the pair, and what was done where that is known.
    """

    original: Bytes
    query: Bytes
    flow: Float | None
    seen: Mask | None
    changed: Mask | None
    label: int
    how: tuple[str, ...]


def blots(size: int = SIZE, folder: Path | None = None) -> Iterator[RealPair]:
    """Yield the pairs of blots that were edited in two different ways: what changed is the union of both masks.

    Outside of it they are the same but for 3 grey values, pixel on pixel: flow is 0. Raises UsageError where the set or
    a file of it is missing.
    """
    root = _root(folder, "blots")
    for row in _rows(root / "pairs.csv", ("a", "b", "mask_a", "mask_b", "edit")):
        a, b = (read(root / row[name]) for name in ("a", "b"))
        union = read_mask(root / row["mask_a"]) | read_mask(root / row["mask_b"])
        how = ("blots", f"{row['a']} {row['b']}", *row["edit"].split("|"))
        yield _still(a, b, union, size, how)


def copymoves(size: int = SIZE, folder: Path | None = None) -> Iterator[RealPair]:
    """Yield the copy-move forgeries with their originals; what changed is where the copy went.

    The masks of the set mark where it was taken from, too: of each marked region what differs from the original by
    `COPIED_GAP` is kept, all of it where that is half or more.
    """
    root = _root(folder, "copymove")
    for row in _rows(root / "pairs.csv", ("original", "forged", "mask")):
        a, b, mask = read(root / row["original"]), read(root / row["forged"]), read_mask(root / row["mask"])
        if a.shape != b.shape or a.shape[:2] != mask.shape:
            raise UsageError(f"{row['original']}, {row['forged']} and their mask are not of one size in {root}")
        yield _still(a, b, _copied(a, b, mask), size, ("copymove", row["forged"], "clone"))


def photos(size: int = SIZE, folder: Path | None = None) -> Iterator[RealPair]:
    """Yield the edited photographs with their originals; where they changed, and how they lie, nobody has noted."""
    root = _root(folder, "photos")
    for row in _rows(root / "pairs.csv", ("original", "edited")):
        a, b = (resized(read(root / row[name]), size) for name in ("original", "edited"))
        yield RealPair(a, b, None, None, None, MANIPULATED, ("photos", row["edited"]))


SETS = {"blots": blots, "copymove": copymoves, "photos": photos}
"""Each set by name."""


def resized(image: Bytes, size: int) -> Bytes:
    """Return a picture (HxWx3 uint8) `size` px square, its aspect given up."""
    how = cv2.INTER_AREA if image.shape[0] * image.shape[1] > size**2 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)


def resized_mask(mask: Mask, size: int) -> Mask:
    """Return a mask (HxW bool) `size` px square: True where half of a pixel or more is covered."""
    how = cv2.INTER_AREA if mask.size > size**2 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(mask.astype(np.float32), (size, size), interpolation=how) >= 0.5)


def read(path: Path) -> Bytes:
    """Return a picture as HxWx3 RGB uint8, any alpha channel ignored; UsageError where it cannot be read."""
    raw = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if raw is None:
        raise UsageError(f"{path} {'is damaged or no picture' if path.is_file() else 'is missing'}; fetch it again")
    return np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), np.uint8)


def read_mask(path: Path) -> Mask:
    """Return a mask as HxW bool, True where the picture is lighter than middle grey; UsageError as `read`."""
    return np.asarray(read(path)[..., 0] > 127)


def _still(a: Bytes, b: Bytes, changed: Mask, size: int, how: tuple[str, ...]) -> RealPair:
    flow, seen = np.zeros((size, size, 2), np.float32), np.ones((size, size), np.bool_)
    return RealPair(resized(a, size), resized(b, size), flow, seen, resized_mask(changed, size), MANIPULATED, how)


def _copied(a: Bytes, b: Bytes, mask: Mask) -> Mask:
    gap = cv2.blur(np.abs(a.astype(np.int16) - b.astype(np.int16)).max(2).astype(np.float32), (5, 5))
    differs = gap >= COPIED_GAP + 2 * (float(gap[~mask].mean()) if not mask.all() else 0.0)
    out = np.zeros(mask.shape, np.bool_)
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    for k in range(1, count):
        part = parts == k
        out |= part if differs[part].mean() >= 0.5 else part & differs
    return out


def _root(folder: Path | None, name: str) -> Path:
    root = data.shared() / "data" / name if folder is None else folder
    if not root.is_dir():
        raise UsageError(f"{root} is missing; put the shared data there or set TWINSCOPE_SHARED")
    return root


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UsageError(f"{path} is missing; it lists the pairs of the set")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lacking = [name for name in columns if not rows or name not in rows[0]]
    if lacking:
        raise UsageError(f"{path} has no column {lacking[0]}" if rows else f"{path} lists no pair")
    return rows
