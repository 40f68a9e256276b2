"""Make planted pairs: two panels that show the same source, one category of re-use each, with the exact transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from twinscope import manipulate as m

Rng = np.random.Generator
Picture = NDArray[np.float32]
Matrix = NDArray[np.float64]
Size = tuple[int, int]

CATEGORIES = (
    "exact", "mirror", "rotation", "scale", "crop", "perspective", "gamma", "contrast", "inversion", "channel",
    "jpeg", "blur", "noise", "resample", "drawn", "erased", "cloned", "blot", "chain",
)  # fmt: skip
EDITED = frozenset({"erased", "cloned"})


class Pair(NamedTuple):
    """Two panels of one source: float32 [0, 1] pictures, a px -> b px, what was done, the boxes of local edits in b."""

    a: Picture
    b: Picture
    transform: Matrix
    shared: float
    detail: dict[str, Any]
    edited: bool
    changes: list[tuple[int, int, int, int]]


def make(
    category: str, source: Picture, sizes: tuple[Size, Size], rng: Rng, other: Picture | None = None
) -> Pair | None:
    """Return a pair of this category from one source (HxW or HxWx3), or None where the source does not allow it.

    `other` is a second picture for the merge of `channel`.
    """
    detail: dict[str, Any] = {}
    move = geometry(category, sizes, rng, detail)
    if move is None:
        return None
    if category == "channel":
        source = _merged(source, other, rng, detail)
    place = _place(source.shape, sizes, move, rng)
    if place is None:
        return None
    a = m.warp(source, place, sizes[0], None).image
    b = m.warp(source, move @ place, sizes[1], None).image
    if category == "channel":
        b, a = _channel(b, rng, detail), a
    overlap = shared_polygon(sizes, move)
    if not _has_content(a, overlap):
        return None
    edited, mask = False, np.zeros(b.shape[:2], np.bool_)
    for name, step in _steps(category, b, rng, detail):
        b, _, touched = step(b, rng)
        if name in EDITED:
            edited, mask = True, mask | touched
    share = shared_fraction(sizes, move)
    return Pair(a, b, move, share, detail, edited, _boxes(mask))


def geometry(category: str, sizes: tuple[Size, Size], rng: Rng, detail: dict[str, Any]) -> Matrix | None:
    """Return the transform a px -> b px of a category, or None where the sizes do not allow it."""
    (ha, wa), (hb, wb) = sizes
    fit = float(np.clip(max(wb / wa, hb / ha), 0.6, 1.6))
    turn, mirror, shift = 0.0, False, (0.0, 0.0)
    if category in ("mirror", "blot"):
        mirror = category == "mirror" or bool(rng.random() < 0.5)
    if category == "blot":
        turn = float(rng.choice([0, 0, 0, 180, rng.uniform(-4, 4)]))
    if category == "rotation":
        turn = float(rng.choice([90, 180, 270])) if rng.random() < 0.35 else float(rng.uniform(5, 355))
        fit = float(np.clip(max(wb / ha, hb / wa), 0.6, 1.6)) if turn in (90, 270) else fit
    if category == "scale":
        fit = float(rng.uniform(0.5, 0.8) if rng.random() < 0.5 else rng.uniform(1.25, 2.0))
    if category == "chain":
        mirror, turn = bool(rng.random() < 0.5), float(rng.uniform(-180, 180) if rng.random() < 0.6 else 0)
        fit *= float(rng.uniform(0.75, 1.3))
    if category in ("crop", "chain"):
        found = _shifted(sizes, fit, turn, mirror, (0.27, 0.6) if category == "crop" else (0.4, 0.9), rng)
        if found is None:
            return None
        shift = found
    detail.update({"scale": round(fit, 3), "rotation_degrees": round(turn, 1), "mirror": mirror})
    move = _similarity(sizes, fit, turn, mirror, shift)
    if category == "perspective":
        reach = 0.1 * min(hb, wb)
        move = m.corner_transform((hb, wb), rng.uniform(-reach, reach, (4, 2))) @ move
    least = 0.27 if category in ("crop", "scale") else 0.4
    return move if shared_fraction(sizes, move) >= least else None


def shared_polygon(sizes: tuple[Size, Size], move: Matrix) -> NDArray[np.float32]:
    """Return the shared region as a polygon in px of a (empty where there is none)."""
    (ha, wa), (hb, wb) = sizes
    back = cv2.perspectiveTransform(_corners((hb, wb))[None], np.linalg.inv(move))[0]
    area, overlap = cv2.intersectConvexConvex(_corners((ha, wa)).astype(np.float32), back.astype(np.float32))
    return overlap[:, 0] if area > 0 and overlap is not None else np.zeros((0, 2), np.float32)


def shared_fraction(sizes: tuple[Size, Size], move: Matrix) -> float:
    """Return the shared share of the smaller panel, measured in the frame of a."""
    back = cv2.perspectiveTransform(_corners(sizes[1])[None], np.linalg.inv(move))[0].astype(np.float32)
    overlap = shared_polygon(sizes, move)
    if len(overlap) < 3:
        return 0.0
    smaller = min(sizes[0][0] * sizes[0][1], abs(cv2.contourArea(back)))
    return float(cv2.contourArea(overlap) / max(1.0, smaller))


def _corners(size: Size) -> Matrix:
    h, w = size
    return np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], np.float64)


def _similarity(
    sizes: tuple[Size, Size], scale: float, turn: float, mirror: bool, shift: tuple[float, float]
) -> Matrix:
    (ha, wa), (hb, wb) = sizes
    angle = np.radians(turn)
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    out = np.eye(3)
    out[:2, :2] = linear
    middle_a, middle_b = np.array([(wa - 1) / 2, (ha - 1) / 2]), np.array([(wb - 1) / 2, (hb - 1) / 2])
    out[:2, 2] = middle_b + shift - linear @ middle_a
    return out


def _shifted(
    sizes: tuple[Size, Size], scale: float, turn: float, mirror: bool, share: tuple[float, float], rng: Rng
) -> tuple[float, float] | None:
    hb, wb = sizes[1]
    for _ in range(60):
        shift = float(rng.uniform(-0.75, 0.75) * wb), float(rng.uniform(-0.75, 0.75) * hb)
        if share[0] <= shared_fraction(sizes, _similarity(sizes, scale, turn, mirror, shift)) <= share[1]:
            return shift
    return None


def _place(shape: tuple[int, ...], sizes: tuple[Size, Size], move: Matrix, rng: Rng) -> Matrix | None:
    """Return source px -> a px so that both panels lie inside the source, or None."""
    corners_b = cv2.perspectiveTransform(_corners(sizes[1])[None], np.linalg.inv(move))[0]
    points = np.concatenate([_corners(sizes[0]), corners_b])
    low, high = points.min(0), points.max(0)
    span = np.maximum(high - low, 1)
    most = float(min((shape[1] - 1) / span[0], (shape[0] - 1) / span[1]))
    if most < 0.5:
        return None
    step = min(most, 1.6) * float(rng.uniform(0.75, 1.0))
    step = min(most, max(step, 0.6))
    room = np.array([shape[1] - 1, shape[0] - 1]) - step * span
    start = rng.uniform(0, 1, 2) * np.maximum(room, 0) - step * low
    return np.linalg.inv(np.array([[step, 0, start[0]], [0, step, start[1]], [0, 0, 1]], np.float64))


def _has_content(a: Picture, overlap: NDArray[np.float32]) -> bool:
    """Tell whether the shared region shows something: a field with nothing in it proves nothing."""
    if len(overlap) < 3:
        return False
    inside = np.zeros(a.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, np.round(overlap).astype(np.int32), (1,))
    grey = cv2.GaussianBlur(a if a.ndim == 2 else a.mean(2), (0, 0), 2)
    held = grey[inside > 0]
    if held.size < 500:
        return False
    return bool(held.std() > 0.02 and held.std() > 0.4 * grey.std())


def has_bands(strip: Picture) -> bool:
    """Tell whether a strip shows two bands, or one with both ends: half a smooth blob is no evidence for anyone."""
    grey = cv2.GaussianBlur(np.rint(255 * strip).astype(np.uint8), (0, 0), 2)
    if grey.std() < 8:
        return False
    _, dark = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    count, _, stats, _ = cv2.connectedComponentsWithStats(dark)
    bands = [s for s in stats[1:count] if s[4] > 0.015 * dark.size]
    inside = [s for s in bands if s[0] > 2 and s[0] + s[2] < strip.shape[1] - 2]
    return len(bands) >= 2 or len(inside) == 1


def _merged(source: Picture, other: Picture | None, rng: Rng, detail: dict[str, Any]) -> Picture:
    if source.ndim == 3 or other is None:
        return source
    size = source.shape[:2]
    second = cv2.resize(other if other.ndim == 2 else other.mean(2), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    first = int(rng.integers(0, 3))
    detail["channel"] = first
    merged = np.zeros((*size, 3), np.float32)
    merged[..., first], merged[..., (first + int(rng.integers(1, 3))) % 3] = source, second
    return merged


def _channel(b: Picture, rng: Rng, detail: dict[str, Any]) -> Picture:
    if b.ndim == 2:
        return b
    spread = b.std((0, 1))
    index = detail.setdefault("channel", int(rng.choice(np.flatnonzero(spread >= 0.5 * spread.max()))))
    grey = np.ascontiguousarray(b[..., index])
    if rng.random() < 0.3:
        detail["false_colour"] = True
        return m.false_colour(grey, rng).image
    return grey


def _steps(category: str, b: Picture, rng: Rng, detail: dict[str, Any]) -> Sequence[tuple[str, m.Step]]:
    names: list[str] = {
        "mirror": [], "rotation": [], "scale": [], "crop": [], "perspective": [], "exact": [], "channel": [],
        "blot": ["gamma", "contrast"] if rng.random() < 0.5 else [str(rng.choice(["gamma", "contrast"]))],
    }.get(category, [category])  # fmt: skip
    if category == "blot" and rng.random() < 0.5:
        names.append(str(rng.choice(["jpeg", "noise", "blur"])))
    if category == "chain":
        tone = [str(n) for n in rng.choice(["gamma", "contrast", "inversion"], 1)]
        worn = [str(n) for n in rng.choice(["jpeg", "blur", "noise", "resample"], int(rng.integers(1, 3)), False)]
        names = [*tone, *worn]
        if rng.random() < 0.4:
            names.insert(0, str(rng.choice(["drawn", "erased", "cloned"])))
    if category in ("chain", "blot"):
        detail["steps"] = names
    return [(name, _step(name, b, rng, detail, gentle=category in ("chain", "blot"))) for name in names]


def _step(name: str, b: Picture, rng: Rng, detail: dict[str, Any], gentle: bool) -> m.Step:
    """Return one manipulation with a strength drawn from the range that the issue names."""
    if name == "gamma":
        value = round(float(rng.uniform(0.5, 0.8) if rng.random() < 0.5 else rng.uniform(1.25, 2.0)), 2)
        detail["gamma"] = value
        return lambda image, r: m.gamma(image, r, value)
    if name == "contrast":
        value = round(float(rng.uniform(0.5, 0.8) if rng.random() < 0.5 else rng.uniform(1.25, 1.9)), 2)
        detail["contrast"] = value
        return lambda image, r: m.contrast(image, r, value)
    if name == "inversion":
        return m.invert
    if name == "jpeg":
        quality = int(np.exp(rng.uniform(np.log(30 if gentle else 10), np.log(95))))
        detail["jpeg"] = quality
        return lambda image, r: m.jpeg(image, r, quality)
    if name == "blur":
        sigma = round(float(rng.uniform(0.6, 1.2 if gentle else 2.2)), 2)
        detail["blur_px"] = sigma
        return lambda image, r: m.blur(image, r, sigma)
    if name == "noise":
        sigma = round(float(rng.uniform(0.015, 0.03 if gentle else 0.07)), 3)
        detail["noise"] = sigma
        return lambda image, r: m.noise(image, r, sigma)
    if name == "resample":
        factor = round(float(rng.uniform(0.6 if gentle else 0.4, 0.9)), 2)
        detail["resample"] = factor
        return lambda image, r: m.resample(image, r, factor)
    if name == "drawn":
        return lambda image, r: m.chain(image, r, [m.letters, m.arrow, m.arrow, m.outline][: int(r.integers(2, 5))])
    if name == "erased":
        return lambda image, r: _erase(image, r)
    if name == "cloned":
        return lambda image, r: _clone(image, r)
    raise ValueError(f"no manipulation is called {name}")


def _busy_spot(image: Picture, rng: Rng, radius: float) -> tuple[float, float]:
    """Return a place (x, y) where something is to be seen, away from the border."""
    grey = image if image.ndim == 2 else image.mean(2)
    local = cv2.GaussianBlur(grey**2, (0, 0), radius) - cv2.GaussianBlur(grey, (0, 0), radius) ** 2
    edge = int(radius * 1.3) + 2
    inner = local[edge:-edge, edge:-edge] if min(local.shape) > 2 * edge + 8 else local
    bar = np.quantile(inner, 0.85)
    ys, xs = np.nonzero(inner >= bar)
    pick = int(rng.integers(len(ys)))
    offset = edge if inner is not local else 0
    return float(xs[pick] + offset), float(ys[pick] + offset)


def _erase(image: Picture, rng: Rng) -> m.Manipulated:
    radius = float(rng.uniform(0.07, 0.14)) * min(image.shape[:2])
    spot = _busy_spot(image, rng, radius)
    grey = image if image.ndim == 2 else image.mean(2)
    ground = np.median(grey) if abs(np.median(grey) - 0.5) > 0.2 else np.quantile(grey, rng.choice([0.05, 0.95]))
    if rng.random() < 0.35:
        return m.retouch(image, rng, spot, radius)
    return m.erase(image, rng, spot, radius, ramp_px=float(rng.uniform(2, 8)), value=float(ground))


def _clone(image: Picture, rng: Rng) -> m.Manipulated:
    height, width = image.shape[:2]
    side_w, side_h = int(rng.uniform(0.16, 0.28) * width), int(rng.uniform(0.16, 0.28) * height)
    x, y = _busy_spot(image, rng, min(side_w, side_h) / 2)
    x0, y0 = int(np.clip(x - side_w / 2, 0, width - side_w)), int(np.clip(y - side_h / 2, 0, height - side_h))
    to = (0, 0)
    for _ in range(50):
        to = int(rng.integers(0, width - side_w)), int(rng.integers(0, height - side_h))
        if abs(to[0] - x0) > side_w or abs(to[1] - y0) > side_h:
            break
    return m.clone(image, rng, (x0, y0, x0 + side_w, y0 + side_h), to, float(rng.uniform(0, 6)))


def _boxes(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, area in stats[1:count] if area > 9]
