"""The desk as people run it: a process of its own, real screenings, and whatever kills it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from tests.web.desks import FILE, PASSWORD, Served, family, gone, make_case, served, soon

from twinscope import serving
from twinscope.web import cases, ledger, users

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import papers

Run = Callable[..., tuple[int, str, str]]
SCRIPT = {"Accept": "application/json"}


def paper(folder: Path, pages: int = 2) -> Path:
    """Return a paper in which one picture stands on every page."""
    folder.mkdir(exist_ok=True)
    return papers.pdf(folder, [papers.micrograph(1), *[papers.micrograph(n // 2) for n in range(3, pages + 2)]])


def upload(client: httpx.Client, path: Path) -> str:
    """Upload a file and return its case."""
    with path.open("rb") as file:
        answer = client.post("/cases", files={"files": (path.name, file)}, headers=SCRIPT)
    assert answer.status_code == 200
    return str(answer.json()["id"])


def state(client: httpx.Client, case_id: str) -> str:
    """Return the state of a case."""
    return str(client.get(f"/api/v1/cases/{case_id}").json()["state"])


def documented_client(root: Path, desk: Served, file: Path) -> str:
    """Run the client of docs/serve.md on a file and return what it prints."""
    text = (root / "docs" / "serve.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import time, httpx\n.*?)```", text, re.DOTALL)
    code = code.replace("https://desk.example.org", desk.address).replace("sleep(5)", "sleep(0.2)")
    (file.parent / "manuscript.pdf").write_bytes(file.read_bytes())
    command = [sys.executable, "-c", f"KEY = {desk.token!r}\n{code}"]
    return subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=True, timeout=120).stdout


def test_a_paper_is_screened_and_survives_a_kill_in_the_middle(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "cases"
    file = paper(tmp_path / "in", 3)
    with served(folder, "--threads", "2") as desk, desk.enter() as client:
        case_id = upload(client, file)
        with cases.connected(folder) as db:
            ledger.append(db, ledger.Entry(case_id=case_id, act="note", who="olga", at="now", note="before"))
        soon(lambda: (client.get(f"/api/v1/cases/{case_id}").json()["progress"] or {}).get("stage"), 60)
        processes = family(desk.process.pid)
        assert len(processes) >= 2
        desk.process.kill()
        desk.process.wait()
        soon(lambda: gone(processes), 10)
        assert state_of(folder, case_id) == "running"
    with served(folder, "--threads", "2") as desk, desk.enter() as client:
        soon(lambda: state(client, case_id) in ("done", "failed"), 120)
        assert state(client, case_id) == "done"
        result = client.get(f"/api/v1/cases/{case_id}/result").json()
        assert [one["path"] for one in result["screening"]["inputs"]] == [f"1/{file.name}"]
        assert len(result["screening"]["findings"]) >= 1
        assert [one["entry"]["note"] for one in result["decisions"]] == ["before"]
        assert "<!doctype html>" in client.get(f"/api/v1/cases/{case_id}/report").text.lower()
        assert str(tmp_path) not in json.dumps(result["screening"])
        said = documented_client(root, desk, paper(tmp_path / "more", 2))
        assert re.search(r"^0\.\d+ d1-\S+ d1-\S+", said, re.MULTILINE), said
    with cases.connected(folder) as db:
        assert ledger.verify(db).troubles == ()
    assert (folder / case_id / "findings.csv").is_file()


def state_of(folder: Path, case_id: str) -> str:
    """Return the state of a case by the database's word."""
    with cases.connected(folder) as db:
        job = cases.latest_job(db, case_id)
    assert job is not None
    return job.state


def test_a_real_screening_is_cancelled_within_five_seconds(tmp_path: Path) -> None:
    with served(tmp_path / "cases", "--threads", "2") as desk, desk.enter() as client:
        case_id = upload(client, paper(tmp_path / "in", 12))
        top = psutil.Process(desk.process.pid)
        most: dict[int, psutil.Process] = {}

        def grown() -> bool:
            most.update({one.pid: one for one in top.children(recursive=True)})
            return len(most) >= 3  # the job, the process that workers are forked from, a worker

        soon(grown, 60)
        nice = {one.nice() for one in top.children() if one.is_running()}
        began = time.monotonic()
        client.post(f"/cases/{case_id}/cancel")
        soon(lambda: not top.children(recursive=True), 5)
        assert time.monotonic() - began < 5
        assert gone(list(most.values()))
        assert nice == {min(19, top.nice() + 10)}
        assert state(client, case_id) == "cancelled"
        assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_desk_at_once_while_pages_listen(tmp_path: Path, how: signal.Signals) -> None:
    with served(tmp_path / "cases", stand_in=True) as desk, desk.enter() as client:
        client.post("/cases", files=[("files", ("slow.pdf", b"x"))])
        heard: list[str] = []

        def listen() -> None:
            with desk.enter() as other, other.stream("GET", "/events") as answer:
                heard.extend(answer.iter_lines())

        pages = [threading.Thread(target=listen) for _ in range(3)]
        for page in pages:
            page.start()
        soon(lambda: state(client, client.get("/api/v1/cases").json()[0]["id"]) == "running")
        soon(lambda: len([line for line in heard if line.startswith("data: ")]) >= 3 * 2)
        processes = family(desk.process.pid)
        began = time.monotonic()
        desk.process.send_signal(how)
        assert desk.process.wait(10) == 0
        assert time.monotonic() - began < 4
        for page in pages:
            page.join(5)
        assert gone(processes)
        assert desk.process.stderr is not None
        assert desk.process.stderr.read().startswith("twinscope: the desk is closed; ")


def test_a_folder_is_open_once_and_a_port_is_taken_once(tmp_path: Path, run: Run) -> None:
    with served(tmp_path / "cases", stand_in=True) as desk:
        code, _, err = run("serve", str(tmp_path / "cases"), "--port", "0", "--no-open")
        assert (code, "another desk is open on" in err) == (2, True)
        code, _, err = run("serve", str(tmp_path / "more"), "--port", desk.address.rpartition(":")[2], "--no-open")
        assert (code, "take another --port" in err) == (2, True)


def test_a_team_signs_in_by_name(tmp_path: Path) -> None:
    users.add(tmp_path / "users.json", "olga", "reviewer", PASSWORD)
    arguments = ("--users", str(tmp_path / "users.json"), "--host-name", "desk.example", "--proxy", "127.0.0.1")
    with served(tmp_path / "cases", *arguments, stand_in=True) as desk:
        assert (desk.address, desk.token) == ("https://desk.example", "")
        ports = [one.laddr.port for one in psutil.Process(desk.process.pid).net_connections() if one.status == "LISTEN"]
        headers = {"Host": "desk.example", "X-Forwarded-Proto": "https", "Origin": "https://desk.example"}
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", headers=headers) as client:
            wrong = client.post(
                "/login", data={"name": "olga", "password": PASSWORD}, headers={"X-Forwarded-Proto": "http"}
            )
            assert wrong.status_code == 403
            answer = client.post("/login", data={"name": "olga", "password": PASSWORD})
            assert answer.status_code == 303
            assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "0.0.0.0"], "without --users the desk listens at 127.0.0.1 alone"),
        (["--host", "192.0.2.1", "--users", "USERS"], "cannot listen at 192.0.2.1"),
        (["--users", "none.json"], "there is no file of users none.json"),
        (["--port", "70000"], "--port"), (["--settings", "none.toml"], "none.toml"), (["--jobs", "0"], "--jobs"),
        (["--upload-mb", "0"], "--upload-mb"), (["--set", "x=1"], "x"), (["--proxy", "127.0.0.1"], "--host-name"),
        (["--library", "none"], "none is no library; make one with `twinscope library add"),
    ],
)  # fmt: skip
def test_wrong_use_of_serve_is_one_sentence(
    arguments: list[str], word: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.add(tmp_path / "users.json", "olga", "reviewer", PASSWORD)
    monkeypatch.chdir(tmp_path)
    given = ["users.json" if one == "USERS" else one for one in arguments]
    port = [] if "--port" in given else ["--port", "0"]
    code, out, err = run("serve", "cases", "--no-open", *port, *given)
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err


def test_a_folder_that_is_a_file_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = run("serve", str(tmp_path / "file"), "--port", "0", "--no-open")
    assert (code, "cannot be used" in err) == (2, True)


def test_a_browser_is_opened_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not serving._shows()
    monkeypatch.setenv("DISPLAY", ":0")
    assert serving._shows()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert serving._shows()


def test_addresses() -> None:
    assert serving._address("127.0.0.1", 80, None, None) == "http://127.0.0.1:80"
    assert serving._address("::1", 80, None, None) == "http://[::1]:80"
    assert serving._address("0.0.0.0", 80, ["Desk.example"], None) == "http://desk.example:80"
    assert serving._address("127.0.0.1", 80, ["Desk.example"], "10.0.0.1") == "https://desk.example"


def test_the_names_under_which_a_desk_answers() -> None:
    local = ("127.0.0.1", "localhost", "[::1]")
    assert serving._hosts("127.0.0.1", None) == local
    assert serving._hosts("0.0.0.0", ["Desk.example"]) == ("desk.example", *local)
    assert serving._hosts("192.0.2.7", None) == ("192.0.2.7", *local)
    assert serving._hosts("2001:db8::1", None) == ("[2001:db8::1]", *local)
    assert serving._hosts("::", None) == local


def test_the_home_of_the_cases_is_told_and_made(tmp_path: Path) -> None:
    code = "from twinscope.cli import main; main()"
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--no-open"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert str(tmp_path / "twinscope-cases") in said
    assert (tmp_path / "twinscope-cases" / cases.DATABASE).is_file()


# ---- users and audit --------------------------------------------------------------------------------------------


def test_users_by_the_command_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cheap: None) -> None:
    file = str(tmp_path / "users.json")

    def say(password: str) -> None:
        monkeypatch.setattr(sys, "stdin", open_text(tmp_path, password))

    say(PASSWORD)
    assert run("users", "add", file, "olga", "--admin")[0] == 0
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    say("short")
    code, _, err = run("users", "add", file, "rita")
    assert (code, "10 to 1024 characters" in err) == (2, True)
    key = run("users", "key", file, "olga", "--label", "journal")[1].strip()
    assert re.fullmatch(r"tw_[A-Za-z0-9_-]{43}", key)
    assert run("users", "key", file, "olga", "--label", "journal")[0] == 2
    assert json.loads(run("users", "list", file, "--json")[1]) == [
        {"name": "olga", "role": "admin", "keys": ["journal"]}
    ]
    assert "keys: journal" in run("users", "list", file)[1]
    assert run("users", "key", file, "olga", "--label", "journal", "--remove")[0] == 0
    assert run("users", "role", file, "olga", "reviewer")[0] == 0
    assert run("users", "role", file, "olga", "king")[0] == 2
    say("another long password")
    assert run("users", "password", file, "olga")[0] == 0
    olga = users.read(Path(file))["olga"]
    assert (olga.role, olga.keys, users.check(olga, "another long password")) == ("reviewer", (), True)
    assert run("users", "remove", file, "olga")[0] == 0
    code, _, err = run("users", "remove", file, "olga")
    assert (code, "there is no user olga" in err) == (2, True)
    assert users.read(Path(file)) == {}


def open_text(folder: Path, line: str) -> object:
    """Return a file of one line, as standard input is one that is no terminal."""
    import io

    return io.StringIO(line + "\n")


def test_audit_by_the_command_line(run: Run, tmp_path: Path) -> None:
    case = make_case(tmp_path)
    with cases.connected(tmp_path) as db:
        for note in "abc":
            ledger.append(db, ledger.Entry(case_id=case.id, act="note", who="olga", at="now", note=note))
        number, head = ledger.head(db)
    code, out, _ = run("audit", "verify", str(tmp_path))
    assert (code, out) == (0, f"the record of {tmp_path} is whole\nits end, to note: 3:{head}\n")
    assert run("audit", "verify", str(tmp_path), "--noted", f"{number}:{head}")[0] == 0
    with cases.connected(tmp_path) as db:
        db.execute("DROP TRIGGER decisions_remain")
        db.execute("DELETE FROM decisions WHERE seq = 3")
    assert run("audit", "verify", str(tmp_path))[0] == 0
    code, out, _ = run("audit", "verify", str(tmp_path), "--noted", f"{number}:{head}", "--json")
    told = json.loads(out)
    assert (code, told["whole"], told["entries"]) == (3, False, 2)
    assert told["wrong"] == [f"entry 3 with the noted hash {head[:12]}... is not there"]
    for wrong in ("3", f"x:{head}", f"3:{head[:-1]}", f"3:{head.upper()}"):
        assert run("audit", "verify", str(tmp_path), "--noted", wrong)[0] == 2
    code, _, err = run("audit", "verify", str(tmp_path / "none"))
    assert (code, "no folder of a desk" in err) == (2, True)
    assert not (tmp_path / "none").exists()


# ---- many at once -----------------------------------------------------------------------------------------------


def test_four_uploads_at_once_and_many_readers_lose_nothing(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    with served(tmp_path / "cases", stand_in=True) as desk:
        made: list[str] = []
        wrong: list[object] = []

        def send() -> None:
            with desk.enter() as client:
                for _ in range(3):
                    answer = client.post("/cases", files=[("files", ("a.pdf", content)), FILE], headers=SCRIPT)
                    made.append(answer.json()["id"])

        def look() -> None:
            with desk.enter() as client:
                for _ in range(5):
                    found = [client.get(path).status_code for path in ("/", "/health", "/api/v1/cases", "/help")]
                    wrong.extend(status for status in found if status != 200)

        threads = [threading.Thread(target=send) for _ in range(4)] + [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        with desk.enter() as client:
            soon(lambda: all(one["state"] == "done" for one in client.get("/api/v1/cases").json()), 60)
            assert sorted(one["id"] for one in client.get("/api/v1/cases").json()) == sorted(made)
            for case_id in made:
                assert (tmp_path / "cases" / case_id / "uploads" / "1" / "a.pdf").read_bytes() == content
                assert client.get(f"/api/v1/cases/{case_id}").json()["counts"]["files"] == 2
    assert len(made) == 12
    assert len(set(made)) == 12


def test_too_large_an_upload_is_told_over_the_wire(tmp_path: Path) -> None:
    with served(tmp_path / "cases", "--upload-mb", "1", stand_in=True) as desk, desk.enter() as client:
        answer = client.post("/cases", files=[("files", ("a.pdf", b"x" * (3 << 20)))], headers=SCRIPT)
        assert (answer.status_code, "larger than 1 MB" in answer.json()["detail"]) == (413, True)
        assert client.get("/health").status_code == 200
        assert _raw(desk, b"x" * 100) == b"413"
    assert [path.name for path in (tmp_path / "cases" / ".incoming").iterdir()] == []


def _raw(desk: Served, body: bytes) -> bytes:
    """Return the status of an upload that says it is of 10 GB, and of which little comes."""
    host, _, port = desk.address.removeprefix("http://").partition(":")
    head = (
        f"POST /api/v1/cases HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {desk.token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000000000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), 10) as line:
        line.sendall(head.encode() + body)
        return line.recv(1000).split(b" ")[1]
