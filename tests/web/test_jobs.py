"""The queue: how jobs begin, end, are cancelled, and what pages hear of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi import FastAPI
from tests.web.desks import FILE, QUICK, enter, family, gone, make_case, open_desk, options, soon

from twinscope import console
from twinscope.errors import UsageError
from twinscope.settings import Settings
from twinscope.types import Provenance, Screening
from twinscope.web import access, cases, events, hands, job, jobs
from twinscope.web.cases import Case, Job
from twinscope.web.jobs import Jobs


class Queue:
    """A queue whose jobs are what stand_in.py plays."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.ended: list[Job] = []
        self.jobs = Jobs(folder, options(desk=QUICK.model_copy(update=more)), self.ended.append)

    def add(self, play: str, case: Case | None = None, kind: cases.JobKind = "screen") -> int:
        """Queue what stand_in.py is to play."""
        with cases.connected(self.folder) as db:
            case = case or cases.create(db, self.folder, play, "olga")
            cases.add_file(db, case.id, play, f"1-{play}.pdf", "0" * 64, 1)
            number = cases.enqueue(db, case.id, kind, {})
        self.jobs.wake()
        return number

    def job(self, number: int) -> Job:
        with cases.connected(self.folder) as db:
            found = cases.job(db, number)
        assert found is not None
        return found

    def until(self, number: int, *states: str) -> Job:
        """Wait until a job is in a state, and return it."""
        soon(lambda: self.job(number).state in states)
        return self.job(number)

    def began(self, number: int) -> list[int]:
        """Return the processes that were begun for the case of a job."""
        path = self.folder / self.job(number).case_id / "cache" / "began"
        return [int(line) for line in path.read_text().split()] if path.is_file() else []

    def family(self, number: int) -> list[psutil.Process]:
        """Wait until a slow job has begun all that it begins, and return it."""
        soon(lambda: self.job(number).stage)
        found = family(self.began(number)[-1])
        assert len(found) == 2
        return found


@pytest.fixture
def queue(tmp_path: Path, stand_in: None) -> Iterator[Queue]:
    made = Queue(tmp_path)
    made.jobs.start()
    yield made
    made.jobs.stop()


def test_a_job_is_done_and_its_steps_are_told(queue: Queue) -> None:
    number = queue.add("quick")
    done = queue.until(number, "done")
    assert (done.stage, done.done, done.total, done.reason) == ("read", 3, 3, "")
    assert done.ended > done.made
    soon(lambda: [one.state for one in queue.ended] == ["done"])


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        ("fails", "the paper cannot be screened on a Sunday"),
        ("dies", "the screening was killed, perhaps for lack of memory; start it again, it goes on where it stopped"),
        ("raises", "the screening ended with an error (ValueError: it is the wrong colour); start it again"),
        ("mute", "the screening ended with an error (exit code 0); start it again"),
    ],
)
def test_a_job_that_fails_says_why_in_a_sentence(queue: Queue, play: str, reason: str) -> None:
    failed = queue.until(queue.add(play), "done", "failed")
    assert (failed.state, failed.reason) == ("failed", reason)
    assert queue.until(queue.add("quick"), "done", "failed").state == "done"


def test_a_torn_line_ends_nothing(queue: Queue) -> None:
    assert queue.until(queue.add("torn"), "done", "failed").state == "done"


def test_one_screening_runs_at_a_time_in_the_order_of_the_queue(queue: Queue) -> None:
    slow, second, third = queue.add("slow"), queue.add("quick"), queue.add("quick")
    queue.until(slow, "running")
    queue.family(slow)
    assert [queue.job(number).state for number in (second, third)] == ["queued", "queued"]
    with cases.connected(queue.folder) as db:
        assert [cases.place(db, number) for number in (second, third)] == [1, 2]
    queue.jobs.cancel(queue.job(slow).case_id)
    assert queue.until(third, "done").ended >= queue.until(second, "done").ended


def test_two_panels_are_compared_beside_a_screening(queue: Queue) -> None:
    slow = queue.add("slow")
    queue.family(slow)
    queue.until(queue.add("quick", kind="pair"), "done")
    assert queue.job(slow).state == "running"


def test_jobs_of_one_case_wait_for_each_other_and_hold_nobody_else_up(tmp_path: Path, stand_in: None) -> None:
    queue = Queue(tmp_path, jobs_at_once=3)
    slow = queue.add("slow")
    with cases.connected(tmp_path) as db:
        case = cases.get(db, queue.job(slow).case_id)
    queue.jobs.start()
    try:
        queue.family(slow)
        again = [queue.add("slow", case), queue.add("slow", case, "pair")]
        queue.until(queue.add("quick"), "done")
        assert [queue.job(number).state for number in again] == ["queued", "queued"]
    finally:
        queue.jobs.stop()


@pytest.mark.parametrize("play", ["slow", "slow-deaf"])
def test_a_cancelled_job_leaves_no_process(queue: Queue, play: str) -> None:
    number, waiting = queue.add(play), queue.add("quick")
    processes = queue.family(number)
    began = time.monotonic()
    assert [one.id for one in queue.jobs.cancel(queue.job(number).case_id)] == [number]
    assert time.monotonic() - began < 5
    assert gone(processes)
    assert queue.job(number).state == "cancelled"
    assert queue.until(waiting, "done")
    assert queue.job(number).state == "cancelled"
    soon(lambda: {one.id: one.state for one in queue.ended} == {number: "cancelled", waiting: "done"})


def test_a_waiting_job_that_is_cancelled_never_begins(queue: Queue) -> None:
    slow, number = queue.add("slow"), queue.add("quick")
    queue.family(slow)
    queue.jobs.cancel(queue.job(number).case_id)
    assert [(one.id, one.state) for one in queue.ended] == [(number, "cancelled")]
    queue.jobs.cancel(queue.job(slow).case_id)
    queue.until(queue.add("quick"), "done")
    assert queue.began(number) == []
    assert queue.job(number).state == "cancelled"
    assert queue.jobs.cancel(queue.job(number).case_id) == []


def test_a_job_that_is_cancelled_while_it_begins_ends(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    real = jobs._begin
    begun: list[int] = []

    def begin(case: Path, log: Any) -> Any:
        if not begun:
            with cases.connected(queue.folder) as db:
                cases.cancel(db, case.name)
        process = real(case, log)
        begun.append(process.pid)
        return process

    monkeypatch.setattr(jobs, "_begin", begin)
    number = queue.add("slow")
    queue.until(queue.add("quick"), "done")
    assert queue.job(number).state == "cancelled"
    assert not psutil.pid_exists(begun[0])


def test_a_stop_ends_all_and_the_next_start_goes_on(queue: Queue) -> None:
    number, waiting = queue.add("slow"), queue.add("quick")
    processes = queue.family(number)
    queue.jobs.stop()
    assert gone(processes)
    assert (queue.job(number).state, queue.job(waiting).state) == ("running", "queued")
    assert queue.ended == []
    again = Queue(queue.folder)
    again.jobs.start()
    try:
        soon(lambda: len(again.began(number)) == 2)
        assert again.job(waiting).state == "queued"
    finally:
        again.jobs.stop()


def test_a_stop_while_jobs_begin_and_are_cancelled_leaves_nothing(tmp_path: Path, stand_in: None) -> None:
    for _ in range(3):
        queue = Queue(tmp_path, jobs_at_once=4, grace_s=0.0)
        numbers = [queue.add("slow") for _ in range(4)]
        queue.jobs.start()
        case_id = queue.job(numbers[0]).case_id
        canceller = threading.Thread(target=queue.jobs.cancel, args=(case_id,))
        canceller.start()
        queue.jobs.stop()
        canceller.join()
        assert queue.jobs._running == {}
        assert not [one for one in psutil.Process().children(recursive=True) if "stand_in" in " ".join(one.cmdline())]
        for number in numbers:
            queue.jobs.cancel(queue.job(number).case_id)


def test_one_desk_has_a_folder(tmp_path: Path) -> None:
    first, second = Jobs(tmp_path, options()), Jobs(tmp_path, options())
    first.claim()
    first.claim()
    with pytest.raises(UsageError, match="another desk is open"):
        second.start()
    first.stop()
    second.claim()
    second.stop()


def test_a_process_that_ended_is_told_by_its_signal() -> None:
    assert "memory" in jobs.why(-9, ["x"])
    assert jobs.why(-11, []) == "the screening died (SIGSEGV); start it again, it goes on where it stopped"
    assert "(exit code 3)" in jobs.why(3, [])


def test_progress_is_told_at_both_ends_of_a_stage_and_seldom_between(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    tell = job._teller(sys.stdout, 60)
    for stage, total in (("read", 9), ("compare", 5)):
        for step in range(total + 1):
            tell(stage, step, total)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["stage"], one["done"]) for one in told] == [("read", 0), ("read", 9), ("compare", 0), ("compare", 5)]


def test_the_stages_of_a_job_have_names() -> None:
    source = Path(job.__file__).read_text()
    assert 'tell("report"' in source
    assert "report" in console.STAGES


def test_what_a_screening_shows_is_whole_when_it_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, room = tmp_path / "case", tmp_path / "case" / job.ROOM
    (case / "uploads").mkdir(parents=True)
    told = Screening(inputs=(), seconds=1, provenance=Provenance(twinscope="0", settings_sha256="0" * 64))
    shown: list[bool] = []

    def screen(*_: object, **__: object) -> Screening:
        for name in ("panels", "pages", "heatmaps"):
            (room / name).mkdir(parents=True)
        (room / "screening.json").write_text(told.model_dump_json())
        return told

    def show(place: Path, *_: object) -> None:
        shown.append((case / "screening.json").exists())
        (place / "pages" / "picture-1.jpg").write_bytes(b"x")
        (place / hands.PICTURES).write_text('{"pages": []}')

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twinscope.screen.screen", screen)
    monkeypatch.setattr(hands, "show", show)
    monkeypatch.setattr(job, "_report", lambda *_: None)
    asked = job.Asked(kind="screen", what={}, files=(), settings=Settings(), library=None, nice=0, progress_s=0)
    assert job.KINDS["screen"](case, asked, lambda *_: None) == 0
    assert shown == [False]  # no page is asked for between the screening and its pictures
    assert sorted(str(path.relative_to(case)) for path in case.rglob("*.j*")) == [
        "pages/picture-1.jpg", "pictures.json", "screening.json",
    ]  # fmt: skip


# ---- events -----------------------------------------------------------------------------------------------------


def heard(client: Any, path: str, count: int) -> list[tuple[float, str, dict[str, Any]]]:
    """Return the first events of a stream: when they came, their name, their data."""
    found = []
    name = "message"
    with client.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((time.monotonic(), name, json.loads(line[6:])))
                name = "message"
                if len(found) == count:
                    break
    return found


class Clock:
    """Ends a stream after some looks: the client of these tests gives an answer when it is whole."""

    def __init__(self, app: FastAPI, looks: int) -> None:
        self.app = app
        self.left = looks

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def all_heard(app: FastAPI, client: Any, path: str, looks: int = 8) -> list[tuple[float, str, dict[str, Any]]]:
    app.state.jobs.stopping = Clock(app, looks)
    return heard(client, path, 10**6)


def test_pages_hear_of_the_jobs_that_they_may_see(team: FastAPI) -> None:
    mine, other = make_case(team.state.folder, owner="olga"), make_case(team.state.folder, owner="rita")
    with cases.connected(team.state.folder) as db:
        numbers = [cases.enqueue(db, case.id, "screen", {}) for case in (other, mine)]
    for path in ("/events", f"/cases/{mine.id}/events"):
        found = [data for _, name, data in all_heard(team, enter(team, "olga"), path) if name == "message"]
        assert found[0] == {
            "case": mine.id, "job": numbers[1], "kind": "screen", "state": "queued", "stage": "", "done": 0, "total": 0,
            "place": 1, "reason": "", "findings": None,
        }  # fmt: skip
        assert {data["case"] for data in found} == {mine.id}
    both = [data["case"] for _, name, data in all_heard(team, enter(team, "adam"), "/events") if name == "message"]
    assert set(both) == {mine.id, other.id}


def test_a_page_hears_that_the_desk_is_there_when_nothing_happens(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    for path in ("/events", f"/cases/{case.id}/events"):
        found = all_heard(desk, enter(desk), path)
        assert len(found) > 2
        assert {(name, json.dumps(data)) for _, name, data in found} == {("beat", "{}")}


def test_a_page_hears_how_a_job_ended_once(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    (desk.state.folder / case.id / "screening.json").write_text('{"findings": [1, 2, 3]}')
    with cases.connected(desk.state.folder) as db:
        cases.finish(db, cases.enqueue(db, case.id, "screen", {}, "running"), "done")
    for path in ("/events", f"/cases/{case.id}/events"):
        found = [data for _, name, data in all_heard(desk, enter(desk), path) if name == "message"]
        assert [(data["state"], data["findings"]) for data in found] == [("done", 3)]
    with cases.connected(desk.state.folder) as db:
        db.execute("UPDATE jobs SET ended = '2020-01-01T00:00:00.000Z'")
    assert [name for _, name, _ in all_heard(desk, enter(desk), "/events") if name == "message"] == []
    assert all_heard(desk, enter(desk), f"/cases/{case.id}/events")[0][1] == "message"


def test_a_page_hears_of_each_kind_of_job(desk: FastAPI) -> None:
    case = make_case(desk.state.folder)
    with cases.connected(desk.state.folder) as db:
        cases.finish(db, cases.enqueue(db, case.id, "screen", {}, "running"), "failed", "it was killed")
        cases.enqueue(db, case.id, "pair", {})
    for path in ("/events", f"/cases/{case.id}/events"):
        found = [data for _, name, data in all_heard(desk, enter(desk), path) if name == "message"]
        assert [(data["kind"], data["state"]) for data in found] == [("screen", "failed"), ("pair", "queued")]


def test_who_may_see_no_more_hears_no_more(team: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(team.state.folder)
    looked: list[str | None] = []
    real = events._look

    def look(folder: Path, user: Any, case_id: str | None, known: Any) -> Any:
        looked.append(case_id)
        if len(looked) == 3:
            with cases.connected(folder) as db:
                cases.revoke(db, case.id, "rita")
        return real(folder, user, case_id, known)

    with cases.connected(team.state.folder) as db:
        cases.grant(db, case.id, "rita")
    rita = enter(team, "rita")
    monkeypatch.setattr(events, "_look", look)
    all_heard(team, rita, f"/cases/{case.id}/events", 1000)
    assert len(looked) == 3
    team.state.door.sessions._held.clear()
    assert rita.get("/events", headers={"Accept": "text/event-stream"}).status_code == 401


def test_what_has_not_changed_is_told_again_only_while_it_runs(desk: FastAPI) -> None:
    folder, admin = desk.state.folder, access.User(name="x", role="admin")
    with cases.connected(folder) as db:
        numbers = [cases.enqueue(db, make_case(folder).id, "screen", {}) for _ in range(3)]
        cases.next_job(db, "screen")

        def told(known: Any) -> tuple[list[tuple[int, int]], Any]:
            fresh, now = events._look(folder, admin, None, known) or ([], {})
            return sorted((one.job.id, one.place) for one in fresh), now

        first, known = told(None)
        assert first == [(numbers[0], 0), (numbers[1], 1), (numbers[2], 2)]
        again, known = told(known)
        assert again == [(numbers[0], 0)]
        cases.finish(db, numbers[0], "done")
        moved, known = told(known)
        assert moved == [(numbers[0], 0), (numbers[1], 0), (numbers[2], 1)]
        assert told(known)[0] == []


def test_a_count_of_findings_needs_a_screening(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert events.count(tmp_path, "x") is None
    (tmp_path / "x" / "screening.json").write_text('{"findings": [')
    assert events.count(tmp_path, "x") is None


# ---- routes -----------------------------------------------------------------------------------------------------


def test_a_case_goes_from_upload_to_removal(tmp_path: Path, stand_in: None) -> None:
    app = open_desk(tmp_path / "cases")
    with enter(app) as client:
        case_id = client.post("/cases", files=[FILE], headers={"Accept": "application/json"}).json()["id"]
        place = f"/api/v1/cases/{case_id}"
        soon(lambda: client.get(place).json()["state"] == "done")
        slow = ("files", ("slow.pdf", b"x"))
        other = client.post("/cases", files=[slow], headers={"Accept": "application/json"}).json()["id"]
        soon(lambda: (client.get(f"/api/v1/cases/{other}").json()["progress"] or {}).get("stage") == "compare")
        assert client.post(f"/cases/{case_id}/rescreen").status_code == 303
        assert client.post(f"/cases/{case_id}/rescreen").status_code == 303
        told = client.get(place).json()
        assert (told["state"], told["place"]) == ("queued", 1)
        processes = family(int((tmp_path / "cases" / other / "cache" / "began").read_text()))
        assert client.post(f"/cases/{other}/remove").headers["location"] == "/"
        assert gone(processes)
        assert not (tmp_path / "cases" / other).exists()
        soon(lambda: client.get(place).json()["state"] == "done")
        with cases.connected(tmp_path / "cases") as db:
            assert db.execute("SELECT count(*) FROM jobs").fetchone()[0] == 2


def test_a_case_of_the_command_line_is_not_screened_again_here(desk: FastAPI) -> None:
    with cases.connected(desk.state.folder) as db:
        case = cases.create(db, desk.state.folder, "x", "olga")
    answer = enter(desk).post(f"/cases/{case.id}/rescreen", headers={"Accept": "application/json"})
    assert answer.status_code == 409


def test_what_a_job_is_asked_is_json_and_back(tmp_path: Path) -> None:
    asked = job.Asked(
        kind="screen",
        what={"a": "x"},
        files=("1-a.pdf",),
        settings=Settings(seed=3),
        library=None,
        nice=3,
        progress_s=0.5,
    )
    assert job.Asked.model_validate_json(asked.model_dump_json()) == asked
