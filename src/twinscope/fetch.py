"""Fetch a public data set: the only file of twinscope that uses the network, and only when it is asked to.

A file comes as NAME.part and gets its name when it is whole: its length is the one that the server told, its SHA-256
the one that is pinned here or was recorded before, and a ZIP archive is read through. `fetched.json` beside the files
keeps what was seen: where no hash is pinned, the first download is recorded, and later ones are checked against it.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import lzma
import re
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twinscope import __version__
from twinscope.errors import FetchError, UsageError
from twinscope.types import Progress

RECORD = "fetched.json"
ATTEMPTS = 5
"""Requests in a row that bring nothing new before a file is given up for now; what came is kept."""
PAUSE_S = 2.0
TIMEOUT_S = 60.0
BLOCK = 1 << 18


class DataSet(NamedTuple):
    """A public data set: where its files lie, and the SHA-256 of each ("" where none was published)."""

    page: str
    base: str
    licence: str
    files: dict[str, str]


SETS = {
    "bbbc038": DataSet(
        page="https://bbbc.broadinstitute.org/BBBC038",
        base="https://data.broadinstitute.org/bbbc/BBBC038/",
        licence="CC0-1.0",
        files={
            "stage1_train.zip": "",
            "stage1_train_labels.csv": "",
            "stage1_test.zip": "",
            "stage1_solution.csv": "",
            "stage2_test_final.zip": "",
            "stage2_solution_final.csv": "",
        },
    )
}


class Fetched(NamedTuple):
    """What became of a file: fetched, kept (it was there and is right) or failed; what its hash was checked with."""

    name: str
    status: str
    reason: str = ""
    size_bytes: int | None = None
    sha256: str = ""
    checked: str = ""


def fetch(
    name: str, folder: Path, only: Sequence[str] = (), progress: Progress | None = None, base: str = ""
) -> list[Fetched]:
    """Fetch the files of a data set (or `only` some) into a folder, and say of each what became of it.

    progress: hears (file, megabytes there, megabytes). base: another place that holds the same files. What is there and
    right is not fetched again, and what is there in part is gone on with. Raises UsageError for an unknown set or file
    and where the folder cannot be written; a file that cannot be had is a status, and the others are fetched.
    """
    if name not in SETS:
        raise UsageError(f"there is no data set {name}; known: {', '.join(SETS)}")
    known = SETS[name].files
    unknown = [one for one in only if one not in known]
    if unknown:
        raise UsageError(f"{name} has no file {unknown[0]}; it has {', '.join(known)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror})") from error
    out = []
    for file in only or known:
        try:
            out.append(_one((base or SETS[name].base) + file, folder, file, known[file], progress))
        except FetchError as error:
            out.append(Fetched(file, "failed", str(error)))
    return out


def _one(url: str, folder: Path, name: str, pinned: str, progress: Progress | None) -> Fetched:
    """Fetch one file, or see that it is there. Raises FetchError with the reason why it cannot be had."""
    path, part = folder / name, folder / f"{name}.part"
    before = _record(folder)["files"].get(name, {})
    expected = pinned or str(before.get("sha256", ""))
    checked = "pinned" if pinned else "recorded" if expected else "first seen"
    if path.exists():
        if not expected:
            raise FetchError(f"{path} is there, but was not fetched by twinscope; move it away, or name another folder")
        found = _sha256(path)
        if found != expected:
            raise FetchError(f"{path} has the SHA-256 {found} and not {expected} ({checked}); move it away")
        return Fetched(name, "kept", "", path.stat().st_size, found, checked)
    _download(url, folder, name, progress)
    found, size = _sha256(part), part.stat().st_size
    fault = f"its SHA-256 is {found} and not {expected} ({checked})" if expected and found != expected else ""
    fault = fault or (_broken_archive(part) if name.endswith(".zip") else "")
    if fault:
        part.unlink()
        _note(folder, name, "unfinished", None)
        raise FetchError(f"what {url} sent is not what it should be: {fault}; nothing of it was kept")
    _note(folder, name, "files", {"url": url, "size": size, "sha256": found})
    part.replace(path)
    _note(folder, name, "unfinished", None)
    return Fetched(name, "fetched", "", size, found, checked)


def _download(url: str, folder: Path, name: str, progress: Progress | None) -> None:
    """Make NAME.part whole, in as many requests as it takes. Raises FetchError where it stays short."""
    part = folder / f"{name}.part"
    why, most, vain = "", 0, 0
    while vain < ATTEMPTS:
        if vain:
            time.sleep(PAUSE_S * vain)
        vain += 1
        try:
            if _request(url, folder, name, progress):
                return
            why = "the connection ended early"
        except urllib.error.HTTPError as error:
            why = f"the server says {error.code} {error.reason}"
            error.close()
            if error.code < 500 and error.code not in (408, 416, 429):
                break
        except (OSError, http.client.HTTPException) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
        if part.exists() and part.stat().st_size > most:
            most, vain = part.stat().st_size, 1
    there = f"{part.stat().st_size} bytes of it are kept, and " if part.exists() and part.stat().st_size else ""
    raise FetchError(f"{url} cannot be fetched: {why}; {there}the same command tries again")


def _request(url: str, folder: Path, name: str, progress: Progress | None) -> bool:
    """Ask once for what is missing of NAME.part, and say whether it is whole now."""
    part = folder / f"{name}.part"
    known = _record(folder)["unfinished"].get(name, {})
    have = part.stat().st_size if part.exists() and known else 0
    if known and have == known["size"]:
        return True
    headers = {"User-Agent": f"twinscope/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known["validator"]:
            headers["If-Range"] = known["validator"]
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is there cannot be gone on with
            _note(folder, name, "unfinished", None)
        raise
    with answer:
        if url.startswith("https:") and not answer.geturl().startswith("https:"):
            raise FetchError(f"{url} leads to {answer.geturl()}, which is not encrypted; nothing was fetched")
        if "text/html" in (answer.headers.get("Content-Type") or ""):
            raise FetchError(f"{url} sent a web page in place of a file, as a log-in page does; nothing was fetched")
        start, size = _extent(answer, url)
        if start and (start != have or size != known["size"]):
            _note(folder, name, "unfinished", None)  # not the piece that was asked for: begin anew
            return False
        if not start:
            have = 0
            _note(folder, name, "unfinished", {"size": size, "validator": _validator(answer)})
        return _receive(answer, part, have, size, progress) == size


def _extent(answer: Any, url: str) -> tuple[int, int]:
    """Return where what is sent begins, and the length of the whole file."""
    if answer.status == 206:
        said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range") or "")
        if said:
            return int(said[1]), int(said[3])
    length = answer.headers.get("Content-Length") or ""
    if answer.status != 200 or not length.isascii() or not length.isdigit():
        raise FetchError(f"{url} does not tell how long the file is, so that a part could pass for the whole")
    return 0, int(length)


def _validator(answer: Any) -> str:
    """Return what tells this version of a file from another: a strong ETag, or else the date."""
    etag = str(answer.headers.get("ETag") or "")
    return etag if etag and not etag.startswith("W/") else str(answer.headers.get("Last-Modified") or "")


def _receive(answer: Any, part: Path, have: int, size: int, progress: Progress | None) -> int:
    """Add what is sent to a file that has `have` bytes, and return how many it has then."""
    try:
        file = part.open("ab" if have else "wb")
    except OSError as error:
        raise FetchError(f"{part} cannot be written ({error.strerror})") from error
    with file:
        while block := answer.read(BLOCK):
            try:
                file.write(block)
            except OSError as error:
                raise FetchError(f"{part} cannot be written ({error.strerror})") from error
            have += len(block)
            if progress is not None:
                progress(f"{part.stem}, MB", have >> 20, size >> 20)
    return have


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FetchError(f"{path} cannot be read ({error.strerror})") from error


def _broken_archive(path: Path) -> str:
    """Return what is wrong with a ZIP archive, "" where every file in it has its checksum.

    Raises FetchError where the disk does not give it back, which says nothing of what came.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError) as error:
        return f"it is no whole ZIP archive ({error})"
    except OSError as error:
        if error.errno == errno.EINVAL:  # it names a place before its beginning
            return f"it is no whole ZIP archive ({error})"
        raise FetchError(f"{path} cannot be read ({error.strerror}); what came is kept") from error
    return "" if bad is None else f"{bad} in it is damaged"


def _record(folder: Path) -> dict[str, Any]:
    """Return what fetched.json holds: `files` that are whole and `unfinished` ones, by name."""
    path = folder / RECORD
    if not path.exists():
        return {"files": {}, "unfinished": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record["files"], dict) and isinstance(record["unfinished"], dict):
            return dict(record)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{path} is not a record of twinscope; move it away, or name another folder")


def _note(folder: Path, name: str, where: str, what: dict[str, Any] | None) -> None:
    """Set or take away one entry of fetched.json; the file is there in whole or not at all."""
    record = _record(folder)
    record[where].pop(name, None)
    if what is not None:
        record[where][name] = what
    half = folder / f"{RECORD}.new"
    try:
        half.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        half.replace(folder / RECORD)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror})") from error
