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
