"""The stock of training pictures, and batches of windows cut from it afresh at every step.

Real pictures are kept whole, so that no window is seen twice: place, size and aspect are drawn anew. Half of the
windows come in clusters: neighbouring tiles of one image that do not overlap, fields of one group, members of one
drawn family. Those are the look-alikes that a metric has to learn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from twinscope.train import data, drawn
from twinscope.train.data import SIDE, Batch, Bytes, Rng, Window

MEMBERS = 4
DRAWN_SHARE = 0.35
ALIKE_SHARE = 0.4
"""The share of clusters of real pictures that are look-alikes of other groups, where these are known."""
SOFT_SHARE = 0.15
SOFT_PX = (20, 90)
"""The share of clusters that are shown as a few pixels enlarged, and how many there are on a side."""
KINDS = ("anchor", "v02", "figure", "strong")
VIEWS = ((0.45, 0.35, 0.2, 0.0), (0.0, 0.6, 0.2, 0.2), (0.0, 0.15, 0.6, 0.25))
"""The odds of each of `KINDS`, for each view of a window."""


class Picture(NamedTuple):
    """Where a whole picture lies in the stock, and where it comes from."""

    offset: int
    height: int
    width: int
    source: str
    group: int
    modality: str


class Stock(NamedTuple):
    """`pixels` flat uint8 (RGB pictures one after the other), `drawn` (families, 4, 256, 256) grey uint8."""

    pixels: Bytes
    pictures: list[Picture]
    drawn: Bytes
    sha256: str

    def picture(self, number: int) -> Bytes:
        """Return picture `number`, HxWx3 RGB uint8."""
        one = self.pictures[number]
        flat = self.pixels[one.offset : one.offset + one.height * one.width * 3]
        return flat.reshape(one.height, one.width, 3)


def stock(folder: Path, seed: int, families: int = 2500) -> Stock:
    """Return the stock from `folder`, building it there first when it is missing or made of other data."""
    rows = data.micrographs("train")
    key = json.dumps([seed, families, MEMBERS, SIDE, [row["sha256"] for row in rows]])
    digest = hashlib.sha256(key.encode() + Path(drawn.__file__).read_bytes()).hexdigest()
    table, pixels, shapes = (folder / name for name in ("stock.json", "stock.npy", "stock-drawn.npy"))
    if not table.exists() or json.loads(table.read_text())["sha256"] != digest:
        folder.mkdir(parents=True, exist_ok=True)
        images = [data.read_rgb(row["path"]) for row in rows]
        groups = {name: k for k, name in enumerate(sorted({row["source"] + row["group"] for row in rows}))}
        starts = np.cumsum([0, *(image.size for image in images)])
        pictures = [
            Picture(
                int(start),
                len(image),
                image.shape[1],
                row["source"],
                groups[row["source"] + row["group"]],
                row["modality"],
            )
            for start, image, row in zip(starts[:-1], images, rows, strict=True)
        ]
        np.save(pixels, np.concatenate([image.ravel() for image in images]))
        np.save(shapes, _families(np.random.default_rng(seed), families))
        table.write_text(json.dumps({"sha256": digest, "pictures": pictures}))
    record = json.loads(table.read_text())
    pictures = [Picture._make(row) for row in record["pictures"]]
    return Stock(np.load(pixels, mmap_mode="r"), pictures, np.load(shapes, mmap_mode="r"), digest)


def _families(rng: Rng, count: int) -> Bytes:
    out = np.empty((count, MEMBERS, SIDE, SIDE), np.uint8)
    for number in range(count):
        style, seeds = np.random.default_rng(rng.integers(2**32)), [int(s) for s in rng.integers(2**32, size=MEMBERS)]
        out[number] = drawn.family(style, seeds)
    return out


class FreshBatches(Dataset[Batch]):
    """Batch `step` of a run, from (seed, step) alone: three views of each of `windows` fresh windows.

    alike: for each picture those that look most like it, from `lookalikes`; without, none are known.
    blended: the share of clusters of real pictures whose windows are each blended with something else first, so that
    they are like no picture of the stock.
    """

    def __init__(
        self,
        source: Stock,
        seed: int,
        windows: int,
        side: int,
        steps: int,
        alike: NDArray[np.int64] | None = None,
        blended: float = 0.0,
    ) -> None:
        self.source, self.seed, self.windows, self.side, self.steps = source, seed, windows, side, steps
        self.alike, self.blended = alike, blended
        self.odds = _odds(source.pictures)
        self.fields: dict[int, list[int]] = {}
        for number, one in enumerate(source.pictures):
            self.fields.setdefault(one.group, []).append(number)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, step])
        parts, windows = self.draw(rng)
        return viewed(parts, windows, rng, self.side)

    def draw(self, rng: Rng) -> tuple[list[Bytes], list[Window]]:
        """Return fresh windows (256x256 RGB uint8) and what they are; `level` numbers the clusters."""
        parts: list[Bytes] = []
        windows: list[Window] = []
        families: set[int] = set()
        cluster = 0
        while len(parts) < self.windows:
            cluster += 1
            many = int(rng.integers(3, 8)) if rng.random() < 0.3 else 1
            if rng.random() < (DRAWN_SHARE if len(self.source.pictures) else 1.0):
                family = int(rng.integers(len(self.source.drawn)))
                if family in families:
                    continue
                families.add(family)
                found = self._drawn(rng, family, min(many, MEMBERS), cluster)
            else:
                found = self._real(rng, int(rng.choice(len(self.odds), p=self.odds)), many, cluster)
                if self.blended and rng.random() < self.blended:
                    found = [(self._blend(part, rng), window) for part, window in found]
            grain = int(np.exp(rng.uniform(*np.log(SOFT_PX)))) if rng.random() < SOFT_SHARE else SIDE
            for part, window in found[: self.windows - len(parts)]:
                parts.append(part if grain == SIDE else soft(part, grain))
                windows.append(window)
        return parts, windows

    def _real(self, rng: Rng, number: int, many: int, cluster: int) -> list[tuple[Bytes, Window]]:
        one = self.source.pictures[number]
        fields = self.fields[one.group]
        numbers = [number]
        if self.alike is not None and rng.random() < ALIKE_SHARE:
            many = int(rng.integers(3, 8))
            numbers += [
                int(k) for k in rng.choice(self.alike[number], min(many - 1, self.alike.shape[1]), replace=False)
            ]
        elif many > 1 and one.source in data.NEIGHBOURS_ARE_APART and len(fields) > 1:
            others = [k for k in rng.permutation(fields) if k != number]
            numbers += [int(k) for k in others[: many - 1]]
        each = -(-many // len(numbers))
        out = []
        for k in numbers:
            shown = self.source.pictures[k]
            for box, part in cut_fresh(self.source.picture(k), rng, each):
                out.append((part, Window(k, shown.group, cluster, shown.source, shown.modality, box)))
        return out[:many]

    def _blend(self, part: Bytes, rng: Rng) -> Bytes:
        """Return a window with a drawn member or a window of any picture laid over it, at a share of .25 to .6."""
        other = self.source.drawn[int(rng.integers(len(self.source.drawn))), int(rng.integers(MEMBERS))][..., None]
        if rng.random() < 0.5:
            found = cut_fresh(self.source.picture(int(rng.choice(len(self.odds), p=self.odds))), rng, 1)
            other = found[0][1] if found else other
        share = rng.uniform(0.25, 0.6)
        over = np.rot90(other, int(rng.integers(4))).astype(np.float32)
        return np.asarray(np.rint((1 - share) * part + share * over), np.uint8)

    def _drawn(self, rng: Rng, family: int, many: int, cluster: int) -> list[tuple[Bytes, Window]]:
        first, total = len(self.source.pictures), len(self.source.drawn)
        other, share = int(rng.integers(total)), rng.uniform(0.25, 0.6)
        mixed = rng.random() < 0.3 and other != family
        out = []
        for k in rng.permutation(MEMBERS)[:many]:
            grey = self.source.drawn[family, k]
            if mixed:
                grey = cv2.addWeighted(grey, 1 - share, self.source.drawn[other, k], share, 0)
            grey = np.rot90(grey, int(rng.integers(4)))
            side = int(rng.integers(160, SIDE + 1)) if rng.random() < 0.75 else int(rng.integers(48, 160))
            x, y = (int(v) for v in rng.integers(0, SIDE - side + 1, 2))
            grey = cv2.resize(
                np.ascontiguousarray(grey[y : y + side, x : x + side]), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
            )
            window = Window(first + MEMBERS * family + int(k), 10**6 + family, cluster, "drawn", "drawn", (0, 0, 1, 1))
            out.append((np.asarray(np.repeat(grey[..., None], 3, 2), np.uint8), window))
        return out


def lookalikes(
    source: Stock, embed: Callable[[Bytes], NDArray[np.float32]], seed: int, each: int = 4, many: int = 12
) -> NDArray[np.int64]:
    """Return for each picture the `many` that look most like it and may not share content: (pictures, many).

    As near as the nearest of `each` windows of one to those of the other; `embed` takes (n, 128, 128) grey uint8.
    """
    rng = np.random.default_rng([seed, 3])
    views, owners = [], []
    for number in range(len(source.pictures)):
        for _, part in cut_fresh(source.picture(number), rng, each):
            views.append(data.view(part, rng, "anchor", 128))
            owners.append(number)
    points, owner = embed(np.stack(views)), np.array(owners)
    place = data.places(
        [Window(k, p.group, 0, p.source, p.modality, (0, 0, 1, 1)) for k, p in enumerate(source.pictures)]
    )
    order = []
    for number in range(len(source.pictures)):
        far = np.full(len(source.pictures), np.inf)
        cosines = points[owner == number] @ points.T
        if len(cosines):
            np.minimum.at(far, owner, -cosines.max(0))
        far[place == place[number]] = np.inf
        order.append(np.argsort(far, kind="stable")[:many])
    return np.stack(order)


def viewed(
    parts: list[Bytes],
    windows: list[Window],
    rng: Rng,
    side: int,
    kinds: Sequence[str] = KINDS,
    odds: Sequence[Sequence[float]] = VIEWS,
) -> Batch:
    """Return views (side x side) of windows (256x256 RGB uint8), and which show the same.

    Each row of `odds` gives every window one view, of a kind that is drawn with these odds. Views of all windows come
    row after row.
    """
    views = []
    for row in odds:
        for k, how in enumerate(rng.choice(list(kinds), len(parts), p=list(row))):
            views.append(data.view(parts[k], rng, str(how), side, parts[(k + 7) % len(parts)]))
    same, unsure = data.relations(windows)
    times = (len(odds), len(odds))
    places = np.tile(data.places(windows), len(odds))
    return Batch(np.stack(views), np.tile(same, times), np.tile(unsure, times), places)


def cut_fresh(picture: Bytes, rng: Rng, most: int) -> list[tuple[tuple[int, int, int, int], Bytes]]:
    """Return up to `most` boxes of a picture (HxWx3 RGB uint8) and their windows (256x256), none blank.

    They are `fresh_tiles` of one draw, so that they do not overlap. There may be none.
    """
    out: list[tuple[tuple[int, int, int, int], Bytes]] = []
    for box in fresh_tiles((picture.shape[0], picture.shape[1]), rng)[: most + 2]:
        part = picture[box[1] : box[3], box[0] : box[2]]
        if not data.blank(part):
            out.append((box, whole(part)))
        if len(out) == most:
            break
    return out


def whole(part: Bytes) -> Bytes:
    """Return a picture or a part of one (HxWxC uint8) as a window: 256x256, its aspect given up."""
    how = cv2.INTER_AREA if part.shape[0] * part.shape[1] > SIDE**2 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=how), np.uint8)


def shrunk(picture: Bytes, side: int) -> Bytes:
    """Return a picture (HxW or HxWx3 RGB uint8) as a network sees it: side x side grey uint8."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if grey.shape != (side, side):
        how = cv2.INTER_AREA if grey.size > side**2 else cv2.INTER_CUBIC
        grey = cv2.resize(grey, (side, side), interpolation=how)
    return np.asarray(grey, np.uint8)


def soft(part: Bytes, side: int) -> Bytes:
    """Return a window (256x256xC uint8) as side x side pixels of it look enlarged, as many blot strips are."""
    small = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def fresh_tiles(shape: tuple[int, int], rng: Rng) -> list[tuple[int, int, int, int]]:
    """Return boxes of one random size and aspect that do not overlap, on a grid at a random place, in random order.

    Sides: 256 px (.4), the whole shorter side (.2), or log-uniform in 160-800 px; half of the boxes are not square.
    """
    height, width = shape
    short, draw = min(shape), rng.random()
    side = 256.0 if draw < 0.4 else (float(short) if draw < 0.6 else float(np.exp(rng.uniform(*np.log((160, 800))))))
    aspect = float(np.exp(rng.normal(0, 0.2))) if rng.random() < 0.5 else 1.0
    wide = int(np.clip(side * np.sqrt(aspect), 32, width))
    tall = int(np.clip(side / np.sqrt(aspect), 32, height))
    nx, ny = width // wide, height // tall
    left, top = int(rng.integers(0, width - nx * wide + 1)), int(rng.integers(0, height - ny * tall + 1))
    corners = [(left + x * wide, top + y * tall) for y in range(ny) for x in range(nx)]
    return [(x, y, x + wide, y + tall) for x, y in (corners[k] for k in rng.permutation(len(corners)))]


def _odds(pictures: list[Picture]) -> NDArray[np.float64]:
    """Return each picture's odds: a modality has the root of its windows' number as its share, a group likewise."""
    count = np.array([min(24, max(1, p.height * p.width // SIDE**2)) for p in pictures], np.float64)
    modality, group = np.array([p.modality for p in pictures]), np.array([p.group for p in pictures])
    odds = np.zeros(len(pictures))
    for name in np.unique(modality):
        for g in np.unique(group[modality == name]):
            mine = (modality == name) & (group == g)
            odds[mine] = count[mine] / np.sqrt(count[mine].sum())
        inside = modality == name
        odds[inside] *= np.sqrt(count[inside].sum()) / odds[inside].sum()
    return np.asarray(odds / max(1e-12, float(odds.sum())))
