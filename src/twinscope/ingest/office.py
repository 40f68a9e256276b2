"""Read what is not a PDF. Placeholder."""

from __future__ import annotations

from collections.abc import Callable

from twinscope.ingest.job import Job, Tell


def readers() -> dict[str, Callable[[Job, Tell], None]]:
    """Return what reads each kind of document."""
    return {}
