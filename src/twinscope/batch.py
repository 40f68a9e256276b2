"""`twinscope compare --batch`: many pairs of pictures, each with a case of its own, and an index of all of them.

A pair whose case is finished is not compared again: `pair.json` in its folder holds the hash of both files, the
settings and the models, and is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twinscope import screen, tables
from twinscope.errors import InputError, UsageError, WorkerError
from twinscope.ingest.files import shown
from twinscope.report import comparison, html, index, table, terminal
from twinscope.settings import Settings
from twinscope.types import Finding, Progress, Screening

LEAST_DIGITS = 4


class Pair(NamedTuple):
    """One line of the table: its number from 1, the line in the file, and both paths as they are written there."""

    number: int
    line: int
    a: str
    b: str


def read(file: Path) -> list[Pair]:
    """Return the pairs of a CSV file (UTF-8) with the columns a and b. Raises UsageError where it is none or empty."""
    if os.path.isdir(file):  # unlike Path.is_dir it raises nothing for a name that is too long
        raise UsageError(f"{file} is a folder; --batch takes a CSV file with the columns a and b")
    if not os.path.exists(file):
        raise UsageError(f"{file} does not exist; --batch takes a CSV file with the columns a and b")
    cells = [(line, row["a"], row["b"]) for line, row in tables.rows(file, ("a", "b"))]
    pairs = [Pair(number, *row) for number, row in enumerate((row for row in cells if row[1] or row[2]), 1)]
    if not pairs:
        raise UsageError(f"{file} holds no pair; below its first line each line names two pictures, a and b")
    return pairs


def check(file: Path, case: Path) -> None:
    """Raise UsageError where the folder of a batch holds something else, or the table that would be overwritten."""
    if not case.exists():
        return
    if not case.is_dir():
        raise UsageError(f"{case} is a file; name a folder for the cases")
    if (case / index.TABLE).exists() and (case / index.TABLE).resolve() == file.resolve():
        raise UsageError(f"{file} would be overwritten by the results; name another folder than {case}")
    if any(case.iterdir()) and not index.is_ours(case):
        raise UsageError(f"{case} holds files that are not of a batch; name a new or empty folder")


def compare(file: Path, case: Path, settings: Settings, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Compare every pair of a CSV file, each into a folder of its own below `case`; return a row a pair.

    Paths are relative to the file, or absolute. Writes `case`/0001 and so on, pairs.csv, anew after each pair, and
    index.html, also where it is interrupted. What cannot be read is a row with the status "failed"
    and its reason. progress: hears ("pairs", done, all). Raises UsageError for a table that is none.
    """
    tell = progress or (lambda stage, done, total: None)
    pairs = read(file)
    check(file, case)
    case.mkdir(parents=True, exist_ok=True)
    digits = max(LEAST_DIGITS, len(str(len(pairs))))
    rows = [_row(pair, f"{pair.number:0{digits}}") for pair in pairs]
    index.write(rows, case)
    tell("pairs", 0, len(pairs))
    try:
        for number, (pair, row) in enumerate(zip(pairs, rows, strict=True), 1):
            paths = (file.parent / pair.a, file.parent / pair.b)
            row.update(_told(pair, paths, case / row["folder"], settings))
            index.write_table(rows, case)
            tell("pairs", number, len(pairs))
    finally:
        index.write(rows, case)
    return rows


def _row(pair: Pair, folder: str) -> dict[str, Any]:
    """Return the row of a pair that is not compared yet."""
    known: dict[str, Any] = dict.fromkeys(index.COLUMNS)
    return {**known, "a": pair.a, "b": pair.b, "status": "waiting", "folder": folder}


def _told(pair: Pair, paths: tuple[Path, Path], folder: Path, settings: Settings) -> dict[str, Any]:
    """Return what came of a pair: from its finished case, or by comparing it now."""
    if not (pair.a and pair.b):
        return {"status": "failed", "reason": f"line {pair.line} names no {'b' if pair.a else 'a'}"}
    try:
        key = _key(paths, settings)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        return {"status": "failed", "reason": _unreadable(pair, paths, error)}
    done = _finished(folder, key)
    if done is not None:
        return done
    if (folder / index.FINISHED).exists():  # another pair's, or of other settings
        shutil.rmtree(folder)
    try:
        screening = screen.compare(*paths, folder, settings)
    except (InputError, WorkerError) as error:
        return {"status": "failed", "reason": str(error)}
    table.write(screening, folder)
    html.write(screening, folder)
    comparison.write(screening, folder)
    told = outcome(screening, paths)
    if told["status"] == "ok":
        _keep(folder, {"key": key, "told": told})
    return told


def outcome(screening: Screening, paths: Sequence[Path]) -> dict[str, Any]:
    """Return what is told of a pair: the finding between its two files that is the most probable, or why there is none.

    A pair is "ok" only where both files were read in full; what was found in the parts that were read is told as well.
    """
    files = {panel.id: panel.source.path for panel in screening.panels}
    wanted = {shown(path) for path in paths}
    across = [one for one in screening.findings if {files.get(one.a), files.get(one.b)} == wanted]
    best = max(across, key=lambda one: one.probability, default=None)
    told: dict[str, Any] = {} if best is None else {"found": "yes", **_of(best)}
    if wanted <= set(files.values()) and not terminal.has_problems(screening):
        return {"status": "ok", "reason": "", "found": "no", **told}
    reasons = [f"{item.path}: {item.reason}" for item in screening.inputs if item.status != "ok" and item.reason]
    reasons += [f"{item.path}: {item.reason}" for item in screening.problems]
    return {"status": "failed", "reason": "; ".join(dict.fromkeys(reasons)) or "a file holds no picture", **told}


def _of(finding: Finding) -> dict[str, Any]:
    told = finding.classes
    shares = {} if told is None else told.model_dump()
    places = len(finding.edits) or len(finding.changes)
    return {"probability": finding.probability, "verdict": finding.verdict, **shares, "edits": places}


def _key(paths: tuple[Path, Path], settings: Settings) -> str:
    """Return the hash of both files, their paths, the settings and the models.

    Raises OSError for what is no file, ValueError for a name that no file can have.
    """
    made_by = screen.provenance(settings.model_copy(update={"threads": 1}))  # whose number changes no result
    digest = hashlib.sha256(made_by.model_dump_json(exclude={"command"}).encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"\n{path}\n{hashlib.file_digest(file, 'sha256').hexdigest()}".encode(errors="replace"))
    return digest.hexdigest()


def _unreadable(pair: Pair, paths: tuple[Path, Path], error: OSError | ValueError) -> str:
    """Return in words why a file of a pair cannot be opened; a name that no file can have is told by its line."""
    for side, name, path in zip("ab", (pair.a, pair.b), paths, strict=True):
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                return f"{name} is a folder, not a picture"
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} does not exist"
        except (OSError, ValueError) as wrong:
            return f"line {pair.line}: {side} cannot be opened ({_why(wrong)}); correct its name in the table"
    return f"it cannot be opened ({_why(error)})"


def _why(error: OSError | ValueError) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


def _finished(folder: Path, key: str) -> dict[str, Any] | None:
    """Return what is told of a finished pair, or None where it is not finished or was something else."""
    try:
        kept = json.loads((folder / index.FINISHED).read_text(encoding="utf-8"))
        same = kept["key"] == key and (folder / "report.html").is_file()
        return dict(kept["told"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(folder: Path, kept: dict[str, Any]) -> None:
    part = folder / (index.FINISHED + ".part")
    part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    os.replace(part, folder / index.FINISHED)
