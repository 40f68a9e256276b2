"""A table of documents' titles: a CSV file with the columns file and title."""

from __future__ import annotations

from pathlib import Path

from twinscope import tables


def read(file: Path) -> dict[str, str]:
    """Return titles by file name; a row that has none is left out. Raises UsageError for what is no such table."""
    return {row["file"]: row["title"] for _, row in tables.rows(file, ("file", "title")) if row["title"]}
