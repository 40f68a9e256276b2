"""The report on paper: a PDF with each finding's pictures, what it means, and what people decided about it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table
from reportlab.platypus import Image as Picture

from twinscope.report import comparison, edits, groups, words
from twinscope.report.said import Decided, Said
from twinscope.types import Finding, Panel, Screening

WIDTH, MARGIN = A4[0], 16 * mm
PAD = 6
"""What reportlab leaves free around the text of a page, pt."""
ROOM = WIDTH - 2 * MARGIN - 2 * PAD
PICTURE_H = 62 * mm
INK, SOFT, LINE, WASH = (HexColor(value) for value in ("#1b2025", "#555d65", "#c9c6be", "#e4eff4"))
SHADED: dict[str, Any] = {"backColor": WASH, "borderPadding": (1, PAD, 3, PAD), "leftIndent": PAD, "rightIndent": PAD}
QUALITY = 85


@cache
def _fonts() -> frozenset[int]:
    """Make the fonts known, and return the code points that both can show."""
    seen = []
    for name in ("DejaVuSans", "DejaVuSans-Bold"):
        with as_file(files("twinscope.report").joinpath("fonts", f"{name}.ttf")) as file:
            font = TTFont(name, file)
        pdfmetrics.registerFont(font)
        seen.append(frozenset(font.face.charToGlyph))
    pdfmetrics.registerFontFamily(
        "DejaVuSans", normal="DejaVuSans", bold="DejaVuSans-Bold", italic="DejaVuSans", boldItalic="DejaVuSans-Bold"
    )
    return seen[0] & seen[1]


def render(screening: Screening, case: Path, title: str, decided: Decided | None = None) -> bytes:
    """Return the report of a case as the bytes of a PDF (A4); what its fonts lack is shown as its code point."""
    _fonts()
    panels = {panel.id: panel for panel in screening.panels}
    names = words.panel_names(screening)
    story = _head(screening, title, decided)
    ordered, level = groups.ordered(screening), edits.level(screening)
    for number, finding in enumerate(ordered, 1):
        said = decided.said.get(finding.id, ()) if decided else None
        shown = [panels[name] for name in (finding.a, finding.b) if name in panels]
        pictures = _pictures(finding, shown, case, level)
        story += _finding(f"{number} of {len(ordered)}", finding, shown, names, pictures, said)
    story += _end(screening, decided)
    out = io.BytesIO()
    paper = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=MARGIN,
        title=words.visible(title), author="", creator=f"twinscope {screening.provenance.twinscope}", invariant=1,
    )  # fmt: skip

    def number_pages(canvas: Canvas, document: Any) -> None:
        canvas.setFont("DejaVuSans", 7.5)
        canvas.setFillColor(SOFT)
        canvas.drawString(MARGIN, 9 * mm, _plain(title)[:90])
        canvas.drawRightString(WIDTH - MARGIN, 9 * mm, f"page {document.page}")

    paper.build(story, onFirstPage=number_pages, onLaterPages=number_pages)
    return out.getvalue()


def _plain(text: object) -> str:
    """Return text on one line in which all is visible and all can be shown."""
    known = _fonts()
    return "".join(char if ord(char) in known else f"⟨U+{ord(char):04X}⟩" for char in words.visible(text))


def _text(text: object, size: float = 9, bold: bool = False, soft: bool = False, **more: Any) -> Paragraph:
    """Return a paragraph of plain text: nothing in it is taken for markup."""
    return _marked(escape(_plain(text)), size, bold, soft, **more)


def _marked(markup: str, size: float = 9, bold: bool = False, soft: bool = False, **more: Any) -> Paragraph:
    style = ParagraphStyle(
        "text", fontName="DejaVuSans-Bold" if bold else "DejaVuSans", fontSize=size, leading=1.35 * size,
        textColor=SOFT if soft else INK, **{"splitLongWords": 1, "spaceAfter": 2, **more},
    )  # fmt: skip
    return Paragraph(markup, style)


def _head(screening: Screening, title: str, decided: Decided | None) -> list[Flowable]:
    """Return the top of the first page: what was screened, what was found, what was not read."""
    local = sum(finding.verdict == "manipulated" for finding in screening.findings)
    found = words.count(len(screening.findings), "pair")
    shows = "shows" if len(screening.findings) == 1 else "show"
    lead = f"{found[0].upper()}{found[1:]} of panels {shows} evidence of the same source"
    lead += f"; in {local} of them local content differs as well." if local else "."
    out: list[Flowable] = [_text("twinscope", 9, soft=True), _text(title, 18, True, spaceAfter=6), _text(lead, 11)]
    if decided is not None:
        done = sum(any(one.decision for one in said) for said in decided.said.values())
        out.append(_text(f"Decided: {done} of {len(screening.findings)}.", 11))
    rows = [
        [
            _text(words.file_name(item.path)),
            _text(words.STATUS[item.status]),
            _text(item.sha256[:16] + " …", 7.5, soft=True),
        ]
        for item in screening.inputs
    ]
    if rows:
        out += [Spacer(0, 8), _text("What was screened", 11, True), _table(rows, (0.5, 0.25, 0.25))]
    troubles = words.troubles(screening)
    if troubles:
        out += [Spacer(0, 6), _text("Not screened in full", 11, True)]
        out.append(_text("Nothing in this list reads as “clean”. What could not be read was not compared.", soft=True))
        for item in troubles:
            where = f", {item.where}" if item.where else ""
            why = ": ".join(part for part in (item.status, item.reason) if part)
            out.append(_text(f"⚠ {words.file_name(item.path)}{where}: {why}"))
    return [*out, Spacer(0, 10)]


def _table(rows: list[list[Any]], shares: Sequence[float]) -> Table:
    lines = [("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    return Table(rows, [ROOM * share for share in shares], style=[*lines, ("LEFTPADDING", (0, 0), (0, -1), 0)])


def _finding(
    number: str,
    finding: Finding,
    shown: list[Panel],
    names: dict[str, str],
    pictures: Table | None,
    said: tuple[Said, ...] | None,
) -> list[Flowable]:
    """Return a finding: its names, its pictures, the decision, the steps, and where the panels stand."""
    a, b = (names.get(name, name) for name in (finding.a, finding.b))
    title, explanation = words.verdict(finding)
    kind = "the same picture twice" if finding.kind == "duplicate" else "overlapping pictures"
    sure = f"{words.number(finding.probability)} {words.likelihood(finding.probability).lower()} · {title.lower()}"
    top: list[Flowable] = [
        _text(f"Finding {number} · {kind}", 8, soft=True, spaceBefore=10),
        _marked(f"<b>a</b> {escape(_plain(a))} and <b>b</b> {escape(_plain(b))}", 12, spaceAfter=3),
        _text(sure, 10, True),
    ]
    if said is not None:
        top += _said(said)
    if pictures is not None:
        top += [Spacer(0, 4), pictures]
    rest: list[Flowable] = [
        _text("From a to b: " + (", ".join(finding.steps) or "nothing; no change of geometry or tone was measured")),
        _text(explanation, 8.5, soft=True),
        _text(words.expectation(finding.expected_false), 8.5, soft=True),
    ]
    if (careful := words.caution(finding)) is not None:
        rest.append(_text(careful, 8.5))
    if finding.classes is not None:
        rest.append(_text(words.classes_line(finding.classes), 8.5, soft=True))
    for side, panel in zip("ab", shown, strict=False):
        page = f", page {panel.source.page}" if panel.source.page else ""
        rest.append(_text(f"{side}: {words.document(panel)}{page}, {panel.size[1]} × {panel.size[0]} px", 8, soft=True))
    return [KeepTogether([*top, Spacer(0, 4), rest[0]]), *rest[1:], Spacer(0, 8)]


def _said(said: tuple[Said, ...]) -> list[Flowable]:
    """Return the decision and the notes, a paragraph each: however long they are, a page may end within them."""
    last = next((one.decision for one in reversed(said) if one.decision), "")
    out: list[Flowable] = [_text(f"Decided: {last}" if last else "Not decided", 10, True, **SHADED)]
    for one in said:
        told = ": ".join(part for part in (one.decision, f"“{one.note}”" if one.note else "") if part)
        out.append(_text(f"{told} — {one.who}, {one.at[:10]} {one.at[11:16]} UTC, no. {one.seq}", 8.5, **SHADED))
    return [Spacer(0, 4), *out, Spacer(0, 4)]


def _pictures(finding: Finding, shown: list[Panel], case: Path, level: float) -> Table | None:
    """Return the panels with what they share outlined, and the heat-map, in one row; None where none is stored."""
    there = [panel for panel in shown if (case / "panels" / f"{panel.id}.png").is_file()]
    if len(there) < 2:
        return None
    told = finding if finding.changes else finding.model_copy(update={"heatmap_b": None})  # nothing is seen on it
    cells = comparison.cells(there, told, case, level)
    gap = 4 * mm
    across = ROOM / len(cells) - gap
    row = []
    for cell in cells:
        scale = min(across / cell.width, PICTURE_H / cell.height)
        row.append(Picture(_jpeg(cell), cell.width * scale, cell.height * scale))
    labels = ["a", "b", "what differs, in the frame of b; yellow differs"][: len(cells)]
    rows = [row, [_text(label, 8, soft=True) for label in labels]]
    pad = [(side, (0, 0), (-1, -1), 0) for side in ("LEFTPADDING", "TOPPADDING", "BOTTOMPADDING")]
    places = [("VALIGN", (0, 0), (-1, 0), "MIDDLE"), ("VALIGN", (0, 1), (-1, 1), "TOP")]
    return Table(rows, [across + gap] * len(cells), style=[*places, *pad])


def _jpeg(image: Image.Image) -> io.BytesIO:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    out.seek(0)
    return out


def _end(screening: Screening, decided: Decided | None) -> list[Flowable]:
    """Return the last part: what the report cannot tell, and what is needed to make it again."""
    out: list[Flowable] = [Spacer(0, 8), _text("What this report cannot tell you", 11, True)]
    out += [_text(f"• {line}", 8.5) for line in words.cannot_tell(words.library_of(screening))]
    told = screening.provenance
    out += [Spacer(0, 6), _text("Provenance", 11, True), _text(f"twinscope {told.twinscope}", 8.5)]
    out += [_text(f"model {name}: {sha256}", 7.5, soft=True) for name, sha256 in sorted(told.models.items())]
    out.append(_text(f"settings: {told.settings_sha256}", 7.5, soft=True))
    out += [_text(f"SHA-256 of {words.file_name(i.path)}: {i.sha256}", 7.5, soft=True) for i in screening.inputs]
    if decided is not None:
        seq, sha256 = decided.record
        out.append(
            _text(f"record of decisions: {words.count(seq, 'entry', 'entries')}, the last one's hash {sha256}", 7.5)
        )
    return out
