"""The commands that segment pictures. Parse, call, print.

They are part of the command line in `cli.py`; nothing heavy is imported at the top.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

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

segment_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Learn from a few labelled pictures to cut out cells, nuclei or the like, and do it with a folder.

What a network learned in order to tell copies serves as the features of every place; a forest on them is trained in
minutes, without a GPU.""",
)
MOST_TOLD = 20
"""Pictures and problems that are printed; --json has all of them."""


@segment_app.command("train")
def train(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A folder of pictures, or one picture.")],
    masks: Annotated[
        Path, typer.Argument(metavar="MASKS", help="A folder of masks, each named as its picture, or one mask.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="The file to write, such as nuclei.model.")
    ],
    scribbles: Annotated[
        bool,
        typer.Option("--scribbles", help="Masks are scribbles: 0 is not labelled, 1 background, 2 and more objects."),
    ] = False,
    network: Annotated[
        Path | None,
        typer.Option(
            "--network", metavar="FILE", help="An .onnx of maps of your own, its card beside it.  [the shipped maps]"
        ),
    ] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Train a forest on pictures and their masks.

    A mask is a PNG or TIFF of its picture's size: 0 is background, anything else an object. With --scribbles a few
    strokes are enough: 0 is what you did not label, 1 background, 2 and more objects; and pictures without a mask are
    left out. MODEL holds arrays and a card, no code.
    """
    began = time.monotonic()
    chosen = settings_of(settings, set_, threads)
    check_inputs([images, masks])
    _check_graph(network)
    _check_model(output)
    with interruptible(output.parent), progress_bars() as progress:
        from twinscope import segments
        from twinscope.detect import maps

        whose = maps.SHIPPED if network is None else str(network)
        card = segments.train(images, masks, output, chosen, whose, scribbles, progress)
    told = {"output": str(output), **card, "seconds": round(time.monotonic() - began, 3)}
    if json_:
        typer.echo(json.dumps(told, indent=2))
        return
    from twinscope.report.words import count, visible

    left = f", {count(card['without_mask'], 'picture')} without a mask left out" if card["without_mask"] else ""
    typer.echo(f"{count(card['pictures'], 'picture')}, {card['places']} labelled places, {card['objects']:.0%} of them "
               f"in objects{left}; {told['seconds']:.1f} s")  # fmt: skip
    typer.echo(f"model: {visible(output)}")


@segment_app.command("apply")
def apply(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What `segment train` wrote.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Pictures, and folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder to write; made if missing.")],
    network: Annotated[
        Path | None,
        typer.Option("--network", metavar="FILE", help="The .onnx that the model was trained with, if not shipped."),
    ] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Segment pictures of any size with a model.

    OUT/probability has 8-bit maps, OUT/labels 16-bit label images (0 background, 1..n objects), OUT/overlays the
    pictures with outlines, OUT/areas.csv a row an object. Pictures are taken whole; of a file that holds several, the
    first. Run the same command again after an interruption: a picture that is done is not done again.
    """
    began = time.monotonic()
    chosen = settings_of(settings, set_, threads)
    check_inputs([model, *images])
    _check_graph(network)
    _check_folder(output)
    with interruptible(output), progress_bars() as progress:
        from twinscope import segments
        from twinscope.report import table

        found = segments.apply(model, images, output, chosen, str(network) if network else None, progress)
        if not (found.rows or found.troubles):
            raise UsageError(f"there is no picture in {', '.join(map(str, images))}")
        table.write_areas(found.rows, output / segments.TABLE)
    told: dict[str, Any] = {
        "output": str(output),
        "pictures": [{key: row[key] for key in ("image", "name", "objects", "share")} for row in found.rows],
        "again": found.again,
        "problems": [trouble._asdict() for trouble in found.troubles],
        "seconds": round(time.monotonic() - began, 3),
    }
    typer.echo(json.dumps(told, indent=2) if json_ else "\n".join(_lines(told)))
    if found.troubles:
        raise typer.Exit(EXIT_PROBLEMS)


def _lines(told: dict[str, Any]) -> list[str]:
    from twinscope.report.words import STATUS, count, visible

    rows = [f"{row['image']}: {count(row['objects'], 'object')}, {row['share']:.1%} of the picture"
            for row in told["pictures"]]  # fmt: skip
    shown = [f"problem: {one['path']}: {STATUS.get(one['status'], one['status'])}: {one['reason']}"
             for one in told["problems"]]  # fmt: skip
    for lines, what in ((rows, "pictures"), (shown, "problems")):
        if len(lines) > MOST_TOLD:
            lines[MOST_TOLD:] = [f"and {len(lines) - MOST_TOLD} more {what}; --json tells all of them"]
    objects = sum(row["objects"] for row in told["pictures"])
    done = f", {told['again']} of them done before" if told["again"] else ""
    head = f"{count(len(rows) and len(told['pictures']), 'picture')}{done}; {count(objects, 'object')}"
    return [*map(visible, [*rows, *shown]), f"{head}; {told['seconds']:.1f} s", visible(f"folder: {told['output']}")]


def _check_graph(path: Path | None) -> None:
    """Refuse what is no graph."""
    if path is not None and (path.suffix != ".onnx" or not path.is_file()):
        raise UsageError(f"{path} is no .onnx graph of maps; name one that lies beside its card")


def _check_model(path: Path) -> None:
    """Refuse a file that is not one of ours, and a place where none can be."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file, such as nuclei.model")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist; make it first")
    if path.exists():
        from twinscope.detect import forest
        from twinscope.errors import ModelError

        try:
            forest.load(path)
        except ModelError as error:
            raise UsageError(f"{path} holds something else; name a new file, so that nothing is overwritten") from error


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else, so that nobody's files are overwritten."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "done.jsonl").exists():
        raise UsageError(f"{folder} holds files that are not of a segmentation; name a new or empty folder")
