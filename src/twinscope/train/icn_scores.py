"""Scores of the Image Comparator Network (black-2021, section 4.3): heat-maps at full size, IoU, AP, flow errors."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import metrics
from twinscope.detect.heat import CLASSES

Floats = NDArray[np.float32]

THRESHOLD = 0.35
"""Where section 4.5.1 cuts a normalised heat-map."""


class Judged(NamedTuple):
    """What a network said of n pairs, and what was true: `probability` (n, 3), `maps` (n, 7, 7) as the head gave them,
    `errors` (m,) end-point errors in px of places that are seen (none without F_A) and `moved` (m,) how far each of
    them truly moved: the error of no alignment; `label` (n,), `changed` (n, S, S).
    """

    probability: Floats
    maps: Floats
    errors: Floats
    moved: Floats
    label: NDArray[np.int64]
    changed: NDArray[np.bool_]


def heatmap(coarse: Floats, side: int) -> Floats:
    """Return a coarse heat-map at full size: (side, side) float32 in [0, 1], by bicubic interpolation and `normalised`.

    The loss leaves the scale of the head's map free, so its largest value is the unit.
    """
    return normalised(np.asarray(cv2.resize(coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)))


def normalised(heat: NDArray[np.floating]) -> Floats:
    """Return a map with what is below 0 at 0 and its largest value at 1; a map of no positive value is all 0."""
    heat = np.maximum(np.asarray(heat, np.float32), 0)
    top = float(heat.max(initial=0))
    return heat / np.float32(top) if top > 1e-12 else np.zeros_like(heat)


def gated(heat: Floats, kind: int) -> Floats:
    """Return S(U) of section 4.3: the map itself where the class is manipulated, zeros if benign, ones if distinct."""
    return heat if kind == 1 else np.full_like(heat, float(kind == 2))


def iou(heat: Floats, truth: NDArray[np.bool_], threshold: float | None = THRESHOLD) -> float:
    """Return intersection over union of a heat-map and a mask, both (S, S); 0 where both are empty.

    With a threshold, of the mask heat >= threshold. Without (None), the sum of the smaller over the sum of the larger
    values; the paper does not say how it takes this one.
    """
    if threshold is not None:
        return metrics.iou(heat >= threshold, truth)
    larger = float(np.maximum(heat, truth).sum())
    return float(np.minimum(heat, truth).sum()) / larger if larger else 0.0


def boxed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with each connected part filled to its bounding box, as the paper's annotators drew them."""
    out = np.zeros_like(mask)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for x, y, wide, tall, _ in stats[1:count]:
        out[y : y + tall, x : x + wide] = True
    return out


def summary(judged: Judged) -> dict[str, float]:
    """Return the numbers of a look.

    ap_benign, ap_manipulated, ap_distinct: average precision of each class against the rest; ap their mean. accuracy
    of the class. Over the manipulated pairs: iou (S(U) at the threshold, against the exact mask: the paper's IoU but
    for its boxes), iou_boxes (against the boxes of the mask), iou_free (U at the threshold, without the class), iou_raw
    (S(U) without a threshold). Where there is a flow, in px: epe, epe_median, and epe_still, of no alignment. A class
    without pairs has no number.
    """
    guess = judged.probability.argmax(1)
    out: dict[str, float] = {}
    kinds = [(k, name) for k, name in enumerate(CLASSES) if (judged.label == k).any()]
    for k, name in kinds:
        out[f"ap_{name}"] = metrics.average_precision(judged.probability[:, k], judged.label == k)
    out["ap"] = float(np.mean([out[f"ap_{name}"] for _, name in kinds]))
    out["accuracy"] = float(np.mean(guess == judged.label))
    found: dict[str, list[float]] = {"iou": [], "iou_boxes": [], "iou_free": [], "iou_raw": []}
    for k in np.flatnonzero(judged.label == 1).tolist():
        truth = judged.changed[k]
        heat = heatmap(judged.maps[k], len(truth))
        chosen = gated(heat, int(guess[k]))
        found["iou"].append(iou(chosen, truth))
        found["iou_boxes"].append(iou(chosen, boxed(truth)))
        found["iou_free"].append(iou(heat, truth))
        found["iou_raw"].append(iou(chosen, truth, None))
    out |= {name: float(np.mean(values)) for name, values in found.items() if values}
    if len(judged.errors):
        out |= {"epe": float(judged.errors.mean()), "epe_median": float(np.median(judged.errors))}
        out["epe_still"] = float(judged.moved.mean())
    return out
