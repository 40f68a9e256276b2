"""Make sets of panels that look alike and are not duplicates."""

from __future__ import annotations

import charts
import cv2
import draw
import numpy as np
import plant
import sources
from numpy.typing import NDArray
from paper import Drawing, stamp

Rng = np.random.Generator
Picture = NDArray[np.float32]
Size = tuple[int, int]
PICTURE_SETS = ("same-slide", "neighbours", "blank", "periodic", "labels")
_ground: dict[tuple[str, str], bool] = {}


def fit_window(source: Picture, size: Size, rng: Rng, step: float | None = None) -> Picture:
    """Return a random window of a source at a size in px; `step` is source px per panel px."""
    most = min((source.shape[0] - 1) / size[0], (source.shape[1] - 1) / size[1])
    wanted = float(rng.uniform(0.7, 1.5)) if step is None else step
    step = min(most, wanted)
    room = np.array([source.shape[1] - 1 - step * size[1], source.shape[0] - 1 - step * size[0]])
    x, y = rng.uniform(0, 1, 2) * np.maximum(room, 0)
    move = np.linalg.inv(np.array([[step, 0, x], [0, step, y], [0, 0, 1]], np.float64))
    return plant.m.warp(source, move, size, None).image


def same_slide(groups: dict[str, list[sources.Source]], sizes: list[Size], used: set[str], rng: Rng) -> list[Picture]:
    """Return different fields of one group that share no ground (fewer where the group has no more)."""
    names = [n for n, g in groups.items() if n not in used and len(g) > 1 and g[0].origin in sources.SLIDES]
    names = [n for n in names if groups[n][0].origin != "holo2bright"]
    for name in rng.permutation(names)[:12]:
        members = [groups[str(name)][i] for i in rng.permutation(len(groups[str(name)]))[:8]]
        chosen: list[sources.Source] = []
        for member in members:
            alike = all(member.modality == c.modality and member.size == c.size for c in chosen)
            if alike and not any(_same_ground(member.file, c.file) for c in chosen):
                chosen.append(member)
            if len(chosen) == len(sizes):
                break
        if len(chosen) >= 2:
            used.add(str(name))
            step = float(rng.uniform(0.7, 1.3))
            light = stretch_limit(sources.pixels(chosen[0].file), rng)
            return [
                fit_window(np.minimum(sources.pixels(c.file) / light, 1).astype(np.float32), size, rng, step)
                for c, size in zip(chosen, sizes, strict=False)
            ]
    return []


def neighbours(groups: dict[str, list[sources.Source]], sizes: list[Size], used: set[str], rng: Rng) -> list[Picture]:
    """Return two crops of one image that lie beside each other without a common pixel."""
    (ha, wa), (hb, wb) = sizes[:2]
    names = [str(n) for n in rng.permutation([n for n in groups if n not in used])]
    for name in names:
        source = groups[name][int(rng.integers(len(groups[name])))]
        height, width = source.size
        gap = int(rng.integers(2, 9))
        along = (width - gap - 3) / (wa + wb), (height - 3) / max(ha, hb)
        down = (width - 3) / max(wa, wb), (height - gap - 3) / (ha + hb)
        sideways = min(along) >= min(down)
        step = min(min(along if sideways else down), 1.2)
        if step < 0.7:
            continue
        image = sources.pixels(source.file)
        image = np.minimum(image / stretch_limit(image, rng), 1).astype(np.float32)
        x = float(rng.uniform(0, max(0, width - 3 - (step * (wa + wb) + gap if sideways else step * max(wa, wb)))))
        y = float(rng.uniform(0, max(0, height - 3 - (step * max(ha, hb) if sideways else step * (ha + hb) + gap))))
        corners = [(x, y), (x + step * wa + gap, y) if sideways else (x, y + step * ha + gap)]
        out = []
        for (cx, cy), size in zip(corners, sizes[:2], strict=True):
            move = np.linalg.inv(np.array([[step, 0, cx], [0, step, cy], [0, 0, 1]], np.float64))
            out.append(plant.m.warp(image, move, size, None).image)
        if min(p.std() for p in out) > 0.02:
            used.add(name)
            return out
    return []


def blank(sizes: list[Size], rng: Rng) -> list[Picture]:
    """Return empty or saturated fields."""
    level = float(rng.choice([0.02, 0.06, 0.5, 0.9, 1.0]))
    return [np.clip(draw.blank(rng, size, level + (0.03 if level == 1 else 0)), 0, 1) for size in sizes]


def periodic(sizes: list[Size], rng: Rng) -> list[Picture]:
    """Return fields of one periodic texture: the same pitch and angle, other phase and noise."""
    pitch, angle, make = float(rng.uniform(9, 26)), float(rng.uniform(0, 90)), draw.lattice
    if rng.random() < 0.5:
        make = draw.stripes
    return [make(rng, size, pitch, angle) for size in sizes]


def mark(pictures: list[NDArray[np.uint8]], rng: Rng) -> None:
    """Draw the same logo, label and scale bar into every picture, in place."""
    text = str(rng.choice(["DAPI 40x", "ImageLab 3.1", "t = 24 h", "Anti-CD31", "Z = 12 um"]))
    logo = str(rng.choice(["NIKO", "ZYSS", "LEYKA"]))
    for picture in pictures:
        value = 255 if picture.mean() < 128 else 0
        tall = 18.0
        stamp(picture, text, (6, 4), tall, value)
        width, height = picture.shape[1], picture.shape[0]
        x, y = width - 62, height - 30
        if x > 4 and y > 30:
            box = (x, y), (x + 56, y + 22)
            colour = (30, 60, 160) if picture.ndim == 3 else (90, 90, 90)
            cv2.rectangle(picture, *box, colour, -1)
            stamp(picture, logo, (x + 6, y + 2), 15, 255)
        cv2.rectangle(picture, (8, height - 12), (8 + 60, height - 9), (value,) * 3, -1)


def same_axes(count: int, sizes_pt: list[tuple[float, float]], rng: Rng) -> list[Drawing]:
    """Return charts with the same axes, names and style and other data."""
    make = charts.CHARTS[int(rng.integers(len(charts.CHARTS)))]
    seed = int(rng.integers(2**31))
    return [
        make(np.random.default_rng(seed), *sizes_pt[i], np.random.default_rng(int(rng.integers(2**31))))
        for i in range(count)
    ]


def blot_patches(hosts: dict[str, list[sources.Patch]], sizes: list[Size], used: set[str], rng: Rng) -> list[Picture]:
    """Return crops of two patches of one host that share no ground, or [] where no host is left."""
    shared = sources.overlapping_patches()
    for host in rng.permutation([h for h in hosts if h not in used]):
        patches = [hosts[str(host)][i] for i in rng.permutation(len(hosts[str(host)]))]
        common = {frozenset(pair) for pair in shared.get(str(host), [])}
        for i, a in enumerate(patches):
            for b in patches[i + 1 :]:
                if frozenset((a.number, b.number)) in common:
                    continue
                crops = [blot_crop(p, size, rng) for p, size in zip((a, b), sizes, strict=False)]
                if all(c is not None for c in crops):
                    used.add(str(host))
                    return [c for c in crops if c is not None]
    return []


def blot_crop(patch: sources.Patch, size: Size, rng: Rng) -> Picture | None:
    """Return one clean crop of a patch at a size in px."""
    boxes = sources.clean_boxes(patch, rng)
    if not boxes:
        return None
    x0, y0, x1, y1 = boxes[int(rng.integers(min(3, len(boxes))))]
    return fit_window(sources.patch_pixels(patch)[0][y0:y1, x0:x1], size, rng, 1.0)


def drawn_blots(sizes: list[Size], rng: Rng) -> list[Picture]:
    """Return drawn strips with the same lanes and strengths, each band drawn anew."""
    lanes = int(rng.integers(3, 8))
    strength = rng.uniform(0.25, 1, (1, lanes))
    return [draw.blot(rng, size, lanes, 1, strength) for size in sizes]


def stretch_limit(image: Picture, rng: Rng) -> float:
    """Return the grey value to show as white: often that of the brightest pixels, else 1 (near-black stays so)."""
    top = float(np.quantile(image, 0.999))
    return max(top, 0.08) if top < 0.9 and rng.random() < 0.6 else 1.0


def _same_ground(a: str, b: str) -> bool:
    key = (min(a, b), max(a, b))
    if key not in _ground:
        _ground[key] = sources.same_ground(sources.pixels(key[0]), sources.pixels(key[1]))
    return _ground[key]
