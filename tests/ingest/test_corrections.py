"""Panel boxes that a person has drawn, moved or taken out."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from twinscope import ingest, pixels
from twinscope.settings import Settings
from twinscope.types import Correction

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import papers

FOUND = (100.0, 160.0, 420.0, 400.0)
"""Where `papers.pdf` puts a picture of 160 x 120 px: 2 points a pixel."""


@pytest.fixture(name="paper")
def _paper(tmp_path: Path) -> Path:
    return papers.pdf(tmp_path, [papers.micrograph(1), papers.micrograph(2)])


def _read(paper: Path, case: Path, *corrections: Correction) -> ingest.Reading:
    return ingest.read([paper], case, Settings(), corrections=corrections)


def _of(paper: Path, **values: object) -> Correction:
    return Correction(sha256=hashlib.sha256(paper.read_bytes()).hexdigest(), page=1, **values)  # type: ignore[arg-type]


def test_a_moved_box_has_the_pixels_below_it_and_the_old_one_is_gone(paper: Path, tmp_path: Path) -> None:
    found = _read(paper, tmp_path / "a").panels
    assert [panel.source.box_pt for panel in found] == [FOUND, FOUND]
    moved = (140.0, 200.0, 340.0, 360.0)
    panels = _read(paper, tmp_path / "b", _of(paper, box=moved, replaces=FOUND)).panels
    assert [(panel.source.page, panel.source.box_pt) for panel in panels] == [(1, moved), (2, FOUND)]
    assert panels[0].kind == "micrograph"
    assert panels[0].source.how == "embedded"
    image = pixels.read_png(tmp_path / "b" / "panels" / f"{panels[0].id}.png")
    assert np.array_equal(image if image.ndim == 2 else image[..., 0], papers.micrograph(1)[20:100, 20:120])


def test_a_box_that_is_taken_out_leaves_the_other_pages_alone(paper: Path, tmp_path: Path) -> None:
    reading = _read(paper, tmp_path, _of(paper, replaces=FOUND))
    assert [(panel.source.page, panel.source.box_pt) for panel in reading.panels] == [(2, FOUND)]


def test_a_box_beside_all_rasters_is_rendered(paper: Path, tmp_path: Path) -> None:
    drawn = (440.0, 500.0, 540.0, 600.0)
    panels = _read(paper, tmp_path, _of(paper, box=drawn)).panels
    assert len(panels) == 3
    new = panels[1]
    assert new.source.page == 1
    assert np.allclose(new.source.box_pt or (), drawn, atol=72 / 300)
    assert new.source.how == "rendered"
    assert new.kind == "other"
    assert pixels.read_png(tmp_path / "panels" / f"{new.id}.png").min() == 255


def test_boxes_of_a_picture_are_in_its_pixels(tmp_path: Path) -> None:
    sheet = np.full((200, 400), 255, np.uint8)
    sheet[20:140, 10:170], sheet[20:140, 200:360] = papers.micrograph(1), papers.micrograph(2)
    (tmp_path / "sheet.png").write_bytes(papers.png(sheet))
    found = [panel.source.box_px for panel in _read(tmp_path / "sheet.png", tmp_path / "a").panels]
    assert found == [(10, 20, 170, 140), (200, 20, 360, 140)]
    moved, drawn = (30.0, 40.0, 150.0, 120.0), (240.0, 60.0, 320.0, 130.0)
    file = tmp_path / "sheet.png"
    reading = _read(file, tmp_path / "b", _of(file, box=moved, replaces=found[0]), _of(file, box=drawn))
    assert [panel.source.box_px for panel in reading.panels] == [found[1], moved, drawn]
    image = pixels.read_png(tmp_path / "b" / "panels" / f"{reading.panels[1].id}.png")
    assert np.array_equal(image if image.ndim == 2 else image[..., 0], sheet[40:120, 30:150])


def test_a_box_that_is_no_box_is_a_problem_and_nothing_is_lost(paper: Path, tmp_path: Path) -> None:
    reading = _read(paper, tmp_path, _of(paper, box=(700.0, 10.0, 800.0, 90.0)))
    assert len(reading.panels) == 2
    assert [problem.page for problem in reading.problems] == [1]
    assert "draw it again" in reading.problems[0].reason


def test_corrections_of_another_file_change_nothing(paper: Path, tmp_path: Path) -> None:
    other = Correction(sha256="0" * 64, page=1, replaces=FOUND)
    assert [panel.source.box_pt for panel in _read(paper, tmp_path, other).panels] == [FOUND, FOUND]


def test_corrections_are_seen_though_the_file_was_read_before(paper: Path, tmp_path: Path) -> None:
    assert len(_read(paper, tmp_path).panels) == 2
    assert len(_read(paper, tmp_path, _of(paper, replaces=FOUND)).panels) == 1
    assert len(_read(paper, tmp_path).panels) == 2
