"""Letters, bars, arrows and boxes drawn on one of two aligned pictures: what passes for one, and what does not."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import geometry
from twinscope.detect import evidence
from twinscope.detect.evidence import Frame
from twinscope.detect.features import Bools, Floats

INK = 0.06
"""A mark is nearer to black or white than this ..."""
STEP = 0.05
"""... and further from what the other picture shows there ..."""
STANDS = 0.04
"""... and from what is around it, ..."""
SHARE = 0.6
"""... and its strokes explain more of the changed spot than this share."""
SOLID = 0.7
"""Share of its ink that lies in strokes of 20 px and more: specks of noise are no mark."""
THICK_PX = 6.0
"""Thinner ink, px of the frame, may always be drawn."""
ROUND = (0.86, 0.64, 0.93)
"""A blob fills so much of its hull at least, and between so much and so much of the smallest box around it: a disc has
.79, an arrowhead .5, a bar 1."""
BEYOND = 0.3
"""Share of a place that differs which lies beyond the mask of a mark, from which on it is no mark that differs."""


def doubtful(shared: Frame, inverted: bool) -> Bools:
    """Return what is masked as drawn over (h, w), shown by one of the two alone, and is not as drawn things are.

    A nucleus may have passed for a letter, or its bright core: then what differs goes on beyond the mask. What both
    show alike stays masked: it says nothing of an edit.
    """
    masked = shared.seen & ~shared.clean
    out = np.zeros(masked.shape, np.bool_)
    if not masked.any() or not shared.clean.any():
        return out
    a, b = evidence.toned(shared.a, shared.b, shared.clean, inverted)
    apart = cv2.GaussianBlur(np.abs(a - b), (0, 0), 1.0) > STEP
    places = cv2.connectedComponents(apart.astype(np.uint8), connectivity=8)[1]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(masked.view(np.uint8), connectivity=8)
    for k in range(1, count):
        x, y, w, h = (int(v) for v in stats[k][:4])
        window = np.s_[max(0, y - 6) : y + h + 6, max(0, x - 6) : x + w + 6]
        own = np.asarray(labels[window] == k, np.bool_)
        touched = np.unique(places[window][own & apart[window]])
        if not touched.size:
            continue
        differs = np.isin(places, touched)
        beyond = differs & ~(cv2.dilate((labels == k).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & shared.clean
        near = (cv2.dilate(own.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & shared.seen[window]
        ink = max((_standing(z[window], own, near & ~own) for z in (shared.a, shared.b)), key=lambda one: one[0])[1]
        if float(beyond.sum()) > BEYOND * float(differs.sum()) or not is_drawn(ink):
            out[window] |= own
    return out


def _standing(picture: Floats, own: Bools, ring: Bools) -> tuple[float, Bools]:
    """Return how far what is brightest or darkest in a place stands out of what is around it, and what does by half."""
    height = picture - float(np.median(picture[ring] if ring.any() else picture))
    low, high = (float(np.quantile(height[own], share)) for share in (0.02, 0.98))
    if high < -low:
        height, high = -height, -low
    return high, own & (height > 0.5 * high)


def is_drawn(ink: Bools) -> bool:
    """Say whether ink may be drawn by its shape: it is thin, or no blob. How sharp and even it is tells nothing: what
    comes out of a PDF is as soft as a cell.
    """
    padded = cv2.copyMakeBorder(ink.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return 2 * float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max()) < THICK_PX or not _is_blob(ink)


def _is_blob(ink: Bools) -> bool:
    """Say whether most of the ink is one round, filled spot, as cells are: no letter, bar, box or arrow."""
    contours, _ = cv2.findContours(ink.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = cv2.drawContours(np.zeros(ink.shape, np.uint8), contours, _largest(contours), 1, cv2.FILLED)
    area = float((ink & (largest > 0)).sum())
    corners = geometry.pixel_corners(np.argwhere(largest)[:, ::-1]).astype(np.float32)
    short, long = sorted(float(side) for side in cv2.minAreaRect(corners)[1])
    hull = float(cv2.contourArea(cv2.convexHull(corners)))
    if area < SHARE * float(ink.sum()) or long > 3 * short or area < ROUND[0] * hull:
        return False
    return ROUND[1] < area / (short * long) < ROUND[2]


def _largest(contours: Sequence[NDArray[np.int32]]) -> int:
    return max(range(len(contours)), key=lambda k: len(contours[k]))


def is_mark(shared: Frame, spot: Bools, box: tuple[int, int, int, int]) -> bool:
    """Say whether a changed spot (h, w) is a mark drawn on one of the pictures: thin strokes of white or of black.

    box: x, y, width and height of the spot, px.
    """
    x, y, w, h = box
    window = (slice(max(0, y - 8), y + h + 8), slice(max(0, x - 8), x + w + 8))
    here = spot[window]
    around = (cv2.dilate(here.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0) & ~here
    for own, other in ((shared.a[window], shared.b[window]), (shared.b[window], shared.a[window])):
        ground = float(np.median(own[around])) if around.any() else 0.5
        white, black = (own > 1 - INK) & (other < own - STEP), (own < INK) & (other > own + STEP)
        for ink, sign in ((white, 1), (black, -1)):
            if not ink.any() or sign * (float(own[ink].mean()) - ground) < STANDS:
                continue
            if not _strokes(ink, 3.0 + 0.03 * min(shared.seen.shape)):
                continue
            near = cv2.dilate(ink.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            if float(near[here].mean()) > SHARE and is_drawn(ink):
                return True
    return False


def _strokes(ink: Bools, most: float) -> bool:
    """Say whether ink is thin for its length, at most `most` px, and made of strokes rather than specks."""
    thick = 2 * float(cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 3).max())
    long = max(int(np.ptp(where)) + 1 for where in np.nonzero(ink))
    if thick > min(most, 0.45 * long):
        return False
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(areas[areas >= 20].sum()) >= SOLID * float(ink.sum())
