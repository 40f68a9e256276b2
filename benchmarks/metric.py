"""Measure the forensic metric beside the papers' networks, perceptual hashes and key points, all in one run.

    python benchmarks/metric.py --json benchmarks/results/metric.json       # all of it: some ten minutes on two cores
    python benchmarks/metric.py --classes 40 --windows 8 --methods embedder-1 pHash     # a first look
    python benchmarks/metric.py --methods embedder-3 --keep --json benchmarks/results/metric.json   # one row anew
    python benchmarks/metric.py table                                       # the tables of the results kept

Every method sees the same pictures of 128 px, and every border comes from validation groups (`borders`). What is done
is kept in --cache, one file for each method and part, and is done again only where code, weights, data or sizes
changed: a run can be stopped and started again, and new weights of one network cost that network's part alone.

- `synthetic`: the papers' protocol (v02; a plain picture and nine versions) on test groups of the micrographs and on
  each evaluation-only set; all pairs of different classes (a sample of versions for SIFT, see `different_pairs`).
- `real`: pairs of real edits; different = of another host or original.
- `grid`: single manipulations at several strengths, on windows of test groups.
- `speed`: pictures a second on two threads, 128 px, described alone and decoded from PNG and described.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import common
import metric_page
import rivals
import strengths

from twinscope import metrics
from twinscope.train import data, evaluate, protocol

FPR = 1e-3
CODE = [HERE / name for name in ("metric.py", "rivals.py", "strengths.py")]
CODE += [HERE.parent / "src" / "twinscope" / name for name in ("manipulate", "metrics.py", "detect/embed.py")]
CODE += [HERE.parent / "src" / "twinscope" / "train" / f"{name}.py" for name in ("data", "protocol", "evaluate")]
Numbers = dict[str, Any]


class Sizes(NamedTuple):
    """How large a run is: test classes, validation classes, windows of the grid, versions compared with all by SIFT."""

    classes: int = 402
    validation: int = 200
    windows: int = 60
    queries: int = 40
    timed: int = 300


@cache
def test_classes(count: int) -> protocol.Classes:
    """Return the classes of the test groups of the micrographs."""
    return protocol.classes("test", count, 9, "v02", seed=3, per_image=4)


@cache
def validation_classes(count: int) -> protocol.Classes:
    """Return the classes that choose every border."""
    return protocol.classes("val", count, 9, "v02", seed=1, per_image=4)


unseen_classes = cache(evaluate.unseen_classes)
real_pairs = cache(evaluate.real_pairs)
shown = cache(strengths.shown)


def borders(method: rivals.Method, sizes: Sizes) -> rivals.Borders:
    """Return a method's two borders, raw: its own or validation's best, and that of a false-positive rate of 1e-3."""
    found = rivals.cross(method, validation_classes(sizes.validation), sizes.queries, np.random.default_rng(2))
    same, different = found.same().ravel(), found.different()
    border = metrics.best_border(same, different)[0] if method.border is None else method.border
    return rivals.Borders(border, metrics.tpr_at_fpr(same, different, FPR)[1])


def synthetic(method: rivals.Method, limits: rivals.Borders, sizes: Sizes) -> Numbers:
    """Return the papers' protocol on the micrographs and on each set that nothing was learned from."""
    out: Numbers = {}
    for name in ("micrographs", *evaluate.SETS):
        test = test_classes(sizes.classes) if name == "micrographs" else unseen_classes(name)
        raw = rivals.cross(method, test, sizes.queries, np.random.default_rng(2))
        found = rivals.scaled(raw, limits)
        out[name] = judged(found, [w.group for w in test.windows], limits)
        if name == "micrographs":
            out["modalities"] = evaluate.modalities(found, test)
            out["look_alikes"] = evaluate.look_alikes(found, test)
    return out


def real(method: rivals.Method, limits: rivals.Borders, sizes: Sizes) -> Numbers:
    """Return the protocol on pairs of real edits, whole pictures brought to 128 px at most."""
    out: Numbers = {}
    for name in evaluate.SETS:
        pairs = real_pairs(name)
        a, b = (
            method.describe([strengths.small(p.astype(np.float32) / np.float32(255)) for p in side])
            for side in (pairs.a, pairs.b)
        )
        asked = rivals.wanted(len(pairs.a), 1, sizes.queries, np.random.default_rng(2)) if method.pairwise else None
        found = rivals.scaled(evaluate.paired(method.between(a, b, asked), pairs.groups), limits)
        out[name] = judged(found, pairs.groups, limits)
    return out


def judged(found: protocol.Distances, groups: list[int], limits: rivals.Borders) -> Numbers:
    """Return `evaluate.report`, what validation's border of 1e-3 gives, and None for rates that too few pairs tell."""
    out = evaluate.report(found, groups)
    inside = np.asarray(found.same() < limits.rare / limits.same, np.float64)
    out["tpr_validation"] = round(float(inside.mean()), 4)
    out["tpr_validation_95"] = evaluate.interval(inside, groups)
    out["fpr_validation"] = round(float(np.mean(found.different() < limits.rare / limits.same)), 6)
    for name, fpr in evaluate.FPRS.items():
        if fpr * out["different_pairs"] < 1:
            out |= {f"tpr_{name}": None, f"tpr_{name}_95": None}
    if out["different_pairs"] < 100:
        out["tpr_1e-2"] = None
    return out


def grid(method: rivals.Method, limits: rivals.Borders, sizes: Sizes) -> Numbers:
    """Return, by manipulation and strength, the shares below validation's border of 1e-3 and within the border.

    Intervals: 95 %, bootstrap over groups.
    """
    pictures = shown(sizes.windows)
    plain = method.describe(pictures.plain)
    own = np.eye(len(pictures.plain), dtype=np.bool_)
    out: Numbers = {}
    for (name, strength), changed in pictures.cells.items():
        raw = np.diag(method.between(plain, method.describe(changed), own if method.pairwise else None))
        row: Numbers = {"windows": len(raw), "median_distance": round(float(np.median(raw / limits.same)), 3)}
        for key, held in (("tpr_validation", raw < limits.rare), ("within_border", raw <= limits.same)):
            row[key] = round(float(held.mean()), 4)
            row[f"{key}_95"] = evaluate.interval(held.astype(np.float64), pictures.groups)
        out.setdefault(name, {})[strength] = row
    return out


def speed(method: rivals.Method, limits: rivals.Borders, sizes: Sizes) -> Numbers:
    """Return pictures a second on two threads, the median of three runs, and how busy the machine was."""
    test = test_classes(sizes.classes)
    pictures = list(test.views.reshape(-1, *test.views.shape[2:])[: sizes.timed])
    coded = [cv2.imencode(".png", picture)[1] for picture in pictures]
    whole = partial(_in_two, method)
    whole(pictures[:32], False)
    return {
        "described_per_s": _rate(lambda: whole(pictures, False), len(pictures)),
        "decoded_and_described_per_s": _rate(lambda: whole(coded, True), len(coded)),
        "threads": 2,
        "load_average": round(os.getloadavg()[0], 1),
    }


def _in_two(method: rivals.Method, pictures: list[Any], coded: bool) -> None:
    """Describe pictures on two threads: the method's own, or one for each half."""

    def work(part: list[Any]) -> None:
        method.describe([cv2.imdecode(p, cv2.IMREAD_GRAYSCALE) for p in part] if coded else part)

    if method.own_threads:
        work(pictures)
        return
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (pictures[::2], pictures[1::2])))


def _rate(work: Callable[[], None], count: int) -> int:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(count / float(np.median(times)))


PARTS: dict[str, Callable[[rivals.Method, rivals.Borders, Sizes], Numbers]] = {
    "synthetic": synthetic,
    "real": real,
    "grid": grid,
    "speed": speed,
}


def measure(method: rivals.Method, sizes: Sizes, folder: Path) -> Numbers:
    """Return all numbers of a method; parts that are kept in `folder` for this code, method and size are read."""
    limits = rivals.Borders(**kept(method, sizes, folder, "borders", lambda: borders(method, sizes)._asdict()))
    if not 0 < limits.same < float("inf"):
        raise ValueError(f"the border of {method.name} is {limits.same}: validation tells nothing apart")
    chosen = "its own" if method.border is not None else "the best of validation"
    out: Numbers = {"about": method.about, "key": method.key, "pairwise": method.pairwise}
    out["border"] = {"raw": limits.same, "told": method.told(limits.same), "chosen": chosen}
    out["border_1e-3"] = {"raw": limits.rare, "told": method.told(limits.rare), "chosen": "on validation"}
    for name, part in PARTS.items():
        out[name] = kept(method, sizes, folder, name, partial(part, method, limits, sizes))
    return out


def kept(method: rivals.Method, sizes: Sizes, folder: Path, part: str, work: Callable[[], Numbers]) -> Numbers:
    """Return a part's result from its file, or do the work and write it there."""
    key = common.short_hash(json.dumps([_code_and_data(), method.key, sizes._asdict()]))
    path = folder / f"{method.name.replace('[', '-').strip(']')}-{part}.json"
    if path.is_file():
        found: Numbers = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] == key:
            return dict(found["result"])
    start = time.monotonic()
    result = work()
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": key, "result": result}), encoding="utf-8")
    print(f"{method.name}: {part}, {time.monotonic() - start:.0f} s", flush=True)
    return result


@cache
def _code_and_data() -> str:
    """Return a hash of the code that measures and of the lists of pictures, as they were when a run began."""
    return common.digest([*CODE, *sorted((data.shared() / "data").glob("*/*.csv"))])


def results(names: list[str], sizes: Sizes, runs: Path, folder: Path) -> Numbers:
    """Return the results of a run."""
    found, missing = rivals.methods(names, runs)
    measured = {method.name: measure(method, sizes, folder) for method in found}
    return {
        "circumstances": common.circumstances(), "sizes": sizes._asdict(), "published": evaluate.PUBLISHED,
        "methods": measured, "missing": missing,
    }  # fmt: skip


def beside(new: Numbers, old: Numbers) -> Numbers:
    """Return the results of a run with the rows of an older one that it did not measure; each says when it was made.

    The pictures are drawn by seed, so that rows of two runs of the same sizes and code are of the same pictures.
    """
    methods = common.dated(old["methods"], old["circumstances"]) | new["methods"]
    order = [name for name in rivals.NAMES if name in methods] + [name for name in methods if name not in rivals.NAMES]
    missing = {name: why for name, why in (old["missing"] | new["missing"]).items() if name not in methods}
    return new | {"methods": {name: methods[name] for name in order}, "missing": missing}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["run", "table"], default="run")
    parser.add_argument("--json", type=Path, help="where to keep the results (with `table`: where they are)")
    parser.add_argument("--methods", nargs="+", default=list(rivals.NAMES), choices=rivals.NAMES)
    parser.add_argument("--runs", type=Path, default=Path(".cache/train"), help="where trained networks lie")
    parser.add_argument("--cache", type=Path, default=Path(".cache/metric"), help="where finished parts are kept")
    parser.add_argument("--keep", action="store_true", help="leave the rows of other methods in --json as they are")
    for name, value in Sizes._field_defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args(arguments)
    if given.what == "table":
        path = given.json or HERE / "results" / "metric.json"
        print("\n".join(metric_page.page(json.loads(path.read_text(encoding="utf-8")))))
        return 0
    if given.keep and given.json is None:
        parser.error("--keep needs --json, the file whose rows are kept")
    cv2.setNumThreads(1)
    sizes = Sizes(*(getattr(given, name) for name in Sizes._fields))
    old = json.loads(given.json.read_text(encoding="utf-8")) if given.keep else None
    if old is not None and old["sizes"] != sizes._asdict():
        parser.error(f"{given.json} is of a run of other sizes, {old['sizes']}; its rows cannot stand beside new ones")
    out = results(given.methods, sizes, given.runs, given.cache)
    if old is not None:
        out = beside(out, old)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print("\n".join(metric_page.page(out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
