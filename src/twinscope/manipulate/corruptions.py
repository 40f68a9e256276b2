"""The corruptions of ImageNet-C (Hendrycks and Dietterich, ICLR 2019), written anew from their published definitions.

Every corruption is `(image, rng, severity) -> Manipulated`: `image` float32 in [0, 1], HxW or HxWx3 RGB; severity 1 to
5. Lengths are those of ImageNet-C for pictures of 224 px and grow with the shorter side. Nothing is edited (the mask is
empty). `IN_PLACE` leave everything where it is; `MOVING` shift it a little: `elastic_move` and `zoom_move` say how.

Where this departs from ImageNet-C: frost is drawn, not photographed; motion blur is centred, so that it shifts nothing;
glass blur looks pixels up at random places near by instead of swapping them one by one; colours of grey pictures (HxW)
are their luma. A severity that is not 1 to 5 is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope.manipulate.fields import Move, displaced
from twinscope.manipulate.record import Image, Manipulated, Rng, done, luma
from twinscope.manipulate.tone import decoded_jpeg

SIDE = 224
"""The side in px for which the strengths of ImageNet-C are stated."""


# ---------------------------------------------------------------------------------------------------- noise


def gaussian_noise(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Add Gaussian noise of sigma .08 to .38."""
    return done(image + np.float32(_of(severity, (0.08, 0.12, 0.18, 0.26, 0.38))) * _normal(rng, image.shape))


def shot_noise(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Count photons, 60 to 3 of them where the picture is 1 (Poisson)."""
    photons = _of(severity, (60.0, 25.0, 12.0, 5.0, 3.0))
    return done(rng.poisson(np.clip(image, 0, 1) * photons) / photons)


def impulse_noise(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Set a share of the values, .03 to .27, to black or white, half each."""
    share = _of(severity, (0.03, 0.06, 0.09, 0.17, 0.27))
    draw = rng.random(image.shape, np.float32)
    return done(np.where(draw < share / 2, np.float32(0), np.where(draw < share, np.float32(1), image)))


def speckle_noise(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Add Gaussian noise in proportion to the value, of sigma .15 to .6 where the picture is 1."""
    return done(image * (1 + np.float32(_of(severity, (0.15, 0.2, 0.35, 0.45, 0.6))) * _normal(rng, image.shape)))


# ---------------------------------------------------------------------------------------------------- blur


def gaussian_blur(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Blur by a Gaussian of sigma 1 to 6 px."""
    return done(_soft(image, _of(severity, (1.0, 2.0, 3.0, 4.0, 6.0)) * _scale(image)))


def defocus_blur(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Blur by a disc of 3 to 10 px radius with a softened rim."""
    radius, rim = _of(severity, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)))
    radius, rim = radius * _scale(image), rim * _scale(image)
    reach = max(1, int(np.ceil(radius + 2 * rim)))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = _soft((np.hypot(x, y) <= radius).astype(np.float32), rim)
    return done(cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101))


def glass_blur(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Look through frosted glass: each pixel shows one up to 1 to 4 px away, between two blurs of .7 to 1.5 px."""
    sigma, reach, times = _of(severity, ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)))
    sigma, reach = sigma * _scale(image), max(1, round(reach * _scale(image)))
    height, width = image.shape[:2]
    out = _soft(image, sigma)
    y, x = np.ogrid[:height, :width]
    for _ in range(times):
        dy, dx = rng.integers(-reach, reach + 1, (2, height, width), np.int16)
        out = out[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
    return done(_soft(out, sigma))


def motion_blur(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Drag along a line within 45 degrees of the horizontal: a tail of sigma 3 to 15 px, cut at 20 to 40 px."""
    radius, sigma = _of(severity, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)))
    return done(_dragged(image, radius * _scale(image), sigma * _scale(image), rng.uniform(-45, 45)))


def zoom_blur(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Average the picture with its enlargements about the centre, up to 1.1 to 1.3 times.

    Content is smeared out along a ray; the record's transform brings it to its mean place (`zoom_move`).
    """
    height, width = image.shape[:2]
    factors = _zooms(severity)
    total = np.array(image, np.float32)
    for factor in factors:
        how = cv2.INTER_LINEAR
        total += cv2.warpAffine(image, _zoom((height, width), factor)[:2], (width, height), flags=how, borderMode=1)
    return done(total / np.float32(len(factors) + 1), zoom_move((height, width), severity).transform)


def zoom_move(size: tuple[int, int], severity: int) -> Move:
    """Return how `zoom_blur` moves content on the average: what is smeared out along a ray, at its mean place."""
    factors = _zooms(severity)
    return Move(_zoom(size, (1 + sum(factors)) / (len(factors) + 1)))


# ---------------------------------------------------------------------------------------------------- weather


def snow(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Let it snow: dragged flakes, twice, over a picture that is made paler."""
    mean, sigma, zoom, least, radius, drag, keep = _of(
        severity,
        (
            (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    )
    height, width = image.shape[:2]
    scale = _scale(image)
    size = tuple(max(2, int(np.ceil(n / (zoom * scale)))) for n in (height, width))
    flakes = np.float32(mean) + np.float32(sigma) * _normal(rng, size)
    flakes = np.asarray(cv2.resize(flakes, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1).astype(np.float32)
    flakes = _dragged(flakes, radius * scale, drag * scale, rng.uniform(-135, -45))
    pale = np.maximum(image, _like(luma(image) * np.float32(1.5) + np.float32(0.5), image))
    return done(keep * image + (1 - keep) * pale + _like(flakes + flakes[::-1, ::-1], image))


def frost(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Lay ice over the picture: drawn crystals of about .5 grey on the average, weighted .4 to .75."""
    keep, share = _of(severity, ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)))
    ice = _ice((image.shape[0], image.shape[1]), rng)
    tint = np.array([0.92, 1.0, 1.06], np.float32)
    return done(keep * image + np.float32(share) * (ice if image.ndim == 2 else ice[..., None] * tint))


def fog(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Veil the picture in a fractal haze of 1.5 to 3 times its range, and bring it back to its own maximum."""
    thick, decay = _of(severity, ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)))
    top = float(image.max())
    haze = np.float32(thick) * plasma((image.shape[0], image.shape[1]), rng, decay)
    return done((image + _like(haze, image)) * np.float32(top / max(top + thick, 1e-6)))


def spatter(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Spatter drops: of water at severities 1 to 3, of mud at 4 and 5."""
    mean, sigma, grain, least, weight, mud = _of(
        severity,
        (
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
    )
    scale = _scale(image)
    liquid = _soft(np.float32(mean) + np.float32(sigma) * _normal(rng, image.shape[:2]), grain * scale)
    wet = (liquid >= least).astype(np.float32)
    if mud:
        cover = _soft(wet, weight * scale)
        cover[cover < 0.8] = 0
        brown = np.array([63, 42, 20], np.float32) / np.float32(255)
        return done(image * (1 - _like(cover, image)) + _painted(cover, brown, image))
    rim = cv2.distanceTransform(wet.astype(np.uint8), cv2.DIST_L2, 5)
    light = cv2.filter2D(np.minimum(rim, 20 * scale), -1, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32))
    drops = np.clip(liquid * wet * cv2.blur(np.maximum(light, 0), (3, 3)), 0, None)
    drops = drops * np.float32(weight / max(float(drops.max()), 1e-6))
    return done(image + _painted(drops, np.array([175, 238, 238], np.float32) / np.float32(255), image))


# ---------------------------------------------------------------------------------------------------- digital


def brightness(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Add .1 to .5 to the value (of HSV)."""
    more = np.float32(_of(severity, (0.1, 0.2, 0.3, 0.4, 0.5)))
    if image.ndim == 2:
        return done(image + more)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + more, 0, 1)
    return done(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def saturate(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Change the saturation (of HSV): times .3, .1, 2, 5 (+ .1) or 20 (+ .2); grey (HxW) stays as it is."""
    factor, more = _of(severity, ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)))
    if image.ndim == 2:
        return done(image)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.clip(hsv[..., 1] * np.float32(factor) + np.float32(more), 0, 1)
    return done(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def contrast(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Shrink the range about each channel's mean, to .4 to .05 of it."""
    factor = np.float32(_of(severity, (0.4, 0.3, 0.2, 0.1, 0.05)))
    middle = image.mean((0, 1), keepdims=True)
    return done((image - middle) * factor + middle)


def elastic(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Stretch the picture: an affine move, which is the record's transform, and smooth waves (`elastic_move`)."""
    move = elastic_move((image.shape[0], image.shape[1]), rng, severity)
    return done(displaced(image, move, cv2.INTER_LINEAR), move.transform)


def elastic_move(size: tuple[int, int], rng: Rng, severity: int) -> Move:
    """Return the move of `elastic` from the same rng: three points moved by up to 10, 20 or 2 % of a side, and waves.

    The waves are uniform noise, blurred by sigma and multiplied: long ones at severity 1 (a px or less) and 2 (some 4
    px of 224), short ones (sigma 2 px) of about 1 to 2 px at 3 to 5. At severity 5 they fold here and there.
    """
    side = min(size)
    factor, sigma, jitter = (
        part * side
        for part in _of(
            severity, ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
        )
    )
    middle, arm = np.array([size[1], size[0]], np.float32) / 2, side // 3
    before = (middle + np.array([[arm, arm], [arm, -arm], [-arm, -arm]])).astype(np.float32)
    after = (before + rng.uniform(-jitter, jitter, (3, 2))).astype(np.float32)
    affine = np.eye(3)
    affine[:2] = cv2.getAffineTransform(before, after)
    return Move(affine, np.stack([_waves(size, rng, sigma) * np.float32(factor) for _ in range(2)], 2))


def pixelate(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Show with .6 to .25 of the pixels a side, each a plain square."""
    share = _of(severity, (0.6, 0.5, 0.4, 0.3, 0.25))
    share = share * min(1.0, 1 / _scale(image))
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, int(width * share)), max(1, int(height * share))), interpolation=cv2.INTER_AREA)
    return done(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def jpeg(image: Image, rng: Rng, severity: int) -> Manipulated:
    """Compress as JPEG of quality 25 to 7."""
    return done(decoded_jpeg(image, _of(severity, (25, 18, 15, 10, 7))))


Corruption = Callable[[Image, Rng, int], Manipulated]
IN_PLACE: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg": jpeg,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}
"""The corruptions that leave everything where it is."""
MOVING: dict[str, Corruption] = {"zoom_blur": zoom_blur, "elastic": elastic}
"""The corruptions that move content a little."""
CORRUPTIONS: dict[str, Corruption] = {**IN_PLACE, **MOVING}
"""All nineteen; the last four in place are ImageNet-C's extra ones."""


# ---------------------------------------------------------------------------------------------------- helpers


def plasma(size: tuple[int, int], rng: Rng, decay: float) -> Image:
    """Return a fractal cloud in [0, 1] by diamonds and squares; each finer level is weaker by `decay`."""
    side = 1 << int(np.ceil(np.log2(max(*size, 2))))
    out, step, reach = np.zeros((1, 1), np.float32), side, 1.0
    while step > 1:
        many = len(out)
        middle = (out + np.roll(out, -1, 0) + np.roll(out, -1, 1) + np.roll(out, (-1, -1), (0, 1))) / 4
        middle += _jitter(rng, many, reach)
        across = (out + np.roll(out, -1, 1) + middle + np.roll(middle, 1, 0)) / 4 + _jitter(rng, many, reach)
        down = (out + np.roll(out, -1, 0) + middle + np.roll(middle, 1, 1)) / 4 + _jitter(rng, many, reach)
        finer = np.empty((2 * many, 2 * many), np.float32)
        finer[::2, ::2], finer[1::2, 1::2], finer[::2, 1::2], finer[1::2, ::2] = out, middle, across, down
        out, step, reach = finer, step // 2, reach / decay
    out = out[: size[0], : size[1]]
    low, high = float(out.min()), float(out.max())
    return np.asarray((out - low) / max(high - low, 1e-6), np.float32)


def _jitter(rng: Rng, many: int, reach: float) -> Image:
    return np.float32(2 * reach) * (rng.random((many, many), np.float32) - np.float32(0.5))


def _ice(size: tuple[int, int], rng: Rng) -> Image:
    """Return ice on glass, HxW: needles that cross, in patches, over a dim ground; about .45 on the average."""
    height, width = size
    needles = np.zeros(size, np.float32)
    for angle in rng.uniform(0, 180, 3):
        grain = _normal(rng, (max(8, height // 2), max(8, width // 2)))
        streaks = _dragged(grain, 0.06 * min(size), 0.03 * min(size), float(angle))
        streaks = np.asarray(cv2.resize(streaks, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        needles = np.maximum(needles, streaks / np.float32(max(float(streaks.std()) * 2.5, 1e-6)))
    patches = plasma(size, rng, 1.7)
    ice = np.float32(0.15) + np.float32(0.35) * patches + np.float32(0.55) * patches * np.clip(needles, 0, 1)
    return np.clip(ice, 0, 1).astype(np.float32)


def _waves(size: tuple[int, int], rng: Rng, sigma_px: float) -> Image:
    """Return uniform noise in [-1, 1) blurred by `sigma_px`, HxW; where sigma is large, drawn on a coarser grid."""
    coarse = max(1, int(sigma_px / 4))
    many = tuple(-(-n // coarse) + 1 for n in size)
    noise = (2 * rng.random(many, np.float32) - 1) / np.float32(coarse)
    noise = np.asarray(
        cv2.GaussianBlur(noise, (0, 0), max(sigma_px / coarse, 0.1), borderType=cv2.BORDER_REFLECT), np.float32
    )
    if coarse == 1:
        return np.ascontiguousarray(noise[: size[0], : size[1]])
    whole = cv2.resize(noise, (many[1] * coarse, many[0] * coarse), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(whole[: size[0], : size[1]], np.float32)


def _dragged(image: Image, radius_px: float, sigma_px: float, angle: float) -> Image:
    """Drag a picture in the direction `angle` (degrees) by half a Gaussian, centred on its own centre of mass."""
    tail = np.arange(max(1, int(2 * radius_px)) + 1, dtype=np.float64)
    weight = np.exp(-(tail**2) / (2 * sigma_px**2))
    weight /= weight.sum()
    tail = tail - (tail * weight).sum()
    reach = int(np.ceil(np.abs(tail).max())) + 1
    x, y = (reach + tail * part for part in (np.cos(np.radians(angle)), np.sin(np.radians(angle))))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for dx in (0, 1):
        for dy in (0, 1):
            share = (1 - np.abs(x - left - dx)) * (1 - np.abs(y - top - dy))
            np.add.at(kernel, (top + dy, left + dx), (weight * share).astype(np.float32))
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _zooms(severity: int) -> list[float]:
    last, step = _of(severity, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)))
    return [float(factor) for factor in np.arange(1, last, step)]


def _zoom(size: tuple[int, int], factor: float) -> NDArray[np.float64]:
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    return np.array([[factor, 0, x * (1 - factor)], [0, factor, y * (1 - factor)], [0, 0, 1]], np.float64)


def _of(severity: int, values: tuple[Any, ...]) -> Any:
    if severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"a severity is 1 to 5, not {severity!r}")
    return values[severity - 1]


def _scale(image: Image) -> float:
    return float(min(image.shape[:2])) / SIDE


def _normal(rng: Rng, shape: tuple[int, ...]) -> Image:
    return rng.standard_normal(shape, np.float32)


def _soft(image: Image, sigma_px: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32)


def _like(grey: Image, image: Image) -> Image:
    return grey if image.ndim == 2 else grey[..., None]


def _painted(cover: Any, colour: Image, image: Image) -> Image:
    """Return a colour (RGB) times a cover (HxW), or its luma where the picture is grey."""
    if image.ndim == 2:
        return np.asarray(cover * np.float32(colour @ (0.299, 0.587, 0.114)), np.float32)
    return np.asarray(cover[..., None] * colour, np.float32)
