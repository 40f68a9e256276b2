"""What remains between two aligned panels after geometry and tone: a heat-map, boxes of local change, a verdict."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from twinscope import geometry
from twinscope.detect import evidence, tone
from twinscope.detect.align import Alignment
from twinscope.detect.evidence import Frame
from twinscope.detect.features import Bools, Floats, View
from twinscope.settings import Compare
from twinscope.types import Box, Verdict


class Comparison(NamedTuple):
    """Two panels compared, all in the panels' own pixels.

    `transform` maps a px -> b px; `region_a`, `region_b` hold what both show; `heat_a`, `heat_b` are float32 (H, W) in
    [0, 1]; `changes` are boxes in b; `steps` lead from a to b.
    """

    transform: geometry.Transform
    region_a: Box
    region_b: Box
    steps: tuple[str, ...]
    changes: tuple[Box, ...]
    verdict: Verdict
    heat_a: Floats
    heat_b: Floats


def compare(a: View, b: View, alignment: Alignment, shared: Frame, settings: Compare) -> Comparison:
    """Compare two aligned views: words for geometry and tone, heat-map and boxes of what remains, and the verdict."""
    curve = tone.tone(shared.a, shared.b, shared.clean, alignment.inverted)
    heat, disagreeing = residual(shared, curve.predicted, alignment.inverted, settings)
    even, blurred = evened(shared, curve.predicted)
    explained = ""
    for how, frame in [(blurred, even), *(("", mixture) for mixture in mixtures(a, b, shared))]:
        other = residual(frame, frame.a, False, settings)
        if _total(*other, shared) < 0.5 * _total(heat, disagreeing, shared):
            heat, disagreeing, explained = *other, how  # a blur, or another channel of the picture, is no edit
    throughout = float((heat[shared.clean & disagreeing] > settings.threshold).sum()) > settings.throughout * max(
        1, int(shared.clean.sum())
    )
    boxes = [] if throughout else changed(heat, disagreeing, shared, settings)
    transform = np.linalg.inv(b.to_work) @ alignment.transform @ a.to_work
    transform /= transform[2, 2]
    region_a, region_b = regions(transform, a.size, b.size)
    to_b = np.linalg.inv(b.to_work) @ np.linalg.inv(shared.to_frame_b)
    changes = tuple(
        geometry.clip(geometry.bounds(geometry.apply(to_b, geometry.corners(box))), b.size) for box in boxes
    )
    cropped = region_a.area < 0.97 * a.size[0] * a.size[1] or region_b.area < 0.97 * b.size[0] * b.size[1]
    steps = [*geometry.words(transform, region_a, cropped), *_planes(shared.planes, a, b), *curve.steps]
    if explained:
        steps.append(explained)
    if _drawn_over(shared, heat, disagreeing):
        steps.append("letters or marks drawn over")
    if throughout:
        steps.append("contents differ throughout, as channels or exposures of one field do")
    if changes:
        steps.append("content changed in 1 place" if len(changes) == 1 else f"content changed in {len(changes)} places")
    heat_a = _back(heat, np.linalg.inv(a.to_work) @ np.linalg.inv(shared.to_frame_a), a.size)
    heat_b = _back(heat, to_b, b.size)
    verdict: Verdict = "manipulated" if changes else "benign"
    return Comparison(transform, region_a, region_b, tuple(steps), changes, verdict, heat_a, heat_b)


def residual(shared: Frame, predicted: Floats, inverted: bool, settings: Compare) -> tuple[Floats, Bools]:
    """Return the heat-map of the frame (h, w) in [0, 1], and where the local contents disagree.

    A difference counts beyond what noise and compression (its median), a misfit of a fraction of a pixel (the local
    gradient) and the 8-bit step explain.
    """
    smooth = settings.smooth_px
    difference = cv2.GaussianBlur(shared.b - predicted, (0, 0), smooth)
    size = np.abs(difference)
    inside = size[shared.clean]
    usual = float(np.median(inside)) if inside.size else 0.0
    blurred = cv2.GaussianBlur(shared.b, (0, 0), smooth)
    gradient = np.hypot(
        cv2.Sobel(blurred, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(blurred, cv2.CV_32F, 0, 1, scale=0.125)
    )
    gradient = cv2.dilate(gradient, np.ones((3, 3), np.uint8))
    allowed = settings.floor + 3.0 * usual + settings.misfit_px * gradient
    x, _ = evidence.normalised(shared.a, shared.seen, smooth, 10.0)
    y, _ = evidence.normalised(shared.b, shared.seen, smooth, 10.0)
    local = evidence.local_agreement(x, y * np.float32(-1 if inverted else 1), shared.seen, settings.local_px)
    content = np.clip((0.9 - local) / 0.4, 0.3, 1)  # where the contents agree, what remains is tone
    inside_edge = cv2.erode(shared.seen.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0)
    heat = np.clip((size / allowed - 1) / 3, 0, 1) * content * inside_edge
    return heat.astype(np.float32), np.asarray(local < settings.agreement, np.bool_)


BLURS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
"""Gaussian sigmas (px of the frame) by which one picture may be softer than the other."""


def evened(shared: Frame, predicted: Floats) -> tuple[Frame, str]:
    """Blur the sharper picture until it is as like the other as can be.

    `predicted` is a with the tones of b. Returns them as a and b of a frame, and "blurred" where b is the softer one,
    "sharper" where a is.
    """
    shares = shared.seen.astype(np.float32)

    def soft(picture: Floats, sigma: float) -> Floats:
        held = cv2.GaussianBlur(picture * shares, (0, 0), sigma)
        return np.asarray(held / np.maximum(cv2.GaussianBlur(shares, (0, 0), sigma), 1e-3), np.float32)

    def apart(x: Floats, y: Floats) -> float:
        return float(np.abs(x - y)[shared.clean].mean()) if shared.clean.any() else 0.0

    tried = [(apart(soft(predicted, sigma), shared.b), sigma) for sigma in BLURS]
    tried += [(apart(predicted, soft(shared.b, sigma)), -sigma) for sigma in BLURS]
    _, sigma = min(tried)
    if sigma > 0:
        return shared._replace(a=soft(predicted, sigma)), "blurred"
    return shared._replace(a=predicted, b=soft(shared.b, -sigma)), "sharper"


def mixtures(a: View, b: View, shared: Frame) -> list[Frame]:
    """Return, for each colour picture of the two, a frame in which its channels are mixed to be like the other picture.

    A merge differs from one of its channels wherever another channel shows. The mixture is the robust least-squares
    one over clean ground, followed by a tone curve; it stands as `a` of the frame, the other picture as `b`.
    """
    out = []
    for colour, to_frame, target in ((a, shared.to_frame_a, shared.b), (b, shared.to_frame_b, shared.a)):
        if len(colour.tones) < 2 or int(shared.clean.sum()) < 200:
            continue
        height, width = shared.seen.shape
        planes = [evidence.warped(colour, k, to_frame, (height, width))[0] for k in range(len(colour.tones))]
        table = np.stack([plane[shared.clean] for plane in planes] + [np.ones(int(shared.clean.sum()), np.float32)], 1)
        wanted = target[shared.clean]
        kept = np.ones(len(wanted), np.bool_)
        for _ in range(3):  # without the twentieth that fits worst: it may be edited
            weights = np.linalg.lstsq(table[kept][::3], wanted[kept][::3], rcond=None)[0]
            missed = np.abs(table @ weights - wanted)
            kept = missed <= np.quantile(missed, 0.95)
        mixed = sum((weight * plane for weight, plane in zip(weights, planes, strict=False)), weights[-1])
        mixed = np.clip(np.asarray(mixed, np.float32), 0, 1)
        mixed = tone.tone(mixed, target, shared.clean, False).predicted
        out.append(shared._replace(a=mixed, b=target))
    return out


def _total(heat: Floats, disagreeing: Bools, shared: Frame) -> float:
    return float(heat[shared.clean & disagreeing].sum())


def changed(heat: Floats, disagreeing: Bools, shared: Frame, settings: Compare) -> list[Box]:
    """Return boxes (frame px) where content differs and no annotation explains it, largest first.

    A letter, bar or arrow that was not known as one is seen here, since the other picture does not have it: strokes of
    white or of black.
    """
    inner = cv2.erode(shared.seen.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0) > 0
    free = cv2.erode((shared.clean | ~shared.seen).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    spot = (heat > settings.threshold) & inner & free & disagreeing
    joined = cv2.morphologyEx(spot.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    least = max(settings.least_px, settings.least_share * float(shared.seen.sum()))
    found: list[tuple[float, Box]] = []
    for k in range(1, count):
        x, y, w, h, _ = (int(v) for v in stats[k])
        area = float(spot[labels == k].sum())
        if area >= least and min(w, h) >= 4 and not _is_mark(shared, spot & (labels == k), (x, y, w, h)):
            found.append((area, Box(float(x), float(y), float(x + w), float(y + h))))
    found.sort(key=lambda row: -row[0])
    return [box for _, box in found[: settings.most]]


def _is_mark(shared: Frame, spot: Bools, box: tuple[int, int, int, int]) -> bool:
    """Say whether a changed spot is a mark drawn on one of the pictures: thin strokes of white or of black."""
    x, y, w, h = box
    window = (slice(max(0, y - 4), y + h + 4), slice(max(0, x - 4), x + w + 4))
    here = spot[window]
    most = 3.0 + 0.03 * min(shared.seen.shape)
    for own, other in ((shared.a[window], shared.b[window]), (shared.b[window], shared.a[window])):
        for ink in ((own > 0.9) & (other < own - 0.3), (own < 0.1) & (other > own + 0.3)):
            if not ink.any():
                continue
            thick = 2 * float(cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 3).max())
            long = max(int(np.ptp(where)) + 1 for where in np.nonzero(ink))
            if thick > min(most, 0.45 * long):
                continue
            near = cv2.dilate(ink.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            if float(near[here].mean()) > 0.9:
                return True
    return False


def regions(transform: geometry.Transform, a: tuple[int, int], b: tuple[int, int]) -> tuple[Box, Box]:
    """Return the boxes in a and b (px) of what both panels show, for a transform a px -> b px."""
    quad = geometry.apply(transform, geometry.corners((0, 0, a[1], a[0]))).astype(np.float32)
    frame = geometry.corners((0, 0, b[1], b[0])).astype(np.float32)
    if cv2.contourArea(quad, oriented=True) < 0:
        quad = quad[::-1].copy()
    area, polygon = cv2.intersectConvexConvex(quad, frame)
    if area <= 0 or polygon is None:
        return Box(0.0, 0.0, 0.0, 0.0), Box(0.0, 0.0, 0.0, 0.0)
    points = polygon.reshape(-1, 2).astype(np.float64)
    back = geometry.apply(np.linalg.inv(transform), points)
    return geometry.clip(geometry.bounds(back), a), geometry.clip(geometry.bounds(points), b)


def _planes(names: tuple[str, str], a: View, b: View) -> list[str]:
    colours = {"red", "green", "blue"}
    if names[0] in colours and len(b.names) == 1:
        return [f"{names[0]} channel of the colour picture a"]
    if names[1] in colours and len(a.names) == 1:
        return [f"put into the {names[1]} channel of the colour picture b"]
    if names[0] != names[1] and (names[0] in colours or names[1] in colours):
        return [f"{names[0]} of a shown as {names[1]} of b"]
    if a.names[0] != b.names[0]:
        return ["colour removed" if b.names[0] == "grey" else "colour added"]
    return []


def _drawn_over(shared: Frame, heat: Floats, disagreeing: Bools) -> bool:
    marked = shared.seen & ~shared.clean & disagreeing
    return bool((heat[marked] > 0.5).sum() > 25)


def _back(heat: Floats, transform: geometry.Transform, size: tuple[int, int]) -> Floats:
    out = cv2.warpPerspective(heat, transform, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return np.asarray(np.clip(out, 0, 1), np.float32)
