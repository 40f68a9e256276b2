"""Does a segmentation help to tell copies from look-alikes? Measured on validation pairs, for `screen`.

    python papers/cicconet-2019/sn_content.py --json papers/cicconet-2019/results/content.json

Pairs of the validation groups are aligned and judged as `screen` does it: planted ones of fluorescence and other
micrographs, and look-alikes (neighbouring fields, fields of one group, lone cells on black). A forest that learned
on the 74 training images of the nuclei says where the content is, in either of two aligned pictures. Asked is whether
the correlation on content alone, and the share of content, tell more than the desk's own probability does: a logistic
regression on its log odds alone, and with these two beside it, by log loss over folds that hold whole parts out.
The 95 % interval of the difference is a bootstrap over parts. Otsu's threshold serves as the plain segmentation.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parents[1] / name) for name in ("benchmarks", "src"))]

import common
import sn_segment

from twinscope import metrics
from twinscope.detect import candidates, embed, evidence, features, forest, judge, maps, segment
from twinscope.settings import Settings
from twinscope.train import pairs

PLANTED = [name for name in pairs.CATEGORIES if name not in ("blot", "soft blot", "spots", "loading control")]
ALIKE = ("neighbours", "same group", "same modality", "lone cells")
SETTINGS = Settings(threads=1)
WAYS = ("forest", "Otsu")
REACH = 7
"""Width in px of the ground around content that counts as content."""


class Sample(NamedTuple):
    """An aligned pair: the desk's log odds, and of each way the correlation on content and its share."""

    part: int
    same: bool
    category: str
    odds: float
    content: dict[str, tuple[float, float]]


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=20, help="parts of 48 pairs each")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    trees = grown()
    samples = [sample for part in range(given.parts) for sample in made(part, trees)]
    out: dict[str, Any] = {"circumstances": common.circumstances(), "parts": given.parts}
    out |= {"planted": sum(one.same for one in samples), "others": sum(not one.same for one in samples)}
    alone = losses(samples, None)
    out["log_loss"] = {"the probability alone": round(float(alone.mean()), 4)}
    parts = np.array([one.part for one in samples])
    for way in WAYS:
        beside = losses(samples, way)
        out["log_loss"][f"with content by {way}"] = round(float(beside.mean()), 4)
        out[f"gained_by_{way}"] = gained(alone - beside, parts)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(out, indent=1))
    return 0


def grown() -> forest.Forest:
    """Return the forest of the nuclei's training images."""
    task, stage = sn_segment.nuclei(), SETTINGS.segment
    most = -(-stage.most // len(task.training))
    places = [
        segment.sample(image, mask.astype(np.uint8), maps.SHIPPED, stage, most, np.random.default_rng(k), False, 1)
        for k, (image, mask) in enumerate(task.training)
    ]
    values, told = (np.concatenate([getattr(one, name) for one in places]) for name in ("values", "objects"))
    return forest.grow(values, told, stage.trees, segment.leaf(stage, len(told)), 0, 2)


def made(part: int, trees: forest.Forest) -> Iterator[Sample]:
    """Yield the samples of a part, from its number alone; a planted pair that is aligned wrongly is none."""
    source, rng = pairs.pool("val"), np.random.default_rng([11, part])
    drawn = [pairs.planted(source, rng, PLANTED[k]) for k in rng.permutation(len(PLANTED))[:8]]
    drawn += [pairs.lookalike(source, rng, category) for category in ALIKE for _ in range(10)]
    for pair in drawn:
        views = [features.view(image, SETTINGS.features) for image in (pair.a, pair.b)]
        points = embed.embed([pair.a, pair.b], threads=1)
        for candidate in candidates.candidates(views, SETTINGS, embed.distances(points, points))[:1]:
            found = judge.judge(*views, candidate, SETTINGS)
            if found is None or (pair.transform is not None and not right(views, found, pair)):
                continue
            odds = math.log(max(found.probability, 1e-6) / max(1 - found.probability, 1e-6))
            shared = evidence.frame(*views, found.alignment)
            content = {way: looked(shared, found.alignment.inverted, trees if way == "forest" else None)
                       for way in WAYS}  # fmt: skip
            yield Sample(part, pair.same, pair.category, odds, content)


def right(views: list[features.View], found: judge.Judged, pair: pairs.Pair) -> bool:
    """Tell whether a planted pair was aligned as it was made, to .08 of its side."""
    full = np.linalg.inv(views[1].to_work) @ found.alignment.transform @ views[0].to_work
    frame = np.array([[0, 0], [pair.a.shape[1], 0], [pair.a.shape[1], pair.a.shape[0]], [0, pair.a.shape[0]]], float)

    def at(transform: Any) -> NDArray[np.float64]:
        whole = np.column_stack([frame, np.ones(4)]) @ np.asarray(transform).T
        return np.asarray(whole[:, :2] / whole[:, 2:])

    return bool(np.abs(at(full) - at(pair.transform)).max() < 0.08 * max(pair.b.shape[:2]))


def looked(shared: evidence.Frame, inverted: bool, trees: forest.Forest | None) -> tuple[float, float]:
    """Return how two aligned pictures correlate on the content of either (by a forest, or by Otsu), and its share."""
    content = np.zeros(shared.seen.shape, np.bool_)
    for tones in (shared.a, shared.b):
        grey = np.rint(255 * tones).astype(np.uint8)
        if trees is None:
            content |= cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1] > 0
        else:
            content |= segment.probability(grey, trees, maps.SHIPPED, SETTINGS.segment, 1) > 0.5
    wide = cv2.dilate(content.astype(np.uint8), np.ones((REACH, REACH), np.uint8)) > 0
    mask = wide & shared.clean
    smooth, window = 1.0, 12.0
    x, _ = evidence.normalised(shared.a, shared.clean, smooth, window)
    y, _ = evidence.normalised(shared.b, shared.clean, smooth, window)
    value = evidence._correlation(x, -y if inverted else y, mask)
    return value, float(mask.sum()) / max(1, int(shared.clean.sum()))


def losses(samples: list[Sample], way: str | None, folds: int = 5) -> NDArray[np.float64]:
    """Return the log loss of each sample, by a regression that has not seen its part."""
    rows = []
    for one in samples:
        row = [one.odds]
        if way is not None:
            value, share = one.content[way]
            row += [math.atanh(min(max(value, 0.0), 0.995)), math.log(max(share, 1e-3))]
        rows.append(row)
    x, y = np.array(rows), np.array([one.same for one in samples])
    part = np.array([one.part for one in samples])
    spread = x.std(0) + 1e-9
    out = np.zeros(len(y))
    for fold in range(folds):
        held = part % folds == fold
        fitted = LogisticRegression(C=10.0, max_iter=1000).fit(x[~held] / spread, y[~held])
        chance = np.clip(fitted.predict_proba(x[held] / spread)[:, 1], 1e-6, 1 - 1e-6)
        out[held] = -np.log(np.where(y[held], chance, 1 - chance))
    return out


def gained(better: NDArray[np.float64], parts: NDArray[np.int64]) -> dict[str, Any]:
    """Return by how much the log loss falls, with the 95 % interval of a bootstrap over parts."""
    sums = np.bincount(parts, better)
    counts = np.bincount(parts).astype(np.float64)

    def mean(drawn: NDArray[np.int64]) -> float:
        return float(sums[drawn].sum() / max(counts[drawn].sum(), 1))

    low, high = metrics.bootstrap(len(sums), mean, np.random.default_rng(4))
    return {"mean": round(float(better.mean()), 4), "95": [round(low, 4), round(high, 4)]}


if __name__ == "__main__":
    sys.exit(main())
