"""The parts of a panel that have vectors of their own, beside the whole, and how much their nearness counts."""

from __future__ import annotations

from collections.abc import Sequence

from twinscope.library import store
from twinscope.pixels import Image
from twinscope.settings import Shelf
from twinscope.types import Box

LEAST_PX = 24
"""The shorter side of the smallest part that has a vector of its own."""


def windows(size: tuple[int, int], shelf: Shelf) -> list[Box]:
    """Return the parts of a panel of a size (height, width) that have a vector: the whole first, corners and middle."""
    height, width = size
    out = [Box(0.0, 0.0, float(width), float(height))]
    if not shelf.crops or min(size) * shelf.crop < LEAST_PX:
        return out
    h, w = round(height * shelf.crop), round(width * shelf.crop)
    places = [(0, 0), (width - w, 0), (0, height - h), (width - w, height - h), ((width - w) // 2, (height - h) // 2)]
    return out + [Box(float(x), float(y), float(x + w), float(y + h)) for x, y in places]


def cropped(image: Image, box: Box) -> Image:
    """Return the part of a picture (HxW or HxWx3) within a box."""
    x0, y0, x1, y1 = (round(value) for value in box)
    return image[y0:y1, x0:x1]


def shortlist(found: Sequence[tuple[int, store.Hit]], k: int, shelf: Shelf) -> list[store.Hit]:
    """Return `k` panels, each once with its nearest vector, nearest first.

    found: what lies near each vector of a picture, with that vector's number, 0 for the whole. Chosen are the panels
    that are nearest when parts count as `further`: parts of strangers are more alike than their wholes are.
    """
    counted: dict[tuple[str, str], float] = {}
    for number, hit in found:
        far = hit.distance + further(number, hit.row["crop"], shelf)
        counted[hit.key] = min(far, counted.get(hit.key, far))
    chosen = set(sorted(counted, key=lambda key: (counted[key], key))[:k])
    return [hit for hit in store.best((hit for _, hit in found), len(counted)) if hit.key in chosen]


def further(number: int, other: int, shelf: Shelf) -> float:
    """Return what is added to the distance of two vectors by their numbers, 0 for that of a whole."""
    return (0.0, shelf.one_part, shelf.two_parts)[(number > 0) + (other > 0)]
