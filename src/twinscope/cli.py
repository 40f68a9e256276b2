"""Parse, call, print.

Nothing heavy is imported at the top: each command imports what it needs when it runs, so that `--help` is instant.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinscope import __version__, auditor, librarian, outliner, serving, workbench
from twinscope.console import (
    EXIT_FAILED,
    EXIT_FOUND,
    EXIT_PROBLEMS,
    EXIT_USAGE,
    JsonOption,
    SetOption,
    SettingsOption,
    ThreadsOption,
    check_inputs,
    interruptible,
    progress_bars,
    say,
    settings_of,
)
from twinscope.errors import ModelError, TwinscopeError, UsageError

if TYPE_CHECKING:
    from twinscope.settings import Settings
    from twinscope.types import Screening

app = typer.Typer(
    name="twinscope",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Find re-used and altered images in scientific papers, on this machine alone.

It shows evidence: which panels are the same picture, how one was turned into the other, where they differ, and how
sure it is. What that means is for a person to judge.

Exit codes: 0 done; 1 a finding reached --fail-above; 2 wrong use; 3 done with problems (an input or a part of
one could not be read, or a model is not what its card says); 4 could not finish; 130 interrupted.""",
)
models_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Show and check the networks that twinscope brings along."
)
app.add_typer(models_app, name="models")
app.add_typer(librarian.library_app, name="library")
app.add_typer(workbench.train_app, name="train")
app.add_typer(workbench.data_app, name="data")
app.add_typer(outliner.segment_app, name="segment")
app.add_typer(serving.users_app, name="users")
app.add_typer(serving.audit_app, name="audit")
app.add_typer(auditor.fingerprint_app, name="fingerprint")

CaseOption = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="CASE", help="Folder for the report and all evidence; made if missing."),
]
FailAboveOption = Annotated[
    float | None,
    typer.Option(
        "--fail-above",
        metavar="P",
        min=0.0,
        max=1.0,
        help="Exit with 1 when a finding's probability is P or more. Problems still exit with 3 when none is.",
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def screen(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATHS", help="Manuscripts: PDF, DOCX, PPTX, ODT, EPUB, images, ZIP, folders."),
    ],
    case: CaseOption,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    library: Annotated[
        str | None,
        typer.Option(
            "--library", metavar="DIR", envvar="TWINSCOPE_LIBRARY", help="Look in a library of earlier panels, too."
        ),
    ] = None,
    fail_above: FailAboveOption = None,
    json_: JsonOption = False,
) -> None:
    """Screen manuscripts for re-used and altered panels.

    CASE/report.html is for reading, CASE/screening.json and CASE/findings.csv are for programs. Run the same command
    again after an interruption: what is finished is not done twice.
    """
    chosen = settings_of(settings, set_, threads)
    check_inputs(paths)
    _check_case(case)
    with interruptible(case), progress_bars() as progress:
        from twinscope.report import html, table
        from twinscope.screen import screen as run

        screening = run(paths, case, chosen, progress, library=library)
        progress("report", 0, 1)
        table.write(screening, case)
        page = html.write(screening, case)
        progress("report", 1, 1)
    if not (screening.inputs or screening.problems):
        raise UsageError(f"there is nothing to read in {', '.join(map(str, paths))}")
    _finish(screening, page, json_, fail_above)


@app.command()
def compare(
    case: CaseOption,
    a: Annotated[Path | None, typer.Argument(metavar="A", help="One picture.")] = None,
    b: Annotated[Path | None, typer.Argument(metavar="B", help="The other picture.")] = None,
    batch: Annotated[
        Path | None,
        typer.Option("--batch", metavar="PAIRS", help="Instead of A and B: a CSV file of pairs with the columns a, b."),
    ] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    fail_above: FailAboveOption = None,
    json_: JsonOption = False,
) -> None:
    """Compare two pictures, with the evidence of a screening.

    The pictures are taken whole, not split into panels. CASE/comparison.png shows both with what they share,
    CASE/screening.json holds the numbers, and CASE/report.html lets you look closer.

    With --batch every pair of a CSV file is compared. Its paths are relative to the file, or absolute. Each pair has
    its own case in CASE/0001, CASE/0002 and so on; CASE/index.html lists them, CASE/pairs.csv has a line for each. A
    pair that cannot be read is told, and the rest goes on. Run the same command again after an interruption: a pair
    that is finished is not compared again.
    """
    chosen = settings_of(settings, set_, threads)
    if batch is not None:
        if a is not None or b is not None:
            raise UsageError("--batch takes the pairs from its file; leave out A and B")
        _compare_batch(batch, case, chosen, fail_above, json_)
        return
    if a is None or b is None:
        raise UsageError("`compare` takes two pictures, A and B, or a CSV file of pairs with --batch")
    check_inputs([a, b])
    for path in (a, b):
        if path.is_dir():
            raise UsageError(f"{path} is a folder; `compare` takes two pictures, `screen` takes folders")
    _check_case(case)
    with interruptible(case):
        from twinscope.report import comparison, html, table
        from twinscope.screen import compare as run

        screening = run(a, b, case, chosen)
        table.write(screening, case)
        page = html.write(screening, case)
        picture = comparison.write(screening, case)
    _finish(screening, page, json_, fail_above, picture)


def _compare_batch(file: Path, case: Path, settings: Settings, fail_above: float | None, as_json: bool) -> None:
    """Compare the pairs of a file, print a line for each, and exit."""
    with interruptible(case), progress_bars() as progress:
        from twinscope import batch
        from twinscope.report import terminal

        rows = batch.compare(file, case, settings, progress)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        typer.echo("\n".join(terminal.batch(rows, case)))
    if fail_above is not None and any((row["probability"] or 0) >= fail_above for row in rows if row["found"] == "yes"):
        raise typer.Exit(EXIT_FOUND)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(EXIT_PROBLEMS)


app.command("serve")(serving.serve)
app.command("embed")(workbench.embed)
app.command("evaluate")(workbench.evaluate)
app.command("calibrate")(workbench.calibrate)


@app.command("settings")
def show_settings(
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Print the settings in force as TOML.

    These are the defaults, and what --settings, --set and --threads change. The output is a file for --settings.
    """
    values = settings_of(settings, set_, threads).model_dump(mode="json")
    if json_:
        typer.echo(json.dumps(values, indent=2))
    else:
        typer.echo("\n".join(_toml(values)).strip())


@models_app.command("list")
def models_list(json_: JsonOption = False) -> None:
    """List the networks, each with its task, its border and its limits.

    --json prints the whole cards, with the training data and the metrics.
    """
    from twinscope import models
    from twinscope.report.words import visible

    cards = models.cards()
    if json_:
        typer.echo(json.dumps([card.model_dump(mode="json") for card in cards], indent=2))
        return
    for card in cards:
        border = "" if card.border is None else f"border {card.border:g}, {card.border_chosen}"
        lines = (card.task, card.output, border, *card.limits, f"licence {card.licence}")
        typer.echo("\n  ".join([card.id, *(visible(line) for line in lines if line)]))


@models_app.command("verify")
def models_verify(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Which networks; all if none is named.")] = None,
    json_: JsonOption = False,
) -> None:
    """Check each network against its card.

    Two things are checked: the hash of its file, and its answer to a known input.
    """
    from twinscope import models

    known = [card.id for card in models.cards()]
    unknown = [name for name in ids or () if name not in known]
    if unknown:
        raise UsageError(f"there is no model {unknown[0]}; `twinscope models list` names them all")
    rows = []
    for name in ids or known:
        try:
            difference = models.verify(name)
            rows.append({"id": name, "ok": True, "reason": "", "difference": difference})
        except ModelError as error:
            rows.append({"id": name, "ok": False, "reason": str(error), "difference": None})
    if json_:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo(f"{row['id']}  {'ok' if row['ok'] else row['reason']}")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(EXIT_PROBLEMS)


@app.command("explain")
def explain_distance(
    a: Annotated[Path, typer.Argument(metavar="A", help="One picture.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other picture.")],
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the sheet and the maps.")],
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Show where in two pictures the metric's distance comes from.

    DIR/explanation.png shows both pictures above their maps; map-a.tif and map-b.tif are the maps (float32, above 0
    what makes the two differ, below 0 what makes them alike); explanation.json holds the numbers. It explains the
    distance between the whole pictures as they are. It is no evidence of an edit: for that there is `compare`.
    """
    chosen = settings_of(settings, set_, threads)
    check_inputs([a, b])
    _check_case(folder)
    with interruptible(folder):
        from twinscope.report import explanation

        told = explanation.write(a, b, folder, chosen)
    if json_:
        typer.echo(json.dumps(told, indent=2))
    else:
        places = "".join(f"{name}: {told[name]['words']}\n" for name in "ab")
        typer.echo(f"distance {told['distance']:.3f}; 1 is the border of “same”\n{places}{folder / told['sheet']}")


def main() -> None:
    """Run the command line and exit: an error that twinscope foresees is one sentence, never a traceback."""
    try:
        app()
    except TwinscopeError as error:
        say(str(error))
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)


# --- arguments --------------------------------------------------------------------------------------------------


def _toml(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    for key, value in values.items():
        if key not in tables and value is not None:
            yield f"{key} = {json.dumps(value)}"
    for key, value in tables.items():
        yield ""
        yield f"[{prefix}{key}]"
        yield from _toml(value, f"{prefix}{key}.")


def _check_case(case: Path) -> None:
    """Refuse a folder that holds something else, so that nobody's files are overwritten."""
    if not case.exists():
        return
    if not case.is_dir():
        raise UsageError(f"{case} is a file; name a folder for the case")
    ours = ("screening.json", "cache", "panels", "pages")
    if any(case.iterdir()) and not any((case / name).exists() for name in ours):
        raise UsageError(f"{case} holds files that are not of a case; name a new or empty folder")


def _finish(
    screening: Screening, page: Path, as_json: bool, fail_above: float | None, picture: Path | None = None
) -> None:
    from twinscope.report import terminal

    if as_json:
        typer.echo(screening.model_dump_json(indent=2))
    else:
        typer.echo("\n".join(terminal.summary(screening, page, picture)))
    if fail_above is not None and any(finding.probability >= fail_above for finding in screening.findings):
        raise typer.Exit(EXIT_FOUND)
    if terminal.has_problems(screening):
        raise typer.Exit(EXIT_PROBLEMS)
