"""The numbers behind a finding: how well two aligned panels agree, and how surprising that is.

Both panels are brought to one frame (that of the coarser one), smoothed and made tone-free there. Agreement is the
correlation of the two over their shared, textured, unannotated ground; how surprising it is, is judged against the
same pictures shifted against each other (`peak`), which no smooth, periodic or merely similar picture survives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from twinscope import geometry
from twinscope.detect import align, embed, tone
from twinscope.detect.align import Alignment
from twinscope.detect.features import Bools, Floats, View
from twinscope.pixels import Image
from twinscope.settings import Evidence

BANDS = ((0.8, 1.0), (1.6, 1.0), (4.0, 3.0), (1.0, 0.35))
"""Smoothing (Gaussian sigma, px of the common frame) at which agreement is measured, and the window in units of
`window_px`: fine, middle, coarse, which is all that smooth pictures have, and the grain within objects, where the
edges of two that merely have one shape no longer speak."""


class Frame(NamedTuple):
    """Two views in one frame: float32 (h, w) tones in [0, 1], where both are seen and where both are unannotated.

    `to_frame_a`, `to_frame_b` map working px of each view to the frame; `planes` names the planes compared.
    """

    a: Floats
    b: Floats
    seen: Bools
    clean: Bools
    to_frame_a: geometry.Transform
    to_frame_b: geometry.Transform
    planes: tuple[str, str]


def frame(a: View, b: View, alignment: Alignment) -> Frame:
    """Bring two views to the frame of the coarser one, cut to what they share."""
    box = (0.0, 0.0, float(a.shape[1]), float(a.shape[0]))
    grows = geometry.take_apart(alignment.transform, box).scale > 1.05
    base = np.linalg.inv(alignment.transform) if grows else np.eye(3)
    to_a, to_b = base @ alignment.transform, base
    (i, j) = align.best_plane_numbers(a, b, alignment)
    size = a.shape if grows else b.shape
    quad = geometry.apply(to_b, geometry.corners((0, 0, b.shape[1], b.shape[0]))) if grows else None
    if quad is None:
        quad = geometry.apply(to_a, geometry.corners(box))
    shared = geometry.clip(geometry.bounds(quad), size)
    x0, y0 = math.floor(shared.x0), math.floor(shared.y0)
    width, height = max(8, math.ceil(shared.x1) - x0), max(8, math.ceil(shared.y1) - y0)
    shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]], np.float64)
    to_a, to_b = shift @ to_a, shift @ to_b
    tone_a, seen_a, clean_a = warped(a, i, to_a, (height, width))
    tone_b, seen_b, clean_b = warped(b, j, to_b, (height, width))
    return Frame(
        tone_a, tone_b, seen_a & seen_b, seen_a & seen_b & clean_a & clean_b, to_a, to_b, (a.names[i], b.names[j])
    )


_TONED_PX = 160
"""Long side at which the tones of registered pictures are matched: more than the network sees, little to compute."""


def registered(shared: Frame, inverted: bool = False) -> tuple[Image, Image]:
    """Return both pictures of what is shared as the embedding network sees them: 96x96 uint8 each.

    The picture of more tones is given those of the other, by the curve that fits best (falling if `inverted`), so that
    only content is left to differ: a clipped copy is the same. What one of them does not show, or is annotated in one,
    has one grey in both, that of the rest.
    """
    rows, columns = np.flatnonzero(shared.seen.any(1)), np.flatnonzero(shared.seen.any(0))
    if not len(rows) or not shared.clean.any():
        blank = np.zeros((embed.SIDE_PX, embed.SIDE_PX), np.uint8)
        return blank, blank
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = shared.clean[part].shape
    scale = min(1.0, _TONED_PX / max(height, width))
    size = max(8, round(width * scale)), max(8, round(height * scale))
    a, b, share = reduced(size, *(z[part] for z in (shared.a, shared.b, shared.clean)))
    clean = share >= min(0.5, float(share.max()))
    a, b = toned(a, b, clean, inverted)

    def small(own: Floats) -> Image:
        filled = np.where(clean, own, np.median(own[clean]))
        return embed.prepare(np.rint(255 * filled).astype(np.uint8))

    return small(a), small(b)


def toned(a: Floats, b: Floats, clean: Bools, inverted: bool) -> tuple[Floats, Floats]:
    """Return two aligned pictures (h, w) in [0, 1], that of more tones over a mask with those of the other.

    The curve is the one that fits best (falling if `inverted`). A clipped copy so becomes the same.
    """
    if _tones(a, clean) >= _tones(b, clean):
        return tone.predicted(a, b, clean, inverted), b
    return a, tone.predicted(b, a, clean, inverted)


def _tones(picture: Floats, mask: Bools) -> float:
    """Return how many grey values a picture has in effect inside a mask: the exponential of its histogram's entropy."""
    levels = cv2.convertScaleAbs(picture, alpha=255)
    counts = cv2.calcHist([levels], [0], mask.view(np.uint8), [256], [0, 256]).ravel().astype(np.float64)
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(share * np.log(share)).sum()))


def warped(v: View, plane: int, transform: geometry.Transform, size: tuple[int, int]) -> tuple[Floats, Bools, Bools]:
    """Return a plane of a view in a frame of `size` (h, w): its tones, where it is seen, where it is unannotated."""
    grey = v.tones[plane]
    centre = (v.shape[1] / 2, v.shape[0] / 2)
    shrink = math.sqrt(abs(float(np.linalg.det(geometry.jacobian(transform, centre)))))
    if shrink < 0.9:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.45 * math.sqrt(1 / shrink**2 - 1))
    shape = (size[1], size[0])
    out = cv2.warpPerspective(grey, transform, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpPerspective(np.ones(v.shape, np.uint8), transform, shape, flags=cv2.INTER_NEAREST)
    clean = np.ones(size, np.bool_)
    if v.annotated.any():
        clean = cv2.warpPerspective(v.annotated.astype(np.uint8), transform, shape, flags=cv2.INTER_LINEAR) == 0
    return np.clip(out, 0, 1), inside > 0, clean


def normalised(tone: Floats, mask: Bools, smooth: float, window: float) -> tuple[Floats, Floats]:
    """Return the picture smoothed and locally normalised inside a mask, and its local spread: float32 (h, w) both."""
    return all_normalised((tone,), mask, smooth, window)[0]


def all_normalised(tones: Sequence[Floats], mask: Bools, smooth: float, window: float) -> list[tuple[Floats, Floats]]:
    """Return what `normalised` does for each of several pictures with one mask, which is blurred once for all."""
    weight = mask.astype(np.float32)
    held = weight / np.maximum(_blur(weight, smooth), 1e-3)
    share = np.float32(1) / np.maximum(_blur(weight, window), 1e-3)
    inside, out = mask.view(np.uint8), []
    for picture in tones:
        fine = _blur(picture * weight, smooth)
        fine *= held
        mean = _blur(fine, window)
        mean *= share
        spread = _blur(fine * fine, window)
        spread *= share
        spread -= mean * mean
        np.sqrt(np.maximum(spread, 0, out=spread), out=spread)
        floor = 0.1 * float(cv2.meanStdDev(fine, mask=inside)[1][0, 0]) + 0.6 / 255
        np.subtract(fine, mean, out=mean)
        mean /= spread + np.float32(floor)
        mean *= weight
        out.append((mean, spread))
    return out


def _blur(picture: Floats, sigma: float) -> Floats:
    """Blur by a Gaussian, 0 outside the picture's ground; a wide one is computed on a smaller picture."""
    if sigma < 6:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    height, width = picture.shape
    step = min(4, int(sigma / 2.5))
    size = (max(1, -(-width // step)), max(1, -(-height // step)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[0] / width, None, sigma * size[1] / height)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


class Peak(NamedTuple):
    """How the agreement of two pictures compares with that of the same pictures shifted against each other.

    `value` is the correlation at no shift, `z` how many spreads of the shifted correlations it lies above them,
    `second` the best correlation at a shift outside the peak, `width` the peak's half width in px.
    """

    value: float
    z: float
    second: float
    width: float


REACH = 20
"""Shifts looked at on either side, in px of the halved pictures; with more, even lanes of a blot are a repeat."""
_CLEAR = 0.9
"""Pictures that agree less are not looked at for repeats far away: noise hides those."""
_ROWS, _COLUMNS = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
_RADIUS = np.hypot(_ROWS, _COLUMNS)


def peak(x: Floats, y: Floats, mask: Bools) -> Peak:
    """Compare the agreement of two pictures (h, w) inside a mask with that at every shift up to 40 px.

    The pictures are smooth to some px and therefore halved first.
    """
    surface, enough = _shifted(*_halved(x, y, mask), (REACH, REACH))
    value = float(surface[REACH - 1 : REACH + 2, REACH - 1 : REACH + 2].max())
    profile = [float(surface[(_RADIUS >= k - 0.25) & (_RADIUS < k + 0.25)].mean()) for k in range(1, 10)]
    width = _crossing(profile, 0.5 * value)
    outside = enough & (_RADIUS > max(2.5, 1.5 * width))
    if outside.sum() < 50 or value <= 0:
        return Peak(value, 0.0, 1.0, 2 * width)
    rest = surface[outside]
    z = (value - float(rest.mean())) / max(float(rest.std()), 1e-3)
    return Peak(value, z, float(rest.max()), 2 * width)


def _halved(x: Floats, y: Floats, mask: Bools) -> tuple[Floats, Floats, Floats]:
    """Return two pictures, 0 outside a mask, and the mask as a weight, at half their size."""
    half = (-(-x.shape[1] // 2), -(-x.shape[0] // 2))
    weight = mask.astype(np.float32)
    a, b, w = reduced(half, x * weight, y * weight, weight)
    return a, b, w


def _shifted(x: Floats, y: Floats, w: Floats, reach: tuple[int, int]) -> tuple[Floats, Bools]:
    """Return the correlation of two pictures (0 where the weight w is) at every shift, and where enough is common.

    Both (2 rows + 1, 2 columns + 1) for a reach of so many rows and columns; no shift is in the middle.
    """
    size = tuple(fast_side(max(side, far + 2) + far) for side, far in zip(x.shape, reach, strict=True))
    around = np.ix_(*(np.arange(-far, far + 1) for far in reach))

    def cross(p: Floats, q: Floats) -> Floats:
        return crossed(p, q)[around]

    fx, fy, fw, squared_x, squared_y = (spectrum(z, size) for z in (x, y, w, x * x, y * y))
    energy = np.maximum(cross(squared_x, fw) * cross(fw, squared_y), 1e-6)
    enough = cross(fw, fw) > 0.4 * max(float(w.sum()), 1.0)
    return np.where(enough, cross(fx, fy) / np.sqrt(energy), 0), enough


def fast_side(least: int) -> int:
    """Return a side of at least so many px that Fourier transforms are quick at: even, of small factors."""
    return 2 * int(cv2.getOptimalDFTSize(-(-least // 2)))


def spectrum(picture: Floats, size: tuple[int, ...]) -> Floats:
    """Return the Fourier transform of a picture (h, w) with 0 around it up to `size`, packed as OpenCV packs it."""
    padded = np.zeros(size, np.float32)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    return np.asarray(cv2.dft(padded), np.float32)


def crossed(p: Floats, q: Floats) -> Floats:
    """Return the sum over x of p(x + shift) q(x) at every shift, (h, w), round the edges, from the spectra of both."""
    return np.asarray(cv2.dft(cv2.mulSpectrums(p, q, 0, conjB=True), flags=cv2.DFT_INVERSE | cv2.DFT_SCALE), np.float32)


def repeats(x: Floats, y: Floats, mask: Bools, value: float) -> float:
    """Return the best correlation of two pictures at a far shift, as a share of `value`, that at no shift.

    Far is what `peak` does not reach, up to half of what both show. Only a grating agrees there as well as here.
    """
    a, b, w = _halved(x, y, mask)
    reach = max(REACH, a.shape[0] // 2), max(REACH, a.shape[1] // 2)
    surface, enough = _shifted(a, b, w, reach)
    near = np.s_[reach[0] - REACH : reach[0] + REACH + 1, reach[1] - REACH : reach[1] + REACH + 1]
    surface[near] = 0
    return float(surface[enough].max(initial=0)) / max(value, 1e-6)


def _crossing(profile: Sequence[float], level: float) -> float:
    """Return where a falling profile of values at 1, 2, 3, ... px falls below a level, between the pixels."""
    for k, value in enumerate(profile):
        if value < level:
            before = profile[k - 1] if k else 2 * level
            return k + (before - level) / max(before - value, 1e-9)
    return float(len(profile) + 1)


def _correlation(x: Floats, y: Floats, mask: Bools) -> float:
    p, q = x[mask], y[mask]
    return float((p @ q) / math.sqrt(max(float((p @ p) * (q @ q)), 1e-9))) if p.size else 0.0


def measure(
    a: View, b: View, alignment: Alignment, shared: Frame, settings: Evidence, refuse: bool = True
) -> dict[str, float] | None:
    """Return the numbers behind an alignment (see `docs/methods.md` for each), or None where it is refused.

    Refused, unless `refuse` is False, are alignments where the pictures do not agree, and those of repeated textures,
    which fit as well elsewhere.
    Where coarse detail is drowned by noise (one picture is noisy and both are smooth) the pictures are shrunk first.
    """
    x, y, textured = _band(shared, alignment, 1, settings)
    correlation, top = _correlation(x, y, textured), peak(x, y, textured)
    shrink = min(top.width / settings.width_px, min(shared.seen.shape) / 24)
    drowned = correlation < settings.drowned and shrink > 1.4
    if drowned:
        smaller = shrunk(shared, 1 / shrink)
        bands = _band(smaller, alignment, 1, settings)
        agreed, stands = _correlation(*bands), peak(*bands)
        drowned = agreed > correlation and stands.second <= settings.periodic * agreed
    if drowned:
        shared, (x, y, textured), correlation, top = smaller, bands, agreed, stands
    else:
        shrink = 1.0
    most = _most_repeated(correlation, alignment, settings)
    if refuse and (correlation < settings.least or top.second > most * correlation):
        return None
    if refuse and correlation > _CLEAR and repeats(x, y, textured, correlation) > settings.grating:
        return None
    local = local_agreement(x, y, textured, settings.local_px)
    area = float(textured.sum())
    out = {
        "correlation_1": correlation,
        "peak_z": top.z,
        "second": top.second,
        "width": top.width * shrink,
        "agreeing": float((local[textured] > 0.5).mean()) if area else 0.0,
        "textured": area / max(float(shared.seen.sum()), 1.0),
        "independent": area / max(top.width**2 * math.pi, 1.0),
    }
    for number in (0, 2, 3):
        out[f"correlation_{number}"] = _correlation(*_band(shared, alignment, number, settings))
    out["overlap"] = align.overlap(alignment.transform, a.shape, b.shape)
    out["inliers"] = float(len(alignment.points_a))
    out["inlier_ratio"] = len(alignment.points_a) / max(alignment.matches, 1)
    parts = geometry.take_apart(alignment.transform, (0.0, 0.0, float(a.shape[1]), float(a.shape[0])))
    out["anisotropy"], out["perspective"] = parts.anisotropy, parts.perspective
    return out


def _most_repeated(correlation: float, alignment: Alignment, settings: Evidence) -> float:
    """Return how well pictures may agree when shifted, as a share of how they agree, before a repeat is suspected."""
    if alignment.matches == 0:  # equal lanes of a blot, which has no keypoints, repeat nearly as well as a grating
        return settings.grating if correlation > _CLEAR else settings.periodic
    agree = len(alignment.points_a)
    few = agree < settings.few and agree < settings.few_share * alignment.matches
    return settings.doubtful if few else settings.periodic  # few keypoints may agree by the repeat itself


def shrunk(shared: Frame, factor: float, clean: float = 0.5) -> Frame:
    """Return a frame at `factor` <= 1 times its size, 8 px a side at least; a pixel of it is clean where more than a
    share `clean` of what it covers is.
    """
    height, width = shared.seen.shape
    size = max(8, round(width * factor)), max(8, round(height * factor))
    a, b, seen, unmarked = reduced(size, shared.a, shared.b, shared.seen, shared.clean)
    move = geometry.scaling(size[0] / width, size[1] / height)
    return Frame(a, b, seen > 0.5, unmarked > clean, move @ shared.to_frame_a, move @ shared.to_frame_b, shared.planes)


def reduced(size: tuple[int, int], *pictures: Floats | Bools) -> list[Floats]:
    """Return pictures (h, w) or masks at a smaller size (width, height), each pixel the mean of what it covers."""
    return [np.asarray(cv2.resize(z.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
            for z in pictures]  # fmt: skip


def _band(shared: Frame, alignment: Alignment, number: int, settings: Evidence) -> tuple[Floats, Floats, Bools]:
    """Return both pictures tone-free at one smoothing, and where both say something."""
    smooth, wide = BANDS[number]
    (x, spread_a), (y, spread_b) = all_normalised((shared.a, shared.b), shared.clean, smooth, wide * settings.window_px)
    textured = shared.clean & (spread_a > settings.flat) & (spread_b > settings.flat)
    return x, -y if alignment.inverted else y, textured


def local_agreement(x: Floats, y: Floats, mask: Bools, window: float) -> Floats:
    """Return the local correlation (h, w) in [-1, 1] of two tone-free pictures inside a mask."""
    w = mask.astype(np.float32)
    x, y = x * w, y * w
    energy = np.sqrt(np.maximum(_blur(x * x, window) * _blur(y * y, window), 1e-12))
    return np.asarray(np.clip(_blur(x * y, window) / np.maximum(energy, 1e-3), -1, 1), np.float32)
