"""Zip files, read with suspicion: names, sizes, overlaps and links are checked, bytes are counted while unpacking.

Runs in the worker only.
"""

from __future__ import annotations

import itertools
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from twinscope.errors import BrokenError, InputError, RefusedError
from twinscope.ingest import files
from twinscope.ingest.job import Job, Member, Note, Tell
from twinscope.settings import Limits
from twinscope.types import Problem

_FREE_BYTES = 10_000_000
_CHUNK = 1 << 16


def open_archive(file: Path, most_entries: int) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """Return a zip file and its files in the order of their names.

    Raises BrokenError where it is damaged, RefusedError where it has too many entries or entries that share bytes.
    """
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BrokenError("the archive is damaged and cannot be opened") from error
    if len(entries) > most_entries:
        raise RefusedError(f"the archive has {len(entries)} entries, over the limit of {most_entries}")
    places = sorted((e.header_offset, e.header_offset + 30 + len(e.orig_filename) + e.compress_size) for e in entries)
    for (_, end), (start, _) in itertools.pairwise(places):
        if start < end:
            raise RefusedError("the archive has entries that share the same bytes")
    return archive, sorted((e for e in entries if not e.is_dir()), key=lambda e: e.filename)


class Meter:
    """Counts unpacked bytes of an archive against the limits."""

    def __init__(self, limits: Limits, left: int) -> None:
        self.ratio = limits.zip_ratio
        self.left = left
        self.out = 0
        self.packed = 0

    def begin(self, entry: zipfile.ZipInfo) -> None:
        """Count the packed bytes of an entry."""
        self.packed += max(1, entry.compress_size)

    def take(self, size: int) -> None:
        """Count unpacked bytes; raise RefusedError beyond the limits."""
        self.out += size
        if self.out > self.left:
            raise RefusedError(f"the archive unpacks to more than {self.left} bytes")
        if self.out > _FREE_BYTES and self.out > self.ratio * self.packed:
            raise RefusedError(f"the archive is packed more than {self.ratio:g} to 1, as no honest one is")


def chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, meter: Meter) -> Iterator[bytes]:
    """Yield the bytes of an entry, counted. Raises BrokenError for a damaged or encrypted entry."""
    if entry.flag_bits & 1:
        raise BrokenError(f"{entry.filename} is encrypted")
    meter.begin(entry)
    try:
        with archive.open(entry) as stream:
            while chunk := stream.read(_CHUNK):
                meter.take(len(chunk))
                yield chunk
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise BrokenError(f"{printable(entry.filename)} in the archive is damaged") from error


def printable(name: str) -> str:
    """Return a name without what could steer a terminal, at a length that a sentence can hold."""
    return "".join(c if c.isprintable() else "?" for c in name)[:300]


def wrong(entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry is not unpacked; None for an honest file."""
    name = entry.orig_filename
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device in the archive is not followed"
    if "\\" in name or "\x00" in name or len(name) > 500 or not name.isprintable():
        return "a name in the archive is not allowed"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "a name in the archive points outside of it"
    return None


def unpack(job: Job, tell: Tell) -> None:
    """Write the documents of a zip file as `m<number>` below the job's folder and tell the parent about each."""
    archive, entries = open_archive(Path(job.file), min(job.ingest.limits.zip_entries, job.entries_left))
    tell(Note(event="start", pages=len(entries)))
    meter = Meter(job.ingest.limits, job.bytes_left)
    for number, entry in enumerate(entries, 1):
        if number < job.first:
            continue
        tell(Note(event="page", page=number, pages=len(entries)))
        name = printable(entry.filename)
        reason = wrong(entry) or files.not_read(name)
        if reason == "":
            continue
        try:
            if reason is not None:
                raise RefusedError(f"{name}: {reason}")
            place = Path(job.out) / f"m{number}"
            with place.open("xb") as stream:
                for chunk in chunks(archive, entry, meter):
                    stream.write(chunk)
        except InputError as error:
            tell(Note(event="problem", problem=Problem(path=job.path, reason=str(error))))
            if meter.out > meter.left or (meter.out > _FREE_BYTES and meter.out > meter.ratio * meter.packed):
                raise
            continue
        tell(Note(event="member", member=Member(name=name, file=f"m{number}")))
