"""Cases, files, rights and jobs as the database keeps them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from twinscope.errors import UsageError
from twinscope.web import cases, ledger


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with cases.connected(tmp_path) as made:
        yield made


def test_a_commit_is_on_the_disk_before_it_returns(db: sqlite3.Connection) -> None:
    told = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert told == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be used"):
        cases.connect(tmp_path / "file")
    (tmp_path / cases.DATABASE).write_bytes(b"no database" * 99)
    with pytest.raises(UsageError, match="cannot be used"):
        cases.connect(tmp_path)


def test_first_connections_at_once_make_one_database(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for db in threads.map(lambda _: cases.connect(tmp_path), range(16)):
            assert cases.visible(db, "", True) == []
            db.close()


def test_the_first_connection_waits_for_one_that_writes(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / cases.DATABASE, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE x (y)")
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(cases.connect, tmp_path)
        time.sleep(0.3)
        assert not waiting.done()
        other.execute("COMMIT")
        other.close()
        db = waiting.result()
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()


def test_a_case_is_seen_by_its_owner_those_it_is_shared_with_and_admins(db: sqlite3.Connection, tmp_path: Path) -> None:
    mine, other = (cases.create(db, tmp_path, title, owner) for title, owner in (("a", "olga"), ("b", "rita")))
    assert mine.id != other.id
    assert len(mine.id) == 12
    assert mine.id.isalnum()
    assert cases.get(db, mine.id) == mine
    assert cases.get(db, mine.id[:-1] + "_") is None
    assert cases.visible(db, "olga", False) == [mine]
    assert {case.id for case in cases.visible(db, "", True)} == {mine.id, other.id}
    assert cases.visible(db, "", False) == []
    assert [cases.may_see(db, mine, *who) for who in (("olga", False), ("rita", False), ("x", True))] == [
        True,
        False,
        True,
    ]
    for _ in range(2):
        cases.grant(db, mine.id, "rita")
    assert cases.granted(db, mine.id) == ["rita"]
    assert cases.may_see(db, mine, "rita", False)
    assert {case.id for case in cases.visible(db, "rita", False)} == {mine.id, other.id}
    cases.revoke(db, mine.id, "rita")
    assert not cases.may_see(db, mine, "rita", False)
    assert cases.visible(db, "rita", False) == [other]


def test_a_removed_case_is_gone_and_its_decisions_stay(db: sqlite3.Connection, tmp_path: Path) -> None:
    case = cases.create(db, tmp_path, "a", "olga")
    cases.add_file(db, case.id, "a.pdf", "1-a.pdf", "0" * 64, 1)
    cases.grant(db, case.id, "rita")
    cases.stand(db, "rita", case.id, "k")
    job = cases.enqueue(db, case.id, "screen", {})
    ledger.append(db, ledger.Entry(case_id=case.id, act="note", who="olga", at="now", note="x"))
    cases.remove(db, tmp_path, case.id)
    assert (cases.get(db, case.id), cases.files(db, case.id), cases.granted(db, case.id)) == (None, [], [])
    assert (cases.job(db, job), cases.stood(db, "rita", case.id)) == (None, "")
    assert not (tmp_path / case.id).exists()
    assert [one.entry.note for one in ledger.entries(db, case.id)] == ["x"]


def test_jobs_go_through_their_states(db: sqlite3.Connection, tmp_path: Path) -> None:
    a, b = (cases.create(db, tmp_path, name, "olga") for name in "ab")
    one, two = (cases.enqueue(db, case.id, "screen", {"n": [1]}) for case in (a, b))
    assert cases.place(db, two) == 1
    taken = cases.next_job(db, "screen")
    assert taken is not None
    assert (taken.id, taken.state, taken.what) == (one, "running", {"n": [1]})
    assert cases.next_job(db, "pair") is None
    cases.progress(db, one, "read", 1, 2)
    cases.progress(db, two, "read", 1, 2)
    told = [cases.job(db, number) for number in (one, two)]
    assert [(job.stage, job.done, job.total) for job in told if job] == [("read", 1, 2), ("", 0, 0)]
    cases.finish(db, one, "failed", "why")
    cases.finish(db, one, "done")
    done = cases.latest_job(db, a.id)
    assert done is not None
    assert (done.state, done.reason) == ("failed", "why")
    assert cases.requeue_unfinished(db) == 0
    assert cases.next_job(db, "screen") == cases.job(db, two)
    assert cases.requeue_unfinished(db) == 1
    assert [job.id for job in cases.cancel(db, b.id)] == [two]
    assert cases.next_job(db, "screen") is None
    states = {name: {kind: job.state for kind, job in jobs.items()} for name, jobs in cases.latest_jobs(db).items()}
    assert states == {a.id: {"screen": "failed"}, b.id: {"screen": "cancelled"}}


def test_what_is_done_beside_a_screening_is_told_while_it_waits_and_after_it_failed(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    case = cases.create(db, tmp_path, "a", "olga").id

    def beside() -> list[tuple[str, str]]:
        return [(job.kind, job.state) for job in cases.beside(cases.latest_jobs(db, case).get(case, {}))]

    assert beside() == []
    cases.finish(db, cases.enqueue(db, case, "screen", {}), "failed", "why")
    pair, search = cases.enqueue(db, case, "pair", {}), cases.enqueue(db, case, "library", {})
    assert sorted(beside()) == [("library", "queued"), ("pair", "queued")]
    cases.finish(db, pair, "done")
    cases.finish(db, search, "failed", "no library")
    assert beside() == [("library", "failed")]
    latest = cases.latest_jobs(db, case)[case]
    assert {kind: job.state for kind, job in latest.items()} == {
        "screen": "failed",
        "pair": "done",
        "library": "failed",
    }
    cases.enqueue(db, case, "screen", {})
    assert beside() == []


def test_a_job_is_taken_once_by_many(db: sqlite3.Connection, tmp_path: Path) -> None:
    numbers = [cases.enqueue(db, cases.create(db, tmp_path, "a", "olga").id, "screen", {}) for _ in range(20)]

    def take(_: int) -> int | None:
        with cases.connected(tmp_path) as own:
            taken = cases.next_job(own, "screen")
        return taken.id if taken else None

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(take, range(30)))
    assert sorted(number for number in found if number) == numbers


def test_cases_of_the_command_line_are_taken_up_once(db: sqlite3.Connection, tmp_path: Path) -> None:
    for name in ("one", "two.x", ".hidden", "no screening", "bad name", "none"):
        (tmp_path / name).mkdir()
        if name not in ("none", "no screening"):
            (tmp_path / name / "screening.json").write_text("{}")
    assert [case.id for case in cases.register(db, tmp_path, "olga")] == ["one", "two.x"]
    assert cases.register(db, tmp_path, "olga") == []
    job = cases.latest_job(db, "one")
    assert job is not None
    assert job.state == "done"


def test_where_a_reviewer_was_is_their_own(db: sqlite3.Connection, tmp_path: Path) -> None:
    case = cases.create(db, tmp_path, "a", "olga")
    for finding in ("k1", "k2"):
        cases.stand(db, "olga", case.id, finding)
    assert (cases.stood(db, "olga", case.id), cases.stood(db, "rita", case.id)) == ("k2", "")
