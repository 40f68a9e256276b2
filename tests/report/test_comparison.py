"""comparison.png: both pictures, what they share, and the words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twinscope import pixels
from twinscope.report import comparison, edits, printed
from twinscope.types import Classes, Edit, Finding, Origin, Panel, Provenance, Screening

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
    assert has(image[:, 512:], comparison.CHANGED)
    assert not has(image[:, :496], comparison.CHANGED)
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


def test_the_tick_stands_on_the_edge_that_is_the_top_one_in_a(case: Path) -> None:
    """b is a turned clockwise: the top edge of a is the right edge of the region in b."""
    image = pixels.read_png(comparison.write(screening(found=True), case))
    green = (image == comparison.SHARED).all(axis=2)
    a, b = green[:320, 16:496], green[:500, 512:800]
    scale = 480 / 200
    tick_a = a[round(10 * scale) + 16 + 5 : round(10 * scale) + 16 + 14]
    assert tick_a[:, round(100 * scale) - 2 : round(100 * scale) + 3].all()
    assert tick_a.sum() == pytest.approx(7 * 9 + 2 * 3 * 9, abs=12)
    tick_b = b[:, round(110 * scale) - 14 : round(110 * scale) - 5]
    rows = np.flatnonzero(tick_b.all(axis=1))
    assert 16 + 100 * scale - 6 < rows.mean() < 16 + 100 * scale + 6
    left = b[:, round(10 * scale) + 5 : round(10 * scale) + 14]
    assert not left[80:430].all(axis=1).any()


def test_pictures_go_by_their_names(case: Path) -> None:
    shown = screening(found=True)
    called = {"d1-1": "cells.png", "d2-1": "control.png"}
    lines = comparison._lines(list(shown.panels), shown.findings[0], called)
    assert lines == [
        "a: cells.png, 200 x 120 px",
        "b: control.png, 120 x 200 px",
        "right: what differs, in the frame of b; dark blue is equal, yellow differs",
        "probability 0.970 that both show the same source; manipulated",
        "from a to b: rotated 90° clockwise, gamma 0.7",
    ]
    without = comparison._lines(list(shown.panels), screening(found=True, heatmap=False).findings[0], called)
    assert not any(line.startswith("right") for line in without)


def test_outlines_begin_at_the_threshold_of_the_screening(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side, size in (("a", (120, 200)), ("b", (200, 120))):
        heat = np.zeros(size, np.uint8)
        heat[40:80, 60:100] = 178  # .7
        pixels.write_png(case / "heatmaps" / f"f1-{side}.png", heat)
    shown = screening(found=True)
    edit = Edit(box_a=(60, 40, 100, 80), box_b=(60, 40, 100, 80), kind="erased")
    finding = shown.findings[0].model_copy(update={"edits": (edit,), "heatmap_a": "heatmaps/f1-a.png"})
    scale, outlined, levels = 480 / 200, {}, []
    outlines = edits.outlines

    def heard(heat: pixels.Image, size: tuple[int, int], level: float = edits.LEVEL) -> list[edits.Points]:
        levels.append(level)
        return outlines(heat, size, level)

    monkeypatch.setattr(edits, "outlines", heard)
    for threshold in (None, 0.6, 0.9):
        made_by = shown.provenance.model_copy(update={"threshold": threshold})
        told = shown.model_copy(update={"findings": (finding,), "provenance": made_by})
        a = pixels.read_png(comparison.write(told, case))[16:300, 16:496]
        edge = a[round(60 * scale), round(100 * scale) - 6 : round(100 * scale) + 6]
        outlined[threshold] = bool((edge == comparison.YELLOW).all(axis=1).any())
        printed.render(told, case, "A title")
    assert outlined == {None: True, 0.6: True, 0.9: False}
    assert levels == [0.5] * 4 + [0.6] * 4 + [0.9] * 4  # a and b, in the picture and on paper


def test_no_line_holds_a_sign_that_the_font_lacks(case: Path) -> None:
    found = screening(found=True).findings[0].model_copy(update={"steps": ("contrast × 0.95", "brightness × 1.20")})
    assert comparison._lines([], found, {})[-1] == "from a to b: contrast x 0.95, brightness x 1.20"


def test_a_long_name_is_cut_at_the_edge(case: Path) -> None:
    panels = tuple(
        panel.model_copy(update={"source": panel.source.model_copy(update={"path": "x" * 400 + ".png"})})
        for panel in screening(found=False).panels
    )
    image = pixels.read_png(comparison.write(screening(found=False).model_copy(update={"panels": panels}), case))
    assert (image[:, -comparison.GAP_PX // 2 :] == 255).all()


def test_edits_are_outlined_on_both_and_told_in_words(case: Path) -> None:
    """a is dark: its outline is yellow; b is light: its outline is dark."""
    pixels.write_png(case / "panels" / "d2-1.png", np.full((200, 120, 3), 235, np.uint8))
    heat_a, heat_b = np.zeros((120, 200), np.uint8), np.zeros((200, 120), np.uint8)
    heat_a[40:80, 100:140] = 255
    heat_b[80:120, 30:70] = 255
    for name, heat in (("f1-a", heat_a), ("f1-b", heat_b)):
        pixels.write_png(case / "heatmaps" / f"{name}.png", heat)
    shown = screening(found=True)
    edit = Edit(box_a=(100, 40, 140, 80), box_b=(30, 80, 70, 120), kind="erased")
    classes = Classes(benign=0.03, manipulated=0.96, distinct=0.01)
    update = {"edits": (edit,), "classes": classes, "heatmap_a": "heatmaps/f1-a.png"}
    finding = shown.findings[0].model_copy(update=update)
    image = pixels.read_png(comparison.write(shown.model_copy(update={"findings": (finding,)}), case))
    a, b = image[16:300, 16:496].astype(int), image[16:496, 512:800].astype(int)
    scale = 480 / 200
    right = a[round(60 * scale), round(140 * scale) - 6 : round(140 * scale) + 6]
    assert (right == comparison.YELLOW).all(axis=1).any()
    edge = b[round(100 * scale) + 3, round(70 * scale) - 6 : round(70 * scale) + 6]
    assert (edge == comparison.DARK).all(axis=1).any()
    assert not (edge == comparison.YELLOW).all(axis=1).any()
    assert has(a, comparison.CHANGED)
    assert has(b, comparison.CHANGED)
    lines = comparison._lines(list(shown.panels), finding, {"d1-1": "x", "d2-1": "y"})
    assert lines[-3:] == [
        "same picture, nothing edited: 3 %; same picture, edited in places: 96 %; different pictures: 1 %",
        "1: something that panel a shows is missing in panel b",
        "from a to b: rotated 90° clockwise, gamma 0.7",
    ]
    many = finding.model_copy(update={"edits": (edit,) * 9})
    assert "and 3 more places" in comparison._lines(list(shown.panels), many, {"d1-1": "x", "d2-1": "y"})
