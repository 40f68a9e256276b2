"""Manipulations of tone, and what compression, blur, noise and re-sampling do."""

from __future__ import annotations

import cv2
import numpy as np

from twinscope.manipulate.record import Image, Manipulated, Rng, done, luma


def gamma(image: Image, rng: Rng, exponent: float | None = None) -> Manipulated:
    """Raise to a power (default log-uniform in .5-2)."""
    exponent = float(np.exp(rng.uniform(np.log(0.5), np.log(2)))) if exponent is None else exponent
    return done(np.power(image, np.float32(exponent)))


def contrast(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Stretch around the mean grey value by `factor` (default U(.5, 1.5)), clipped to [0, 1]."""
    factor = rng.uniform(0.5, 1.5) if factor is None else factor
    middle = image.mean()
    return done((image - middle) * np.float32(factor) + middle)


def brightness(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Multiply by `factor` (default U(.7, 1.3)), clipped to [0, 1]."""
    return done(image * np.float32(rng.uniform(0.7, 1.3) if factor is None else factor))


def invert(image: Image, rng: Rng) -> Manipulated:
    """Return the negative; it takes no strength and no random draw."""
    return done(1 - image)


def one_channel(image: Image, rng: Rng, channel: int | None = None) -> Manipulated:
    """Return one channel (0-2) of an RGB picture as grey; a grey picture comes back unchanged."""
    index = int(rng.integers(0, 3)) if channel is None else channel
    return done(image if image.ndim == 2 else image[..., index])


def merge_channel(image: Image, rng: Rng, channel: int | None = None, other: Image | None = None) -> Manipulated:
    """Put the picture (grey) into one channel of an RGB merge; `other` (grey, same size) fills the next channel."""
    index = int(rng.integers(0, 3)) if channel is None else channel
    out = np.zeros((*image.shape[:2], 3), np.float32)
    out[..., index] = luma(image)
    if other is not None:
        out[..., (index + 1) % 3] = luma(other)
    return done(out)


def false_colour(image: Image, rng: Rng, colour: tuple[float, float, float] | None = None) -> Manipulated:
    """Paint the grey values from black to `colour` (RGB in [0, 1]; by default a usual one of microscopy)."""
    usual = [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.4, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0)]
    chosen = usual[int(rng.integers(0, len(usual)))] if colour is None else colour
    return done(luma(image)[..., None] * np.array(chosen, np.float32))


def jpeg(image: Image, rng: Rng, quality: int | None = None) -> Manipulated:
    """Compress as JPEG and decode (default quality 10-95)."""
    quality = int(rng.integers(10, 96)) if quality is None else quality
    return done(decoded_jpeg(image, quality))


def blur(image: Image, rng: Rng, sigma_px: float | None = None) -> Manipulated:
    """Blur with a Gaussian (default sigma U(.5, 2) px)."""
    return done(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0) if sigma_px is None else sigma_px))


def noise(image: Image, rng: Rng, sigma: float | None = None) -> Manipulated:
    """Add Gaussian noise (default sigma U(.01, .06)), clipped to [0, 1]."""
    sigma = rng.uniform(0.01, 0.06) if sigma is None else sigma
    return done(image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32))


def resample(image: Image, rng: Rng, factor: float | None = None) -> Manipulated:
    """Scale down by `factor` (default U(.4, .9)) and back up to the same size."""
    factor = rng.uniform(0.4, 0.9) if factor is None else factor
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=3)
    return done(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def decoded_jpeg(image: Image, quality: int) -> Image:
    """Return the picture after JPEG at `quality`."""
    data = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    data = data if data.ndim == 2 else data[..., ::-1]
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(data), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    back = np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED))
    return (back if back.ndim == 2 else back[..., ::-1]).astype(np.float32) / np.float32(255)
