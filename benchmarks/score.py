"""Map what was reported to the truth of a manuscript, and count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from common import poisson_rate, wilson

Box = Sequence[float]
IOU = 0.5


def iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return 0.0
    both = wide * tall
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def true_panel(panel: Mapping[str, Any], region: Box | None, truth: Mapping[str, Any]) -> str | None:
    """Return the id of the true panel that a reported panel shows, or None.

    That with IoU >= .5; else the one in which the centre of the reported region lies (of the panel, without one).
    """
    box, page = panel["source"]["box_pt"], panel["source"]["page"]
    if box is None:
        return None
    here = [p for p in truth["panels_truth"] if p["page"] == page]
    best = max(here, key=lambda p: iou(p["box_pt"], box), default=None)
    if best is not None and iou(best["box_pt"], box) >= IOU:
        return str(best["id"])
    height, width = panel["size"]
    x0, y0, x1, y1 = region or (0, 0, width, height)
    x = box[0] + (x0 + x1) / 2 / width * (box[2] - box[0])
    y = box[1] + (y0 + y1) / 2 / height * (box[3] - box[1])
    for candidate in here:
        left, top, right, bottom = candidate["box_pt"]
        if left <= x < right and top <= y < bottom:
            return str(candidate["id"])
    return None


def twinscope_pairs(screening: Mapping[str, Any], truth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every finding with the ids of the true panels it joins."""
    panels = {p["id"]: p for p in screening["panels"]}
    return [
        {
            "id": f["id"], "a": true_panel(panels[f["a"]], f["region_a"], truth),
            "b": true_panel(panels[f["b"]], f["region_b"], truth), "probability": f["probability"],
            "verdict": f["verdict"], "panels": [f["a"], f["b"]],
        }
        for f in screening["findings"]
    ]  # fmt: skip


def judged(pairs: Iterable[Mapping[str, Any]], truth: Mapping[str, Any]) -> dict[str, Any]:
    """Return which planted pairs were found, and every false alarm with what it joins."""
    planted = {frozenset((p["a"], p["b"])): index for index, p in enumerate(truth["pairs"])}
    kinds = {p["id"]: p for p in truth["panels_truth"]}
    found: dict[int, dict[str, Any]] = {}
    alarms = []
    for pair in pairs:
        index = planted.get(frozenset((pair["a"], pair["b"])))
        if index is not None:
            if pair.get("probability", 1.0) >= found.get(index, {}).get("probability", 0.0):
                found[index] = dict(pair)
            continue
        alarms.append({**pair, "between": between(kinds.get(pair["a"]), kinds.get(pair["b"]))})
    return {"found": {str(i): found[i] for i in sorted(found)}, "alarms": alarms}


def between(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> str:
    """Say what a false alarm joins: the kind of look-alike, or the kinds of panel."""
    if a is None or b is None:
        return "no true panel"
    if a["id"] == b["id"]:
        return "one panel"
    if a.get("lookalike") and a.get("set") == b.get("set"):
        return str(a["lookalike"])
    return " and ".join(sorted((str(a["kind"]), str(b["kind"]))))


def panel_counts(screening: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, int]:
    """Return how many true panels were extracted at IoU .5, how many were not, and how many kinds are right."""
    free = dict(enumerate(screening["panels"]))
    matched = right = 0
    for panel in truth["panels_truth"]:
        here = [i for i, p in free.items() if p["source"]["page"] == panel["page"] and p["source"]["box_pt"]]
        best = max(here, key=lambda i: iou(free[i]["source"]["box_pt"], panel["box_pt"]), default=None)
        if best is not None and iou(free[best]["source"]["box_pt"], panel["box_pt"]) >= IOU:
            matched += 1
            kind = free.pop(best)["kind"]
            same = {"micrograph": {"micrograph", "photo"}}.get(panel["kind"], {panel["kind"]})
            right += kind in same
    return {
        "true": len(truth["panels_truth"]), "extracted": len(screening["panels"]), "matched": matched, "kind": right,
    }  # fmt: skip


def share(hits: int, total: int) -> dict[str, Any]:
    """Return a share with its 95 % interval."""
    low, high = wilson(hits, total)
    return {"share": round(hits / max(1, total), 4), "hits": hits, "total": total, "low": round(low, 4),
            "high": round(high, 4)}  # fmt: skip


def method(results: Mapping[str, Mapping[str, Any]], truths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return recall by category and false alarms by kind of manuscript for one method; `results` are `judged`."""
    hits: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    what: dict[str, Counter[str]] = {"planted": Counter(), "clean": Counter(), "hard": Counter()}
    for name, result in results.items():
        truth = truths[name]
        for index, pair in enumerate(truth["pairs"]):
            totals[pair["category"]] += 1
            hits[pair["category"]] += str(index) in result["found"]
        alarms[truth["kind"]] += len(result["alarms"])
        what[truth["kind"]].update(a["between"] for a in result["alarms"])
    kinds = Counter(truths[name]["kind"] for name in results)
    rates = {}
    for kind in ("clean", "hard", "planted"):
        low, high = poisson_rate(alarms[kind], kinds[kind])
        rates[kind] = {
            "rate": round(alarms[kind] / max(1, kinds[kind]), 4), "count": alarms[kind], "manuscripts": kinds[kind],
            "low": round(low, 4), "high": round(high, 4), "between": dict(what[kind].most_common()),
        }  # fmt: skip
    return {
        "recall": share(sum(hits.values()), sum(totals.values())),
        "by_category": {c: share(hits[c], totals[c]) for c in sorted(totals)},
        "false_alarms": rates,
    }


def own(
    judgements: Mapping[str, Mapping[str, Any]],
    counts: Mapping[str, Mapping[str, int]],
    runs: Mapping[str, Mapping[str, Any]],
    truths: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what only twinscope has: panels, verdicts, seconds and memory."""
    total = {key: sum(c[key] for c in counts.values()) for key in ("true", "extracted", "matched", "kind")}
    seconds = [r["seconds"] for r in runs.values()]
    most = max(c["true"] for c in counts.values())
    largest = [runs[n]["seconds"] for n, c in counts.items() if c["true"] == most]
    right = wrong = edited_right = edited = 0
    for name, result in judgements.items():
        for index, found in result["found"].items():
            pair = truths[name]["pairs"][int(index)]
            called = found["verdict"] == "manipulated"
            if pair["edited"]:
                edited, edited_right = edited + 1, edited_right + called
            elif pair["category"] != "drawn" and "drawn" not in pair["detail"].get("steps", []):
                right, wrong = right + (not called), wrong + called
    return {
        "panels": {
            "recall": share(total["matched"], total["true"]),
            "precision": share(total["matched"], total["extracted"]),
            "kind": share(total["kind"], total["matched"]),
        },
        "verdicts": {
            "edited_called_manipulated": share(edited_right, edited),
            "plain_called_benign": share(right, right + wrong),
        },
        "cost": {
            "seconds_median": round(float(np.median(seconds)), 2), "seconds_max": max(seconds),
            "largest_panels": most, "seconds_largest": max(largest),
            "peak_mib_max": max(r["peak_mib"] for r in runs.values()),
        },
    }  # fmt: skip
