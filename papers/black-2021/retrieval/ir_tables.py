"""Fill table 1 and figure 4 of black-2021 (search) on our data.

    python papers/black-2021/retrieval/ir_tables.py --json papers/black-2021/retrieval/results/retrieval.json

Every query is asked of every method: is its original among the k nearest of all originals and distractors? Originals
that may share content with the right one are left out. Vectors of distractors are kept in --cache by family, weights
and shard, a thousand a file: stopped, it goes on with the next thousand; their pictures are made once for all families
that lack them.
Methods that are not there are named in `missing`. Of equals half count as nearer. Intervals: 95 %, a bootstrap over
groups.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE), str(ROOT / "benchmarks"), str(ROOT / "src")]

import common
import ir_index
import ir_looked
import ir_methods as im
import ir_pictures as ip

from twinscope.train import evaluate

Floats = NDArray[np.float32]
SHARD, PART = 10_000, 1_000
"""Distractors of a shard, and those of it that are made and kept together."""
KS = (1, 10, 100)
CURVE = 100
LEARNED = 50_000
"""Vectors from which the quantisers are learned, at most."""
PICTURES = [HERE / "ir_pictures.py", ROOT / "src/twinscope/manipulate",
            *(ROOT / "src/twinscope/train" / f"{name}.py" for name in ("changes", "wear", "data"))]  # fmt: skip
"""What the pictures depend on: kept vectors are made again where one of these has changed."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = _arguments(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cache = given.cache / f"{given.split}-{given.seed}-{common.digest(PICTURES)}"
    cache.mkdir(parents=True, exist_ok=True)
    there, missing = im.methods(given.runs, given.cache, given.imagenet, given.run)
    if given.only:
        there = [one for one in there if one.name in given.only]
    for name, why in missing.items():
        print(f"{name}: {why}", flush=True)
    families = list({one.family.name: one.family for one in there}.values())
    shards = parts(given.distractors)
    own, of = given.share
    seconds = filled(families, shards[own - 1 :: of], given.split, given.seed, cache)
    if given.shards_only or of > 1:
        return 0
    asked = asked_of(given.split, given.queries, given.seed, cache)
    out = results(there, asked, shards, cache, given)
    out |= {"missing": missing, "seconds_of_shards": round(seconds, 1)}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    for row in out["table1"]:
        print(row["name"], {key: part["1"]["mean"] for key, part in row["sets"].items()}, flush=True)
    return 0


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to keep the results")
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"), help="where trained networks lie")
    parser.add_argument("--run", default="search-small", help="the run of the search network")
    parser.add_argument("--cache", type=Path, default=Path(".cache/black-2021/retrieval"))
    parser.add_argument("--distractors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=500, help="originals, each with a query of every set")
    parser.add_argument("--looked", type=int, default=150, help="queries of each set that stage 2 ranks anew")
    parser.add_argument("--split", choices=tuple(ip.OTHERS), default="test", help="whose groups the queries are of")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--imagenet", type=Path, help="a file of torchvision's resnet50 weights")
    parser.add_argument("--only", nargs="*", help="these methods alone")
    parser.add_argument("--shards-only", action="store_true", help="make distractors' vectors, and no table")
    parser.add_argument("--share", type=_share, default=(1, 1), metavar="K/N",
                        help="make share K of N of the distractors' vectors, and no table")  # fmt: skip
    return parser.parse_args(arguments)


def _share(text: str) -> tuple[int, int]:
    own, _, of = text.partition("/")
    if not (own.isdecimal() and of.isdecimal() and 1 <= int(own) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write K/N with K from 1 to N, as in 1/2")
    return int(own), int(of)


def asked_of(split: str, count: int, seed: int, cache: Path) -> ip.Asked:
    """Return originals and queries, from the cache where they were made before."""
    path = cache / f"asked-{count}.npz"
    if not path.exists():
        made = ip.asked(split, count, seed)
        part = path.with_suffix(".part.npz")
        np.savez(part, originals=made.originals, groups=made.groups, near=made.near,
                 **{f"query_{name}": value for name, value in made.queries.items()})  # fmt: skip
        part.replace(path)
    with np.load(path) as held:
        queries = {name: held[f"query_{name}"] for name in ip.SETS}
        return ip.Asked(held["originals"], queries, held["groups"], held["near"])


# ---------------------------------------------------------------------------------------------------- shards


class Part(NamedTuple):
    """Distractors that are made and kept together: `size` of a shard, from number `first` on."""

    shard: int
    first: int
    size: int


def parts(distractors: int) -> list[Part]:
    """Return the parts of so many distractors; the last one has what is left."""
    starts = range(0, distractors, PART)
    return [Part(*divmod(start, SHARD), min(PART, distractors - start)) for start in starts]


def kept(cache: Path, family: im.Family, part: Part) -> Path:
    """Return where the numbers of a family and part are kept."""
    return cache / f"{family.name}-{family.key}" / f"{part.shard:05d}-{part.first:04d}-{part.size}.npy"


def filled(families: Sequence[im.Family], shards: Sequence[Part], split: str, seed: int, cache: Path) -> float:
    """Make the numbers that are not there yet, part by part; return the seconds that it took."""
    started, source = time.monotonic(), None
    for number, one_part in enumerate(shards, 1):
        lacking = [one for one in families if not kept(cache, one, one_part).exists()]
        if not lacking:
            continue
        source = source or ip.shelf(split)
        rows: dict[str, list[im.Numbers]] = {one.name: [] for one in lacking}
        begun = time.monotonic()
        for lot in ip.shard(source, seed, *one_part):
            for one in lacking:
                rows[one.name].append(one.look(lot))
        for one in lacking:
            path = kept(cache, one, one_part)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npy")
            np.save(part, np.concatenate(rows[one.name]))
            part.replace(path)
        taken = time.monotonic() - begun
        each = 1000 * taken / one_part.size
        print(f"part {number} of {len(shards)}: {one_part.size} distractors, {each:.1f} ms each", flush=True)
    return time.monotonic() - started


def lots(method: im.Method, shards: Sequence[Part], cache: Path) -> Iterator[Floats]:
    """Yield the vectors of the distractors, part by part."""
    for part in shards:
        yield method.vectors(np.load(kept(cache, method.family, part)))


def looked_at(family: im.Family, pictures: NDArray[np.uint8], lot: int = 64) -> im.Numbers:
    """Return a family's numbers of pictures (n, S, S, 3); those without colour are shown as one channel, as ever."""
    plain = [ip.plain(one) for one in pictures]
    return np.concatenate([family.look(plain[k : k + lot]) for k in range(0, len(plain), lot)])


# ---------------------------------------------------------------------------------------------------- ranks


class Vectors:
    """A method's vectors of originals (n, d) and of the queries of each set."""

    def __init__(self, method: im.Method, asked: ip.Asked, cache: Path) -> None:
        def of(name: str, pictures: NDArray[np.uint8]) -> Floats:
            path = cache / f"{method.family.name}-{method.family.key}" / f"{name}-{len(pictures)}.npy"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part.npy")
                np.save(part, looked_at(method.family, pictures))
                part.replace(path)
            return method.vectors(np.load(path))

        self.originals = of("originals", asked.originals)
        self.queries = {name: of(name, pictures) for name, pictures in asked.queries.items()}


def ranks(
    method: im.Method, vectors: Vectors, near: NDArray[np.bool_], others: Callable[[], Iterator[Floats]]
) -> dict[str, NDArray[np.float64]]:
    """Return the rank (from 1) of each query's original in each set; of equals half count as nearer."""
    names = list(vectors.queries)
    own, before = {}, {}
    for name in names:
        all_of = method.nearness(vectors.queries[name], vectors.originals)
        own[name] = np.diagonal(all_of).copy()
        before[name] = counted(np.where(near, -np.inf, all_of), own[name])
    for lot in others():
        for name in names:
            before[name] += counted(method.nearness(vectors.queries[name], lot), own[name])
    return {name: 1 + before[name] for name in names}


def counted(values: NDArray[Any], own: NDArray[Any]) -> NDArray[np.float64]:
    """Return for each row how many values exceed its own, those that equal it by half: (n, m), (n,) -> (n,)."""
    more = (values > own[:, None]).sum(1)
    return more + (values == own[:, None]).sum(1) / 2


def quantised(vectors: Vectors, near: NDArray[np.bool_], every: Floats, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return ranks by equation 3: `every` vector, originals first, is kept as 128 bits; inf if not looked at."""
    rng = np.random.default_rng(seed)
    sample = every[np.sort(rng.permutation(len(every))[:LEARNED])]
    quantiser = ir_index.learned(sample, seed)
    index = ir_index.made(quantiser, *ir_index.encoded(quantiser, every))
    out = {}
    for name, queries in vectors.queries.items():
        found = np.full(len(queries), np.inf)
        for k, query in enumerate(queries):
            rows, far = ir_index.looked(index, query)
            hidden = np.zeros(len(every), np.bool_)
            hidden[: len(near)] = near[k]
            hidden[k] = False
            rows, far = rows[~hidden[rows]], far[~hidden[rows]]
            mine = far[rows == k]
            if len(mine):
                found[k] = 1 + counted(-far[rows != k][None], -mine)[0]
        out[name] = found
    return out


# ---------------------------------------------------------------------------------------------------- tables


def results(
    there: Sequence[im.Method], asked: ip.Asked, shards: Sequence[Part], cache: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """Return table 1, the curves of figure 4, and the circumstances."""
    many = sum(part.size for part in shards)
    rows: list[dict[str, Any]] = []
    looked: dict[str, Any] = {}
    ours: dict[str, NDArray[np.float64]] = {}
    for method in there:
        vectors = Vectors(method, asked, cache)
        found = ranks(method, vectors, asked.near, lambda one=method: lots(one, shards, cache))  # type: ignore[misc]
        rows.append(row(method.name, method.about, found, asked.groups))
        print(method.name, rows[-1]["average"]["1"]["mean"], flush=True)
        if method.name == "ours":
            ours = found
            every = np.concatenate([vectors.originals, *lots(method, shards, cache)])
            about = "1024 lists, 10 looked through, 16 bytes a vector"
            rows.append(row("ours-pq", about, quantised(vectors, asked.near, every, given.seed), asked.groups))
    if ours and given.looked:
        method = next(one for one in there if one.name == "ours")
        looked = both(method, Vectors(method, asked, cache), ours, asked, shards, cache, given)
    return {
        "circumstances": common.circumstances(), "split": given.split, "seed": given.seed,
        "originals": len(asked.originals), "groups": len(set(asked.groups.tolist())), "distractors": many,
        "pictures": common.digest(PICTURES), "table1": rows, "looked": looked,
        "training": ir_looked.training(given.runs / given.run),
    }  # fmt: skip


def both(
    method: im.Method, vectors: Vectors, found: Mapping[str, NDArray[np.float64]], asked: ip.Asked,
    shards: Sequence[Part], cache: Path, given: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    """Return the rows of both stages, as the desk ranks and by "distinct" alone, and stage 1 for the same queries."""
    every = np.concatenate([vectors.originals, *lots(method, shards, cache)])
    near = ir_looked.shortlists(vectors.originals, vectors.queries, every, asked.near, given.looked)
    made = ir_looked.Made(given.split, given.seed, SHARD, asked)
    path = cache / f"looked-{method.family.key}-{len(every)}-{ir_looked.code()}.jsonl"
    seen = ir_looked.anew(near, found, asked, made, path)
    some = {name: found[name][list(near[name])] for name in near}
    groups = {name: asked.groups[list(near[name])] for name in near}
    return {
        "stage 1": subset("ours", some, groups), "stage 1+2": subset("both stages", seen.ranks, groups),
        "stage 1+2, distinct": subset("both stages, distinct", seen.distinct, groups),
        "seconds": seen.seconds, "queries": given.looked, "near": ir_looked.NEAR,
    }  # fmt: skip


def row(name: str, about: str, found: Mapping[str, NDArray[np.float64]], groups: NDArray[np.int64]) -> dict[str, Any]:
    """Return a row of table 1: IR@1, 10 and 100 of each set and of all, and the curve to k = 100 of each set."""
    same = dict.fromkeys(found, groups)
    return {"about": about, **subset(name, found, same)}


def subset(
    name: str, found: Mapping[str, NDArray[np.float64]], groups: Mapping[str, NDArray[np.int64]]
) -> dict[str, Any]:
    """Return the recalls of each set and their average over sets, each with its interval."""
    sets = {key: recalls(value, groups[key]) for key, value in found.items()}
    every = recalls(np.concatenate(list(found.values())), np.concatenate([groups[key] for key in found]))
    curves = {key: [round(float((value <= k).mean()), 4) for k in range(1, CURVE + 1)] for key, value in found.items()}
    return {"name": name, "sets": sets, "average": every, "curves": curves}


def recalls(found: NDArray[np.float64], groups: NDArray[np.int64]) -> dict[str, Any]:
    """Return IR@1, 10 and 100 of ranks, with intervals."""
    out: dict[str, Any] = {"queries": len(found)}
    for k in KS:
        hit = (found <= k).astype(np.float64)
        out[str(k)] = {"mean": round(float(hit.mean()), 4), "interval": evaluate.interval(hit, groups.tolist())}
    return out


if __name__ == "__main__":
    sys.exit(main())
