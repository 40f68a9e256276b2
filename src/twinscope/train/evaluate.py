"""Judge a model on what it never saw: `python -m twinscope.train.evaluate embedder-0`.

Writes benchmarks/results/ID.json and quotes it in the model's card; with `--candidate FOLDER` the model is taken from
there (what `export --into` wrote), and the results go there too. The papers' protocol on the test groups of the
micrographs (classes of one plain picture and nine manipulated ones), the same on look-alikes, modality by modality,
manipulation by manipulation, and on pictures of kinds that were never trained on. Intervals: bootstrap over groups.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate, metrics, models
from twinscope.detect.embed import distances, embed
from twinscope.models import card as card_of
from twinscope.train import data, protocol

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
FPR = 1e-3
FPRS = {"1e-3": FPR, "1e-4": FPR / 10}
Numbers = dict[str, Any]


def main() -> None:
    """Evaluate from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id")
    parser.add_argument("--classes", type=int, default=402)
    parser.add_argument("--no-card", action="store_true", help="leave the card as it is")
    parser.add_argument("--candidate", type=Path, help="a folder that holds graph and card, in place of the package")
    parser.add_argument("--out", type=Path, help="the folder of the results")
    arguments = parser.parse_args()
    if arguments.candidate is not None:
        card_of.CARDS = card_of.WEIGHTS = arguments.candidate
    results = evaluate(arguments.id, arguments.classes)
    folder: Path = arguments.out or (arguments.candidate / "results" if arguments.candidate else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{arguments.id}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    if not arguments.no_card and arguments.candidate is None and arguments.out is None:
        card = models.load(arguments.id).card
        quoted: Numbers = {"results": f"benchmarks/results/{path.name}"}
        for key in ("v02", "strong", "figure", "look_alikes", "unseen", "speed"):
            quoted[key] = results[key]
        card_of.write(card.model_copy(update={"metrics": quoted}), card_of.CARDS / f"{card.id}.json")
    print(json.dumps(results, indent=1))


def evaluate(id: str, count: int) -> Numbers:
    """Return all numbers of a model; see the head of this file."""
    started = time.monotonic()
    card = models.load(id).card
    out: Numbers = {"model": id, "sha256": card.sha256, "border": 1.0, "published": PUBLISHED}
    for how, most in (("v02", count), ("strong", count // 2), ("figure", count // 2)):
        test = protocol.classes("test", most, 9, how, seed=3, per_image=4)
        found = protocol.distances(partial(_points, id), test)
        out[how] = report(found, [w.group for w in test.windows])
        if how == "v02":
            out["look_alikes"] = look_alikes(found, test)
            out["modalities"] = modalities(found, test)
            out["manipulations"] = manipulations(
                id, metrics.tpr_at_fpr(found.same().ravel(), found.different(), FPR)[1]
            )
    out["unseen"] = {name: unseen(id, name) for name in ("blots", "photos", "copymove")}
    out["edited_pairs"] = edited_pairs(id)
    out["speed"] = speed(id)
    out["seconds"] = round(time.monotonic() - started)
    return out


PUBLISHED = {
    "cicconet-2019 SN, synthetic": 0.853731,
    "cicconet-2019 SN[G], synthetic": 0.748010,
    "note": "published on other pictures than ours: compare with care",
}


def report(found: protocol.Distances, groups: list[int]) -> Numbers:
    """Return the protocol's summary with 95 % intervals from a bootstrap over groups (thresholds fixed).

    A false-positive rate below 1 / different_pairs cannot be said: there the border lets no different pair in.
    """
    numbers: Numbers = protocol.rounded(protocol.summary(found))
    same, different = found.same(), found.different()
    borders = {f"tpr_{name}": metrics.tpr_at_fpr(same.ravel(), different, fpr)[1] for name, fpr in FPRS.items()}
    if not np.isnan(found.cross).any():
        numbers["runs_accuracy"] = round(float(protocol.runs(found, np.random.default_rng(8)).mean()), 4)
    each = {"accuracy": right(found), "ir1": found.hits(), "auc": _each_auc(same, different)}
    each |= {name: np.asarray(same < border, np.float64) for name, border in borders.items()}
    for name, values in each.items():
        numbers[f"{name}_95"] = interval(values, groups)
        if name in borders:
            numbers[name] = round(float(values.mean()), 4)
    numbers |= {"tpr_at_border": float(np.mean(same <= 1)), "fpr_at_border": float(np.mean(different <= 1))}
    numbers |= {"border_1e-3": float(borders["tpr_1e-3"]), "classes": len(same), "versions": same.shape[1]}
    numbers |= {"groups": len(set(groups)), "different_pairs": len(different)}
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in numbers.items()}


def right(found: protocol.Distances) -> NDArray[np.float64]:
    """Return each class's expected share of right answers at the border 1, same and different weighing alike.

    (classes,); NaN for a class whose plain picture was compared with no different one.
    """
    asked = found.sure()[..., None] & ~np.isnan(found.cross)
    counts = asked.sum((1, 2)).astype(np.float64)
    apart = np.divide((asked & (found.cross > 1)).sum((1, 2)), counts, out=counts * np.nan, where=counts > 0)
    return np.asarray(0.5 * ((found.same() <= 1).mean(1) + apart), np.float64)


def _each_auc(same: NDArray[Any], different: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([metrics.auc(row, different) for row in same])


def interval(values: NDArray[Any], groups: list[int], rounds: int = 1000) -> list[float]:
    """Return the 95 % interval of a mean: bootstrap over groups. `values` has a row for each entry of `groups`.

    NaN is left out. Raises ValueError where all is NaN.
    """
    _, unit = np.unique(np.asarray(groups), return_inverse=True)
    table = np.asarray(values, np.float64).reshape(len(unit), -1)
    if np.isnan(table).all():
        raise ValueError("an interval of nothing is not defined: give it at least one value")
    count = int(unit.max()) + 1
    totals = np.bincount(unit, np.nansum(table, axis=1), count)
    sizes = np.bincount(unit, (~np.isnan(table)).sum(1), count)
    filled = np.flatnonzero(sizes)

    def mean(drawn: NDArray[np.int64]) -> float:
        return float(totals[filled[drawn]].sum() / sizes[filled[drawn]].sum())

    return [round(v, 4) for v in metrics.bootstrap(len(filled), mean, np.random.default_rng(4), rounds)]


def look_alikes(found: protocol.Distances, test: protocol.Classes) -> Numbers:
    """Return how many different pairs of one image, and of one group, lie within the border: the hard negatives."""
    image, group = (np.array([w[k] for w in test.windows]) for k in (0, 1))
    sure = found.sure()
    out: Numbers = {}
    for name, near in {"one image": image[:, None] == image, "one group": group[:, None] == group}.items():
        values = found.cross[near & sure]
        values = values[~np.isnan(values)]
        if values.size:
            out[name] = {"pairs": values.size, "within_border": round(float(np.mean(values <= 1)), 4)}
            out[name]["auc"] = round(metrics.auc(found.same().ravel(), values.ravel()), 4)
    return out


def modalities(found: protocol.Distances, test: protocol.Classes) -> Numbers:
    """Return, for each modality, its classes, what is found at the border and at FPR 1e-3 of all, and false alarms.

    The last two with 95 % intervals, a bootstrap over the modality's groups (the border fixed); None of a single group.
    """
    border = metrics.tpr_at_fpr(found.same().ravel(), found.different(), FPR)[1]
    kinds = np.array([w.modality for w in test.windows])
    sure, hits = found.sure(), found.hits()
    out: Numbers = {}
    for kind in sorted(set(kinds)):
        mine = kinds == kind
        groups = [w.group for w in test.windows if w.modality == kind]
        same, within = found.same()[mine], found.cross[(mine[:, None] & mine) & sure]
        row = {
            "classes": int(mine.sum()),
            "tpr_at_border": np.mean(same <= 1),
            "ir1": _share(hits[mine] == 1, hits[mine]),
        }
        row |= {"tpr_1e-3": np.mean(same < border)}
        others = found.cross[mine][sure[mine]]
        row |= {"fpr_at_border": _share(others <= 1, others), "fpr_within_modality": _share(within <= 1, within)}
        out[kind] = {
            k: v if isinstance(v, int) else (None if np.isnan(v) else round(float(v), 4)) for k, v in row.items()
        }
        alike = np.where((mine & sure[mine])[..., None], found.cross[mine], np.nan)  # NaN: not asked
        alike = np.where(np.isnan(alike), np.nan, alike <= 1).reshape(len(same), -1)
        for key, values in {"tpr_1e-3": np.asarray(same < border, np.float64), "fpr_within_modality": alike}.items():
            known = len(set(groups)) > 1 and not np.isnan(values).all()
            out[kind] |= {f"{key}_95": interval(values, groups) if known else None}
        out[kind] |= {"groups": len(set(groups))}
    return out


def _share(held: NDArray[np.bool_], values: NDArray[Any]) -> float:
    """Return the share of the values that are not NaN for which it held; NaN where there are none."""
    known = ~np.isnan(values)
    return float(held[known].mean()) if known.any() else float("nan")


def manipulations(id: str, border: float, count: int = 100) -> Numbers:
    """Return, for single manipulations of whole windows, the share within the border and within that of FPR 1e-3."""
    rng = np.random.default_rng(5)
    pixels, _ = data.cut(data.micrographs("test"), rng, 1, levels=(256,))
    chosen = [p.astype(np.float32) / 255 for p in pixels[rng.permutation(len(pixels))[:count]]]
    plain = _embedded(id, chosen)
    out: Numbers = {}
    for name, step in single().items():
        far = np.linalg.norm(_embedded(id, [step(p, rng).image for p in chosen]) - plain, axis=1)
        out[name] = {
            "within_border": round(float(np.mean(far <= 1)), 3),
            "within_border_95": [round(v, 3) for v in metrics.wilson(int((far <= 1).sum()), len(far))],
            "tpr_1e-3": round(float(np.mean(far < border)), 3),
        }
        out[name]["median_distance"] = round(float(np.median(far)), 3)
    return out


def single() -> dict[str, manipulate.Step]:
    """Return the manipulations of the robustness table, at fixed strengths."""
    m = manipulate
    table: dict[str, Callable[..., manipulate.Manipulated]] = {"mirrored": m.reflect}
    table |= {f"rotated {a}": partial(m.rotate, angle=a) for a in (5, 15, 45, 90, 180)}
    table |= {f"crop {s}": partial(m.crop, share=s) for s in (0.8, 0.6, 0.4, 0.25)}
    table |= {f"perspective {s}": partial(m.perspective, shift=s) for s in (0.05, 0.1)}
    table |= {f"gamma {g}": partial(m.gamma, exponent=g) for g in (0.5, 2.0)}
    table |= {f"contrast {f}": partial(m.contrast, factor=f) for f in (0.5, 1.5)}
    table |= {"inverted": m.invert, "one channel": m.one_channel, "false colour": m.false_colour}
    table |= {f"JPEG {q}": partial(m.jpeg, quality=q) for q in (10, 30, 60)}
    table |= {f"blur {s} px": partial(m.blur, sigma_px=s) for s in (1, 3)}
    table |= {f"noise {s}": partial(m.noise, sigma=s) for s in (0.02, 0.08)}
    table |= {f"resampled {f}": partial(m.resample, factor=f) for f in (0.5, 0.25)}
    table |= {"letters": m.letters, "arrow": m.arrow, "outline": m.outline, "scale bar": m.scale_bar}
    table |= {name: getattr(m, name) for name in ("erase", "clone", "splice", "retouch", "local_contrast")}
    table |= {f"screenshot {f}": partial(m.screenshot, factor=f) for f in (0.5, 1.5)}
    table |= {"JPEG three times": partial(m.repeated_jpeg, times=3), "panel letter": m.panel_letter}
    return table | {"merge": m.merge_channel, "splice feathered": partial(m.splice, feather_px=6.0), "figure": m.figure}


SETS = {"blots": ("a", "b"), "photos": ("original", "edited"), "copymove": ("original", "forged")}
"""The evaluation-only sets, and the columns of their pairs of real edits."""


def unseen(id: str, name: str) -> Numbers:
    """Return the v02 protocol on an evaluation-only set: one class for each host blot or tile of a photograph."""
    test = unseen_classes(name)
    found = protocol.distances(partial(_points, id), test)
    numbers: Numbers = protocol.rounded(protocol.summary(found))
    numbers["fpr_at_border"] = round(float(np.mean(found.different() <= 1)), 4)
    return numbers | {"classes": len(test.windows)}


def unseen_classes(name: str) -> protocol.Classes:
    """Draw the classes of an evaluation-only set: a plain picture and nine by v02; group = host blot or photograph."""
    root, rng = data.shared() / "data" / name, np.random.default_rng(6)
    pictures = _pictures(root, name, rng)
    windows = [data.Window(whole, whole, 0, name, name, (0, 0, 1, 1)) for whole, _ in pictures]
    views = [
        np.stack([data.view(p, rng, "anchor", 128), *(data.view(p, rng, "v02", 128) for _ in range(9))])
        for _, p in pictures
    ]
    return protocol.Classes(np.stack(views), windows)


def _pictures(root: Path, name: str, rng: np.random.Generator) -> list[tuple[int, data.Bytes]]:
    """Return 256 px windows, each with its picture's number: first patches of hosts, up to six tiles of photographs."""
    if name == "blots":
        firsts = {row["host"]: root / row["a"] for row in reversed(_rows(root / "pairs.csv"))}
        return [(k, data.read_rgb(str(path))) for k, path in enumerate(firsts.values())]
    parts = []
    for number, path in enumerate(sorted((root / "original").iterdir())):
        image = data.read_rgb(str(path))
        for x0, y0, x1, y1 in data.tiles(image.shape, 256, rng)[:6]:
            if not data.blank(image[y0:y1, x0:x1]):
                parts.append((number, image[y0:y1, x0:x1]))
    return parts


class Pairs(NamedTuple):
    """Real edits: lists of whole RGB pictures, and for each pair the number of its host blot or original."""

    a: list[data.Bytes]
    b: list[data.Bytes]
    groups: list[int]


def real_pairs(name: str) -> Pairs:
    """Read the pairs of real edits of an evaluation-only set (`SETS`)."""
    root, keys = data.shared() / "data" / name, SETS[name]
    rows = _rows(root / "pairs.csv")
    a, b = ([data.read_rgb(str(_find(root, key, row[key]))) for row in rows] for key in keys)
    labels = [row.get("host", row[keys[0]]) for row in rows]
    numbers = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    return Pairs(a, b, [numbers[label] for label in labels])


def paired(far: NDArray[Any], groups: list[int]) -> protocol.Distances:
    """Return distances (n, n) from all a to all b of real pairs as the protocol has them: each pair is a class.

    Pairs of one group (other edits of one host) are neither the same nor different.
    """
    label = np.asarray(groups)
    unsure = (label[:, None] == label) & ~np.eye(len(label), dtype=np.bool_)
    return protocol.Distances(np.asarray(far, np.float32)[..., None], unsure)


def edited_pairs(id: str) -> Numbers:
    """Return, on real edits, the share of pairs within the border, and of all cross pairs: whole pictures, resized."""
    out: Numbers = {}
    for name in SETS:
        pairs = real_pairs(name)
        found = paired(distances(embed(pairs.a, id), embed(pairs.b, id)), pairs.groups)
        same, other = found.same().ravel(), found.different()
        hits = int((same <= 1).sum())
        out[name] = {"pairs": len(same), "within_border": round(hits / len(same), 4)}
        out[name]["within_border_95"] = [round(v, 4) for v in metrics.wilson(hits, len(same))]
        out[name]["different_within_border"] = round(float(np.mean(other <= 1)), 4)
        out[name]["auc"] = round(metrics.auc(same, other), 4)
    return out


def speed(id: str, count: int = 400) -> Numbers:
    """Return pictures a second on two threads, 128 px in, the median of five runs, and how busy the machine was."""
    pictures = list(np.random.default_rng(7).integers(0, 256, (count, 128, 128), np.uint8))
    embed(pictures[:64], id, threads=2)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        embed(pictures, id, threads=2)
        times.append(time.perf_counter() - start)
    return {
        "pictures_per_s": round(count / float(np.median(times))),
        "threads": 2,
        "load_average": round(os.getloadavg()[0], 1),
    }


def _points(id: str, views: NDArray[np.uint8]) -> NDArray[np.float32]:
    return embed(list(views), id)


def _embedded(id: str, pictures: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return embed([np.rint(p * 255).astype(np.uint8) for p in pictures], id)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _find(root: Path, folder: str, name: str) -> Path:
    return root / name if (root / name).exists() else root / folder / name


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
