"""A second look at two pictures in which nothing was found: smaller and without specks, where noise hides detail.

It costs as much as the first and finds little that the first does not, so only who asks about two pictures gets it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from twinscope import pixels
from twinscope.detect import align, candidates, embed, features, judge
from twinscope.detect.features import View
from twinscope.detect.judge import Judged
from twinscope.settings import Settings

SPECK_PX = 5
"""Side of the median filter, px of the picture."""


def judged(images: Sequence[pixels.Image], views: Sequence[View], settings: Settings) -> Judged | None:
    """Return how two pictures (uint8, HxW or HxWx3 RGB) are related as a second look finds it, or None.

    views: of the pictures as they are; the alignment maps their working px. The numbers and the probability are those
    of the smaller pictures.
    """
    side = settings.features.long_side // 2
    small = settings.features.model_copy(update={"long_side": side, "short_side": side})
    seen = [features.view(np.asarray(cv2.medianBlur(image, SPECK_PX), np.uint8), small) for image in images]
    points = embed.embed(images, embed.MODEL, settings.threads)
    found = candidates.candidates(seen, settings, embed.distances(points, points))
    best = judge.judge(seen[0], seen[1], found[0], settings) if found else None
    if best is None:
        return None
    before, after = (
        np.asarray(view.to_work @ align.inverse(own.to_work), np.float64) for view, own in zip(views, seen, strict=True)
    )
    transform = after @ best.alignment.transform @ align.inverse(before)
    none = np.zeros((0, 2))
    whole = align.Alignment(transform / transform[2, 2], best.alignment.inverted, best.alignment.matches, none, none)
    return best._replace(alignment=align.refine(views[0], views[1], whole, settings.align))
