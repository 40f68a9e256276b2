"""The plots: well-formed, with nothing from outside, and drawn where the numbers are."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from twinscope.report import curves

NS = "{http://www.w3.org/2000/svg}"
SAME = np.array([0.2, 0.4, 0.6, 1.4])
DIFFERENT = np.array([0.5, 1.2, 1.3, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1])


def drawn(path: Path) -> ET.Element:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"href|url\(|<script|<image", text)
    return ET.fromstring(text)


def test_roc_goes_through_the_rates(tmp_path: Path) -> None:
    curves.write_roc(SAME, DIFFERENT, tmp_path / "roc.svg")
    plot = drawn(tmp_path / "roc.svg")
    line = plot.findall(f"{NS}polyline")[1].attrib["points"].split()
    left, right = curves.LEFT, curves.WIDTH - curves.RIGHT
    half = (curves.HEIGHT - curves.BOTTOM + curves.TOP) / 2
    assert line[0] == f"{left},{curves.HEIGHT - curves.BOTTOM}"
    assert line[-1] == f"{right},{curves.TOP}"
    assert f"{left},{half:.0f}" in line  # two of four before the first of the others
    dot = plot.find(f"{NS}circle")
    assert dot is not None
    assert float(dot.attrib["cx"]) == pytest.approx(left)  # one of ten: 1e-1 is the left edge of one decade
    assert float(dot.attrib["cy"]) == pytest.approx(curves._y(0.75), abs=0.1)
    assert "TPR 0.750, FPR 0.1" in "".join(plot.itertext())
    assert [t.text for t in plot.findall(f"{NS}text") if t.text in ("1e-1", "1", "1e-2")] == ["1e-1", "1", "1"]


def test_roc_goes_across_before_up_where_distances_are_alike(tmp_path: Path) -> None:
    curves.write_roc(np.array([0.5, 1.0]), np.array([0.5, 2.0]), tmp_path / "roc.svg")
    line = drawn(tmp_path / "roc.svg").findall(f"{NS}polyline")[1].attrib["points"].split()
    corners = [tuple(map(float, point.split(","))) for point in line]
    assert all(p[0] == q[0] or p[1] == q[1] for p, q in itertools.pairwise(corners))  # steps, no slopes
    assert corners[1][1] == corners[0][1]


def test_histogram_has_the_border_and_a_shape_for_each_kind(tmp_path: Path) -> None:
    curves.write_histogram(SAME, DIFFERENT, tmp_path / "d.svg")
    plot = drawn(tmp_path / "d.svg")
    red, green = plot.findall(f"{NS}polygon")
    assert (red.attrib["fill"], green.attrib["fill"]) == (curves.RED, curves.GREEN)
    top = 2.1 * 1.02
    border = next(line for line in plot.findall(f"{NS}line") if "stroke-dasharray" in line.attrib)
    assert float(border.attrib["x1"]) == pytest.approx(curves._x(1 / top), abs=0.06)
    places = [tuple(map(float, point.split(","))) for point in green.attrib["points"].split()]
    high = [x for x, y in places if y < curves.HEIGHT - curves.BOTTOM - 1]
    for value in SAME:  # each stands in a bar that holds it
        assert min(abs(x - curves._x(value / top)) for x in high) <= (curves._x(1) - curves._x(0)) / curves.BINS
    assert "same (4)" in "".join(plot.itertext())
    heights = [max(curves._y(0) - float(p.split(",")[1]) for p in one.attrib["points"].split()) for one in (red, green)]
    assert heights[0] / heights[1] == pytest.approx(0.1 / 0.25, rel=0.01)  # one of ten against one of four


def test_many_pairs_make_a_small_file_of_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    same, different = rng.normal(0.5, 0.3, 50_000), rng.normal(1.5, 0.3, 50_000)
    for name in ("a", "b"):
        curves.write_roc(same, different, tmp_path / f"{name}.svg")
        curves.write_histogram(same, different, tmp_path / f"{name}h.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "ah.svg").read_bytes() == (tmp_path / "bh.svg").read_bytes()
    assert (tmp_path / "a.svg").stat().st_size < 40_000


def test_all_distances_alike_can_be_drawn(tmp_path: Path) -> None:
    curves.write_roc(np.zeros(1), np.zeros(1), tmp_path / "roc.svg")
    curves.write_histogram(np.zeros(3), np.zeros(2), tmp_path / "d.svg")
    assert "nan" not in (tmp_path / "roc.svg").read_text() + (tmp_path / "d.svg").read_text()


def test_nothing_is_not_drawn(tmp_path: Path) -> None:
    for write in (curves.write_roc, curves.write_histogram):
        with pytest.raises(ValueError, match="at least one"):
            write(np.zeros(0), np.ones(1), tmp_path / "x.svg")


def test_ceiling_reads_well() -> None:
    assert [curves._ceiling(v) for v in (0.07, 0.5, 0.98, 1.0, 0.031)] == pytest.approx([0.075, 0.75, 1.0, 1.5, 0.04])


def test_a_training_is_drawn_by_epoch(tmp_path: Path) -> None:
    rows = [{"loss": loss, "best_accuracy": 0.5 + 0.1 * k, "ir1": 0.2, "tpr_1e-3": 0.1}
            for k, loss in enumerate([8.0, 4.0, 2.0, 1.0])]  # fmt: skip
    curves.write_training(rows, tmp_path / "curve.svg")
    plot = drawn(tmp_path / "curve.svg")
    lines = {line.attrib["stroke"]: line.attrib["points"].split() for line in plot.findall(f"{NS}polyline")}
    loss, accuracy = ([tuple(map(float, p.split(","))) for p in lines[color]] for color in (curves.RED, curves.GREEN))
    assert [x for x, _ in loss] == [pytest.approx(curves._x((k + 0.5) / 4), abs=0.06) for k in range(4)]
    assert [y for _, y in loss] == [pytest.approx(curves._y(v / 10), abs=0.06) for v in (8, 4, 2, 1)]
    assert [y for _, y in accuracy] == [pytest.approx(curves._y(0.5 + 0.1 * k), abs=0.06) for k in range(4)]
    words = [text.text for text in plot.findall(f"{NS}text")]
    assert "training loss (1 = 10)" in words
    assert [word for word in words if word in {"1", "2", "3", "4", "5"}] == [
        "1",
        "2",
        "3",
        "4",
        "1",
    ]  # the last: 1 of 1
    curves.write_training(rows * 60, tmp_path / "long.svg")
    words = [text.text for text in drawn(tmp_path / "long.svg").findall(f"{NS}text")]
    assert [word for word in words if word and word.isdigit()][:5] == ["50", "100", "150", "200", "0"]
    with pytest.raises(ValueError, match="at least one epoch"):
        curves.write_training([], tmp_path / "none.svg")
