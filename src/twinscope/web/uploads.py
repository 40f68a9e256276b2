"""Uploads: a multipart request goes to the disk as it comes, hashed on the way, and never as a whole into memory.

Nothing of a request that ends before its time, is damaged or is too large stays on the disk.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from twinscope.settings import Desk

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

ROOM = ".incoming"
"""Where uploads lie below the desk's folder until they are whole."""
BLOCK = 1 << 20
FIELDS = 20
FIELD_BYTES = 10_000
DAMAGED = "the upload is not whole or not a form with files; send it again"


class Received(NamedTuple):
    """A file that has come: its given name, where it lies for now, its hash and its size."""

    name: str
    path: Path
    sha256: str
    size: int


class Upload(NamedTuple):
    """What a request brought: the fields of its form, and its files in their order."""

    fields: dict[str, str]
    files: list[Received]


@asynccontextmanager
async def received(request: Request, folder: Path, desk: Desk) -> AsyncIterator[Upload]:
    """Give what a multipart request brings, for a block: files that are not moved away in it are removed at its end.

    Raises HTTPException with one sentence: 400 for a request that is damaged or brings no file, 408 for one that
    stalls, 413 for too much, 415 for no multipart form, 507 where the disk is full.
    """
    room = folder / ROOM / secrets.token_hex(8)
    room.mkdir(parents=True)
    try:
        taken = _Parts(room, desk)
        try:
            await _take(request, taken, desk)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise HTTPException(507, "the disk of the desk is full; nothing was kept of the upload") from error
            raise
        finally:
            taken.close()
        if not taken.files:
            raise HTTPException(400, "no file came; choose at least one")
        yield Upload(taken.fields, taken.files)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def clear(folder: Path) -> None:
    """Remove what uploads left that a server did not see the end of."""
    shutil.rmtree(folder / ROOM, ignore_errors=True)


async def _take(request: Request, taken: _Parts, desk: Desk) -> None:
    """Read a request into parts; raises HTTPException where it is too large, stalls or is no form."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise HTTPException(415, "files come as a multipart form; see /api/v1/openapi.json")
    most = desk.upload_bytes + BLOCK + 1024 * desk.upload_files  # the rest is names and borders
    told = request.headers.get("content-length", "")
    try:
        if told.isdecimal() and int(told) > most:
            raise _TooMuch(_too_large(desk))
        parser = MultipartParser(options[b"boundary"], taken.callbacks())
        came, waiting = 0, bytearray()
        async for chunk in _chunks(request, desk.upload_idle_s):
            came += len(chunk)
            if came > most:
                raise _TooMuch(_too_large(desk))
            waiting += chunk
            if len(waiting) >= BLOCK:
                await run_in_threadpool(parser.write, bytes(waiting))
                waiting.clear()
        await run_in_threadpool(parser.write, bytes(waiting))
        if not taken.whole:
            raise HTTPException(400, DAMAGED)
    except _TooMuch as error:
        shutil.rmtree(taken.room, ignore_errors=True)
        await _drain(request, desk)
        raise HTTPException(413, str(error)) from None
    except (FormParserError, UnicodeDecodeError) as error:
        raise HTTPException(400, DAMAGED) from error


async def _chunks(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    """Yield what comes; raises HTTPException where nothing does for too long or the sender is gone."""
    stream = request.stream()
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), idle_s)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, f"nothing came for {idle_s:g} s; send the upload again") from None
        except ClientDisconnect:
            raise HTTPException(400, DAMAGED) from None


async def _drain(request: Request, desk: Desk) -> None:
    """Let a sender finish, within limits: most browsers hear the answer only when they have sent everything."""
    left = desk.upload_bytes
    told = request.headers.get("content-length", "")
    if (told.isdecimal() and int(told) > 2 * desk.upload_bytes + BLOCK) or "expect" in request.headers:
        return
    try:
        async for chunk in _chunks(request, min(desk.upload_idle_s, 10)):
            left -= len(chunk)
            if left < 0:
                return
    except (HTTPException, RuntimeError):  # it stalls, is gone, or was read to its end before
        return


def _too_large(desk: Desk) -> str:
    size = desk.upload_bytes / 2**20
    return f"the upload is larger than {size:.3g} MB, which is the most at a time; send the files one by one"


class _TooMuch(Exception):
    """An upload brings more than it may."""


def _too_many(desk: Desk) -> _TooMuch:
    return _TooMuch(f"an upload brings {desk.upload_files} files at most; send several, or a ZIP archive")


class _Parts:
    """Takes the parts of a form as the parser tells them; for one request."""

    def __init__(self, room: Path, desk: Desk) -> None:
        self.room = room
        self.desk = desk
        self.fields: dict[str, str] = {}
        self.files: list[Received] = []
        self.whole = False
        self._bytes = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._name = ""
        self._file_name: str | None = None
        self._value = bytearray()
        self._out: BinaryIO | None = None
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._count = 0

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin, "on_header_field": self._field, "on_header_value": self._head,
            "on_header_end": self._headed, "on_headers_finished": self._open, "on_part_data": self._data,
            "on_part_end": self._end, "on_end": self._finish,
        }  # fmt: skip

    def close(self) -> None:
        """Close the file that was being written, if there is one."""
        if self._out is not None:
            self._out.close()
            self._out = None

    def _begin(self) -> None:
        self._disposition = b""
        self._count += 1
        if self._count > self.desk.upload_files + FIELDS:
            raise _too_many(self.desk)

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _head(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _headed(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise FormParserError("a part of a form has no name")
        self._name = options[b"name"].decode()
        name = options.get(b"filename")
        self._file_name = None if name is None else name.decode(errors="replace")
        self._value, self._size, self._sha256 = bytearray(), 0, hashlib.sha256()
        if self._file_name is not None:
            if len(self.files) >= self.desk.upload_files:
                raise _TooMuch(
                    f"an upload brings {self.desk.upload_files} files at most; send several, or a ZIP archive"
                )
            self._out = (self.room / str(len(self.files) + 1)).open("wb")
        elif len(self.fields) >= FIELDS:
            raise _TooMuch("the form has too many fields")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._out is None:
            if self._size > FIELD_BYTES:
                raise _TooMuch(f"the field {self._name[:100]} of the form is too long")
            self._value.extend(data[start:end])
            return
        self._bytes += end - start
        if self._bytes > self.desk.upload_bytes:
            raise _TooMuch(_too_large(self.desk))
        view = memoryview(data)[start:end]
        self._sha256.update(view)
        self._out.write(view)

    def _end(self) -> None:
        if self._out is None or self._file_name is None:
            self.fields[self._name] = self._value.decode()
            return
        self._out.flush()
        os.fsync(self._out.fileno())
        path = Path(self._out.name)
        self.close()
        if self._file_name or self._size:  # an empty name and nothing in it: a form in which no file was chosen
            name = given(self._file_name)
            self.files.append(Received(name, path, self._sha256.hexdigest(), self._size))

    def _finish(self) -> None:
        self.whole = True


def given(name: str) -> str:
    """Return the name of an uploaded file as its owner knows it: without folders, 255 characters at most."""
    return name.replace("\\", "/").rpartition("/")[2][-255:] or "file"


def safe(name: str) -> str:
    """Return a name for the disk: letters, digits, `.`, `_` and `-` alone, 80 at most, its ending kept."""
    whole = PurePosixPath(given(name))
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", _plain(whole.stem)).strip("_-") or "file"
    suffix = re.sub(r"[^A-Za-z0-9]+", "", _plain(whole.suffix))[:10]
    return f"{stem[:69]}.{suffix}" if suffix else stem[:80]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
