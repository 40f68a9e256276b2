"""The commands about generators. Parse, call, print.

They are part of the command line in `cli.py`; nothing heavy is imported at the top.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinscope.console import (
    EXIT_PROBLEMS,
    JsonOption,
    SetOption,
    SettingsOption,
    ThreadsOption,
    check_inputs,
    interruptible,
    progress_bars,
    settings_of,
)
from twinscope.errors import UsageError

if TYPE_CHECKING:
    from twinscope.audit import Part
    from twinscope.types import Audit

fingerprint_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Ask which real pictures a generator learned from.

A generator that has learned pictures by heart gives them away: copies of them are among what it makes.""",
)
MOST_TOLD = 10
"""Real pictures and problems that are printed; --json and the files have all of them."""


@fingerprint_app.command("audit")
def audit_pictures(
    case: Annotated[
        Path, typer.Option("--output", "-o", metavar="CASE", help="Folder for the report; made if missing.")
    ],
    real: Annotated[Path | None, typer.Option("--real", metavar="DIR", help="Folder of real pictures.")] = None,
    generated: Annotated[
        Path | None, typer.Option("--generated", metavar="DIR", help="Folder of what the generator made.")
    ] = None,
    known: Annotated[
        str | None,
        typer.Option(
            "--known",
            metavar="USED,UNUSED",
            help="Two text files: real pictures known to be used and known to be unused, one a line, as below --real.",
        ),
    ] = None,
    imageclef: Annotated[
        Path | None,
        typer.Option(
            "--imageclef",
            metavar="DIR",
            help="In the place of the others: a folder as the ImageCLEF GANs task lays it out (generated, real_used, "
            "real_not_used, real_unknown), or one that holds such folders.",
        ),
    ] = None,
    prior: Annotated[
        float | None,
        typer.Option(
            "--prior", metavar="P", help="Share of the real pictures taken to be used, before looking.  [0.5]"
        ),
    ] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Say for each real picture how probable it is that a generator learned from it.

    CASE/report.html shows each beside its nearest generated pictures, with a statement on the whole set;
    CASE/audit.json and CASE/audit.csv are for programs. With --known examples it learns from them, without it tests
    against what is near by accident. Where nothing speaks, it says so, and every probability stays at the prior. Run
    the same command again after an interruption: pictures that were embedded are not embedded again.
    """
    pairs = [*(set_ or []), *([f"fingerprint.prior={prior}"] if prior is not None else [])]
    chosen = settings_of(settings, pairs, threads)
    _check_case(case)
    parts = _parts(real, generated, known, imageclef)
    with interruptible(case), progress_bars() as progress:
        from twinscope import audit
        from twinscope.ingest.files import shown
        from twinscope.report import audited

        found = audit.audit(parts, case, chosen, progress, shown(shlex.join(["twinscope", *sys.argv[1:]])))
        progress("report", 0, 1)
        (case / audit.RECORD).write_text(found.model_dump_json(indent=2), encoding="utf-8", errors="replace")
        page = audited.write(found, case, audit.opener(parts, chosen), chosen.fingerprint.told)
        progress("report", 1, 1)
    typer.echo(found.model_dump_json(indent=2) if json_ else "\n".join(_lines(found, page)))
    if found.problems:
        raise typer.Exit(EXIT_PROBLEMS)


def _parts(real: Path | None, generated: Path | None, known: str | None, imageclef: Path | None) -> list[Part]:
    """Return what is to be audited. Raises UsageError where the options do not go together."""
    from twinscope import audit

    if imageclef is not None:
        if real or generated or known:
            raise UsageError("--imageclef stands alone; leave out --real, --generated and --known")
        check_inputs([imageclef])
        if not imageclef.is_dir():
            raise UsageError(f"{imageclef} is no folder; name the one that holds generated and real pictures")
        return audit.of_imageclef(imageclef)
    if real is None or generated is None:
        raise UsageError("name both folders, --real and --generated, or one with --imageclef")
    check_inputs([real, generated])
    if known is None:
        return [audit.of_folders(real, generated)]
    used, comma, unused = known.partition(",")
    if not (comma and used and unused):
        raise UsageError(f"--known {known} is not of the form used.txt,unused.txt")
    check_inputs([Path(used), Path(unused)])
    return [audit.of_folders(real, generated, (Path(used), Path(unused)))]


def _lines(found: Audit, page: Path) -> list[str]:
    from twinscope.report.words import STATUS, count, visible

    lines = list(found.statement.sentences)
    if found.statement.evidence:
        likely = [one for one in found.images if one.probability > 0.5]
        lines.append(f"More probably used than not: {len(likely)} of {found.real}")
        lines += [f"  {one.probability:.2f}  {visible(one.path)}" for one in likely[:MOST_TOLD]]
        if len(likely) > MOST_TOLD:
            lines.append(f"  and {len(likely) - MOST_TOLD} more in the report")
    lines += [f"problem: {visible(one.path)}: {STATUS[one.status]}: {visible(one.reason)}"
              for one in found.problems[:MOST_TOLD]]  # fmt: skip
    if len(found.problems) > MOST_TOLD:
        lines.append(f"and {len(found.problems) - MOST_TOLD} more problems; the report has all of them")
    told = f"{count(found.real, 'real picture')}, {count(found.generated, 'generated one')}; {found.seconds:.1f} s"
    return [*lines, told, visible(f"report: {page}")]


def _check_case(case: Path) -> None:
    """Refuse a folder that holds something else, so that nobody's files are overwritten."""
    if case.exists() and not case.is_dir():
        raise UsageError(f"{case} is a file; name a folder for the case")
    ours = ("audit.json", "vectors.jsonl")
    if case.is_dir() and any(case.iterdir()) and not any((case / name).exists() for name in ours):
        raise UsageError(f"{case} holds files that are not of an audit; name a new or empty folder")
