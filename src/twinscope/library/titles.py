"""A table of documents' titles: a CSV file with the columns file and title."""

from __future__ import annotations

import csv
from pathlib import Path

from twinscope.errors import UsageError


def read(file: Path) -> dict[str, str]:
    """Return titles by file name; a row that has none is left out. Raises UsageError for what is no such table."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            if not {"file", "title"} <= set(rows.fieldnames or ()):
                raise UsageError(f"{file} lacks a column; it needs file and title")
            return {row["file"]: row["title"] for row in rows if row["title"]}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read as a CSV file in UTF-8 ({error}); save it as one") from error
