"""The inputs on the disk: folders expanded, kinds told by magic bytes, files hashed. Nothing is parsed here.

The only bytes that the user's process looks at are the first few of a file (and, for the hash, all of them in chunks).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twinscope.errors import BrokenError, RefusedError

PICTURES = frozenset({"png", "jpeg", "webp", "gif", "bmp", "tiff"})
OFFICE = frozenset({"docx", "pptx", "odt", "epub"})
EXTENSIONS = {
    ".pdf": "pdf", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".webp": "webp", ".gif": "gif",
    ".bmp": "bmp", ".dib": "bmp", ".tif": "tiff", ".tiff": "tiff", ".docx": "docx", ".pptx": "pptx", ".odt": "odt",
    ".epub": "epub", ".zip": "zip",
}  # fmt: skip
HARMLESS = frozenset(
    ".txt .md .rst .csv .tsv .json .xml .yml .yaml .toml .html .htm .css .js .bib .ris .log .py .r .m .ipynb .sh .tex"
    " .bbl .sha256 .md5 .ini .cfg".split()
)
"""Extensions of files that hold no picture of their own: left out of folders and archives without a word."""

_HEAD = 1024


class Source(NamedTuple):
    """A file to read: its place on the disk, its name for the user (see `shown`), how many archives it lies in."""

    file: Path
    path: str
    depth: int = 0


class Skipped(NamedTuple):
    """A path that is not read, and why."""

    path: str
    reason: str


def shown(name: str | Path) -> str:
    """Return a path or a file's name as it can be written down: a byte of it that is no UTF-8 as `%FC`.

    `\\xfc` would be read as a folder, where names of other systems are told.
    """
    text = name.as_posix() if isinstance(name, Path) else name
    return re.sub("[\ud800-\udfff]", lambda byte: f"%{ord(byte[0]) & 0xFF:02X}", text)


def expand(paths: Sequence[Path]) -> tuple[list[Source], list[Skipped]]:
    """Return the files named by paths, folders expanded in the order of their names, and what is left out.

    Files in folders that are no document by their extension, hidden files and links are left out; the reasons say so.
    """
    sources: list[Source] = []
    skipped: list[Skipped] = []
    for path in paths:
        if path.is_dir():
            _walk(path, shown(path), sources, skipped)
        else:
            sources.append(Source(path, shown(path)))
    return sources, skipped


def once(sources: Sequence[Source]) -> list[Source]:
    """Return each file under the first of its names; two files of the same bytes stay two."""
    first: dict[str, Source] = {}
    for source in sources:
        first.setdefault(os.path.realpath(source.file), source)
    return list(first.values())


def _walk(folder: Path, name: str, sources: list[Source], skipped: list[Skipped]) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        skipped.append(Skipped(name, f"the folder cannot be read ({error.strerror})"))
        return
    for entry in entries:
        told = f"{name}/{shown(entry.name)}"
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            skipped.append(Skipped(told, "a link inside a folder is not followed; name the file itself"))
        elif entry.is_dir(follow_symlinks=False):
            _walk(Path(entry.path), told, sources, skipped)
        else:
            reason = not_read(entry.name)
            if reason is None:
                sources.append(Source(Path(entry.path), told))
            elif reason:
                skipped.append(Skipped(told, reason))


def not_read(name: str) -> str | None:
    """Return why a file of a folder or archive is left out: "" where that needs no word, None where it is read."""
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in EXTENSIONS and not path.name.startswith("."):
        return None
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return "" if suffix in HARMLESS or hidden else "not a kind of file that twinscope reads"


def sha256(file: Path) -> str:
    """Return the hash of a file as hex, read in chunks. Raises BrokenError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise BrokenError(f"the file cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def kind(file: Path, name: str) -> str:
    """Return the kind of a file by its first bytes, which must agree with its extension.

    Raises RefusedError for a file of another kind than its name says, or of no kind that twinscope reads;
    BrokenError for a file that is empty or cannot be read.
    """
    suffix = Path(name).suffix.lower()
    named = EXTENSIONS.get(suffix)
    head = _head(file)
    if not head:
        raise BrokenError("the file is empty")
    if named is None:
        raise RefusedError(f"not a kind of file that twinscope reads ({suffix or 'no extension'})")
    real = sniff(head)
    if real == "zip" and named in OFFICE:
        return named
    if real != named:
        what = "of no kind that twinscope reads" if real is None else f"{_article(real)} {real.upper()} file"
        raise RefusedError(f"the name says {named.upper()} but the content is {what}; rename it or leave it out")
    return named


def _article(word: str) -> str:
    return "an" if word[0] in "aeio" else "a"


def _head(file: Path) -> bytes:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise RefusedError("not a regular file")
        with file.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise BrokenError(f"the file cannot be read ({error.strerror})") from error


def sniff(head: bytes) -> str | None:
    """Return the kind that the first bytes of a file tell, None where it is none that twinscope reads."""
    starts = {
        b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif", b"BM": "bmp",
        b"II*\x00": "tiff", b"MM\x00*": "tiff", b"II+\x00": "tiff", b"MM\x00+": "tiff", b"PK\x03\x04": "zip",
        b"PK\x05\x06": "zip",
    }  # fmt: skip
    for magic, name in starts.items():
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return "pdf" if b"%PDF-" in head else None
