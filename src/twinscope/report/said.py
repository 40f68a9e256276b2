"""What people have said about the findings of a screening, as reports tell it."""

from __future__ import annotations

from typing import NamedTuple


class Said(NamedTuple):
    """What a person has said about a finding: a decision in words ("" for a note), the note, who, when, its number."""

    decision: str
    note: str
    who: str
    at: str
    seq: int


class Decided(NamedTuple):
    """What people have said about the findings of a screening, by finding id, the last decision last.

    `record` says where in the desk's record this stands: the number and the hash of its last entry.
    """

    said: dict[str, tuple[Said, ...]]
    record: tuple[int, str]
