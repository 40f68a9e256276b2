"""Measure what the vectors of a panel's parts buy in the library, for queries that show a part of an earlier panel.

    python benchmarks/parts.py --json benchmarks/results/parts.json

The library: panels of the test and validation groups (up to 12 windows of each picture, of three sizes), with their
vectors of the whole, the four corners and the middle (`corpus.windows`). A query is a square of a panel of a test
group, its side a share of the panel's, at a random place, turned and worn (`wear` below). Found is a panel whose
nearest vector is among the nearest of all panels; windows overlap no other of their size. Intervals: bootstrap over
groups. Needs ../shared and the `train` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import common

from twinscope import corpus, metrics
from twinscope.detect import embed
from twinscope.settings import Settings
from twinscope.train import data

SHELF = Settings().library
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
WAYS = {  # vectors that are looked at: of the query, of the panel
    "whole against whole": (slice(0, 1), slice(0, 1)),
    "whole against whole and parts": (slice(0, 1), slice(None)),
    "whole and parts against whole": (slice(None), slice(0, 1)),
    "whole and parts against whole and parts": (slice(None), slice(None)),
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
    small = [
        embed.prepare(corpus.cropped(one, box)) for one in pictures for box in corpus.windows(one.shape[:2], SHELF)
    ]
    points = embed.embed(small, embed.MODEL, 2)
    return points.reshape(len(pictures), SHELF.vectors, -1)


def places(queries: np.ndarray, panels: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return at which place (from 1) each query finds its panel: (n, q, d) and (m, p, d) -> (n,)."""
    flat = panels.reshape(-1, panels.shape[-1])
    square = (flat**2).sum(1)
    out = np.empty(len(queries), np.int64)
    for k, query in enumerate(queries):
        near = square - 2 * (query @ flat.T) + (query**2).sum(1, keepdims=True)
        best = near.min(0).reshape(len(panels), -1).min(1)
        out[k] = 1 + (best < best[true[k]]).sum()
    return out


def main() -> None:
    """Measure everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=500, help="of each size")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    tests, of = data.cut(data.micrographs("test"), rng, 12)
    others, _ = data.cut(data.micrographs("val"), rng, 12)
    began = time.perf_counter()
    panels = vectors([*tests, *others])
    took = time.perf_counter() - began
    print(f"{len(panels)} panels in {took:.0f} s", file=sys.stderr, flush=True)
    out: dict[str, Any] = {
        "circumstances": common.circumstances(), "panels": len(panels), "queries": given.queries,
        "vectors_a_panel": SHELF.vectors, "part": SHELF.crop, "shares": {},
    }  # fmt: skip
    for share in SHARES:
        true = rng.permutation(len(tests))[: given.queries]
        asked = []
        for k in true:
            side = round(tests[k].shape[0] * share)
            y, x = rng.integers(tests[k].shape[0] - side + 1, size=2)
            asked.append(wear(tests[k][y : y + side, x : x + side], rng))
        points = vectors(asked)
        groups = np.array([of[k].group for k in true])
        out["shares"][f"{share:.1f}"] = {
            way: {f"ir{n}": _rate(found <= n, groups) for n in PLACES}
            for way, (mine, theirs) in WAYS.items()
            for found in [places(points[:, mine], panels[:, theirs], true)]
        }
        print(share, json.dumps(out["shares"][f"{share:.1f}"]), file=sys.stderr, flush=True)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


def _rate(right: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Return a rate and its 95 % interval, a bootstrap over groups."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]

    def again(drawn: np.ndarray) -> float:
        return float(right[np.concatenate([members[k] for k in drawn])].mean())

    low, high = metrics.bootstrap(len(members), again, np.random.default_rng(4))
    return {"value": round(float(right.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


if __name__ == "__main__":
    main()
