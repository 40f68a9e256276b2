"""The report in a real browser: it runs nothing foreign, asks for nothing, and works by keyboard and for everyone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pypdfium2
import pytest

from twinscope import geometry
from twinscope.report import html, overlay
from twinscope.types import (
    Edit,
    Figure,
    Finding,
    InputFile,
    Origin,
    Panel,
    Problem,
    Provenance,
    Screening,
)

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# Texts that would run, fetch or break out somewhere if a report forgot to escape them once.
PAYLOADS = (
    "<script>window.hit=1</script>",
    "</script><script>window.hit=2</script>",
    "</style><script>window.hit=3</script>",
    "</title><script>window.hit=4</script>",
    "</textarea><img src=x onerror=window.hit=5>",
    "<img src=x onerror=window.hit=6>",
    '"><img src=x onerror=window.hit=7>',
    "'><img src=x onerror=window.hit=8>",
    '" onmouseover="window.hit=9" autofocus onfocus="window.hit=9',
    "' onfocus='window.hit=10' autofocus tabindex='1",
    "<svg onload=window.hit=11>",
    "<svg><script>window.hit=12</script></svg>",
    "</svg><svg/onload=window.hit=13>",
    "<svg><animate onbegin=window.hit=14 attributeName=x dur=1s>",
    '<svg><use href="data:image/svg+xml,<svg onload=window.hit=15>"/></svg>',
    "<iframe src=javascript:window.hit=16></iframe>",
    '<iframe srcdoc="<script>parent.hit=17</script>"></iframe>',
    "<object data=javascript:window.hit=18></object>",
    "<embed src=javascript:window.hit=19>",
    "<a href=javascript:window.hit=20 autofocus>x</a>",
    "<math><mi xlink:href=javascript:window.hit=21>x</mi></math>",
    "<body onload=window.hit=22>",
    "<video><source onerror=window.hit=23></video>",
    "<audio src=x onerror=window.hit=24>",
    "<input autofocus onfocus=window.hit=25>",
    "<select autofocus onfocus=window.hit=26>",
    "<details open ontoggle=window.hit=27>",
    "<marquee onstart=window.hit=28>",
    "<style>@import 'https://example.org/29.css';</style>",
    "<link rel=stylesheet href=https://example.org/30.css>",
    "<meta http-equiv=refresh content='0;url=https://example.org/31'>",
    "<base href=https://example.org/32/>",
    "<img src=https://example.org/33.png>",
    "<form action=https://example.org/34><button>",
    "<!--<img src=x onerror=window.hit=35>-->",
    "--><script>window.hit=36</script><!--",
    "<![CDATA[<script>window.hit=37</script>]]>",
    "{{ 7*7 }}{% print('hit38') %}",
    "${window.hit=39}`;window.hit=39;//",
    "\\u003cscript\\u003ewindow.hit=40\\u003c/script\\u003e",
    "&lt;script&gt;window.hit=41&lt;/script&gt;",
    "&#60;img src=x onerror=window.hit=42&#62;",
    "<scr\x00ipt>window.hit=43</scr\x00ipt>",
    "<img\nsrc=x\nonerror\n=\nwindow.hit=44>",
    "<IMG SRC=x ONERROR=window.hit=45//",
    "javascript:window.hit=46//",
    "\u2028;window.hit=47;\u2029",
    "\u202e>tpircs/<1=tih.wodniw>tpircs<",
    "\ufeff<script>window.hit=49</script>",
    '";window.hit=50;//\'</script x><noscript><p title="</noscript><img src=x onerror=window.hit=50>">',
)

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class Visit:
    """A page with everything that it said or asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.noise: list[str] = []
        page.on("console", lambda message: self.noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.noise.append("dialog"), dialog.dismiss()))
        page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith("data:") and not request.url.endswith("/report.html"):
            self.noise.append(f"request: {request.url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tool:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(case: tuple[Path, Screening], explained: Callable[[Screening], Screening]) -> Path:
    folder, screening = case
    return html.write(explained(screening), folder)


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def go(path: Path = report, clock: bool = False, **options: Any) -> Visit:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(**options)
        contexts.append(context)
        seen = Visit(context.new_page())
        if clock:
            seen.page.clock.install()
        seen.page.goto(path.as_uri())
        return seen

    yield go
    for context in contexts:
        context.close()


def check(page: Any, name: str) -> list[str]:
    """Return what one of the checks in checks.js finds wrong in a page."""
    code = CHECKS.split("\n", 1)[1].rstrip().rstrip(";")
    return list(page.evaluate(f"() => {code}.{name}()"))


def hostile_screening() -> Screening:
    """A screening with every payload in every text of every kind of record."""
    inputs, panels, figures, findings, problems = [], [], [], [], []
    for i, text in enumerate(PAYLOADS):
        sha = f"{i:064x}"
        inputs.append(InputFile(path=text, sha256=sha + text, kind=text, status="partial", reason=text, pages=1))
        source = Origin(path=text, sha256=sha, page=1, box_pt=(0, 0, 9, 9))
        figures.append(Figure(id=f"f{i}", source=source, label=text, caption=text))
        for side in "ab":
            panels.append(
                Panel(
                    id=f"{side}{i}{text}",
                    figure=f"f{i}",
                    kind="photo",
                    size=(9, 9),
                    label=text,
                    caption=text,
                    source=source,
                )
            )
        problems.append(Problem(path=text, page=2, reason=text))
        findings.append(
            Finding(
                id=text, kind="duplicate", a=f"a{i}{text}", b=f"b{i}{text}", verdict="benign", probability=0.9,
                expected_false=0.1, region_a=(0, 0, 9, 9), region_b=(0, 0, 9, 9), transform=IDENTITY,
                steps=(text, text),
                heatmap_b=text, evidence={text: 1.0},
            )
        )  # fmt: skip
    models = {text: text for text in PAYLOADS}
    made_by = Provenance(twinscope=PAYLOADS[1], models=models, settings_sha256=PAYLOADS[7], command="".join(PAYLOADS))
    return Screening(
        inputs=tuple(inputs), figures=tuple(figures), panels=tuple(panels), findings=tuple(findings),
        problems=tuple(problems), seconds=1, provenance=made_by,
    )  # fmt: skip


def test_fifty_hostile_texts_run_nothing_and_ask_for_nothing(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    assert len(PAYLOADS) == len(set(PAYLOADS)) == 50
    seen = visit(html.write(hostile_screening(), tmp_path))
    page = seen.page
    page.wait_for_timeout(300)
    for key in ("j", "j", "b", "s", "o", "d", "p", "z", "x", "k", "?", "Escape"):
        page.keyboard.press(key)
    page.select_option("#filter-document", index=3)
    page.evaluate("() => document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.click("#copy")
    page.wait_for_timeout(200)
    assert page.evaluate("() => window.hit") is None
    assert check(seen.page, "harmless_only") == []
    assert seen.noise == []


def test_hostile_texts_are_shown_as_they_are(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    shown = visit(html.write(hostile_screening(), tmp_path)).page.inner_text("#problems")
    assert PAYLOADS[0] in shown
    assert PAYLOADS[40] in shown
    assert "⟨U+202E⟩" in shown
    assert "\u202e" not in shown
    assert "⟨U+0000⟩" in shown


def test_pictures_are_shown_with_hostile_texts_around(
    tmp_path: Path, build_case: Callable[..., Screening], visit: Callable[..., Visit]
) -> None:
    screening = build_case(
        tmp_path, hostile="\"><img src=x onerror=window.hit=1></script><script>window.hit=2</script>'"
    )
    seen = visit(html.write(screening, tmp_path))
    for key in ("j", "b", "s", "o", "d"):
        seen.page.keyboard.press(key)
    assert seen.page.evaluate("() => window.hit") is None
    assert check(seen.page, "harmless_only") == []
    assert seen.noise == []


def test_a_report_says_and_asks_nothing(visit: Callable[..., Visit]) -> None:
    seen = visit()
    seen.page.wait_for_timeout(200)
    assert seen.noise == []


def test_every_picture_is_drawn(visit: Callable[..., Visit]) -> None:
    sizes = visit().page.evaluate("""async () => {
      const out = [];
      for (const image of document.querySelectorAll('.pool image')) {
        const probe = new Image();
        probe.src = image.getAttribute('href');
        await probe.decode();
        out.push(probe.naturalWidth);
      }
      return out;
    }""")
    assert len(sizes) == 8 + 4 + 3 + 1 + 8  # panels of findings, heat-maps, pages, one panel bent, maps of the distance
    assert min(sizes) > 50


def test_keys_move_between_findings(visit: Callable[..., Visit]) -> None:
    page = visit().page
    focused = "() => document.activeElement.closest('.finding')?.dataset.number"
    for key, number in (("j", "1"), ("j", "2"), ("j", "3"), ("k", "2"), ("j", "3"), ("j", "4"), ("j", "4")):
        page.keyboard.press(key)
        assert page.evaluate(focused) == number
        assert page.get_attribute(".list a[aria-current]", "data-number") == number
    assert "Finding 4 of 4" in page.text_content("#live")
    assert page.evaluate("() => document.querySelector('#finding-4').getBoundingClientRect().top") < 450


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory, build_case: Callable[..., Screening]) -> Path:
    """A report where finding 4 shares a panel with finding 1, so that both make a group, and two stand alone."""
    folder = tmp_path_factory.mktemp("linked")
    screening = build_case(folder)
    findings = tuple(
        f.model_copy(update={"b": "d1-p2-f1-1", "region_b": (0, 0, 300, 300)}) if f.id == "bent" else f
        for f in screening.findings
    )
    numbers = {f"number_{i}": i / 7 for i in range(16)}
    findings = tuple(f.model_copy(update={"evidence": {**numbers, "last": 0.5}}) for f in findings)
    figures = tuple(f.model_copy(update={"caption": f.caption * 12}) for f in screening.figures)
    return html.write(screening.model_copy(update={"findings": findings, "figures": figures}), folder)


def test_a_group_is_seen_and_walked_through_one_by_one(linked: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(linked)
    page = seen.page
    assert page.locator(".group").count() == 1
    assert page.locator(".group .finding").count() == 2
    assert page.locator(".group .members svg").count() == 3
    sizes = page.eval_on_selector_all(".members svg", "all => all.map(s => s.getBoundingClientRect().height)")
    assert min(sizes) > 40
    inside = "() => document.activeElement.closest('.finding').dataset.number"
    for number in "1234":
        page.keyboard.press("j")
        assert page.evaluate(inside) == number
        assert page.get_attribute(".list a[aria-current]", "data-number") == number
    for number in "321":
        page.keyboard.press("k")
        assert page.evaluate(inside) == number
    assert "The same picture in 3 places. Finding 1 of 4" in page.text_content("#live")
    top = "s => document.querySelector(s).getBoundingClientRect().top"
    assert 0 <= page.evaluate(top, "#group-1") < 60
    assert page.evaluate(top, "#finding-1") < 600
    page.click(".members li:nth-child(3) a")
    assert 0 <= page.evaluate(top, "#finding-2") < 60
    assert check(page, "axe") == []
    assert seen.noise == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_group_can_be_read_on_any_screen(linked: Path, visit: Callable[..., Visit], scheme: str) -> None:
    for width in (360, 1280):
        page = visit(linked, viewport={"width": width, "height": 800}, color_scheme=scheme).page
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert check(page, "contrast") == []


def test_a_group_prints_with_its_first_finding(linked: Path, tmp_path: Path, visit: Callable[..., Visit]) -> None:
    visit(linked).page.pdf(path=str(tmp_path / "report.pdf"), prefer_css_page_size=True, print_background=True)
    with pypdfium2.PdfDocument(tmp_path / "report.pdf") as document:
        texts = [sheet.get_textpage().get_text_range() for sheet in document]
    assert "Findings, the most probable first" in texts[1]
    assert "in 3 places" in texts[1]
    for number in range(1, 5):
        assert f"Finding {number} of 4" in texts[number]
        assert "last: 0.5" in texts[number]


def test_keys_switch_the_views(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.keyboard.press("j")
    mode = "() => document.querySelector('#finding-1 .views').dataset.mode"
    for key, name in (("s", "slider"), ("d", "difference"), ("o", "opacity"), ("b", "blink"), ("p", "side")):
        page.keyboard.press(key)
        assert page.evaluate(mode) == name
        assert page.text_content("#finding-1 button[data-mode][aria-pressed=true]") is not None
        assert page.get_attribute(f"#finding-1 button[data-mode={name}]", "aria-pressed") == "true"
        assert page.locator("#finding-1 button[data-mode][aria-pressed=true]").count() == 1
        assert page.is_visible("#finding-1 .cell-mix svg") is (name != "side")
    page.keyboard.press("s")
    page.keyboard.press("s")
    assert page.evaluate(mode) == "side"


def test_the_slider_moves_by_key_and_by_pointer(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.keyboard.press("j")
    page.keyboard.press("s")
    at = "() => Number(document.querySelector('#finding-1 .cell-mix .handle').getAttribute('x1'))"
    before = page.evaluate(at)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(at) < before
    box = page.locator("#finding-1 .cell-mix svg").bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 60)
    assert page.evaluate(at) == pytest.approx(0.25 * 360, abs=2)


def test_the_slider_shows_a_on_its_left_and_b_on_its_right(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.keyboard.press("j")
    page.keyboard.press("s")
    page.locator("#finding-1 .controls input").fill("25")
    edges = """() => ["a", "b"].map((side) => {
      const rect = document.querySelector(`#slide-${side}-1 rect`);
      return Number(rect.getAttribute(side === "a" ? "width" : "x"));
    })"""
    assert page.evaluate(edges) == pytest.approx([90, 90], abs=1)


def test_keys_zoom_and_hide_the_outlines_and_leave_the_browsers_own_alone(visit: Callable[..., Visit]) -> None:
    page = visit().page
    number = page.eval_on_selector("[data-toggle=zoom]", "b => Number(b.closest('.finding').dataset.number)")
    for _ in range(number):
        page.keyboard.press("j")
    views = page.locator(f"#finding-{number} .views")
    for key, toggle in (("z", "zoom"), ("x", "outlines")):
        button = views.locator(f"[data-toggle={toggle}]")
        before = button.get_attribute("aria-pressed")
        page.keyboard.press(f"Alt+{key}")
        assert button.get_attribute("aria-pressed") == before
        page.keyboard.press(key)
        assert button.get_attribute("aria-pressed") != before


def test_why_opens_and_closes_by_key_and_says_so(visit: Callable[..., Visit]) -> None:
    seen = visit()
    page = seen.page
    page.keyboard.press("j")
    part = page.locator("#finding-1 .why")
    assert not part.locator("svg").first.is_visible()
    page.keyboard.press("w")
    assert part.locator("figure svg").count() == 2
    assert part.locator("figure svg").first.is_visible()
    assert "1 is the border" in page.text_content("#live")
    assert page.locator("#finding-2 .why").get_attribute("open") is None
    told = part.locator("figure svg").first.get_attribute("aria-label")
    assert "what makes them differ is strongest" in told
    page.keyboard.press("w")
    assert not part.locator("figure svg").first.is_visible()
    part.locator("summary").focus()
    page.keyboard.press("Enter")
    assert part.locator("figure svg").first.is_visible()
    assert seen.noise == []


def test_why_does_not_hang_on_colour(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.evaluate("() => document.querySelectorAll('.why').forEach(d => { d.open = true; })")
    dashed, solid = (page.locator(f".why polygon.over{rest}").count() for rest in (".dash", ":not(.dash)"))
    assert dashed > 0
    assert solid > 0
    assert set(page.locator(".why .pin text").all_text_contents()) == {"+", "−"}
    assert page.locator("#finding-1 .why .why-legend").inner_text().split() == ["−", "alike", "differ", "+"]


def test_panels_can_be_filtered_by_document(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    page = visit(html.write(hostile_screening(), tmp_path)).page
    page.select_option("#filter-document", index=3)
    assert page.text_content("#filter-count") == "2 panels"


def test_modes_show_the_right_pictures(visit: Callable[..., Visit]) -> None:
    """In the registered frame a and b fall on each other: their difference is black, a side by itself is not."""
    page = visit(device_scale_factor=1).page
    page.evaluate("() => document.querySelector('#finding-3').scrollIntoView()")
    page.click("#finding-3 button[data-mode=difference]")
    shot = page.locator("#finding-3 .cell-mix svg").screenshot()
    difference = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_GRAYSCALE)[8:-8, 8:-8]
    page.click("#finding-3 button[data-mode=opacity]")
    both = cv2.imdecode(np.frombuffer(page.locator("#finding-3 .cell-mix svg").screenshot(), np.uint8), 0)
    assert difference.mean() < 6
    assert both.mean() > 60


def test_nothing_blinks_until_asked_and_never_faster_than_1_5_hz(visit: Callable[..., Visit]) -> None:
    page = visit(clock=True).page
    page.evaluate("""() => { window.changes = 0; new MutationObserver((all) => {
      window.changes += all.filter((m) => m.attributeName === 'visibility').length;
    }).observe(document.body, { subtree: true, attributes: true }); }""")
    page.clock.run_for(10_000)
    assert page.evaluate("() => window.changes") == 0
    page.keyboard.press("j")
    page.keyboard.press("b")
    page.select_option("#finding-1 select", "1.5")
    page.evaluate("() => { window.changes = 0; }")
    page.clock.run_for(10_000)
    assert page.evaluate("() => window.changes") in (14, 15)
    assert page.text_content("#finding-1 .blink-start") == "Stop"
    page.keyboard.press("b")
    page.evaluate("() => { window.changes = 0; }")
    page.clock.run_for(10_000)
    assert page.evaluate("() => window.changes") == 0
    rates = page.eval_on_selector_all("#finding-1 select option", "all => all.map(o => Number(o.value))")
    assert max(rates) == 1.5


def test_reduced_motion_swaps_only_by_hand(visit: Callable[..., Visit]) -> None:
    page = visit(clock=True, reduced_motion="reduce").page
    page.keyboard.press("j")
    page.keyboard.press("b")
    shown = "() => document.querySelector('#finding-1 .controls .tag').textContent"
    first = page.evaluate(shown)
    page.clock.run_for(10_000)
    assert page.evaluate(shown) == first
    assert page.locator("#finding-1 .blink-start").count() == 0
    page.click("#finding-1 .controls button")
    assert page.evaluate(shown) != first


def test_help_opens_by_key_and_shortcuts_can_be_turned_off(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.keyboard.press("?")
    assert page.is_visible("#help")
    assert page.evaluate("() => document.activeElement.textContent") == "Close"
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")
    page.keyboard.press("j")
    assert page.locator(".list a[aria-current]").count() == 0


def test_panels_can_be_filtered(visit: Callable[..., Visit]) -> None:
    page = visit().page
    assert page.locator(".gallery li:visible").count() == 9
    page.select_option("#filter-kind", "graph")
    assert page.locator(".gallery li:visible").count() == 1
    assert page.text_content("#filter-count") == "1 panel"
    page.select_option("#filter-kind", "")
    page.check("#filter-found")
    assert page.locator(".gallery li:visible").count() == 8


def test_contrast_can_be_stretched_in_every_view(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.keyboard.press("j")

    def spread(selector: str) -> float:
        page.wait_for_timeout(100)
        shot = np.frombuffer(page.locator(selector).screenshot(), np.uint8)
        grey = cv2.imdecode(shot, cv2.IMREAD_GRAYSCALE)[8:-8, 8:-8]
        return float(np.diff(np.percentile(grey, (2, 98)))[0])

    before = spread("#finding-1 .cell-a svg")
    page.keyboard.press("c")
    assert spread("#finding-1 .cell-a svg") > 1.15 * before
    page.keyboard.press("o")
    assert page.locator("#finding-1 .cell-mix use[filter]").count() == 2
    page.click("#finding-1 [data-toggle=stretch]")
    assert page.locator("#finding-1 :is(.layer-a, .layer-b) use[filter]").count() == 0
    page.keyboard.press("p")
    assert spread("#finding-1 .cell-a svg") == pytest.approx(before, abs=2)


def test_a_page_can_be_enlarged(visit: Callable[..., Visit]) -> None:
    page = visit().page
    svg = page.locator("#finding-1 .place").first.locator(".page svg")
    before = svg.bounding_box()["width"]
    button = page.locator("#finding-1 .enlarge").first
    button.click()
    assert svg.bounding_box()["width"] > 2 * before
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert svg.bounding_box()["width"] == before


def test_the_command_can_be_copied(visit: Callable[..., Visit]) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"]).page
    page.click("#copy")
    page.wait_for_function("() => document.querySelector('#live').textContent === 'Command copied.'")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.text_content("#command")


def test_without_scripts_the_evidence_is_there(visit: Callable[..., Visit]) -> None:
    page = visit(java_script_enabled=False).page
    assert page.is_visible("#finding-1 .cell-a svg")
    assert page.is_visible("#finding-1 .cell-heat svg")
    assert page.is_visible("#problems")
    assert not page.is_visible("#finding-1 .modes")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_names_headings_and_contrast(visit: Callable[..., Visit], scheme: str) -> None:
    page = visit(color_scheme=scheme).page
    page.keyboard.press("j")
    for key in ("b", "s", "o", "d"):
        page.keyboard.press(key)
        assert check(page, "axe") == []
    page.evaluate("() => document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert check(page, "contrast") == []


def test_focus_can_be_seen(visit: Callable[..., Visit]) -> None:
    page = visit().page
    for _ in range(40):
        page.keyboard.press("Tab")
        style = page.evaluate(
            """() => { const node = document.activeElement, style = getComputedStyle(node);
            return [node.outerHTML.slice(0, 80), style.outlineStyle, style.outlineWidth]; }"""
        )
        assert style[1] != "none", style
        assert style[2] != "0px", style


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_nothing_runs_over_the_edge(visit: Callable[..., Visit], width: int) -> None:
    page = visit(viewport={"width": width, "height": 800}).page
    page.keyboard.press("j")
    page.keyboard.press("s")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_verdict_and_status_do_not_hang_on_colour(visit: Callable[..., Visit]) -> None:
    page = visit().page
    assert page.locator(".finding.manipulated .verdict").all_inner_texts() == ["≠\nLocal content differs"] * 2
    assert page.locator(".finding.benign .verdict").all_inner_texts() == ["=\nNo local change"] * 2
    assert page.locator("#inputs td:last-child").all_inner_texts() == ["⚠ read in part", "⚠ refused"]
    assert page.locator("#finding-2 .cell-heat rect.change").count() == 1
    assert page.locator("#finding-2 .cell-heat .legend").inner_text().split() == ["equal", "differs"]


def test_prints_to_one_page_a_finding(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.keyboard.press("j")
    page.keyboard.press("d")
    page.pdf(path=str(tmp_path / "report.pdf"), prefer_css_page_size=True, print_background=True)
    with pypdfium2.PdfDocument(tmp_path / "report.pdf") as document:
        texts = [sheet.get_textpage().get_text_range() for sheet in document]
    assert 6 <= len(texts) <= 7  # the summary, four findings, provenance
    assert "Problems" in texts[0]
    assert "refused" in texts[0]
    for number in range(1, 5):
        assert f"Finding {number} of 4" in texts[number]
        assert "The numbers behind it" in texts[number]
    assert not any("Side by side" in text or "Copy" in text for text in texts)


@pytest.fixture(scope="module")
def edited(edited_case: tuple[Path, Screening]) -> Path:
    folder, screening = edited_case
    return html.write(screening, folder)


def shot(page: Any, selector: str) -> np.ndarray:
    """Return what is seen of an element, in colour."""
    page.wait_for_timeout(150)
    data = np.frombuffer(page.locator(selector).screenshot(), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.int16)


def coloured(page: Any, side: int) -> float:
    """Return the share of panel a (0) or b (1) of finding 1, both grey, that the heat-map covers; outlines are off."""
    seen = shot(page, f"#finding-1 .cell-over >> nth={side} >> svg")
    return float((np.ptp(seen, axis=2) > 12).mean())


def test_the_threshold_says_what_is_covered(edited: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(edited, device_scale_factor=1)
    page = seen.page
    page.click("#finding-1 button[data-mode=heat]")
    assert [page.is_visible(f"#finding-1 .cell-{name}") for name in ("a", "b", "heat")] == [False] * 3
    page.click("#finding-1 [data-toggle=outlines]")
    level = page.locator("#finding-1 .level")
    share = {}
    for value in (2, 50, 99):
        level.fill(str(value))
        share[value] = [coloured(page, side) for side in (0, 1)]
        assert page.text_content("#finding-1 .level-number") == f"{value / 100:.2f}"
    areas = sum(
        (x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in ((40, 60, 90, 110), (200, 300, 260, 380), (120, 180, 170, 230))
    )
    for side in (0, 1):
        assert share[2][side] > 0.3  # the noise of the map
        assert share[50][side] == pytest.approx(areas / (360 * 480), rel=0.35)
        assert share[99][side] == 0
    assert seen.noise == []


def test_each_panel_is_covered_in_its_own_frame(edited: Path, visit: Callable[..., Visit]) -> None:
    page = visit(edited, device_scale_factor=1).page
    page.click("#finding-1 button[data-mode=heat]")
    page.click("#finding-1 [data-toggle=outlines]")
    turned = page.evaluate(
        "() => Array.from(document.querySelectorAll('#finding-1 .cell-over svg')).map((s) => s.viewBox.baseVal.width)"
    )
    assert turned == [480, 360]
    boxes = ((60, 40), (300, 200))  # corners of the first and second edit of b, as y, x
    for y, x in boxes:
        seen = shot(page, "#finding-1 .cell-over >> nth=1 >> svg")
        k = seen.shape[1] / 360
        inside = seen[round((y + 25) * k), round((x + 25) * k)]
        outside = seen[round((y - 20) * k), round((x + 25) * k)]
        assert np.ptp(inside) > 40
        assert np.ptp(outside) <= 12


def test_the_threshold_moves_by_key(edited: Path, visit: Callable[..., Visit]) -> None:
    seen = visit(edited)
    page = seen.page
    page.keyboard.press("j")
    page.keyboard.press("h")
    assert page.get_attribute("#finding-1 button[data-mode=heat]", "aria-pressed") == "true"
    for key, told in (("ArrowRight", "0.51"), ("ArrowRight", "0.52"), ("ArrowLeft", "0.51")):
        page.keyboard.press(key)
        assert page.text_content("#finding-1 .level-number") == told
        assert page.text_content("#live") == f"Threshold {told}."
    page.focus("#finding-1 .level")
    page.keyboard.press("ArrowLeft")
    assert page.text_content("#finding-1 .level-number") == "0.50"
    assert page.text_content("#finding-2 .level-number") == "0.50"
    page.keyboard.press("h")
    assert page.is_visible("#finding-1 .cell-a")
    assert not page.is_visible("#finding-1 .cell-over >> nth=0")
    assert seen.noise == []


def test_outlines_follow_the_threshold_and_the_ground(edited: Path, visit: Callable[..., Visit]) -> None:
    page = visit(edited).page
    page.click("#finding-1 button[data-mode=heat]")
    page.wait_for_timeout(200)
    length = """() => Array.from(document.querySelectorAll('#finding-1 .cell-over .trace'))
      .map((path) => [path.dataset.ground, path.getTotalLength()])"""
    start = dict(page.evaluate(length))
    page.locator("#finding-1 .level").fill("90")
    page.wait_for_timeout(200)
    narrow = dict(page.evaluate(length))
    assert start["dark"] > 3 * start["light"]  # cells on dark ground
    assert 0 < narrow["dark"] < start["dark"]
    page.locator("#finding-1 .level").fill("99")
    page.wait_for_timeout(200)
    assert sum(length for _, length in page.evaluate(length)) == 0
    page.click("#finding-2 button[data-mode=heat]")
    page.wait_for_timeout(200)
    strip = dict(page.evaluate(length.replace("finding-1", "finding-2")))
    assert strip["light"] > strip["dark"]  # a band on light ground


@pytest.mark.parametrize("name", ["turned", "bent"])
def test_the_other_place_of_a_looks_as_it_does_in_b(
    name: str, edited_case: tuple[Path, Screening], tmp_path: Path, visit: Callable[..., Visit]
) -> None:
    """b is a copy of a, moved, so that what is drawn of a must look like b there."""
    folder, screening = edited_case
    found = next(one for one in screening.findings if one.id == name)
    back = np.linalg.inv(overlay.corner_transform(found.transform))
    place = geometry.bounds(overlay.project(back, geometry.corners((250, 160, 300, 230))))
    edit = Edit(box_a=place, box_b=(60, 80, 120, 130), kind="cloned", source_a=place)
    alone = screening.model_copy(update={"findings": (found.model_copy(update={"edits": (edit,)}),)})
    (tmp_path / "report.html").write_text(html.render(alone, folder), encoding="utf-8")
    page = visit(tmp_path / "report.html", device_scale_factor=1).page
    seen = shot(page, ".pieces svg >> nth=-1").mean(axis=2).astype(np.float32)
    x, y, width, height = map(float, page.get_attribute(".pieces svg >> nth=-1", "viewBox").split())
    b = cv2.imread(str(folder / "panels" / f"{found.b}.png"), cv2.IMREAD_GRAYSCALE)
    there = b[round(y) : round(y + height), round(x) : round(x + width)].astype(np.float32)
    there = cv2.resize(there, seen.shape[::-1], interpolation=cv2.INTER_AREA)
    seen, there = (cv2.GaussianBlur(image, (0, 0), 3) for image in (seen, there))
    assert np.corrcoef(seen.ravel(), there.ravel())[0, 1] > 0.85


@pytest.mark.parametrize("width", [360, 1280])
def test_edits_are_large_enough_and_can_be_read(edited: Path, visit: Callable[..., Visit], width: int) -> None:
    page = visit(edited, viewport={"width": width, "height": 900}, color_scheme="dark").page
    sizes = page.eval_on_selector_all(".pieces svg", "all => all.map((s) => s.getBoundingClientRect().width)")
    assert len(sizes) == 10 + 3 + 6
    assert min(sizes) >= (160 if width > 500 else 130)
    page.click("#finding-1 button[data-mode=heat]")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert check(page, "axe") == []
    assert check(page, "contrast") == []


def test_without_scripts_the_heat_map_lies_over_both_at_one_half(edited: Path, visit: Callable[..., Visit]) -> None:
    page = visit(edited, java_script_enabled=False).page
    assert page.is_visible("#finding-1 .cell-over >> nth=0 >> svg")
    assert not page.is_visible("#finding-1 .level")
    assert "Shown is what reaches 0.50." in page.inner_text("#finding-1 .over-controls")
    assert "M" in page.get_attribute("#finding-1 .cell-over .trace >> nth=0", "d")
