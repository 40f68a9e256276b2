"""What of a library on a local disk is safe: a list of its versions, each with its files, that only ever grows.

LanceDB makes no fsync: a machine that stops may leave a version whose files are empty. So whoever writes holds the lock
of the library, and a version counts only when its new files and their folders are on the disk and its line stands in
`ledger.jsonl`. At the next opening, whatever is newer than the last whole line is put aside. An object store needs none
of this: there a write is whole or is not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple
from urllib.parse import unquote

from twinscope.errors import LibraryError, UsageError

LEDGER, LOCK, ASIDE = "ledger.jsonl", "lock", "aside"
HINT = "latest_version_hint.json"
"""A file of LanceDB's that changes in place and that it can do without."""
TAGS = "_refs"
"""LanceDB's folder of tags: there while old versions are deleted."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What a disk says to those who may not write."""


def is_local(uri: str) -> bool:
    """Say whether a library lies on a disk of this machine, not on an object store."""
    return "://" not in uri or uri.lower().startswith("file:")


def located(uri: str) -> str:
    """Return where a library lies: the path of its folder, also for file:///PATH, or s3://... Raises UsageError."""
    if uri.lower().startswith("file:"):
        found = re.fullmatch(r"(?s)file:(?://(?:localhost)?(?=/))?(/(?!/).*)", uri, re.IGNORECASE)
        if found is None:
            raise UsageError(f"{uri} names no folder of this machine; name the folder by its path")
        return unquote(found[1])
    if not is_local(uri) and not uri.startswith("s3://"):
        raise UsageError(f"{uri} is no place for a library; name a folder, or s3://BUCKET/PATH")
    return uri


def check(uri: str) -> None:
    """Raise UsageError where a folder is no library; what an object store holds is known only when it is opened."""
    uri = located(uri)
    if is_local(uri) and not (Path(uri) / LEDGER).is_file():
        raise absent(uri)


def absent(uri: str) -> UsageError:
    """Return what is said of a place without a library."""
    return UsageError(f"{uri} is no library; make one with `twinscope library add PATHS --library {uri}`")


class Version(NamedTuple):
    """A version that was acknowledged: its number, its new files {path: [size, sha256]}, and those that went.

    `tidying` says that from here on files which this version has no need of are being deleted.
    """

    number: int
    files: dict[str, tuple[int, str]]
    gone: tuple[str, ...] = ()
    tidying: bool = False


@contextmanager
def locked(folder: Path, wait: bool = True, reads: bool = False) -> Iterator[bool]:
    """Hold the lock of a library; yields False where another process holds it and `wait` is not wished.

    reads: nothing will be written, so that a library which may only be read can be locked, too: against writers, or,
    where not even that can be done, against nobody.
    """
    file, kind = _lock(folder, reads)
    with file or contextlib.nullcontext():
        try:
            if file is not None:
                fcntl.flock(file, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True  # closing the file lets go, and so does the end of the process


def _lock(folder: Path, reads: bool) -> tuple[BinaryIO | None, int]:
    try:
        return (folder / LOCK).open("a+b"), fcntl.LOCK_EX
    except OSError as error:
        if not reads or error.errno not in FORBIDDEN:
            raise
    with contextlib.suppress(OSError):
        return (folder / LOCK).open("rb"), fcntl.LOCK_SH
    return None, 0


def versions(folder: Path) -> list[Version]:
    """Return the acknowledged versions, oldest first. A last line that was cut off or is damaged is none."""
    return _read(folder)[0]


def _read(folder: Path) -> tuple[list[Version], bytes]:
    """Return the acknowledged versions, and the last line if it was written in full and is damaged."""
    path = folder / LEDGER
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    out = []
    for number, line in enumerate(lines, 1):
        try:
            out.append(_parsed(line))
        except ValueError as error:
            if number < len(lines):
                raise LibraryError(f"line {number} of {path} is damaged; bring the library back from a copy") from error
            return out, line if line.endswith(b"\n") else b""
    return out, b""


def newest(folder: Path, table: str) -> tuple[list[Version], list[str]]:
    """Return the acknowledged versions that a reader can rely on, and what is wrong with the library and was mended.

    While somebody writes there is nothing to mend; where nothing may be written, what is broken is passed over.
    """
    with locked(folder, wait=False, reads=True) as alone:
        if not alone:
            return versions(folder), []
        try:
            told = mend(folder, table)
        except OSError as error:
            if error.errno not in FORBIDDEN:
                raise
            known, told, _ = _standing(folder)
            return known, told
        return versions(folder), told


def _standing(folder: Path) -> tuple[list[Version], list[str], float]:
    """Return the versions up to the last whole one, what is wrong with those after it, and the number of their last.

    Raises LibraryError where no version is whole.
    """
    (known, line), told, broken, dropped = _read(folder), [], [], 0.0
    if line:
        said = f"line {len(known) + 1} of {LEDGER} is damaged"
        version = _guessed(folder, line)
        if version is not None:
            known.append(version)
            told.append(f"{said}, but all the files that it names are whole: its change was kept")
        elif not known:
            raise LibraryError(f"line 1 of {folder / LEDGER} is damaged; bring the library back from a copy")
        else:
            dropped = float("inf")
            told.append(f"{said}: the library is as it was before the change that it acknowledged")
    while known and (bad := _broken(folder, known[-1].files)):
        broken.append(bad[0])
        dropped = max(dropped, known.pop().number)
    if (broken and not known) or (known and known[-1].number == 0):
        what = broken[0] if broken else f"the last line of {LEDGER}"
        raise LibraryError(f"{folder} has no whole version ({what} is damaged); bring it back from a copy")
    if broken:
        told.append(f"{broken[0]} is damaged: the library is as it was {len(broken)} acknowledged changes ago")
    return known, told, dropped


def _guessed(folder: Path, line: bytes) -> Version | None:
    """Return the version of a damaged line that can still be read, if the line alone is what is wrong.

    Its files are there in their sizes, all but one at most with their hashes, and so is its manifest.
    """
    try:
        version = _told(line)
        wrong = len(_broken(folder, version.files))
        sizes = [(folder / name).stat().st_size == size for name, (size, _) in version.files.items()]
    except (ValueError, TypeError, AttributeError, OSError):
        return None
    manifests = map(number_of, folder.glob("*.lance/_versions/*.manifest"))
    if wrong > 1 or not all(sizes) or version.number not in manifests:
        return None
    return version._replace(files={name: _seal(folder / name) for name in version.files})


def mend(folder: Path, table: str) -> list[str]:
    """Put aside what is newer than the last whole version; tell what was done. The lock must be held.

    Raises LibraryError where no version is whole.
    """
    known, told, dropped = _standing(folder)
    root = folder / f"{table}.lance"
    there = list((root / "_versions").glob("*.manifest"))
    if not known and any(number_of(path) > 1 for path in there):  # the first is acknowledged before there is a second
        raise LibraryError(f"{folder / LEDGER} is empty, though the library was written; bring it back from a copy")
    if known and known[-1].tidying:
        shutil.rmtree(root / TAGS, ignore_errors=True)
        gone = tuple(name for name in files_of(known) if not (folder / name).exists())
        known.append(Version(known[-1].number, {}, gone))
    _write(folder, known)
    last = known[-1].number if known else 0
    if not known and root.exists():
        _put_aside(folder, root)
        told.append("a library that was never finished was put aside")
    newer = [path for path in there if path.exists() and number_of(path) > last]
    for path in newer:
        _put_aside(folder, path)
    if newer:
        (root / "_versions" / HINT).unlink(missing_ok=True)
        sync(root / "_versions")
    if any(number_of(path) > dropped for path in newer):
        told.append("a change that was interrupted before it was acknowledged was dropped")
    return told


def acknowledge(folder: Path, number: int) -> None:
    """Bring every new file and its folders to the disk, then the line that says so. The lock must be held."""
    known = versions(folder)
    alive = files_of(known)
    there = {str(path.relative_to(folder)): path for path in _data(folder)}
    new = {name: path for name, path in there.items() if name not in alive}
    files = {}
    for name, path in sorted(new.items()):
        sync(path)
        files[name] = _seal(path)
    parents = {parent for path in new.values() for parent in path.relative_to(folder).parents}
    for parent in sorted(parents):
        sync(folder / parent)
    gone = tuple(sorted(name for name in alive if name not in there))
    _append(folder, Version(number, files, gone))


def tidying(folder: Path) -> None:
    """Say that files which the last version has no need of are being deleted. The lock must be held."""
    _append(folder, Version(versions(folder)[-1].number, {}, (), True))


def damaged(folder: Path, alone: bool = False) -> list[str]:
    """Return the files, relative to the folder, that are absent or not what they were when they were acknowledged.

    alone: the caller holds the lock. Else somebody may tidy meanwhile: what seems wrong is looked at again under it.
    """
    wrong = _broken(folder, files_of(versions(folder)))
    if alone or not wrong:
        return wrong
    with locked(folder, reads=True):
        now = files_of(versions(folder))
        return _broken(folder, {name: now[name] for name in wrong if name in now})


def files_of(known: list[Version]) -> dict[str, tuple[int, str]]:
    """Return the files that versions, oldest first, have left: {path: (size, sha256)}."""
    alive: dict[str, tuple[int, str]] = {}
    for version in known:
        alive.update(version.files)
        for name in version.gone:
            alive.pop(name, None)
    return alive


def number_of(manifest: Path) -> int:
    """Return the number of a version from the name of its manifest; the newer naming counts down from 2^64 - 1."""
    number = int(manifest.stem)
    return 2**64 - 1 - number if number >= 2**63 else number


def shorten(folder: Path) -> None:
    """Write the ledger anew: what is left of all versions, then the newest manifest and the one before.

    The lock must be held. Opening a library checks the files of the last line, and so need not read all of them; where
    the newest manifest is damaged there is one to step back to.
    """
    known = versions(folder)
    alive, last = files_of(known), known[-1].number
    manifests = {number_of(Path(name)): name for name in alive if name.endswith(".manifest")}
    before = max((one.number for one in known if one.number < last and one.number in manifests), default=0)
    newer = [name for number, name in manifests.items() if number > before]
    older = [manifests[before]] if before else []
    base = [name for name in alive if name not in newer and name not in older]
    lines = [(0, base), *([(before, older)] if older else []), (last, newer)]
    _write(folder, [Version(number, {name: alive[name] for name in names}) for number, names in lines])


# ---------------------------------------------------------------------------------------------------- files


def _data(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            parts = path.relative_to(folder).parts
            if parts[0].endswith(".lance") and TAGS not in parts and name != HINT and not name.startswith("."):
                yield path


def _broken(folder: Path, files: dict[str, tuple[int, str]]) -> list[str]:
    return [name for name, seal in sorted(files.items()) if not _whole(folder / name, seal)]


def _whole(path: Path, seal: tuple[int, str]) -> bool:
    try:
        return path.stat().st_size == seal[0] and _seal(path) == tuple(seal)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False


def _seal(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def sync(path: Path) -> None:
    """Have a file, or what a folder lists, on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_aside(folder: Path, path: Path) -> None:
    place = folder / ASIDE
    place.mkdir(exist_ok=True)
    free = next(place / f"{path.name}.{k}" for k in range(10**6) if not (place / f"{path.name}.{k}").exists())
    path.replace(free)


def _line(version: Version) -> bytes:
    text = json.dumps(version).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parsed(line: bytes) -> Version:
    if not line.endswith(b"\n") or int(line[:8], 16) != zlib.crc32(line[9:-1]):
        raise ValueError("the line is damaged")
    return _told(line)


def _told(line: bytes) -> Version:
    number, files, gone, tidies = json.loads(line[9:-1])
    return Version(number, {name: (size, sha256) for name, (size, sha256) in files.items()}, tuple(gone), tidies)


def _append(folder: Path, version: Version) -> None:
    path = folder / LEDGER
    new = not path.exists()
    _put(path, _line(version), "ab")
    if new:
        sync(folder)


def _write(folder: Path, known: list[Version]) -> None:
    """Write the ledger anew where it is another one."""
    path, text = folder / LEDGER, b"".join(map(_line, known))
    if text == (path.read_bytes() if path.is_file() else b""):
        return
    part = path.with_suffix(".part")
    _put(part, text, "wb")
    part.replace(path)
    sync(folder)


def _put(path: Path, text: bytes, mode: Literal["ab", "wb"]) -> None:
    """Write bytes, and return when they are on the disk."""
    with path.open(mode) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
