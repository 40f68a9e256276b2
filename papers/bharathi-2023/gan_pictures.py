"""The pictures of the benchmark: blood smears, drawn in pairs of one group, one of each pair used and one not.

They are those of BCCD (MIT), each its middle square, luma, at 32 px. Of the pairs that a seed leaves over the generator
saw neither half: they are the control.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
SIDE = 32
EACH = 40
"""Pictures that a generator learns from, and as many that it does not."""


class Halves(NamedTuple):
    """Pictures (n, s, s) that a generator learns from and pictures that it does not, with the names of their files."""

    used: Bytes
    unused: Bytes
    used_names: tuple[str, ...]
    unused_names: tuple[str, ...]

    def sha256(self) -> str:
        """Return the hash of both halves as hex."""
        return hashlib.sha256(self.used.tobytes() + b"|" + self.unused.tobytes()).hexdigest()


def rows(shared: Path, source: str) -> list[dict[str, str]]:
    """Return the rows of the manifest of a source."""
    with (shared / "data/micrographs/manifest.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["source"] == source]


def picture(path: Path, side: int = SIDE) -> Bytes:
    """Return the middle square of a picture: (side, side) uint8 luma."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise FileNotFoundError(f"{path} is no picture")
    height, width = grey.shape
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = grey[top : top + least, left : left + least]
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def halves(shared: Path, seed: int, each: int = EACH, side: int = SIDE, control: bool = False) -> Halves:
    """Return `each` pairs of BCCD pictures, both of a pair from one group: the first used, the second not.

    control: as many pairs of those that are left over; what is called used there was not, either.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows(shared, "bccd"):
        groups[row["group"]].append(row["file"])
    rng = np.random.default_rng([2023, seed])
    pairs: list[tuple[str, str]] = []
    for name in sorted(groups):
        files = [groups[name][k] for k in rng.permutation(len(groups[name]))]
        pairs += list(zip(files[::2], files[1::2], strict=False))
    order = rng.permutation(len(pairs))
    chosen = [pairs[k] for k in (order[each : 2 * each] if control else order[:each])]
    folder = shared / "data/micrographs"
    parts = [np.stack([picture(folder / pair[k], side) for pair in chosen]) for k in (0, 1)]
    return Halves(parts[0], parts[1], tuple(pair[0] for pair in chosen), tuple(pair[1] for pair in chosen))
