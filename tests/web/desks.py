"""Desks to knock at: in this process, or served by one of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
from fastapi import FastAPI
from starlette.routing import Mount

from twinscope.settings import Desk, Settings
from twinscope.web import app as desk_app
from twinscope.web import cases
from twinscope.web.options import Options

with warnings.catch_warnings():  # of httpx, which does
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from fastapi.testclient import TestClient

ORIGIN = "http://127.0.0.1:8765"
TOKEN = "the-token-of-the-tests-" + "x" * 20
PASSWORD = "a long enough password"
STAND_IN = str(Path(__file__).resolve().parent / "stand_in.py")
FILE = ("files", ("paper.pdf", b"%PDF-1.4 a paper", "application/pdf"))
QUICK = Desk(event_s=0.2, progress_s=0.0, grace_s=0.5, callback_s=0.1)


def options(**given: Any) -> Options:
    """Return options for a test: quick, and one thread."""
    return Options(**{"token": TOKEN, "desk": QUICK, "settings": Settings(threads=1), "address": ORIGIN, **given})


def knock(app: FastAPI, **headers: str) -> TestClient:
    """Return somebody who has not signed in; their browser says that requests come from the desk's own pages."""
    own = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
    return TestClient(
        app, base_url=ORIGIN, headers={**own, **headers}, follow_redirects=False, raise_server_exceptions=False
    )


def enter(app: FastAPI, name: str = "", **headers: str) -> TestClient:
    """Return somebody who has signed in: with the token, or by name."""
    client = knock(app, **headers)
    form = {"name": name, "password": PASSWORD} if name else {"token": TOKEN}
    assert client.post("/login", data=form).status_code == 303
    return client


def open_desk(folder: Path, **given: Any) -> FastAPI:
    """Return a desk on a folder."""
    return desk_app.create(folder, options(**given))


class Way(NamedTuple):
    """A method and a path of a desk."""

    method: str
    path: str

    def at(self, case: str) -> str:
        """Return the path of a case; other parts are 1."""
        return re.sub(r"\{[^}]*\}", "1", self.path.replace("{case_id}", case))


def ways(app: FastAPI) -> list[Way]:
    """Return all ways into a desk."""
    return sorted(set(_ways(app.routes)))


def _ways(routes: Sequence[Any]) -> Iterator[Way]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _ways(route.original_router.routes)
        elif not isinstance(route, Mount):
            for method in route.methods:
                yield Way(method, route.path)


def make_case(folder: Path, title: str = "A secret title", owner: str = "olga", **more: str) -> cases.Case:
    """Make a case with a file in it."""
    with cases.connected(folder) as db:
        case = cases.create(db, folder, title, owner, **more)
        (folder / case.id / "uploads" / "1").mkdir()
        (folder / case.id / "uploads" / "1" / "paper.pdf").write_bytes(b"%PDF-1.4 a paper")
        cases.add_file(db, case.id, "paper.pdf", "1/paper.pdf", "0" * 64, 16)
    return case


def soon(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something is true, and return it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


class Served(NamedTuple):
    """A desk that a process of its own serves."""

    process: subprocess.Popen[str]
    address: str
    token: str

    @contextmanager
    def enter(self) -> Iterator[httpx.Client]:
        """Give somebody who has signed in."""
        with httpx.Client(base_url=self.address, headers={"Origin": self.address}, timeout=30) as client:
            assert client.get(f"/?token={self.token}").status_code == 303
            yield client


@contextmanager
def served(folder: Path, *arguments: str, stand_in: bool = False) -> Iterator[Served]:
    """Serve a desk; with a stand-in, jobs are not screenings but what `stand_in.py` plays."""
    code = "from twinscope.cli import main; main()"
    if stand_in:
        code = (
            f"import sys; from twinscope.web import jobs; jobs.COMMAND = (sys.executable, '-S', {STAND_IN!r}); {code}"
        )
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", "--no-open", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said += line
        address, _, token = re.findall(r"http\S+", said)[0].partition("/?token=")
        yield Served(process, address.rstrip("/"), token)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        process.stderr.close()


def family(number: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    try:
        top = psutil.Process(number)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Say whether processes have ended."""
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)
