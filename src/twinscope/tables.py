"""Tables that users give: CSV files in UTF-8 whose first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from twinscope.errors import UsageError


def rows(file: Path, columns: Sequence[str], others: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a table: the line in the file, and the cells by their columns, in small letters.

    Space around names and cells is dropped; what lies beyond the last column, too. Raises UsageError where the file
    cannot be read, lacks one of `columns`, or has one of these or of `others` more than once.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source, strict=True)
            names = [str(name).strip().lower() for name in reader.fieldnames or ()]
            if missing := [name for name in columns if name not in names]:
                wanted = f"{', '.join(columns[:-1])} and {columns[-1]}"
                raise UsageError(
                    f"{file} has no column {missing[0]}; its first line must name {wanted}, with a comma between them"
                )
            if twice := [name for name in (*columns, *others) if names.count(name) > 1]:
                raise UsageError(f"{file} has more than one column {twice[0]}; its first line must name each once")
            reader.fieldnames = names
            return [
                (reader.line_num, {name: str(cell or "").strip() for name, cell in row.items() if name is not None})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read as a CSV file in UTF-8 ({error})") from error
