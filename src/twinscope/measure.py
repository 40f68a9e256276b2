"""Measure the metric on a user's own pictures: `evaluate` on labelled pairs, `calibrate` on clean pictures.

Both embed whole pictures and look at distances alone. Nothing is written here but what is kept of the embedding.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope import __version__, metrics, models, tables
from twinscope.detect import embed, vectors
from twinscope.detect.vectors import Trouble
from twinscope.errors import UsageError
from twinscope.ingest import files
from twinscope.ingest.files import Source
from twinscope.settings import Settings
from twinscope.types import Progress

Distances = NDArray[np.float64]
Number = dict[str, float | None]

BORDER = 1.0
RATES = (1e-1, 1e-2, 1e-3, 1e-4)
"""False-positive rates that are told, where there are enough pairs to say."""
ROUNDS = 1000
"""Rounds of the bootstrap."""
COLUMNS = ("a", "b", "same", "group", "label", "class")
"""What is read of a table of pairs."""
SAYS = {"1": True, "true": True, "0": False, "false": False}


class Pair(NamedTuple):
    """A line of the table of pairs: the pictures as it names them, whether they are the same, and what it says more."""

    line: int
    a: str
    b: str
    same: bool
    group: str
    label: str


class Measured(NamedTuple):
    """An evaluation: what is told, every pair with its distance (NaN where one was not read), and the troubles."""

    told: dict[str, Any]
    pairs: tuple[Pair, ...]
    distances: Distances
    troubles: tuple[Trouble, ...]

    def of(self, same: bool) -> Distances:
        """Return the distances of the same or of the different pairs that were read."""
        asked = np.array([pair.same == same for pair in self.pairs], np.bool_)
        return self.distances[asked & ~np.isnan(self.distances)]


def evaluate(
    table: Path, kept: Path, settings: Settings, progress: Progress | None = None, model: str = embed.MODEL
) -> Measured:
    """Measure the metric on the pairs of a CSV file: a, b, same, and where there are such columns group, label (class).

    Paths are relative to the file, or absolute. kept, model: see `vectors.embedded`. What is told: accuracy at the
    border and at the best one, AUC, TPR at FPR, the shares within the border, IR@1 and IR@5, each {value, low, high}
    with a 95 % interval from a bootstrap over groups (over pairs where there are none), or None where there is too
    little to say.
    Raises UsageError for a file that is no such table; lines and pictures that cannot be used are troubles.
    """
    tell = progress or (lambda stage, done, total: None)
    pairs, troubles = read_pairs(table)
    names = {name: files.shown(table.parent / name) for pair in pairs for name in (pair.a, pair.b)}
    sources = list({path: Source(table.parent / name, path) for name, path in names.items()}.values())
    found = vectors.embedded(sources, kept, settings, progress, model)
    number = _numbered(found.sha256)  # one picture under two names, or in two files, is one
    place = dict(zip(found.paths, number.tolist(), strict=True))
    unique = found.points[np.unique(number, return_index=True)[1]]
    ends = np.array([[place.get(names[pair.a], -1), place.get(names[pair.b], -1)] for pair in pairs]).reshape(-1, 2)
    read = np.asarray((ends >= 0).all(1))
    points = unique.astype(np.float64)
    distances = np.full(len(pairs), np.nan)
    distances[read] = np.linalg.norm(points[ends[read, 0]] - points[ends[read, 1]], axis=1)
    usable = [(pair, int(a), int(b)) for pair, (a, b), good in zip(pairs, ends, read, strict=True) if good]
    classes, doubtful = _classes(usable, len(points))
    grouped = any(pair.group for pair in pairs)
    same = np.array([pair.same for pair, _, _ in usable], np.bool_)
    units = _numbered(pair.group or ("line", pair.line) for pair, _, _ in usable)
    numbers = _numbers(same, distances[read], units, settings.seed, tell)
    numbers |= _retrieval(unique, classes, _picture_units(usable, units, classes, grouped), settings.seed)
    alike, refused = int(same.sum()), sum(trouble.status == "refused" for trouble in troubles)
    told = _head(model) | {
        "csv_sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
        "pairs": {"given": len(pairs) + refused, "measured": len(same), "same": alike, "different": len(same) - alike},
        "pictures": len(points),
        "groups": int(units.max() + 1) if grouped and len(units) else None,
        "border": BORDER,
        "metrics": numbers,
        "notes": _notes(numbers, grouped),
    }
    return Measured(told, tuple(pairs), distances, (*troubles, *doubtful, *found.troubles))


def _head(model: str) -> dict[str, Any]:
    card = models.load(model).card
    return {"twinscope": __version__, "model": card.id, "model_sha256": card.sha256}


def read_pairs(table: Path) -> tuple[list[Pair], list[Trouble]]:
    """Return the pairs of a CSV file (UTF-8) and the lines that are none.

    Raises UsageError where it cannot be read, lacks a column (a, b, same), has one twice or holds no pair.
    """
    pairs, troubles = [], []
    for line, cells in tables.rows(table, ("a", "b", "same"), COLUMNS):
        same = SAYS.get(cells["same"].lower())
        if not (cells["a"] and cells["b"]) or same is None:
            reason = f"needs a, b and 1, 0, true or false for same (it says {cells['same'][:40]!r})"
            troubles.append(Trouble(f"{table.name}, line {line}", "refused", reason))
            continue
        label = cells.get("label") or cells.get("class") or ""
        pairs.append(Pair(line, cells["a"], cells["b"], same, cells.get("group", ""), label))
    if not pairs:
        raise UsageError(f"{table} holds no pair that can be measured; each line needs a, b and same (1 or 0)")
    return pairs, troubles


def _numbered(keys: Iterable[object]) -> NDArray[np.int64]:
    """Return a number for each key, from 0 in the order of their first."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)


def _classes(usable: Sequence[tuple[Pair, int, int]], pictures: int) -> tuple[NDArray[np.int64], list[Trouble]]:
    """Return the class of each picture, joined by labels and by same pairs, and the lines that contradict others.

    A label is that of a, and of b, too, where the two are the same.
    """
    parent: dict[object, object] = {}

    def root(node: object) -> object:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    for pair, a, b in usable:
        if pair.same:
            parent[root(a)] = root(b)
        if pair.label:
            parent[root(a)] = root(("label", pair.label))
    troubles = []
    for pair, a, b in usable:
        if not pair.same and root(a) == root(b):
            why = "they are one picture" if a == b else "other lines make them the same"
            reason = f"says that {pair.a} and {pair.b} differ, where {why}"
            troubles.append(Trouble(f"line {pair.line}", "doubtful", reason))
    labels: dict[object, str] = {}
    for pair, a, _ in usable:
        if pair.label and labels.setdefault(root(a), pair.label) != pair.label:
            reason = f"labels {pair.label} and {labels[root(a)]} share a picture or a same pair; they count as one"
            troubles.append(Trouble(f"line {pair.line}", "doubtful", reason))
    return _numbered(root(number) for number in range(pictures)), troubles


def _picture_units(
    usable: Sequence[tuple[Pair, int, int]], units: NDArray[np.int64], classes: NDArray[np.int64], grouped: bool
) -> NDArray[np.int64]:
    """Return the unit of the bootstrap that each picture belongs to: its group, or else its class."""
    if not grouped:
        return classes
    out = np.zeros(len(classes), np.int64)
    for (_, a, b), unit in reversed(list(zip(usable, units, strict=True))):
        out[a] = out[b] = unit
    return out


Metric = Callable[[Distances, Distances], float]


def _numbers(
    same: NDArray[np.bool_], distances: Distances, units: NDArray[np.int64], seed: int, tell: Progress
) -> dict[str, Number | None]:
    """Return the metrics of pairs with their intervals."""
    asked: dict[str, Metric | None] = {
        "accuracy": _of_both(partial(metrics.accuracy, border=BORDER)),
        "best_accuracy": _of_both(lambda s, d: metrics.best_border(s, d)[1]),
        "best_border": _of_both(lambda s, d: metrics.best_border(s, d)[0]),
        "auc": _of_both(metrics.auc),
        "same_within_border": lambda s, d: _within(s),
        "different_within_border": lambda s, d: _within(d),
    }
    for rate in RATES:
        enough = int((~same).sum()) >= round(1 / rate)
        asked[f"tpr_at_fpr_{rate_name(rate)}"] = _of_both(partial(_tpr, rate=rate)) if enough else None
    out: dict[str, Number | None] = {}
    for name, metric in asked.items():
        out[name] = None if metric is None else _over_pairs(metric, same, distances, units, seed)
        tell("intervals", len(out), len(asked))
    return out


def rate_name(rate: float) -> str:
    """Return a rate as it is written in names: 1e-3."""
    return f"1e-{round(-math.log10(rate))}"


def _tpr(same: Distances, different: Distances, rate: float) -> float:
    return metrics.tpr_at_fpr(same, different, rate)[0]


def _of_both(metric: Metric) -> Metric:
    """Return a metric that is NaN where there is no same or no different pair."""
    return lambda same, different: metric(same, different) if len(same) and len(different) else math.nan


def _within(distances: Distances) -> float:
    """Return the share within the border, NaN of nothing."""
    return float(np.mean(distances <= BORDER)) if len(distances) else math.nan


def _over_pairs(
    metric: Metric, same: NDArray[np.bool_], distances: Distances, units: NDArray[np.int64], seed: int
) -> Number | None:
    """Return a metric of pairs and its interval over units; None where there is no pair of a kind that it needs."""
    order = np.argsort(distances, kind="stable")  # sorted once, as the metrics sort again at every round
    same, distances, units = same[order], distances[order], units[order]
    near, far = distances[same], distances[~same]
    value = metric(near, far)
    if math.isnan(value):
        return None
    count = int(units.max()) + 1

    def drawn(indices: NDArray[np.int64]) -> float:
        times = np.bincount(indices, minlength=count)[units]
        return metric(np.repeat(near, times[same]), np.repeat(far, times[~same]))

    return _number(value, count, drawn, seed)


def _number(value: float, units: int, drawn: Callable[[NDArray[np.int64]], float], seed: int) -> Number:
    """Return a value with its interval; without one where there is but one unit to draw."""
    low: float | None = None
    high: float | None = None
    if units > 1:
        low, high = metrics.bootstrap(units, drawn, np.random.default_rng(seed), ROUNDS)
    return {"value": _short(value), "low": _short(low), "high": _short(high)}


def _short(value: float | None) -> float | None:
    """Return a number to six digits, so that it reads well; what is no number is None."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _retrieval(
    points: NDArray[np.float32], classes: NDArray[np.int64], units: NDArray[np.int64], seed: int
) -> dict[str, Number | None]:
    """Return IR@1 and IR@5: each picture with one of its class among the others is looked for among all others."""
    sizes = np.bincount(classes) if len(classes) else np.zeros(0, np.int64)
    queries = np.flatnonzero(sizes[classes] > 1)
    out: dict[str, Number | None] = {}
    for k in (1, 5):
        if not len(queries) or len(sizes) < 2 or len(points) <= k + 1:
            out[f"ir_at_{k}"] = None
            continue
        blocks = np.array_split(queries, len(queries) // 512 + 1)
        hits = np.concatenate([_hits(points, classes, some, k) for some in blocks])
        own = _numbered(units[queries].tolist())
        members = [np.flatnonzero(own == unit) for unit in range(int(own.max()) + 1)]
        drawn = partial(_mean_of, hits, members)
        out[f"ir_at_{k}"] = _number(float(np.mean(hits)), len(members), drawn, seed)
    return out


def _hits(points: NDArray[np.float32], classes: NDArray[np.int64], queries: NDArray[np.int64], k: int) -> NDArray[Any]:
    distances = embed.distances(points[queries], points)
    distances[np.arange(len(queries)), queries] = np.inf  # nobody finds itself
    return metrics.hits_at_k(distances, classes[queries], classes, k)


def _mean_of(values: NDArray[Any], members: Sequence[NDArray[Any]], drawn: NDArray[np.int64]) -> float:
    return float(values[np.concatenate([members[k] for k in drawn])].mean())


def _notes(numbers: dict[str, Number | None], grouped: bool) -> list[str]:
    """Return in plain words what the numbers rest on."""
    over = "groups" if grouped else "pairs, as if they were independent (a column `group` says which are not)"
    out = [
        f"The intervals are of 95 %, from {ROUNDS} rounds over {over}.",
        "The best border is chosen on these same pairs: its accuracy flatters.",
    ]
    short = [name for name, number in numbers.items() if name.startswith("tpr") and number is None]
    if short:
        out.append("A rate of 1e-k needs 10^k different pairs at least; there are fewer for " + ", ".join(short) + ".")
    if numbers["ir_at_1"] is not None:
        out.append("Pictures that no label and no same pair joins count as different in the search.")
    return out


# --- clean pictures ---------------------------------------------------------------------------------------------

MOST = 3000
"""Pictures that a calibration looks at; of more, so many are drawn at random."""
TEN = 10
"""Pairs that a border must rest on: one at the edge of fewer is luck."""
NEAREST = 10
CANNOT_SAY = (
    "It holds only if no two of these pictures show the same. Look at the nearest pairs: where two do, take one out "
    "(or put both into one sub-folder) and calibrate again.",
    "It is about the distance of whole pictures alone. `screen` looks further at such candidates, so these are not "
    "the findings to expect.",
    "It does not say how many re-used pictures a narrower border would miss; `evaluate` does, on pairs that are known.",
    "The panels of one manuscript may be more alike than pictures from many; then there are more false candidates.",
)


def calibrate(
    folder: Path,
    kept: Path,
    settings: Settings,
    panels: Sequence[int],
    progress: Progress | None = None,
    model: str = embed.MODEL,
    without: Sequence[Path] = (),
) -> tuple[dict[str, Any], list[Trouble]]:
    """Return which distances a user's own clean pictures keep, and what could not be read.

    Every two pictures count as different, but for those of one sub-folder of `folder`, which say nothing. It tells for
    each false-alarm rate the border (a distance; `distance < border` lets at most that share of pairs in), the share of
    pairs within the border 1, the false candidates to expect among the pairs of a manuscript of N panels (for each N of
    `panels`), and the nearest pairs. 95 % intervals from a bootstrap over sub-folders (over pictures where there are
    none), as pairs that share a picture are not independent. None where too few pairs are there to say. without: files
    of `folder` that are left out without a word.
    Raises UsageError where there are not two pictures to compare.
    """
    sources, troubles = vectors.listed([folder], without)
    drawn = sorted(np.random.default_rng(settings.seed).permutation(len(sources))[:MOST].tolist())
    found = vectors.embedded([sources[k] for k in drawn], kept, settings, progress, model)
    groups = [vectors.group(Path(path).relative_to(files.shown(folder))) for path in found.paths]
    use, copies = _without_copies(found, groups)
    units = _numbered(groups[k] for k in use)
    clean = _clean_pairs(found.points[use], units)
    if not len(clean.distances):
        lost = [*troubles, *copies, *found.troubles]
        why = f"; {len(lost)} files were left out, such as {lost[0].path}: {lost[0].reason}" if lost else ""
        raise UsageError(f"{folder} holds no two pictures to compare (those of one sub-folder are not compared){why}")
    rows = []
    for number, rate in enumerate(RATES, 1):
        rows.append(_threshold(clean, rate, panels, settings.seed))
        if progress is not None:
            progress("intervals", number, len(RATES))
    names = [found.paths[k] for k in use]
    nearest = [
        {"a": names[a], "b": names[b], "distance": _short(float(distance))}
        for distance, a, b in zip(clean.distances[:NEAREST], clean.a, clean.b, strict=False)
    ]
    told = _head(model) | {
        "pictures": {"found": len(sources), "used": len(use)},
        "groups": int(clean.sizes.size) if clean.sizes.max() > 1 else None,
        "pairs": clean.pairs,
        "thresholds": rows,
        "border": _at_border(clean, panels, settings.seed),
        "nearest": nearest,
        "notes": [_intervals_of(clean), *CANNOT_SAY],
    }
    return told, [*troubles, *copies, *found.troubles]


def _without_copies(found: vectors.Vectors, groups: Sequence[str]) -> tuple[list[int], list[Trouble]]:
    """Return the pictures whose files are no copy of an earlier one in another group, and a trouble for each copy."""
    first: dict[str, int] = {}
    use, troubles = [], []
    for number, digest in enumerate(found.sha256):
        before = first.setdefault(digest, number)
        if groups[before] == groups[number]:
            use.append(number)
        else:
            reason = f"a copy of {found.paths[before]}, byte for byte; left out"
            troubles.append(Trouble(found.paths[number], "refused", reason))
    return use, troubles


class _Clean(NamedTuple):
    """The nearest pairs of different groups, by distance: pictures a and b; `pairs` counts all, `sizes` the groups."""

    distances: NDArray[np.float32]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    units: NDArray[np.int64]
    sizes: NDArray[np.int64]
    pairs: int

    def total(self, times: NDArray[np.int64]) -> float:
        """Return how many pairs there are when each group is there so many times; a group and itself are no pair."""
        each = (times * self.sizes).astype(np.float64)
        return float(each.sum() ** 2 - (each**2).sum()) / 2

    def counts(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pairs there are up to each, when each group is there so many times."""
        return np.cumsum(times[self.units[self.a]] * times[self.units[self.b]])


def _clean_pairs(points: NDArray[np.float32], units: NDArray[np.int64]) -> _Clean:
    """Return the pairs, nearest first; of very many only the nearer third and those within the border."""
    a, b = np.triu_indices(len(points), 1)
    apart = units[a] != units[b]
    a, b = a[apart], b[apart]
    distances = embed.distances(points, points)[a, b]
    pairs = len(distances)
    far = max(BORDER, float(np.quantile(distances, 1 / 3))) if pairs > 100_000 else np.inf
    keep = distances <= far
    a, b, distances = a[keep], b[keep], distances[keep]
    order = np.argsort(distances, kind="stable")
    return _Clean(distances[order], a[order], b[order], units, np.bincount(units), pairs)


def _threshold(clean: _Clean, rate: float, panels: Sequence[int], seed: int) -> dict[str, Any]:
    """Return the border for a false-alarm rate, or what would be needed to say it."""
    needed = round(TEN / rate)
    pictures = math.ceil((1 + math.sqrt(1 + 8 * needed)) / 2)
    row: dict[str, Any] = {"rate": rate, "distance": None, "pairs_needed": needed, "pictures_needed": pictures}
    if clean.pairs < needed:
        return row

    def border(times: NDArray[np.int64]) -> float:
        place = int(np.searchsorted(clean.counts(times), math.floor(rate * clean.total(times)), "right"))
        return float(clean.distances[place]) if place < len(clean.distances) else math.nan

    row["distance"] = _over_groups(border, clean, seed)
    row["expected_false"] = {str(n): _short(rate * _pairs_of(n)) for n in panels}
    return row


def _over_groups(metric: Callable[[NDArray[np.int64]], float], clean: _Clean, seed: int) -> Number:
    """Return a metric of how often each group is there, with its interval; without one where groups are few."""
    count = len(clean.sizes)
    value = metric(np.ones(count, np.int64))
    if count < TEN:
        return {"value": _short(value), "low": None, "high": None}
    return _number(value, count, lambda drawn: metric(np.bincount(drawn, minlength=count)), seed)


def _at_border(clean: _Clean, panels: Sequence[int], seed: int) -> dict[str, Any]:
    """Return the share of pairs within the border 1, and the false candidates to expect."""
    within = int(np.searchsorted(clean.distances, BORDER, "right"))

    def share(times: NDArray[np.int64]) -> float:
        total = clean.total(times)
        return float(clean.counts(times)[within - 1]) / total if total else math.nan

    if within:
        number = _over_groups(share, clean, seed)
    else:  # none was seen; so many pairs that share no group rule out more than this
        number = {"value": 0.0, "low": 0.0, "high": _short(1 - 0.025 ** (1 / max(1, len(clean.sizes) // 2)))}
    expected = {
        str(n): {end: None if part is None else _short(part * _pairs_of(n)) for end, part in number.items()}
        for n in panels
    }
    return {"distance": BORDER, "pairs_within": within, "share": number, "expected_false": expected}


def _pairs_of(panels: int) -> int:
    return panels * (panels - 1) // 2


def _intervals_of(clean: _Clean) -> str:
    what = "sub-folders" if clean.sizes.max() > 1 else "pictures"
    if len(clean.sizes) < TEN:
        return f"There are no intervals: they need {TEN} {what} or more, here are {len(clean.sizes)}."
    why = "pairs that share a picture are not independent"
    return f"The intervals are of 95 %, from {ROUNDS} rounds over {what}; {why}."
