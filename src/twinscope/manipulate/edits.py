"""Editorial edits of a region of any form: what is pasted, cloned, painted over, filled in or written.

Each is `(image, rng, region, ...) -> Manipulated`; `region` (bool HxW, by default a `blob`) is where the picture may
change, and the record's mask is that region, exactly: outside it not a bit differs.
"""

from __future__ import annotations

import string

import cv2
import numpy as np

from twinscope.manipulate.record import Image, Manipulated, Mask, Rng, blend, done

LETTERS = np.array(list(string.ascii_letters + string.digits))


def blob(size: tuple[int, int], rng: Rng, share: float | None = None, rough: float = 0.35) -> Mask:
    """Return a random smooth blob that covers about `share` of a picture (default U(.01, .15)), wholly inside it."""
    height, width = size
    share = rng.uniform(0.01, 0.15) if share is None else share
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    radius = np.ones(64)
    for wave in (2, 3, 4):
        radius += rng.uniform(-rough, rough) / wave * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    aspect, turn = np.exp(rng.uniform(-0.4, 0.4)), rng.uniform(0, 2 * np.pi)
    x, y = radius * np.cos(angle) * aspect, radius * np.sin(angle) / aspect
    points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    area = abs(float(cv2.contourArea(points.astype(np.float32))))
    points *= np.sqrt(share * height * width / area)
    points -= points.min(0)
    points *= min(1.0, (width - 1) / points[:, 0].max(), (height - 1) / points[:, 1].max())
    room = np.array([width - 1, height - 1]) - points.max(0)
    points += rng.uniform(0, 1, 2) * np.maximum(room, 0)
    out = np.zeros(size, np.uint8)
    cv2.fillPoly(out, [np.rint(points).astype(np.int32)], (1.0,))
    return out > 0


def rectangle(size: tuple[int, int], rng: Rng, share: float | None = None) -> Mask:
    """Return a random upright rectangle that covers about `share` of a picture (default U(.01, .15))."""
    share = rng.uniform(0.01, 0.15) if share is None else share
    aspect = float(np.exp(rng.uniform(-0.6, 0.6)))
    tall, wide = (int(np.clip(n * np.sqrt(share) * f, 2, n)) for n, f in zip(size, (1 / aspect, aspect), strict=True))
    top, left = int(rng.integers(0, size[0] - tall + 1)), int(rng.integers(0, size[1] - wide + 1))
    out = np.zeros(size, np.bool_)
    out[top : top + tall, left : left + wide] = True
    return out


def transplant(
    image: Image, rng: Rng, region: Mask | None = None, donor: Image | None = None, feather_px: float = 0.0
) -> Manipulated:
    """Cover a region with a part of `donor` (same size and channels), or with one from elsewhere in the picture.

    The border is blended inwards over `feather_px`. From the picture itself, the part comes from at least a third of
    the region's size away.
    """
    region = _region(image, rng, region)
    height, width = image.shape[:2]
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    dy, dx = int(rng.integers(-top, height - bottom + 1)), int(rng.integers(-left, width - right + 1))
    source = image if donor is None else donor
    if donor is None:
        least = max(2, min(bottom - top, right - left) // 3)
        for _ in range(8):
            if abs(dx) >= least or abs(dy) >= least:
                break
            dy, dx = int(rng.integers(-top, height - bottom + 1)), int(rng.integers(-left, width - right + 1))
    out = image.copy()
    here = (slice(top, bottom), slice(left, right))
    part = source[top + dy : bottom + dy, left + dx : right + dx]
    out[here] = blend(image[here], part, inwards(region, feather_px)[here])
    return done(out, mask=region)


def inpaint(image: Image, rng: Rng, region: Mask | None = None, radius_px: float = 3.0) -> Manipulated:
    """Fill a region from its surroundings (Telea's method, at 8 bit), so that what was there is gone."""
    region = _region(image, rng, region)
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    edge = int(np.ceil(3 * radius_px)) + 2
    here = (
        slice(max(0, int(rows[0]) - edge), int(rows[-1]) + 1 + edge),
        slice(max(0, int(columns[0]) - edge), int(columns[-1]) + 1 + edge),
    )
    byte = np.rint(np.clip(image[here], 0, 1) * 255).astype(np.uint8)
    filled = cv2.inpaint(np.ascontiguousarray(byte), region[here].astype(np.uint8), radius_px, cv2.INPAINT_TELEA)
    out, inside = image.copy(), region[here]
    out[here][inside] = filled[inside].astype(np.float32) / np.float32(255)
    return done(out, mask=region)


def cover(
    image: Image, rng: Rng, region: Mask | None = None, value: float | None = None, feather_px: float = 0.0
) -> Manipulated:
    """Erase a region to `value`, or (default) to the colour and the grain that the picture has around it."""
    region = _region(image, rng, region)
    alpha = inwards(region, feather_px)
    if value is not None:
        return done(blend(image, np.float32(value), alpha), mask=region)
    ring = (cv2.dilate(region.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~region
    around = image[ring] if ring.any() else image.reshape(-1, *image.shape[2:])
    middle = np.median(around, 0)
    calm = around[np.abs(around - middle).reshape(len(around), -1).max(1) < 0.08]
    grain = (calm if len(calm) > 8 else around).std(0)
    noise = rng.standard_normal(image.shape[:2]).astype(np.float32)
    flat = middle + grain * (noise if image.ndim == 2 else noise[..., None])
    return done(blend(image, flat.astype(np.float32), alpha), mask=region)


def mend(image: Image, rng: Rng, region: Mask | None = None, feather_px: float = 4.0) -> Manipulated:
    """Retouch a region: content from elsewhere, its brightness matched at the rim, its border blended."""
    region = _region(image, rng, region)
    pasted = transplant(image, rng, region)
    inner = cv2.erode(region.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
    rim = region & ~inner
    shift = (image[rim].mean(0) - pasted.image[rim].mean(0)).astype(np.float32)
    return done(blend(image, pasted.image + shift, inwards(region, feather_px)), mask=region)


def words(image: Image, rng: Rng, height_px: float | None = None, value: float | None = None) -> Manipulated:
    """Write one to three lines of letters and digits, black, white or in a colour; the mask is the ink."""
    height, width = image.shape[:2]
    tall = rng.uniform(0.08, 0.22) * height if height_px is None else height_px
    font = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)[int(rng.integers(3))]
    thick = max(1, round(tall / rng.uniform(6, 11)))
    ink = np.zeros((height, width), np.uint8)
    x, y = int(rng.uniform(0, 0.5) * width), int(rng.uniform(tall, max(tall + 1, height - 1)))
    for _ in range(int(rng.integers(1, 4))):
        text = "".join(rng.choice(LETTERS, int(rng.integers(2, 9))))
        cv2.putText(ink, text, (x, y), font, tall / 22.0, (255, 255, 255), thick, cv2.LINE_AA)
        y += round(1.6 * tall)
    shade: Image | np.float32 = np.float32(rng.integers(2) if value is None else value)
    if value is None and image.ndim == 3 and rng.random() < 0.3:
        shade = rng.random(3).astype(np.float32)
    return done(blend(image, shade, ink.astype(np.float32) / np.float32(255)), mask=ink > 0)


def inwards(region: Mask, feather_px: float) -> Image:
    """Return how opaque a patch is: 1 in the region, 0 outside, rising over `feather_px` inside its border."""
    if feather_px <= 0:
        return region.astype(np.float32)
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.clip(depth / np.float32(feather_px + 1), 0, 1), np.float32)


def _region(image: Image, rng: Rng, region: Mask | None) -> Mask:
    size = (image.shape[0], image.shape[1])
    return blob(size, rng) if region is None or not region.any() else region
