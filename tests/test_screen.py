"""The pipeline on real files: what is planted is found, what is not is not, twice the same."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, cells, real, scene

from twinscope import ingest, pixels, screen
from twinscope import manipulate as m
from twinscope.detect import candidates, features
from twinscope.errors import UsageError
from twinscope.settings import Settings, load
from twinscope.types import Correction, Screening

SETTINGS = Settings()


def folder(where: Path) -> Path:
    """Six pictures in a folder: two planted pairs, and two that are alone."""
    where.mkdir()
    first, second = scene(31), scene(32)
    turned = m.rotate(real(first)[:, ::-1], np.random.default_rng(0), 90).image
    erased = m.erase(real(second), np.random.default_rng(0), centre=(90, 120), radius_px=20, ramp_px=2, value=0.5).image
    pictures = {
        "a-first": first,
        "b-first turned": byte(turned),
        "c-second": second,
        "d-second erased": byte(erased),
        "e-third": scene(33),
        "f-fourth": scene(34),
    }
    for name, image in pictures.items():
        cv2.imwrite(str(where / f"{name}.png"), image)
    return where


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Screening, Path, Path]:
    base = tmp_path_factory.mktemp("screen")
    source = folder(base / "pictures")
    return screen.screen([source], base / "case", SETTINGS), base / "case", source


def names(screening: Screening) -> set[tuple[str, str]]:
    files = {panel.id: Path(panel.source.path).name[0] for panel in screening.panels}
    return {(files[f.a], files[f.b]) for f in screening.findings}


def test_planted_pairs_are_found_and_nothing_else(case: tuple[Screening, Path, Path]) -> None:
    assert names(case[0]) == {("a", "b"), ("c", "d")}
    assert [i.status for i in case[0].inputs] == ["ok"] * len(case[0].inputs)


def test_each_picture_is_prepared_once_and_while_documents_are_read(
    case: tuple[Screening, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    view, read = features.view, ingest.read

    def seen(image: pixels.Image, settings: Any) -> features.View:
        events.append("view")
        return view(image, settings)

    def told(*arguments: Any, **options: Any) -> ingest.Reading:
        out = read(*arguments, **options)
        events.append("read")
        return out

    monkeypatch.setattr(features, "view", seen)
    monkeypatch.setattr(ingest, "read", told)
    again = screen.screen([case[2]], tmp_path / "case", SETTINGS)
    assert events.count("view") == 6
    assert events[0] == "view"
    assert [f.probability for f in again.findings] == [f.probability for f in case[0].findings]
    del events[:]
    screen.screen([case[2]], tmp_path / "case", SETTINGS)
    assert events == ["read", *["view"] * 6]


def test_findings_tell_what_was_done(case: tuple[Screening, Path, Path]) -> None:
    files = {panel.id: Path(panel.source.path).name[0] for panel in case[0].panels}
    told = {files[f.a]: f for f in case[0].findings}
    assert told["a"].steps == ("mirrored left-right", "rotated 90° anticlockwise")
    assert told["a"].verdict == "benign"
    assert told["c"].verdict == "manipulated"
    assert len(told["c"].changes) == 1
    assert told["c"].changes == tuple(edit.box_b for edit in told["c"].edits)
    assert all(f.probability > 0.9 and f.expected_false < 1 for f in told.values())


def test_heat_maps_have_the_size_of_their_panels(case: tuple[Screening, Path, Path]) -> None:
    sizes = {panel.id: panel.size for panel in case[0].panels}
    for finding in case[0].findings:
        for side, panel in (("heatmap_a", finding.a), ("heatmap_b", finding.b)):
            heat = pixels.read_png(case[1] / getattr(finding, side))
            assert heat.shape == sizes[panel]
            assert heat.dtype == np.uint8


def test_the_three_probabilities_part_the_findings_own(case: tuple[Screening, Path, Path]) -> None:
    for finding in case[0].findings:
        classes = finding.classes
        assert classes is not None
        assert classes.benign + classes.manipulated == pytest.approx(finding.probability, abs=1e-9)
        assert classes.distinct == pytest.approx(1 - finding.probability, abs=1e-9)
        assert (classes.manipulated > classes.benign) == (finding.verdict == "manipulated")


def test_maps_of_what_cannot_be_said_have_the_size_of_their_panels(case: tuple[Screening, Path, Path]) -> None:
    sizes = {panel.id: panel.size for panel in case[0].panels}
    for finding in case[0].findings:
        for name, panel in ((finding.unsure_a, finding.a), (finding.unsure_b, finding.b)):
            unsure = pixels.read_png(case[1] / str(name))
            assert unsure.shape == sizes[panel]
            assert set(np.unique(unsure)) <= {0, 255}
            assert unsure.mean() < 100


def test_a_comparison_that_finds_nothing_at_first_looks_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = cells(3)
    b = np.where(rng.random(a.shape) < 0.6, rng.choice((0, 255), a.shape), a).astype(np.uint8)[20:, 30:]
    for name, picture in (("a.png", a), ("b.png", np.ascontiguousarray(b))):
        pixels.write_png(tmp_path / name, picture)
    (finding,) = screen.compare(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "case", SETTINGS).findings
    assert np.array(finding.transform)[:2, 2] == pytest.approx((-30, -20), abs=1.5)
    assert screen.screen([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "other", SETTINGS).findings == ()


def test_the_same_input_gives_the_same_findings(case: tuple[Screening, Path, Path], tmp_path: Path) -> None:
    again = screen.screen([case[2]], tmp_path / "again", SETTINGS)
    old, new = (s.model_dump(mode="json") for s in (case[0], again))
    for part in ("findings", "panels", "inputs", "provenance"):
        assert old[part] == new[part]
    written = Screening.model_validate_json((tmp_path / "again" / "screening.json").read_text())
    assert written == again


def test_a_second_run_reads_nothing_twice(case: tuple[Screening, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinscope.ingest.watch.run", lambda *_: pytest.fail("a document was read twice"))
    assert screen.screen([case[2]], case[1], SETTINGS).findings == case[0].findings


def test_what_cannot_be_read_is_told_and_the_rest_is_screened(tmp_path: Path) -> None:
    source = folder(tmp_path / "pictures")
    (source / "g-broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (source / "h-wrong.pdf").write_bytes(b"GIF89a")
    found = screen.screen([source], tmp_path / "case", SETTINGS)
    status = {Path(i.path).name[0]: i.status for i in found.inputs}
    assert status["g"] in ("failed", "refused")
    assert status["h"] in ("failed", "refused")
    assert names(found) == {("a", "b"), ("c", "d")}


def test_a_file_that_is_named_twice_is_no_re_use_of_itself(case: tuple[Screening, Path, Path], tmp_path: Path) -> None:
    picture = case[2] / "a-first.png"
    for named in ([picture, picture], [case[2] / "e-third.png", case[2], picture]):
        found = screen.screen(named, tmp_path / "case", SETTINGS)
        files = [Path(one.path).name for one in found.inputs]
        assert len(files) == len(set(files))
        assert not [pair for pair in names(found) if len(set(pair)) < 2]
    copy = tmp_path / "a-copy.png"
    copy.write_bytes(picture.read_bytes())
    assert len(screen.screen([picture, copy, copy], tmp_path / "case", SETTINGS).findings) == 1
    assert len(screen.compare(picture, picture, tmp_path / "case", SETTINGS).findings) == 1


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_box_that_is_drawn_over_a_panel_is_no_re_use_of_it(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{ending}"
    cv2.imwrite(str(file), scene(31))
    drawn = Correction(sha256=hashlib.sha256(file.read_bytes()).hexdigest(), page=1, box=(30, 30, 250, 210))
    found = screen.screen([file], tmp_path / "case", SETTINGS, corrections=[drawn])
    assert len(found.panels) == 2
    assert found.findings == ()


def test_a_screening_tells_its_threshold() -> None:
    settings = load(flags={"compare": {"threshold": 0.9}})
    assert [screen.provenance(one).threshold for one in (settings, SETTINGS)] == [0.9, 0.5]


def test_a_name_that_is_no_text_stops_no_screening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / os.fsdecode(b"M\xfcller.png")
    cv2.imwrite(str(tmp_path / "a.png"), scene(31))
    odd.write_bytes((tmp_path / "a.png").read_bytes())
    monkeypatch.setattr(sys, "argv", ["twinscope", "screen", str(odd)])
    found = screen.screen([odd, tmp_path / "a.png"], tmp_path / "case", SETTINGS)
    assert [Path(one.path).name for one in found.inputs] == ["M%FCller.png", "a.png"]
    assert [one.status for one in found.inputs] == ["ok", "ok"]
    assert len(found.findings) == 1
    kept = Screening.model_validate_json((tmp_path / "case" / "screening.json").read_bytes())
    assert "/M%FCller.png" in kept.provenance.command


def test_compare_takes_pictures_whole(tmp_path: Path) -> None:
    source = folder(tmp_path / "pictures")
    found = screen.compare(source / "a-first.png", source / "b-first turned.png", tmp_path / "case", SETTINGS)
    assert len(found.panels) == 2
    assert len(found.findings) == 1
    none = screen.compare(source / "a-first.png", source / "e-third.png", tmp_path / "other", SETTINGS)
    assert none.findings == ()


def test_an_empty_or_single_panel_screening_is_no_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), scene(1))
    found = screen.screen([tmp_path / "one.png"], tmp_path / "case", SETTINGS)
    assert found.findings == ()
    assert json.loads((tmp_path / "case" / "screening.json").read_text())["findings"] == []


def test_a_case_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cv2.imwrite(str(tmp_path / "one.png"), scene(1))
    with pytest.raises(UsageError, match="cannot be written"):
        screen.screen([tmp_path / "one.png"], tmp_path / "file" / "case", SETTINGS)


def test_an_interrupted_comparison_goes_on_where_it_stopped(
    case: tuple[Screening, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Settings(threads=1)
    looked: list[int] = []
    of_panel = candidates.of_panel

    def counted(a: int, *rest: Any) -> list[candidates.Candidate]:
        looked.append(a)
        return of_panel(a, *rest)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "compare" and done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(candidates, "of_panel", counted)
    with pytest.raises(KeyboardInterrupt):
        screen.screen([case[2]], tmp_path / "case", alone, stop)
    assert looked == [0, 1, 2]
    with next((tmp_path / "case" / "cache").glob("compared-*.jsonl")).open("a") as file:
        file.write('[{"a": 4, "b"')  # as when the power fails in mid-line
    resumed = screen.screen([case[2]], tmp_path / "case", alone)
    assert looked == [0, 1, 2, 3, 4, 5]
    assert resumed.model_dump(mode="json")["findings"] == case[0].model_dump(mode="json")["findings"]
    screen.screen([case[2]], tmp_path / "case", Settings(threads=1, seed=1))
    assert looked == [0, 1, 2, 3, 4, 5] * 2  # other settings: nothing of the earlier comparison is taken


def test_the_declared_re_uses_of_a_withdrawn_paper_are_found_first(shared: Path, tmp_path: Path) -> None:
    """The figures 1A and 2A of roy2014 stand again in figure 6, as its caption says: pages 4 and 5, and page 9."""
    told = screen.screen([shared / "pdfs" / "roy2014_jbc_withdrawn.pdf"], tmp_path / "case", SETTINGS)
    pages = {panel.id: panel.source.page for panel in told.panels}
    first = [(pages[f.a], pages[f.b]) for f in told.findings if f.probability > 0.95]
    assert (4, 9) in first
    assert (5, 9) in first
