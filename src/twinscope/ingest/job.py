"""What the parent asks of a worker, and what the worker tells the parent: one JSON object a line.

The worker names figures and panels without the document's number (`p4-f1-3`); the parent adds it (`d1-p4-f1-3`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from twinscope.settings import Ingest
from twinscope.types import Correction, Figure, Page, Panel, Problem, Record

ID = r"^(p\d{1,6}-)?f\d{1,6}(-\d{1,6})?$"


class Job(Record):
    """A document to read: `file` on the disk, `path` as the user named it; pages before `first` are done."""

    file: str
    path: str
    sha256: str
    kind: str
    out: str
    ingest: Ingest
    first: int = Field(default=1, ge=1)
    images: int = Field(default=0, ge=0, description="pictures written by earlier workers of this document")
    entries_left: int = Field(default=0, ge=0, description="files that may still be unpacked")
    bytes_left: int = Field(default=0, ge=0, description="bytes that may still be unpacked")
    corrections: tuple[Correction, ...] = ()
    cautious: bool = Field(default=False, description="skip what looks at the whole document at once")


class Member(Record):
    """A file that a worker unpacked: its name in the archive, and its file below the job's `out`."""

    name: str = Field(max_length=1000)
    file: str = Field(pattern=r"^m\d{1,6}$")


class Note(Record):
    """One line from the worker."""

    event: Literal["start", "page", "shown", "figure", "panel", "member", "problem", "done", "refused", "broken"]
    page: int | None = Field(default=None, ge=1, le=10_000_000)
    pages: int | None = Field(default=None, ge=0, le=10_000_000)
    reason: str = Field(default="", max_length=2000)
    shown: Page | None = None
    figure: Figure | None = None
    panel: Panel | None = None
    member: Member | None = None
    problem: Problem | None = None


Tell = Callable[[Note], None]
