"""The words of the report are true to the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from pypdfium2 import PdfDocument

from twinscope.report import comparison, html, printed, terminal, words
from twinscope.types import Classes, Earlier, Edit, Finding, InputFile, Panel, Problem, Provenance, Screening, Searched


@pytest.mark.parametrize(
    ("probability", "said", "number"),
    [
        (1.0, "Almost certainly the same source", ">\u00a099.9\u00a0%"),
        (0.9941, "Almost certainly the same source", "99.4\u00a0%"),
        (0.962, "Very likely the same source", "96\u00a0%"),
        (0.74, "Likely the same source", "74\u00a0%"),
        (0.5, "Possibly the same source", "50\u00a0%"),
        (0.1, "Doubtfully the same source", "10\u00a0%"),
        (0.0, "Doubtfully the same source", "<\u00a00.1\u00a0%"),
    ],
)
def test_probability_in_words(probability: float, said: str, number: str) -> None:
    assert words.likelihood(probability) == said
    assert words.number(probability) == number


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (2.34, "about 2.3 false findings"),
        (0.05, "in 20 screenings"),
        (0.0004, "in 2,500 screenings"),
        (0, "in 10,000"),
    ],
)
def test_expected_false_findings_in_words(expected: float, said: str) -> None:
    assert said in words.expectation(expected)


def test_panels_without_a_label_are_told_apart(case: tuple[Path, Screening]) -> None:
    names = words.panel_names(case[1])
    assert names["d1-p1-f1-1"] == "Figure 1 A"
    assert names["d1-p2-f2-2"] == "Figure 4, panel 2"
    assert names["d1-p3-f2-1"] == "Figure 5"
    assert len(set(names.values())) == len(names)


def test_panels_of_unlabelled_figures_go_by_page_or_file(case: tuple[Path, Screening]) -> None:
    _, screening = case
    figures = tuple(figure.model_copy(update={"label": ""}) for figure in screening.figures)
    alone = screening.panels[0].source.model_copy(update={"path": "blots/x.tif", "page": None})
    first = screening.panels[0].model_copy(update={"source": alone, "label": ""})
    names = words.panel_names(
        screening.model_copy(update={"panels": (first, *screening.panels[1:]), "figures": figures})
    )
    assert names["d1-p1-f1-1"] == "x.tif"
    assert names["d1-p1-f1-2"] == "Page 1 B"
    assert names["d1-p2-f2-2"] == "Page 2, panel 3"


def test_panels_of_equal_label_are_told_apart(case: tuple[Path, Screening]) -> None:
    _, screening = case
    panels = [panel.model_copy(update={"label": "A"}) for panel in screening.panels]
    other = panels[1].source.model_copy(update={"path": "other/supplement.pdf"})
    panels[1] = panels[1].model_copy(update={"source": other})
    figures = [figure.model_copy(update={"label": "Figure 1"}) for figure in screening.figures]
    names = words.panel_names(screening.model_copy(update={"panels": tuple(panels), "figures": tuple(figures)}))
    assert names["d1-p2-f1-1"] == "Figure 1 A"
    assert names["d1-p1-f1-1"] == "Figure 1 A, panel 1"
    assert names["d1-p1-f1-2"] == "Figure 1 A, panel 2"
    assert len(set(names.values())) == len(names)


def test_panels_of_the_library_go_by_their_own_figure(case: tuple[Path, Screening]) -> None:
    _, screening = case
    first = screening.panels[0]

    def earlier(name: str, figure: str, label: str, panel: str) -> Panel:
        told = Earlier(library="l", figure=figure, panel=panel, size=(9, 9))
        source = first.source.model_copy(update={"path": f"{name}.pdf", "page": 7})
        return first.model_copy(
            update={"id": name, "figure": f"{name}-f1", "label": label, "source": source, "earlier": told}
        )

    old = (
        earlier("e1", "Figure 3", "B", "p7-f2-4"), earlier("e2", "Figure 3", "", "p7-f2-4"),
        earlier("e3", "", "", "p7-f2-4"), earlier("e4", "", "C", "p7-f2-5"),
    )  # fmt: skip
    names = words.panel_names(screening.model_copy(update={"panels": (*screening.panels, *old)}))
    assert [names[f"e{k}"] for k in (1, 2, 3, 4)] == [
        "Figure 3 B", "Figure 3, panel 4", "Page 7, panel 4", "Page 7 C, panel 5",
    ]  # fmt: skip


def test_files_are_named_only_where_they_must_be(case: tuple[Path, Screening]) -> None:
    _, screening = case
    other = [
        panel.model_copy(update={
            "id": f"o{panel.id}", "source": panel.source.model_copy(update={"path": "other/supplement.pdf"})
        })
        for panel in screening.panels[:1]
    ]  # fmt: skip
    both = screening.model_copy(update={"panels": (*screening.panels, *other)})
    names = words.panel_names(both)
    assert names["d1-p1-f1-1"] == "Figure 1 A (manuscript.pdf)"
    assert names["od1-p1-f1-1"] == "Figure 1 A (supplement.pdf)"
    assert names["d1-p1-f1-2"] == "Figure 1 B"
    assert len(set(names.values())) == len(names)
    within = words.panel_names(both, across=False)
    assert within["d1-p1-f1-1"] == within["od1-p1-f1-1"] == "Figure 1 A"


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b/c.pdf", "c.pdf"), ("C:\\x\\c.pdf", "c.pdf"), ("folder/", "folder"), ("x\u202efdp.exe", "x⟨U+202E⟩fdp.exe")],
)
def test_file_names(path: str, name: str) -> None:
    assert words.file_name(path) == name


def test_invisible_characters_are_made_visible() -> None:
    assert words.visible("a\u200bb\x07c\nd") == "a⟨U+200B⟩b⟨U+0007⟩c d"
    assert words.visible("Größe µ 測定 نص") == "Größe µ 測定 نص"


def test_problems_are_told_once_and_pages_together() -> None:
    screening = Screening(
        inputs=(
            InputFile(path="a.pdf", sha256="1" * 64, kind="pdf", status="refused", reason="encrypted"),
            InputFile(path="b.pdf", sha256="2" * 64, kind="pdf", status="partial"),
            InputFile(path="c.pdf", sha256="3" * 64, kind="pdf", status="ok"),
            InputFile(
                path="d.pdf", sha256="4" * 64, kind="pdf", status="partial", reason="2 problems; the first: torn"
            ),
            InputFile(path="e.pdf", sha256="5" * 64, kind="pdf", status="partial", reason="over the limit of time"),
        ),
        problems=(
            Problem(path="a.pdf", reason="encrypted"),
            Problem(path="b.pdf", page=7, reason="too slow"),
            Problem(path="b.pdf", page=3, reason="too slow"),
            Problem(path="b.pdf", reason="a font is broken"),
            Problem(path="d.pdf", page=1, reason="torn"),
            Problem(path="e.pdf", page=1, reason="torn"),
        ),
        seconds=1,
        provenance=Provenance(twinscope="0", settings_sha256="0"),
    )
    assert words.troubles(screening) == [
        ("a.pdf", "refused", "", "encrypted"),
        ("e.pdf", "read in part", "", "over the limit of time"),
        ("b.pdf", "", "pages 3, 7", "too slow"),
        ("b.pdf", "", "", "a font is broken"),
        ("d.pdf", "", "page 1", "torn"),
        ("e.pdf", "", "page 1", "torn"),
    ]


def test_three_probabilities_are_never_told_as_none_or_all() -> None:
    assert words.classes(None) == []
    line = words.classes_line(Classes(benign=0.0, manipulated=1.0, distinct=0.03)).replace("\u00a0", " ")
    assert line == (
        "same picture, nothing edited: < 0.1 %; same picture, edited in places: > 99.9 %; different pictures: 3 %"
    )


def test_what_rests_on_the_networks_alone_is_told_with_care(tmp_path: Path) -> None:
    fields = {"id": "f", "kind": "duplicate", "a": "a", "b": "b", "verdict": "benign", "probability": 0.9,
              "expected_false": 0.1, "region_a": (0, 0, 9, 9), "region_b": (0, 0, 9, 9),
              "transform": ((1, 0, 0), (0, 1, 0), (0, 0, 1))}  # fmt: skip
    laid = Finding.model_validate({**fields, "evidence": {"laid": 1.0, "correlation_1": 0.176}})
    plain = Finding.model_validate({**fields, "evidence": {"again": 1.0, "correlation_1": 0.176}})
    said = "The two hardly correlate (r = 0.18)"
    assert str(words.caution(laid)).startswith(said)
    assert words.caution(plain) is None
    for one in (laid, plain):
        whole = Screening(inputs=(), findings=(one,), seconds=1,
                          provenance=Provenance(twinscope="0", settings_sha256="0" * 64))  # fmt: skip
        paper = PdfDocument(printed.render(whole, tmp_path, ""))
        told = [
            "\n".join(terminal.summary(whole, tmp_path / "report.html")),
            html.write(whole, tmp_path).read_text(encoding="utf-8"),
            "\n".join(comparison._lines([], one, {})),
            " ".join(page.get_textpage().get_text_bounded() for page in paper),
        ]
        assert [said in " ".join(text.split()) for text in told] == 4 * [one is laid]


def test_edits_are_counted_by_kind_and_told_without_saying_which_came_first() -> None:
    kinds = ("erased", "cloned", "erased")
    edits = [Edit(box_a=(0, 0, 1, 1), box_b=(0, 0, 1, 1), kind=kind) for kind in kinds]
    assert words.edit_kinds(edits) == "2 erased, 1 cloned"
    assert words.edit_kinds([]) == ""
    told = " ".join(words.EDITS.values()).lower()
    for word in ("original", "first", "later", "fraud", "fake", "removed", "copied"):
        assert word not in told


def test_a_clone_in_a_is_told_as_one_of_a() -> None:
    assert words.edit("cloned", False) == "Panel b shows the content of another place of b"
    assert words.edit("cloned", True) == "Panel a shows the content of another place of a"
    assert words.edit("added", True) == words.EDITS["added"]


def test_what_it_cannot_tell_names_the_library_and_hides_nothing_in_its_name() -> None:
    looked = Searched(library="s3://x\u202egnp", version=3, panels=1)
    made = Provenance(twinscope="0", settings_sha256="0", library=looked)
    told = words.library_of(Screening(inputs=(), seconds=0, provenance=made))
    assert told == "the 1 panel of the library s3://x⟨U+202E⟩gnp"
    assert f"within these files and with {told}, not with other papers." in words.cannot_tell(told)[1]
    assert "within these files, not with other papers." in words.cannot_tell()[1]
    none = made.model_copy(update={"library": looked.model_copy(update={"panels": 0})})
    assert words.library_of(Screening(inputs=(), seconds=0, provenance=none)) == ""
