"""The desk's pages without a browser: what they keep, what they give, what they refuse."""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from fastapi import FastAPI
from tests.report.conftest import build, with_edits
from tests.web.desks import enter, open_desk

from twinscope import pixels
from twinscope.report import groups
from twinscope.web import cases, hands, ledger, look

JSON = {"Accept": "application/json"}


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> FastAPI:
    folder = tmp_path / "cases"
    screening = with_edits(folder / "drawn", build(folder / "drawn"))
    (folder / "drawn" / "screening.json").write_text(screening.model_dump_json())
    return open_desk(folder)


def entries(desk: FastAPI) -> list[ledger.Kept]:
    with cases.connected(desk.state.folder) as db:
        assert ledger.verify(db).troubles == ()
        return ledger.entries(db, "drawn")


def keys(client: Any) -> dict[str, str]:
    """Return the keys of the findings by their ids."""
    found: dict[str, str] = client.get("/cases/drawn/export.json").json()["keys"]
    return found


def test_a_decision_says_who_what_when_and_with_what(desk: FastAPI) -> None:
    client = enter(desk)
    name, key = next(iter(keys(client).items()))
    form = {"decision": "benign", "control": "inset"}
    told = client.post(f"/cases/drawn/findings/{key}/decide", data=form, headers=JSON).json()
    assert (told["decision"], told["control"]) == ("benign", "inset")
    (kept,) = entries(desk)
    entry = kept.entry
    assert (entry.act, entry.decision, entry.control, entry.finding) == ("decide", "benign", "inset", key)
    assert entry.shown == name
    assert entry.probability is not None
    assert len(entry.pair) == 32
    assert entry.twinscope
    assert entry.who
    assert entry.at.endswith("Z")


def test_the_same_decision_twice_is_one_entry(desk: FastAPI) -> None:
    client = enter(desk)
    key = next(iter(keys(client).values()))
    for _ in range(2):
        assert client.post(f"/cases/drawn/findings/{key}/decide", data={"decision": "same"}).status_code == 303
    assert len(entries(desk)) == 1
    client.post(f"/cases/drawn/findings/{key}/decide", data={"decision": "not"})
    client.post(f"/cases/drawn/findings/{key}/decide", data={"decision": "same"})
    assert [one.entry.decision for one in entries(desk)] == ["same", "not", "same"]


def test_the_same_decision_at_one_moment_is_one_entry(desk: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    client = enter(desk)
    key = next(iter(keys(client).values()))
    first = threading.Barrier(4)
    look = ledger.entries

    def late(*given: Any) -> list[ledger.Kept]:  # whoever looks waits for the others, if they look, too
        found = look(*given)
        with contextlib.suppress(threading.BrokenBarrierError):
            first.wait(1)
        return found

    monkeypatch.setattr(ledger, "entries", late)
    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(client.post, f"/cases/drawn/findings/{key}/decide", data={"decision": "same"},
                               headers=JSON) for _ in range(4)]  # fmt: skip
        said = sorted(one.result().json()["says"] for one in sent)
    monkeypatch.undo()
    assert len(entries(desk)) == 1
    assert said.count("That is what you decided already.") == 3


def test_a_control_is_kept_with_a_benign_re_use_alone(desk: FastAPI) -> None:
    client = enter(desk)
    key = next(iter(keys(client).values()))
    client.post(f"/cases/drawn/findings/{key}/decide", data={"decision": "same", "control": "merge"})
    assert entries(desk)[0].entry.control == ""


@pytest.mark.parametrize(
    ("path", "form"),
    [("decide", {"decision": "guilty"}), ("decide", {}), ("decide", {"decision": "benign", "control": "because"}),
     ("note", {"note": "   "}), ("note", {"note": "x" * 4001}), ("note", {})],
)  # fmt: skip
def test_what_is_no_decision_and_no_note_is_refused(desk: FastAPI, path: str, form: dict[str, str]) -> None:
    client = enter(desk)
    key = next(iter(keys(client).values()))
    assert client.post(f"/cases/drawn/findings/{key}/{path}", data=form, headers=JSON).status_code == 422
    assert entries(desk) == []


def test_many_undos_at_once_take_back_one_act_each(desk: FastAPI) -> None:
    client = enter(desk)
    key = next(iter(keys(client).values()))
    for number in range(4):
        client.post(f"/cases/drawn/findings/{key}/note", data={"note": f"note {number}"})
    others = [enter(desk) for _ in range(6)]
    threads = [threading.Thread(target=one.post, args=("/cases/drawn/undo",)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = entries(desk)
    assert sorted(one.entry.undoes or 0 for one in kept[4:]) == [1, 2, 3, 4]
    assert ledger.standing(kept) == []


def test_nobody_takes_back_what_another_one_said(team: FastAPI) -> None:
    folder = team.state.folder
    screening = build(folder / "drawn")
    (folder / "drawn" / "screening.json").write_text(screening.model_dump_json())
    with cases.connected(folder) as db:
        cases.register(db, folder, "olga")
        cases.grant(db, "drawn", "rita")
    olga, rita = enter(team, "olga"), enter(team, "rita")
    key = next(iter(keys(olga).values()))
    olga.post(f"/cases/drawn/findings/{key}/decide", data={"decision": "same"})
    assert "nothing of yours" in rita.post("/cases/drawn/undo", headers=JSON).json()["says"]
    assert [one.entry.act for one in entries(team)] == ["decide"]


def test_a_pair_that_is_never_to_be_shown_is_gone_from_another_manuscript_too(desk: FastAPI) -> None:
    folder = desk.state.folder
    screening = with_edits(folder / "second", build(folder / "second"))
    (folder / "second" / "screening.json").write_text(screening.model_dump_json())
    with cases.connected(folder) as db:
        cases.register(db, folder, "x")
    client = enter(desk)
    key = next(iter(keys(client).values()))
    client.post(f"/cases/drawn/findings/{key}/never")
    assert 'data-hidden="1"' in client.get("/cases/second").text
    client.post(f"/cases/drawn/findings/{key}/show")
    assert 'data-hidden="1"' not in client.get("/cases/second").text


def test_the_exports_hold_the_decisions_and_the_head_of_the_record(desk: FastAPI) -> None:
    client = enter(desk)
    found = keys(client)
    first, second, *_ = found.values()
    client.post(f"/cases/drawn/findings/{first}/decide", data={"decision": "same"})
    client.post(f"/cases/drawn/findings/{first}/note", data={"note": "lane 3 & 4 <β-actin>"})
    client.post(f"/cases/drawn/findings/{second}/decide", data={"decision": "unclear"})
    client.post("/cases/drawn/undo")
    head = entries(desk)[-1]
    data = client.get("/cases/drawn/export.json").json()
    assert {name: one["decision"] for name, one in data["decisions"].items()} == {next(iter(found)): "same"}
    assert data["head"] == {"seq": 4, "hash": head.hash}
    assert [one["taken_back"] for one in data["record"]] == [False, False, True, False]
    text = client.get("/cases/drawn/export.html").text
    assert "Decided: Same source" in text
    assert "lane 3 &amp; 4 &lt;β-actin&gt;" in text
    assert text.count("Not decided") == 3
    assert head.hash in text
    paper = pypdfium2.PdfDocument(io.BytesIO(client.get("/cases/drawn/export.pdf").content))
    printed = "".join(paper[i].get_textpage().get_text_range() for i in range(len(paper)))
    assert "lane 3 & 4 <β-actin>" in printed
    assert printed.count("Decided: Same source") == 1
    assert head.hash[:20] in printed.replace("\r\n", "")


def test_a_pdf_shows_what_its_fonts_lack_as_code_points(desk: FastAPI) -> None:
    client = enter(desk)
    key = next(iter(keys(client).values()))
    client.post(f"/cases/drawn/findings/{key}/note", data={"note": "图 \u202egnp"})
    paper = pypdfium2.PdfDocument(io.BytesIO(client.get("/cases/drawn/export.pdf").content))
    printed = "".join(paper[i].get_textpage().get_text_range() for i in range(len(paper)))
    assert "⟨U+56FE⟩" in printed
    assert "⟨U+202E⟩" in printed


@pytest.mark.parametrize(
    "path",
    ["../desk.sqlite", "..%2fdesk.sqlite", "screening.json", "panels/../screening.json", "cache/lock", "panels/",
     "panels/%00.png", "/etc/passwd", "panels/../../desk.sqlite"],
)  # fmt: skip
def test_only_pictures_of_the_case_are_given(desk: FastAPI, path: str) -> None:
    client = enter(desk)
    assert client.get(f"/cases/drawn/files-of/{path}").status_code == 404


def test_a_picture_elsewhere_in_the_case_is_not_given(desk: FastAPI) -> None:
    case = desk.state.folder / "drawn"
    (case / "uploads").mkdir(exist_ok=True)
    (case / "uploads" / "figure.png").write_bytes(next((case / "panels").glob("*.png")).read_bytes())
    client = enter(desk)
    assert client.get("/cases/drawn/files-of/uploads/figure.png").status_code == 404
    assert client.get(f"/cases/drawn/files-of/panels/{next((case / 'panels').glob('*.png')).name}").status_code == 200


def test_points_of_a_finding_lie_on_both_panels_where_its_transform_says(desk: FastAPI) -> None:
    client = enter(desk)
    data = client.get("/cases/drawn/export.json").json()
    turned = next(one for one in data["screening"]["findings"] if one["id"].startswith("turned"))
    told = client.get(f"/cases/drawn/findings/{data['keys'][turned['id']]}/points").json()
    assert len(told["a"]) == len(told["b"]) >= 8
    rows = turned["transform"]
    for (ax, ay), (bx, by) in zip(told["a"], told["b"], strict=True):
        x, y, w = (row[0] * (ax - 0.5) + row[1] * (ay - 0.5) + row[2] for row in rows)
        assert abs(x / w + 0.5 - bx) < 8
        assert abs(y / w + 0.5 - by) < 8


def test_boxes_of_a_page_are_kept_and_the_case_is_queued(desk: FastAPI) -> None:
    client = enter(desk)
    folder = desk.state.folder
    screening = json.loads((folder / "drawn" / "screening.json").read_text())
    panel = next(one for one in screening["panels"] if one["source"]["page"] and one["source"]["box_pt"])
    number = next(
        i for i, one in enumerate(screening["pages"], 1)
        if (one["sha256"], one["page"]) == (panel["source"]["sha256"], panel["source"]["page"])
    )  # fmt: skip
    changes = {"changes": [{"panel": panel["id"], "box": [50, 60, 200, 220]}, {"box": [1, 2, 30, 40]}]}
    path = f"/cases/drawn/pages/{number}/panels"
    assert client.post(path, json=changes, headers=JSON).status_code == 409  # its files are not here
    with cases.connected(folder) as db:
        cases.add_file(db, "drawn", "paper.pdf", "1/paper.pdf", "0" * 64, 1)
    assert client.post(path, json=changes, headers=JSON).status_code == 200
    kept = hands.boxes(folder / "drawn").corrections
    assert [(one.box, one.replaces) for one in kept] == [
        ((50, 60, 200, 220), tuple(panel["source"]["box_pt"])), ((1, 2, 30, 40), None),
    ]  # fmt: skip
    assert [one.entry.act for one in entries(desk)] == ["panel", "panel"]
    with cases.connected(folder) as db:
        job = cases.latest_job(db, "drawn")
    assert job is not None
    assert (job.kind, job.state) == ("screen", "queued")


@pytest.mark.parametrize(
    "changes",
    [{"changes": []}, {"changes": [{"panel": "nothing", "box": None}]}, {"changes": [{"box": [9, 9, 1, 1]}]},
     {"changes": [{"box": None}]}, {}, {"changes": [{"box": [1, 2, 3, 4], "more": 1}]}],
)  # fmt: skip
def test_boxes_that_are_none_are_refused(desk: FastAPI, changes: dict[str, Any]) -> None:
    client = enter(desk)
    with cases.connected(desk.state.folder) as db:
        cases.add_file(db, "drawn", "paper.pdf", "1/paper.pdf", "0" * 64, 1)
    answer = client.post("/cases/drawn/pages/1/panels", json=changes, headers=JSON)
    assert answer.status_code in (404, 422)
    assert hands.boxes(desk.state.folder / "drawn").corrections == ()


def test_two_different_panels_of_the_case_are_compared(desk: FastAPI) -> None:
    client = enter(desk)
    names = [panel["id"] for panel in client.get("/cases/drawn/export.json").json()["screening"]["panels"]]
    for wrong in ([names[0]], [names[0], names[0]], [names[0], "nothing"], names[:3]):
        assert client.post("/cases/drawn/pairs", data={"panel": wrong}, headers=JSON).status_code in (404, 422)
    assert client.post("/cases/drawn/pairs", data={"panel": names[:2]}, headers=JSON).status_code == 202
    with cases.connected(desk.state.folder) as db:
        job = cases.latest_job(db, "drawn")
    assert job is not None
    assert (job.kind, job.what["a"], job.what["b"]) == ("pair", names[0], names[1])
    assert len(set(job.what["places"])) == 2


def test_a_failed_screening_is_told_whatever_else_of_the_case_has_ended(desk: FastAPI) -> None:
    client = enter(desk)

    def says() -> set[str]:
        told = [re.findall(r'job-says">(.*?)</p>', client.get(path).text, re.S) for path in ("/", "/cases/drawn")]
        return {" ".join(re.sub("<[^>]+>", "", "".join(one)).split()) for one in told}

    with cases.connected(desk.state.folder) as db:
        cases.finish(db, cases.enqueue(db, "drawn", "screen", {}, "running"), "failed", "it was killed")
        pair = cases.enqueue(db, "drawn", "pair", {}, "running")
        said = "⚠ could not be finished: it was killed; what is shown is from before"
        assert says() == {f"{said}comparing two panels: starting"}
        cases.finish(db, pair, "done")
        assert says() == {said}
        cases.finish(db, cases.enqueue(db, "drawn", "library", {"panel": "x"}), "failed", "no such library")
        assert says() == {f"{said}⚠ looking in the library could not be finished: no such library"}


def test_a_pdf_takes_any_notes(desk: FastAPI) -> None:
    client = enter(desk)
    first, second, *_ = keys(client).values()
    for number in range(3):
        note = {"note": f"begins {number} {'图' * 3900} ends {number}"}
        assert client.post(f"/cases/drawn/findings/{first}/note", data=note).status_code == 303
    for number in range(40):
        client.post(f"/cases/drawn/findings/{second}/note", data={"note": f"short {number}"})
    answer = client.get("/cases/drawn/export.pdf")
    assert answer.status_code == 200
    paper = pypdfium2.PdfDocument(io.BytesIO(answer.content))
    printed = "".join(paper[i].get_textpage().get_text_range() for i in range(len(paper)))
    assert [f"begins {k}" in printed and f"ends {k}" in printed for k in range(3)] == [True] * 3
    assert all(f"short {k}" in printed for k in range(40))


def test_a_finding_has_the_same_number_on_every_page_and_on_paper(desk: FastAPI) -> None:
    file = desk.state.folder / "drawn" / "screening.json"
    told = json.loads(file.read_text())
    for one in told["findings"]:
        if one["id"] == "bent":  # the least probable, which now shares a panel with the most probable
            one["a"] = "d1-p1-f1-1"
    file.write_text(json.dumps(told))
    client = enter(desk)
    listed = re.findall(r"([\d.]+)\s%", client.get("/cases/drawn").text.partition('class="found"')[2])
    assert listed == ["99.9", "74", "99.4", "96"]
    paper = pypdfium2.PdfDocument(io.BytesIO(client.get("/cases/drawn/export.pdf").content))
    printed = "".join(paper[i].get_textpage().get_text_range() for i in range(len(paper)))
    assert re.findall(r"([\d.]+) % [a-z ]+ the same source ·", printed) == listed
    seen = look.load(desk.state.folder / "drawn")
    assert seen is not None
    assert [one.number for one in seen.findings] == [1, 2, 3, 4]
    assert [one.finding for one in seen.findings] == groups.ordered(seen.screening)


def test_the_threshold_of_a_finding_is_that_of_its_screening(desk: FastAPI) -> None:
    file = desk.state.folder / "drawn" / "screening.json"
    told = json.loads(file.read_text())
    client = enter(desk)
    (key, *_) = client.get("/cases/drawn/export.json").json()["keys"].values()
    assert 'data-level="0.5"' in client.get(f"/cases/drawn/findings/{key}").text
    told["provenance"]["threshold"] = 0.9
    file.write_text(json.dumps(told))
    assert 'data-level="0.9"' in client.get(f"/cases/drawn/findings/{key}").text


def test_thumbnails_are_small_pictures(desk: FastAPI) -> None:
    client = enter(desk)
    name = client.get("/cases/drawn/export.json").json()["screening"]["panels"][0]["id"]
    answer = client.get(f"/cases/drawn/thumbs/{name}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert max(pixels.decoded(answer.content).shape[:2]) <= 240
    assert client.get("/cases/drawn/thumbs/nothing").status_code == 404


def test_a_screening_of_another_version_is_no_error(desk: FastAPI) -> None:
    (desk.state.folder / "drawn" / "screening.json").write_text('{"inputs": 1}')
    client = enter(desk)
    assert client.get("/").status_code == 200
    assert "was not screened" in client.get("/cases/drawn").text
