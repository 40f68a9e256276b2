"""The desk in a real browser, as a person uses it: by mouse and by keyboard, with nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pypdfium2
import pytest
from tests.detect.scenes import scene
from tests.report.conftest import build, with_edits
from tests.web.desks import Served, served

from twinscope.types import Screening
from twinscope.web import cases, ledger

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

SIZES = ({"width": 1280, "height": 900}, {"width": 1920, "height": 1080}, {"width": 820, "height": 1180})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk's folder with a drawn case of four findings, as `twinscope screen` leaves one."""
    folder = tmp_path_factory.mktemp("cases")
    screening = with_edits(folder / "drawn", build(folder / "drawn"))
    made_by = screening.provenance.model_copy(update={"threshold": 0.6})
    (folder / "drawn" / "screening.json").write_text(
        screening.model_copy(update={"provenance": made_by}).model_dump_json()
    )
    return folder


@pytest.fixture(scope="module")
def desk(folder: Path) -> Iterator[Served]:
    with served(folder) as desk:
        yield desk


@pytest.fixture
def page(chromium: Any, desk: Served) -> Iterator[Any]:
    """A page that is signed in; whatever it asks of another place, and every error in it, fails the test."""
    context = chromium.new_context(viewport=SIZES[0])
    page = context.new_page()
    troubles: list[str] = []
    page.on("request", lambda r: None if r.url.startswith((desk.address, "data:", "blob:")) else troubles.append(r.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None)
    page.goto(f"{desk.address}/?token={desk.token}")
    assert "token" not in page.url
    yield page
    context.close()
    assert troubles == []


def _entries(folder: Path, case: str = "drawn") -> list[ledger.Kept]:
    with cases.connected(folder) as db:
        return ledger.entries(db, case)


def _first(page: Any, desk: Served) -> None:
    page.goto(f"{desk.address}/cases/drawn")
    page.click("#go-on")
    page.wait_for_selector("#panes svg")


def test_an_editor_goes_from_a_pdf_to_an_exported_report(chromium: Any, shared: Path, tmp_path: Path) -> None:
    paper = shared / "pdfs" / "kukhtevich2022_cellrep.pdf"
    with served(tmp_path / "cases") as desk:
        page = chromium.new_page(viewport=SIZES[0])
        page.goto(f"{desk.address}/?token={desk.token}")
        assert page.inner_text("h1") == "Screen a manuscript"
        page.set_input_files("input[type=file]", str(paper))
        page.wait_for_url(re.compile("/cases/"))
        page.wait_for_selector(".job-says:not(:empty)")
        page.wait_for_selector(".found", timeout=240_000)
        assert page.locator(".found li").count() >= 5
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_selector("#panes svg image")
        page.keyboard.press("3")
        page.wait_for_selector('.choices button[value=benign][aria-pressed="true"]')
        page.select_option("#control", "merge")
        page.wait_for_selector(".done:has-text('merge')")
        page.keyboard.press("Escape")
        page.click("text=Export")
        with page.expect_download() as html:
            page.click("text=Report as HTML")
        page.click("text=Export")
        with page.expect_download() as pdf:
            page.click("text=Report as PDF")
        page.click("text=Export")
        with page.expect_download() as data:
            page.click("text=Findings and decisions as JSON")
        assert "Decided: Benign re-use (a merge of channels)" in html.value.path().read_text()
        paper_out = pypdfium2.PdfDocument(pdf.value.path())
        text = "".join(paper_out[i].get_textpage().get_text_range() for i in range(len(paper_out)))
        assert "Benign re-use (a merge of channels)" in text
        told = json.loads(data.value.path().read_text())
        assert [one["control"] for one in told["decisions"].values()] == ["merge"]
        assert pdf.value.suggested_filename == "kukhtevich2022_cellrep-twinscope.pdf"
        page.close()


def test_a_file_that_comes_later_is_compared_with_what_is_there(chromium: Any, tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("later", 3)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), scene(seed))
    with served(tmp_path / "cases") as desk:
        page = chromium.new_page(viewport=SIZES[0])
        page.goto(f"{desk.address}/?token={desk.token}")
        page.set_input_files("input[type=file]", str(tmp_path / "first.png"))
        page.wait_for_selector("text=No two of the 1 compared panel", timeout=60_000)
        page.set_input_files(".more-files input[type=file]", str(tmp_path / "later.png"))
        page.wait_for_selector(".found li", timeout=60_000)
        assert page.locator(".found li").count() == 1
        page.click("summary:has-text('More')")
        assert page.locator("text=Download").all_inner_texts() == ["Download first.png", "Download later.png"]
        page.close()


def test_decide_note_and_undo_by_keyboard_alone(page: Any, desk: Served, folder: Path) -> None:
    _first(page, desk)
    before = len(_entries(folder))
    key = page.get_attribute("#finding", "data-key")
    page.keyboard.press("1")
    page.wait_for_selector('.choices button[value=same][aria-pressed="true"]')
    page.keyboard.press("n")
    page.keyboard.type("the lower band <b>returns</b> 1 2 j")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".history q")
    assert page.inner_text(".history q") == "the lower band <b>returns</b> 1 2 j"
    page.keyboard.press("u")
    page.wait_for_selector(".done:has-text('note')")
    page.keyboard.press("u")
    page.wait_for_selector(".done:has-text('decision')")
    assert page.locator('.choices button[aria-pressed="true"]').count() == 0
    acts = [(one.entry.act, one.entry.finding) for one in _entries(folder)[before:]]
    assert acts == [("decide", key), ("note", key), ("undo", key), ("undo", key)]
    page.keyboard.press("u")
    page.wait_for_selector(".done:has-text('nothing of yours')")


def test_j_and_k_turn_to_findings_and_the_desk_remembers_where(page: Any, desk: Served, folder: Path) -> None:
    _first(page, desk)
    numbers = [page.get_attribute("#finding", "data-number")]
    for _ in range(2):
        page.keyboard.press("j")
        page.wait_for_selector(f'#finding:not([data-number="{numbers[-1]}"])')
        numbers.append(page.get_attribute("#finding", "data-number"))
    assert [int(n) for n in numbers] == [int(numbers[0]), int(numbers[0]) + 1, int(numbers[0]) + 2]
    key = page.get_attribute("#finding", "data-key")
    assert page.url.endswith(key)
    page.keyboard.press("k")
    page.wait_for_selector(f'#finding[data-number="{numbers[1]}"]')
    page.go_back()
    page.wait_for_selector(f'#finding[data-number="{numbers[2]}"]')
    page.keyboard.press("Escape")
    page.wait_for_selector("#go-on")
    assert page.inner_text("#go-on") == "Go on reviewing"
    page.keyboard.press("g")
    page.wait_for_selector(f'#finding[data-number="{numbers[2]}"]')


def test_every_way_to_compare_shows_something_else(page: Any, desk: Served) -> None:
    _first(page, desk)
    while "manipulated" not in (page.get_attribute("#finding", "class") or ""):
        number = page.get_attribute("#finding", "data-number")
        page.keyboard.press("j")
        page.wait_for_selector(f'#finding:not([data-number="{number}"])')
    seen = set()
    for key, mode, panes in (("p", "side", 2), ("h", "heat", 2), ("s", "slider", 1), ("o", "opacity", 1),
                             ("d", "difference", 1), ("m", "points", 1)):  # fmt: skip
        page.keyboard.press(key)
        page.wait_for_selector(f'#panes[data-mode="{mode}"]')
        page.wait_for_timeout(150)
        assert page.locator("#panes svg.pane").count() == panes
        seen.add(page.locator("#panes").screenshot())
    assert len(seen) == 6


def test_the_slider_and_the_threshold_move_by_arrows(page: Any, desk: Served) -> None:
    _first(page, desk)
    page.keyboard.press("s")
    before = page.get_attribute(".slide-handle line", "x1")
    page.keyboard.press("ArrowRight")
    assert float(page.get_attribute(".slide-handle line", "x1")) > float(before)
    page.keyboard.press("h")
    level = page.locator("#mode-range + output").inner_text()
    assert level == "0.60"
    page.keyboard.press("ArrowLeft")
    assert float(page.locator("#mode-range + output").inner_text()) == pytest.approx(float(level) - 0.01)


def test_zoom_and_pan_go_together_until_they_are_unlinked(page: Any, desk: Served) -> None:
    _first(page, desk)
    views = lambda: [one.get_attribute("viewBox") for one in page.locator("#panes svg.pane").all()]  # noqa: E731
    page.keyboard.press("p")
    page.keyboard.press("0")
    whole = views()
    page.locator("#panes svg.pane").nth(1).hover()
    page.mouse.wheel(0, -300)
    zoomed = views()
    assert zoomed[0] == zoomed[1] != whole[0]
    page.keyboard.press("Shift+ArrowRight")
    assert views()[0] == views()[1] != zoomed[0]
    page.keyboard.press("l")
    page.mouse.wheel(0, -300)
    apart = views()
    assert apart[0] != apart[1]
    page.keyboard.press("0")
    assert views() == whole
    page.keyboard.press("l")


def test_contrast_and_gamma_change_both_pictures(page: Any, desk: Served) -> None:
    _first(page, desk)
    page.keyboard.press("p")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    before = _shown(page)
    page.locator("#gamma").fill("60")
    page.locator("#contrast").fill("30")
    assert [np.abs(p - q).mean() > 3 for p, q in zip(before, _shown(page), strict=True)] == [True, True]
    page.keyboard.press("c")
    assert [np.abs(p - q).mean() < 1 for p, q in zip(before, _shown(page), strict=True)] == [True, True]


def _shown(page: Any) -> list[Any]:
    """Return what the panes show, as pixels."""
    pictures = [np.frombuffer(one.screenshot(), np.uint8) for one in page.locator("#panes svg.pane").all()]
    return [cv2.imdecode(picture, cv2.IMREAD_COLOR).astype(float) for picture in pictures]


def test_nothing_blinks_by_itself_where_motion_is_reduced(chromium: Any, desk: Served) -> None:
    for motion, runs in (("no-preference", True), ("reduce", False)):
        context = chromium.new_context(viewport=SIZES[0], reduced_motion=motion)
        page = context.new_page()
        page.goto(f"{desk.address}/?token={desk.token}")
        _first(page, desk)
        page.keyboard.press("b")
        page.wait_for_selector('#panes[data-mode="blink"]')
        first = page.inner_text("#panes figcaption .tag")
        page.wait_for_timeout(1400)
        assert (page.inner_text("#panes figcaption .tag") != first) == runs
        context.close()


def test_a_pair_that_is_never_to_be_shown_leaves_the_list(page: Any, desk: Served, folder: Path) -> None:
    _first(page, desk)
    number = page.get_attribute("#finding", "data-number")
    page.click("text=This pair elsewhere")
    page.click("text=Never show this pair again")
    page.wait_for_selector("text=This pair elsewhere")
    page.goto(f"{desk.address}/cases/drawn")
    assert page.locator(f'.found li:visible .no:text-is("{number}")').count() == 0
    page.check("[name=hidden]")
    assert page.locator(f'.found li:visible .no:text-is("{number}")').count() == 1
    page.uncheck("[name=hidden]")
    page.keyboard.press("u")
    page.wait_for_selector(f'.found li:visible .no:text-is("{number}")')
    assert _entries(folder)[-1].entry.act == "undo"


def test_the_filters_leave_what_they_say(page: Any, desk: Served) -> None:
    page.goto(f"{desk.address}/cases/drawn")
    all_of_them = page.locator(".found li").count()
    page.select_option("[name=verdict]", "manipulated")
    shown = page.locator(".found li:visible").count()
    assert 0 < shown < all_of_them
    assert page.inner_text("#shown-count") == f"{shown} of {all_of_them}"
    page.reload()
    assert page.locator(".found li:visible").count() == shown
    page.select_option("[name=verdict]", "")


PAGES: tuple[tuple[str, Callable[[Any], None] | None], ...] = (
    ("/", None),
    ("/help", None),
    ("/cases/drawn", None),
    ("/cases/drawn/panels", None),
    ("/cases/drawn/pages/1", None),
    ("/cases/drawn/remove", None),
    ("/cases/drawn/findings/FIRST", None),
    ("/cases/drawn/findings/FIRST", lambda page: page.keyboard.press("h")),
    ("/cases/drawn/findings/FIRST", lambda page: page.keyboard.press("?")),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(chromium: Any, desk: Served, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    context = chromium.new_context(viewport=SIZES[0], color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{desk.address}/login")
    serious = [(f"{scheme} /login", one) for one in _serious(axe.run(page))]
    page.goto(f"{desk.address}/?token={desk.token}")
    page.goto(f"{desk.address}/cases/drawn")
    first = page.get_attribute("#go-on", "href").rsplit("/", 1)[1]
    for path, act in PAGES:
        page.goto(desk.address + path.replace("FIRST", first))
        page.wait_for_load_state("networkidle") if "cases/drawn" != path.lstrip("/") else page.wait_for_timeout(300)
        if act is not None:
            act(page)
        serious += [(f"{scheme} {path}", one) for one in _serious(axe.run(page))]
    context.close()
    assert serious == []


def _serious(found: Any) -> list[str]:
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]} {one['nodes'][0]['failureSummary'][:200]}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size["width"]))
def test_no_page_is_wider_than_its_window(chromium: Any, desk: Served, size: dict[str, int]) -> None:
    context = chromium.new_context(viewport=size)
    page = context.new_page()
    page.goto(f"{desk.address}/?token={desk.token}")
    page.goto(f"{desk.address}/cases/drawn")
    first = page.get_attribute("#go-on", "href").rsplit("/", 1)[1]
    for path, _ in PAGES[:7]:
        page.goto(desk.address + path.replace("FIRST", first))
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
    context.close()


REACHABLE = """
Array.from(document.querySelectorAll('main button, main select, main textarea, main a, main summary, main input'))
  .filter((n) => n.offsetParent && !n.disabled && (n.matches('summary') || !n.closest('details:not([open])')))
  .map((n, i) => (n.dataset.tab = String(i)))
"""


def test_every_control_of_a_finding_is_reached_by_tab(page: Any, desk: Served) -> None:
    _first(page, desk)
    wanted = set(page.evaluate(REACHABLE))
    page.evaluate("document.getElementById('main').focus()")
    reached = set()
    for _ in range(len(wanted) + 12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.tab || ''"))
    assert wanted <= reached


def test_why_the_metric_says_so_is_told_when_it_is_asked_for(page: Any, desk: Served) -> None:
    _first(page, desk)
    assert page.locator("#why svg.pic").count() == 0
    page.keyboard.press("w")
    page.wait_for_selector("#why .quiet:not(:has-text('moment'))")
    ids = page.evaluate("Array.from(document.querySelectorAll('[id]'), (n) => n.id)")
    assert len(ids) == len(set(ids))


def test_what_is_typed_into_a_note_does_nothing_else(page: Any, desk: Served, folder: Path) -> None:
    _first(page, desk)
    before = len(_entries(folder))
    url = page.url
    page.keyboard.press("n")
    page.keyboard.type("1234jkbsdlnu?")
    assert page.input_value("#note") == "1234jkbsdlnu?"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") != "note"
    assert page.url == url
    assert len(_entries(folder)) == before


def test_hostile_names_run_nothing(chromium: Any, tmp_path: Path, hostile: Callable[[Screening], Screening]) -> None:
    folder = tmp_path / "cases"
    screening = hostile(build(folder / "bad"))
    (folder / "bad" / "screening.json").write_text(screening.model_dump_json())
    with served(folder) as desk:
        context = chromium.new_context(viewport=SIZES[0])
        page = context.new_page()
        page.goto(f"{desk.address}/?token={desk.token}")
        with cases.connected(folder) as db, ledger.writing(db):
            db.execute("UPDATE cases SET title = ?", ("<img src=x onerror=window.hit=1>",))
        page.goto(f"{desk.address}/cases/bad")
        first = page.get_attribute("#go-on", "href")
        page.goto(desk.address + first)
        page.fill("#note", "</textarea><script>window.hit=2</script>")
        page.click("text=Keep the note")
        page.wait_for_selector(".history q")
        for path in ("/", "/cases/bad", "/cases/bad/panels", first):
            page.goto(desk.address + path)
            page.wait_for_timeout(150)
            assert page.evaluate("window.hit") is None
            assert page.locator("main script").count() == 0
        context.close()


@pytest.fixture
def hostile() -> Callable[[Screening], Screening]:
    """Return what puts markup into every text of a screening."""
    bad = "\"><script>window.hit=9</script><img src=x onerror='window.hit=10'>"

    def make(screening: Screening) -> Screening:
        return screening.model_copy(update={
            "panels": tuple(p.model_copy(update={"label": bad, "caption": bad}) for p in screening.panels),
            "figures": tuple(f.model_copy(update={"label": bad, "caption": bad}) for f in screening.figures),
            "findings": tuple(f.model_copy(update={"steps": (bad,)}) for f in screening.findings),
        })  # fmt: skip

    return make
