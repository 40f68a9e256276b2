"""Corrected boxes and pairs that are compared by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.report.conftest import cells

from twinscope import pixels
from twinscope.errors import InputError, UsageError
from twinscope.ingest import files
from twinscope.settings import Settings
from twinscope.types import Correction, Figure, InputFile, Origin, Panel, Provenance, Screening
from twinscope.web import hands, look

FILE = "f" * 64
Corners = tuple[float, float, float, float]
FIRST: Corners = (10, 10, 50, 50)
SECOND: Corners = (12, 14, 60, 70)
THIRD: Corners = (20, 20, 80, 90)


def of(box: Corners | None = None, replaces: Corners | None = None, page: int = 1) -> Correction:
    return Correction(sha256=FILE, page=page, box=box, replaces=replaces)


def test_a_box_that_is_moved_twice_replaces_the_first_one(tmp_path: Path) -> None:
    hands.correct(tmp_path, [of(SECOND, FIRST)])
    assert hands.correct(tmp_path, [of(THIRD, SECOND)]).corrections == (of(THIRD, FIRST),)
    assert hands.boxes(tmp_path).corrections == (of(THIRD, FIRST),)


def test_a_box_that_is_drawn_and_taken_out_leaves_nothing(tmp_path: Path) -> None:
    hands.correct(tmp_path, [of(FIRST)])
    assert hands.correct(tmp_path, [of(None, FIRST)]).corrections == ()


def test_a_box_that_is_moved_and_taken_out_still_takes_out_what_was_found(tmp_path: Path) -> None:
    hands.correct(tmp_path, [of(SECOND, FIRST)])
    assert hands.correct(tmp_path, [of(None, SECOND)]).corrections == (of(None, FIRST),)


def test_the_same_place_of_another_page_is_another_box(tmp_path: Path) -> None:
    hands.correct(tmp_path, [of(SECOND, FIRST)])
    both = hands.correct(tmp_path, [of(THIRD, SECOND, page=2)]).corrections
    assert both == (of(SECOND, FIRST), of(THIRD, SECOND, page=2))


def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / hands.BOXES).write_text("{")
    with pytest.raises(InputError, match=hands.BOXES):
        hands.correct(tmp_path, [of(FIRST)])
    assert (tmp_path / hands.BOXES).read_text() == "{"


@pytest.fixture(name="case")
def _case(tmp_path: Path) -> Path:
    """A case of three panels of which the first two are one picture, turned, and no finding."""
    picture = cells(3, 240, 300)
    pictures = {"one": picture, "two": cv2.rotate(picture, cv2.ROTATE_180), "three": cells(8, 240, 300)}
    (tmp_path / "panels").mkdir()
    (tmp_path / "heatmaps").mkdir()
    panels = []
    for number, (name, image) in enumerate(pictures.items()):
        pixels.write_png(tmp_path / "panels" / f"{name}.png", np.asarray(image, np.uint8))
        box = (100.0 * number, 0.0, 100.0 * number + 90, 80.0)
        source = Origin(path="paper.pdf", sha256=FILE, page=1, box_pt=box, how="rendered")
        panels.append(Panel(id=name, figure="f1", kind="micrograph", size=(240, 300), source=source))
    screening = Screening(
        inputs=(InputFile(path="paper.pdf", sha256=FILE, kind="pdf", status="ok"),),
        figures=(Figure(id="f1", source=Origin(path="paper.pdf", sha256=FILE, page=1), label="Figure 1"),),
        panels=tuple(panels),
        seconds=1.0,
        provenance=Provenance(twinscope="0.1.0", settings_sha256="0" * 64),
    )
    (tmp_path / "screening.json").write_text(screening.model_dump_json())
    return tmp_path


def test_two_panels_compared_by_hand_are_a_finding_of_the_case(case: Path) -> None:
    found = hands.compare(case, "one", "two", Settings(threads=1))
    assert found is not None
    assert (found.id, found.a, found.b) == ("h1", "one", "two")
    assert "rotated 180°" in found.steps
    assert found.probability > 0.95
    assert found.heatmap_b is not None
    assert (case / found.heatmap_b).is_file()
    seen = look.load(case)
    assert seen is not None
    assert [(one.finding.id, one.by_hand, one.number) for one in seen.findings] == [("h1", True, 1)]
    again = hands.compare(case, "two", "one", Settings(threads=1))
    assert again is not None
    assert [one.id for one in hands.pairs(case).findings] == [again.id]


def test_a_pair_in_which_nothing_is_found_is_kept_as_such(case: Path) -> None:
    assert hands.compare(case, "one", "three", Settings(threads=1)) is None
    assert hands.pairs(case).nothing == (("one", "three"),)
    screening = Screening.model_validate_json((case / "screening.json").read_bytes())
    hands.tidy(case, screening.model_copy(update={"panels": screening.panels[:2]}))
    assert hands.pairs(case).nothing == ()
    assert [len(pair) for pair in hands.pairs(case).gone] == [2]


SHIFTED = {"one": "three", "two": "one", "three": "two"}
"""Which id each panel has after the boxes were corrected: ids are numbers, and pass to other panels."""


def screened(case: Path) -> Screening:
    return Screening.model_validate_json((case / "screening.json").read_bytes())


def shift(case: Path, taken_out: str = "") -> Screening:
    """Screen a case again after its boxes were corrected: the same places under other ids, one taken out, if wanted."""
    before = screened(case)
    panels = [one.model_copy(update={"id": SHIFTED[one.id]}) for one in before.panels if one.id != taken_out]
    pictures = {new: pixels.read_png(case / "panels" / f"{old}.png") for old, new in SHIFTED.items()}
    for name, image in pictures.items():
        pixels.write_png(case / "panels" / f"{name}.png", image)
    new = before.model_copy(update={"panels": tuple(panels)})
    (case / "screening.json").write_text(new.model_dump_json())
    hands.correct(case, [of(SECOND, FIRST)])
    return new


def test_pairs_by_hand_stay_with_their_panels_when_a_box_is_corrected(case: Path) -> None:
    hands.compare(case, "one", "two", Settings(threads=1))
    hands.compare(case, "two", "three", Settings(threads=1))
    seen = look.load(case)
    assert seen is not None
    key = seen.findings[0].key
    new = shift(case)
    told = hands.pairs(case).findings[0]  # what the machine says of the pair that has these ids now
    machine = told.model_copy(update={"id": "f1", "probability": 0.9})
    (case / "screening.json").write_text(new.model_copy(update={"findings": (machine,)}).model_dump_json())
    for _ in range(2):  # before and after the job has tidied up
        seen = look.load(case)
        assert seen is not None
        found = {one.finding.id: (one.finding.a, one.finding.b, one.by_hand) for one in seen.findings}
        assert found == {"h1": ("three", "one", True), "f1": ("one", "two", False)}
        assert [one.key for one in seen.findings if one.by_hand] == [key]
        assert seen.compared.nothing == (("one", "two"),)
        hands.tidy(case, new)
    assert [(one.a, one.b) for one in hands.pairs(case).findings] == [("three", "one")]
    assert hands.pairs(case).gone == ()


def test_a_pair_whose_panel_was_taken_out_is_let_go_and_named(case: Path) -> None:
    hands.compare(case, "one", "two", Settings(threads=1))
    hands.tidy(case, shift(case, taken_out="one"))
    kept = hands.pairs(case)
    assert (kept.findings, kept.stood) == ((), {})
    assert kept.gone == (("Figure 1, panel 1", "Figure 1, panel 2"),)


def test_pairs_of_an_older_version_are_kept_while_no_box_is_corrected(case: Path) -> None:
    hands.compare(case, "one", "two", Settings(threads=1))
    old = hands.pairs(case).model_copy(update={"stood": {}})
    (case / hands.PAIRS).write_text(old.model_dump_json(exclude={"stood", "gone"}))
    assert [(one.a, one.b) for one in hands.standing(case, screened(case)).findings] == [("one", "two")]
    hands.tidy(case, screened(case))
    assert set(hands.pairs(case).stood) == {"one", "two"}  # from now on it is known where they stand
    (case / hands.PAIRS).write_text(old.model_dump_json(exclude={"stood", "gone"}))
    hands.tidy(case, shift(case))
    assert (hands.pairs(case).findings, hands.pairs(case).gone) == ((), (("one", "two"),))


def test_what_waits_in_the_queue_is_done_with_the_panels_that_were_chosen(case: Path) -> None:
    at = hands.places(screened(case).panels)
    shift(case)
    found = hands.compare(case, "one", "two", Settings(threads=1), (at["one"], at["two"]))
    assert found is not None
    assert (found.a, found.b) == ("three", "one")
    with pytest.raises(UsageError, match="does not stand any more where it stood"):
        hands.compare(case, "one", "two", Settings(threads=1), (at["one"], "elsewhere"))


def test_channels_of_one_picture_are_told_apart(case: Path) -> None:
    one, *_ = screened(case).panels
    at = hands.places([one, one.model_copy(update={"id": "channel"})])
    assert at["channel"] != at["one"] == hands.place(one)


def test_pictures_that_are_files_are_shown_whole(tmp_path: Path) -> None:
    sheet = np.full((300, 500), 255, np.uint8)
    sheet[20:260, 10:240], sheet[20:260, 260:490] = cells(1, 240, 230), cells(2, 240, 230)
    (tmp_path / "case" / "pages").mkdir(parents=True)
    pixels.write_png(tmp_path / "sheet.png", sheet)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF-1.4 damaged")
    paths = [tmp_path / "sheet.png", tmp_path / "notes.pdf"]
    screening = Screening(
        inputs=tuple(
            InputFile(path=path.name, sha256=files.sha256(path), kind=path.suffix[1:], status="ok") for path in paths
        ),
        seconds=1.0,
        provenance=Provenance(twinscope="0.1.0", settings_sha256="0" * 64),
    )
    hands.show(tmp_path / "case", tmp_path / "room", paths, screening, Settings(threads=1))
    (page,) = hands.pictures(tmp_path / "case").pages
    assert (page.sha256, page.page, page.size_pt) == (files.sha256(paths[0]), 1, (300, 500))
    assert page.thumbnail is not None
    shown = pixels.decoded((tmp_path / "case" / page.thumbnail).read_bytes())
    assert np.abs(pixels.grey(shown) * 255 - sheet).mean() < 4


def test_a_panel_that_is_not_there_is_said(case: Path) -> None:
    with pytest.raises(UsageError, match="no panel four"):
        hands.compare(case, "one", "four", Settings(threads=1))
