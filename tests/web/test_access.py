"""Who comes in, from where, and what they see."""

from __future__ import annotations

import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from tests.web.desks import (
    FILE,
    ORIGIN,
    PASSWORD,
    QUICK,
    TOKEN,
    TestClient,
    Way,
    enter,
    knock,
    make_case,
    open_desk,
    ways,
)

from twinscope.errors import UsageError
from twinscope.web import access, cases, users
from twinscope.web.sessions import Sessions, Tries

OPEN = {("GET", "/login"), ("POST", "/login"), ("POST", "/logout"), ("GET", "/health"), ("GET", "/static/report.css")}
"""What anybody may ask for."""
REFUSED = "request came from another page"
FOREIGN: list[dict[str, str | None]] = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9999"},
    {"Sec-Fetch-Site": "none", "Origin": None},
    {"Sec-Fetch-Site": "none", "Origin": "null"},
    {"Sec-Fetch-Site": None, "Origin": None},
    {"Sec-Fetch-Site": None, "Origin": "null"},
    {"Sec-Fetch-Site": None, "Origin": "http://127.0.0.1:9999"},
    {"Sec-Fetch-Site": None, "Origin": "https://127.0.0.1:8765"},
    {"Sec-Fetch-Site": None, "Origin": "http://127.0.0.1:8765.evil.example"},
    {"Sec-Fetch-Site": "same-origin, cross-site", "Origin": None},
]
"""What browsers say of a request that another page has made, or what says nothing."""


def ask(client: TestClient, way: Way, case: str, headers: dict[str, str | None] | None = None) -> Any:
    """Send a request without a body."""
    request = client.build_request(way.method, way.at(case))
    for name, value in (headers or {}).items():
        request.headers.pop(name, None)
        if value is not None:
            request.headers[name] = value
    return client.send(request)


def test_the_walk_sees_all_ways(desk: FastAPI) -> None:
    found = ways(desk)
    assert ("POST", "/cases/{case_id}/remove") in found
    assert ("DELETE", "/api/v1/cases/{case_id}") in found
    assert ("GET", "/cases/{case_id}/events") in found
    assert {("GET", "/"), ("POST", "/cases"), ("GET", "/api/v1/openapi.json")} <= set(found)
    assert len(found) > 30
    assert {way.method for way in found} == {"GET", "POST", "DELETE"}


def test_no_unsafe_way_is_open_to_another_page(desk: FastAPI) -> None:
    client = enter(desk)
    case = make_case(desk.state.folder)
    unsafe = [way for way in ways(desk) if way.method not in ("GET", "HEAD", "OPTIONS")]
    assert len(unsafe) > 12
    for way in unsafe:
        for headers in FOREIGN:
            answer = ask(client, way, case.id, headers)
            assert (answer.status_code, REFUSED in answer.text) == (403, True), (way, headers)
        for headers in ({"Origin": None}, {"Sec-Fetch-Site": None}, {"Sec-Fetch-Site": "none"}):
            if "remove" not in way.path and way.method != "DELETE" and way.path != "/logout":
                assert REFUSED not in ask(client, way, case.id, headers).text, (way, headers)
    with cases.connected(desk.state.folder) as db:
        assert cases.get(db, case.id) is not None


def test_a_key_needs_no_origin_but_a_cookie_does(desk: FastAPI) -> None:
    key = {"Authorization": f"Bearer {TOKEN}"}
    bare = TestClient(desk, base_url=ORIGIN)
    assert bare.post("/api/v1/cases", files=[FILE], headers=key).status_code == 201
    assert bare.post("/cases", files=[FILE], headers=key).status_code == 403  # keys are for the API
    bare.cookies = enter(desk).cookies
    assert bare.post("/api/v1/cases", files=[FILE], headers=key).status_code == 403
    assert bare.get("/api/v1/cases", headers=key).status_code == 200


def test_nothing_is_shown_to_who_has_not_signed_in(team: FastAPI) -> None:
    case = make_case(team.state.folder)
    client = knock(team)
    for way in ways(team):
        if way in OPEN:
            continue
        for cookie in ("", access.cookie_name(team.state.folder, team.state.options) + "=" + "A" * 43):
            answer = ask(client, way, case.id, {"Cookie": cookie or None})
            if answer.status_code == 303:
                assert answer.headers["location"].startswith("/login?next=%2F"), way
                assert way.method == "GET"
                assert not way.path.startswith("/api")
            else:
                assert answer.status_code == 401, way
            assert "secret" not in answer.text, way
            assert case.title not in answer.text, way


@pytest.mark.parametrize("accept", ["text/html", "application/json", "text/event-stream"])
def test_no_case_is_told_of_to_who_has_no_right_to_it(team: FastAPI, accept: str) -> None:
    case = make_case(team.state.folder)
    rita = enter(team, "rita", Accept=accept)
    found = [way for way in ways(team) if "{case_id}" in way.path]
    assert len(found) > 15
    for way in found:
        answer, none = ask(rita, way, case.id), ask(rita, way, "nothere")
        assert (answer.status_code, none.status_code) == (404, 404), way
        assert answer.text.replace(case.id, "nothere") == none.text, way
        assert dict(answer.headers) == dict(none.headers), way
    assert case.title not in rita.get("/").text
    assert rita.get("/api/v1/cases").json() == []
    for name in ("olga", "adam"):
        assert case.title in enter(team, name).get("/").text
        assert enter(team, name).get(f"/api/v1/cases/{case.id}").status_code == 200


HOSTILE = [
    "../../desk.sqlite", "..%2f..%2fdesk.sqlite", "%2e%2e/%2e%2e/desk.sqlite", "panels/../../../desk.sqlite",
    "panels/..%2f..%2f..%2fdesk.sqlite", "/etc/passwd", "%2fetc%2fpasswd", "..%5c..%5cdesk.sqlite", "%00", "a%00.png",
    "../OTHER/panels/p.png", "panels/..%2f..%2fOTHER%2fpanels%2fp.png", "..%2f..%2fOTHER%2fpanels%2fp",
    "panels/link.png", "link", "x" * 5000, "-1", "99999999999999999999999", "%f0%9f%98%80",
]  # fmt: skip
"""Parts of an address that lead out of a case, or to nothing."""


def test_no_part_of_an_address_leads_out_of_a_case(team: FastAPI) -> None:
    folder: Path = team.state.folder
    case, other = make_case(folder), make_case(folder, owner="rita")
    (folder / other.id / "panels").mkdir()
    (folder / other.id / "panels" / "p.png").write_bytes(b"a secret of rita")
    (folder / case.id / "panels").mkdir()
    (folder / case.id / "panels" / "link.png").symlink_to(folder / other.id / "panels" / "p.png")
    olga = enter(team, "olga")
    tried = 0
    for way in ways(team):
        parts = [part for part in re.findall(r"\{[^}]*\}", way.path) if part != "{case_id}"]
        for text in HOSTILE if parts else ():
            path = way.path.replace("{case_id}", case.id).replace(parts[0], text.replace("OTHER", other.id))
            answer = olga.request(way.method, re.sub(r"\{[^}]*\}", "1", path))
            assert answer.status_code in (404, 405, 409, 422), (way, text, answer.status_code)
            assert b"SQLite" not in answer.content, (way, text)
            assert b"secret of rita" not in answer.content, (way, text)
            tried += 1
    assert tried > 100


def test_a_case_is_shared_and_no_longer_by_its_owner(team: FastAPI) -> None:
    case = make_case(team.state.folder)
    olga, rita = enter(team, "olga"), enter(team, "rita")
    place = f"/cases/{case.id}/access"
    assert olga.post(place, data={"user": "nobody", "act": "grant"}).status_code == 422
    assert olga.post(place, data={"user": "rita", "act": "own"}).status_code == 422
    assert rita.get(f"/cases/{case.id}").status_code == 404
    assert olga.post(place, data={"user": "rita", "act": "grant"}).status_code == 303
    assert rita.get(f"/cases/{case.id}").status_code == 200
    assert rita.post(place, data={"user": "rita", "act": "revoke"}).status_code == 403
    assert rita.post(f"/cases/{case.id}/remove").status_code == 403
    assert rita.delete(f"/api/v1/cases/{case.id}").status_code == 403
    assert olga.post(place, data={"user": "rita", "act": "revoke"}).status_code == 303
    assert rita.get(f"/cases/{case.id}").status_code == 404
    assert enter(team, "adam").post(f"/cases/{case.id}/remove").status_code == 303
    assert olga.get(f"/cases/{case.id}").status_code == 404
    assert not (team.state.folder / case.id).exists()


def test_every_answer_has_the_headers(desk: FastAPI) -> None:
    def broken() -> None:
        raise RuntimeError("a fault")

    desk.add_api_route("/broken", broken)
    client = enter(desk)
    case = make_case(desk.state.folder)
    answers = [ask(client, way, case.id) for way in ways(desk) if "events" not in way.path and way.method == "GET"]
    answers += [client.get("/broken"), client.get("/nothing"), client.put("/"), client.get("/static/desk.css"),
                client.get("/static/../cases.py"), client.post("/login", headers={"Origin": "https://evil.example",
                "Sec-Fetch-Site": "cross-site"}), client.get("/", headers={"Host": "evil.example"}),
                client.get("/?token=wrong"), knock(desk).get("/"), client.post("/cases", content=b"x")]  # fmt: skip
    assert {200, 303, 400, 403, 404, 405, 409, 415, 500} <= {answer.status_code for answer in answers}
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy == access.POLICY or (
            "sandbox" in policy and "attachment" in answer.headers["content-disposition"]
        )
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "cache-control" in answer.headers
        assert "server" not in answer.headers
    broke = client.get("/broken")
    assert "a fault" not in broke.text
    assert "Traceback" not in broke.text


def test_a_new_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    open_desk(tmp_path / "new" / "cases")
    assert (tmp_path / "new" / "cases").stat().st_mode & 0o777 == 0o700


def test_originals_are_kept_and_never_shown_by_the_browser(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    answer = enter(desk).get(f"/cases/{case.id}/files/1")
    assert answer.content == b"%PDF-1.4 a paper"
    assert answer.headers["content-disposition"] == 'attachment; filename="paper.pdf"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert enter(desk).get(f"/cases/{case.id}/files/2").status_code == 404


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8765", True), ("localhost", True), ("LOCALHOST:1", True), ("desk.example", True),
        ("DESK.example:443", True), ("evil.example", False), ("127.0.0.1.evil.example", False), ("[::1]:8765", False),
        ("evil.example:127.0.0.1", False), ("", False), ("[127.0.0.1", False), ("127.0.0.1@evil.example", False),
    ],
)  # fmt: skip
def test_the_desk_answers_for_its_own_names_alone(tmp_path: Path, host: str, known: bool) -> None:
    app = open_desk(tmp_path / "cases", hosts=("127.0.0.1", "localhost", "desk.example"))
    answer = knock(app).get("/health", headers={"Host": host})
    assert answer.status_code == (200 if known else 400)
    assert known or "host name" in answer.text


def test_ipv6_hosts_are_names_too() -> None:
    assert access.host_name("[::1]:8765") == "[::1]"
    assert access.host_name("[::1]") == "[::1]"


# ---- the token --------------------------------------------------------------------------------------------------


def test_the_token_lets_in_and_leaves_the_address(desk: FastAPI) -> None:
    client = knock(desk)
    answer = client.get(f"/cases/x?a=1&token={TOKEN}&b=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/cases/x?a=1&b=2")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200


def test_a_wrong_token_lets_nobody_in(desk: FastAPI) -> None:
    for wrong in ("", "x", TOKEN[:-1], TOKEN + "x", "é"):
        client = knock(desk)
        answer = client.get("/", params={"token": wrong})
        assert "set-cookie" not in answer.headers
        assert answer.headers["location"] == "/login?next=%2F&wrong=1"
        assert "not the token" in client.get(answer.headers["location"]).text
        assert client.post("/login", data={"token": wrong}).status_code == 403
        assert client.get("/").status_code == 303


def test_a_token_says_nothing_where_there_are_users(team: FastAPI) -> None:
    assert "set-cookie" not in knock(team).get("/login", params={"token": TOKEN}).headers
    assert knock(team).post("/login", data={"token": TOKEN}).status_code == 403
    assert knock(team).get("/api/v1/cases", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_cookies_behind_a_proxy_are_for_tls_alone(tmp_path: Path) -> None:
    answer = knock(open_desk(tmp_path / "cases", proxy=True)).get(f"/?token={TOKEN}")
    assert answer.headers["set-cookie"].startswith("__Host-twinscope-")
    assert "Secure" in answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_two_desks_on_two_ports_have_cookies_of_their_own(tmp_path: Path) -> None:
    names = {next(iter(enter(open_desk(tmp_path / name)).cookies)) for name in ("one", "two")}
    assert len(names) == 2


@given(st.text(alphabet="/\\:@ev.il?#\t\n\r%0aé", max_size=12) | st.text(max_size=12))
def test_a_way_on_never_leads_elsewhere(place: str) -> None:
    found = access.local(place)
    assert re.match(r"/(?![/\\])", found)
    assert found.isprintable()
    assert found == place or found == "/"


def test_who_signs_in_goes_on_where_they_wanted(desk: FastAPI) -> None:
    client = knock(desk)
    assert client.get("/cases/x?y=1").headers["location"] == "/login?next=%2Fcases%2Fx%3Fy%3D1"
    assert client.post("/login", data={"token": TOKEN, "next": "/cases/x?y=1"}).headers["location"] == "/cases/x?y=1"
    assert client.post("/login", data={"token": TOKEN, "next": "//evil.example"}).headers["location"] == "/"
    assert client.get(f"//evil.example?token={TOKEN}").headers["location"] == "/"


# ---- sessions ---------------------------------------------------------------------------------------------------


def test_a_session_ends_when_it_is_not_used_and_at_its_end() -> None:
    clock = [0.0]
    sessions = Sessions(10, 25, lambda: clock[0])
    number = sessions.begin("olga", "stamp")
    assert number not in repr(sessions._held)
    for at in (9, 18, 24.9):
        clock[0] = at
        assert sessions.find(number) is not None
    clock[0] = 25
    assert sessions.find(number) is None
    number = sessions.begin("olga", "stamp")
    clock[0] = 34
    assert sessions.find(number, used=False) is not None
    clock[0] = 35
    assert sessions.find(number) is None
    assert sessions._held == {}


def test_a_session_is_new_at_each_sign_in_and_ends_at_sign_out(desk: FastAPI) -> None:
    client = enter(desk)
    first = dict(client.cookies)
    client.post("/login", data={"token": TOKEN})
    second = dict(client.cookies)
    assert first.keys() == second.keys()
    assert first != second
    for kept, stands in ((first, False), (second, True)):
        other = knock(desk)
        other.cookies.update(kept)
        assert (other.get("/").status_code == 200) == stands
    assert client.post("/logout").headers["location"] == "/login"
    assert dict(client.cookies) == {}
    other = knock(desk)
    other.cookies.update(second)
    assert other.get("/").status_code == 303


def test_tries_wait_and_are_forgotten() -> None:
    clock = [0.0]
    tries = Tries(3, 60, lambda: clock[0])
    assert [tries.take("olga") for _ in range(3)] == [0, 0, 0]
    clock[0] = 20
    assert tries.take("olga") == 40
    assert tries.take("rita") == 0
    clock[0] = 60
    assert tries.take("olga") == 0
    assert [tries.take("rita") for _ in range(3)] == [0, 0, 20]
    tries.forget("rita", 1)
    assert tries.take("rita") == 0
    assert tries.take("rita") > 0
    tries.forget("rita")
    assert tries.take("rita") == 0


# ---- users ------------------------------------------------------------------------------------------------------


def test_a_user_signs_in_with_the_own_password_alone(team: FastAPI) -> None:
    for name, password in (
        ("olga", "wrong password"),
        ("olga", ""),
        ("nobody", PASSWORD),
        ("", ""),
        ("OLGA", PASSWORD),
    ):
        client = knock(team)
        answer = client.post("/login", data={"name": name, "password": password})
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
        assert "The name or the password is wrong." in answer.text
        assert client.get("/").status_code == 303
    assert enter(team, "olga").get("/").status_code == 200


def test_an_unknown_name_takes_a_hash_as_a_known_one_does(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    class Hasher:
        def verify(self, right: str, password: str) -> bool:
            hashed.append(right)
            return True

    users.check(None, "x")
    kept = users._nobody()
    monkeypatch.setattr(users, "_hasher", Hasher)
    olga = users.read(people)["olga"]
    assert users.check(olga, "any") is True
    assert users.check(None, "any") is False
    assert hashed == [olga.password, kept]


def test_every_sign_in_hashes_once(team: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str | None] = []
    real = users.check
    client = knock(team)

    def check(person: users.Person | None, password: str) -> bool:
        checked.append(person.name if person else None)
        return real(person, password)

    monkeypatch.setattr(users, "check", check)
    for name in ("olga", "nobody", "", "x" * 500):
        client.post("/login", data={"name": name, "password": "wrong"})
    assert checked == ["olga", None, None, None]


def test_wrong_passwords_wait_by_name_and_by_address(tmp_path: Path, people: Path) -> None:
    app = open_desk(tmp_path / "cases", users=people, desk=QUICK.model_copy(update={"tries": 3, "tries_s": 600.0}))
    client = knock(app)
    wrong = [client.post("/login", data={"name": "olga", "password": "wrong"}).status_code for _ in range(4)]
    assert wrong == [403, 403, 403, 429]
    held = client.post("/login", data={"name": "olga", "password": PASSWORD})
    assert held.status_code == 429
    assert 1 <= int(held.headers["retry-after"]) <= 601
    assert client.post("/login", data={"name": "rita", "password": PASSWORD}).status_code == 303
    others = [client.post("/login", data={"name": f"n{n}", "password": "wrong"}).status_code for n in range(3)]
    assert 429 in others  # six of the address
    assert knock(open_desk(tmp_path / "again", users=people)).post(
        "/login", data={"name": "olga", "password": PASSWORD}
    ).status_code == 303  # fmt: skip


def test_a_change_of_the_file_counts_at_once(team: FastAPI, people: Path) -> None:
    olga, adam = enter(team, "olga"), enter(team, "adam")
    key = users.add_key(people, "olga", "journal")
    bearer = {"Authorization": f"Bearer {key}"}
    assert knock(team).get("/api/v1/cases", headers=bearer).status_code == 200
    users.set_password(people, "olga", "another long password")
    assert olga.get("/").status_code == 303
    assert knock(team).get("/api/v1/cases", headers=bearer).status_code == 200
    users.remove_key(people, "olga", "journal")
    assert knock(team).get("/api/v1/cases", headers=bearer).status_code == 401
    case = make_case(team.state.folder)
    assert adam.get(f"/cases/{case.id}").status_code == 200
    users.set_role(people, "adam", "reviewer")
    assert adam.get(f"/cases/{case.id}").status_code == 404
    users.remove(people, "adam")
    assert adam.get("/").status_code == 303


def test_the_book_of_users_is_read_again_when_it_changes_and_not_before(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reads = users.read, []
    monkeypatch.setattr(users, "read", lambda path: reads.append(path) or real(path))
    book = users.Book(people)
    for _ in range(3):
        assert sorted(book.read()) == ["adam", "olga", "rita"]
    assert len(reads) == 1
    text = people.read_text()
    people.write_text(text.replace("rita", "rosa"))
    assert sorted(book.read()) == ["adam", "olga", "rosa"]
    people.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        book.read()
    people.unlink()
    with pytest.raises(UsageError, match="there is no file"):
        book.read()


def test_a_file_of_users_that_is_lost_lets_nobody_in(team: FastAPI, people: Path) -> None:
    olga = enter(team, "olga")
    people.unlink()
    assert olga.get("/").status_code == 500
    assert "there is no file of users" in olga.get("/api/v1/cases").json()["detail"]
    assert olga.get("/health").status_code == 200


def test_the_file_holds_neither_passwords_nor_keys_and_is_for_its_owner_alone(people: Path) -> None:
    key = users.add_key(people, "olga", "journal")
    text = people.read_text()
    assert PASSWORD not in text
    assert key not in text
    assert "$argon2id$" in text
    assert people.stat().st_mode & 0o777 == 0o600
    assert users.of_key(users.read(people), key) == users.read(people)["olga"]
    assert users.of_key(users.read(people), key[:-1]) is None
    for mode in (0o640, 0o604, 0o620):
        people.chmod(mode)
        with pytest.raises(UsageError, match="chmod 600"):
            users.read(people)
    people.chmod(0o600)
    assert [path.name for path in people.parent.iterdir() if "users" in path.name] == ["users.json"]


def test_passwords_are_hashed_as_rfc_9106_says(tmp_path: Path) -> None:
    users.add(tmp_path / "u.json", "olga", "reviewer", PASSWORD)
    assert users.read(tmp_path / "u.json")["olga"].password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize(
    ("text", "word"),
    [(None, "there is no file"), ("", "not what"), ("{}x", "not what"), ('{"users": [{"name": "a"}]}', "not what"),
     ('{"users": [], "more": 1}', "not what"), (json.dumps({"users": [{"name": "../x", "role": "admin",
      "password": "x"}]}), "not what")],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / "users.json"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
    with pytest.raises(UsageError, match=word):
        users.read(path)


@pytest.mark.parametrize(
    ("name", "password"),
    [("../x", PASSWORD), ("", PASSWORD), ("a b", PASSWORD), ("x" * 65, PASSWORD), ("ida", "short"), ("ida", "x" * 1025),
     ("olga", PASSWORD)],
)  # fmt: skip
def test_wrong_names_and_passwords_change_nothing(people: Path, name: str, password: str) -> None:
    before = people.read_text()
    with pytest.raises(UsageError):
        users.add(people, name, "reviewer", password)
    assert people.read_text() == before


def test_users_that_are_added_at_once_are_all_there(tmp_path: Path, cheap: None) -> None:
    path = tmp_path / "users.json"
    names = [f"n{n}" for n in range(12)]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda name: users.add(path, name, "reviewer", PASSWORD), names))
    assert sorted(users.read(path)) == sorted(names)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5))
def test_no_bytes_in_a_cookie_or_key_make_an_error(parts: list[bytes]) -> None:
    for part in parts:
        text = part.decode("latin-1")
        assert Sessions(1, 1).find(text) is None
        assert users.of_key({}, text) is None
        assert not secrets.compare_digest(text.encode(), TOKEN.encode())
