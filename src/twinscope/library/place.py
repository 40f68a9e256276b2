"""Where a library lies, a folder of this machine or an object store: how it is reached, and what is said where not."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lancedb

from twinscope.errors import LibraryError, UsageError
from twinscope.library import ledger
from twinscope.library.columns import SCHEMA
from twinscope.library.ledger import is_local

CORES = os.cpu_count() or 1
os.environ.setdefault("LANCE_CPU_THREADS", str(CORES))  # of itself Lance leaves two cores idle, or all but one
FIRST = {"connect_timeout": "5s", "timeout": "5s", "client_max_retries": "0"}
"""How long an object store may take to say its first word; Lance asks six times, so half a minute in all."""
THEN = {"connect_timeout": "5s", "timeout": "60s", "client_max_retries": "3", "client_retry_timeout": "60"}
"""How long one request may take from then on, and how often it is made again."""
LATER = "partial"
"""The column that older libraries lack."""


def connected(uri: str) -> tuple[Any, list[str]]:
    """Return LanceDB's connection to a place and the names of the tables there. Raises LibraryError."""
    if is_local(uri):
        db = lancedb.connect(Path(uri).absolute())  # as text it may be taken for an address
        return db, db.list_tables().tables
    with spoken(uri):
        names: list[str] = lancedb.connect(uri, storage_options=FIRST).list_tables().tables
        return lancedb.connect(uri, storage_options=THEN), names


@contextmanager
def spoken(uri: str, reads: bool = False, version: int | None = None) -> Iterator[None]:
    """Turn what LanceDB, the disk and the object store raise into one sentence.

    reads: nothing but the library is at work, so that a ValueError is no fault of the caller's. version: that of the
    table that is read, where others may change it meanwhile.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        text = str(error)
        if isinstance(error, ValueError) and not reads and (is_local(uri) or "lance" not in text.lower()):
            raise  # a fault of the caller's
        raise LibraryError(_local(uri, error, reads, version) if is_local(uri) else _remote(uri, text)) from error


def _local(uri: str, error: Exception, reads: bool, version: int | None) -> str:
    text = str(error)
    number = getattr(error, "errno", None) or int((re.findall(r"\(os error (\d+)\)", text) or ["0"])[0])
    what = (re.sub(r"^lance error: |, /[^ ]*\.rs:\d+:\d+", "", text).splitlines() or [type(error).__name__])[0][:200]
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return (
            f"the disk of {uri} is full: the change was not made and the library is as it was; free space and run "
            f"the same command again"
        )
    if number in ledger.FORBIDDEN:
        return f"{uri} is not yours to read or to write ({what}); ask its owner for the right to"
    lost = "lance error" in text or reads
    if not lost or number not in (0, errno.ENOENT):
        return f"{uri} cannot be read or written ({what})"
    known = ledger.versions(Path(uri)) if version is not None else []
    if known and known[-1].number != version:
        return f"{uri} was tidied while it was read; run the same command again"
    return f"{uri} is damaged; run `twinscope library verify` and bring it back from a copy ({what})"


def _remote(uri: str, text: str) -> str:
    """Return what an object store's answer means; what it says itself is buried in Rust's records."""
    if "NoSuchBucket" in text:
        return f"there is no bucket for {uri}; make it first, or name another one"
    if any(word in text for word in ("AWS credentials", "CredentialsNotLoaded", "credential provider")):
        return f"there are no credentials for {uri}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if any(word in text for word in ("status: 403", "status: 401", "AccessDenied", "SignatureDoesNotMatch")):
        return (
            f"the credentials that are set may not read or write {uri}; ask for the right to list, get, put and delete"
        )
    if any(word in text for word in ("kind: Connect", "kind: Timeout", "tcp connect", "dns error", "timed out")):
        return f"the object store of {uri} does not answer; check the network and AWS_ENDPOINT_URL"
    return f"{uri} cannot be read or written ({text.splitlines()[0][:200]})"


def check_folder(folder: Path, table: str) -> None:
    """Raise UsageError where a library would be made of a file, or in a folder that holds something else.

    A table of ours without a ledger is what is left of a library; one of others may have the same name.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the library")
    if not folder.is_dir() or (folder / ledger.LEDGER).exists() or not any(folder.iterdir()):
        return
    names: list[str] = []
    if (folder / f"{table}.lance").exists():
        with suppress(OSError, RuntimeError, ValueError):  # it was being made
            names = lancedb.connect(folder.absolute()).open_table(table).schema.names
    if not is_ours(names) if names else not (folder / ledger.LOCK).exists():
        raise UsageError(f"{folder} holds files that are not of a library; name a new or empty folder")


def is_ours(names: Sequence[str]) -> bool:
    """Say whether the columns of a table are those of a library."""
    return set(SCHEMA.names) - {LATER} <= set(names)


def make(folder: Path) -> None:
    """Make the folder of a library, with those that it lies in, and have them all on the disk when this returns."""
    finished = (folder / ledger.LEDGER).exists()
    new = [one for one in (folder, *folder.parents) if not one.exists() or (one == folder and not finished)]
    folder.mkdir(parents=True, exist_ok=True)
    for one in new:
        with suppress(PermissionError):  # a folder may be passed through that may not be read
            ledger.sync(one.parent)


def size(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
