"""findings.csv opens in a spreadsheet and does nothing there."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from twinscope.report import table
from twinscope.types import Screening


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_for_each_finding_by_probability(case: tuple[Path, Screening]) -> None:
    folder, screening = case
    path = table.write(screening, folder)
    assert path.read_bytes().startswith(b"\xef\xbb\xbffinding,")  # without the mark a spreadsheet garbles µ and °
    found = rows(path)
    assert [row["finding"] for row in found] == ["turned", "edited", "overlap", "bent"]
    assert tuple(found[0]) == table.COLUMNS
    first = found[0]
    assert first["probability"] == "0.99962"
    assert first["a_file"] == "manuscript.pdf"
    assert (first["a_page"], first["b_page"]) == ("1", "2")
    assert first["steps"] == "mirrored left-right; rotated 90° clockwise; gamma 0.80"
    assert json.loads(first["transform"]) == [list(row) for row in screening.findings[1].transform]
    assert found[2]["distance"] == ""
    assert (found[2]["a_region_px"], found[2]["b_region_px"]) == ("260 150 700 470", "0 0 440 320")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d"])
def test_formulas_are_made_harmless(
    start: str, tmp_path: Path, build_case: Callable[..., Screening], case: tuple[Path, Screening]
) -> None:
    bad = start + "cmd|'/C calc'!A0,\"x\"\r\n"
    _, screening = case
    first = screening.panels[0]
    source = first.source.model_copy(update={"path": bad})
    panels = (first.model_copy(update={"label": bad, "source": source}), *screening.panels[1:])
    figures = tuple(figure.model_copy(update={"label": bad}) for figure in screening.figures)
    findings = tuple(f.model_copy(update={"steps": (bad,), "id": bad}) for f in screening.findings)
    changed = screening.model_copy(update={"panels": panels, "figures": figures, "findings": findings})
    found = rows(table.write(changed, tmp_path))
    assert len(found) == 4
    turned = found[0]
    assert (
        turned["a_label"] == turned["a_file"] == turned["a_figure"] == turned["steps"] == turned["finding"] == "'" + bad
    )
    for row in found:
        assert not any(
            cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")) for cell in row.values()
        )


def test_plain_text_is_left_alone() -> None:
    assert table.harmless("manuscript.pdf") == "manuscript.pdf"
    assert table.harmless("a=b") == "a=b"
    assert table.harmless("caf\udce9\x00") == "caf?"


def test_edits_and_the_three_probabilities_have_columns(edited_case: tuple[Path, Screening], tmp_path: Path) -> None:
    turned, edited, overlap, _ = rows(table.write(edited_case[1], tmp_path))
    assert (turned["benign"], turned["manipulated"], turned["distinct"]) == ("0.03", "0.962", "0.008")
    assert turned["edits"] == "added; cloned; tone"
    assert turned["edits_px"] == "40 60 90 110; 200 300 260 380; 120 180 170 230"
    assert (edited["edits"], edited["edits_px"]) == ("erased", "178 8 238 62")
    assert {overlap[name] for name in ("benign", "manipulated", "distinct", "edits", "edits_px")} == {""}
