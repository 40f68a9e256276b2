"""Stage 2 of black-2021 (section 3.3) with what the desk has: the nearest hundred are judged closely and ranked anew.

As in `twinscope.corpus.search`: each is aligned with the query and judged, the comparator's "distinct" among the
evidence; the most probable come first; those that are as good as certain, and those that show nothing alike, by their
distance in stage 1. Where the correlation search is worth its time is decided, as in the desk, by its embedder.
Beside it, of the same comparisons: the order by "distinct" alone, which is the paper's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "benchmarks"), str(HERE.parents[2] / "src")]

import common
import ir_pictures as ip

from twinscope import corpus
from twinscope.detect import embed, features, heat, judge
from twinscope.detect.features import View
from twinscope.settings import Settings
from twinscope.train import comparator, loop

Floats = NDArray[np.float32]
Shortlist = list[tuple[int, float]]
NEAR = 100
SETTINGS = Settings(threads=1)
VIEWS = 3000
"""Pictures whose key points are kept in memory."""


class Seen(NamedTuple):
    """The ranks after stage 2 of each set's queries, as the desk ranks and by "distinct" alone, and the median of the
    seconds that a query took.
    """

    ranks: dict[str, NDArray[np.float64]]
    distinct: dict[str, NDArray[np.float64]]
    seconds: float


class Order(NamedTuple):
    """The numbers of a shortlist, ranked anew: the most probable first, and the least "distinct" first."""

    probable: list[int]
    distinct: list[int]


def code() -> str:
    """Return the hash of what stage 2 depends on: a query that was ranked anew is so again where it has changed."""
    package = HERE.parents[2] / "src" / "twinscope"
    networks = [package / "models" / "weights" / f"{name}.onnx" for name in (embed.MODEL, heat.MODEL, judge.MODEL)]
    return common.digest([Path(__file__), package / "corpus.py", package / "detect", *networks])


def shortlists(
    originals: Floats, queries: Mapping[str, Floats], every: Floats, near: NDArray[np.bool_], count: int
) -> dict[str, dict[int, Shortlist]]:
    """Return for the first `count` queries of each set the nearest hundred of `every` vector as (number, distance).

    Vectors are of unit length, the originals first; originals that may share content with the right one are left out.
    """
    out: dict[str, dict[int, Shortlist]] = {}
    for name, asked in queries.items():
        out[name] = {}
        for k in range(min(count, len(originals))):
            cosines = every @ asked[k]
            hidden = near[k].copy()
            hidden[k] = False
            cosines[: len(originals)][hidden] = -np.inf
            first = np.argpartition(-cosines, min(NEAR, len(cosines) - 1))[:NEAR]
            first = first[np.argsort(-cosines[first], kind="stable")]
            out[name][k] = [(int(j), float(np.sqrt(max(0.0, 2 - 2 * cosines[j])))) for j in first if cosines[j] > -2]
    return out


class Made:
    """Pictures by their number: the originals first, then distractors, which are made again."""

    def __init__(self, split: str, seed: int, size: int, asked: ip.Asked) -> None:
        self.seed, self.size, self.asked = seed, size, asked
        self.shelf = lru_cache(1)(lambda: ip.shelf(split))
        self.view = lru_cache(VIEWS)(self._view)

    def picture(self, number: int) -> ip.Bytes:
        """Return a picture, HxW or HxWx3 uint8."""
        first = len(self.asked.originals)
        if number < first:
            return ip.plain(self.asked.originals[number])
        return ip.distractor(self.shelf(), self.seed, *divmod(number - first, self.size))

    def _view(self, number: int) -> tuple[View, Floats]:
        return seen(self.picture(number))


def seen(picture: ip.Bytes) -> tuple[View, Floats]:
    """Return a picture's key points, and where the desk's embedder places it."""
    return features.view(picture, SETTINGS.features), embed.embed([picture], threads=1)[0]


def anew(
    near: Mapping[str, Mapping[int, Shortlist]], found: Mapping[str, NDArray[np.float64]], asked: ip.Asked,
    made: Made, path: Path,
) -> Seen:  # fmt: skip
    """Rank the shortlists anew, going on from `path` (a line a query); an original in none of them keeps its rank."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {(line["set"], line["query"]): line for line in lines}
    number = 0
    for k in next(iter(near.values())):  # the three queries of an original have neighbours in common
        for name in near:
            number += 1
            if (name, k) in known:
                continue
            begun = time.monotonic()
            before = float(found[name][k])
            query = ip.plain(asked.queries[name][k])
            order = reranked(query, near[name][k], made) if before <= NEAR else Order([], [])
            rank, other = (1.0 + one.index(k) if k in one else before for one in order)
            line = {"set": name, "query": k, "rank": rank, "distinct": other, "before": before,
                    "seconds": round(time.monotonic() - begun, 3)}  # fmt: skip
            known[name, k] = line
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if number % 30 == 0:
                print(f"stage 2: {number} of {sum(len(part) for part in near.values())} queries", flush=True)
    ranks, distinct = (
        {name: np.array([known[name, k][key] for k in part]) for name, part in near.items()}
        for key in ("rank", "distinct")
    )
    looked = [line["seconds"] for line in known.values() if line["before"] <= NEAR]
    return Seen(ranks, distinct, round(float(np.median(looked)), 2) if looked else 0.0)


def reranked(query: ip.Bytes, shortlist: Sequence[tuple[int, float]], made: Made) -> Order:
    """Return both orders of a shortlist, from one comparison with each of its pictures."""
    with threadpool_limits(1, "blas"):
        view, point = seen(query)
        others = [made.view(number) for number, _ in shortlist]
        far = [float(np.linalg.norm(point - other)) for _, other in others]
        said = corpus.judged([view], [one for one, _ in others], [list(enumerate(far))], SETTINGS)[0]
    known = {one.b: one for one in said}
    hits = [corpus.Hit(distance, {"number": number}, known.get(k)) for k, (number, distance) in enumerate(shortlist)]
    orders = corpus.ranked(hits), by_distinct(hits)
    return Order(*([hit.row["number"] for hit in order] for order in orders))


def by_distinct(hits: Sequence[corpus.Hit]) -> list[corpus.Hit]:
    """Return hits as section 3.3 ranks them, the least "distinct" to the comparator first.

    Those that cannot be aligned, of which it was not asked, come last; equals by distance.
    """

    def key(hit: corpus.Hit) -> tuple[float, float]:
        return np.inf if hit.judged is None else hit.judged.numbers["distinct"], hit.distance

    return sorted(hits, key=key)


def training(folder: Path) -> dict[str, Any]:
    """Return what is known of the run of the search network; nothing where there is none."""
    if not (folder / "best.pt").exists():
        return {}
    row = loop.load(folder / "best.pt")["row"]
    record = json.loads((folder / "run.json").read_text())
    curve = (folder / "curve.csv").read_text().splitlines()
    last = dict(zip(curve[0].split(","), curve[-1].split(","), strict=True))
    return {
        "sha256": comparator.sha256(folder / "best.pt"), "step": row["step"], "steps": int(last["step"]),
        "minutes": round(int(last["seconds"]) / 60, 1), "views": record["views"], "rate": record["plan"]["rate"],
        "start": record["start"], "side": record["side"], "threads": record["plan"]["threads"], "validation": row,
    }  # fmt: skip
