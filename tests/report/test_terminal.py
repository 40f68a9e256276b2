"""The result in the terminal: counts, findings, problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscope.report import terminal
from twinscope.types import Finding, InputFile, Problem, Provenance, Screening


def screening(findings: int, status: str = "ok", problems: int = 0) -> Screening:
    return Screening(
        inputs=(InputFile(path="a.pdf", sha256="0" * 64, kind="pdf", status=status),),
        findings=tuple(
            Finding(
                id=f"f{n}",
                kind="duplicate",
                a=f"a{n}",
                b=f"b{n}",
                verdict="benign",
                probability=0.5 + n / 100,
                expected_false=0.1,
                region_a=(0, 0, 1, 1),
                region_b=(0, 0, 1, 1),
                transform=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
            )
            for n in range(findings)
        ),
        problems=tuple(Problem(path="a.pdf", reason="torn") for _ in range(problems)),
        seconds=1,
        provenance=Provenance(twinscope="0", settings_sha256="0" * 64),
    )


def test_the_most_probable_findings_come_first_and_the_rest_are_counted() -> None:
    lines = terminal.summary(screening(23), Path("report.html"))
    assert "23 findings" in lines[0]
    pairs = [line.split("  ")[-1] for line in lines if " = " in line]
    assert pairs == [f"a{n} = b{n}" for n in range(22, 2, -1)]
    assert any("and 3 more in the report" in line for line in lines)


def test_one_is_not_told_as_many() -> None:
    assert terminal.summary(screening(1), Path("report.html"))[0].startswith(
        "1 input, no panels (0 compared as pictures), 1 finding, "
    )


@pytest.mark.parametrize(
    ("status", "problems", "told"), [("ok", 0, False), ("ok", 1, True), ("partial", 0, True), ("refused", 0, True)]
)
def test_what_was_not_read_is_a_problem(status: str, problems: int, told: bool) -> None:
    assert terminal.has_problems(screening(0, status, problems)) is told


def test_panels_of_several_documents_are_told_with_their_file() -> None:
    from twinscope.types import Figure, Origin, Panel

    one = screening(1)
    origins = {name: Origin(path=f"in/{file}", sha256="0" * 64, page=page)
               for name, file, page in (("a0", "x.pdf", 3), ("b0", "y.pdf", 4))}  # fmt: skip
    panels = tuple(Panel(id=n, figure=n, kind="photo", size=(9, 9), source=o) for n, o in origins.items())
    figures = tuple(Figure(id=n, source=o, label="Figure 1") for n, o in origins.items())
    told = one.model_copy(update={"panels": panels, "figures": figures})
    lines = terminal.summary(told, Path("report.html"))
    assert lines[1].endswith("  Figure 1 (page 3) in x.pdf = Figure 1 (page 4) in y.pdf")
    link = told.findings[0].model_copy(update={"b": "c0"})
    third = panels[0].model_copy(update={"id": "c0"})
    lines = terminal.summary(told.model_copy(update={"panels": (*panels, third), "findings": (link,)}), Path("r.html"))
    assert lines[1].endswith("  Figure 1, panel 1 (page 3) = Figure 1, panel 2 (page 3) in x.pdf")


@pytest.mark.parametrize(("problems", "caveat"), [(0, False), (1, True)])
def test_nothing_found_is_said_and_is_no_clean_bill(problems: int, caveat: bool) -> None:
    lines = terminal.summary(screening(0, problems=problems), Path("report.html"))
    assert lines[1].startswith("No two compared panels were found to show the same source")
    assert ("says nothing about the parts that were not read" in lines[1]) is caveat
    assert not any("No two" in line for line in terminal.summary(screening(1), Path("report.html")))


def test_edits_and_the_three_probabilities_are_told(edited_case: tuple[Path, Screening]) -> None:
    lines = [line.strip() for line in terminal.summary(edited_case[1], Path("report.html"))]
    at = lines.index("edits: 1 added, 1 cloned, 1 tone")
    assert lines[at + 1] == (
        "same picture, nothing edited: 3 %; same picture, edited in places: 96 %; different pictures: 0.8 %"
    )
    assert sum(line.startswith("edits:") for line in lines) == 2
    assert sum(line.startswith("same picture,") for line in lines) == 2


def test_a_batch_is_told_pair_by_pair_and_names_cannot_steer_the_terminal() -> None:
    row = dict.fromkeys(("a", "b", "status", "reason", "found", "probability", "verdict", "folder"))
    rows = [
        {**row, "a": "x\x1b[2J.png", "b": "y.png", "status": "ok", "found": "yes", "probability": 0.97,
         "verdict": "benign", "folder": "0001"},
        {**row, "a": "p.png", "b": "q.png", "status": "ok", "found": "no", "folder": "0002"},
        {**row, "a": "p.png", "b": "", "status": "failed", "reason": "line 4 names no b", "folder": "0003"},
    ]  # fmt: skip
    lines = terminal.batch(rows, Path("case"))
    assert lines[0] == "3 pairs, 1 with evidence of the same source, 1 with problems"
    assert lines[1] == "0001      97 %  x⟨U+001B⟩[2J.png = y.png: benign"
    assert lines[2] == "0002      none  p.png and q.png: no evidence of the same source"
    assert lines[3] == "problem: 0003: line 4 names no b"
    many = terminal.batch([rows[1]] * 50, Path("case"))
    assert "      and 10 more in the table" in many
