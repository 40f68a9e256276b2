"""The pictures that the manuscripts are made of: micrographs by group, blot patches outside their masks.

Nothing here is random but what the caller's rng decides. `../shared` is found through TWINSCOPE_SHARED where it is set.
"""

from __future__ import annotations

import csv
import functools
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
Picture = NDArray[np.float32]

SLIDES = frozenset({"dsb2018", "bccd", "axondeepseg_sem", "openslide_crops", "cellprofiler_examples", "holo2bright"})
"""Sources where two images of a group can be different fields; the rest are movies and chains of overlapping fields."""
MOVIES = frozenset({"trackpy_examples"})


class Source(NamedTuple):
    """A whole image: its file relative to the data folder, its group, what it is."""

    file: str
    group: str
    origin: str
    modality: str
    size: tuple[int, int]


class Patch(NamedTuple):
    """A blot patch of 256x256 px: its host, its number, the versions (file, mask) that show it."""

    host: str
    number: str
    versions: tuple[tuple[str, str], ...]


def shared() -> Path:
    """Return the folder with the data; raises FileNotFoundError where there is none."""
    folder = Path(os.environ.get("TWINSCOPE_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        raise FileNotFoundError(f"no data at {folder}; set TWINSCOPE_SHARED to the folder that holds data/")
    return folder


def micrographs(split: str) -> dict[str, list[Source]]:
    """Return the images of a split by group; `split` is test, or train for train and val together."""
    wanted = {"test"} if split == "test" else {"train", "val"}
    out: dict[str, list[Source]] = defaultdict(list)
    with (shared() / "micrographs" / "manifest.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["split"] in wanted and row["modality"] != "gel":
                size = int(row["height"]), int(row["width"])
                out[row["group"]].append(Source(row["file"], row["group"], row["source"], row["modality"], size))
    return dict(out)


@functools.lru_cache(maxsize=256)
def pixels(file: str) -> Picture:
    """Return an image as float32 in [0, 1], HxW where it has no colour, else HxWx3 RGB."""
    data = cv2.imread(str(shared() / "micrographs" / file), cv2.IMREAD_COLOR)
    if data is None:
        raise FileNotFoundError(f"cannot read {file} of the micrographs")
    if (data[..., 0] == data[..., 1]).all() and (data[..., 1] == data[..., 2]).all():
        return data[..., 0].astype(np.float32) / 255
    return np.ascontiguousarray(data[..., ::-1]).astype(np.float32) / 255


def blots(split: str) -> dict[str, list[Patch]]:
    """Return blot patches by host: three quarters of the hosts for test, the others for train."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    with (shared() / "blots" / "manifest.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["tool"] != "dall_e" and row["width"] == "256":
                found[row["host"], row["patch"]].append((row["file"], row["mask"]))
    hosts = sorted({host for host, _ in found})
    wanted = {h for i, h in enumerate(hosts) if (i % 4 != 3) == (split == "test")}
    out: dict[str, list[Patch]] = defaultdict(list)
    for (host, number), versions in sorted(found.items()):
        if host in wanted:
            out[host].append(Patch(host, number, tuple(versions)))
    return dict(out)


@functools.lru_cache(maxsize=600)
def patch_pixels(patch: Patch) -> tuple[Picture, NDArray[np.bool_]]:
    """Return the unaltered pixels of a patch (256x256 float32) and where there are none.

    Outside all masks the versions of a patch agree; what is masked in one is taken from another.
    """
    folder = shared() / "blots"
    out, missing = np.zeros((256, 256), np.float32), np.ones((256, 256), np.bool_)
    for file, mask_file in patch.versions:
        image = cv2.imread(str(folder / file), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(folder / mask_file), cv2.IMREAD_GRAYSCALE)
        if image is None or mask is None or image.shape != (256, 256):
            continue
        fine = missing & (cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0)
        out[fine] = image[fine].astype(np.float32) / 255
        missing &= ~fine
    return out, missing


def clean_boxes(patch: Patch, rng: np.random.Generator, tries: int = 60) -> list[tuple[int, int, int, int]]:
    """Return places (x0, y0, x1, y1) in a patch that hold no altered pixel and some band, largest first."""
    image, missing = patch_pixels(patch)
    spare = cv2.integral(missing.astype(np.uint8))
    out = []
    for _ in range(tries):
        width, height = int(rng.integers(140, 257)), int(rng.integers(56, 257))
        x0, y0 = int(rng.integers(0, 257 - width)), int(rng.integers(0, 257 - height))
        x1, y1 = x0 + width, y0 + height
        if spare[y1, x1] - spare[y0, x1] - spare[y1, x0] + spare[y0, x0] == 0:
            part = image[y0:y1, x0:x1]
            if part.std() > 0.06:
                out.append((x0, y0, x1, y1))
    return sorted(out, key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))


def overlapping_patches() -> dict[str, list[list[str]]]:
    """Return for each host the pairs of patches that show common ground (found once, kept in the cache folder)."""
    kept = CACHE / "blot_overlaps.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    out: dict[str, list[list[str]]] = {}
    for split in ("test", "train"):
        for host, patches in blots(split).items():
            pairs = [(a, b) for i, a in enumerate(patches) for b in patches[i + 1 :]]
            out[host] = [[a.number, b.number] for a, b in pairs if _common_ground(a, b)]
    CACHE.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(out))
    return out


def _common_ground(a: Patch, b: Patch) -> bool:
    """Tell whether a textured block of one patch occurs in the other, pixel for pixel (halved, so a little loosely)."""
    (left, gap_a), (right, _) = patch_pixels(a), patch_pixels(b)
    small_a, small_b = (cv2.resize(p, (128, 128), interpolation=cv2.INTER_AREA) for p in (left, right))
    gap = cv2.resize(gap_a.astype(np.uint8), (128, 128), interpolation=cv2.INTER_NEAREST)
    for y in range(0, 108, 20):
        for x in range(0, 108, 20):
            block = small_a[y : y + 24, x : x + 24]
            if block.std() < 0.03 or gap[y : y + 24, x : x + 24].any():
                continue
            apart = cv2.matchTemplate(small_b, block, cv2.TM_SQDIFF).min() / block.size
            if apart < max(0.0001, 0.02 * float(block.var())):
                return True
    return False


def same_ground(a: Picture, b: Picture) -> bool:
    """Tell whether two whole images truly share content: some alignment of key points makes them agree in pixels.

    Used to keep truly overlapping fields out of the look-alikes. It looks at pixels, not at the count of matches, so
    it does not spare a method that is fooled by mere likeness.
    """
    grey_a, grey_b = (np.uint8(255 * (p if p.ndim == 2 else p.mean(2))) for p in (a, b))
    sift = cv2.SIFT_create(1500)
    keys_a, marks_a = sift.detectAndCompute(grey_a, None)
    keys_b, marks_b = sift.detectAndCompute(grey_b, None)
    if grey_a.shape == grey_b.shape and _agreement(grey_a, grey_b, np.eye(3)[:2]) > 0.6:
        return True
    if marks_a is None or marks_b is None or len(keys_a) < 4 or len(keys_b) < 4:
        return False
    near = cv2.BFMatcher().knnMatch(marks_a, marks_b, 2)
    good = [m[0] for m in near if len(m) == 2 and m[0].distance < 0.85 * m[1].distance]
    if len(good) < 4:
        return False
    from_a = np.array([keys_a[m.queryIdx].pt for m in good], np.float32)
    from_b = np.array([keys_b[m.trainIdx].pt for m in good], np.float32)
    move, inside = cv2.estimateAffinePartial2D(from_a, from_b, ransacReprojThreshold=3)
    return move is not None and int(inside.sum()) >= 5 and _agreement(grey_a, grey_b, move) > 0.75


def _agreement(a: NDArray[np.uint8], b: NDArray[np.uint8], move: NDArray[np.float64]) -> float:
    size = (b.shape[1], b.shape[0])
    moved = cv2.warpAffine(a, move, size).astype(np.float32)
    valid = cv2.warpAffine(np.ones_like(a), move, size, flags=cv2.INTER_NEAREST) > 0
    if valid.mean() < 0.03:
        return 0.0
    left, right = (cv2.GaussianBlur(p, (0, 0), 1.5)[valid] for p in (moved, b.astype(np.float32)))
    return float(np.corrcoef(left, right)[0, 1]) if left.std() > 1 and right.std() > 1 else 0.0
