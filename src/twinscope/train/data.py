"""Windows of whole images, views of windows, and which windows show the same.

A window is a square part of an image, resized to 256x256 RGB uint8. A view is what a network sees of it: plain, or as
a manipulation leaves it. Tiles of one image do not overlap at any one size.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate

Bytes = NDArray[np.uint8]
Rng = np.random.Generator

SIDE = 256
NEIGHBOURS_ARE_APART = frozenset({"dsb2018", "bbbc039", "axondeepseg_sem", "drawn"})
"""Sources whose groups hold touching or separate fields; elsewhere two images of one group may show the same place."""


class Window(NamedTuple):
    """What a window was cut from; `level` tells its size or cluster, and tiles of one level never overlap."""

    image: int
    group: int
    level: int
    source: str
    modality: str
    box: tuple[int, int, int, int]


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


def cut(
    rows: list[dict[str, str]], rng: Rng, per_level: int, levels: tuple[int, ...] = (256, 384, 576, 0)
) -> tuple[Bytes, list[Window]]:
    """Cut images into windows: at each level (side in px, 0 = the shorter side) up to `per_level` tiles, none blank."""
    groups = {name: k for k, name in enumerate(sorted({row["source"] + row["group"] for row in rows}))}
    parts: list[Bytes] = []
    windows: list[Window] = []
    for number, row in enumerate(rows):
        group = groups[row["source"] + row["group"]]
        for level, box, part in cut_one(read_rgb(row["path"]), rng, per_level, levels):
            parts.append(part)
            windows.append(Window(number, group, level, row["source"], row["modality"], box))
    return np.stack(parts), windows


def cut_one(
    image: Bytes, rng: Rng, per_level: int, levels: tuple[int, ...]
) -> Iterator[tuple[int, tuple[int, int, int, int], Bytes]]:
    """Yield an image's windows as `cut` takes them: level, box in the image, window (256x256 RGB uint8)."""
    short = min(image.shape[:2])
    sides = sorted({min(short, side or short) for side in levels})
    for level, side in enumerate(s for i, s in enumerate(sides) if i == 0 or s > 1.2 * sides[i - 1]):
        for box in tiles(image.shape, side, rng)[:per_level]:
            part = image[box[1] : box[3], box[0] : box[2]]
            if not blank(part):
                how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
                yield level, box, np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=how), np.uint8)


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


# ---------------------------------------------------------------------------------------------------- views


def view(window: Bytes, rng: Rng, how: str, size: int, donor: Bytes | None = None) -> Bytes:
    """Return a view (size x size grey uint8) of a 256 px window: "anchor", "v02", "geometric", "strong" or "figure".

    `donor`, another window, gives the pieces that "figure" splices in.
    """
    if how == "strong":
        image = _strong(_mixed_grey(window, rng), rng)
    elif how == "figure":
        image = _figure(window, rng, donor)
    elif how == "geometric":  # as in SN[G]: nothing is edited, but clutter is on all
        image = manipulate.clutter(manipulate.geometric(_luma(window), rng).image, rng).image
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


class Batch(NamedTuple):
    """`views` (n, size, size) uint8; `same` and `unsure` (n, n) bool: which are of one window, which may overlap.

    `places` (n,), if known: equal where views of other batches may show the same, as `places` has it.
    """

    views: Bytes
    same: NDArray[np.bool_]
    unsure: NDArray[np.bool_]
    places: NDArray[np.int64] | None = None


def relations(windows: list[Window]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pairs of windows are the same one, and which may share content (neither same nor different)."""
    image, group, level = (np.array([w[k] for w in windows]) for k in range(3))
    apart = np.array([w.source in NEIGHBOURS_ARE_APART for w in windows])
    same = np.eye(len(windows), dtype=np.bool_)
    one_image = image[:, None] == image
    one_group = group[:, None] == group
    unsure = (one_image & (level[:, None] != level)) | (one_group & ~one_image & ~apart)
    return same, unsure & ~same


def strangers(k: int, parts: list[Bytes], same: NDArray[np.bool_], unsure: NDArray[np.bool_], rng: Rng) -> list[Bytes]:
    """Return up to three of the windows that surely show something else than window `k`, in random order."""
    return [parts[j] for j in rng.permutation(np.flatnonzero(~same[k] & ~unsure[k]))[:3]]


def places(windows: list[Window]) -> NDArray[np.int64]:
    """Return a number for each window, equal where windows of other draws may share content: its image or its group."""
    apart = [w.source in NEIGHBOURS_ARE_APART for w in windows]
    numbers = [2 * w.image if one else 2 * w.group + 1 for w, one in zip(windows, apart, strict=True)]
    return np.array(numbers, np.int64)
