"""Pairs of panels with known truth: planted re-use of every kind, and look-alikes that are not re-use.

They are made from whole micrographs (by split) and from blots drawn here, and serve to calibrate the probability of
a finding. Nothing in this file needs torch.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from twinscope import manipulate as m
from twinscope.pixels import Image
from twinscope.train import wear
from twinscope.train.strips import blot, cells, framed, loading, soft, spots

Rng = np.random.Generator
Float = m.Image


class Pair(NamedTuple):
    """Two panels (uint8), whether they show the same source, the category and the transform a -> b if they do."""

    a: Image
    b: Image
    same: bool
    category: str
    transform: m.Transform | None


class Pool(NamedTuple):
    """Whole micrographs of one split: file names by group, groups by modality, and the names drawn so far."""

    root: Path
    groups: dict[str, list[str]]
    modalities: dict[str, list[str]]
    drawn: list[str]


def pool(split: str, root: Path | None = None) -> Pool:
    """Return the micrographs of a split ("train", "val" or "test"). Raises FileNotFoundError without the data."""
    shared = Path(os.environ.get("TWINSCOPE_SHARED", Path(__file__).parents[3].parent / "shared"))
    root = root or shared / "data" / "micrographs"
    groups: dict[str, list[str]] = defaultdict(list)
    modalities: dict[str, set[str]] = defaultdict(set)
    with (root / "manifest.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["split"] == split and min(int(row["width"]), int(row["height"])) >= 200:
                groups[row["group"]].append(row["file"])
                modalities[row["modality"]].add(row["group"])
    return Pool(root, dict(groups), {k: sorted(v) for k, v in sorted(modalities.items())}, [])


def picture(source: Pool, file: str) -> Float:
    """Return one micrograph as float32 [0, 1], HxW when it has no colour."""
    data = cv2.imdecode(np.frombuffer((source.root / file).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    rgb = cv2.cvtColor(data, cv2.COLOR_BGR2RGB)
    flat = bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())
    return np.ascontiguousarray(rgb[..., 0] if flat else rgb).astype(np.float32) / np.float32(255)


def _draw_group(source: Pool, rng: Rng) -> str:
    modality = list(source.modalities)[int(rng.integers(len(source.modalities)))]
    names = source.modalities[modality]
    return names[int(rng.integers(len(names)))]


def field(source: Pool, rng: Rng, file: str | None = None) -> Float:
    """Return a random part of a micrograph, 260-520 px wide, with something to see in it."""
    group = _draw_group(source, rng)
    name = file or source.groups[group][int(rng.integers(len(source.groups[group])))]
    source.drawn.append(name)
    whole = picture(source, name)
    height, width = whole.shape[:2]
    best: Float = whole
    for _ in range(5):
        w = min(width, int(rng.integers(260, 520)))
        h = min(height, int(w * rng.uniform(0.7, 1.2)))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        best = whole[y : y + h, x : x + w]
        if best.std() > 0.02:
            break
    return best


def _erase(image: Float, rng: Rng) -> m.Manipulated:
    fill = float(np.median(image))
    return m.erase(image, rng, radius_px=rng.uniform(0.06, 0.14) * min(image.shape[:2]), ramp_px=3, value=fill)


def _clone(image: Float, rng: Rng) -> m.Manipulated:
    height, width = image.shape[:2]
    w, h = int(width * rng.uniform(0.12, 0.3)), int(height * rng.uniform(0.12, 0.3))
    x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
    return m.clone(image, rng, box=(x, y, x + w, y + h), feather_px=float(rng.choice([0, 3])))


def _drawn_over(image: Float, rng: Rng) -> m.Manipulated:
    steps: list[m.Step] = [m.letters, m.scale_bar, m.arrow, m.outline]
    picked = [steps[k] for k in rng.permutation(4)[: int(rng.integers(2, 5))]]
    return m.chain(image, rng, picked)


def _crop(image: Float, rng: Rng) -> m.Manipulated:
    return m.crop(image, rng, share=rng.uniform(0.27, 0.9))


def _rotate(image: Float, rng: Rng) -> m.Manipulated:
    return m.rotate(image, rng, fit=("inner", "same", "expand")[int(rng.integers(3))])


def _perspective(image: Float, rng: Rng) -> m.Manipulated:
    return m.perspective(image, rng, shift=rng.uniform(0.04, 0.14), fill=0.0)


def _channel(image: Float, rng: Rng) -> m.Manipulated:
    if image.ndim == 3:
        strongest = int(image.reshape(-1, 3).std(0).argmax())
        return m.one_channel(image, rng, channel=strongest)
    return m.false_colour(image, rng)


STEPS: dict[str, m.Step] = {
    "mirror": m.reflect,
    "rotation": _rotate,
    "scale": m.scale,
    "crop": _crop,
    "perspective": _perspective,
    "gamma": m.gamma,
    "contrast": m.contrast,
    "inversion": m.invert,
    "channel": _channel,
    "jpeg": m.jpeg,
    "blur": m.blur,
    "noise": m.noise,
    "resample": m.resample,
    "drawn-over": _drawn_over,
    "erased": _erase,
    "cloned": _clone,
}


def exact(image: Float, rng: Rng) -> m.Manipulated:
    """Return the picture as it is."""
    return m.chain(image, rng, [])


def chained(image: Float, rng: Rng) -> m.Manipulated:
    """Apply two to four manipulations of different kinds."""
    geometric = ["mirror", "rotation", "scale", "crop", "perspective"]
    tonal = ["gamma", "contrast", "inversion", "jpeg", "blur", "noise", "resample", "drawn-over", "erased", "cloned"]
    names = list(rng.permutation(geometric)[: int(rng.integers(1, 3))])
    names += list(rng.permutation(tonal)[: int(rng.integers(1, 3))])
    return m.chain(image, rng, [STEPS[name] for name in names])


def _worn(image: Float, rng: Rng) -> m.Manipulated:
    """Wear a picture down by three of noise, compression, blur, re-sampling and contrast, stronger than is usual."""
    steps: list[m.Step] = [
        lambda x, r: m.noise(x, r, r.uniform(0.05, 0.12)),
        lambda x, r: m.jpeg(x, r, int(r.integers(8, 40))),
        lambda x, r: m.blur(x, r, r.uniform(1.5, 3.0)),
        lambda x, r: m.resample(x, r, r.uniform(0.3, 0.6)),
        m.contrast,
    ]
    return m.chain(image, rng, [steps[k] for k in rng.permutation(len(steps))[:3]])


def _long_chain(image: Float, rng: Rng) -> m.Manipulated:
    """Turn, mirror and scale a picture, give it another tone, wear it once or twice, and now and then edit it."""
    steps: list[m.Step] = [
        step for step, share in ((m.reflect, 0.5), (_rotate, 0.6), (m.scale, 0.7)) if rng.random() < share
    ]
    if rng.random() < 0.4:
        steps.append((_drawn_over, _erase, _clone)[int(rng.integers(3))])
    steps.append((m.gamma, m.contrast, m.invert)[int(rng.integers(3))])
    worn: list[m.Step] = [m.jpeg, m.blur, m.noise, m.resample]
    steps += [worn[k] for k in rng.permutation(4)[: int(rng.integers(1, 3))]]
    return m.chain(image, rng, steps)


def overlapping(image: Float, rng: Rng) -> tuple[Float, Float, m.Transform]:
    """Return two windows of a picture that share 27-80 % of each, and the shift between them."""
    height, width = image.shape[:2]
    share = rng.uniform(0.27, 0.8)
    fx = rng.uniform(share, 1.0)
    fy = share / fx
    w, h = int(width / (2 - fx)), int(height / (2 - fy))
    dx, dy = width - w, height - h
    flip = rng.random() < 0.5
    y_a, y_b = (dy, 0) if flip else (0, dy)
    a, b = image[y_a : y_a + h, :w], image[y_b : y_b + h, dx : dx + w]
    return a, b, np.array([[1, 0, -dx], [0, 1, y_a - y_b], [0, 0, 1]], np.float64)


def byte(image: Float, rng: Rng | None = None) -> Image:
    """Return uint8; with an rng, compressed as in a manuscript (JPEG 80-95 or lossless)."""
    if rng is not None and rng.random() < 0.7:
        image = m.jpeg(image, rng, quality=int(rng.integers(80, 96))).image
    return np.asarray(np.clip(image * 255 + 0.5, 0, 255), np.uint8)


def planted(source: Pool, rng: Rng, category: str) -> Pair:
    """Return a pair that shows the same source, altered as `category` says."""
    strip = category in ("blot", "soft blot", "spots")
    if category == "loading control":
        return cut_twice(loading(rng, int(rng.integers(3, 8)), int(rng.integers(2**31))), rng, category)
    image = field(source, rng)
    if strip:
        image = (
            blot(rng, even=float(rng.choice([0.1, 0.5, 1.0])))
            if category != "spots"
            else spots(rng, int(rng.integers(2, 4)), int(rng.integers(3, 6)), 0.5)
        )
    if category == "soft blot":
        image = soft(image, rng)
    if category == "lone cells":
        image = lone_cells(source, rng)[0]
    if category == "channel":
        for _ in range(6):
            if image.ndim == 3:
                break
            image = field(source, rng)
    if category == "overlap":
        a, b, shift = overlapping(image, rng)
        return Pair(byte(a, rng), byte(b, rng), True, category, shift)
    if category == "long chain":
        a, b, shift = overlapping(image, rng)
        done = _long_chain(b, rng)
        return Pair(byte(a, rng), byte(done.image, rng), True, category, done.transform @ shift)
    if strip and category != "spots" and rng.random() < 0.6:
        return cut_twice(image, rng, category)
    if strip:
        kinds = [m.reflect, m.gamma, m.contrast, m.scale, m.jpeg, m.blur, exact, m.noise]
        steps: list[m.Step] = [kinds[k] for k in rng.permutation(len(kinds))[: int(rng.integers(1, 3))]]
        done = m.chain(image, rng, steps)
    elif category == "lone cells":
        steps = [m.reflect, m.gamma, m.contrast, m.scale, m.jpeg, m.blur, m.noise, _rotate, _crop]
        done = m.chain(image, rng, [steps[k] for k in rng.permutation(len(steps))[: int(rng.integers(1, 4))]])
    elif category == "worn":
        done = _worn(image, rng)
    elif category == "exact":
        done = exact(image, rng)
    elif category == "chain":
        done = chained(image, rng)
    else:
        done = STEPS[category](image, rng)
    return Pair(byte(image, rng), byte(done.image, rng), True, category, done.transform)


def cut_twice(strip: Float, rng: Rng, category: str) -> Pair:
    """Return two cuts of one strip, the second mirrored or turned (half around or a little), toned and worn."""
    height, width = strip.shape
    tall, wide = (int(side * rng.uniform(0.6, 1.0)) for side in (height, width))
    mirror, turn = rng.random() < 0.5, float(rng.choice([0, 0, 0, 180, rng.uniform(-4, 4)]))
    grown = float(np.exp(rng.uniform(np.log(0.7), np.log(1.5))))
    centre = np.array([width / 2, height / 2]) + rng.uniform(-0.12, 0.12, 2) * (width, height)
    move = np.eye(3)
    move[:2] = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, grown)
    move[:2, 2] += grown * np.array([wide, tall]) / 2 - centre
    if mirror:
        move = np.array([[-1, 0, grown * wide - 1], [0, 1, 0], [0, 0, 1.0]]) @ move
    second = m.warp(strip, move, (max(20, round(grown * tall)), max(20, round(grown * wide))), None).image
    tones = [m.gamma, lambda image, r: m.contrast(image, r, float(np.exp(r.uniform(np.log(0.5), np.log(2)))))]
    tones = [tones[k] for k in rng.permutation(2)[: int(rng.integers(1, 3))]]
    worn = [[m.jpeg, m.noise, m.blur][int(rng.integers(3))]] if rng.random() < 0.5 else []
    second = m.chain(second, rng, [*tones, *worn]).image
    if category == "loading control":
        strip, second = framed(strip, rng), framed(second, rng)
    return Pair(byte(strip, rng), byte(second, rng), True, category, move)


def lone_cells(source: Pool, rng: Rng, without: str = "") -> tuple[Float, str]:
    """Return a dark field with a bright object or few in it, and the group it is from, which is not `without`.

    Half of them are drawn, or all where the split has no such field.
    """
    names = [name for name in source.modalities.get("fluorescence", []) if name != without]
    for _ in range(8 if names and rng.random() < 0.6 else 0):
        name = names[int(rng.integers(len(names)))]
        file = source.groups[name][int(rng.integers(len(source.groups[name])))]
        whole = picture(source, file)
        grey = cv2.GaussianBlur(whole if whole.ndim == 2 else whole.max(2), (0, 0), 1.5)
        low, high = (float(v) for v in np.quantile(grey, (0.5, 0.998)))
        count, _, stats, _ = cv2.connectedComponentsWithStats((grey > (low + high) / 2).astype(np.uint8))
        fit = [row for row in stats[1:count] if 80 < row[4] < 0.05 * grey.size]
        if low > 0.3 * high or high < 0.1 or not fit:
            continue
        source.drawn.append(file)
        x, y, w, h, _ = (int(v) for v in fit[int(rng.integers(len(fit)))])
        wide, tall = (int(min(side, max(w, h) * rng.uniform(1.6, 5))) for side in (grey.shape[1], grey.shape[0]))
        left = int(np.clip(x + w / 2 - wide * rng.uniform(0.25, 0.75), 0, grey.shape[1] - wide))
        top = int(np.clip(y + h / 2 - tall * rng.uniform(0.25, 0.75), 0, grey.shape[0] - tall))
        part = np.clip(
            whole[top : top + tall, left : left + wide] / np.float32(min(1.0, high * rng.uniform(1, 1.5))), 0, 1
        )
        scale = rng.uniform(180, 420) / max(wide, tall)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return np.clip(cv2.resize(part, None, fx=scale, fy=scale, interpolation=how), 0, 1), name
    return cells(rng), ""


def _lone_pair(source: Pool, rng: Rng) -> tuple[Float, Float]:
    a, name = lone_cells(source, rng)
    return a, lone_cells(source, rng, name)[0]


def _neighbours(source: Pool, rng: Rng) -> tuple[Float, Float]:
    image = field(source, rng)
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        return image[:, : width // 2 - 2], image[:, width // 2 + 2 :]
    return image[: height // 2 - 2], image[height // 2 + 2 :]


APART = ("dsb2018", "bbbc039", "axondeepseg_sem", "openslide_crops", "trackpy_examples")
"""Sources whose images of one group show different ground; others may hold channels or overlapping fields."""


def _same_group(source: Pool, rng: Rng) -> tuple[Float, Float]:
    fit = [files for name, files in source.groups.items() if name.split("/")[0] in APART and len(files) > 1]
    if not fit:
        return _neighbours(source, rng)
    files = fit[int(rng.integers(len(fit)))]
    i, j = rng.permutation(len(files))[:2]
    return field(source, rng, files[i]), field(source, rng, files[j])


def _same_modality(source: Pool, rng: Rng) -> tuple[Float, Float]:
    names = list(source.modalities.values())[int(rng.integers(len(source.modalities)))]
    a, b = (names[int(k)] for k in (rng.permutation(len(names))[:2] if len(names) > 1 else (0, 0)))
    if a == b:
        return _neighbours(source, rng)
    return field(source, rng, source.groups[a][0]), field(source, rng, source.groups[b][0])


def _soft_blots(source: Pool, rng: Rng) -> tuple[Float, Float]:
    a, b = _blots(source, rng)
    seed = int(rng.integers(2**31))
    if rng.random() < 0.3:
        return soft(a, rng), soft(b, rng)
    size = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])
    one, other = (soft(strip[: size[0], : size[1]], np.random.default_rng(seed)) for strip in (a, b))
    return one, other


def _plates(source: Pool, rng: Rng) -> tuple[Float, Float]:
    shape = int(rng.integers(2, 4)), int(rng.integers(3, 6))
    dilution = float(rng.uniform(0.3, 0.9))
    return spots(rng, *shape, dilution), spots(rng, *shape, dilution * float(rng.uniform(0.8, 1.0)))


def _blots(source: Pool, rng: Rng) -> tuple[Float, Float]:
    count = int(rng.integers(3, 9))
    layout = rng.uniform(0.1, 1, count).astype(np.float32)
    if rng.random() < 0.3:
        layout = np.full(count, 0.9, np.float32)
    even = float(rng.choice([0.1, 0.2, 0.6, 1.0]))
    seed = int(rng.integers(2**31))  # the strips of one paper have bands of one shape
    return blot(rng, count, layout, even, seed), blot(rng, count, layout, even, seed)


def _loading_controls(source: Pool, rng: Rng) -> tuple[Float, Float]:
    lanes, shape = int(rng.integers(3, 8)), int(rng.integers(2**31))
    a, b = (loading(rng, lanes if rng.random() < 0.8 else int(rng.integers(3, 8)), shape) for _ in range(2))
    return framed(a, rng), framed(b, rng)


def _blank(source: Pool, rng: Rng) -> tuple[Float, Float]:
    def one() -> Float:
        size = (int(rng.integers(120, 400)), int(rng.integers(120, 400)))
        level = float(rng.choice([0.0, 0.02, 0.95, 1.0, 0.5]))
        ramp = np.linspace(0, rng.uniform(0, 0.06), size[1], dtype=np.float32)
        grain = rng.uniform(0, 0.02) * rng.standard_normal(size)
        return np.clip(level + ramp + grain, 0, 1).astype(np.float32)

    return one(), one()


def _periodic(source: Pool, rng: Rng) -> tuple[Float, Float]:
    pitch, angle = rng.uniform(8, 40), rng.uniform(0, np.pi)
    square = rng.random() < 0.5

    def one() -> Float:
        y, x = np.mgrid[0 : int(rng.integers(180, 400)), 0 : int(rng.integers(180, 400))].astype(np.float32)
        u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        wave = np.cos(2 * np.pi * u / pitch + rng.uniform(0, 6))
        wave = wave + (np.cos(2 * np.pi * v / pitch + rng.uniform(0, 6)) if square else 0)
        grain = rng.uniform(0.01, 0.05) * rng.standard_normal(x.shape)
        return np.asarray(np.clip(0.5 + 0.2 * wave + grain, 0, 1), np.float32)

    return one(), one()


def _marked(source: Pool, rng: Rng) -> tuple[Float, Float]:
    """Two fields of one group, or two blank ones, with the same letters and scale bar drawn at the same place."""
    a, b = _same_group(source, rng) if rng.random() < 0.7 else _blank(source, rng)
    h, w = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])
    a, b = a[:h, :w], b[:h, :w]
    seed = int(rng.integers(2**31))
    steps: list[m.Step] = [m.letters, m.scale_bar, m.arrow]
    return (
        m.chain(a, np.random.default_rng(seed), steps).image,
        m.chain(b, np.random.default_rng(seed), steps).image,
    )


LOOKALIKES: dict[str, Callable[[Pool, Rng], tuple[Float, Float]]] = {
    "neighbours": _neighbours,
    "same group": _same_group,
    "same modality": _same_modality,
    "blots alike": _blots,
    "soft blots": _soft_blots,
    "spot plates": _plates,
    "blank": _blank,
    "periodic": _periodic,
    "same marks": _marked,
    "lone cells": _lone_pair,
    "loading controls": _loading_controls,
}
CATEGORIES = (
    "exact", *STEPS, "overlap", "blot", "soft blot", "spots", "chain", "long chain", "worn", "lone cells",
    "loading control",
)  # fmt: skip


def lookalike(source: Pool, rng: Rng, category: str) -> Pair:
    """Return a pair that does not show the same source but may look like it."""
    a, b = LOOKALIKES[category](source, rng)
    if rng.random() < 0.3:
        choices: list[m.Step] = [m.gamma, m.contrast, m.reflect, m.jpeg]
        b = m.chain(b, rng, [choices[int(rng.integers(4))]]).image
    return Pair(byte(a, rng), byte(b, rng), False, category, None)


def noises(rng: Rng) -> Pair:
    """Return two pictures of nothing but noise of one kind: white or soft, strong or faint, even or of counted light,
    on flat ground or on one that is brighter in the middle.
    """
    height, width = (int(v) for v in rng.integers(48, 260, 2))
    level, spread, soft = rng.uniform(0.05, 0.6), np.exp(rng.uniform(np.log(0.02), np.log(0.25))), rng.random() < 0.5
    sigma, counted, bright = float(np.exp(rng.uniform(-0.5, 2))), rng.random() < 0.3, rng.uniform(0, 0.3)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    ground = np.maximum(level - bright * (x * x + y * y) / 2, 0)
    both = []
    for _ in range(2):
        if counted:
            light = 1 / spread
            picture = rng.poisson(ground * light) / light
        else:
            grain = rng.standard_normal((height, width))
            if soft:
                grain = cv2.GaussianBlur(grain, (0, 0), sigma)
            picture = ground + spread * grain / grain.std()
        both.append(byte(np.clip(picture, 0, 1).astype(np.float32), rng))
    return Pair(both[0], both[1], False, "noise", None)


def corrupted(source: Pool, rng: Rng, same: bool) -> Pair:
    """Return a square picture and the same, or another part of the same micrograph, after a change that `wear` draws.

    ImageNet-C at every severity, smooth warps, another size, JPEG from 40 on: what the comparator calls benign.
    """
    for _ in range(8):
        a, b = (field(source, rng),) * 2 if same else _neighbours(source, rng)
        side = min(*a.shape[:2], *b.shape[:2])
        a, b = a[:side, :side], b[:side, :side]
        drawn = wear.drawn_wear(rng, side, b.ndim == 2)
        flow, seen, _ = wear.flow_of(drawn.moves(side), side)
        transform = wear.nearest(flow, seen, rng)
        if transform is not None:
            break
    else:
        raise ValueError("eight changes in a row left nothing of the picture")
    worn = byte(wear.worn_down(b, drawn, rng))
    return Pair(byte(a, rng), worn, same, "corrupted", transform if same else None)
