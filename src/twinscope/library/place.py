"""Where a library lies, a folder of this machine or an object store: how it is reached, and what is said where not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lancedb

from twinscope.errors import LibraryError, UsageError
from twinscope.library import ledger
from twinscope.library.ledger import is_local

CORES = os.cpu_count() or 1
os.environ.setdefault("LANCE_CPU_THREADS", str(CORES))  # of itself Lance leaves two cores idle, or all but one
FIRST = {"connect_timeout": "5s", "timeout": "5s", "client_max_retries": "0"}
"""How long an object store may take to say its first word; Lance asks six times, so half a minute in all."""
THEN = {"connect_timeout": "5s", "timeout": "60s", "client_max_retries": "3", "client_retry_timeout": "60"}
"""How long one request may take from then on, and how often it is made again."""


def connected(uri: str) -> tuple[Any, list[str]]:
    """Return LanceDB's connection to a place and the names of the tables there. Raises LibraryError."""
    if is_local(uri):
        db = lancedb.connect(uri)
        return db, db.list_tables().tables
    with spoken(uri):
        names: list[str] = lancedb.connect(uri, storage_options=FIRST).list_tables().tables
        return lancedb.connect(uri, storage_options=THEN), names


@contextmanager
def spoken(uri: str) -> Iterator[None]:
    """Turn what LanceDB, the disk and the object store raise into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        text = str(error)
        if isinstance(error, ValueError) and (is_local(uri) or "lance" not in text.lower()):
            raise  # a fault of the caller's
        raise LibraryError(_local(uri, text) if is_local(uri) else _remote(uri, text)) from error


def _local(uri: str, text: str) -> str:
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return (
            f"the disk of {uri} is full: the change was not made and the library is as it was; free space and run "
            f"the same command again"
        )
    return f"{uri} cannot be read or written ({text.splitlines()[0][:200]})"


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
    """Raise UsageError where a library would be made of a file, or in a folder that holds something else."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the library")
    ours = (ledger.LEDGER, ledger.LOCK, f"{table}.lance")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in ours):
        raise UsageError(f"{folder} holds files that are not of a library; name a new or empty folder")


def size(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
