"""Time what the comparator costs: a pair whose panels are known, step by step, and one panel against a hundred.

    python benchmarks/comparator.py --json benchmarks/results/comparator.json

Pairs are worn and edited windows of the test groups (`twinscope.train.changes`, 224 px), features computed
beforehand, as they are within a screening: one after the other on one core, each step timed, and many at once on two
cores, as a screening works (pairs are aligned in processes side by side and their probabilities told as they come; the
comparison is in threads): wall time a pair. Peers, in the same run on the same pictures: SIFT with MAGSAC++ as OpenCV
gives them (keypoints cached as well), and the structural similarity map of scikit-image, which aligns nothing. Medians.
Needs ../shared and the `train` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.metrics import structural_similarity

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import common

from twinscope.detect import candidates, compare, embed, evidence, features, heat, judge, pool
from twinscope.settings import Settings
from twinscope.train import changes

SIDE = 224
ROUNDS = 7
SETTINGS = Settings(threads=2)


def timed(times: list[float], work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function gives, and note how long it took, ms."""
    start = time.perf_counter()
    out = work(*arguments)
    times.append(1000 * (time.perf_counter() - start))
    return out


def grey(picture: np.ndarray) -> np.ndarray:
    """Return the luma of (S, S, 3) uint8."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def pairs(count: int) -> dict[str, Any]:
    """Return medians (ms) of each step of `count` worn and edited pairs, of the whole, and of the peers."""
    steps: dict[str, list[float]] = {name: [] for name in ("candidates", "alignment", "probability", "look", "network",
                                                           "tell", "all", "sift_magsac", "ssim")}  # fmt: skip
    aligned = 0
    for one in changes.evaluation("test", count, "both", 7, SIDE):
        images = [grey(one.original), grey(one.query)]
        views = [features.view(image, SETTINGS.features) for image in images]
        points = embed.embed(images, embed.MODEL, 2)
        ready = candidates.prepare(views, SETTINGS, embed.distances(points, points))
        sift = [cv2.SIFT_create(1000).detectAndCompute(image, None) for image in images]
        if all(of is not None and len(of) >= 8 for _, of in sift):
            start = time.perf_counter()
            if _magsac(sift) is not None:  # with fewer than 8 matches it gives up at once
                steps["sift_magsac"].append(1000 * (time.perf_counter() - start))
        timed(steps["ssim"], _ssim, images)
        start = time.perf_counter()
        found = timed(steps["candidates"], candidates.of_panel, 0, ready, SETTINGS)
        if not found:
            continue
        measured = timed(steps["alignment"], judge.measure, *views, found[0], SETTINGS)
        best = timed(steps["probability"], _judged, found[0], measured)
        if not best:
            continue
        aligned += 1
        shared = evidence.frame(*views, best[0].alignment)
        seen = timed(steps["look"], compare.look, *views, best[0].alignment, shared, SETTINGS.compare)
        answer = timed(steps["network"], heat.ask, [seen.planes], 2)[0]
        timed(steps["tell"], compare.tell, *views, best[0].alignment, seen, answer, SETTINGS.compare)
        steps["all"].append(1000 * (time.perf_counter() - start))
    medians = {name: round(float(np.median(values)), 1) for name, values in steps.items() if values}
    return {"pairs": count, "aligned": aligned, "sift_aligned": len(steps["sift_magsac"]), "ms": medians}


Measured = list[tuple[candidates.Candidate, list[judge.Measured]]]
Told = tuple[features.View, features.View, judge.Judged]


def side_by_side(count: int) -> dict[str, Any]:
    """Return how long an aligned pair takes, ms, when so many are compared as `screen` compares them, on two cores.

    The time of those that are not aligned is counted, too. The median of `ROUNDS`, and the quickest and slowest.
    """
    ready = []
    for one in changes.evaluation("test", count, "both", 7, SIDE):
        images = [grey(one.original), grey(one.query)]
        points = embed.embed(images, embed.MODEL, 2)
        views = [features.view(image, SETTINGS.features) for image in images]
        ready.append(candidates.prepare(views, SETTINGS, embed.distances(points, points)))
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        measured = pool.each(_measured, ready, range(count), 2)
        found = [(*ready[k].views, one) for k, some in enumerate(measured) for one in judge.most_probable(some, 2)]
        told = list(pool.threaded(_compared, found, 2))
        taken.append(1000 * (time.perf_counter() - start) / len(told))
    low, middle, high = (round(float(ms), 1) for ms in np.quantile(taken, (0, 0.5, 1)))
    return {"pairs": count, "aligned": len(told), "ms": middle, "ms_range": [low, high]}


def _measured(ready: list[candidates.Panels], k: int) -> Measured:
    views = ready[k].views
    return [(one, judge.measure(*views, one, SETTINGS)) for one in candidates.of_panel(0, ready[k], SETTINGS)]


def _compared(found: Told) -> str:
    a, b, one = found
    shared = evidence.frame(a, b, one.alignment)
    return compare.compare(a, b, one.alignment, shared, SETTINGS.compare).verdict


def _ssim(images: list[np.ndarray]) -> Any:
    return structural_similarity(images[0], images[1], full=True)


def _judged(candidate: candidates.Candidate, measured: list[judge.Measured]) -> list[judge.Judged]:
    return list(judge.most_probable([(candidate, measured)], 2))


def _magsac(sift: list[Any]) -> Any:
    (one, first), (two, second) = sift
    matches = [m for m, n in cv2.BFMatcher().knnMatch(first, second, k=2) if m.distance < 0.75 * n.distance]
    if len(matches) < 8:
        return None
    ends = [np.float32([points[at(m)].pt for m in matches])
            for points, at in ((one, lambda m: m.queryIdx), (two, lambda m: m.trainIdx))]  # fmt: skip
    return cv2.findHomography(ends[0], ends[1], cv2.USAC_MAGSAC, 2.5)


def gate(queries: int, panels: int = 100) -> dict[str, Any]:
    """Return the median time (ms) of one panel against a hundred others, all features known: search and alignment."""
    times: list[float] = []
    looked = 0
    parts = [grey(one.original) for one in changes.evaluation("test", queries + panels, "identical", 7, SIDE)]
    others = parts[queries:]
    for query in parts[:queries]:
        images = [query, *others]
        views = [features.view(image, SETTINGS.features) for image in images]
        points = embed.embed(images, embed.MODEL, 2)
        ready = candidates.prepare(views, SETTINGS, embed.distances(points, points))

        def search(ready: candidates.Panels = ready, views: list[features.View] = views) -> int:
            found = candidates.of_panel(0, ready, SETTINGS)
            measured = [(one, judge.measure(views[0], views[one.b], one, SETTINGS)) for one in found]
            list(judge.most_probable(measured, 2))
            return len(found)

        looked += timed(times, search)
    return {"queries": queries, "panels": panels, "looked_at": looked, "ms": round(float(np.median(times)), 1)}


def main() -> None:
    """Time everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--queries", type=int, default=5)
    given = parser.parse_args()
    cv2.setNumThreads(1)  # as in a screening
    out = {"circumstances": common.circumstances(), "side_px": SIDE, "pair": pairs(given.pairs)}
    out["side_by_side"] = side_by_side(given.pairs)
    out["gate"] = gate(given.queries)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
