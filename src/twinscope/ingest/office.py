"""Read what is not a PDF: pictures, and the pictures inside DOCX, PPTX, ODT and EPUB. Runs in the worker only.

A picture in DOCX and PPTX comes out as the reader sees it: cropped, mirrored and turned by quarters (`placing`).
"""

from __future__ import annotations

import posixpath
import re
import urllib.parse
import zipfile
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
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
_OUTSIDE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_DRAWINGS = {
    ".emf": "EMF", ".wmf": "WMF", ".svg": "SVG", ".emz": "EMF", ".wmz": "WMF", ".wdp": "JPEG XR", ".jxr": "JPEG XR",
    ".heic": "HEIC", ".avif": "AVIF", ".jp2": "JPEG 2000", ".eps": "EPS", ".pdf": "PDF",
}  # fmt: skip


class Use(NamedTuple):
    """A picture of a document in its place: the member's name, the caption near it, the slide, how it is placed.

    `lost` says why it cannot be read where that is known beforehand.
    """

    name: str
    caption: str = ""
    page: int | None = None
    placing: Placing = placing.PLAIN
    lost: str = ""


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
            if use.lost:
                budget.take()
                raise BrokenError(use.lost)
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
        several = pixels.decode_tiff(data, limits.image_px, limits.images)
        for at, (_, image) in enumerate(several, 1):  # a page may hold several, one a channel
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
    """Return the pictures of a document in order, those that its text does not name last.

    What it names and cannot be had is among them, once and with the reason, and so is what stands in too many places.
    """
    ways = {"docx": _docx, "pptx": _pptx, "odt": _odt, "epub": _epub}
    try:
        named = list(ways[kind](members, load))
    except (ElementTree.ParseError, KeyError, ValueError, RecursionError) as error:
        if not any(_is_picture(name) for name in members):
            raise BrokenError("the document is damaged: its text cannot be read") from error
        named = []
    alike = {name.casefold(): name for name in reversed(members)}
    named = [use if use.lost else use._replace(name=_meant(use.name, members, alike)) for use in named]
    total = Counter(use.name for use in named if not use.lost)
    count: Counter[str] = Counter()
    uses: list[Use] = []
    told: set[str] = set()
    for use in named:
        lost = use.lost
        if not lost:
            count[use.name] += 1
            if use.name not in members:
                lost = f"{archive.printable(use.name)}: the document names this picture and does not hold it; embed it"
            elif count[use.name] > _MOST_USES:
                lost = f"{use.name} stands in {total[use.name]} places; only the first {_MOST_USES} are read"
        if not lost or lost not in told:
            uses.append(use._replace(lost=lost))
            told.add(lost)
    rest = sorted(name for name in members if _is_picture(name) and name not in count)
    return uses + [Use(name) for name in rest]


def _meant(name: str, members: Container[str], alike: Mapping[str, str]) -> str:
    """Return the member that a document means by a name, which may be written in other cases, or with %20."""
    plain = urllib.parse.unquote(name)
    return next((one for one in (name, plain) if one in members), alike.get(plain.casefold(), name))


def _linked(target: str) -> Use:
    """Return a picture that a document shows and does not hold, by what it says of its place."""
    if target[:5].lower() == "data:":
        return Use("", lost="pictures that are written into the text as data are not read; save them as files")
    name = archive.printable(target)
    return Use(target, lost=f"{name}: this picture is linked to and not in the document; embed it or name its file")


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


def _relations(name: str, members: dict[str, zipfile.ZipInfo], load: Callable[[str], bytes]) -> dict[str, Use]:
    """Return what the relation ids of an Office part point to, as uses of members or of what lies outside."""
    folder, base = posixpath.split(name)
    file = f"{folder}/_rels/{base}.rels"
    if file not in members:
        return {}
    table = {}
    for item in _xml(load(file)):
        target = item.get("Target", "")
        if item.get("TargetMode") == "External":
            table[item.get("Id", "")] = _linked(target)
        else:
            table[item.get("Id", "")] = Use(posixpath.normpath(posixpath.join(folder, target)).lstrip("/"))
    return table


def _flow(root: ElementTree.Element, paragraph: str, refer: Callable[[ElementTree.Element], Use | None]) -> list[Use]:
    """Return the pictures of a text with their captions: the first paragraph nearby that reads like one."""
    parts: list[Use | str] = []

    def visit(node: ElementTree.Element, depth: int, around: Placing) -> None:
        here = placing.within(node, around)
        use = refer(node)
        if use is not None:
            parts.append(use._replace(placing=placing.within_vml(node, here)))
        if _local(node.tag) in ("Fallback",):
            return
        if _local(node.tag) == paragraph or _local(node.tag) == "figcaption":
            text = "".join(node.itertext()).strip()
            if text:
                parts.append(" ".join(text.split()))
        for child in node if depth < 200 else ():
            visit(child, depth + 1, here)

    visit(root, 0, placing.PLAIN)
    uses = []
    for i, use in enumerate(parts):
        if isinstance(use, Use):
            near = [text for text in (*parts[i + 1 : i + 5], *parts[max(0, i - 2) : i]) if isinstance(text, str)]
            caption = next((text for text in near if _CAPTION.match(text)), "")
            uses.append(use._replace(caption=caption[:5000]))
    return uses


def _embed(table: dict[str, Use]) -> Callable[[ElementTree.Element], Use | None]:
    def refer(node: ElementTree.Element) -> Use | None:
        if _local(node.tag) not in ("blip", "imagedata"):
            return None
        given = [(_local(key), key, value) for key, value in node.attrib.items() if value]
        ids = [value for names in (("embed", "id"), ("link", "href")) for name, _, value in given if name in names]
        asked = [value for _, key, value in given if key.rpartition("}")[0].endswith("/relationships")]
        return next((table[i] for i in ids if i in table), Use(asked[0]) if asked else None)

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
    def refer(node: ElementTree.Element) -> Use | None:
        if _local(node.tag) != "image":
            return None
        place = next((v for k, v in node.attrib.items() if _local(k) == "href" and v), None)
        if place is None:
            return None
        return _linked(place) if _OUTSIDE.match(place) else Use(place.removeprefix("./"))

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

        def refer(node: ElementTree.Element, here: str = here) -> Use | None:
            if _local(node.tag) not in ("img", "image"):
                return None
            place = next((v for k, v in node.attrib.items() if _local(k) in ("src", "href") and v), None)
            if place is None:
                return None
            inside = posixpath.normpath(posixpath.join(here, urllib.parse.unquote(place)))
            return _linked(place) if _OUTSIDE.match(place) else Use(inside)

        yield from _flow(_xml(load(page)), "p", refer)
