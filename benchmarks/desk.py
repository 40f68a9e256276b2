"""Measure the review desk under load: uploads and clicking reviewers while a manuscript is screened.

    python benchmarks/desk.py [--seconds 60] [-o benchmarks/results/desk.json]

A real server on this machine; one case that is screened, to be looked at; then at the same time a screening, four who
upload, twenty who click through findings and make notes while a page of theirs listens for events, and one who asks
/health ten times a second. Afterwards all that was acknowledged must be there: every file byte by byte, every entry in
one whole chain. The clients run on the same cores as the server, so they wait longer than others would. "event" is the
time between two events that a page hears.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import common

sys.path.insert(0, str(common.ROOT / "src"))

from twinscope.web import cases, ledger

RESULTS = Path(__file__).resolve().parent / "results" / "desk.json"
UPLOADERS, REVIEWERS = 4, 20
UPLOAD_MB = 40
THINK_S = 1.0
HEALTH_S = 0.1
LIMITS_MS = {"health p95": 200.0, "note p95": 150.0, "event most": 2000.0}


class Client:
    """A browser of one person: a connection that is kept, and a cookie."""

    def __init__(self, address: str, cookie: str) -> None:
        self.host = address.removeprefix("http://")
        self.headers = {"Cookie": cookie, "Origin": address, "Accept": "application/json"}
        self.line = http.client.HTTPConnection(self.host, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Send a request and return the status and the body of the answer."""
        try:
            self.line.request(method, path, body, {**self.headers, **headers})
            answer = self.line.getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, OSError):  # a kept connection that the server has closed
            self.line.close()
            self.line.request(method, path, body, {**self.headers, **headers})
            answer = self.line.getresponse()
            return answer.status, answer.read()


def upload(client: Client, name: str, content: bytes) -> tuple[int, bytes]:
    """Upload a file."""
    head = f'--b0rder\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    body = head + content + b"\r\n--b0rder--\r\n"
    return client.ask("POST", "/cases", body, **{"Content-Type": "multipart/form-data; boundary=b0rder"})


def probe(address: str, cookie: str, seconds: float, told: Queue[Any]) -> None:
    """Ask /health ten times a second; tell how long each answer took, ms."""
    client, took = Client(address, cookie), []
    until = time.monotonic() + seconds
    while (begin := time.monotonic()) < until:
        assert client.ask("GET", "/health")[0] == 200
        took.append(1000 * (time.monotonic() - begin))
        time.sleep(max(0.0, HEALTH_S - (time.monotonic() - begin)))
    told.put({"health": took})


def load(address: str, cookie: str, case_id: str, keys: list[str], seconds: float, told: Queue[Any]) -> None:
    """Upload and review with many threads; tell how long everything took and what was acknowledged."""
    took: dict[str, list[float]] = {name: [] for name in ("home", "case", "finding", "note", "upload", "event")}
    kept: dict[str, str] = {}
    decided: list[str] = []
    wrong: list[str] = []
    lock = threading.Lock()
    until = time.monotonic() + seconds

    def timed(name: str, ask: Callable[[], tuple[int, bytes]]) -> bytes | None:
        begin = time.monotonic()
        status, body = ask()
        with lock:
            took[name].append(1000 * (time.monotonic() - begin))
            if status != 200:
                wrong.append(f"{name}: {status} {body[:100]!r}")
        return body if status == 200 else None

    def send(number: int) -> None:
        client, count = Client(address, cookie), 0
        while time.monotonic() < until:
            content = os.urandom(UPLOAD_MB << 20)
            body = timed("upload", lambda content=content: upload(client, f"u{number}.pdf", content))
            if body is not None:
                with lock:
                    kept[json.loads(body)["id"]] = hashlib.sha256(content).hexdigest()
            count += 1
            time.sleep(5)

    def review(number: int) -> None:
        client, draw = Client(address, cookie), random.Random(number)
        time.sleep(draw.random() * THINK_S)
        count = 0
        while time.monotonic() < until:
            key, count = draw.choice(keys), count + 1
            place = f"/cases/{case_id}/findings/{key}"
            note = f"reviewer {number}, note {count}"
            clicks: list[tuple[str, Callable[[], tuple[int, bytes]]]] = [
                ("home", lambda: client.ask("GET", "/", Accept="text/html")),
                ("case", lambda: client.ask("GET", f"/cases/{case_id}", Accept="text/html")),
                ("finding", lambda place=place: client.ask("GET", place, Accept="text/html")),
                ("note", lambda place=place, note=note: client.ask(
                    "POST", f"{place}/note", urlencode({"note": note}).encode(),
                    **{"Content-Type": "application/x-www-form-urlencoded"})),
            ]  # fmt: skip
            for name, click in clicks:
                body = timed(name, click)
                if name == "note" and body is not None:
                    with lock:
                        decided.append(note)
                time.sleep(THINK_S * (0.5 + draw.random()))

    def listen() -> None:
        client = Client(address, cookie)
        client.line.request("GET", "/events", headers={**client.headers, "Accept": "text/event-stream"})
        answer, last = client.line.getresponse(), time.monotonic()
        while time.monotonic() < until:
            if answer.readline().startswith(b"data: "):
                with lock:
                    took["event"].append(1000 * (time.monotonic() - last))
                last = time.monotonic()
        client.line.close()

    threads = [threading.Thread(target=send, args=(n,)) for n in range(UPLOADERS)]
    threads += [threading.Thread(target=review, args=(n,)) for n in range(REVIEWERS)]
    threads += [threading.Thread(target=listen) for _ in range(REVIEWERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put({"took": took, "kept": kept, "decided": decided, "wrong": wrong})


def quantile(values: list[float], share: float) -> float:
    """Return the least value that at least a share of the values does not exceed."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def summary(values: list[float]) -> dict[str, float]:
    """Return count, median, 95th percentile and the most, ms."""
    return {
        "n": len(values),
        "p50_ms": quantile(values, 0.5),
        "p95_ms": quantile(values, 0.95),
        "most_ms": round(max(values), 1),
    }


def state(client: Client, case_id: str) -> str:
    """Return the state of a case."""
    return str(json.loads(client.ask("GET", f"/api/v1/cases/{case_id}")[1])["state"])


def lost(folder: Path, kept: dict[str, str], decided: list[str]) -> list[str]:
    """Return what was acknowledged and is not there, or not as it came."""
    missing = []
    for case_id, sha256 in kept.items():
        files = list((folder / case_id / "uploads").rglob("*.pdf"))
        if [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] != [sha256]:
            missing.append(f"the file of case {case_id}")
    with cases.connected(folder) as db:
        troubles = ledger.verify(db).troubles
        notes = [row[0] for row in db.execute("SELECT json_extract(entry, '$.note') FROM decisions")]
    return [*missing, *troubles, *sorted(set(decided) - set(notes))]


def measure(folder: Path, manuscript: Path, seconds: float) -> dict[str, Any]:
    """Serve a desk, load it, and return what was measured."""
    command = [
        sys.executable,
        "-c",
        "from twinscope.cli import main; main()",
        "serve",
        str(folder),
        "--port",
        "0",
        "--no-open",
    ]
    environment = {**os.environ, "PYTHONPATH": str(common.ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            said += server.stdout.readline()
        address, _, token = re.findall(r"http\S+", said)[0].partition("/?token=")
        line = http.client.HTTPConnection(address.removeprefix("http://"))
        line.request("GET", f"/?token={token}")
        cookie = str(line.getresponse().getheader("set-cookie")).partition(";")[0]
        client = Client(address, cookie)
        first = json.loads(upload(client, "first.pdf", manuscript.read_bytes())[1])["id"]
        while state(client, first) in ("queued", "running"):
            time.sleep(0.5)
        page = client.ask("GET", f"/cases/{first}", Accept="text/html")[1].decode()
        keys = sorted(set(re.findall(rf"/cases/{first}/findings/([A-Za-z0-9_-]+)", page)))
        assert keys, "the first screening gave no findings to look at"
        second = json.loads(upload(client, "second.pdf", manuscript.read_bytes())[1])["id"]
        context = multiprocessing.get_context("spawn")
        told: Queue[Any] = context.Queue()
        processes = [
            context.Process(target=probe, args=(address, cookie, seconds, told)),
            context.Process(target=load, args=(address, cookie, first, keys, seconds, told)),
        ]
        for process in processes:
            process.start()
        heard = told.get(timeout=seconds + 300) | told.get(timeout=seconds + 300)
        for process in processes:
            process.join()
        during = state(client, second)
        missing = lost(folder, heard["kept"], heard["decided"])
        server.send_signal(signal.SIGINT)
        server.wait()
    return {
        "health": summary(heard["health"]),
        "clicks": {name: summary(values) for name, values in heard["took"].items() if values},
        "uploads_kept": len(heard["kept"]),
        "upload_mb": UPLOAD_MB,
        "entries_kept": len(heard["decided"]),
        "lost": missing,
        "refused": heard["wrong"][:20],
        "screening_state_at_the_end": during,
    }


def main() -> int:
    """Measure, print and keep; return 1 where something was lost or /health was too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        manuscript = Path(room, "manuscript.pdf")
        subprocess.run([sys.executable, str(common.ROOT / "examples" / "make.py"), str(manuscript)], check=True)
        result = measure(Path(room, "cases"), manuscript, given.seconds)
    result |= {
        "uploaders": UPLOADERS, "reviewers": REVIEWERS, "seconds": given.seconds, "limits_ms": LIMITS_MS,
        "load": round(os.getloadavg()[0], 1), **common.circumstances(),
    }  # fmt: skip
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, row in {"/health": result["health"], **result["clicks"]}.items():
        times = f"median {row['p50_ms']:7} ms  p95 {row['p95_ms']:7} ms  most {row['most_ms']:7} ms"
        print(f"{name:8} n {row['n']:5}  {times}")
    kept = f"{result['uploads_kept']} uploads of {UPLOAD_MB} MB and {result['entries_kept']} entries"
    print(f"{kept}; lost: {result['lost'] or 'nothing'}; refused: {result['refused'] or 'nothing'}")
    return int(bool(result["lost"] or result["refused"]) or result["health"]["p95_ms"] > LIMITS_MS["health p95"])


if __name__ == "__main__":
    sys.exit(main())
