"""The methods that are measured side by side: networks, perceptual hashes, key points.

A method describes pictures (grey uint8, 128 px) and gives raw distances of descriptions: positive, small for alike.

- `embedder-3`, `embedder-1`, `embedder-0`: Euclidean; the border is 1, as shipped.
- `SN`, `SN[G]`: the papers' networks where they were trained here; equation 1, the border is 1. Mended; as the papers
  state they are methods of their own (`SN, faithful`), measured where they are asked for by name.
- `pHash`, `dHash`, `wHash` (64 bits), `PDQ` (256 bits): 1 + the bits that differ; the border is chosen on validation.
- `SIFT`: 1 / (1 + n) for n inliers of a homography by MAGSAC++ at 3 px, from matches by ratio .8, the better of plain
  and mirrored. Pair by pair; the border is chosen on validation. So were its settings: equalised pictures and low
  thresholds, without which it finds next to nothing in dark micrographs (accuracy .68 of 60 classes, with them .87).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import common
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinscope import models
from twinscope.detect import embed as desk
from twinscope.train import protocol

Grey = NDArray[np.uint8]
Wanted = NDArray[np.bool_]
RATIO = 0.8
NAMES = ("embedder-3", "embedder-1", "embedder-0", "SN", "SN[G]", "pHash", "dHash", "wHash", "PDQ", "SIFT")
CHECKPOINTS = {
    "SN": "sn-v02",
    "SN[G]": "sn-g-v02",
    "SN, faithful": "sn-v02-faithful",
    "SN[G], faithful": "sn-g-v02-faithful",
}
HASHES = {"pHash": "phash", "dHash": "dhash", "wHash": "whash"}


class Method(NamedTuple):
    """`describe` pictures; `between` gives raw distances (n, m) of two lots, NaN where a pair is not wanted.

    `border`: the raw distance up to which pictures are the same; None if validation is to choose it. `told`: how a raw
    distance reads. `key` changes with the weights. `pairwise`: too slow for all pairs. `own_threads`: it
    divides its work itself.
    """

    name: str
    about: str
    describe: Callable[[Sequence[Grey]], Any]
    between: Callable[[Any, Any, Wanted | None], NDArray[np.float32]]
    key: str
    border: float | None = None
    told: Callable[[float], str] = "{:.3f}".format
    pairwise: bool = False
    own_threads: bool = False


def methods(names: Sequence[str], runs: Path) -> tuple[list[Method], dict[str, str]]:
    """Return the methods of these names that are at hand, and for each other one why it is not."""
    found, missing = [], {}
    for name in names:
        made = _method(name, runs)
        if isinstance(made, str):
            missing[name] = made
        else:
            found.append(made)
    return found, missing


def _method(name: str, runs: Path) -> Method | str:
    if name.startswith("embedder-"):
        return _embedder(name)
    if name in CHECKPOINTS:
        path = runs / CHECKPOINTS[name] / "best.pt"
        return _papers_network(name, path) if path.is_file() else f"not trained here ({CHECKPOINTS[name]}/best.pt)"
    if name in HASHES:
        return _hash(name) if importlib.util.find_spec("imagehash") else "imagehash is not installed"
    if name == "PDQ":
        return _pdq() if importlib.util.find_spec("pdqhash") else "pdqhash is not installed"
    if name == "SIFT":
        about = "SIFT of equalised pictures, ratio .8, inliers of a homography by MAGSAC++ at 3 px, plain and mirrored"
        return Method(name, about, key_points, by_inliers, "2", told=_inliers_told, pairwise=True)
    raise ValueError(f"no method is called {name}; there are {', '.join(NAMES)}")


def _embedder(name: str) -> Method:
    card = models.load(name).card

    def between(a: Any, b: Any, _: Wanted | None) -> NDArray[np.float32]:
        return desk.distances(a, b)

    about = f"the network {name} through ONNX Runtime, {card.file}"
    return Method(name, about, lambda x: desk.embed(x, name), between, card.sha256, 1.0, own_threads=True)


def _papers_network(name: str, path: Path) -> Method:
    import torch

    from twinscope.train import triplets

    network = triplets.load(path)
    weights = network.alpha.detach().numpy().astype(np.float64)
    row = torch.load(path, weights_only=True)["row"]

    def describe(pictures: Sequence[Grey]) -> NDArray[np.float32]:
        return triplets.embed(network, np.stack([triplets.square(p) for p in pictures]))

    def between(a: Any, b: Any, _: Wanted | None) -> NDArray[np.float32]:
        return protocol.city(a, b, weights)

    about = f"the network of the papers, trained here: {row['step']} steps in {row['seconds'] / 60:.0f} minutes"
    return Method(name, about, describe, between, common.digest([path]), 1.0, own_threads=True)


def _hash(name: str) -> Method:
    import imagehash

    take = getattr(imagehash, HASHES[name])

    def describe(pictures: Sequence[Grey]) -> NDArray[np.float32]:
        return np.stack([take(Image.fromarray(p)).hash.ravel() for p in pictures]).astype(np.float32)

    return Method(name, f"imagehash.{HASHES[name]}, 64 bits", describe, by_bits, "1", told=partial(_bits_told, 64))


def _pdq() -> Method:
    import pdqhash

    def describe(pictures: Sequence[Grey]) -> NDArray[np.float32]:
        return np.stack([pdqhash.compute(np.repeat(p[..., None], 3, 2))[0] for p in pictures]).astype(np.float32)

    return Method("PDQ", "pdqhash, 256 bits", describe, by_bits, "1", told=partial(_bits_told, 256))


def _bits_told(whole: int, raw: float) -> str:
    return f"{raw - 1:.0f} of {whole} bits"


def _inliers_told(raw: float) -> str:
    return f"{1 / raw - 1:.0f} inliers"


def by_bits(a: NDArray[np.float32], b: NDArray[np.float32], _: Wanted | None = None) -> NDArray[np.float32]:
    """Return 1 + the number of bits that differ: (n, bits) and (m, bits) of 0 and 1 -> (n, m)."""
    return np.asarray(1 + a.sum(1)[:, None] + b.sum(1) - 2 * a @ b.T, np.float32)


class KeyPoints(NamedTuple):
    """Key points (n, 2) px, their descriptors (n, 128), and the picture that they are of."""

    points: NDArray[np.float32]
    marks: NDArray[np.float32]
    picture: Grey


def key_points(pictures: Sequence[Grey]) -> list[KeyPoints]:
    """Return the SIFT key points of pictures, their histograms equalised."""
    finder, out = cv2.SIFT_create(1000, contrastThreshold=0.01, edgeThreshold=20), []
    for picture in pictures:
        keys, marks = finder.detectAndCompute(cv2.equalizeHist(picture), None)
        kept = np.zeros((0, 128), np.float32) if marks is None else marks
        out.append(KeyPoints(np.array([k.pt for k in keys], np.float32).reshape(-1, 2), kept, picture))
    return out


def by_inliers(a: list[KeyPoints], b: list[KeyPoints], wanted: Wanted | None = None) -> NDArray[np.float32]:
    """Return 1 / (1 + inliers), the better of a as it is and mirrored, for the wanted pairs; NaN for the others."""
    asked = np.ones((len(a), len(b)), np.bool_) if wanted is None else wanted
    out = np.full(asked.shape, np.nan, np.float32)
    for i, one in enumerate(a):
        if asked[i].any():
            states = [one, *key_points([np.ascontiguousarray(one.picture[:, ::-1])])]
            for j in np.flatnonzero(asked[i]):
                out[i, j] = 1 / (1 + max(inliers(state, b[j]) for state in states))
    return out


def inliers(a: KeyPoints, b: KeyPoints) -> int:
    """Return how many matches (nearer than .8 of the next nearest) one homography explains within 3 px."""
    if len(a.marks) < 4 or len(b.marks) < 4:
        return 0
    near = (a.marks**2).sum(1)[:, None] + (b.marks**2).sum(1) - 2 * a.marks @ b.marks.T
    order = np.argpartition(near, 1, axis=1)[:, :2]
    first, second = np.take_along_axis(near, order, 1).T
    i = np.flatnonzero(first < RATIO**2 * second)
    if len(i) < 4:
        return 0
    try:
        cv2.setRNGSeed(0)
        _, inside = cv2.findHomography(
            a.points[i], b.points[order[i, 0]], cv2.USAC_MAGSAC, 3.0, None, maxIters=1000, confidence=0.999
        )
    except cv2.error:  # the points allow of no homography, as when all lie on a line
        return 0
    return 0 if inside is None else int(inside.sum())


def cross(method: Method, test: protocol.Classes, queries: int, rng: np.random.Generator) -> protocol.Distances:
    """Return the protocol's raw distances; a pairwise method compares `queries` random versions with all classes."""
    count, each = len(test.views), test.views.shape[1] - 1
    plain = method.describe(list(test.views[:, 0]))
    versions = method.describe(list(test.views[:, 1:].reshape(count * each, *test.views.shape[2:])))
    asked = wanted(count, each, queries, rng) if method.pairwise else None
    values = method.between(plain, versions, asked).reshape(count, count, each)
    return protocol.Distances(values, protocol.data.relations(test.windows)[1])


def wanted(count: int, each: int, queries: int, rng: np.random.Generator) -> Wanted:
    """Return which pairs a slow method compares: all true ones, and all of some versions, spread over the classes."""
    asked = np.repeat(np.eye(count, dtype=np.bool_), each, axis=1)
    asked[:, rng.permutation(count * each)[:queries]] = True
    return asked


class Borders(NamedTuple):
    """Two raw distances of a method: up to `same` pictures are the same; below `rare` lies a different pair in 1000."""

    same: float
    rare: float


def scaled(found: protocol.Distances, borders: Borders) -> protocol.Distances:
    """Return distances whose border is 1."""
    return protocol.Distances(np.asarray(found.cross / np.float32(borders.same), np.float32), found.unsure)
