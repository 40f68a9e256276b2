"""Why the metric says so, made visible: the map of the distance in colours, in outlines and in words.

The colours are cividis around zero: dark blue makes the two pictures alike, yellow makes them differ, grey does
neither. They rise in lightness, so that they also read in grey and for every kind of colour vision. Outlines say the
same once more: solid with a + makes them differ, dashed with a - makes them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import models
from twinscope.detect import embed, explain
from twinscope.detect.explain import Explanation, Floats
from twinscope.pixels import Image
from twinscope.report import pictures
from twinscope.types import Finding, Provenance

LEVEL = 0.5
"""Outlined is what has at least this share of the strongest place of the two pictures."""
DRAWN_PX = 192
"""Longest side of a map when it is drawn; the network sees no more than 12 places a side."""
SHOWN_PX = 64
"""Longest side of a map as the report holds it; it is smooth, and the browser enlarges it."""
NAMES = {"differ": "what makes them differ", "alike": "what makes them alike"}
CAVEAT = (
    "It explains the distance between the two whole pictures as they are, not aligned. It is no evidence of an edit: "
    "where two aligned pictures differ is shown by the heat-map of what differs."
)

Points = NDArray[np.float64]


class Outline(NamedTuple):
    """A strong part of a map: what it does ("differ" or "alike") and its polygon (n, 2), corner positions in px."""

    does: str
    points: Points


class Peak(NamedTuple):
    """The strongest place of one sign: what it does, its sign to draw, where it is in px and in words."""

    does: str
    sign: str
    x: float
    y: float
    words: str


def of_findings(
    findings: Sequence[Finding], pictures_of: Mapping[str, Image], made_by: Provenance
) -> dict[str, Explanation]:
    """Return why each finding's panels lie as far apart as they do, by finding id; maps are `DRAWN_PX` long.

    pictures_of: panel id -> picture. A finding is left out where a picture is missing, and all are where the network
    that is here is not the one that made the screening: its distance is not theirs. Each panel is looked at once.
    """
    card = next((card for card in models.cards() if card.id == embed.MODEL), None)
    told = [one for one in findings if one.a in pictures_of and one.b in pictures_of]
    if not told or card is None or made_by.models.get(card.id) != card.sha256:
        return {}
    names = sorted({name for one in told for name in (one.a, one.b)})
    seen = dict(zip(names, explain.look([pictures_of[name] for name in names]), strict=True))
    head = explain.head()
    square = (DRAWN_PX, DRAWN_PX)
    return {one.id: explain.why(seen[one.a], seen[one.b], head, square, square) for one in told}


def coloured(field: Floats) -> Image:
    """Return a map (H, W) in [-1, 1] in colours: HxWx3 RGB uint8, -1 dark blue, 0 grey, 1 yellow."""
    return pictures.cividis(np.asarray(np.rint(127.5 + 127.5 * field), np.uint8))


def outlines(field: Floats, size: tuple[int, int]) -> list[Outline]:
    """Return the strong parts of a map, in the pixels of a picture of `size` (height, width)."""
    scale = np.array([size[1] / field.shape[1], size[0] / field.shape[0]])
    out = []
    for does, strong in (("differ", field >= LEVEL), ("alike", field <= -LEVEL)):
        found, _ = cv2.findContours(strong.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in found:
            points = cv2.approxPolyDP(contour, 0.7, True).reshape(-1, 2).astype(np.float64)
            if cv2.contourArea(contour) >= 0.0005 * field.size and len(points) >= 3:
                out.append(Outline(does, (points + 0.5) * scale))
    return out


def peaks(field: Floats, size: tuple[int, int]) -> list[Peak]:
    """Return the strongest place of each sign, in the pixels of a picture of `size`; none where a sign is weak."""
    out = []
    for does, sign, values in (("differ", "+", field), ("alike", "−", -field)):
        y, x = (int(k) for k in np.unravel_index(int(values.argmax()), values.shape))
        if values[y, x] >= LEVEL:
            at = (x + 0.5) / field.shape[1], (y + 0.5) / field.shape[0]
            out.append(Peak(does, sign, at[0] * size[1], at[1] * size[0], whereabouts(*at)))
    return out


def whereabouts(x: float, y: float) -> str:
    """Return in words where a place lies, each coordinate in [0, 1]: "at the upper left", "in the middle"."""
    row = ("upper", "", "lower")[min(2, int(3 * y))]
    column = ("left", "", "right")[min(2, int(3 * x))]
    if not row and not column:
        return "in the middle"
    side = {"upper": "at the top", "lower": "at the bottom"}
    return side[row] if not column else f"at the {row} {column}" if row else f"at the {column}"


def in_words(field: Floats) -> str:
    """Return for those who cannot see the map where its strongest places are."""
    if not field.any():
        return "to the network both are the same picture"
    told = [f"{NAMES[peak.does]} is strongest {peak.words}" for peak in peaks(field, (1, 1))]
    return "; ".join(told) or "no place is strong beside those of the other picture"


def side(field: Floats, size: tuple[int, int]) -> dict[str, Any]:
    """Return what the report shows of the map of one panel of `size`."""
    return {"outlines": outlines(field, size), "peaks": peaks(field, size), "words": in_words(field)}
