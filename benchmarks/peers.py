"""The peers: perceptual hash, and SIFT with G2NN and MAGSAC++, on the true panels of a manuscript, all pairs.

- `phash`: imagehash.phash, at most 10 of 64 bits differ.
- `SIFT`: OpenCV's SIFT (1000 strongest of panels of at most 600 px), G2NN at .75, a homography by MAGSAC++ at 3 px with
  20 inliers or more.
- `ELIS settings`: what its provenance module does by default, written anew from its description: histogram equalised,
  G2NN at .75, the fundamental matrix by MAGSAC++ at .5 px with 20 inliers or more, the hull of the inliers at least 1 %
  of both panels; where that fails, the same with one panel mirrored. (Its default descriptor is VLFeat's SIFT.)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 10
INLIERS = 20
RATIO = 0.75
LONGEST_PX = 600
KEYPOINTS = 1000
Found = list[tuple[str, str]]


class Features(NamedTuple):
    """Key points (n, 2) px and descriptors (n, 128) of one panel, and its area in px."""

    points: NDArray[np.float32]
    marks: NDArray[np.float32]
    area: float


def panels(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the true panels of a manuscript by id, grey, at most 600 px."""
    out = {}
    for path in sorted(folder.glob("*.png")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        shrink = LONGEST_PX / max(image.shape)
        if shrink < 1:
            image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        out[path.stem] = image
    return out


def compare_all(folder: Path) -> dict[str, Found]:
    """Return the pairs that each peer reports for one manuscript."""
    cv2.setNumThreads(1)
    shown = panels(folder)
    plain = {name: features(image) for name, image in shown.items()}
    even = {name: features(cv2.equalizeHist(image)) for name, image in shown.items()}
    turned = {name: features(cv2.equalizeHist(np.ascontiguousarray(image[:, ::-1]))) for name, image in shown.items()}
    hashes = {name: imagehash.phash(Image.fromarray(image)) for name, image in shown.items()}
    pairs = list(combinations(shown, 2))
    return {
        "phash": [(a, b) for a, b in pairs if hashes[a] - hashes[b] <= BITS],
        "SIFT": [(a, b) for a, b in pairs if homography_inliers(plain[a], plain[b]) >= INLIERS],
        "ELIS settings": [
            (a, b) for a, b in pairs if epipolar_match(even[a], even[b]) or epipolar_match(turned[a], even[b])
        ],
    }


def features(image: NDArray[np.uint8]) -> Features:
    """Return SIFT features of a grey picture."""
    keys, marks = cv2.SIFT_create(KEYPOINTS).detectAndCompute(image, None)
    if marks is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32), float(image.size))
    return Features(np.array([k.pt for k in keys], np.float32), marks, float(image.size))


def g2nn(a: Features, b: Features, most: int = 8) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return matches: neighbours are taken as long as each is nearer than .75 of the next; each point is used once."""
    swap = len(b.marks) < len(a.marks)
    few, many = (b, a) if swap else (a, b)
    none = np.zeros(0, np.intp)
    if len(few.marks) < 2 or len(many.marks) < 3:
        return none, none
    square = (few.marks**2).sum(1)[:, None] + (many.marks**2).sum(1)[None] - 2 * few.marks @ many.marks.T
    nearest = square.argmin(1)
    rows = np.arange(len(square))
    first = square[rows, nearest].copy()
    square[rows, nearest] = np.inf
    good = np.flatnonzero(first < RATIO**2 * square.min(1))
    square[rows, nearest] = first
    picked: list[tuple[float, int, int]] = []
    for row in good:
        order = np.argsort(square[row])[:most]
        apart = np.sqrt(np.maximum(square[row, order], 0))
        for rank in range(len(order) - 1):
            if apart[rank] >= RATIO * apart[rank + 1]:
                break
            picked.append((float(apart[rank]), int(row), int(order[rank])))
    left: set[int] = set()
    right: set[int] = set()
    kept: list[tuple[int, int]] = []
    for _, i, j in sorted(picked):
        if i not in left and j not in right:
            left.add(i)
            right.add(j)
            kept.append((i, j))
    chosen = np.array(kept, np.intp).reshape(-1, 2)
    return (chosen[:, 1], chosen[:, 0]) if swap else (chosen[:, 0], chosen[:, 1])


def homography_inliers(a: Features, b: Features) -> int:
    """Return how many matches one homography explains within 3 px."""
    i, j = g2nn(a, b)
    if len(i) < INLIERS:
        return 0
    inside = _robust(lambda: cv2.findHomography(a.points[i], b.points[j], cv2.USAC_MAGSAC, 3.0, None, 10000, 0.999)[1])
    return 0 if inside is None else int(inside.sum())


def epipolar_match(a: Features, b: Features) -> bool:
    """Tell whether a fundamental matrix explains 20 matches within .5 px that cover 1 % of both panels."""
    i, j = g2nn(a, b)
    if len(i) < INLIERS:
        return False
    inside = _robust(lambda: cv2.findFundamentalMat(a.points[i], b.points[j], cv2.USAC_MAGSAC, 0.5, 0.999, 100000)[1])
    if inside is None or int(inside.sum()) < INLIERS:
        return False
    keep = inside.ravel() > 0
    shares = [
        cv2.contourArea(cv2.convexHull(points[index][keep])) / whole
        for points, index, whole in ((a.points, i, a.area), (b.points, j, b.area))
    ]
    return min(shares) >= 0.01


def _robust(estimate: Callable[[], Any]) -> Any:
    try:
        return estimate()
    except cv2.error:
        return None
