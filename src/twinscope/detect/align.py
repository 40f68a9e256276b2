"""Align two panels: from keypoint votes to a sub-pixel transform.

The mirrored state is matched in the mirrored panel's own coordinates, since USAC's homographies silently reject
reflections. Matches are found again near where the vote predicts them (guided matching), a robust model is fitted by
MAGSAC++ (affine, or a homography where the evidence carries it) and refined by maximising the enhanced correlation
coefficient (ECC) of the tone-free pictures. Degenerate solutions are refused.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import geometry
from twinscope.detect import features, keypoints
from twinscope.detect.features import Floats, View
from twinscope.detect.keypoints import Vote
from twinscope.settings import Align

Points = NDArray[np.float64]
OUTSIDE, INSIDE = 1e9, 1e3
"""Border value of warped tone-free pictures, and what lies below it: a border pixel with any share of it is outside."""

_HALVED_PX, _LAST_STEPS = 120, 2
"""Pictures of such a shorter side and more are refined at half their size first; steps that are then left to do."""
NEAR_SCALE = 1.33
"""Scale between two views above which the finer one is shrunk before their tone-free pictures are compared."""


class Alignment(NamedTuple):
    """How a maps to b, in working px of both views.

    `points_a`, `points_b` (N, 2) are the inlier matches in working px of the views as they are (not mirrored).
    """

    transform: geometry.Transform
    inverted: bool
    matches: int
    points_a: Points
    points_b: Points


def from_vote(a: View, b: View, vote: Vote, settings: Align) -> Alignment | None:
    """Return the alignment that a vote leads to, or None where no sound one exists."""
    if vote.votes < 2 or not len(a.points) or not len(b.points):
        return None
    points_a, _ = features.frames_in(vote.state, a)
    flip = geometry.mirror(a.shape[1]) if vote.state[0] else np.eye(3)
    predicted = vote.transform @ flip
    i, j = guided(a, b, vote.state, points_a, predicted, settings)
    if len(i) < settings.least:
        return None
    source, target = points_a[i].astype(np.float64), b.points[j].astype(np.float64)
    fitted = fit(source, target, settings)
    if fitted is None:
        return None
    model, inlier = fitted
    transform = model @ flip
    if inlier.sum() < settings.least or not sound(transform, a.shape, b.shape, settings):
        return None
    unflipped = a.points[i[inlier]].astype(np.float64)
    return Alignment(transform, vote.state[1], len(i), unflipped, target[inlier])


def matched(a: View, b: View, transform: geometry.Transform, settings: Align) -> tuple[Points, Points]:
    """Return the keypoints of two panels that agree with a transform between them (px of a to px of b).

    (N, 2) each, in px of the panels, strongest first. They lie within twice the threshold of the robust fit, and
    are each other's nearest by descriptor.
    """
    work = b.to_work @ transform @ np.linalg.inv(a.to_work)
    middle = a.shape[1] / 2, a.shape[0] / 2
    mirrored = bool(np.linalg.det(geometry.jacobian(work, middle)) < 0)
    flip = geometry.mirror(a.shape[1]) if mirrored else np.eye(3)
    close = settings.model_copy(update={"reach": 2 * settings.error_px / max(b.shape)})
    found = []
    for inverted in (False, True):
        state = (mirrored, inverted)
        points_a, _ = features.frames_in(state, a)
        found.append(guided(a, b, state, points_a, work @ np.linalg.inv(flip), close) if len(b.points) else ((), ()))
    i, j = max(found, key=lambda pair: len(pair[0]))
    if not len(i):
        return np.zeros((0, 2)), np.zeros((0, 2))
    back = (np.linalg.inv(view.to_work) for view in (a, b))
    sides = (a.points[i].astype(np.float64), b.points[j].astype(np.float64))
    return tuple(geometry.apply(m, points) for m, points in zip(back, sides, strict=True))  # type: ignore[return-value]


def guided(
    a: View, b: View, state: tuple[bool, bool], points_a: Floats, predicted: geometry.Transform, settings: Align
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return mutual nearest neighbours among the keypoints that lie where `predicted` sends them."""
    reach = settings.reach * max(b.shape)
    expected = geometry.apply(predicted, points_a).astype(np.float32)
    across, down = (expected[:, None, k] - b.points[None, :, k] for k in (0, 1))
    far = across * across + down * down > reach * reach
    close = features.descriptors_in(state, a.descriptors) @ b.descriptors.T
    close[far] = -1
    best = close.argmax(1)
    rows = np.arange(len(close))
    keep = (close.argmax(0)[best] == rows) & (close[rows, best] > settings.cosine)
    return rows[keep], best[keep]


def fit(source: Points, target: Points, settings: Align) -> tuple[geometry.Transform, NDArray[np.bool_]] | None:
    """Fit target = model(source) for points (N, 2); return the 3x3 model and which matches are inliers.

    Three models compete: a similarity, an affine map and a homography (both by MAGSAC++). A freer model is taken only
    where it explains clearly more matches than the stiffer one, at enough places: three places fit an affine map
    whatever they show, as three lone cells do.
    """
    if len(source) < 3:
        return None
    s, t = source.astype(np.float32), target.astype(np.float32)
    options = {"ransacReprojThreshold": settings.error_px, "maxIters": 5000, "confidence": 0.9999}
    affine, in_affine = cv2.estimateAffine2D(s, t, method=cv2.USAC_MAGSAC, **options)
    best: tuple[geometry.Transform, NDArray[np.bool_]] | None = None
    if affine is not None:
        full = np.vstack([affine, [0, 0, 1]]).astype(np.float64)
        best = full, in_affine.ravel().astype(bool)
        stiff = similarity(source, target, best[1], settings.error_px)
        explained = 0 if stiff is None else 1.15 * stiff[1].sum() + 4
        if explained >= best[1].sum() or places(target[best[1]], settings.apart_px) < settings.places:
            best = stiff
    if len(source) >= 12:
        full, in_full = cv2.findHomography(s, t, cv2.USAC_MAGSAC, **options)
        gain = int(in_full.sum()) if full is not None else 0
        if full is not None and gain >= 12 and (best is None or gain > 1.15 * best[1].sum() + 4):
            held = in_full.ravel().astype(bool)
            if places(target[held], settings.apart_px) > settings.places:
                best = full.astype(np.float64), held
    return best


def places(points: Points, apart_px: float) -> int:
    """Return how many of the points (N, 2) are left when of those nearer than `apart_px` to each other one counts."""
    count = 0
    while len(points):
        one, rest = points[0], points[1:]
        points, count = rest[np.hypot(*(rest - one).T) >= apart_px], count + 1
    return count


def similarity(
    source: Points, target: Points, start: NDArray[np.bool_], error_px: float
) -> tuple[geometry.Transform, NDArray[np.bool_]] | None:
    """Fit a similarity to the matches in `start`, and again to those within `error_px` of it until they settle."""
    inlier = start
    model = np.eye(3)
    for _ in range(8):
        if inlier.sum() < 2:
            return None
        model = keypoints.similarity(source[inlier], target[inlier])
        near = np.hypot(*(geometry.apply(model, source) - target).T) < error_px
        if np.array_equal(near, inlier):
            break
        inlier = near
    return (model, inlier) if inlier.sum() >= 2 else None


def sound(transform: geometry.Transform, a: tuple[int, int], b: tuple[int, int], settings: Align) -> bool:
    """Say whether a transform (a -> b px, panels of size a, b) is one that an editor of figures could have made.

    Refused: not finite, folded over, extreme scale or shear, strong perspective, next to no overlap.
    """
    box = (0.0, 0.0, float(a[1]), float(a[0]))
    if not np.isfinite(transform).all() or abs(np.linalg.det(transform)) < 1e-9:
        return False
    depth = np.column_stack([geometry.corners(box), np.ones(4)]) @ transform[2]
    if depth.min() <= 0.2 * depth.max():
        return False
    parts = geometry.take_apart(transform, box)
    low, high = 1 / settings.scale, settings.scale
    if not (low < parts.scale < high and parts.anisotropy < settings.anisotropy and parts.perspective < 1.2):
        return False
    return overlap(transform, a, b) >= settings.overlap


def overlap(transform: geometry.Transform, a: tuple[int, int], b: tuple[int, int]) -> float:
    """Return the shared area as a share of the smaller panel, measured in b's frame, in [0, 1]."""
    quad = geometry.apply(transform, geometry.corners((0, 0, a[1], a[0]))).astype(np.float32)
    frame = geometry.corners((0, 0, b[1], b[0])).astype(np.float32)
    if cv2.contourArea(quad, oriented=True) < 0:
        quad = quad[::-1].copy()
    shared, _ = cv2.intersectConvexConvex(quad, frame)
    smaller = min(abs(float(cv2.contourArea(quad))), float(b[0] * b[1]))
    return float(shared) / max(smaller, 1.0)


def refine(a: View, b: View, alignment: Alignment, settings: Align) -> Alignment:
    """Refine an alignment to sub-pixel by ECC on the best pair of tone-free planes; keep it where ECC does not gain.

    Where the views differ in scale the finer one is shrunk first: a picture is tone-free at one scale only.
    """
    small_a, small_b, to_a, to_b = at_one_scale(a, b, alignment.transform, NEAR_SCALE)
    moved = to_b @ alignment.transform @ inverse(to_a)
    found = _refine(small_a, small_b, alignment._replace(transform=moved), settings)
    transform = inverse(to_b) @ found.transform @ to_a
    return alignment._replace(transform=transform / transform[2, 2])


def at_one_scale(
    a: View, b: View, transform: geometry.Transform, near: float
) -> tuple[View, View, geometry.Transform, geometry.Transform]:
    """Return two aligned views, the finer one shrunk to the scale of the other, and the maps of working px to them.

    Views whose scales differ by less than the factor `near` stay as they are.
    """
    scale = geometry.take_apart(transform, (0.0, 0.0, float(a.shape[1]), float(a.shape[0]))).scale
    if 1 / near < scale < near:
        return a, b, np.eye(3), np.eye(3)
    small_a, to_a = features.shrunk(a, min(1.0, scale))
    small_b, to_b = features.shrunk(b, min(1.0, 1 / scale))
    return small_a, small_b, to_a, to_b


def _refine(a: View, b: View, alignment: Alignment, settings: Align) -> Alignment:
    plane_a, plane_b = best_planes(a, b, alignment)
    template = plane_b * (-1 if alignment.inverted else 1)
    mask = (~b.annotated).astype(np.uint8) * 255
    stiff = bool(abs(alignment.transform[2, :2]).max() < 1e-9)
    back = inverse(alignment.transform)
    before = correlation_at(plane_a, template, back, mask)
    moved = _climbed(plane_a, template, back, stiff, mask, settings)
    if moved is None:
        return alignment  # ECC did not converge: the keypoint model stands
    if correlation_at(plane_a, template, moved, mask) < before or abs(np.linalg.det(moved)) < 1e-9:
        return alignment
    transform = inverse(moved)
    transform /= transform[2, 2]
    if stiff:
        transform = _stiffest(transform, a, plane_a, template, mask)
    return alignment._replace(transform=transform) if sound(transform, a.shape, b.shape, settings) else alignment


def _climbed(
    plane_a: Floats,
    template: Floats,
    back: geometry.Transform,
    stiff: bool,
    mask: NDArray[np.uint8],
    settings: Align,
) -> geometry.Transform | None:
    """Return the map of b px to a px that ECC comes to (affine if `stiff`), or None where it does not converge.

    Most of the way is gone on pictures of half the size, at a quarter of the cost; the last steps on whole ones.
    """
    steps = settings.ecc_steps
    if min(*template.shape, *plane_a.shape) >= _HALVED_PX:
        small_b, small_mask, small_a = (
            cv2.resize(z, (z.shape[1] // 2, z.shape[0] // 2), interpolation=how)
            for z, how in ((template, cv2.INTER_AREA), (mask, cv2.INTER_NEAREST), (plane_a, cv2.INTER_AREA))
        )
        to_a, to_b = (
            geometry.scaling(small.shape[1] / whole.shape[1], small.shape[0] / whole.shape[0])
            for small, whole in ((small_a, plane_a), (small_b, template))
        )
        reached = _ecc(small_a, small_b, to_a @ back @ inverse(to_b), stiff, small_mask, steps, 3)
        if reached is not None:
            back, steps = inverse(to_a) @ reached @ to_b, _LAST_STEPS
    return _ecc(plane_a, template, back, stiff, mask, steps, 5)


def _ecc(
    plane_a: Floats,
    template: Floats,
    back: geometry.Transform,
    stiff: bool,
    mask: NDArray[np.uint8],
    steps: int,
    smooth_px: int,
) -> geometry.Transform | None:
    back = (back / back[2, 2]).astype(np.float32)
    mode = cv2.MOTION_AFFINE if stiff else cv2.MOTION_HOMOGRAPHY
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-4)
    try:
        _, found = cv2.findTransformECC(
            template, plane_a, back[:2].copy() if stiff else back, mode, criteria, mask, smooth_px
        )
    except cv2.error:
        return None
    return np.asarray(np.vstack([found, [0, 0, 1]]) if stiff else found, np.float64)


def _stiffest(
    transform: geometry.Transform, a: View, plane_a: Floats, template: Floats, mask: NDArray[np.uint8]
) -> geometry.Transform:
    """Return the similarity nearest to an affine map if it aligns the pictures as well, else the map itself."""
    near = nearest_similarity(transform, a.shape)
    free = correlation_at(plane_a, template, inverse(transform), mask)
    held = correlation_at(plane_a, template, inverse(near), mask)
    return near if held > free - 0.01 else transform


def nearest_similarity(transform: geometry.Transform, size: tuple[int, int]) -> geometry.Transform:
    """Return the similarity (mirrored where the map is) that moves the corners of a picture most like `transform`."""
    frame = geometry.corners((0, 0, size[1], size[0]))
    mirrored = bool(np.linalg.det(transform[:2, :2]) < 0)
    flip = geometry.mirror(size[1]) if mirrored else np.eye(3)
    return keypoints.similarity(geometry.apply(flip, frame), geometry.apply(transform, frame)) @ flip


def best_planes(a: View, b: View, alignment: Alignment) -> tuple[Floats, Floats]:
    """Return the pair of tone-free planes (of a, of b) that correlate best under the alignment."""
    if len(a.planes) == 1 and len(b.planes) == 1:
        return a.planes[0], b.planes[0]
    pairs = best_plane_numbers(a, b, alignment)
    return a.planes[pairs[0]], b.planes[pairs[1]]


def best_plane_numbers(a: View, b: View, alignment: Alignment) -> tuple[int, int]:
    """Return the numbers of the planes of a and b that correlate best under the alignment."""
    if len(a.planes) == 1 and len(b.planes) == 1:
        return 0, 0
    a, b, to_a, to_b = at_one_scale(a, b, alignment.transform, NEAR_SCALE)
    alignment = alignment._replace(transform=to_b @ alignment.transform @ inverse(to_a))
    back = np.asarray(np.linalg.inv(alignment.transform), np.float64)
    sign = -1 if alignment.inverted else 1
    mask = (~b.annotated).astype(np.uint8) * 255
    scores = {
        (i, j): correlation_at(plane_a, sign * plane_b, back, mask)
        for i, plane_a in enumerate(a.planes)
        for j, plane_b in enumerate(b.planes)
    }
    return max(scores, key=lambda key: scores[key] + (0.01 if key == (0, 0) else 0))


def inverse(transform: geometry.Transform) -> geometry.Transform:
    """Return the inverse of a 3x3 transform, float64."""
    return np.asarray(np.linalg.inv(transform), np.float64)


def correlation_at(plane_a: Floats, plane_b: Floats, back: geometry.Transform, mask: NDArray[np.uint8]) -> float:
    """Return the correlation of b with a warped onto it, over their overlap; `back` maps b px to a px."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (plane_b.shape[1], plane_b.shape[0])
    warped = cv2.warpPerspective(plane_a, back, size, flags=flags, borderValue=OUTSIDE)
    inside = (warped < INSIDE) & (mask > 0)
    if inside.sum() < 64:
        return -1.0
    x, y = warped[inside], plane_b[inside]
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / np.sqrt(max(float((x @ x) * (y @ y)), 1e-9)))
