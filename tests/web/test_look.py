"""What the pages show of a case: keys that stay, decisions that stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.conftest import build

from twinscope import pixels
from twinscope.types import Screening
from twinscope.web import cases, hands, ledger, look
from twinscope.web.ledger import Entry


@pytest.fixture(name="drawn")
def _drawn(tmp_path: Path) -> tuple[Path, Screening]:
    folder = tmp_path / "drawn"
    screening = build(folder)
    (folder / "screening.json").write_text(screening.model_dump_json())
    return folder, screening


def seen(folder: Path) -> look.Look:
    found = look.load(folder)
    assert found is not None
    return found


def test_pictures_that_are_kept_later_are_shown(drawn: tuple[Path, Screening]) -> None:
    before = len(seen(drawn[0]).pages)
    page = drawn[1].pages[0].model_copy(update={"sha256": "f" * 64})
    (drawn[0] / hands.PICTURES).write_text(hands.Pictures(pages=(page,)).model_dump_json())
    assert len(seen(drawn[0]).pages) == before + 1


def test_findings_come_as_in_the_report_and_have_keys_of_their_own(drawn: tuple[Path, Screening]) -> None:
    shown = seen(drawn[0]).findings
    assert [one.number for one in shown] == [1, 2, 3, 4]
    assert [one.finding.probability for one in shown] == sorted(
        (f.probability for f in drawn[1].findings), reverse=True
    )
    assert len({one.key for one in shown}) == 4


def test_a_key_stays_when_the_case_is_screened_again(drawn: tuple[Path, Screening]) -> None:
    folder, screening = drawn
    before = {frozenset((one.finding.a, one.finding.b)): one.key for one in seen(folder).findings}
    other = {panel.id: f"x{i}" for i, panel in enumerate(screening.panels)}
    turned = tuple(
        one.model_copy(update={"id": f"n{i}", "a": other.get(one.b, one.b), "b": other.get(one.a, one.a)})
        for i, one in enumerate(reversed(screening.findings))
    )
    panels = tuple(panel.model_copy(update={"id": other[panel.id]}) for panel in screening.panels)
    new = screening.model_copy(update={"findings": turned, "panels": panels})
    (folder / "screening.json").write_text(new.model_dump_json() + " ")
    after = {frozenset((one.finding.a, one.finding.b)): one.key for one in seen(folder).findings}
    assert {frozenset(other.get(name, name) for name in pair): key for pair, key in before.items()} == after


def test_a_case_that_was_not_screened_shows_nothing(tmp_path: Path) -> None:
    assert look.load(tmp_path) is None


def test_a_pair_is_known_by_its_pixels_in_either_order_and_in_any_case(
    drawn: tuple[Path, Screening], tmp_path: Path
) -> None:
    folder, screening = drawn
    a, b, c = (panel.id for panel in screening.panels[:3])
    key = look.pair_key(folder, a, b)
    assert look.pair_key(folder, b, a) == key
    assert look.pair_key(folder, a, c) != key
    (tmp_path / "other" / "panels").mkdir(parents=True)
    for name, new in ((a, "p"), (b, "q")):
        image = pixels.read_png(folder / "panels" / f"{name}.png")
        pixels.write_png(tmp_path / "other" / "panels" / f"{new}.png", image)
    assert look.pair_key(tmp_path / "other", "q", "p") == key
    image[0, 0] ^= 1
    pixels.write_png(tmp_path / "other" / "panels" / "q.png", image)
    assert look.pair_key(tmp_path / "other", "q", "p") != key


def test_what_stands_is_the_last_decision_that_was_not_taken_back(tmp_path: Path) -> None:
    with cases.connected(tmp_path) as db:
        case = cases.create(db, tmp_path, "t", "o").id

        def say(**more: object) -> int:
            return ledger.append(db, Entry(case_id=case, who="o", at=cases.now(), finding="k", **more)).seq  # type: ignore[arg-type]

        first = say(act="decide", decision="same")
        say(act="note", note="why")
        last = say(act="decide", decision="not")
        told = look.decided(db, case)["k"]
        assert told.decision is not None
        assert told.decision.seq == last
        assert [one.entry.note for one in told.notes] == ["why"]
        say(act="undo", undoes=last)
        told = look.decided(db, case)["k"]
        assert told.decision is not None
        assert told.decision.seq == first
        say(act="undo", undoes=first)
        assert look.decided(db, case)["k"].decision is None
