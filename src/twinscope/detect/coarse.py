"""A second look at two pictures in which nothing was found: with less asked of them, also smaller and without specks.

Noise, fog and frost hide the detail that the first look needs. Whoever asks about two pictures has a reason to, and may
lay one over the other as they are; so that is tried, too: as a place to begin at, and, as it stands and mirrored, for
the networks to look at where the two hardly correlate, but better in place than beside it. It costs more than the first
look, and so only who asks about two pictures gets it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from twinscope import geometry, pixels
from twinscope.detect import align, candidates, dense, evidence, features, judge, keypoints
from twinscope.detect.features import View
from twinscope.detect.judge import Judged, Measured
from twinscope.settings import Settings

ALIKE = 1.1
"""Pictures whose aspects differ by less than this factor are also laid over each other as they are."""


def judged(images: Sequence[pixels.Image], views: Sequence[View], settings: Settings) -> Judged | None:
    """Return how two pictures (uint8, HxW or HxWx3 RGB) are related as a second look finds it, or None.

    views: of the pictures as they are; the alignment maps their working px. The numbers and the probability are those
    of the look that found it.
    """
    found = measured(images, views, settings) + laid(views, settings)
    pair = candidates.Candidate(0, 1, keypoints.NO_VOTE)
    best = next(judge.most_probable([(pair, found)], settings.threads), None)
    if best is None:
        return None
    return best._replace(alignment=align.refine(views[0], views[1], best.alignment, settings.align))


def measured(images: Sequence[pixels.Image], views: Sequence[View], settings: Settings) -> list[Measured]:
    """Return the alignments that a second look proposes, measured as it saw them; see `judged`."""
    asked = settings.second
    lenient = settings.model_copy(
        update={
            "dense": settings.dense.model_copy(update={"score": asked.score}),
            "align": settings.align.model_copy(update={"dense_agreement": asked.agreement}),
            "evidence": settings.evidence.model_copy(update={"least": asked.least}),
        }
    )
    side = settings.features.long_side // 2
    small = settings.features.model_copy(update={"long_side": side, "short_side": side})
    clear = [np.asarray(cv2.medianBlur(image, asked.speck_px), np.uint8) for image in images]
    out = []
    for seen in ([features.view(image, small) for image in clear], views):
        before, after = (view.to_work @ align.inverse(own.to_work) for view, own in zip(views, seen, strict=True))
        for one in judge.measure(seen[0], seen[1], _candidate(seen, lenient), lenient):
            transform = after @ one.alignment.transform @ align.inverse(before)
            none = np.zeros((0, 2))
            whole = align.Alignment(
                transform / transform[2, 2], one.alignment.inverted, one.alignment.matches, none, none
            )
            out.append(one._replace(alignment=whole, numbers={**one.numbers, "again": 1.0}))
    return out


def laid(views: Sequence[View], settings: Settings) -> list[Measured]:
    """Return two pictures of like aspects laid over each other as they are, and mirrored, measured and not refused.

    Where wear leaves little correlation the comparator may still see that they are the same. Where there is more,
    the other looks have judged already whether it means anything: spot plates and equal lanes agree, too. And some
    there must be, in place and not when shifted: to the networks two pictures of nothing but noise are one.
    """
    a, b = views
    straight = _straight(a, b)
    if straight is None or not all(candidates.says_something(view, settings.dense.spread) for view in views):
        return []
    out = []
    for flip in (np.eye(3), geometry.mirror(a.shape[1])):
        none = np.zeros((0, 2))
        alignment = align.Alignment(straight @ flip, False, 0, none, none)
        frame = evidence.frame(a, b, alignment)
        numbers = evidence.measure(a, b, alignment, frame, settings.evidence, refuse=False)
        if numbers is not None and _may_be(numbers, settings):
            more = {"votes": 0.0, "dense": 1.0, "again": 1.0, "laid": 1.0}
            out.append(judge.shown(alignment, {**numbers, **more}, frame))
    return out


def _may_be(numbers: dict[str, float], settings: Settings) -> bool:
    asked = settings.second
    agree = numbers["correlation_1"] < asked.laid and numbers["correlation_2"] >= asked.least
    return agree and numbers["peak_z"] >= asked.stands


def _straight(a: View, b: View) -> geometry.Transform | None:
    """Return the map that lays a over b as it is, None where their aspects are too different for that."""
    (tall, wide), (tall_b, wide_b) = a.shape, b.shape
    alike = 1 / ALIKE < (wide / tall) / (wide_b / tall_b) < ALIKE
    return geometry.scaling(wide_b / wide, tall_b / tall) if alike else None


def _candidate(views: Sequence[View], settings: Settings) -> candidates.Candidate:
    """Return the pair with its keypoint votes, and the places where one may lie in the other."""
    near = np.zeros((2, 2), np.float32)  # so that it is searched by correlation whatever the embedding says
    ready = candidates.prepare(views, settings, near)
    found = next(iter(candidates.of_panel(0, ready, settings)), candidates.Candidate(0, 1, keypoints.NO_VOTE))
    straight = _straight(*views)
    if straight is None or not all(ready.says):
        return found
    return found._replace(places=(*found.places, dense.Place(0.0, False, straight)))
