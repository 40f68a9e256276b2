"""The REST API: what other programs are told, and how they are called back."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from tests.web.desks import FILE, ORIGIN, TOKEN, TestClient, enter, make_case, open_desk, options, soon

from twinscope.errors import UsageError
from twinscope.types import InputFile, Provenance, Screening
from twinscope.web import callbacks, cases, ledger, users
from twinscope.web.callbacks import Callbacks
from twinscope.web.cases import Job

SHA = "0" * 64
SCREENING = Screening(
    inputs=(InputFile(path="1-paper.pdf", sha256=SHA, kind="pdf", status="ok", pages=1),),
    seconds=1.5,
    provenance=Provenance(twinscope="0", settings_sha256=SHA),
)


def program(app: FastAPI, key: str = TOKEN) -> TestClient:
    """Return a program that shows a key."""
    return TestClient(app, base_url=ORIGIN, headers={"Authorization": f"Bearer {key}"}, follow_redirects=False)


def screened(app: FastAPI) -> cases.Case:
    """Make a case whose screening has ended, with a decision."""
    case = make_case(app.state.folder)
    folder = app.state.folder / case.id
    (folder / "screening.json").write_text(SCREENING.model_dump_json())
    with cases.connected(app.state.folder) as db:
        cases.finish(db, cases.enqueue(db, case.id, "screen", {}, "running"), "done")
        ledger.append(db, ledger.Entry(case_id=case.id, act="note", who="olga", at="now", note="“seen”"))
    return case


def test_a_case_from_its_making_to_its_end(desk: FastAPI) -> None:
    client = program(desk)
    made = client.post("/api/v1/cases", files=[FILE], data={"title": "A paper"})
    assert made.status_code == 201
    told = made.json()
    case_id = told["id"]
    assert made.headers["location"] == f"/api/v1/cases/{case_id}"
    assert (told["title"], told["state"], told["place"], told["callback_key"]) == ("A paper", "queued", 0, "")
    assert told["counts"] == {"files": 1, "findings": None, "entries": 0}
    assert told["url"] == f"{ORIGIN}/cases/{case_id}"
    del told["callback_key"]
    assert client.get(f"/api/v1/cases/{case_id}").json() == told
    assert client.get("/api/v1/cases").json() == [told]
    with cases.connected(desk.state.folder) as db:
        taken = cases.next_job(db, "screen")
        assert taken is not None
        cases.progress(db, taken.id, "compare", 3, 9)
    told = client.get(f"/api/v1/cases/{case_id}").json()
    assert (told["state"], told["progress"]) == ("running", {"stage": "compare", "done": 3, "total": 9})
    for part in ("result", "report"):
        answer = client.get(f"/api/v1/cases/{case_id}/{part}")
        assert (answer.status_code, answer.json()["detail"].endswith("its state is running")) == (409, True)
    assert client.post(f"/api/v1/cases/{case_id}/cancel").json()["state"] == "cancelled"
    assert client.delete(f"/api/v1/cases/{case_id}").status_code == 204
    assert client.get(f"/api/v1/cases/{case_id}").status_code == 404
    assert client.get("/api/v1/cases").json() == []


def test_a_result_is_the_screening_with_the_decisions(desk: FastAPI) -> None:
    case = screened(desk)
    client = program(desk)
    told = client.get(f"/api/v1/cases/{case.id}/result").json()
    assert Screening.model_validate(told["screening"]) == SCREENING
    assert told["case"]["counts"] == {"files": 1, "findings": 0, "entries": 1}
    with cases.connected(desk.state.folder) as db:
        kept = ledger.entries(db, case.id)
    assert [(one["seq"], one["hash"], one["entry"]["note"]) for one in told["decisions"]] == [
        (1, kept[0].hash, "“seen”")
    ]
    report = client.get(f"/api/v1/cases/{case.id}/report")
    assert report.text.startswith("<!doctype html>")
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    assert "attachment" in report.headers["content-disposition"]


def test_the_state_of_a_case_is_that_of_its_screening(desk: FastAPI) -> None:
    case = screened(desk)
    client = program(desk)
    with cases.connected(desk.state.folder) as db:
        cases.enqueue(db, case.id, "pair", {"a": "x", "b": "y"})
        assert client.get(f"/api/v1/cases/{case.id}").json()["state"] == "done"
        assert client.get(f"/api/v1/cases/{case.id}/result").status_code == 200
        cases.enqueue(db, case.id, "screen", {})
    told = client.get(f"/api/v1/cases/{case.id}").json()
    assert (told["state"], told["counts"]["findings"]) == ("queued", None)


def test_a_count_is_of_the_newest_screening(desk: FastAPI) -> None:
    case = screened(desk)
    path = desk.state.folder / case.id / "screening.json"
    for findings in ([], [1], [1, 2]):
        path.with_name("new").write_text(json.dumps({"findings": findings}))
        path.with_name("new").replace(path)
        for _ in range(2):
            assert program(desk).get("/api/v1/cases").json()[0]["counts"]["findings"] == len(findings)


def test_a_screening_of_another_version_is_told(desk: FastAPI) -> None:
    case = screened(desk)
    (desk.state.folder / case.id / "screening.json").write_text('{"findings": [1]}')
    answer = program(desk).get(f"/api/v1/cases/{case.id}/result")
    assert (answer.status_code, "another version" in answer.json()["detail"]) == (409, True)


def test_refusals_are_one_sentence_of_json(desk: FastAPI) -> None:
    client = program(desk)
    answers = [
        client.get("/api/v1/cases/none"), client.get("/api/v1/nothing"), client.post("/api/v1/cases", content=b"x"),
        program(desk, "wrong").get("/api/v1/cases"), TestClient(desk, base_url=ORIGIN).get("/api/v1/cases"),
        client.put("/api/v1/cases"), client.get("/api/v1/cases", headers={"Host": "evil.example"}),
        client.post("/api/v1/cases", files=[FILE], data={"callback": "https://evil.example/"}),
        TestClient(desk, base_url=ORIGIN).post("/api/v1/cases"),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [404, 404, 415, 401, 401, 405, 400, 422, 403]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told.keys() == {"type", "status", "detail"}
        assert told["status"] == answer.status_code
        assert "\n" not in told["detail"]
        assert "Traceback" not in answer.text
    with cases.connected(desk.state.folder) as db:
        assert cases.visible(db, "", True) == []


def test_a_key_is_its_users_and_no_more(team: FastAPI, people: Path) -> None:
    keys = {name: users.add_key(people, name, "journal") for name in ("olga", "rita", "adam")}
    made = program(team, keys["olga"]).post("/api/v1/cases", files=[FILE]).json()
    assert made["owner"] == "olga"
    seen = {name: [one["id"] for one in program(team, key).get("/api/v1/cases").json()] for name, key in keys.items()}
    assert seen == {"olga": [made["id"]], "rita": [], "adam": [made["id"]]}
    assert program(team, keys["rita"]).delete(f"/api/v1/cases/{made['id']}").status_code == 404
    for wrong in ("", keys["olga"][:-1], keys["olga"] + "x", users.key_hash(keys["olga"])):
        assert program(team, wrong).get("/api/v1/cases").status_code == 401
    # who shows a wrong key is not let in by a cookie that comes with it
    both = enter(team, "olga")
    assert both.get("/api/v1/cases", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert both.get("/", headers={"Authorization": f"Bearer {keys['rita']}"}).status_code == 200


def test_the_description_names_every_way_and_each_refusal(desk: FastAPI) -> None:
    told = program(desk).get("/api/v1/openapi.json").json()
    assert set(told["paths"]) == {
        "/api/v1/cases", "/api/v1/cases/{case_id}", "/api/v1/cases/{case_id}/result", "/api/v1/cases/{case_id}/report",
        "/api/v1/cases/{case_id}/cancel",
    }  # fmt: skip
    for path in told["paths"].values():
        for operation in path.values():
            assert {"400", "401"} <= operation["responses"].keys()
            for status, response in operation["responses"].items():
                if status >= "400" and "HTTPValidationError" not in json.dumps(response):
                    assert response["content"]["application/problem+json"]
    assert TestClient(desk, base_url=ORIGIN).get("/api/v1/openapi.json").status_code == 401


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whatever_is_asked_the_answer_is_as_described(desk: FastAPI) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from hypothesis import HealthCheck, Phase, given, settings
        from schemathesis.specs.openapi.checks import positive_data_acceptance  # not every host may be called back

        case = screened(desk)
        schema = schemathesis.openapi.from_dict(desk.openapi())
        schema.app = desk
        tried = 0
        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None,
                      phases=[Phase.generate], derandomize=True)  # fmt: skip
            @given(one=operation.as_strategy())
            def check(one: Any) -> None:
                nonlocal tried
                tried += 1
                if one.path_parameters and tried % 2 and one.method != "DELETE":
                    one.path_parameters["case_id"] = case.id
                headers = {"Authorization": f"Bearer {TOKEN}"}
                one.call_and_validate(headers=headers, base_url=ORIGIN, excluded_checks=[positive_data_acceptance])

            check()
    assert tried > 100


# ---- callbacks --------------------------------------------------------------------------------------------------


class Listener:
    """A server that is called back: `statuses` are what it answers, one after the other; the last for ever."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses = [200]
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                listener.heard.append((self.path, dict(self.headers), body))
                status = listener.statuses.pop(0) if len(listener.statuses) > 1 else listener.statuses[0]
                if status == 0:
                    time.sleep(0.5)
                self.send_response(status or 200)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_the_end_of_a_screening_is_called_back_with_a_signature(
    tmp_path: Path, listener: Listener, stand_in: None
) -> None:
    with program(open_desk(tmp_path / "cases", callbacks=("127.0.0.1",))) as client:
        made = client.post("/api/v1/cases", files=[FILE], data={"callback": f"{listener.address}/hook?a=1"}).json()
        soon(lambda: listener.heard)
        path, headers, body = listener.heard[0]
    assert path == "/hook?a=1"
    assert json.loads(body) == {"id": made["id"], "state": "done", "url": f"{ORIGIN}/api/v1/cases/{made['id']}"}
    wanted = hmac.new(made["callback_key"].encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Twinscope-Signature"] == f"sha256={wanted}"
    assert len(made["callback_key"]) == 64
    assert (tmp_path / "cases" / callbacks.SECRET).stat().st_mode & 0o777 == 0o600
    assert callbacks.signing_key(tmp_path / "cases", made["id"]) == made["callback_key"]
    assert callbacks.signing_key(tmp_path / "cases", "other") != made["callback_key"]


def caller(folder: Path, listener: Listener, **more: Any) -> tuple[Callbacks, Job]:
    """Return who calls back, and a job that has ended."""
    with cases.connected(folder) as db:
        case = cases.create(db, folder, "x", "olga", callback=f"{listener.address}/hook")
    desk = options().desk.model_copy(update={"callback_s": 0.05, "callback_tries": 3})
    return Callbacks(folder, options(desk=desk, **more)), Job(
        id=1, case_id=case.id, kind="screen", what={}, state="failed"
    )


def test_a_callback_is_tried_again_and_given_up(
    tmp_path: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    call, job = caller(tmp_path, listener, callbacks=("127.0.0.1",))
    listener.statuses = [500, 302, 204]
    call(job)
    soon(lambda: len(listener.heard) == 3)
    assert {path for path, _, _ in listener.heard} == {"/hook"}  # a redirect is not followed
    listener.heard.clear()
    listener.statuses = [0, 503]
    began = time.monotonic()
    call(job)
    assert time.monotonic() - began < 0.2
    soon(lambda: "was given up: it answered 503" in caplog.text)
    assert len(listener.heard) == 3
    assert caplog.records[-1].levelno == logging.WARNING


def test_nobody_is_called_who_is_not_allowed_any_more_or_for_two_panels(tmp_path: Path, listener: Listener) -> None:
    call, job = caller(tmp_path, listener, callbacks=("other.example",))
    call(job)
    allowed, again = caller(tmp_path, listener, callbacks=("127.0.0.1",))
    allowed(again.model_copy(update={"kind": "pair"}))
    allowed(again.model_copy(update={"case_id": "gone"}))
    time.sleep(0.3)
    assert listener.heard == []
    call.stop()


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://journal.example/hook", True), ("https://JOURNAL.example:443/", True),
        ("https://other.example:8443/x", True), ("file:///etc/passwd", False),
        ("http://localhost:9/x", True), ("http://journal.example/hook", False), ("https://other.example/x", False),
        ("https://other.example:8444/x", False), ("https://evil.example/journal.example", False),
        ("https://journal.example@evil.example/", False), ("https://user:x@journal.example/", False),
        ("https://journal.example.evil.example/", False), ("ftp://journal.example/", False),
        ("//journal.example/", False), ("journal.example", False), ("", False), ("https://journal.example:x/", False),
        ("https://journal.example/\r\nX: y", False), ("https://[::1/", False), ("https://journal.example/a b", False),
        ("http://127.0.0.1:1/", False), ("https://journal.example\\@evil.example/", False),
    ],
)  # fmt: skip
def test_only_hosts_that_are_configured_are_called_back(url: str, good: bool) -> None:
    allowed = options(callbacks=("journal.example", "other.example:8443", "localhost"))
    if good:
        callbacks.check(url, allowed)
    else:
        with pytest.raises(UsageError):
            callbacks.check(url, allowed)
    with pytest.raises(UsageError):
        callbacks.check(url, options())
