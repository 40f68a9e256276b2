"""Read a PDF: pages, figures, panels. Runs in the worker only: it loads pypdfium2."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from numpy.typing import NDArray

from twinscope import pixels
from twinscope.errors import BrokenError, InputError, RefusedError
from twinscope.ingest import kinds, layout, letters, placed, raster, sheet
from twinscope.ingest.job import Job, Note, Tell
from twinscope.ingest.layout import Found, Graphic, common, hull
from twinscope.ingest.panels import Piece, split
from twinscope.ingest.pictures import LEAST_PX, Budget, crop, panels_of, save, whole
from twinscope.ingest.raster import Native
from twinscope.ingest.sheet import Sheet
from twinscope.settings import Ingest
from twinscope.types import Box, Correction, Figure, Origin, Page, Panel, Problem

Image = NDArray[np.uint8]

_SMALL_FIGURE_PX = 1200
_FINE_DPI = 300.0
_MARK = tuple[str, int, int, int, int]


class _Cut(NamedTuple):
    """The pixels of a panel and where they come from."""

    image: Image
    box_pt: Box
    box_px: Box | None


def read(job: Job, tell: Tell) -> None:
    """Tell everything about a PDF, page by page from `job.first`.

    Raises RefusedError (encrypted, too many pages) and BrokenError (damaged) before the first page.
    """
    document = _open_or_repair(job, tell)
    total = len(document)
    limits = job.ingest.limits
    if total == 0:
        raise BrokenError("the PDF has no pages")
    tell(Note(event="start", pages=total))
    if total > limits.pages:
        reason = f"the PDF has {total} pages; only the first {limits.pages} are read"
        tell(Note(event="problem", problem=Problem(path=job.path, reason=reason)))
    marks = frozenset() if job.cautious else _furniture(document, min(total, limits.pages))
    budget = Budget(job.images, limits.images)
    for number in range(job.first, min(total, limits.pages) + 1):
        tell(Note(event="page", page=number, pages=total))
        try:
            _read_page(document, number, total, job, tell, budget, marks)
        except (InputError, pdfium.PdfiumError, ValueError, MemoryError, cv2.error) as error:
            reason = str(error) if isinstance(error, InputError) else f"the page cannot be read ({_short(error)})"
            tell(Note(event="problem", problem=Problem(path=job.path, page=number, reason=reason)))
        if budget.used > budget.most:
            return


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


def _open_or_repair(job: Job, tell: Tell) -> pdfium.PdfDocument:
    """Return the PDF, repaired where it cannot be opened as it is."""
    try:
        return _open(Path(job.file))
    except BrokenError as error:
        import pikepdf  # few documents need it

        place = Path(job.out) / "repaired.pdf"
        try:
            with pikepdf.open(job.file) as broken:
                broken.save(place)
            document = _open(place)
            pages = len(document)
        except (pikepdf.PdfError, BrokenError, OSError, RuntimeError):
            raise error from None
        if pages == 0:
            raise error
    if job.first == 1:
        reason = "the PDF is damaged; only what could be repaired is read"
        tell(Note(event="problem", problem=Problem(path=job.path, reason=reason)))
    return document


def _open(path: Path) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        text = str(error).lower()
        if "password" in text:
            raise RefusedError("encrypted: the PDF needs a password; give a copy without one") from error
        if "security" in text:
            raise RefusedError("encrypted in a way that is not supported; give a copy without encryption") from error
        raise BrokenError("the PDF is damaged and cannot be opened") from error


def _furniture(document: pdfium.PdfDocument, pages: int) -> frozenset[_MARK]:
    """Return the marks of what stands at the same place on most pages: stamps, logos, rules."""
    if pages < 3:
        return frozenset()
    chosen = sorted({round(i * (pages - 1) / 9) for i in range(10)})
    seen: Counter[_MARK] = Counter()
    sizes: list[tuple[float, float]] = []
    for index in chosen:
        try:
            page = document[index]
            on_page = sheet.read(page, text=False)
            page.close()
        except (pdfium.PdfiumError, ValueError):
            continue
        sizes.append(on_page.size)
        seen.update({_mark(g) for g in on_page.graphics})
    if not sizes:
        return frozenset()
    height, width = sizes[0]
    often = max(3, 0.6 * len(chosen))

    def in_margin(mark: _MARK) -> bool:
        _, x0, y0, x1, y1 = mark
        return y1 < 0.15 * height or y0 > 0.88 * height or x1 < 0.08 * width or x0 > 0.92 * width

    return frozenset(mark for mark, count in seen.items() if count >= (3 if in_margin(mark) else often))


def _mark(graphic: Graphic) -> _MARK:
    x0, y0, x1, y1 = (round(v) for v in graphic.box)
    return graphic.shape, x0, y0, x1, y1


def _read_page(
    document: pdfium.PdfDocument, number: int, total: int, job: Job, tell: Tell, budget: Budget, marks: frozenset[_MARK]
) -> None:
    page = document[number - 1]
    try:
        on_page = sheet.read(page)
        height, width = on_page.size
        if not (1 <= height <= 14_400 and 1 <= width <= 14_400):
            reason = f"the page is {width:.0f} x {height:.0f} points; pages over 14400 points are not read"
            raise RefusedError(reason)
        graphics = [g for g in on_page.graphics if not _stands_everywhere(g, marks, on_page.size)]
        found = layout.figures(on_page.size, graphics, on_page.lines)
        small = None
        own = [one for one in job.corrections if one.page == number]
        if found or own or total <= 40:
            whole = Box(0, 0, width, height)
            small = _render(page, whole, on_page.size, _dpi(whole, job.ingest.thumbnail_dpi, 2_000_000))
            found = _without_scans(small, on_page, found, number, job, tell)
        keep = _without(tell, own)
        for index, figure in enumerate(found, 1):
            _tell_figure(page, on_page, figure, f"p{number}-f{index}", number, job, keep, budget)
        drawn = [Box(*one.box) for one in own if one.box is not None]
        for index, box in enumerate(drawn, len(found) + 1):
            _tell_drawn(page, on_page, box, found, f"p{number}-f{index}", number, job, tell, budget)
        thumbnail = None if small is None else _save_thumbnail(small, number, job)
        shown = Page(path=job.path, sha256=job.sha256, page=number, size_pt=on_page.size, thumbnail=thumbnail)
        tell(Note(event="shown", shown=shown))
    finally:
        page.close()


def _stands_everywhere(graphic: Graphic, marks: frozenset[_MARK], size: tuple[float, float]) -> bool:
    if _mark(graphic) not in marks:
        return False
    part = graphic.box.area / (size[0] * size[1])
    return graphic.shape != "raster" or part < 0.03


def _without_scans(
    small: Image, on_page: Sheet, found: Sequence[Found], number: int, job: Job, tell: Tell
) -> list[Found]:
    """Return the figures without pictures of whole pages of print; the user is told about those."""
    area = on_page.size[0] * on_page.size[1]
    kept = []
    for figure in found:
        parts = [on_page.rasters[i] for i in figure.rasters]
        covered = sum(p.visible.area for p in parts)
        if covered > 0.75 * area:
            bits = {p.bits for p in parts if p.visible.area > 0.02 * area}
            letters = sum(len(line.text) for line in on_page.lines)
            if bits == {1} or (letters > 200 and float(np.mean(small.min(axis=2) > 225)) > 0.6):
                reason = "the page is a scan; figures inside a scanned page are not looked for"
                tell(Note(event="problem", problem=Problem(path=job.path, page=number, reason=reason)))
                continue
        kept.append(figure)
    return kept


def _save_thumbnail(image: Image, number: int, job: Job) -> str:
    folder = Path(job.out) / "pages"
    folder.mkdir(exist_ok=True)
    pixels.write_jpeg(folder / f"p{number:03d}.jpg", image)
    return f"pages/p{number:03d}.jpg"


def _dpi(box: Box, wanted: float, most_px: int) -> float:
    """Return the resolution at which a box (points) has at most `most_px` pixels."""
    return min(wanted, 72 * math.sqrt(most_px / max(1.0, box.area)))


def _render(page: pdfium.PdfPage, box: Box, size: tuple[float, float], dpi: float) -> Image:
    """Return the pixels of a box (points as shown) of a page: HxWx3 RGB uint8."""
    scale = dpi / 72
    width, height = max(1, round(box.width * scale)), max(1, round(box.height * scale))
    bitmap = pdfium.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGRx)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        left, top = round(-box.x0 * scale), round(-box.y0 * scale)
        whole = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
        flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
        raw.FPDF_RenderPageBitmap(bitmap, page, left, top, *whole, 0, flags)
        return np.ascontiguousarray(bitmap.to_numpy()[..., :3])
    finally:
        bitmap.close()


def _tell_figure(
    page: pdfium.PdfPage,
    on_page: Sheet,
    figure: Found,
    name: str,
    number: int,
    job: Job,
    tell: Tell,
    budget: Budget,
) -> None:
    limits = job.ingest.limits
    dpi = job.ingest.render_dpi
    long_side = max(figure.box.width, figure.box.height) / 72
    if long_side * dpi < _SMALL_FIGURE_PX:
        dpi = min(max(_FINE_DPI, dpi), _SMALL_FIGURE_PX / long_side)
    dpi = _dpi(figure.box, dpi, limits.page_px)
    figure = figure._replace(box=_on_grid(figure.box, dpi / 72))
    natives, reasons = _natives(page, on_page, figure, limits.image_px)
    for reason in reasons:
        tell(Note(event="problem", problem=Problem(path=job.path, page=number, reason=reason)))
    view = _render(page, figure.box, on_page.size, dpi)
    box, view = _to_ink(figure, on_page, view, dpi)
    if box.area <= 0 or (reasons and not natives and view.min() == 255):
        return
    how = "rendered"
    alone = _alone(natives, box, view)
    if alone is not None:
        cuts, pieces = _split_raster(alone, box, job.ingest)
        how = "embedded"
    else:
        cuts, pieces = _split_view(on_page, view, box, dpi, natives, job.ingest)
    origin = Origin(path=job.path, sha256=job.sha256, page=number, box_pt=_tidy(box), how=how)  # type: ignore[arg-type]
    record = Figure(id=name, source=origin, label=figure.label, caption=figure.caption)
    tell(Note(event="figure", figure=record))
    places = letters.letters(on_page.lines, box)
    for index, (piece, cut) in enumerate(zip(pieces, cuts, strict=True), 1):
        budget.take()
        source = origin.model_copy(
            update={
                "box_pt": _tidy(cut.box_pt),
                "box_px": None if cut.box_px is None else tuple(cut.box_px),
                "how": "rendered" if cut.box_px is None else "embedded",
            }
        )
        panel = Panel(
            id=f"{name}-{index}",
            figure=name,
            kind=piece.kind,
            size=(cut.image.shape[0], cut.image.shape[1]),
            label=piece.label or letters.letter_of(cut.box_pt, places),
            caption=figure.caption,
            source=source,
        )
        save(job, tell, panel, cut.image)


def _without(tell: Tell, corrections: Sequence[Correction]) -> Tell:
    """Return what tells all but the panels that a person has replaced or taken out."""
    gone = [one.replaces for one in corrections if one.replaces is not None]

    def keep(note: Note) -> None:
        box = note.panel.source.box_pt if note.panel is not None else None
        if box is None or not any(np.allclose(box, other, atol=0.5) for other in gone):
            tell(note)

    return keep


def _tell_drawn(
    page: pdfium.PdfPage,
    on_page: Sheet,
    drawn: Box,
    found: Sequence[Found],
    name: str,
    number: int,
    job: Job,
    tell: Tell,
    budget: Budget,
) -> None:
    """Tell the panel in a box that a person has drawn: a figure of its own, called as the one that it lies on."""
    height, width = on_page.size
    box = Box(max(0.0, drawn.x0), max(0.0, drawn.y0), min(width, drawn.x1), min(height, drawn.y1))
    if min(box.width, box.height) < 4:
        reason = "a panel box that was drawn is smaller than 4 points, or lies beside the page; draw it again"
        tell(Note(event="problem", problem=Problem(path=job.path, page=number, reason=reason)))
        return
    dpi = _dpi(box, max(_FINE_DPI, job.ingest.render_dpi), job.ingest.limits.page_px)
    box = _on_grid(box, dpi / 72)
    below = max(found, key=lambda one: common(one.box, box), default=None)
    over = below if below is not None and common(below.box, box) > 0.5 * box.area else None
    rasters = tuple(i for i, one in enumerate(on_page.rasters) if common(one.visible, box) > 0)
    lone = Found(box, over.label if over else "", over.caption if over else "", rasters)
    natives, _ = _natives(page, on_page, lone, job.ingest.limits.image_px)
    view = _render(page, box, on_page.size, dpi)
    cut = _embedded(view, box, natives, 1.6 * 72 / dpi, job.ingest.limits.image_px) or _Cut(view, box, None)
    budget.take()
    source = Origin(
        path=job.path,
        sha256=job.sha256,
        page=number,
        box_pt=_tidy(cut.box_pt),
        box_px=None if cut.box_px is None else cut.box_px[:4],
        how="rendered" if cut.box_px is None else "embedded",
    )
    tell(Note(event="figure", figure=Figure(id=name, source=source, label=lone.label, caption=lone.caption)))
    kind = kinds.classify(cut.image)
    panel = Panel(
        id=f"{name}-1",
        figure=name,
        kind="other" if kind in ("graph", "diagram") else kind,  # who draws a box wants it compared
        size=(cut.image.shape[0], cut.image.shape[1]),
        label=letters.letter_of(cut.box_pt, letters.letters(on_page.lines, over.box if over else box)),
        caption=lone.caption,
        source=source,
    )
    save(job, tell, panel, cut.image)


def _on_grid(box: Box, scale: float) -> Box:
    """Return a box grown to whole pixels of a rendering."""
    return Box(*(math.floor(v * scale) / scale for v in box[:2]), *(math.ceil(v * scale) / scale for v in box[2:]))


def _tidy(box: Box) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (round(v, 2) for v in box)
    return x0, y0, x1, y1


def _to_ink(figure: Found, on_page: Sheet, view: Image, dpi: float) -> tuple[Box, Image]:
    """Return the figure's box and view without blank margins, but never smaller than its rasters."""
    ink = view.min(axis=2) < 244
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return Box(figure.box.x0, figure.box.y0, figure.box.x0, figure.box.y0), view
    scale = dpi / 72
    box = Box(
        figure.box.x0 + columns[0] / scale,
        figure.box.y0 + rows[0] / scale,
        figure.box.x0 + (columns[-1] + 1) / scale,
        figure.box.y0 + (rows[-1] + 1) / scale,
    )
    for i in figure.rasters:
        box = hull(box, on_page.rasters[i].visible)
    x0, y0 = round((box.x0 - figure.box.x0) * scale), round((box.y0 - figure.box.y0) * scale)
    x1, y1 = round((box.x1 - figure.box.x0) * scale), round((box.y1 - figure.box.y0) * scale)
    return box, view[max(0, y0) : y1, max(0, x0) : x1]


def _natives(page: pdfium.PdfPage, on_page: Sheet, figure: Found, most_px: int) -> tuple[list[Native], list[str]]:
    """Return the figure's rasters as shown, in drawing order, and why some could not be read."""
    natives: list[Native] = []
    reasons: list[str] = []
    for i in figure.rasters:
        part = on_page.rasters[i]
        if min(part.size) < 4:
            continue
        try:
            one = raster.native(page, part, most_px)
        except InputError as error:
            reasons.append(str(error))
            continue
        if one is not None:
            natives.append(one)
    return natives, reasons


def _same(view: Image, image: Image) -> bool:
    """Return whether a raster looks as the page shows it; small overlays (letters, arrows, stamps) do not count."""
    height, width = view.shape[:2]
    side = 160 / max(height, width)
    size = (max(4, round(width * side)), max(4, round(height * side)))
    rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    a = cv2.resize(view, size, interpolation=cv2.INTER_AREA).astype(np.int16)
    b = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.int16)
    return float((np.abs(a - b).max(axis=2) > 40).mean()) < 0.25


def _alone(natives: Sequence[Native], box: Box, view: Image) -> Native | None:
    """Return the raster that makes up a figure by itself, if there is one."""
    for one in reversed(natives):
        if common(one.visible, box) >= 0.9 * box.area:
            others = sum(common(other.visible, box) for other in natives if other is not one)
            if others < 0.02 * box.area and _same(view, raster.cut(one, box, 0.0)[0]):
                return one
    return None


def _split_raster(source: Native, box: Box, ingest: Ingest) -> tuple[list[_Cut], list[Piece]]:
    """Split a figure that is one raster on the raster itself."""
    image, at = raster.cut(source, box, 1.0)
    dx, dy = source.density
    cuts, pieces = [], []
    for piece in panels_of(image, ingest):
        part, inside = crop(image, piece.box)
        if min(part.shape[:2]) < LEAST_PX:
            continue
        px = Box(at.x0 + inside.x0, at.y0 + inside.y0, at.x0 + inside.x1, at.y0 + inside.y1)
        pt = Box(
            source.box.x0 + px.x0 / dx,
            source.box.y0 + px.y0 / dy,
            source.box.x0 + px.x1 / dx,
            source.box.y0 + px.y1 / dy,
        )
        cuts.append(_Cut(part, pt, px))
        pieces.append(piece)
    return cuts, pieces


def _split_view(
    on_page: Sheet,
    view: Image,
    box: Box,
    dpi: float,
    natives: Sequence[Native],
    ingest: Ingest,
) -> tuple[list[_Cut], list[Piece]]:
    """Split a figure on its rendering; pixels come from the rasters below wherever they show the same."""
    scale = dpi / 72
    hints = [
        Box(*((side - start) * scale for side, start in zip(one.visible, (box.x0, box.y0) * 2, strict=True)))
        for one in natives
    ]
    cuts, pieces = [], []
    hints = [hint for hint in hints if min(hint.width, hint.height) >= LEAST_PX]
    found = placed.respect(split(view, hints), hints, view) if ingest.split else [whole(view)]
    for piece in found:
        place = Box(*(start + side / scale for side, start in zip(piece.box, (box.x0, box.y0) * 2, strict=True)))
        part, _ = crop(view, piece.box)
        cut = _embedded(part, place, natives, 1.6 / scale, ingest.limits.image_px)
        if cut is None and min(part.shape[:2]) >= LEAST_PX:
            cut = _Cut(part, place, None)
        if cut is not None:
            drawn = not any(common(one.visible, place) > 0 for one in on_page.rasters)
            cuts.append(cut)
            pieces.append(piece._replace(kind=kinds.of_drawn(part, piece.kind)) if drawn else piece)
    return cuts, pieces


def _embedded(view: Image, box: Box, natives: Sequence[Native], slack: float, most_px: int) -> _Cut | None:
    """Return the pixels of a panel from the raster (or the tiles) that make it up; None where it must be rendered."""
    inner = layout.grow(box, -min(slack, 0.1 * min(box.width, box.height)))
    for one in reversed(natives):
        if common(one.visible, inner) >= 0.97 * inner.area:
            return _checked(view, box, one, slack)
    tiles = raster.covering([one.visible for one in natives], inner)
    if len(tiles) > 1:
        whole = raster.assemble([natives[i] for i in tiles], most_px)
        if whole is not None:
            return _checked(view, box, whole, slack)
    return None


def _checked(view: Image, box: Box, source: Native, slack: float) -> _Cut | None:
    image, px = raster.cut(source, box, slack)
    if min(image.shape[:2]) < LEAST_PX or not _same(view, image):
        return None
    dx, dy = source.density
    x0, y0 = source.box.x0 + px.x0 / dx, source.box.y0 + px.y0 / dy
    return _Cut(image, Box(x0, y0, source.box.x0 + px.x1 / dx, source.box.y0 + px.y1 / dy), px)
