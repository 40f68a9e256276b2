"""What remains between two aligned panels after geometry and tone: a heat-map, the places of edits, a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import geometry
from twinscope.detect import edits, evidence, heat, marks, tone
from twinscope.detect.align import Alignment
from twinscope.detect.evidence import Frame
from twinscope.detect.features import Bools, Floats, View
from twinscope.settings import Compare
from twinscope.types import Box, Edit, Verdict


class Comparison(NamedTuple):
    """Two panels compared, all in the panels' own pixels.

    `transform` maps a px -> b px; `region_a`, `region_b` hold what both show; `heat_a`, `heat_b` are float32 (H, W) in
    [0, 1], the probability that a place was edited; `unsure_a`, `unsure_b` are True (H, W) where nothing can be said;
    `edits` are the places that were; `classes` are benign and manipulated as shares of the two together; `steps` lead
    from a to b.
    """

    transform: geometry.Transform
    region_a: Box
    region_b: Box
    steps: tuple[str, ...]
    edits: tuple[Edit, ...]
    verdict: Verdict
    classes: tuple[float, float]
    heat_a: Floats
    heat_b: Floats
    unsure_a: Bools
    unsure_b: Bools


class Look(NamedTuple):
    """What is known of two aligned views before the network is asked: the frame that it is asked about (one picture may
    be the mixture of channels that is most like the other), whether something is drawn on one of them, the steps of
    tone in words, and what the network is given.
    """

    frame: Frame
    inverted: bool
    marked: bool
    steps: tuple[str, ...]
    planes: Floats


LOOKED_PX = 240
"""Longest side of a frame on which tone, blur and channels are decided."""


def compare(
    a: View,
    b: View,
    alignment: Alignment,
    shared: Frame,
    settings: Compare,
    published: tuple[float, float] = (1.0, 1.0),
) -> Comparison:
    """Compare two aligned views: words for geometry and tone, heat-map and places of what was edited, and the verdict.

    This runs the network, on one thread; see `look` and `tell` for what comes before and after it.
    """
    seen = look(a, b, alignment, shared, settings)
    answer = heat.ask([seen.planes], 1)[0]
    again = unmarked(seen, answer, settings)
    if again is not None:
        seen, answer = again, heat.ask([again.planes], 1)[0]
    return tell(a, b, alignment, seen, answer, settings, published)


def look(a: View, b: View, alignment: Alignment, shared: Frame, settings: Compare) -> Look:
    """Prepare two aligned views for the network: tones in words, and the channels that fit.

    Both are decided on a frame of `LOOKED_PX` at most: what the network sees is not larger.
    """
    doubtful = shared.seen if settings.letters else marks.doubtful(shared, alignment.inverted)
    shared = shared._replace(clean=shared.clean | doubtful)
    factor = min(1.0, LOOKED_PX / max(shared.seen.shape))
    small = shared if factor == 1 else evidence.shrunk(shared, factor, clean=0.99)
    lengths = {name: factor * getattr(settings, name) for name in ("smooth_px", "misfit_px", "local_px")}
    settings = settings.model_copy(update=lengths)
    curve = tone.tone(small.a, small.b, small.clean, alignment.inverted)
    remains, disagreeing = residual(small, curve.predicted, alignment.inverted, settings)
    steps = list(curve.steps)
    chosen, inverted = shared, alignment.inverted
    if _total(remains, disagreeing, small) > 0:
        even, blurred = evened(small, curve.predicted)
        after_blur = residual(even, even.a, False, settings)
        if _total(*after_blur, small) < 0.5 * _total(remains, disagreeing, small):
            steps.append(blurred)  # told, and left to the network, which has learned that a blur is no edit
            remains, disagreeing = after_blur
        for number, mixture in enumerate(mixtures(a, b, small)):
            other = residual(mixture, mixture.a, False, settings)
            if _total(*other, small) < 0.5 * _total(remains, disagreeing, small):
                (remains, disagreeing), inverted = other, False  # another channel is no edit
                chosen = mixtures(a, b, shared)[number]
    if chosen.b is shared.a:  # a mixture of the colours of b: from here on the sides are those of the panels
        chosen = chosen._replace(a=chosen.b, b=chosen.a)
    marked = _drawn_over(small, remains, disagreeing)
    return Look(chosen, inverted, marked, tuple(steps), heat.given(chosen.a, chosen.b, shared.clean, inverted))


def unmarked(seen: Look, answer: heat.Heat, settings: Compare) -> Look | None:
    """Return a look without the places of an answer that are letters, bars, arrows or boxes drawn on one picture.

    None where there are none, or they count as edits: the answer stands. Else the network is to be asked again.
    """
    if settings.letters:
        return None
    shared = seen.frame
    hot = heat.at_size(answer, shared.clean) > 0.6 * settings.threshold
    joined = cv2.morphologyEx(hot.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    drawn = np.zeros(hot.shape, np.uint8)
    for k in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[k])
        spot = np.asarray(labels == k, np.bool_)
        if area >= settings.least_px and marks.is_mark(shared, spot, (x, y, w, h)):
            drawn[spot] = 1
    if not drawn.any():
        return None
    clean = shared.clean & ~(cv2.dilate(drawn, np.ones((9, 9), np.uint8)) > 0)
    chosen = shared._replace(clean=clean)
    return seen._replace(frame=chosen, marked=True, planes=heat.given(chosen.a, chosen.b, clean, seen.inverted))


def tell(
    a: View,
    b: View,
    alignment: Alignment,
    seen: Look,
    answer: heat.Heat,
    settings: Compare,
    published: tuple[float, float] = (1.0, 1.0),
) -> Comparison:
    """Tell what the network's answer means: the places that were edited, each with its kind, and the verdict.

    `published` is how many times wider and higher b is where it stands than in the picture that is kept of it.
    """
    shared = seen.frame
    hot = heat.at_size(answer, shared.clean)
    pictures = shared.a, shared.b
    if float(hot.max(initial=0)) > settings.threshold:
        pictures = evidence.toned(*pictures, shared.clean, seen.inverted)
    unsure = _unsure(shared, pictures, hot, settings)
    hot = np.where(unsure, np.float32(0), hot)
    edge = cv2.erode(shared.seen.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0) > 0
    found = edits.regions(hot, edge & ~unsure, shared.seen, settings)
    share = sum(float(mask.sum()) for mask, _ in found) / max(1, int(shared.clean.sum()))
    throughout = share > settings.throughout or len(found) > settings.most
    manipulated = _manipulated(answer.classes)
    if throughout:
        found = []
    elif manipulated < 0.5:  # of the whole; what is plain in one place counts all the same
        found = edits.plain(found, *pictures, shared.clean)
        manipulated = max([manipulated, *(float(np.quantile(hot[mask], 0.9)) for mask, _ in found)])
    transform = np.linalg.inv(b.to_work) @ alignment.transform @ a.to_work
    transform /= transform[2, 2]
    region_a, region_b = regions(transform, a.size, b.size)
    to_a = np.asarray(np.linalg.inv(a.to_work) @ np.linalg.inv(shared.to_frame_a), np.float64)
    to_b = np.asarray(np.linalg.inv(b.to_work) @ np.linalg.inv(shared.to_frame_b), np.float64)
    places = _edits(found, pictures, shared.clean, ((to_a, a.size), (to_b, b.size)))
    cropped = region_a.area < 0.97 * a.size[0] * a.size[1] or region_b.area < 0.97 * b.size[0] * b.size[1]
    steps = [
        *geometry.words(geometry.scaling(*published) @ transform, region_a, cropped),
        *_planes(shared.planes, a, b),
        *seen.steps,
    ]
    if seen.marked:
        steps.append("letters or marks drawn over")
    if throughout:
        steps.append("contents differ throughout, as channels or exposures of one field do")
    if places:
        steps.append("content changed in 1 place" if len(places) == 1 else f"content changed in {len(places)} places")
    verdict: Verdict = "manipulated" if places else "benign"
    return Comparison(
        transform, region_a, region_b, tuple(steps), places, verdict, (1 - manipulated, manipulated),
        _back(hot, to_a, a.size), _back(hot, to_b, b.size), _back_unsure(unsure, to_a, a.size),
        _back_unsure(unsure, to_b, b.size),
    )  # fmt: skip


def _manipulated(classes: Floats) -> float:
    """Return how probable "manipulated" is beside "benign", given that it is one of the two."""
    return float(classes[1] / max(float(classes[0] + classes[1]), 1e-9))


Side = tuple[geometry.Transform, tuple[int, int]]


def _edits(
    found: Sequence[tuple[Bools, Box]], pictures: tuple[Floats, Floats], clean: Bools, sides: tuple[Side, Side]
) -> tuple[Edit, ...]:
    """Return regions of the frame as edits in the panels' own pixels; a side: the frame's transform to it, its size."""
    out = []
    sides_of = edits.both(*pictures, clean)
    for mask, box in found:
        one = edits.told(mask, box, *sides_of)
        outline = _outline(mask)
        boxes = [_place(outline, side) for side in sides]
        source = {}
        if one.source is not None:
            away = np.array([one.source.x0 - box.x0, one.source.y0 - box.y0])
            source = {f"source_{one.side}": _place(outline + away, sides["ab".index(one.side)])}
        out.append(Edit(box_a=boxes[0], box_b=boxes[1], kind=one.kind, **source))
    return tuple(out)


def _outline(mask: Bools) -> NDArray[np.float64]:
    """Return the corners (N, 2) of the pixels along the border of a region, (x, y) in px."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return geometry.pixel_corners(np.concatenate([contour.reshape(-1, 2) for contour in contours]))


def _place(points: NDArray[np.float64], side: Side) -> Box:
    return geometry.clip(geometry.bounds(geometry.apply(side[0], points)), side[1])


_THREE = np.ones((3, 3), np.uint8)
CLIPPED = 1.5 / 255
"""How near to black or white a tone is clipped."""


EVEN = 0.06
"""Difference of tones, once they are matched, below which clipped ground says nothing of an edit ..."""
BY_TONE = 0.7
"""... where this share of all that is as dark, or as bright, is clipped: an edit clips a place, not a tone."""


def _unsure(shared: Frame, pictures: tuple[Floats, Floats], hot: Floats, settings: Compare) -> Bools:
    """Return where nothing can be said: outside of what both show, under marks, and where one of them is clipped and
    the other is not, unless the difference is plain: in the heat-map, and where a whole range of tones is clipped also
    in the tones of `pictures`, once matched.
    """
    low = [cv2.erode((z < CLIPPED).astype(np.uint8), _THREE) > 0 for z in (shared.a, shared.b)]
    high = [cv2.erode((z > 1 - CLIPPED).astype(np.uint8), _THREE) > 0 for z in (shared.a, shared.b)]
    one = (low[0] | high[0]) != (low[1] | high[1])
    unsure = ~shared.clean | (one & (hot <= settings.threshold))
    if float(hot.max(initial=0)) > settings.threshold:
        apart = cv2.GaussianBlur(np.abs(pictures[0] - pictures[1]), (0, 0), 1.5)
        even = one & _by_tone(shared) & (apart < EVEN)
        unsure |= cv2.dilate(even.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.asarray(unsure, np.bool_)


def _by_tone(shared: Frame) -> Bools:
    """Return where one picture is clipped to black or white because of its tone: nearly all that is so dark, or so
    bright, in the other is.
    """
    out = np.zeros(shared.clean.shape, np.bool_)
    for own, other in ((shared.a, shared.b), (shared.b, shared.a)):
        for dark, rest in ((own, other), (1 - own, 1 - other)):
            clipped = (dark < CLIPPED) & (rest >= CLIPPED) & shared.clean
            if clipped.any():
                alike = shared.clean & (rest <= np.quantile(rest[clipped], 0.9)) & (rest >= CLIPPED)
                if float((clipped & alike).sum()) > BY_TONE * float(alike.sum()):
                    out |= clipped
    return out


def residual(shared: Frame, predicted: Floats, inverted: bool, settings: Compare) -> tuple[Floats, Bools]:
    """Return what remains between the two (h, w) in [0, 1], and where the local contents disagree.

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
    (x, _), (y, _) = evidence.all_normalised((shared.a, shared.b), shared.seen, smooth, 2 * settings.local_px)
    local = evidence.local_agreement(x, y * np.float32(-1 if inverted else 1), shared.seen, settings.local_px)
    content = np.clip((0.9 - local) / 0.4, 0.3, 1)  # where the contents agree, what remains is tone
    inside_edge = cv2.erode(shared.seen.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0)
    remains = np.clip((size / allowed - 1) / 3, 0, 1) * content * inside_edge
    return remains.astype(np.float32), np.asarray(local < settings.agreement, np.bool_)


BLURS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
"""Gaussian sigmas (px of the frame) by which one picture may be softer than the other."""
_BLURRED_PX = 160
"""Long side at which they are tried."""


def evened(shared: Frame, predicted: Floats) -> tuple[Frame, str]:
    """Blur the sharper picture until it is as like the other as can be.

    `predicted` is a with the tones of b. Returns them as a and b of a frame, and "blurred" where b is the softer one,
    "sharper" where a is. How much is tried on small pictures.
    """
    factor = min(1.0, _BLURRED_PX / max(shared.seen.shape))
    height, width = shared.seen.shape
    size = max(8, round(width * factor)), max(8, round(height * factor))
    a, b, shares, clean = evidence.reduced(size, predicted, shared.b, shared.seen, shared.clean)

    def apart(x: Floats, y: Floats) -> float:
        return float(np.abs(x - y)[clean > 0.5].mean()) if (clean > 0.5).any() else 0.0

    tried = []
    for sigma in BLURS:
        soft_a, soft_b = _soft((a, b), shares, sigma * factor)
        tried += [(apart(soft_a, b), sigma), (apart(a, soft_b), -sigma)]
    _, sigma = min(tried)
    whole = shared.seen.astype(np.float32)
    if sigma > 0:
        return shared._replace(a=_soft((predicted,), whole, sigma)[0]), "blurred"
    return shared._replace(a=predicted, b=_soft((shared.b,), whole, -sigma)[0]), "sharper"


def _soft(pictures: Sequence[Floats], shares: Floats, sigma: float) -> list[Floats]:
    """Return pictures blurred by a Gaussian, each place as far as it is shown (its share)."""
    shown = np.maximum(cv2.GaussianBlur(shares, (0, 0), sigma), 1e-3)
    return [np.asarray(cv2.GaussianBlur(z * shares, (0, 0), sigma) / shown, np.float32) for z in pictures]


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


def _total(remains: Floats, disagreeing: Bools, shared: Frame) -> float:
    return float(remains[shared.clean & disagreeing].sum())


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


def _drawn_over(shared: Frame, remains: Floats, disagreeing: Bools) -> bool:
    marked = shared.seen & ~shared.clean & disagreeing
    return bool((remains[marked] > 0.5).sum() > 10)


def _back(hot: Floats, transform: geometry.Transform, size: tuple[int, int]) -> Floats:
    out = cv2.warpPerspective(hot, transform, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def _back_unsure(unsure: Bools, transform: geometry.Transform, size: tuple[int, int]) -> Bools:
    """Return where nothing can be said in a panel's own pixels: what the frame does not show, too."""
    sure = cv2.warpPerspective((~unsure).astype(np.float32), transform, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return np.asarray(sure < 0.5, np.bool_)
