"""What the pages show of a case: its screening, its findings as the report orders them, what was decided about each.

A finding is known by the two places that it ties together (file, page, box), so that a decision stays with it when the
case is screened again; a pair of pictures by its pixels, so that it is known again in any manuscript.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from twinscope import pixels
from twinscope.report import groups, words
from twinscope.types import BoxField, Finding, Page, Panel, Screening
from twinscope.web import hands, ledger
from twinscope.web.ledger import Kept

SCREENING = "screening.json"


class Found(NamedTuple):
    """A finding as the pages list it: its key, its number, as in the report, and what its panels are called."""

    key: str
    number: int
    finding: Finding
    name_a: str
    name_b: str
    by_hand: bool


class Look(NamedTuple):
    """A screened case: the findings group by group as in the report, and the panels and names by panel id.

    `pages` are those of its documents, and pictures that are files of their own, whose points are pixels. `compared`
    are the pairs that were compared by hand, with the ids of this screening.
    """

    folder: Path
    screening: Screening
    pages: tuple[Page, ...]
    findings: tuple[Found, ...]
    panels: dict[str, Panel]
    names: dict[str, str]
    compared: hands.Pairs

    def find(self, key: str) -> Found | None:
        """Return a finding by its key."""
        return next((one for one in self.findings if one.key == key), None)


class Decided(NamedTuple):
    """What stands about a finding: the last decision, and all notes with their authors."""

    decision: Kept | None
    notes: tuple[Kept, ...]


def load(folder: Path) -> Look | None:
    """Return what a case holds; None where it is not screened yet. Read again only when its files have changed.

    Raises ValidationError for a screening that this version of twinscope cannot read.
    """
    stamps = tuple(_stamp(folder / name) for name in (SCREENING, hands.PAIRS, hands.PICTURES))
    return None if stamps[0] is None else _load(folder, stamps)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=64)
def _load(folder: Path, stamps: tuple[tuple[int, int] | None, ...]) -> Look:
    screening = Screening.model_validate_json((folder / SCREENING).read_bytes())
    panels = {panel.id: panel for panel in screening.panels}
    names = words.panel_names(screening)
    compared = hands.standing(folder, screening)
    by_hand = compared.findings
    known = {frozenset((one.a, one.b)) for one in by_hand}  # compared again by hand, it is told as found then
    told = [*(one for one in screening.findings if frozenset((one.a, one.b)) not in known), *by_hand]
    whole = screening.model_copy(update={"findings": tuple(told)})
    ordered = groups.ordered(whole)
    keys: Counter[str] = Counter()
    found = []
    for number, one in enumerate(ordered, 1):
        key = finding_key(panels.get(one.a), panels.get(one.b), one)
        keys[key] += 1
        unlike = key if keys[key] == 1 else f"{key}-{keys[key]}"
        name_a, name_b = (names.get(side) or words.visible(side) for side in (one.a, one.b))
        found.append(Found(unlike, number, one, name_a, name_b, one in by_hand))
    whole = screening.model_copy(update={"findings": tuple(ordered)})
    pages = (*screening.pages, *hands.pictures(folder).pages)
    return Look(folder, whole, pages, tuple(found), panels, names, compared)


def box(panel: Panel) -> BoxField | None:
    """Return where a panel lies on its page: in points, or in the pixels of a picture that is a file of its own."""
    source = panel.source
    return source.box_pt or (source.box_px if source.how == "image" else None)


def on_page(panel: Panel, page: Page) -> bool:
    """Say whether a panel of the case lies on a page, or in a picture."""
    source = panel.source
    return panel.earlier is None and (source.sha256, source.page or 1) == (page.sha256, page.page)


def finding_key(a: Panel | None, b: Panel | None, finding: Finding) -> str:
    """Return the key of a finding: 16 hex digits of the hash of its two places, in whichever order they come."""
    told = sorted([hands.place(a) if a else finding.a, hands.place(b) if b else finding.b])
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def pair_key(folder: Path, a: str, b: str) -> str:
    """Return the key of a pair of pictures: the hash of the hashes of their pixels, in whichever order they come."""
    return hashlib.sha256("\n".join(sorted((_pixels(folder, a), _pixels(folder, b)))).encode()).hexdigest()[:32]


def _pixels(folder: Path, panel: str) -> str:
    file = folder / "panels" / f"{panel}.png"
    stamp = _stamp(file)
    return "" if stamp is None else _hashed(file, stamp)


@lru_cache(maxsize=20_000)
def _hashed(file: Path, stamp: tuple[int, int]) -> str:
    image = pixels.read_png(file)
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def decided(db: sqlite3.Connection, case_id: str) -> dict[str, Decided]:
    """Return what stands about each finding of a case, by the finding's key; decided nothing, it has no line."""
    decisions: dict[str, Kept] = {}
    notes: dict[str, list[Kept]] = {}
    for one in ledger.standing(ledger.entries(db, case_id)):
        if one.entry.act == "decide":
            decisions[one.entry.finding] = one
        if one.entry.note:
            notes.setdefault(one.entry.finding, []).append(one)
    return {key: Decided(decisions.get(key), tuple(notes.get(key, ()))) for key in {**decisions, **notes}}


def hidden(look: Look, pairs: set[str]) -> set[str]:
    """Return the keys of the findings whose pair of pictures is among those not to be shown again."""
    if not pairs:
        return set()
    return {one.key for one in look.findings if pair_key(look.folder, one.finding.a, one.finding.b) in pairs}
