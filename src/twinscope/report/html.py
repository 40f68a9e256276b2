"""report.html: one file that opens from file:// and makes no request.

The pictures are SVG `<image>`s, each inlined once and shown wherever it is needed with `<use>`; the coordinates are
those of the panels, so that boxes and transforms need no scaling.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from twinscope import geometry
from twinscope.detect import embed
from twinscope.pixels import Image
from twinscope.report import edits, overlay, pictures, why, words
from twinscope.report.groups import groups, ordered
from twinscope.report.page import environment
from twinscope.report.said import Decided
from twinscope.types import PICTURE_KINDS, Box, Figure, Finding, Page, Panel, Screening

BUDGET = 23_000_000
"""Characters that all pictures of a report may take together; they share it by kind."""

_SHARES = {"panels": 0.55, "heatmaps": 0.15, "pages": 0.09, "thumbnails": 0.1, "maps": 0.06, "crops": 0.05}
_MOST = {
    "panels": 700_000,
    "heatmaps": 80_000,
    "pages": 110_000,
    "thumbnails": 16_000,
    "maps": 8_000,
    "crops": 60_000,
}


Link = Callable[[str], str]
"""Where a page finds a picture of the case, by its path there."""


class _Pool:
    """The pictures of a report: each is encoded once and has an id of its own.

    With `link` the pictures of the case are not encoded: the page is told where they are, in full.
    """

    def __init__(self, case: Path, shares: dict[str, int], link: Link | None = None, prefix: str = "px") -> None:
        self.case = case
        self.prefix = prefix
        self.shares = shares
        self.link = link
        self.items: dict[str, dict[str, Any]] = {}
        self.thumbnails: dict[str, str] = {}
        self.exact: set[str] = set()  # files whose every pixel the report holds
        self.prepared: dict[str, Image] = {}  # as the network sees the panels, by their file

    def panel(self, panel: Panel | None) -> str | None:
        """Return the id of a panel's picture, or None when the case does not hold it."""
        return None if panel is None else self._add(_stored(panel.id), "panels", panel.size, pictures.LONG_SIDE)

    def thumbnail(self, panel: Panel) -> str | None:
        """Return the data URI of a panel's small picture, or None when the case does not hold it."""
        name = _stored(panel.id)
        if name not in self.thumbnails:
            image = pictures.load(self.case, name)
            if image is None:
                return None
            self.thumbnails[name] = self._small(image)
        return self.thumbnails[name]

    def heatmap(self, relative: str | None, size: tuple[int, int]) -> str | None:
        """Return the id of a heat-map in grey, which the page colours and cuts off at a threshold."""
        return self._add(relative, "heatmaps", size, 480)

    def page(self, page: Page) -> str | None:
        """Return the id of a page's thumbnail; its size is that of the page in points."""
        return self._add(page.thumbnail, "pages", page.size_pt, 700)

    def add(self, key: str, uri: str, size: tuple[float, float], image: Image | None = None) -> str:
        """Add a picture of `size` (height, width) and return its id; the contrast of `image` can be stretched."""
        if key not in self.items:
            name = f"{self.prefix}{len(self.items) + 1}"
            item = {"id": name, "uri": uri, "height": size[0], "width": size[1], "stretch": None}
            self.items[key] = item if image is None else {**item, "stretch": pictures.stretch(image)}
        return str(self.items[key]["id"])

    def _add(self, relative: str | None, kind: str, size: tuple[float, float], long_side: int) -> str | None:
        if relative is not None and relative in self.items:
            return str(self.items[relative]["id"])
        if self.link is not None:
            return self._linked(relative, self.link, size)
        image = pictures.load(self.case, relative)
        if image is None or relative is None:
            return None
        if kind == "panels":
            self.thumbnails[relative] = self._small(image)
            self.prepared[relative] = embed.prepare(image)
        shown = pictures.grey(image) if kind == "heatmaps" else image
        exact = kind == "panels" and max(image.shape) <= long_side
        uri = pictures.stored(self.case, relative, self.shares[kind]) if exact else None
        shown_uri = uri or pictures.uri(shown, self.shares[kind], long_side)
        if uri is not None:
            self.exact.add(relative)
        return self.add(relative, shown_uri, size, image if kind == "panels" else None)

    def _linked(self, relative: str | None, link: Link, size: tuple[float, float]) -> str | None:
        if relative is None or pictures.inside(self.case, relative) is None:
            return None
        self.exact.add(relative)
        return self.add(relative, link(relative), size)

    def _small(self, image: Image) -> str:
        return pictures.uri(image, self.shares["thumbnails"], 240)


def _stored(panel_id: str) -> str:
    return f"panels/{panel_id}.png"


def write(screening: Screening, case: Path) -> Path:
    """Write report.html of a case and return its path.

    Panels, heat-maps and page thumbnails are read from the case; one that is missing is named in its place.
    """
    text = render(screening, case)
    path = case / "report.html"
    path.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return path


def render(screening: Screening, case: Path, decided: Decided | None = None) -> str:
    """Return the report as HTML text, with what people have decided where that is given."""
    made = environment()
    equip(made)
    pool = _Pool(case, _shares(screening))
    names = words.panel_names(screening)
    whole = screening.provenance.command.startswith("twinscope compare ")  # then every picture counts, of any kind
    findings = _findings(screening, names, pool)
    _explain(screening, findings, pool)
    return made.get_template("report.html").render(
        screening=screening,
        findings=findings,
        groups=_groups(screening, findings, names, pool),
        gallery=_gallery(screening, findings, names, pool),
        pool=pool.items,
        troubles=words.troubles(screening),
        whole=whole,
        compared=sum(whole or panel.kind in PICTURE_KINDS for panel in screening.panels if not panel.earlier),
        cannot_tell=words.cannot_tell(words.library_of(screening)),
        command=words.visible(_command(screening)),
        decided=decided,
    )


def equip(made: jinja2.Environment) -> None:
    """Give an environment the filters, words and colours that the templates of a finding use."""
    made.filters.update(
        file_name=words.file_name, document=words.document, n=_coordinate, points=_points, sig="{:.7g}".format
    )
    made.globals.update(STATUS=words.STATUS, KINDS=words.KINDS, caveat=why.CAVEAT, said=words.edit)
    made.globals.update(MOST=edits.MOST, colours=pictures.tables(), legend=pictures.legend())


def one(screening: Screening, case: Path, finding: Finding, link: Link) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the report says of one finding, and the pictures that this needs by key, which `link` tells."""
    alone = screening.model_copy(update={"findings": (finding,)})
    pool = _Pool(case, _shares(alone), link)
    told = _findings(alone, words.panel_names(screening), pool)[0]
    return told, pool.items


def explained(screening: Screening, case: Path, finding: Finding) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a finding with why its panels lie as far apart as they do, and the pictures that this needs.

    For a part of a page that shows the finding already: no picture here has an id that is taken there.
    """
    alone = screening.model_copy(update={"findings": (finding,)})
    pool = _Pool(case, _shares(alone), prefix="why")
    told = _findings(alone, words.panel_names(screening), pool)
    _explain(alone, told, pool)
    return told[0], pool.items


def _shares(screening: Screening) -> dict[str, int]:
    """Return how many characters one picture of each kind may take."""
    seen = {name for finding in screening.findings for name in (finding.a, finding.b)}
    sources = [panel.source for panel in screening.panels if panel.id in seen]
    bent = sum(any(finding.transform[2][:2]) for finding in screening.findings)
    numbers = {
        "panels": len(seen) + bent,
        "heatmaps": 2 * len(screening.findings),
        "pages": len({(source.sha256, source.page) for source in sources}),
        "thumbnails": len(screening.panels),
        "maps": 2 * len(screening.findings),
        "crops": sum(3 * min(edits.MOST, len(one.edits) or len(one.changes)) for one in screening.findings),
    }
    return {kind: min(_MOST[kind], int(BUDGET * part / max(1, numbers[kind]))) for kind, part in _SHARES.items()}


def _command(screening: Screening) -> str:
    """Return the command that makes this screening again."""
    if screening.provenance.command:
        return screening.provenance.command
    return shlex.join(["twinscope", "screen", *(item.path for item in screening.inputs), "-o", "CASE"])


def _findings(screening: Screening, names: dict[str, str], pool: _Pool) -> list[dict[str, Any]]:
    panels = {panel.id: panel for panel in screening.panels}
    figures = {figure.id: figure for figure in screening.figures}
    within = words.panel_names(screening, across=False)
    many = len({panel.source.path for panel in screening.panels}) > 1
    pages = {(page.sha256, page.page): page for page in screening.pages}
    level = edits.level(screening)
    out = []
    for number, finding in enumerate(ordered(screening), 1):
        files = _files((finding.a, finding.b), panels)
        called = within if len(files) == 1 else names
        sides = {side: _side(side, finding, panels, figures, called, pool) for side in ("a", "b")}
        _place(sides, pages, pool)
        title, explanation = words.verdict(finding)
        picture = _registered(finding, sides, pool, level)
        out.append(
            {
                "number": number,
                "finding": finding,
                "sides": sides,
                "files": files if many and not sides["a"]["name"].startswith(files[0]) else [],
                "one_caption": sides["a"]["caption"] if sides["a"]["caption"] == sides["b"]["caption"] else "",
                "verdict": title,
                "explanation": explanation,
                "likelihood": words.likelihood(finding.probability),
                "expectation": words.expectation(finding.expected_false),
                "caution": words.caution(finding),
                "classes": words.classes(finding.classes),
                "picture": picture,
                "level": level,
                "edits": _edits(finding, sides, pool),
            }
        )
    return out


def _files(ids: tuple[str, ...], panels: dict[str, Panel]) -> list[str]:
    """Return the names of the files that panels come from, each path once."""
    return list(
        {panels[name].source.path: words.document(panels[name]) for name in ids if name in panels}.values()
    ) or [""]


def _groups(
    screening: Screening, findings: list[dict[str, Any]], names: dict[str, str], pool: _Pool
) -> list[dict[str, Any]]:
    """Return the groups with what the report says of each; a finding that shares no panel has a group of its own."""
    panels = {panel.id: panel for panel in screening.panels}
    within = words.panel_names(screening, across=False)
    rest = iter(findings)
    out = []
    for number, group in enumerate(groups(screening), 1):
        told = [next(rest) for _ in group.findings]
        called = within if len(_files(group.panels, panels)) == 1 else names
        members = [
            {
                "name": called.get(name) or words.visible(name),
                "panel": panels.get(name),
                "picture": pool.panel(panels.get(name)),
                "findings": [one["number"] for one in told if name in (one["finding"].a, one["finding"].b)],
            }
            for name in group.panels
        ]
        title, explanation = words.together(group)
        out.append({"number": number, "findings": told, "panels": members, "title": title, "explanation": explanation})
    return out


def _side(
    side: str,
    finding: Finding,
    panels: dict[str, Panel],
    figures: dict[str, Figure],
    names: dict[str, str],
    pool: _Pool,
) -> dict[str, Any]:
    """Return what the report shows of one panel of a finding; a panel outside the screening has no picture."""
    name = finding.a if side == "a" else finding.b
    region = Box(*(finding.region_a if side == "a" else finding.region_b))
    panel = panels.get(name)
    figure = figures.get(panel.figure) if panel else None
    size = panel.size if panel else (max(1, int(region.y1)), max(1, int(region.x1)))
    caption = (panel.caption if panel else "") or (figure.caption if figure else "")
    return {
        "side": side,
        "id": name,
        "panel": panel,
        "name": names.get(name) or words.visible(name),
        "figure": figure,
        "caption": caption,
        "size": size,
        "region": region,
        "picture": pool.panel(panel),
    }


def _registered(finding: Finding, sides: dict[str, dict[str, Any]], pool: _Pool, level: float) -> dict[str, Any]:
    """Return the pictures of a finding in the frame of b, the marks in both panels and the view to start with."""
    transform = overlay.corner_transform(finding.transform)
    a, b = sides["a"], sides["b"]
    mark_a, mark_b = overlay.marks(transform, a["region"], b["region"])
    moved, matrix = a["picture"], overlay.affine(transform, a["size"])
    if matrix is None and moved is not None:
        moved = _bent(finding, a, b, transform, pool)
    outline = geometry.bounds(mark_b.outline)
    return {
        "a": moved,
        "bent": matrix is None,
        "matrix": None if matrix is None else _svg_matrix(matrix),
        "clip": None if matrix is not None else _clip(transform, a["size"], b["size"]),
        "marks": {"a": _mark(mark_a, a["size"]), "b": _mark(mark_b, b["size"])},
        "heatmap": pool.heatmap(finding.heatmap_b, b["size"]),
        "over": {"a": _over("a", finding, a, mark_a, pool, level), "b": _over("b", finding, b, mark_b, pool, level)},
        "zoom": _zoom(outline, b["size"]),
        "whole": outline.area > 0.9 * b["size"][0] * b["size"][1],
        "still": bool(np.allclose(transform, np.eye(3), atol=1e-3)),
        "zoomed": outline.area < 0.3 * b["size"][0] * b["size"][1],
        "shape": _shape(b["size"]),
    }


def _over(
    side: str, finding: Finding, told: dict[str, Any], mark: overlay.Mark, pool: _Pool, level: float
) -> dict[str, Any] | None:
    """Return what lies over a panel in its own frame: its heat-map, outlines on each ground, where nothing is said."""
    relative, mask = (finding.heatmap_a, finding.unsure_a) if side == "a" else (finding.heatmap_b, finding.unsure_b)
    size = told["size"]
    heat = pictures.load(pool.case, relative) if relative and told["picture"] else None
    image = None if heat is None else pictures.load(pool.case, _stored(told["id"]))
    if heat is None or image is None:
        return None
    dark, light = edits.by_ground(image, size, edits.outlines(pictures.grey(heat), size, level))
    blind = pictures.load(pool.case, mask) if mask else None
    if blind is not None:
        unknown = edits.unsure(pictures.grey(blind), size)
    else:  # then what both show is all that is known
        covered = geometry.bounds(mark.outline).area > 0.98 * size[0] * size[1]
        unknown = [] if covered else [geometry.corners((0, 0, size[1], size[0])), mark.outline]
    return {
        "map": pool.heatmap(relative, size),
        "dark": edits.path(dark),
        "light": edits.path(light),
        "unsure": edits.path(unknown),
    }


def _edits(finding: Finding, sides: dict[str, dict[str, Any]], pool: _Pool) -> list[dict[str, Any]]:
    """Return every edit with what its enlargement shows of a, b and the other place of a clone, in the frame of b."""
    transform = overlay.corner_transform(finding.transform)
    shown = edits.shown(finding, sides["b"]["size"], sides["a"]["size"])
    of_a = [one.source is not None and one.source_b is None for one in shown]
    rough = {side: told for side, told in sides.items() if shown and _stored(told["id"]) not in pool.exact}
    lacking = max(sides["b"]["size"]) > pictures.LONG_SIDE or any(of_a)  # reduced, or cut off where b ends
    if shown and lacking and overlay.affine(transform, sides["a"]["size"]) is None:
        rough["a"] = sides["a"]  # a was redrawn in the frame of b
    images = {side: pictures.load(pool.case, _stored(told["id"])) for side, told in rough.items()}
    out = []
    for one, repeats in zip(shown, of_a, strict=True):
        views = {"a": one.view, "b": one.view, "source": one.source_view}
        from_a = ("a", "source") if repeats else ("a",)
        cuts: dict[str, str | None] = dict.fromkeys(views)
        for part, view in views.items() if one.number <= edits.MOST else ():
            image = images.get("a" if part in from_a else "b")
            if image is not None and view is not None:
                piece = edits.cut(image, transform if part in from_a else np.eye(3), view)
                key = f"edit {finding.id} {one.number} {part}"
                cuts[part] = pool.add(key, pictures.uri(piece, pool.shares["crops"]), (view.height, view.width))
        marks = {"edit": edits.corner_marks(one.box_b, one.view)}
        if one.source is not None and one.source_view is not None:
            marks["source"] = edits.corner_marks(one.source, one.source_view)
        out.append({**one._asdict(), "cuts": cuts, "marks": marks})
    return out


def _bent(finding: Finding, a: dict[str, Any], b: dict[str, Any], transform: overlay.Square, pool: _Pool) -> str | None:
    """Return the id of a's picture drawn in the frame of b, for a transform with perspective (SVG has none)."""
    image = pictures.load(pool.case, _stored(a["id"]))
    if image is None:
        return None
    scale = min(1.0, pictures.LONG_SIDE / max(b["size"]))
    warped = overlay.warp(image, transform, b["size"], scale)
    return pool.add(f"bent {finding.id}", pictures.uri(warped, pool.shares["panels"]), b["size"], image)


def _explain(screening: Screening, findings: list[dict[str, Any]], pool: _Pool) -> None:
    """Put under "why" of each finding the maps of what its distance comes from, or None where there are none."""
    images = {
        panel.id: pool.prepared[_stored(panel.id)] for panel in screening.panels if _stored(panel.id) in pool.prepared
    }
    explained = why.of_findings(screening.findings, images, screening.provenance)
    for found in findings:
        told = explained.get(found["finding"].id)
        found["why"] = None
        if told is None:
            continue
        found["why"] = {"distance": told.distance, "nothing": not (told.a.any() or told.b.any())}
        for side, field in (("a", told.a), ("b", told.b)):
            size = found["sides"][side]["size"]
            uri = pictures.uri(why.coloured(field), pool.shares["maps"], why.SHOWN_PX)
            shown = {} if found["why"]["nothing"] else {"map": pool.add(f"why {found['number']} {side}", uri, size)}
            found["why"][side] = {**why.side(field, size), **shown}


def _clip(transform: overlay.Square, size_a: tuple[int, int], size_b: tuple[int, int]) -> overlay.Points:
    """Return the part of b's frame that panel a covers."""
    whole = Box(0, 0, size_a[1], size_a[0]), Box(0, 0, size_b[1], size_b[0])
    return overlay.shared(transform, *whole)[1]


def _svg_matrix(matrix: overlay.Square) -> str:
    (a, c, e), (b, d, f) = matrix[:2]
    return "matrix({})".format(" ".join(f"{value:.6g}" for value in (a, b, c, d, e, f)))


def _mark(mark: overlay.Mark, size: tuple[int, int]) -> dict[str, Any]:
    """Return a mark ready to draw; the tick is at most 6.5 % of the panel's longer side."""
    start, end = mark.tick
    length = min(0.065 * max(size), max(0.03 * max(size), float(np.ptp(mark.outline, axis=0).min())))
    return {
        "outline": mark.outline,
        "tick": start + (end - start) * np.array([[-0.3], [0.7]]) * length,
        "glyph": _svg_matrix(mark.glyph) if abs(np.linalg.det(mark.glyph)) > (0.025 * max(size)) ** 2 else None,
        "pad": 0.055 * max(size),
    }


def _zoom(outline: Box, size: tuple[int, int]) -> Box:
    pad = 0.06 * max(outline.width, outline.height, 16.0)
    return geometry.clip((outline.x0 - pad, outline.y0 - pad, outline.x1 + pad, outline.y1 + pad), size)


def _shape(size: tuple[int, int]) -> str:
    aspect = size[1] / size[0]
    return "wide" if aspect > 2.2 else "tall" if aspect < 0.6 else "even"


def _place(sides: dict[str, dict[str, Any]], pages: dict[tuple[str, int], Page], pool: _Pool) -> None:
    """Put under "page" of each side its page, with the boxes of both panels that lie on it; its own comes last."""
    for side in sides.values():
        panel: Panel | None = side["panel"]
        page = pages.get((panel.source.sha256, panel.source.page or 0)) if panel else None
        side["page"] = None
        if page is None:
            continue
        on_page = [
            (other["side"], Box(*other["panel"].source.box_pt))
            for other in (*(one for one in sides.values() if one is not side), side)
            if other["panel"] is not None
            and (other["panel"].source.sha256, other["panel"].source.page) == (page.sha256, page.page)
            and other["panel"].source.box_pt is not None
        ]
        side["page"] = {"page": page, "picture": pool.page(page), "boxes": on_page}


def _gallery(
    screening: Screening, findings: list[dict[str, Any]], names: dict[str, str], pool: _Pool
) -> list[dict[str, Any]]:
    """Return every panel with a small picture, its name and the findings that it is part of."""
    documents = {path: i for i, path in enumerate(dict.fromkeys(panel.source.path for panel in screening.panels), 1)}
    within = words.panel_names(screening, across=False)
    part_of: dict[str, list[int]] = {}
    for found in findings:
        for name in dict.fromkeys(side["id"] for side in found["sides"].values()):
            part_of.setdefault(name, []).append(found["number"])
    out = []
    for panel in screening.panels:
        file = words.document(panel)
        out.append(
            {
                "panel": panel,
                "name": within[panel.id],
                "full_name": names[panel.id],
                "file": file if len(documents) > 1 and not within[panel.id].startswith(file) else "",
                "uri": pool.thumbnail(panel),
                "findings": part_of.get(panel.id, []),
                "document": documents[panel.source.path],
            }
        )
    return out


def _coordinate(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _points(value: overlay.Points) -> str:
    return " ".join(f"{_coordinate(x)},{_coordinate(y)}" for x, y in value)
