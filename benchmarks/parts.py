"""Measure what the vectors of a panel's parts buy in the library, where one picture shows a part of the other.

    python benchmarks/parts.py --json benchmarks/results/parts.json

Panels are windows of 320 px of the pictures of the test and validation groups, none of which overlaps another, with
their vectors of the whole, the four corners and the middle (`parts.windows`). "inside": the library has the panels and
a query is a square of one of a test group, its side a share of the panel's, at a random place, turned and worn (`wear`
below). "around": the library has such squares, one of each panel, and a query is a whole panel, turned and worn. Found
is a panel whose nearest vector is the nearest of all. Intervals: bootstrap over groups. Needs ../shared and the `train`
extra.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import common

from twinscope import metrics
from twinscope.detect import embed
from twinscope.library import parts
from twinscope.settings import Settings
from twinscope.train import data

SHELF = Settings().library
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
NOT = np.inf
WHOLE, ALL = np.array([0, NOT, NOT, NOT, NOT, NOT]), np.zeros(6)
WAYS = {  # what is added to the distances of the vectors of a query (rows) and of a panel (columns); NOT: not compared
    "whole with whole": np.add.outer(WHOLE, WHOLE),
    "whole with all": np.add.outer(WHOLE, ALL),
    "all with whole": np.add.outer(ALL, WHOLE),
    "all, but parts with parts": np.where(np.minimum.outer(range(6), range(6)) > 0, NOT, 0),
    "all with all": np.add.outer(ALL, ALL),
    "all with all, parts further (ours)": np.array([[parts.further(a, b, SHELF) for b in range(6)] for a in range(6)]),
}
PLACES = (1, 10, 100)


def wear(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a part as another figure may show it: mirrored or turned, another size, contrast and a JPEG's marks."""
    part = np.rot90(part[:, ::-1] if rng.random() < 0.5 else part, int(rng.integers(4)))
    size = max(48, round(part.shape[0] * float(rng.uniform(0.6, 1.4))))
    part = cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=cv2.INTER_AREA)
    gain, shift = float(rng.uniform(0.8, 1.25)), float(rng.uniform(-20, 20))
    part = np.uint8(np.clip(gain * (part.astype(np.float32) - 128) + 128 + shift, 0, 255))
    _, jpeg = cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)


def vectors(pictures: list[np.ndarray]) -> np.ndarray:
    """Return (n, 6, d) float32: the vectors of pictures and of their parts."""
    small = [embed.prepare(parts.cropped(one, box)) for one in pictures for box in parts.windows(one.shape[:2], SHELF)]
    points = embed.embed(small, embed.MODEL, 2)
    return points.reshape(len(pictures), SHELF.vectors, -1)


def places(queries: np.ndarray, panels: np.ndarray, true: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return at which place (from 1) each query finds its panel: (n, 6, d) and (m, 6, d) -> (n,)."""
    flat = panels.reshape(-1, panels.shape[-1])
    out = np.empty(len(queries), np.int64)
    for k, query in enumerate(queries):
        near = (flat**2).sum(1) - 2 * (query @ flat.T) + (query**2).sum(1, keepdims=True)
        near = np.sqrt(np.maximum(near, 0)).reshape(len(query), len(panels), -1) + way[:, None]
        best = near.min((0, 2))
        out[k] = 1 + (best < best[true[k]]).sum()
    return out


def square(panel: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return a square of a panel at a random place, its side a share of the panel's."""
    side = round(panel.shape[0] * share)
    y, x = rng.integers(panel.shape[0] - side + 1, size=2)
    return panel[y : y + side, x : x + side]


def main() -> None:
    """Measure everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=500, help="of each size")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    tests, of = data.cut(data.micrographs("test"), rng, 12, (320,))
    others, _ = data.cut(data.micrographs("val"), rng, 12, (320,))
    panels = vectors([*tests, *others])
    print(f"{len(panels)} panels", file=sys.stderr, flush=True)
    out: dict[str, Any] = {
        "circumstances": common.circumstances(), "panels": len(panels), "queries": min(given.queries, len(tests)),
        "vectors_a_panel": SHELF.vectors, "part": SHELF.crop, "inside": {}, "around": {},
    }  # fmt: skip
    for share in SHARES:
        true = rng.permutation(len(tests))[: given.queries]
        groups = np.array([of[k].group for k in true])
        inside = vectors([wear(square(tests[k], share, rng), rng) for k in true])
        out["inside"][f"{share:.1f}"] = found(inside, panels, true, groups)
        around = vectors([wear(tests[k], rng) for k in true])
        squares = vectors([square(one, share, rng) for one in (*tests, *others)])
        out["around"][f"{share:.1f}"] = found(around, squares, true, groups)
        for kind in ("inside", "around"):
            told = {way: [one["value"] for one in row.values()] for way, row in out[kind][f"{share:.1f}"].items()}
            print(kind, share, json.dumps(told), file=sys.stderr, flush=True)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


def found(queries: np.ndarray, panels: np.ndarray, true: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Return IR@1, 10 and 100 of each way."""
    at = {name: places(queries, panels, true, way) for name, way in WAYS.items()}
    return {name: {f"ir{n}": _rate(place <= n, groups) for n in PLACES} for name, place in at.items()}


def _rate(right: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Return a rate and its 95 % interval, a bootstrap over groups."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]

    def again(drawn: np.ndarray) -> float:
        return float(right[np.concatenate([members[k] for k in drawn])].mean())

    low, high = metrics.bootstrap(len(members), again, np.random.default_rng(4))
    return {"value": round(float(right.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


if __name__ == "__main__":
    main()
