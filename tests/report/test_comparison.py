"""comparison.png: both pictures, what they share, and the words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twinscope import pixels
from twinscope.report import comparison
from twinscope.types import Finding, Origin, Panel, Provenance, Screening

SHA = "0" * 64


@pytest.fixture
def case(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    (tmp_path / "panels").mkdir()
    (tmp_path / "heatmaps").mkdir()
    pixels.write_png(tmp_path / "panels" / "d1-1.png", rng.integers(90, 120, (120, 200)).astype(np.uint8))
    pixels.write_png(tmp_path / "panels" / "d2-1.png", rng.integers(90, 120, (200, 120, 3)).astype(np.uint8))
    pixels.write_png(tmp_path / "heatmaps" / "f1-b.png", np.full((200, 120), 255, np.uint8))
    return tmp_path


def screening(*, found: bool, heatmap: bool = True) -> Screening:
    panels = tuple(
        Panel(id=f"d{n}-1", figure=f"d{n}", kind="micrograph", size=size, source=Origin(path=f"{n}.png", sha256=SHA))
        for n, size in ((1, (120, 200)), (2, (200, 120)))
    )
    finding = Finding(
        id="f1",
        kind="overlap",
        a="d1-1",
        b="d2-1",
        verdict="manipulated",
        probability=0.97,
        expected_false=0.01,
        region_a=(20, 10, 180, 110),
        region_b=(10, 20, 110, 180),
        transform=((0, -1, 120), (1, 0, 0), (0, 0, 1)),
        steps=("rotated 90° clockwise", "gamma 0.7"),
        changes=((40, 60, 80, 90),),
        heatmap_b="heatmaps/f1-b.png" if heatmap else None,
    )
    return Screening(
        inputs=(),
        panels=panels,
        findings=(finding,) if found else (),
        seconds=1,
        provenance=Provenance(twinscope="0", settings_sha256=SHA),
    )


def has(image: pixels.Image, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(axis=2).any())


def test_the_picture_marks_what_is_shared_and_what_is_changed(case: Path) -> None:
    path = comparison.write(screening(found=True), case)
    image = pixels.read_png(path)
    assert path == case / "comparison.png"
    assert has(image, comparison.SHARED)
    assert has(image, comparison.CHANGED)
    widths = [480, 288, 288]
    assert image.shape[1] == sum(widths) + 4 * comparison.GAP_PX


def test_region_a_lies_where_the_finding_says(case: Path) -> None:
    image = pixels.read_png(comparison.write(screening(found=True), case))
    first = image[:, : comparison.GAP_PX + 480]
    ys, xs = np.nonzero((first == comparison.SHARED).all(axis=2))
    scale = 480 / 200
    corners = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    expected = [comparison.GAP_PX + value * scale for value in (20, 10, 180, 110)]
    np.testing.assert_allclose(corners, expected, atol=2)


def test_no_heatmap_no_third_picture(case: Path) -> None:
    image = pixels.read_png(comparison.write(screening(found=True, heatmap=False), case))
    assert image.shape[1] == 480 + 288 + 3 * comparison.GAP_PX


def test_without_a_finding_both_are_shown_and_nothing_is_marked(case: Path) -> None:
    image = pixels.read_png(comparison.write(screening(found=False), case))
    assert image.shape[1] == 480 + 288 + 3 * comparison.GAP_PX
    assert not has(image, comparison.SHARED)
