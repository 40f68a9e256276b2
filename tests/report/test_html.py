"""report.html as text: what it says, what it hides never, and how large it becomes."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from twinscope import geometry
from twinscope.report import html, overlay
from twinscope.types import Edit, Finding, InputFile, Origin, Panel, Problem, Provenance, Screening

MADE_BY = Provenance(twinscope="0.1.0", settings_sha256="0" * 64)
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def text(case: tuple[Path, Screening]) -> str:
    folder, screening = case
    return html.write(screening, folder).read_text(encoding="utf-8")


def read(path: str = "a.png", **changes: object) -> InputFile:
    return InputFile.model_validate({"path": path, "sha256": "1" * 64, "kind": "png", "status": "ok", **changes})


def finding(a: str, b: str, **changes: object) -> Finding:
    fields = {
        "id": f"{a}-{b}", "kind": "duplicate", "a": a, "b": b, "verdict": "benign", "probability": 0.9,
        "expected_false": 0.1, "region_a": (0, 0, 90, 60), "region_b": (0, 0, 90, 60), "transform": IDENTITY,
    }  # fmt: skip
    return Finding.model_validate({**fields, **changes})


def panel(name: str, height: int = 60, width: int = 90) -> Panel:
    return Panel(id=name, figure="f", kind="photo", size=(height, width), source=Origin(path="a.png", sha256="1" * 64))


def plain(text: str) -> str:
    """Return the words of a report on one line, without its style, script and tags."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_findings_come_by_probability(text: str) -> None:
    shown = re.findall(r'id="title-(\d)".*?</h3>', text, flags=re.S)
    numbers = re.findall(r"<dt>probability</dt><dd>([\d.]+)</dd>", text)
    assert shown == ["1", "2", "3", "4"]
    assert numbers == ["0.99962", "0.9941", "0.962", "0.74"]


def test_problems_and_unread_inputs_stand_before_the_findings(text: str) -> None:
    words = plain(text)
    top = words[: words.index("Findings, the most probable first")]
    for said in ("1 of 4 pages failed", "encrypted", "the page took longer than 30 s", "refused", "read in part"):
        assert said in top
    assert "Parts of the material could not be screened" in top


def test_nothing_found_with_problems_does_not_read_as_clean(tmp_path: Path) -> None:
    screening = Screening(
        inputs=(read(status="refused", reason="encrypted"),), problems=(Problem(path="b", reason="broken"),), seconds=1,
        provenance=MADE_BY,
    )  # fmt: skip
    words = plain(html.write(screening, tmp_path).read_text(encoding="utf-8"))
    assert "Parts of the material could not be screened" in words
    assert "This says nothing about the parts named under Problems" in words
    assert "No panels were found" in words


def test_without_problems_there_is_no_notice(tmp_path: Path) -> None:
    words = html.write(Screening(inputs=(read(),), seconds=1, provenance=MADE_BY), tmp_path).read_text(encoding="utf-8")
    assert 'id="problems"' not in words
    assert "could not be screened" not in plain(words)


def test_the_title_names_what_could_be_read_first(tmp_path: Path) -> None:
    inputs = (read("x.pdf", status="refused"), read("y.pdf", status="failed"), read("z.pdf"))
    words = plain(html.write(Screening(inputs=inputs, seconds=1, provenance=MADE_BY), tmp_path).read_text("utf-8"))
    assert "Screening of z.pdf , x.pdf and 1 more" in words


def test_it_never_accuses(text: str) -> None:
    assert not re.search(r"fraud|misconduct|fake|fabricat|guilt|plagiar", plain(text), flags=re.I)
    assert "show evidence of the same source" in plain(text)


def test_the_policy_allows_nothing_but_its_own_style_script_and_data_images(text: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    parts = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["img-src"] == "data:"
    for name, tag in (("style-src", "style"), ("script-src", "script")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert parts[name] == f"'sha256-{digest}'"


def test_it_points_nowhere_outside(text: str) -> None:
    targets = re.findall(r"""(?:href|src|action|srcset|poster)=["']?([^"'\s>]+)""", text)
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert not re.findall(r"url\((?!#)", text)
    assert not re.search(r"""\sstyle=["']""", text)


def test_pictures_are_inlined_once(text: str) -> None:
    uris = re.findall(r'<image [^>]*href="(data:[^"]+)"', text)
    assert len(uris) == len(set(uris)) == 16


def test_hostile_texts_are_escaped(tmp_path: Path, build_case: Callable[..., Screening]) -> None:
    bad = "\"'><script>alert(1)</script>&\u202e\u2028{{7*7}}"
    text = html.write(build_case(tmp_path, hostile=bad), tmp_path).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;⟨U+202E⟩⟨U+2028⟩{{7*7}}" in text
    assert "\u202e" not in text
    assert "\u2028" not in text


def test_a_lone_surrogate_does_not_stop_the_report(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    broken = read().model_copy(update={"path": name})
    text = html.write(Screening(inputs=(broken,), seconds=1, provenance=MADE_BY), tmp_path).read_text(encoding="utf-8")
    assert "caf⟨U+DCE9⟩.png" in text


def test_a_missing_picture_is_named_in_its_place(tmp_path: Path) -> None:
    screening = Screening(
        inputs=(read(),),
        panels=(panel("d1-1"),),
        findings=(finding("d1-1", "library:42"),),
        seconds=1,
        provenance=MADE_BY,
    )
    words = plain(html.write(screening, tmp_path).read_text(encoding="utf-8"))
    assert "The picture of panel a is not stored in the case." in words
    assert "library:42 is not a panel of these files" in words


def test_no_picture_is_taken_from_outside_the_case(tmp_path: Path) -> None:
    case = tmp_path / "case"
    case.mkdir()
    assert cv2.imwrite(str(tmp_path / "secret.png"), np.full((60, 90), 77, np.uint8))
    screening = Screening(
        inputs=(read(),), panels=(panel("../../secret"), panel("b")), seconds=1, provenance=MADE_BY,
        findings=(finding("../../secret", "b", heatmap_b="../secret.png"),),
    )  # fmt: skip
    (case / "panels").mkdir()
    assert "data:image" not in html.write(screening, case).read_text(encoding="utf-8")


def test_the_command_is_made_where_none_was_kept(tmp_path: Path) -> None:
    screening = Screening(inputs=(read("my paper; rm -rf.pdf"),), seconds=1, provenance=MADE_BY)
    text = html.write(screening, tmp_path).read_text(encoding="utf-8")
    assert "twinscope screen &#39;my paper; rm -rf.pdf&#39; -o CASE" in text


def test_a_comparison_counts_pictures_of_any_kind(tmp_path: Path) -> None:
    graph = panel("d1-f1-1").model_copy(update={"kind": "graph"})
    for command, title, told in (("compare", "Comparison", False), ("screen", "Screening", True)):
        made_by = MADE_BY.model_copy(update={"command": f"twinscope {command} a.png -o CASE"})
        screening = Screening(inputs=(read(),), panels=(graph,), seconds=1, provenance=made_by)
        words = plain(html.write(screening, tmp_path).read_text(encoding="utf-8"))
        assert f"{title} of a.png" in words
        assert ("graph, not compared" in words) is told
        assert ("Anything about graphs" in words) is told


def test_equal_input_gives_equal_bytes(tmp_path: Path, build_case: Callable[..., Screening]) -> None:
    screening = build_case(tmp_path)
    first = html.write(screening, tmp_path).read_bytes()
    assert html.write(screening, tmp_path).read_bytes() == first


def test_two_hundred_findings_fit_in_25_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, explained: Callable[[Screening], Screening]
) -> None:
    """400 panels of 900 x 720 px full of grain, as unkind to a codec as a micrograph can be, and 200 heat-maps."""
    rng = np.random.default_rng(0)
    grains = []
    for _ in range(4):
        coarse = rng.integers(0, 255, (180, 144, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (720, 900), interpolation=cv2.INTER_CUBIC)
        grains.append(np.clip(smooth + rng.normal(0, 18, smooth.shape), 0, 255).astype(np.uint8))
    heat = rng.integers(0, 255, (900, 720), dtype=np.uint8)

    def load(case: Path, name: str | None) -> np.ndarray:
        assert name is not None
        return heat if name.startswith("heatmaps") else grains[len(name + name[7]) % 4]

    monkeypatch.setattr(html.pictures, "load", load)
    findings = tuple(
        finding(f"a{i}", f"b{i}", heatmap_b=f"heatmaps/{i}.png", region_a=(0, 0, 720, 900)) for i in range(200)
    )
    panels = tuple(panel(f"{side}{i}", 900, 720) for i in range(200) for side in "ab")
    screening = Screening(inputs=(read(),), panels=panels, findings=findings, seconds=1, provenance=MADE_BY)
    page = html.write(explained(screening), tmp_path)
    assert 12_000_000 < page.stat().st_size <= 25_000_000
    assert page.read_text(encoding="utf-8").count('<details class="why">') == 200


def test_every_finding_says_why_where_the_network_that_made_it_is_here(
    case: tuple[Path, Screening], explained: Callable[[Screening], Screening], text: str
) -> None:
    folder, screening = case
    assert "Why the metric says so" not in plain(text).replace("why the metric says so, and back", "")
    told = html.render(explained(screening), folder)
    assert told.count('<details class="why">') == len(screening.findings) == 4
    assert told.count('<use class="veil"') == 8
    images = {one.id: html.pictures.load(folder, f"panels/{one.id}.png") for one in screening.panels}
    maps = html.why.of_findings(screening.findings, images, explained(screening).provenance)
    shown = re.findall(r'aria-label="Panel ([ab]), [^"]*, under the map of its distance: ([^"]*)\."', told)
    assert shown == [(side, html.why.in_words(getattr(maps[one.id], side)))
                     for one in html.ordered(screening) for side in "ab"]  # fmt: skip
    assert len(set(shown)) > 4
    assert "It is no evidence of an edit" in plain(told)
    assert not re.search(r"fraud|misconduct|fake|fabricat|guilt|plagiar|similarity|nan\b", plain(told), flags=re.I)


def test_nothing_is_left_to_explain_of_the_same_picture_twice(
    tmp_path: Path, explained: Callable[[Screening], Screening]
) -> None:
    (tmp_path / "panels").mkdir()
    for name in ("a", "b"):
        image = np.random.default_rng(0).integers(0, 256, (60, 90), np.uint8)
        cv2.imwrite(str(tmp_path / "panels" / f"{name}.png"), image)
    screening = Screening(
        inputs=(read(),), panels=(panel("a"), panel("b")), findings=(finding("a", "b"),), seconds=1, provenance=MADE_BY
    )
    told = html.render(explained(screening), tmp_path)
    assert "nothing is left to explain" in plain(told)
    assert '<use class="veil"' not in told


def test_findings_name_their_documents_where_there_are_several(
    tmp_path: Path, build_case: Callable[..., Screening]
) -> None:
    screening = build_case(tmp_path)
    assert "the same picture twice · manuscript" not in plain(html.render(screening, tmp_path))
    moved = {"d1-p2-f1-1", "d1-p2-f2-1", "d1-p2-f2-2"}
    panels = tuple(
        one.model_copy(update={"source": one.source.model_copy(update={"path": "x/supplement.pdf"})})
        if one.id in moved
        else one
        for one in screening.panels
    )
    text = html.render(screening.model_copy(update={"panels": panels}), tmp_path)
    shown = re.findall(
        r'<p class="name"><bdi>(.*?)</bdi></p>.*?px(?:<br><bdi class="file">(.*?)</bdi>)?</p>', text, re.S
    )
    assert shown[:2] == [("Figure 1 A", "manuscript.pdf"), ("Figure 2 C", "supplement.pdf")]
    words = plain(text)
    assert "Finding 1 of 4 · the same picture twice · manuscript.pdf and supplement.pdf" in words
    assert "Finding 2 of 4 · the same picture twice · supplement.pdf" in words
    assert "Finding 3 of 4 · overlapping pictures · manuscript.pdf" in words


def card(text: str, number: int) -> str:
    """Return the HTML of one finding."""
    found = re.search(rf'<article class="finding [a-z]+" id="finding-{number}".*?</article>', text, flags=re.S)
    assert found is not None
    return found[0]


def test_only_a_picture_that_was_moved_is_told_as_moved(text: str) -> None:
    assert ["moved into the frame of b" in plain(card(text, number)) for number in (1, 2, 3, 4)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_both_panels_are_outlined_where_they_share_a_page(text: str) -> None:
    def labels(number: int) -> list[str]:
        return re.findall(r'aria-label="(Page \d[^"]*)"', card(text, number))

    assert labels(1) == ["Page 1, with panel a outlined", "Page 2, with panel b outlined"]
    assert labels(2) == [
        "Page 2, with panel b outlined and panel a outlined",
        "Page 2, with panel a outlined and panel b outlined",
    ]


@pytest.mark.parametrize(
    ("region", "zoomable", "zoomed"),
    [((0, 0, 90, 60), False, False), ((0, 0, 60, 60), True, False), ((10, 10, 40, 30), True, True)],
)
def test_a_small_shared_region_is_zoomed_to_at_first(
    tmp_path: Path, region: tuple[int, int, int, int], zoomable: bool, zoomed: bool
) -> None:
    screening = Screening(
        inputs=(read(),), panels=(panel("a"), panel("b")), seconds=1, provenance=MADE_BY,
        findings=(finding("a", "b", region_a=region, region_b=region),),
    )  # fmt: skip
    (tmp_path / "panels").mkdir()
    for name in "ab":
        assert cv2.imwrite(str(tmp_path / "panels" / f"{name}.png"), np.full((60, 90), 77, np.uint8))
    shown = card(html.render(screening, tmp_path), 1)
    assert ('data-toggle="zoom"' in shown) is zoomable
    assert (" data-zoomed" in shown) is zoomed
    box = re.search(r'<svg class="pic" viewBox="([^"]*)"[^>]*aria-label="Panel b,', shown)
    assert box is not None
    assert (box[1] == "0 0 90 60") is not zoomed


@pytest.fixture(scope="module")
def edited(edited_case: tuple[Path, Screening]) -> str:
    folder, screening = edited_case
    return html.render(screening, folder)


def test_every_edit_is_enlarged_and_told_in_plain_words(edited: str, text: str) -> None:
    words = plain(card(edited, 1))
    told = ("1 Panel b shows something that panel a does not.", "2 Panel b shows the content of another place of b (",
            "3 The same content, in other tones.")  # fmt: skip
    assert [said in words for said in told] == [True] * 3
    pieces = re.findall(r'aria-label="Edit (\d), enlarged: ([^"]*)"', card(edited, 1))
    moved = "a, moved into the frame of b"
    assert pieces == [
        ("1", moved), ("1", "b"), ("1", "heat-map"), ("2", moved), ("2", "b"), ("2", "heat-map"),
        ("2", "the other place of b"), ("3", moved), ("3", "b"), ("3", "heat-map"),
    ]  # fmt: skip
    assert "Something that panel a shows is missing in panel b." in plain(card(edited, 2))
    assert plain(card(text, 2)).count("The two differ here.") == 1  # a finding of before, without a kind
    assert "enlarged" not in card(edited, 3)
    assert not re.search(r"fraud|misconduct|fake|fabricat|guilt|original picture", plain(edited), flags=re.I)


def test_the_pieces_of_an_edit_have_one_view(edited: str) -> None:
    views = re.findall(r'viewBox="([^"]*)"[^>]*aria-label="Edit (\d), enlarged: (.*?)"', card(edited, 1))
    for number in "123":
        here = {view for view, one, label in views if one == number and "other place" not in label}
        assert len(here) == 1


def test_a_clone_in_a_is_shown_as_one_in_b_is(edited: str, edited_case: tuple[Path, Screening]) -> None:
    folder, screening = edited_case
    found = next(one for one in screening.findings if one.id == "turned")
    back = np.linalg.inv(overlay.corner_transform(found.transform))
    place = geometry.bounds(overlay.project(back, geometry.corners((20, 220, 80, 300))))
    changed = tuple(
        one.model_copy(update={"source_a": place, "source_b": None}) if one.kind == "cloned" else one
        for one in found.edits
    )
    findings = [
        one if one.id != "turned" else found.model_copy(update={"edits": changed}) for one in screening.findings
    ]
    shown = card(html.render(screening.model_copy(update={"findings": tuple(findings)}), folder), 1)
    assert "2 Panel a shows the content of another place of a (outlined in the last picture)." in plain(shown)
    both = [re.findall(r'viewBox="([^"]*)"[^>]*aria-label="Edit 2, enlarged: ([^"]*)"', text)
            for text in (shown, card(edited, 1))]  # fmt: skip
    assert [view for view, _ in both[0]] == [view for view, _ in both[1]]
    assert both[0][-1][1] == "the other place of a, moved into the frame of b"
    dashed = [re.findall(r'<rect class="over dash source" ([^>]*)/>', text) for text in (shown, card(edited, 1))]
    beside = 'x="20" y="220" width="60" height="80"'
    assert [rects.count(beside) for rects in dashed] == [
        3,
        4,
    ]  # in a, b and the heat-map; then over b, in its own frame
    assert dashed[0][3:] == ['x="180" y="280" width="80" height="60"']  # over a, in its own frame


def test_the_other_place_of_a_is_cut_out_where_perspective_leaves_it_outside_of_b(
    edited_case: tuple[Path, Screening],
) -> None:
    folder, screening = edited_case
    bent = next(one for one in screening.findings if one.id == "bent")
    aside = np.array([[1, 0, -200], [0, 1, 0], [0, 0, 1.0]]) @ np.array(bent.transform)
    edit = Edit(box_a=(300, 100, 330, 130), box_b=(80, 110, 110, 140), kind="cloned", source_a=(40, 100, 70, 130))
    found = bent.model_copy(update={"transform": geometry.as_matrix(aside), "edits": (edit,)})
    text = html.render(screening.model_copy(update={"findings": (found,)}), folder)
    piece = text.partition("enlarged: the other place of a")[2].partition("</svg>")[0]
    cut = re.search(r'<g><use href="#(px\d+)" x="(-[\d.]+)"', piece)
    assert cut is not None
    assert re.search(rf'<image id="{cut[1]}"', text)


def test_the_threshold_begins_where_the_screening_had_it(edited: str, edited_case: tuple[Path, Screening]) -> None:
    folder, screening = edited_case
    made_by = screening.provenance.model_copy(update={"threshold": 0.9})
    shown = html.render(screening.model_copy(update={"provenance": made_by}), folder)
    area = {}
    for text, level in ((shown, 0.9), (edited, 0.5)):
        first = card(text, 1)
        assert f'class="level" min="1" max="99" value="{level * 100:g}"' in first
        assert f'class="level-number">{level:.2f}<' in first
        assert f"Shown is what reaches {level:.2f}." in plain(first)
        assert f'class="below" width="{level * 100:g}"' in first
        assert f'slope="255" intercept="{0.5 - 255 * level:g}"' in first
        lines = re.findall(r"M([^Z]*)Z", "".join(re.findall(r'class="trace" data-ground="[a-z]*" d="([^"]*)"', first)))
        points = [np.array([point.split(",") for point in line.split()], np.float32) for line in lines]
        area[level] = sum(cv2.contourArea(one) for one in points)
    assert 0 < area[0.9] < 0.9 * area[0.5]


def test_three_probabilities_stand_beside_the_calibrated_one(edited: str, text: str) -> None:
    words = plain(card(edited, 1)).replace("\u00a0", " ")
    for said in ("Same picture, nothing edited 3 %", "Same picture, edited in places 96 %", "Different pictures 0.8 %"):
        assert said in words
    assert "> 99.9 %" in plain(card(edited, 2)).replace("&gt;", ">").replace("\u00a0", " ")
    assert "Different pictures" not in plain(text)


def test_a_heat_map_lies_over_each_panel_only_where_it_is_stored(edited: str, text: str) -> None:
    assert [card(edited, number).count('class="heat-over"') for number in (1, 2, 3, 4)] == [2, 2, 1, 1]
    assert "There is no heat-map for panel a." in plain(card(text, 1))
    assert "Hatched: nothing can be said there" in plain(card(edited, 1))
    assert "Hatched" not in plain(card(edited, 2))  # all of both strips was compared


def test_nothing_is_inlined_twice_for_the_enlargements(edited: str) -> None:
    uris = re.findall(r'<image [^>]*href="(data:[^"]+)"', edited)
    assert len(uris) == len(set(uris)) == 18  # those of before, and two more heat-maps


def test_what_the_report_reduces_is_cut_out_in_full(tmp_path: Path) -> None:
    """A panel of 2000 px is reduced to 900; a checkerboard of single pixels lives on in the enlargement alone."""
    (tmp_path / "panels").mkdir()
    image = np.zeros((1000, 2000), np.uint8)
    image[400:440, 600:640] = 255 * (np.indices((40, 40)).sum(axis=0) % 2)
    for name in "ab":
        assert cv2.imwrite(str(tmp_path / "panels" / f"{name}.png"), image)
    whole = (0, 0, 2000, 1000)
    one = finding("a", "b", region_a=whole, region_b=whole, changes=((600, 400, 640, 440),), verdict="manipulated")
    panels = (panel("a", 1000, 2000), panel("b", 1000, 2000))
    screening = Screening(inputs=(read(),), panels=panels, findings=(one,), seconds=1, provenance=MADE_BY)
    shown = re.findall(r'<image [^>]*href="data:image/[a-z]+;base64,([^"]+)"', html.render(screening, tmp_path))
    sizes = {}
    for data in shown:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 0)
        sizes[picture.shape] = int(np.ptp(picture[picture.shape[0] // 2, 16:-16]))
    assert sizes == {(450, 900): pytest.approx(0, abs=140), (72, 72): 255}
