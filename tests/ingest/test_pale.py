"""Pictures on a nearly white ground: cut at the end of the ground, not at the end of their bands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.ingest import compose
from tests.ingest.compose import Composed, Panel

from twinscope.ingest import pale, panels

DRAWN = ("graph", "diagram")


def film(rng: np.random.Generator, kind: str, height: int, width: int) -> compose.Image:
    """Draw bands on film that is a level or a few from white, clipped in places."""
    layer = np.zeros((height, width), np.float32)
    lanes = int(rng.integers(2, 4))
    for lane in range(lanes):
        spot = int((lane + rng.uniform(0.35, 0.65)) * width / lanes), int(height * rng.uniform(0.4, 0.7))
        axes = int(width / lanes * rng.uniform(0.2, 0.42)), max(3, int(height * rng.uniform(0.05, 0.12)))
        cv2.ellipse(layer, spot, axes, 0, 0, 360, float(rng.uniform(0.5, 1.5)), -1)
    bands = np.minimum(cv2.GaussianBlur(layer, (0, 0), 4), 1) * 225
    ground = 252 + rng.uniform(1, 2) * compose.noise(rng, height, width, 12) + rng.normal(0, 1.2, (height, width))
    return np.repeat(np.clip(ground - bands, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def row(rng: np.random.Generator, gutter: int, count: int = 3) -> Composed:
    """Draw a row of pale strips with a name beside, over a row of dark micrographs, all with letters above."""
    width, height, left = int(rng.integers(180, 260)), int(rng.integers(90, 140)), 70
    out = np.full((height + 300, left + count * (width + gutter) + 12, 3), 255, np.uint8)
    found = []
    compose.text(out, "pAkt", 8, 40 + height // 2, 14)
    for index in range(count):
        x = left + index * (width + gutter)
        out[30 : 30 + height, x : x + width] = film(rng, "blot", height, width)
        compose.text(out, "ABC"[index], x + 2, 22, 16)
        found.append(Panel("blot", (x, 30, x + width, 30 + height)))
        y = 30 + height + 34
        dark = np.clip(rng.normal(30, 6, (180, width, 1)) + 60 * compose.noise(rng, 180, width, 6)[..., None], 4, 255)
        out[y : y + 180, x : x + width] = dark.astype(np.uint8)
        found.append(Panel("micrograph", (x, y, x + width, y + 180)))
    return Composed(out, found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gutter", [6, 9, 16])
def test_strips_on_white_film_are_whole(seed: int, gutter: int) -> None:
    figure = row(np.random.default_rng([seed, gutter]), gutter)
    found = panels.split(figure.image)
    for panel in figure.panels:
        best = max(found, key=lambda piece: compose.iou(panel.box, piece.box))
        assert compose.iou(panel.box, best.box) > 0.95, (panel, [piece.box for piece in found])
        assert best.kind not in DRAWN
    assert len(found) == len(figure.panels)


def stain_and_dark(seed: int, gutter: int, quality: int) -> tuple[compose.Image, list[tuple[int, int, int, int]]]:
    """Draw a stain on ground that is all but white beside a dark picture, as a JPEG whose noise fills the gutter."""
    rng, side = np.random.default_rng(seed), 240
    figure = np.full((side + 20, 2 * side + gutter + 20, 3), 255, np.uint8)
    y, x = np.mgrid[0:side, 0:side]
    cover = (np.hypot(y - 0.6 * side, x - 0.4 * side) < 0.33 * side).astype(np.float32)
    cover = cv2.GaussianBlur(cover, (0, 0), 6) * (90 + 30 * np.clip(compose.noise(rng, side, side, 14), -2, 2))
    pale = np.clip(255 - 2 * (rng.random((side, side)) < 0.6) - cover, 0, 255)
    dark = np.clip(rng.normal(30, 6, (side, side)) + 50 * compose.noise(rng, side, side, 6), 4, 220)
    boxes = [(10, 10, 10 + side, 10 + side), (10 + side + gutter, 10, 10 + 2 * side + gutter, 10 + side)]
    for (x0, y0, x1, y1), part in zip(boxes, (pale, dark), strict=True):
        figure[y0:y1, x0:x1] = part.astype(np.uint8)[..., None]
    kept = cv2.imdecode(cv2.imencode(".jpg", figure, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return np.asarray(kept, np.uint8), boxes


@pytest.mark.parametrize("gutter", [4, 8, 10])
@pytest.mark.parametrize("quality", [70, 85])
def test_a_pale_picture_ends_at_its_dark_neighbour(gutter: int, quality: int) -> None:
    for seed in range(3):
        image, boxes = stain_and_dark(seed, gutter, quality)
        found = [piece.box for piece in panels.split(image)]
        assert len(found) == 2
        assert all(max(compose.iou(box, other) for other in found) > 0.9 for box in boxes)


def test_a_field_is_parted_beside_a_picture_in_it_and_only_there() -> None:
    image, (pale_box, dark_box) = stain_and_dark(1, 10, 70)
    field = (8, 8, 504, 256)
    assert panels._beside(image, field, [dark_box], 30) == [(8, 8, dark_box[0], 256)]
    inside = (pale_box[0] + 60, pale_box[1] + 60, pale_box[0] + 120, pale_box[1] + 120)
    assert panels._beside(image, field, [inside], 30) == [field]
    soft = (300, 10, 400, 250)
    assert panels._beside(image, field, [soft], 30) == [field]
    twins = [(100, 10, 200, 250), (300, 10, 400, 250), (420, 10, 520, 250)]
    assert panels._beside(image, field, twins, 30) == [(8, 8, 100, 256), (200, 8, 300, 256), (400, 8, 504, 256)]


def test_a_name_beside_a_strip_is_not_ground() -> None:
    figure = row(np.random.default_rng(3), 14)
    strip = figure.panels[0].box
    marks = pale.trace(figure.image)
    assert marks is not None
    inner = strip[0] + 25, strip[1], strip[2], strip[3]
    assert pale.grown(figure.image, marks, [inner]) == [strip]


def test_ground_ends_at_a_neighbour() -> None:
    rng = np.random.default_rng(4)
    image = np.full((120, 420, 3), 255, np.uint8)
    image[10:110, 10:200] = film(rng, "blot", 100, 190)
    image[10:110, 202:400] = film(rng, "blot", 100, 198)
    marks = pale.trace(image)
    assert marks is not None
    left, right = pale.grown(image, marks, [(60, 10, 200, 110), (202, 10, 400, 110)])
    assert left == (10, 10, 200, 110)
    assert right == (202, 10, 400, 110)
    assert pale.grown(image, marks, [(60, 10, 200, 110), (202, 10, 400, 110)], [(60, 10, 200, 110)])[0][0] == 60


def test_what_has_no_pure_white_has_no_trace() -> None:
    assert pale.trace(np.full((60, 80, 3), 252, np.uint8)) is None
