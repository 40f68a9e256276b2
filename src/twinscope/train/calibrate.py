"""Fit the calibrated probability of a finding: `python -m twinscope.train.calibrate`.

Planted re-use of every kind, sets of look-alikes, and corrupted pairs are drawn from the training groups; the logistic
regression is fitted on them, checked on the validation groups, and written as `probability-4.onnx` with its card. The
rate of false findings a pair is measured on the validation groups, too. Needs scikit-learn and onnx, not torch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from twinscope import geometry
from twinscope.detect import candidates as finder
from twinscope.detect import coarse, embed, features, judge
from twinscope.detect.features import View
from twinscope.models.card import CARDS, WEIGHTS, Card, Probe, probe_input, write
from twinscope.settings import Settings
from twinscope.train import pairs

LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


STIFFNESS = 0.3
"""Inverse strength of the regression's L2 penalty; chosen on the validation groups."""


OUTERMOST = 0.002
"""Share of a signal's values at either end beyond which it counts as no further out; chosen on validation groups."""
CORRUPTED = 24
"""Corrupted pairs of a part: every other one shows two different pictures, half of these look-alikes."""
LAID = 4
"""So many times as many of them are laid over each other as they are: few of these looks count."""
NOISES = 6
"""Pairs of nothing but noise in each part that is laid over each other."""
_MORE = ("soft blot",) * 6 + ("blot",) * 2 + ("long chain",) * 4 + ("loading control",) * 4
"""Drawn more often than the others: those aligned without keypoints, which few others are, and those that vary most."""


class Sample(NamedTuple):
    """One candidate pair: the numbers behind it, the truth, the category and the set it comes from."""

    numbers: dict[str, float]
    same: bool
    category: str
    group: int


class Collected(NamedTuple):
    """What was made of one split: samples, pairs compared, per category (found as candidates, planted), wall time."""

    samples: list[Sample]
    compared: int
    counts: dict[str, list[int]]
    seconds: float


class Job(NamedTuple):
    """A part of the data to make: which split, planted or look-alikes, and the seed."""

    split: str
    kind: str
    seed: int


def run(job: Job) -> Part:
    """Make one part: samples, the number of pairs of different pictures that were compared, and for each category
    (found as candidates, planted).
    """
    cv2.setNumThreads(1)
    threadpool_limits(1)
    settings = Settings(threads=1)
    source = pairs.pool(job.split)
    rng = np.random.default_rng([7, job.seed, list(KINDS).index(job.kind), job.split == "val"])
    return KINDS[job.kind](source, rng, settings, job)


def _views(images: list[Any], settings: Settings) -> list[View]:
    return [features.view(image, settings.features) for image in images]


def _distances(images: list[Any]) -> NDArray[np.float32]:
    points = embed.embed(images, threads=1)
    return embed.distances(points, points)


Part = tuple[list[Sample], int, dict[str, list[int]]]


def _planted(source: pairs.Pool, rng: pairs.Rng, settings: Settings, job: Job) -> Part:
    made = (pairs.planted(source, rng, category) for category in (*pairs.CATEGORIES, *_MORE))
    return _each(made, settings, job, lambda pair, views: _first(pair, views, settings))


def _worn(source: pairs.Pool, rng: pairs.Rng) -> Iterable[pairs.Pair]:
    alike = list(pairs.LOOKALIKES)
    for number in range(CORRUPTED):
        if number % 4 == 3:
            yield pairs.lookalike(source, rng, alike[int(rng.integers(len(alike)))])
        else:
            yield pairs.corrupted(source, rng, number % 2 == 0)


def _corrupted(source: pairs.Pool, rng: pairs.Rng, settings: Settings, job: Job) -> Part:
    def look(pair: pairs.Pair, views: list[View]) -> list[judge.Measured]:
        return _first(pair, views, settings) + coarse.measured((pair.a, pair.b), views, settings)

    return _each(_worn(source, rng), settings, job, look)


def _laid(source: pairs.Pool, rng: pairs.Rng, settings: Settings, job: Job) -> Part:
    worn = (pair._replace(category="laid") if pair.same else pair for pair in _worn(source, rng))
    made = (*worn, *(pairs.noises(rng) for _ in range(NOISES)))
    return _each(made, settings, job, lambda _, views: coarse.laid(views, settings))


def _first(pair: pairs.Pair, views: list[View], settings: Settings) -> list[judge.Measured]:
    found = finder.candidates(views, settings, _distances([pair.a, pair.b]))
    return judge.measure(views[0], views[1], found[0], settings) if found else []


Look = Callable[[pairs.Pair, list[View]], list[judge.Measured]]


def _each(made: Iterable[pairs.Pair], settings: Settings, job: Job, look: Look) -> Part:
    """Look at pairs one by one; an alignment of a planted one that is not the true one is no sample."""
    samples: list[Sample] = []
    counts: dict[str, list[int]] = {}
    others = 0
    for pair in made:
        views = _views([pair.a, pair.b], settings)
        measured = look(pair, views)
        looked = list(zip(measured, judge.with_networks(measured, 1), strict=True))
        if pair.transform is None:
            others += 1
            samples += [Sample(numbers, False, pair.category, job.seed) for _, numbers in looked]
            continue
        tally = counts.setdefault(pair.category, [0, 0])
        tally[1] += 1
        right = 0
        for one, numbers in looked:
            full = np.linalg.inv(views[1].to_work) @ one.alignment.transform @ views[0].to_work
            frame = geometry.corners((0, 0, pair.a.shape[1], pair.a.shape[0]))
            miss = np.abs(geometry.apply(full, frame) - geometry.apply(pair.transform, frame)).max()
            if miss < 0.08 * max(pair.b.shape[:2]):
                right = 1
                samples.append(Sample(numbers, True, pair.category, job.seed))
        tally[0] += right
    return samples, others, counts


def _lookalikes(source: pairs.Pool, rng: pairs.Rng, settings: Settings, job: Job) -> Part:
    """A set of panels that all show different things, several of each kind of look-alike; every pair is compared."""
    images: list[Any] = []
    origins: list[set[str]] = []
    made: list[str] = []
    for category in pairs.LOOKALIKES:
        for _ in range(4 if category in ("blots alike", "soft blots", "lone cells", "loading controls") else 2):
            source.drawn.clear()
            pair = pairs.lookalike(source, rng, category)
            images += [pair.a, pair.b]
            origins += [set(source.drawn)] * 2
            made += [category] * 2
    views = _views(images, settings)
    samples = []
    for candidate in finder.candidates(views, settings, _distances(images)):
        a, b = candidate.a, candidate.b
        if a // 2 != b // 2 and origins[a] & origins[b]:
            continue  # two draws from one micrograph may truly overlap
        category = made[a] if a // 2 == b // 2 else f"{made[a]} | {made[b]}"
        measured = judge.measure(views[a], views[b], candidate, settings)
        for numbers in judge.with_networks(measured, 1):
            samples.append(Sample(numbers, False, category, job.seed))
    return samples, len(images) * (len(images) - 1) // 2, {}


KINDS = {"look-alikes": _lookalikes, "planted": _planted, "corrupted": _corrupted, "laid": _laid}


def collect(split: str, kind: str, parts: int, processes: int) -> Collected:
    """Make so many parts of a kind from one split: "planted" pairs of every category, sets of "look-alikes",
    "corrupted" pairs, or such pairs "laid" over each other as they are.

    They are kept in `.cache/calibrate`; delete it after a change of detection.
    """
    kept = Path(".cache") / "calibrate" / f"{split}-{kind}-{parts}.json"
    if kept.exists():
        rows, *rest = json.loads(kept.read_text())
        return Collected([Sample(*row) for row in rows], *rest)
    start = time.monotonic()
    samples: list[Sample] = []
    compared = 0
    counts: dict[str, list[int]] = {}
    with ProcessPoolExecutor(processes) as pool:
        made = pool.map(run, [Job(split, kind, k) for k in range(parts)])
        for number, (part, others, tally) in enumerate(made, 1):
            samples += part
            compared += others
            _add(counts, tally)
            if number % 10 == 0:
                print(f"{split}, {kind}: {number} of {parts} parts, {len(samples)} candidates", flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    out = Collected(samples, compared, counts, round(time.monotonic() - start, 1))
    kept.write_text(json.dumps(out))
    return out


def _add(counts: dict[str, list[int]], more: dict[str, list[int]]) -> None:
    for category, (found, made) in more.items():
        old = counts.setdefault(category, [0, 0])
        counts[category] = [old[0] + found, old[1] + made]


def all_kinds(split: str, planted: int, sets: int, processes: int) -> Collected:
    """Make `planted` pairs of every category, `sets` sets of look-alikes, `planted` parts of corrupted pairs, and LAID
    times as many that are laid over each other; the latter do not count as compared, since no screening does it.
    """
    parts = [
        collect(split, kind, count, processes)
        for kind, count in (
            ("planted", planted),
            ("look-alikes", sets),
            ("corrupted", planted),
            ("laid", LAID * planted),
        )
    ]
    counts: dict[str, list[int]] = {}
    for part in parts:
        _add(counts, part.counts)
    samples = [sample for part in parts for sample in part.samples]
    return Collected(samples, sum(p.compared for p in parts[:-1]), counts, sum(p.seconds for p in parts))


def fit(samples: list[Sample]) -> NDArray[np.float64]:
    """Fit a quadratic logistic regression for each way of alignment; return Q (k, k) with logit = x Q x^T.

    x are `judge.signals`: a part for each way, 0 where it does not apply, with a constant 1 at its end.
    Long chains that were aligned without keypoints are left out: they are few, mostly of a cell or two on black, and
    teach that any two of those are the same (with them, validation's log loss grows by two fifths).
    """
    size = len(judge.SIGNALS) + 1
    samples = [s for s in samples if not (s.category == "long chain" and s.numbers["dense"])]
    x = np.array([judge.signals(s.numbers) for s in samples])
    y = np.array([s.same for s in samples])
    quadratic = np.zeros((len(judge.WAYS) * size, len(judge.WAYS) * size))
    for way in range(len(judge.WAYS)):
        block = slice(way * size, (way + 1) * size)
        rows = x[:, block.stop - 1] == 1
        quadratic[block, block] = _fit_way(x[rows, block][:, :-1], y[rows])
    return quadratic


def _fit_way(x: NDArray[np.float64], y: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return Q (k + 1, k + 1) of one way, for signals (n, k) followed by a constant 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import PolynomialFeatures

    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale < 1e-6, 1.0, scale)
    products = PolynomialFeatures(2, include_bias=False)
    model = LogisticRegression(C=STIFFNESS, max_iter=20000)
    model.fit(products.fit_transform((x - mean) / scale), y)
    count = x.shape[1]
    inner = np.zeros((count + 1, count + 1))
    inner[count, count] = float(model.intercept_[0])
    for weight, powers in zip(model.coef_[0], products.powers_, strict=True):
        first, *rest = np.repeat(np.arange(count), powers)
        inner[first, rest[0] if rest else count] += weight
    standard = np.zeros((count + 1, count + 1))
    standard[:count, :count] = np.diag(1 / scale)
    standard[count, :count] = -mean / scale
    standard[count, count] = 1
    return np.asarray(standard @ inner @ standard.T)


def limits(samples: list[Sample]) -> NDArray[np.float64]:
    """Return between what values each signal of each way was learned, (2, k): squares mean nothing further out."""
    x = np.array([judge.signals(s.numbers) for s in samples])
    size = len(judge.SIGNALS) + 1
    low, high = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for way in range(len(judge.WAYS)):
        block = slice(way * size, (way + 1) * size)
        rows = x[x[:, block.stop - 1] == 1, block]
        low[block], high[block] = np.quantile(rows, (OUTERMOST, 1 - OUTERMOST), axis=0)
    return np.stack([low, high])


def within(x: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return signals (n, k) brought between their ends (2, k); those of the ways that do not apply stay 0."""
    applies = x @ _ways()
    return np.asarray(np.minimum(np.maximum(x, applies * ends[0]), applies * ends[1]))


def _ways() -> NDArray[np.float64]:
    """Return the matrix (k, k) that brings the constant of each way to all signals of it."""
    size = len(judge.SIGNALS) + 1
    last = np.zeros((size, size))
    last[-1] = 1
    return np.asarray(np.kron(np.eye(len(judge.WAYS)), last), np.float64)


def save(path: Path, quadratic: NDArray[np.float64], ends: NDArray[np.float64]) -> None:
    """Write the regression as an ONNX graph: (n, signals) float32 -> (n,) float32 probability."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("MatMul", ["signals", "ways"], ["applies"]),
        helper.make_node("Mul", ["applies", "low"], ["least"]),
        helper.make_node("Mul", ["applies", "high"], ["most"]),
        helper.make_node("Max", ["signals", "least"], ["raised"]),
        helper.make_node("Min", ["raised", "most"], ["x"]),
        helper.make_node("MatMul", ["x", "q"], ["left"]),
        helper.make_node("Mul", ["left", "x"], ["terms"]),
        helper.make_node("ReduceSum", ["terms", "axes"], ["logit"], keepdims=0),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes, "probability",
        [helper.make_tensor_value_info("signals", TensorProto.FLOAT, ["n", len(quadratic)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(quadratic.astype(np.float32), "q"),
         numpy_helper.from_array(_ways().astype(np.float32), "ways"),
         numpy_helper.from_array(ends[0].astype(np.float32), "low"),
         numpy_helper.from_array(ends[1].astype(np.float32), "high"),
         numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def report(
    samples: list[Sample], compared: int, counts: dict[str, list[int]], p: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the numbers of a split: Brier score (way by way, too), calibration, candidate recall, and false findings
    for each pair of a screening, which lays nothing over each other.
    """
    same, laid = (np.array(rows) for rows in zip(*((s.same, "laid" in s.numbers) for s in samples), strict=True))
    false = np.sort(p[~same & ~laid])
    way = np.array([judge.way(s.numbers) for s in samples])
    ways = {
        name: {"brier": round(float(np.mean((p - same)[way == k] ** 2)), 5), "same": int(same[way == k].sum()),
               "different": int((~same)[way == k].sum())}
        for k, name in enumerate(judge.WAYS) if (way == k).any()
    }  # fmt: skip
    rates = [(float((false >= level).sum()) + 0.5) / max(compared, 1) for level in LEVELS]
    bins = np.clip((p * 10).astype(int), 0, 9)
    reliability = [
        {"stated": round(float(p[bins == k].mean()), 4), "observed": round(float(same[bins == k].mean()), 4),
         "n": int((bins == k).sum())}
        for k in range(10) if (bins == k).any()
    ]  # fmt: skip
    recall = {}
    for category in sorted(counts):
        found = sum(1 for s, q in zip(samples, p, strict=True) if s.same and s.category == category and q >= 0.5)
        recall[category] = {"found": found, "candidates": counts[category][0], "planted": counts[category][1]}
    return {
        "brier": round(float(np.mean((p - same) ** 2)), 5),
        "ways": ways,
        "candidates": {"same": int(same.sum()), "different": int((~same).sum())},
        "pairs_compared": compared,
        "reliability": reliability,
        "recall": recall,
        "false_per_pair": {"level": list(LEVELS), "rate": [round(r, 8) for r in rates]},
        "highest_false": [round(float(v), 4) for v in false[::-1][:10]],
    }


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", type=int, default=24, help="pairs of every category; half as many in validation")
    parser.add_argument("--sets", type=int, default=30, help="sets of look-alikes; twice as many in validation")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--id", default=judge.MODEL)
    arguments = parser.parse_args()
    train = all_kinds("train", arguments.planted, arguments.sets, arguments.processes)
    quadratic, ends = fit(train.samples), limits(train.samples)
    val = all_kinds("val", max(10, arguments.planted // 2), 2 * arguments.sets, arguments.processes)

    def apply(samples: list[Sample]) -> NDArray[np.float64]:
        x = within(np.array([judge.signals(s.numbers) for s in samples]), ends)
        return np.asarray(1 / (1 + np.exp(-((x @ quadratic) * x).sum(1))))

    path = WEIGHTS / f"{arguments.id}.onnx"
    save(path, quadratic, ends)
    numbers = report(val.samples, val.compared, val.counts, apply(val.samples))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    training = {
        "data": "micrographs (train split) and drawn blots, textures and blank panels",
        "planted_per_category": arguments.planted, "look_alike_sets": arguments.sets, "seed": 7,
        "commit": commit.stdout.strip(), "wall_s": round(train.seconds + val.seconds),
        "train": report(train.samples, train.compared, train.counts, apply(train.samples)),
    }  # fmt: skip
    card = make_card(arguments.id, path, training, numbers)
    write(card, CARDS / f"{arguments.id}.json")
    print(json.dumps(numbers, indent=1))


def make_card(id: str, path: Path, training: dict[str, Any], numbers: dict[str, Any]) -> Card:
    """Return the card of the fitted probability."""
    import onnxruntime

    shape = (4, len(judge.WAYS) * (len(judge.SIGNALS) + 1))
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    first = session.run(None, {"signals": probe_input(shape, "float32")})[0].ravel()
    return Card(
        id=id,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        task="give the probability that two aligned panels show the same source",
        input=f"signals: (n, {shape[1]}) float32: {', '.join(judge.SIGNALS)}, 1; for {', '.join(judge.WAYS)}",
        preprocessing="outside: detect/judge.py, signals; inside the graph: products of the signals",
        output="probability: (n,) float32 in [0, 1]",
        training=training,
        metrics=numbers,
        probe=Probe(shape=shape, dtype="float32", first=tuple(float(round(float(v), 6)) for v in first), atol=1e-4),
        limits=(
            "Calibrated on planted re-use and look-alikes of micrographs and drawn blots, half of the candidates each.",
        ),
        licence="Apache-2.0",
    )


if __name__ == "__main__":
    main()
