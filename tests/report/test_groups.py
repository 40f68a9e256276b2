"""Findings that share a panel are told together, in every output and in the same order."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from twinscope.report import html, table, terminal, words
from twinscope.report.groups import groups, ordered
from twinscope.types import Finding, InputFile, Origin, Panel, Provenance, Screening

Link = tuple[str, str, float]


def finding(a: str, b: str, probability: float, kind: str = "duplicate") -> Finding:
    return Finding.model_validate({
        "id": f"{a}{b}", "kind": kind, "a": a, "b": b, "verdict": "benign", "probability": probability,
        "expected_false": 0.1, "region_a": (0, 0, 9, 9), "region_b": (0, 0, 9, 9),
        "transform": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    })  # fmt: skip


def screening(findings: Iterable[Finding], panels: str = "abcdefgh") -> Screening:
    source = Origin(path="x.png", sha256="1" * 64)
    return Screening(
        inputs=(InputFile(path="x.png", sha256="1" * 64, kind="png", status="ok"),),
        panels=tuple(Panel(id=name, figure="f", kind="photo", size=(9, 9), label=name, source=source)
                     for name in panels),
        findings=tuple(findings),
        seconds=1,
        provenance=Provenance(twinscope="0", settings_sha256="0" * 64),
    )  # fmt: skip


def told(links: list[Link]) -> list[tuple[list[str], str]]:
    found = groups(screening(finding(*link) for link in links))
    return [([one.id for one in group.findings], "".join(group.panels)) for group in found]


def test_a_chain_is_one_group() -> None:
    assert told([("a", "b", 0.7), ("c", "d", 0.9), ("b", "c", 0.8)]) == [(["cd", "bc", "ab"], "abcd")]


def test_a_chain_is_found_whatever_end_comes_first() -> None:
    links = [("e", "f", 0.71), ("a", "b", 0.72), ("c", "d", 0.73), ("f", "a", 0.74), ("d", "e", 0.75)]
    assert told(links) == [(["de", "fa", "cd", "ab", "ef"], "abcdef")]


def test_groups_come_by_their_best_finding_and_stay_together() -> None:
    links = [("a", "b", 0.99), ("c", "d", 0.97), ("b", "e", 0.61), ("f", "g", 0.98)]
    assert told(links) == [(["ab", "be"], "abe"), (["fg"], "fg"), (["cd"], "cd")]


def test_equal_findings_stay_in_the_order_of_the_screening() -> None:
    assert told([("c", "d", 0.9), ("a", "b", 0.9)]) == [(["cd"], "cd"), (["ab"], "ab")]


def test_panels_stand_in_document_order_and_those_of_a_library_last() -> None:
    assert told([("d", "library:1", 0.9), ("d", "a", 0.8)]) == [(["dlibrary:1", "da"], "adlibrary:1")]


def test_nothing_found_makes_no_group() -> None:
    assert groups(screening(())) == []


@pytest.mark.parametrize(
    ("links", "title", "how"),
    [
        (
            [("a", "b", 0.99), ("b", "c", 0.95), ("a", "c", 0.93)],
            "The same picture in 3 places",
            "Every pair of these panels was",
        ),
        ([("a", "b", 0.99), ("b", "c", 0.95)], "The same picture in 3 places", "2 of 3 possible pairs were found"),
        ([("a", "b", 0.99), ("b", "a", 0.95)], "The same picture in 2 places", "Every pair of these panels was"),
    ],
)
def test_a_group_says_how_firmly_it_holds(links: list[Link], title: str, how: str) -> None:
    (group,) = groups(screening(finding(*link) for link in links))
    said = words.together(group)
    assert said[0] == title
    assert how in said[1]
    assert f"{len(links)} findings, from 99.0" in said[1]


def test_overlaps_are_not_called_one_picture() -> None:
    (group,) = groups(screening((finding("a", "b", 0.9), finding("b", "c", 0.8, "overlap"))))
    assert words.together(group)[0] == "Parts of the same picture in 3 places"


@pytest.mark.parametrize(("weakest", "warned"), [(0.95, False), (0.62, True)])
def test_a_weak_link_is_named(weakest: float, warned: bool) -> None:
    (group,) = groups(screening((finding("a", "b", 0.99), finding("b", "c", weakest))))
    assert ("One weak pair can tie together" in words.together(group)[1]) is warned


def test_all_outputs_have_one_order_and_number(tmp_path: Path) -> None:
    many = screening([finding("a", "b", 0.99), finding("c", "d", 0.97), finding("b", "e", 0.61)])
    text = html.render(many, tmp_path)
    assert [one.id for one in ordered(many)] == ["ab", "be", "cd"]
    assert re.findall(r"<dt>finding</dt><dd>(\w+)</dd>", text) == ["ab", "be", "cd"]
    assert re.findall(r'id="finding-(\d)"', text) == ["1", "2", "3"]
    rows = list(csv.DictReader(io.StringIO(table.write(many, tmp_path).read_text("utf-8-sig"))))
    assert [(row["finding"], row["group"]) for row in rows] == [("ab", "1"), ("be", "1"), ("cd", "2")]
    lines = terminal.summary(many, Path("report.html"))
    assert [line.split("%  ")[1] for line in lines if "%  " in line] == [
        "x.png a = x.png b", "x.png b = x.png e", "x.png c = x.png d",
    ]  # fmt: skip
    assert lines[1].strip() == "The same picture in 3 places:"
    assert lines[2].startswith("      ")
    assert not lines[-3].startswith("      ")


def test_the_terminal_titles_no_group_that_it_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "MOST", 2)
    links = [("a", "b", 0.99), ("b", "c", 0.98), ("c", "a", 0.97), ("d", "e", 0.9), ("e", "f", 0.9)]
    lines = terminal.summary(screening(finding(*link) for link in links), Path("report.html"))
    assert sum("%  " in line for line in lines) == 2
    assert sum("same picture" in line for line in lines) == 1
    assert any("and 3 more in the report" in line for line in lines)


def test_the_report_tells_a_group_once_with_all_its_panels(tmp_path: Path) -> None:
    many = screening([finding("a", "b", 0.99), finding("c", "d", 0.97), finding("b", "e", 0.61)])
    text = html.render(many, tmp_path)
    (group,) = re.findall(r'<section class="group".*?</section>\s*(?=<article|</section>)', text, flags=re.S)
    assert 'id="finding-1"' in group
    assert 'id="finding-2"' in group
    assert 'id="finding-3"' not in group
    members = re.search(r'<ul class="members">(.*?)</ul>', group, flags=re.S)
    assert members is not None
    named = re.findall(r"<bdi>(.*?)</bdi>.*?<small>(.*?)</small>", members[1], flags=re.S)
    shown = [(name, re.findall(r'href="#finding-(\d)"', links)) for name, links in named]
    assert shown == [("x.png a", ["1"]), ("x.png b", ["1", "2"]), ("x.png e", ["2"])]
    assert "Findings that share a panel stand together" in text


def test_lone_findings_make_no_fuss(tmp_path: Path, build_case: Callable[..., Screening]) -> None:
    text = html.render(build_case(tmp_path), tmp_path)
    assert 'class="group"' not in text
    assert "stand together" not in text
