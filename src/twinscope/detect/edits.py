"""The places where one aligned picture was edited: from a heat-map to regions, each with a kind where it has one."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from twinscope.detect import evidence
from twinscope.detect.features import Bools, Floats
from twinscope.settings import Compare
from twinscope.types import Box, EditKind

RING = 0.5
"""How far around a region its surroundings reach, as a share of the side of a square of its area."""
SAME_TONE = 0.8
"""Correlation of two contents, tones aside, from which on only their tones differ."""
PLAINER = 0.5
"""A picture that stands out of its surroundings less than this share of the other shows nothing there."""
CLONED = 0.85
"""Correlation of a region with another place of its picture from which on it is a copy of that place ..."""
ALONE = 0.6
"""... where no third place comes so near to it, by Fisher's transform: what is like many places is no copy of one."""
RIM = 0.1
"""Rim of a region that is left out when it is searched for, as a share of the side of a square of its area."""
EMPTY = 1e-3
"""A place that varies by less than this share of a region, squared, is no place that the region is a copy of."""
LEAST_SIDE = 10
"""A smaller region (px of the frame) is not searched for elsewhere."""
PLAIN = 3.0
"""An edit is plain where two pictures differ so many times as much as elsewhere, whatever is said of the whole;"""
LEAST_STEP = 2 / 255
"""... elsewhere they differ by this at least."""
DETAIL = 0.015
"""Spread of grey below which a region has nothing to be searched by."""


class Region(NamedTuple):
    """A place that was edited, in px of the frame: its pixels, the box around them, its kind, and the box it was copied
    from, on side "a" or "b", where that is known.
    """

    mask: Bools
    box: Box
    kind: EditKind
    source: Box | None = None
    side: str = "b"


def regions(heat: Floats, allowed: Bools, seen: Bools, settings: Compare) -> list[tuple[Bools, Box]]:
    """Return the parts (h, w) of a heat-map above the threshold where it is allowed to be, hottest area first."""
    spot = (heat > settings.threshold) & allowed
    joined = cv2.morphologyEx(spot.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    least = max(settings.least_px, settings.least_share * float(seen.sum()))
    found: list[tuple[float, Bools, Box]] = []
    for k in range(1, count):
        x, y, w, h, _ = (int(v) for v in stats[k])
        own = np.asarray(labels == k, np.bool_)
        area = float((spot & own).sum())
        if area >= least and min(w, h) >= 4:
            found.append((area, own, Box(float(x), float(y), float(x + w), float(y + h))))
    found.sort(key=lambda row: -row[0])
    return [(mask, box) for _, mask, box in found]


def plain(found: list[tuple[Bools, Box]], a: Floats, b: Floats, clean: Bools) -> list[tuple[Bools, Box]]:
    """Return the regions in which two pictures of the same tones (h, w) differ as they do nowhere else.

    Their mean difference is `PLAIN` times what one pixel in a thousand elsewhere has.
    """
    apart = cv2.GaussianBlur(np.abs(a - b), (0, 0), 1.0)
    hidden = np.zeros(clean.shape, np.uint8)
    for mask, _ in found:
        hidden |= mask.view(np.uint8)
    elsewhere = apart[clean & (cv2.dilate(hidden, np.ones((9, 9), np.uint8)) == 0)]
    usual = max(float(np.quantile(elsewhere, 0.999)) if elsewhere.size else 1.0, LEAST_STEP)
    return [(mask, box) for mask, box in found if float(apart[mask].mean()) > PLAIN * usual]


class Side:
    """One of two aligned pictures of the same tones, (h, w) float32 in [0, 1], and where both say something (h, w).

    What a search in it needs is made when it is first asked for.
    """

    def __init__(self, picture: Floats, clean: Bools) -> None:
        self.picture, self.clean = picture, clean

    @cached_property
    def fine(self) -> Floats:
        """The picture locally normalised: detail without the tones around it."""
        return evidence.normalised(self.picture, self.clean, 0.8, 10.0)[0]

    @cached_property
    def spectra(self) -> tuple[Floats, Floats]:
        """The Fourier transforms of `fine` and of its square."""
        size = tuple(evidence.fast_side(side) for side in self.fine.shape)
        return evidence.spectrum(self.fine, size), evidence.spectrum(self.fine * self.fine, size)


def both(a: Floats, b: Floats, clean: Bools) -> tuple[Side, Side]:
    """Return two aligned pictures as `told` looks at them."""
    return Side(a, clean), Side(b, clean)


def told(mask: Bools, box: Box, of_a: Side, of_b: Side) -> Region:
    """Return a region with its kind.

    The kinds are tried in turn: the same content in other tones; a copy of another place of one of the two; nothing
    left of what a shows (erased); something that a does not show (added); other content.
    """
    a, b, clean = of_a.picture, of_b.picture, of_a.clean
    inside = mask & clean
    if not inside.any():
        return Region(mask, box, "changed")
    inner = _without_rim(mask) & clean  # in a small region the rim, where the tones change, speaks the loudest
    if any(_alike(a, b, part) >= SAME_TONE for part in (inside, inner)):
        return Region(mask, box, "tone")
    for side, own in (("b", of_b), ("a", of_a)):
        source = copied_from(own, mask, box)
        if source is not None:
            return Region(mask, box, "cloned", source, side)
    stands = [_stands_out(picture, inside, clean) for picture in (a, b)]
    if stands[1] < PLAINER * stands[0]:
        return Region(mask, box, "erased")
    if stands[0] < PLAINER * stands[1]:
        return Region(mask, box, "added")
    return Region(mask, box, "changed")


def _alike(a: Floats, b: Floats, inside: Bools) -> float:
    """Return the correlation of two contents over a region, 0 where one of them has none."""
    if not inside.any():
        return 0.0
    x, y = (cv2.GaussianBlur(z, (0, 0), 0.8)[inside] for z in (a, b))
    x, y = x - x.mean(), y - y.mean()
    if min(float(x.std()), float(y.std())) < DETAIL:
        return 0.0
    return float((x @ y) / np.sqrt(max(float((x @ x) * (y @ y)), 1e-12)))


def _stands_out(picture: Floats, inside: Bools, clean: Bools) -> float:
    """Return how much a region stands out of its surroundings: the step of its mean, and its detail beyond theirs."""
    reach = max(4, round(RING * float(np.sqrt(inside.sum()))))
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    margin = reach + 6  # what lies further off says nothing
    near = np.s_[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
    picture, inside, clean = picture[near], inside[near], clean[near]
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    around = (away <= reach) & clean & ~inside
    soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
    own = soft[inside]
    if around.sum() < 20:
        return float(own.std()) + 0.01
    ring = soft[around]
    ground = float(np.median(np.abs(ring - np.median(ring))))  # a cell beside the region is no ground
    return abs(float(own.mean() - np.median(ring))) + max(0.0, float(own.std()) - ground) + 0.01


def copied_from(own: Side, mask: Bools, box: Box) -> Box | None:
    """Return the box of the place that a region of a picture is a copy of, as it is, or None.

    The region's rim, where a heat-map is unsure, is left out. The place is one only: no third one may come near.
    """
    inner = _without_rim(mask)
    left, top, width, height = cv2.boundingRect(inner.astype(np.uint8))
    if min(width, height) < LEAST_SIDE or 3 * width > 2 * mask.shape[1] or 3 * height > 2 * mask.shape[0]:
        return None
    if float(own.picture[inner].std()) < DETAIL:
        return None
    window = np.s_[top : top + height, left : left + width]
    alike = likeness(own, window, inner[window].astype(np.float32))
    _hide(alike, left, top, width, height)
    _, best, _, (x, y) = cv2.minMaxLoc(alike)
    if best < CLONED:
        return None
    _hide(alike, x, y, width, height)
    third = float(alike.max())
    if np.arctanh(min(best, 0.999)) - np.arctanh(min(max(third, 0.0), 0.999)) < ALONE:
        return None
    dx, dy = x - left, y - top
    return Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)


def likeness(own: Side, window: tuple[slice, slice], weight: Floats) -> Floats:
    """Return the correlation in [-1, 1] of a part of a picture with every place of it that is as large; a place that
    shows next to nothing has -1.

    window: the part; weight (its height, its width): 1 where it counts, else 0. (h - height + 1, w - width + 1).
    With t the part less its mean, 0 where it does not count, and n px that do: sum(t I) / sqrt(sum(t^2) (sum(I^2) -
    sum(I)^2 / n)), each sum one over the px that count, computed for all places at once by Fourier transforms.
    """
    whole, squared = own.spectra
    count = float(weight.sum())
    part = own.fine[window]
    part = (part - float((part * weight).sum()) / count) * weight
    of_part, of_weight = (evidence.spectrum(z, whole.shape) for z in (part, weight))
    fits = np.s_[: own.fine.shape[0] - part.shape[0] + 1, : own.fine.shape[1] - part.shape[1] + 1]
    agree, total, energy = (evidence.crossed(p, q)[fits]
                            for p, q in ((whole, of_part), (whole, of_weight), (squared, of_weight)))  # fmt: skip
    needed = float((part * part).sum())
    varies = energy - total * total / np.float32(count)
    shows = varies > EMPTY * needed
    return np.where(shows, np.clip(agree / np.sqrt(needed * np.where(shows, varies, 1)), -1, 1), np.float32(-1))


def _without_rim(mask: Bools) -> Bools:
    """Return a region without its rim."""
    reach = max(1, round(RIM * float(np.sqrt(mask.sum()))))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderValue=0) > 0, np.bool_)


def _hide(alike: Floats, x: int, y: int, width: int, height: int) -> None:
    """Take the places around (x, y) out of a map of likeness."""
    alike[max(0, y - height // 2) : y + height // 2 + 1, max(0, x - width // 2) : x + width // 2 + 1] = -1
