"""The training pool: 256 px windows of whole images and drawn pictures, and the batches of views made from it.

A window is a square part of an image, resized to 256x256 RGB uint8. Windows of one image are tiles without overlap
at each of several sizes. A batch holds two views of each of its windows; half of the windows come in clusters from
one image, group or drawn family, because the look-alikes are what a metric has to learn.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate
from twinscope.train import drawn

Bytes = NDArray[np.uint8]
Rng = np.random.Generator

SIDE = 256
NEIGHBOURS_ARE_APART = frozenset({"dsb2018", "bbbc039", "axondeepseg_sem", "drawn"})
"""Sources whose groups hold touching or separate fields; elsewhere two images of one group may show the same place."""


class Window(NamedTuple):
    """One window of the pool: what it was cut from; `level` tells its size, and tiles of one level never overlap."""

    image: int
    group: int
    level: int
    source: str
    modality: str
    box: tuple[int, int, int, int]


class Pool(NamedTuple):
    """`pixels` (n, 256, 256, 3) uint8 RGB, one row for each window; `sha256` tells data and settings apart."""

    pixels: Bytes
    windows: list[Window]
    sha256: str


def shared() -> Path:
    """Return the folder of shared data: $TWINSCOPE_SHARED or ../shared beside the checkout."""
    return Path(os.environ.get("TWINSCOPE_SHARED", str(Path(__file__).parents[3] / ".." / "shared")))


def micrographs(split: str) -> list[dict[str, str]]:
    """Return the rows of the micrographs' manifest in one split (train, val, test), each with its full `path`."""
    root = shared() / "data" / "micrographs"
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [{**row, "path": str(root / row["file"])} for row in csv.DictReader(file) if row["split"] == split]


def read_rgb(path: str) -> Bytes:
    """Return an image of the data sets as HxWx3 RGB uint8."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{path} cannot be read; is ../shared in place?")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def pool(folder: Path, seed: int, families: int = 1000, per_level: int = 6) -> Pool:
    """Return the training pool from `folder`, building it there first when it is missing or made of other data."""
    rows = micrographs("train")
    key = json.dumps([seed, families, per_level, SIDE, [row["sha256"] for row in rows], 1])
    digest = hashlib.sha256(key.encode() + Path(drawn.__file__).read_bytes()).hexdigest()
    table, pixels = folder / "pool.json", folder / "pool.npy"
    if not table.exists() or json.loads(table.read_text())["sha256"] != digest:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        parts, windows = cut(rows, rng, per_level)
        more, drawn_windows = _drawn(rng, families, first=len(rows))
        np.save(pixels, np.concatenate([parts, more]))
        table.write_text(json.dumps({"sha256": digest, "windows": [*windows, *drawn_windows]}))
    record = json.loads(table.read_text())
    windows = [Window._make([*row[:5], tuple(row[5])]) for row in record["windows"]]
    return Pool(np.load(pixels, mmap_mode="r"), windows, digest)


def cut(
    rows: list[dict[str, str]], rng: Rng, per_level: int, levels: tuple[int, ...] = (256, 384, 576, 0)
) -> tuple[Bytes, list[Window]]:
    """Cut images into windows: at each level (side in px, 0 = the shorter side) up to `per_level` tiles, none blank."""
    groups = {name: k for k, name in enumerate(sorted({row["source"] + row["group"] for row in rows}))}
    parts: list[Bytes] = []
    windows: list[Window] = []
    for number, row in enumerate(rows):
        image = read_rgb(row["path"])
        short = min(image.shape[:2])
        sides = sorted({min(short, side or short) for side in levels})
        for level, side in enumerate(s for i, s in enumerate(sides) if i == 0 or s > 1.2 * sides[i - 1]):
            for box in tiles(image.shape, side, rng)[:per_level]:
                part = image[box[1] : box[3], box[0] : box[2]]
                if not blank(part):
                    how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
                    parts.append(np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=how)))
                    group = groups[row["source"] + row["group"]]
                    windows.append(Window(number, group, level, row["source"], row["modality"], box))
    return np.stack(parts), windows


def tiles(shape: tuple[int, ...], side: int, rng: Rng) -> list[tuple[int, int, int, int]]:
    """Return boxes of side px that tile the middle of an image without overlap, in random order."""
    ny, nx = shape[0] // side, shape[1] // side
    top, left = (shape[0] - ny * side) // 2, (shape[1] - nx * side) // 2
    corners = [(left + x * side, top + y * side) for y in range(ny) for x in range(nx)]
    return [(x, y, x + side, y + side) for x, y in (corners[k] for k in rng.permutation(len(corners)))]


def blank(part: Bytes) -> bool:
    """Tell whether a window shows nothing: its middle half, smoothed, varies by less than 2 grey values of 255."""
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = grey.shape
    middle = grey[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(cv2.GaussianBlur(middle, (0, 0), 2.0).std()) < 2.0


def _drawn(rng: Rng, families: int, first: int) -> tuple[Bytes, list[Window]]:
    parts, windows = [], []
    for number in range(families):
        style, seeds = np.random.default_rng(rng.integers(2**32)), [int(s) for s in rng.integers(2**32, size=4)]
        for k, picture in enumerate(drawn.family(style, seeds)):
            parts.append(np.repeat(picture[..., None], 3, 2))
            windows.append(Window(first + 4 * number + k, 10**6 + number, 0, "drawn", "drawn", (0, 0, SIDE, SIDE)))
    return np.stack(parts), windows


# ---------------------------------------------------------------------------------------------------- views


def view(window: Bytes, rng: Rng, how: str, size: int, donor: Bytes | None = None) -> Bytes:
    """Return a view (size x size grey uint8) of a 256 px window: "anchor", "v02", "strong" or "figure".

    `donor`, another window, gives the pieces that "figure" splices in.
    """
    if how == "strong":
        image = _strong(_mixed_grey(window, rng), rng)
    elif how == "figure":
        image = _figure(window, rng, donor)
    else:
        grey = _luma(window)
        image = manipulate.v02(grey, rng, deformed=how == "v02").image
    if size != image.shape[0]:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _figure(window: Bytes, rng: Rng, donor: Bytes | None) -> NDArray[np.float32]:
    """Return a 128 px grey view by the `figure` preset of about the middle half of a window."""
    colour = rng.random() < 0.2 and bool((window[..., 0] != window[..., 1]).any())
    image = window.astype(np.float32) / np.float32(255) if colour else _mixed_grey(window, rng)
    half = int(rng.uniform(0.4, 0.65) * SIDE / 2)
    frame = (SIDE // 2 - half, SIDE // 2 - half, SIDE // 2 + half, SIDE // 2 + half)
    piece = None if donor is None else _luma(donor)
    out = manipulate.figure(image, rng, frame=frame, size=(128, 128), donor=piece).image
    return out if out.ndim == 2 else np.asarray(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), np.float32)


def _luma(window: Bytes) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(window, cv2.COLOR_RGB2GRAY), np.float32) / np.float32(255)


def _mixed_grey(window: Bytes, rng: Rng) -> NDArray[np.float32]:
    """Return luma, or (one in five) one channel or another mix of a colour window."""
    if rng.random() < 0.8:
        return _luma(window)
    weights = np.eye(3)[rng.integers(3)] if rng.random() < 0.5 else rng.dirichlet(np.ones(3))
    out = np.asarray(cv2.transform(window, weights[None]), np.float32) / np.float32(255)
    return out if out.std() > 0.01 else _luma(window)


def _strong(grey: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
    """Return a 128 px view with all that figures suffer: any rotation, scale, aspect, tone, overlays, compression."""
    middle, turn = (SIDE - 1) / 2, np.eye(3)
    angle = (
        90.0 * rng.integers(4) + rng.normal(0, 8) * (rng.random() < 0.5) if rng.random() < 0.6 else rng.uniform(0, 360)
    )
    factor, aspect = np.exp(rng.uniform(-0.55, 0.5)), np.exp(rng.normal(0, 0.06))
    turn[:2] = cv2.getRotationMatrix2D((middle, middle), float(angle), float(factor))
    squeeze = np.array([[aspect, 0, middle * (1 - aspect)], [0, 1 / aspect, middle * (1 - 1 / aspect)], [0, 0, 1]])
    if rng.random() < 0.5:
        squeeze = squeeze @ np.array([[-1, 0, SIDE - 1], [0, 1, 0], [0, 0, 1]])
    move = np.array([[1, 0, rng.uniform(-16, 16) - 64], [0, 1, rng.uniform(-16, 16) - 64], [0, 0, 1]])
    shape = manipulate.corner_transform((SIDE, SIDE), rng.uniform(-14, 14, (4, 2))) if rng.random() < 0.3 else np.eye(3)
    fill = None if rng.random() < 0.75 else float(rng.integers(2))
    image = manipulate.warp(grey, move @ squeeze @ turn @ shape, (128, 128), fill).image
    for share, step in _CHANGES:
        if rng.random() < share:
            image = step(image, rng).image
    return image


_CHANGES: list[tuple[float, manipulate.Step]] = [
    (0.25, manipulate.resample),
    (0.2, manipulate.blur),
    (0.5, manipulate.gamma),
    (0.5, manipulate.contrast),
    (0.3, manipulate.brightness),
    (0.15, manipulate.erase),
    (0.1, manipulate.local_contrast),
    (0.1, manipulate.clone),
    (0.08, manipulate.splice),
    (0.1, manipulate.retouch),
    (0.2, manipulate.letters),
    (0.1, manipulate.scale_bar),
    (0.1, manipulate.arrow),
    (0.1, manipulate.outline),
    (0.3, manipulate.noise),
    (0.12, manipulate.invert),
    (0.5, manipulate.jpeg),
]


# --------------------------------------------------------------------------------------------------- batches


class Batch(NamedTuple):
    """`views` (2n, size, size) uint8, views k and n + k of one window; `same` and `unsure` (2n, 2n) bool."""

    views: Bytes
    same: NDArray[np.bool_]
    unsure: NDArray[np.bool_]


class Batches:
    """The batch of a step, from (seed, step) alone; a map-style dataset, so that a run can resume at any step."""

    def __init__(self, source: Pool, seed: int, windows: int, side: int, steps: int) -> None:
        self.source, self.seed, self.windows, self.side, self.steps = source, seed, windows, side, steps
        self.weights, self.by_cluster = _weights(source.windows)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, step])
        chosen = self._choose(rng)
        first = rng.choice(["anchor", "v02", "strong"], len(chosen), p=[0.45, 0.3, 0.25])
        second = rng.choice(["v02", "strong"], len(chosen), p=[0.6, 0.4])
        parts = [self.source.pixels[k] for k in chosen]
        views = [
            view(part, rng, how, self.side) for hows in (first, second) for part, how in zip(parts, hows, strict=True)
        ]
        same, unsure = relations([self.source.windows[k] for k in chosen])
        return Batch(np.stack(views), np.tile(same, (2, 2)), np.tile(unsure, (2, 2)))

    def _choose(self, rng: Rng) -> NDArray[np.int64]:
        """Return windows: half in clusters of up to six of one image, group or family, half anywhere."""
        chosen: list[int] = []
        while len(chosen) < self.windows // 2:
            seed_window = int(rng.choice(len(self.weights), p=self.weights))
            cluster = self.by_cluster[seed_window]
            chosen += [int(k) for k in rng.permutation(cluster)[:6]]
        chosen += [int(k) for k in rng.choice(len(self.weights), self.windows, p=self.weights)]
        unique = list(dict.fromkeys(chosen))
        return np.array(unique[: self.windows])


def relations(windows: list[Window]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pairs of windows are the same one, and which may share content (neither same nor different)."""
    image, group, level = (np.array([w[k] for w in windows]) for k in range(3))
    apart = np.array([w.source in NEIGHBOURS_ARE_APART for w in windows])
    same = np.eye(len(windows), dtype=np.bool_)
    one_image = image[:, None] == image
    one_group = group[:, None] == group
    unsure = (one_image & (level[:, None] != level)) | (one_group & ~one_image & ~apart)
    return same, unsure & ~same


def _weights(windows: list[Window]) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """Return the odds of each window and its cluster: tiles of its image and level, or its group where that is safe.

    A modality has the square root of its windows as its share, and inside it every group the square root of its own.
    """
    modality = np.array([w.modality for w in windows])
    group = np.array([w.group for w in windows])
    weights = np.zeros(len(windows))
    for name in np.unique(modality):
        inside = modality == name
        share = 45.0 if name == "drawn" else np.sqrt(inside.sum())
        sizes = {g: int((group[inside] == g).sum()) for g in np.unique(group[inside])}
        odds = np.array([1 / np.sqrt(sizes[g]) for g in group[inside]])
        weights[inside] = share * odds / odds.sum()
    members: dict[Any, list[int]] = {}
    for k, w in enumerate(windows):
        members.setdefault((w.group, w.level) if w.source in NEIGHBOURS_ARE_APART else (w.image, w.level), []).append(k)
    clusters = {key: np.array(value) for key, value in members.items()}
    keys = [(w.group, w.level) if w.source in NEIGHBOURS_ARE_APART else (w.image, w.level) for w in windows]
    return weights / weights.sum(), [clusters[key] for key in keys]
