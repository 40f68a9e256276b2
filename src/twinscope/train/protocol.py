"""The papers' protocol on our data: classes of one plain picture and its manipulated versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope import metrics
from twinscope.detect import embed as desk
from twinscope.train import data

Points = NDArray[np.float32]


class Classes(NamedTuple):
    """`views` (classes, 1 + versions, size, size) uint8, the plain one first; `windows` says where each comes from."""

    views: NDArray[np.uint8]
    windows: list[data.Window]


def classes(split: str, count: int, versions: int, how: str, seed: int, per_image: int = 3) -> Classes:
    """Draw up to `count` classes from a split: 256 px windows of native size, no two overlapping, none blank."""
    rng = np.random.default_rng(seed)
    pixels, windows = data.cut(data.micrographs(split), rng, per_image, levels=(256,))
    return classes_of(pixels, windows, count, versions, how, rng)


def classes_of(
    pixels: NDArray[np.uint8], windows: list[data.Window], count: int, versions: int, how: str, rng: data.Rng
) -> Classes:
    """Draw up to `count` classes from windows (n, 256, 256, 3) RGB uint8, of as many images as there are."""
    chosen = _spread([w.image for w in windows], rng)[:count]
    views = [
        np.stack(
            [data.view(pixels[k], rng, "anchor", 128), *(data.view(pixels[k], rng, how, 128) for _ in range(versions))]
        )
        for k in chosen
    ]
    return Classes(np.stack(views), [windows[k] for k in chosen])


def _spread(images: list[int], rng: np.random.Generator) -> list[int]:
    """Return all indices in random order, each image's first window before any image's second."""
    order = rng.permutation(len(images))
    seen: dict[int, int] = {}
    turns = []
    for k in order:
        turns.append(seen.get(images[k], 0))
        seen[images[k]] = turns[-1] + 1
    return [int(order[i]) for i in np.argsort(turns, kind="stable")]


class Distances(NamedTuple):
    """`cross[i, j, v]`: from the plain picture of class i to version v of class j; `unsure` (classes, classes) bool.

    NaN in `cross` marks what was not compared; the true pairs always are.
    """

    cross: NDArray[np.float32]
    unsure: NDArray[np.bool_]

    def same(self) -> NDArray[np.float32]:
        """Return the distances of the true pairs: (classes, versions)."""
        return np.asarray(np.einsum("iiv->iv", self.cross), np.float32)

    def different(self) -> NDArray[np.float32]:
        """Return the distances of all compared pairs of different classes, in one row, unsure ones left out."""
        values = self.cross[self.sure()].ravel()
        return values[~np.isnan(values)]

    def sure(self) -> NDArray[np.bool_]:
        """Return which pairs of classes are different for certain: (classes, classes)."""
        return ~(self.unsure | np.eye(len(self.unsure), dtype=np.bool_))

    def hits(self) -> NDArray[np.float64]:
        """Return 1 where a version's nearest plain picture is its own, else 0; NaN where not all were compared.

        (classes, versions). Unsure pictures are left out of the search; of equals the first one counts as nearest.
        """
        values = np.where(self.unsure[..., None], np.inf, self.cross)
        nearest = np.where(np.isnan(values), np.inf, values).argmin(0)
        return np.where(np.isnan(values).any(0), np.nan, nearest == np.arange(len(values))[:, None])


def distances(embed: Callable[[NDArray[np.uint8]], Points], test: Classes, weights: Points | None = None) -> Distances:
    """Return all distances between plain pictures and versions; `embed` takes (n, size, size) uint8.

    Euclidean, or with `weights` (one a dimension, of any sign) SN's metric: the sum of weight |x - y|.
    """
    count, each = test.views.shape[:2]
    points = embed(test.views.reshape(count * each, *test.views.shape[2:])).reshape(count, each, -1).astype(np.float64)
    plain, versions = points[:, 0], points[:, 1:].reshape(count * (each - 1), -1)
    cross = desk.distances(plain, versions) if weights is None else city(plain, versions, weights)
    return Distances(cross.reshape(count, count, each - 1), data.relations(test.windows)[1])


def city(x: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
    """Return SN's metric (cicconet-2019, equation 1), sum over k of weight_k |x_k - y_k|: (n, d), (m, d) -> (n, m)."""
    return np.stack([np.abs(np.asarray(y, np.float64) - one) @ weights for one in x]).astype(np.float32)


def summary(found: Distances, border: float = 1.0) -> dict[str, float]:
    """Return the numbers: accuracy at the border and at the best one, IR@1, TPR at FPR 1e-2 and 1e-3, AUC."""
    same, different = found.same().ravel(), found.different()
    best, best_accuracy = metrics.best_border(same, different)
    return {
        "accuracy": metrics.accuracy(same, different, border),
        "best_accuracy": best_accuracy,
        "best_border": best,
        "ir1": float(np.nanmean(found.hits())),
        "tpr_1e-2": metrics.tpr_at_fpr(same, different, 1e-2)[0],
        "tpr_1e-3": metrics.tpr_at_fpr(same, different, 1e-3)[0],
        "auc": metrics.auc(same, different),
    }


def runs(found: Distances, rng: np.random.Generator, count: int = 10, border: float = 1.0) -> NDArray[np.float64]:
    """Return the papers' accuracy, one number for each of `count` runs through all classes.

    For each class: its plain picture, a random version of it, and a random version of another random class; half of the
    predictions are about the same, half about different pictures. All pairs have to be compared.
    """
    classes, _, versions = found.cross.shape
    own, out = np.arange(classes), []
    for _ in range(count):
        other = (own + rng.integers(1, classes, classes)) % classes
        while (doubtful := found.unsure[own, other]).any():
            other[doubtful] = (own[doubtful] + rng.integers(1, classes, int(doubtful.sum()))) % classes
        near = found.cross[own, own, rng.integers(0, versions, classes)] <= border
        far = found.cross[own, other, rng.integers(0, versions, classes)] > border
        out.append(float(np.concatenate([near, far]).mean()))
    return np.array(out)


def rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return numbers to four places, for tables and curves."""
    return {key: round(float(value), 4) for key, value in numbers.items()}
