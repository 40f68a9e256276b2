"""PS-Battles (Heller, Rossetto and Schuldt, arXiv:1804.04866) as black-2021 uses it, for those who have it.

The layout is that of its own repository after its download script has run:

    originals.tsv       id url end hash filesize score author link timestamp width height
    photoshops.tsv      the same with `original`, the id of what was edited, after `id`
    originals/<id>.<end>
    photoshops/<original>/<id>.<end>

Links die, so that some pictures are missing; a pair is there when both of its pictures are. The boxes that workers drew
for black-2021 (section 4.1) are not published: `drawn_boxes` reads a table of our own form, annotations.csv with the
columns photoshop, worker, x0, y0, x1, y1, in px of the photoshop, half-open; a worker who saw no change has a row with
empty corners.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope.errors import UsageError
from twinscope.train.changes import MANIPULATED, SIZE, Mask, coarse
from twinscope.train.changes_real import RealPair, read, resized, resized_mask
from twinscope.train.data import Bytes

Float = NDArray[np.float32]
Boxes = tuple[tuple[int, int, int, int], ...]

BETA = 150.0
"""The distance of black-2021, section 4.1: pairs further apart are obviously different and are left out."""
WORKERS = 3
TEST_SHARE = 807 / 7171
"""The share of originals that black-2021 tests on; which ones is not published."""


class Battle(NamedTuple):
    """An edited picture and its original: ids, files, the editor's name and the votes it got."""

    photoshop: str
    original: str
    photoshop_path: Path
    original_path: Path
    author: str
    score: int


class PSBattles(NamedTuple):
    """The pairs whose files are both there, and how many others the tables list."""

    battles: list[Battle]
    missing: int


def load(folder: Path) -> PSBattles:
    """Return the pairs of a PS-Battles folder, in the order of photoshops.tsv.

    Raises UsageError where a table or a column is missing, a photoshop names an original that is not listed, or not a
    single pair has both of its files.
    """
    originals = {row["id"]: row for row in _table(folder / "originals.tsv", ("id", "end"))}
    battles, missing = [], 0
    rows = _table(folder / "photoshops.tsv", ("id", "original", "end"))
    for row in rows:
        source = originals.get(row["original"])
        if source is None:
            raise UsageError(
                f"{folder / 'photoshops.tsv'} lists {row['id']}, an edit of {row['original']}, which originals.tsv "
                "does not list; take both tables from one version of the data set"
            )
        original = folder / "originals" / f"{source['id']}.{source['end']}"
        photoshop = folder / "photoshops" / source["id"] / f"{row['id']}.{row['end']}"
        if not (original.is_file() and photoshop.is_file()):
            missing += 1
            continue
        score = row.get("score") or "0"
        battles.append(
            Battle(
                row["id"], source["id"], photoshop, original, row.get("author") or "",
                int(score) if score.lstrip("-").isdigit() else 0,
            )
        )  # fmt: skip
    if not battles:
        raise UsageError(
            f"{folder} has the files of none of {len(rows)} pairs; run the download script of PS-Battles there first"
        )
    return PSBattles(battles, missing)


def near(
    battles: Iterable[Battle], features: Callable[[Bytes], NDArray[np.float32]], beta: float = BETA, size: int = SIZE
) -> list[Battle]:
    """Return the pairs that are closer than `beta`: |f(O) - f(P)| in L2 (black-2021, section 4.1).

    features: f, from (n, size, size, 3) uint8 RGB to (n, d); the paper takes a ResNet-50 trained on ImageNet, and does
    not say which layer. Originals are seen once.
    """
    known: dict[str, NDArray[np.float32]] = {}
    out = []
    for one in battles:
        if one.original not in known:
            known[one.original] = features(resized(read(one.original_path), size)[None])[0]
        other = features(resized(read(one.photoshop_path), size)[None])[0]
        if float(np.linalg.norm(known[one.original] - other)) < beta:
            out.append(one)
    return out


def is_test(original: str) -> bool:
    """Tell whether an original, by its id, and all its edits are for testing: about `TEST_SHARE` of them are."""
    return int.from_bytes(hashlib.sha256(original.encode()).digest()[:4], "big") < TEST_SHARE * 2**32


def drawn_boxes(path: Path) -> dict[str, list[Boxes]]:
    """Return for each annotated photoshop (id) the boxes of each worker, in the order of the workers' names.

    Raises UsageError where the file or a column is missing, or a corner is no whole number.
    """
    workers: dict[str, dict[str, list[tuple[int, int, int, int]]]] = {}
    for number, row in enumerate(_table(path, ("photoshop", "worker", "x0", "y0", "x1", "y1"), ","), 2):
        boxes = workers.setdefault(row["photoshop"], {}).setdefault(row["worker"], [])
        corners = [(row[name] or "").strip() for name in ("x0", "y0", "x1", "y1")]
        if not any(corners):
            continue
        try:
            x0, y0, x1, y1 = (int(text) for text in corners)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: a box is four whole numbers, not {', '.join(corners)}") from error
        boxes.append((x0, y0, x1, y1))
    return {name: [tuple(boxes) for _, boxes in sorted(each.items())] for name, each in workers.items()}


def masks(workers: Iterable[Boxes], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return each worker's map G_k, (workers, H, W) bool: True inside a box; `size` is (height, width)."""
    out = []
    for boxes in workers:
        one = np.zeros(size, np.bool_)
        for x0, y0, x1, y1 in boxes:
            one[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
        out.append(one)
    return np.stack(out) if out else np.zeros((0, *size), np.bool_)


def target(maps: NDArray[np.bool_], side: int = 7) -> Float:
    """Return T, (side, side) float32: the mean over workers of their maps, each brought to side x side first.

    In [0, 1]; 1 is where all workers marked all of a field (black-2021, section 4.1, with 3 workers).
    """
    if not len(maps):
        return np.zeros((side, side), np.float32)
    return np.asarray(np.mean([coarse(one, side) for one in maps], 0), np.float32)


def merged(maps: NDArray[np.bool_]) -> Mask:
    """Return the binary truth of the maps (k, H, W): True where more than half of the workers marked a pixel."""
    return np.asarray(maps.sum(0) * 2 > len(maps)) if len(maps) else np.zeros(maps.shape[1:], np.bool_)


class Annotated(NamedTuple):
    """A pair and its 7x7 target, where somebody drew boxes. `pair.changed` lies in the frame of the photoshop."""

    pair: RealPair
    target: Float | None


def pairs(
    battles: Iterable[Battle], boxes: Mapping[str, list[Boxes]] | None = None, size: int = SIZE, side: int = 7
) -> Iterator[Annotated]:
    """Yield pairs, resized to `size` px square, with the merged boxes and the target where there are any.

    The boxes were drawn on the edited picture: unlike elsewhere, `changed` lies in the query's frame. Raises UsageError
    for a picture that cannot be read.
    """
    for one in battles:
        original, photoshop = read(one.original_path), read(one.photoshop_path)
        workers = None if boxes is None else boxes.get(one.photoshop)
        changed, heat = None, None
        if workers is not None:
            maps = masks(workers, (photoshop.shape[0], photoshop.shape[1]))
            changed, heat = resized_mask(merged(maps), size), target(maps, side)
        how = ("psbattles", f"{one.original}/{one.photoshop}")
        real = RealPair(resized(original, size), resized(photoshop, size), None, None, changed, MANIPULATED, how)
        yield Annotated(real, heat)


def _table(path: Path, columns: tuple[str, ...], mark: str = "\t") -> list[dict[str, str]]:
    if not path.is_file():
        raise UsageError(f"{path} is missing; it is part of the data set")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter=mark, quoting=csv.QUOTE_NONE if mark == "\t" else csv.QUOTE_MINIMAL)
        lacking = [name for name in columns if name not in (reader.fieldnames or ())]
        if lacking:
            raise UsageError(f"{path} has no column {lacking[0]}; it must have {', '.join(columns)}")
        rows = []
        for number, row in enumerate(reader, 2):
            if any(row[name] is None for name in columns):
                raise UsageError(f"{path}, line {number} is cut off; fetch the table again")
            rows.append(row)
    return rows
