"""Callbacks: a program that made a case is told when its screening has ended, if its host is one of those allowed.

Only https is spoken, but to this machine itself, and no redirect is followed. Each is signed, so that who is called can
tell the desk from others.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from twinscope.errors import UsageError
from twinscope.web import cases
from twinscope.web.cases import Job
from twinscope.web.options import Options

SECRET = ".secret"
HERE = ("localhost", "127.0.0.1", "::1")
SIGNATURE = "X-Twinscope-Signature"
AT_ONCE = 8
"""Callbacks under way at a time; a host that hangs keeps no other waiting for long."""


def check(url: str, options: Options) -> None:
    """Raise UsageError where an address may not be called back."""
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError("the callback is no address") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and name in HERE):
        raise UsageError("a callback is an https address, or an http one of this machine")
    if parts.username is not None or parts.password is not None or not url.isprintable() or " " in url:
        raise UsageError("the callback is no plain address")
    if name not in options.callbacks and f"{name}:{port}" not in options.callbacks:
        raise UsageError("this host may not be called back; `twinscope serve --callback HOST` allows one")


def signing_key(folder: Path, case_id: str) -> str:
    """Return the key with which the callbacks of a case are signed: who made the case is told it, once."""
    return hmac.new(_secret(folder), case_id.encode(), hashlib.sha256).hexdigest()


def _secret(folder: Path) -> bytes:
    """Return the secret of a desk, made if missing; its file is for its owner alone."""
    path = folder / SECRET
    with suppress(FileNotFoundError):
        return path.read_bytes()
    new = folder / f"{SECRET}-{secrets.token_hex(8)}"
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):  # somebody else was quicker: theirs counts
        os.link(new, path)
    new.unlink()
    return path.read_bytes()


class Callbacks:
    """Calls back when jobs have ended, each in a thread of its own, and tries again after a while; for many threads."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.options = options
        self._stopped = threading.Event()
        self._few = threading.BoundedSemaphore(AT_ONCE)

    def __call__(self, job: Job) -> None:
        """Call back about a job, if its case wants it; returns at once."""
        if job.kind != "screen":
            return
        with cases.connected(self.folder) as db:
            case = cases.get(db, job.case_id)
        if case is not None and case.callback:
            threading.Thread(target=self._call, args=(case.callback, job), daemon=True).start()

    def stop(self) -> None:
        """Try no more."""
        self._stopped.set()

    def _call(self, url: str, job: Job) -> None:
        address = f"{self.options.address}/api/v1/cases/{job.case_id}"
        body = json.dumps({"id": job.case_id, "state": job.state, "url": address}, sort_keys=True).encode()
        key = signing_key(self.folder, job.case_id)
        signature = "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        pause_s = self.options.desk.callback_s
        for _ in range(self.options.desk.callback_tries):
            try:
                check(url, self.options)  # the hosts that are allowed may have changed since the case was made
                with self._few:
                    status = post(url, body, signature, self.options.desk.callback_s)
            except (OSError, http.client.HTTPException, UsageError) as error:
                told = str(error)
            else:
                if 200 <= status < 300:
                    return
                told = f"it answered {status}"
            if self._stopped.wait(pause_s):
                return
            pause_s *= 2
        logging.getLogger(__name__).warning("the callback of case %s was given up: %s", job.case_id, told)


def post(url: str, body: bytes, signature: str, timeout_s: float) -> int:
    """Send a signed JSON body to an address and return the status; a redirect is not followed."""
    parts = urlsplit(url)
    kinds: dict[str, Callable[..., http.client.HTTPConnection]] = {
        "https": http.client.HTTPSConnection,
        "http": http.client.HTTPConnection,
    }
    connection = kinds[parts.scheme](parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        place = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json", SIGNATURE: signature, "User-Agent": "twinscope"}
        connection.request("POST", place, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
