"""Read what is not a PDF: pictures, and the pictures inside DOCX, PPTX, ODT and EPUB. Runs in the worker only.

A picture in DOCX and PPTX comes out as the reader sees it: cropped, mirrored and turned by quarters (`placing`).
"""

from __future__ import annotations

import posixpath
import re
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from twinscope import pixels
from twinscope.errors import BrokenError, InputError, RefusedError
from twinscope.ingest import archive, files, placing
from twinscope.ingest.job import Job, Note, Tell
from twinscope.ingest.pictures import Budget, tell_picture
from twinscope.ingest.placing import Placing
from twinscope.types import Problem

_MOST_XML = 64 << 20
_MOST_USES = 5
_CAPTION = re.compile(
    r"^\s*(?:supplement\w*\s+|extended\s+data\s+)?(?:fig|scheme|plate|image|photo|chart)\w*\.?\s*S?\d",
    re.IGNORECASE,
)
_DRAWINGS = {
    ".emf": "EMF", ".wmf": "WMF", ".svg": "SVG", ".emz": "EMF", ".wmz": "WMF", ".wdp": "JPEG XR", ".jxr": "JPEG XR",
    ".heic": "HEIC", ".avif": "AVIF", ".jp2": "JPEG 2000", ".eps": "EPS", ".pdf": "PDF",
}  # fmt: skip


class Use(NamedTuple):
    """A picture of a document in its place: the member's name, the caption near it, the slide, how it is placed."""

    name: str
    caption: str = ""
    page: int | None = None
    placing: Placing = placing.PLAIN


def readers() -> dict[str, Callable[[Job, Tell], None]]:
    """Return what reads each kind of file, by kind."""
    table: dict[str, Callable[[Job, Tell], None]] = dict.fromkeys(files.PICTURES, read_picture)
    table |= {"tiff": read_tiff, "zip": archive.unpack}
    return table | dict.fromkeys(files.OFFICE, read_office)


def read_picture(job: Job, tell: Tell) -> None:
    """Tell about a PNG, JPEG, WebP, GIF or BMP file."""
    tell(Note(event="start", pages=1))
    tell(Note(event="page", page=1, pages=1))
    image, frames = pixels.decode(Path(job.file), job.kind, job.ingest.limits.image_px)
    if frames > 1:
        reason = f"the picture is an animation of {frames} frames; only the first is read"
        tell(Note(event="problem", problem=Problem(path=job.path, reason=reason)))
    tell_picture(job, tell, Budget(job.images, job.ingest.limits.images), image, "f1", "", None)


def read_tiff(job: Job, tell: Tell) -> None:
    """Tell about every page (channel, plane) of a TIFF as a figure of its own."""
    limits = job.ingest.limits
    budget = Budget(job.images, limits.images)
    tell(Note(event="start"))
    tell(Note(event="page", page=job.first))
    seen: dict[int, int] = {}
    for number, image in pixels.decode_tiff(Path(job.file), limits.image_px, limits.images, job.first):
        seen[number] = seen.get(number, 0) + 1
        name = f"f{number}" if seen[number] == 1 else f"p{number}-f{seen[number]}"
        tell_picture(job, tell, budget, image, name, "", number)
        tell(Note(event="page", page=number + 1))


def read_office(job: Job, tell: Tell) -> None:
    """Tell about the pictures of a DOCX, PPTX, ODT or EPUB file in the order of the document."""
    limits = job.ingest.limits
    book, entries = archive.open_archive(Path(job.file), limits.zip_entries)
    members = {e.filename: e for e in entries if archive.wrong(e) is None}
    meter = archive.Meter(limits, limits.zip_bytes)

    def load(name: str, most: int) -> bytes:
        data = b""
        for chunk in archive.chunks(book, members[name], meter):
            data += chunk
            if len(data) > most:
                raise RefusedError(f"{name} in the document is over the limit of {most} bytes")
        return data

    uses = _uses(job.kind, members, lambda name: load(name, _MOST_XML))
    tell(Note(event="start", pages=len(uses)))
    budget = Budget(job.images, limits.images)
    for number, use in enumerate(uses, 1):
        if number < job.first:
            continue
        tell(Note(event="page", page=number, pages=len(uses)))
        before = budget.used
        try:
            suffix = posixpath.splitext(use.name)[1].lower()
            if suffix in _DRAWINGS:
                raise RefusedError(f"{use.name}: pictures in {_DRAWINGS[suffix]} format are not read")
            _tell_member(job, tell, budget, load(use.name, limits.zip_bytes), use, number)
        except InputError as error:
            if before < budget.used and budget.used > budget.most:
                raise
            tell(Note(event="problem", problem=Problem(path=job.path, page=use.page, reason=str(error))))


def _tell_member(job: Job, tell: Tell, budget: Budget, data: bytes, use: Use, number: int) -> None:
    kind = files.sniff(data[:1024])
    if kind not in files.PICTURES:
        raise BrokenError(f"{use.name} is not a picture that twinscope reads")
    if kind == "tiff":
        limits = job.ingest.limits
        for at, image in pixels.decode_tiff(data, limits.image_px, limits.images):
            name = f"f{number}" if at == 1 else f"p{at}-f{number}"
            _tell_placed(job, tell, budget, image, name, use)
        return
    image, _ = pixels.decode(data, kind, job.ingest.limits.image_px)
    _tell_placed(job, tell, budget, image, f"f{number}", use)


def _tell_placed(job: Job, tell: Tell, budget: Budget, image: pixels.Image, figure: str, use: Use) -> None:
    """Tell about a picture as the reader sees it, with its place in the raster of the file."""
    place = placing.place(use.placing, image.shape[:2])
    if place.hidden:
        reason = f"{use.name}: {place.hidden:.0%} of the picture is cropped away in the document and was not compared"
        tell(Note(event="problem", problem=Problem(path=job.path, page=use.page, reason=reason)))
    tell_picture(job, placing.in_raster(tell, place), budget, place.cut(image), figure, use.caption, use.page)


def _uses(kind: str, members: dict[str, zipfile.ZipInfo], load: Callable[[str], bytes]) -> list[Use]:
    """Return the pictures of a document in order, those that its text does not name last."""
    ways = {"docx": _docx, "pptx": _pptx, "odt": _odt, "epub": _epub}
    try:
        named = list(ways[kind](members, load))
    except (ElementTree.ParseError, KeyError, ValueError, RecursionError) as error:
        if not any(_is_picture(name) for name in members):
            raise BrokenError("the document is damaged: its text cannot be read") from error
        named = []
    count: dict[str, int] = {}
    uses = []
    for use in named:
        count[use.name] = count.get(use.name, 0) + 1
        if use.name in members and count[use.name] <= _MOST_USES:
            uses.append(use)
    rest = sorted(name for name in members if _is_picture(name) and name not in count)
    return uses + [Use(name) for name in rest]


def _is_picture(name: str) -> bool:
    suffix = posixpath.splitext(name)[1].lower()
    if "thumbnail" in name.lower():
        return False
    return files.EXTENSIONS.get(suffix) in files.PICTURES or suffix in _DRAWINGS


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]


def _xml(data: bytes) -> ElementTree.Element:
    if b"<!ENTITY" in data:
        raise BrokenError("the document declares XML entities, as no honest one does")
    return ElementTree.fromstring(data)


def _relations(name: str, members: dict[str, zipfile.ZipInfo], load: Callable[[str], bytes]) -> dict[str, str]:
    """Return what the relation ids of an Office part point to, as member names."""
    folder, base = posixpath.split(name)
    file = f"{folder}/_rels/{base}.rels"
    if file not in members:
        return {}
    table = {}
    for item in _xml(load(file)):
        target = item.get("Target", "")
        if item.get("TargetMode") != "External":
            table[item.get("Id", "")] = posixpath.normpath(posixpath.join(folder, target)).lstrip("/")
    return table


def _flow(root: ElementTree.Element, paragraph: str, refer: Callable[[ElementTree.Element], str | None]) -> list[Use]:
    """Return the pictures of a text with their captions: the first paragraph nearby that reads like one."""
    parts: list[tuple[str, str, Placing]] = []

    def visit(node: ElementTree.Element, depth: int, around: Placing) -> None:
        here = placing.within(node, around)
        name = refer(node)
        if name is not None:
            parts.append(("picture", name, placing.within_vml(node, here)))
        if _local(node.tag) in ("Fallback",):
            return
        if _local(node.tag) == paragraph or _local(node.tag) == "figcaption":
            text = "".join(node.itertext()).strip()
            if text:
                parts.append(("text", " ".join(text.split()), placing.PLAIN))
        for child in node if depth < 200 else ():
            visit(child, depth + 1, here)

    visit(root, 0, placing.PLAIN)
    uses = []
    for i, (what, name, here) in enumerate(parts):
        if what == "picture":
            near = [t for w, t, _ in parts[i + 1 : i + 5] if w == "text"] + [
                t for w, t, _ in parts[max(0, i - 2) : i] if w == "text"
            ]
            caption = next((t for t in near if _CAPTION.match(t)), "")
            uses.append(Use(name, caption[:5000], placing=here))
    return uses


def _embed(table: dict[str, str]) -> Callable[[ElementTree.Element], str | None]:
    def refer(node: ElementTree.Element) -> str | None:
        if _local(node.tag) not in ("blip", "imagedata"):
            return None
        ids = [value for key, value in node.attrib.items() if _local(key) in ("embed", "id")]
        return next((table[i] for i in ids if i in table), None)

    return refer


def _docx(members: dict[str, zipfile.ZipInfo], load: Callable[[str], bytes]) -> Iterator[Use]:
    name = "word/document.xml"
    yield from _flow(_xml(load(name)), "p", _embed(_relations(name, members, load)))


def _pptx(members: dict[str, zipfile.ZipInfo], load: Callable[[str], bytes]) -> Iterator[Use]:
    slides = [(int(m.group(1)), name) for name in members if (m := re.fullmatch(r"ppt/slides/slide(\d+)\.xml", name))]
    for number, name in sorted(slides):
        for use in _flow(_xml(load(name)), "p", _embed(_relations(name, members, load))):
            yield use._replace(page=number)


def _odt(members: dict[str, zipfile.ZipInfo], load: Callable[[str], bytes]) -> Iterator[Use]:
    def refer(node: ElementTree.Element) -> str | None:
        if _local(node.tag) != "image":
            return None
        return next((v.removeprefix("./") for k, v in node.attrib.items() if _local(k) == "href"), None)

    yield from _flow(_xml(load("content.xml")), "p", refer)


def _epub(members: dict[str, zipfile.ZipInfo], load: Callable[[str], bytes]) -> Iterator[Use]:
    container = _xml(load("META-INF/container.xml"))
    package = next((e.get("full-path", "") for e in container.iter() if _local(e.tag) == "rootfile"), "")
    folder = posixpath.dirname(package)
    root = _xml(load(package))
    items = {e.get("id"): e.get("href", "") for e in root.iter() if _local(e.tag) == "item"}
    for ref in (e.get("idref") for e in root.iter() if _local(e.tag) == "itemref"):
        page = posixpath.normpath(posixpath.join(folder, urllib.parse.unquote(items.get(ref, ""))))
        if page not in members:
            continue
        here = posixpath.dirname(page)

        def refer(node: ElementTree.Element, here: str = here) -> str | None:
            if _local(node.tag) not in ("img", "image"):
                return None
            place = next((v for k, v in node.attrib.items() if _local(k) in ("src", "href")), "")
            return posixpath.normpath(posixpath.join(here, urllib.parse.unquote(place)))

        yield from _flow(_xml(load(page)), "p", refer)
