"""The commands for those who train and measure: embed, evaluate, calibrate, train, data fetch. Parse, call, print.

They are part of the command line in `cli.py`; nothing heavy is imported at the top.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    from twinscope.detect.vectors import Trouble

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Get public data sets.")
train_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train networks on your own pictures.")

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="FILE", help="A metric.onnx of `train metric`, its card beside it.  [the shipped network]"
    ),
]

MOST_TOLD = 20
"""Problems that are printed; --json has all of them."""


def embed(
    paths: Annotated[list[Path], typer.Argument(metavar="PATHS", help="Picture files, and folders of them.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The Parquet file to write, such as vectors.parquet.")
    ],
    model: ModelOption = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Turn pictures into vectors whose Euclidean distance is the metric.

    FILE has two columns: path, and vector (128 float32). Two pictures whose vectors lie within a distance of 1 are
    taken to be the same. Pictures are taken whole; of a file that holds several, the first. PDFs and other documents
    are refused. Run the same command again after an interruption: what is done is not done twice.
    """
    began = time.monotonic()
    chosen = settings_of(settings, set_, threads)
    check_inputs(paths)
    network = _network(model)
    _check_output(output, "PAR1", "is no Parquet file; name a new file, so that nothing is overwritten")
    part = output.with_name(output.name + ".part")
    with interruptible(part), progress_bars() as progress:
        from twinscope.detect import vectors

        half = output.with_name(output.name + ".new")  # of a writing that was ended
        sources, left_out = vectors.listed(paths, without=(output, part, half))
        if not (sources or left_out):
            raise UsageError(f"there is no picture in {', '.join(map(str, paths))}")
        found = vectors.embedded(sources, part, chosen, progress, network)
        vectors.write(found, output, network)
        part.unlink(missing_ok=True)
    troubles = [*left_out, *found.troubles]
    told = {"output": str(output), "pictures": len(found.paths), "seconds": round(time.monotonic() - began, 3)}
    lines = [f"{_count(len(found.paths), 'picture')} embedded, {told['seconds']:.1f} s"]
    _finish(told, lines, troubles, [f"vectors: {output}"], json_)


def evaluate(
    pairs: Annotated[
        Path,
        typer.Argument(metavar="PAIRS", help="A CSV file: a, b, same (1 or 0); perhaps group, label."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write; made if missing.")],
    model: ModelOption = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Measure the metric on pairs of pictures that are known to be the same or not.

    The paths of a and b are relative to the CSV file, or absolute. Pairs of one group (a paper, a slide) are drawn
    together for the intervals. A label says which pictures show the same, for the retrieval; same pairs say it, too.
    DIR/evaluation.json has the numbers, DIR/pairs.csv every distance, DIR/roc.svg and DIR/distances.svg the plots.
    """
    began = time.monotonic()
    chosen = settings_of(settings, set_, threads)
    check_inputs([pairs])
    if not pairs.is_file():  # it is read more than once
        raise UsageError(f"{pairs} cannot be read as a CSV file, being no regular file; write the table into one first")
    network = _network(model)
    _check_folder(output, "cache/vectors.jsonl", "an evaluation")
    with interruptible(output), progress_bars() as progress, _made(output / "cache"):
        from twinscope import measure
        from twinscope.report import measured

        found = measure.evaluate(pairs, output / "cache" / "vectors.jsonl", chosen, progress, network)
        told = found.told | {"seconds": round(time.monotonic() - began, 3)}
        problems = {"problems": [trouble._asdict() for trouble in found.troubles]}
        rows = [(*pair, distance) for pair, distance in zip(found.pairs, found.distances, strict=True)]
        measured.write(told | problems, rows, found.of(True), found.of(False), output)
    places = [f"{name}: {output / name}" for name in ("evaluation.json", "pairs.csv", *measured.PLOTS)]
    shown = [place for place in places if Path(place.split(": ", 1)[1]).exists()]
    _finish(told, list(measured.evaluation(told)), found.troubles, shown, json_)


def calibrate(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A folder of pictures of which no two show the same."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The JSON file to write, such as calibration.json.")
    ],
    panels: Annotated[
        list[int] | None,
        typer.Option("--panels", metavar="N", min=2, help="Panels of a manuscript. May be repeated.  [20, 60, 200]"),
    ] = None,
    model: ModelOption = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Tell from your own clean pictures which distances mean something, and how many false alarms to expect.

    Every two pictures count as different. Pictures that may show the same (fields of one slide) go into one sub-folder
    of FOLDER: they are not compared with each other.
    """
    began = time.monotonic()
    chosen = settings_of(settings, set_, threads)
    check_inputs([folder])
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder of pictures")
    network = _network(model)
    _check_output(output, '{\n "twinscope"', "holds something else; name a new file, so that nothing is overwritten")
    part = output.with_name(output.name + ".part")
    with interruptible(part), progress_bars() as progress:
        from twinscope import measure
        from twinscope.report import measured

        try:
            told, troubles = measure.calibrate(
                folder, part, chosen, panels or (20, 60, 200), progress, network, without=(output, part)
            )
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()
        told["seconds"] = round(time.monotonic() - began, 3)
        problems = {"problems": [trouble._asdict() for trouble in troubles]}
        output.write_text(json.dumps(told | problems, indent=1) + "\n", encoding="utf-8")
        part.unlink(missing_ok=True)
    _finish(told, list(measured.calibration(told)), troubles, [f"calibration: {output}"], json_)


@train_app.command("metric")
def train_metric(
    training: Annotated[Path, typer.Argument(metavar="TRAIN_DIR", help="A folder of pictures to learn from.")],
    validation: Annotated[
        Path, typer.Option("--validation", metavar="VAL_DIR", help="A folder of other pictures, to choose by.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN_DIR", help="Folder to write; made if missing.")
    ],
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs at most.  [300]")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="End after so many epochs without a better validation score.  [50]")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=4, help="Pictures in a batch, at most.  [32]")] = None,
    rate: Annotated[
        float | None, typer.Option(min=1e-9, max=1.0, metavar="LR", help="The highest learning rate.  [0.002]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of every random draw.  [1]")] = None,
    preset: Annotated[
        Literal["v02", "figure", "geometric"] | None, typer.Option(help="The manipulations of the copies.  [v02]")
    ] = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Train the metric's network on your own pictures, on the processor.

    It needs the extra `train`: pip install 'twinscope[train]'. Every two pictures count as different. Pictures that may
    show the same (fields of one slide) go into one sub-folder: they count neither as the same nor as different.

    In an epoch every training picture is seen once, in fresh windows and manipulated copies. The weights with the best
    validation score are kept. RUN_DIR/metric.onnx is the network, with its border at 1, metric.json its card; curve.csv
    and curve.svg have the training loss and the validation numbers of every epoch. Run the same command again after an
    interruption: it goes on from the last checkpoint.
    """
    began = time.monotonic()
    options = {"epochs": epochs, "patience": patience, "batch": batch, "rate": rate, "seed": seed, "preset": preset}
    chosen = settings_of(None, None, threads)
    _check_training(training, validation, output)
    with interruptible(output), progress_bars() as progress, _made(output):
        from twinscope.report import curves, measured
        from twinscope.settings import Training
        from twinscope.train import metric

        wanted = Training.model_validate({name: value for name, value in options.items() if value is not None})
        found = metric.train(training, validation, output, wanted, chosen, progress)
        if not (output / "curve.svg").exists():
            curves.write_training(found.rows, output / "curve.svg")
    told = found.told | {"output": str(output), "again": found.again, "seconds": round(time.monotonic() - began, 3)}
    places = [f"{name}: {output / name}" for name in (*metric.FILES, "curve.svg")]
    _finish(told, list(measured.training(told)), found.troubles, places, json_)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set: bbbc038.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write; made if missing.")],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="FILE", help="One file of the set. May be repeated.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Fetch a public data set from its own site. This is the only command that uses the network.

    bbbc038 is the 2018 Data Science Bowl (nuclei, CC0) of the Broad Bioimage Benchmark Collection, 380 MB in all, of
    which stage1_train.zip has 83 MB. Its site publishes no hashes: the first download is recorded in DIR/fetched.json,
    and later ones are checked against it. Run the same command again after an interruption: it goes on where it was.
    """
    with interruptible(output), progress_bars() as progress:
        from twinscope import fetch

        files = fetch.fetch(name, output, only or (), progress)
    if json_:
        about = {"name": name, "page": fetch.SETS[name].page, "licence": fetch.SETS[name].licence}
        typer.echo(json.dumps({**about, "folder": str(output), "files": [file._asdict() for file in files]}, indent=2))
    else:
        from twinscope.report.words import visible

        for file in files:
            size = f"{(file.size_bytes or 0) / 1e6:.1f} MB, sha256 {file.sha256} ({file.checked})"
            typer.echo(visible(f"{file.name}: {file.status}: {file.reason or size}"))
        typer.echo(f"from {fetch.SETS[name].page}, {fetch.SETS[name].licence}, into {visible(output)}")
    if any(file.status == "failed" for file in files):
        raise typer.Exit(EXIT_PROBLEMS)


def _check_training(training: Path, validation: Path, run: Path) -> None:
    """Refuse what cannot be trained on, a folder that holds something else, and a house without torch."""
    for name in ("torch", "onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"training needs {name}: pip install 'twinscope[train]'")
    check_inputs([training, validation])
    for folder in (training, validation):
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a folder of pictures")
        if run.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{run} lies in {folder}; name a folder for the run that is outside of the pictures")
    if training.resolve() == validation.resolve():
        raise UsageError(f"{training} is both; what is trained on cannot validate, so name two folders")
    _check_folder(run, "run.json", "a training")


def _check_folder(folder: Path, ours: str, what: str) -> None:
    """Refuse a folder that holds something else, so that nobody's files are overwritten; `ours` says that it is ours.

    An empty folder `cache` is what an early interruption leaves.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a folder")
        held = any(path != folder / "cache" for path in folder.rglob("*"))
        if held and not (folder / ours).exists():
            raise UsageError(f"{folder} holds files that are not of {what}; name a new or empty folder")
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be used ({error.strerror}); name another") from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder for what is done in it; where nothing is written there, it is taken away again.

    Raises UsageError where it cannot be made.
    """
    try:
        absent = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror}); name another") from error
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            for path in absent:
                path.rmdir()


def _network(own: Path | None) -> str:
    """Return what the metric is loaded by: the shipped network, or the path of the user's own, which works here."""
    from twinscope import models
    from twinscope.detect import embed

    if own is None:
        return embed.MODEL
    if own.suffix != ".onnx" or not own.is_file():
        raise UsageError(f"{own} is no metric.onnx; name the one that `twinscope train metric` wrote")
    card = models.load(str(own)).card
    if (card.probe.dtype, card.probe.shape[1:]) != ("uint8", (embed.SIDE_PX, embed.SIDE_PX)):
        raise UsageError(f"{own} is no metric: its card says that it takes something else than pictures")
    models.verify(str(own))
    return str(own)


def _check_output(path: Path, begins: str, otherwise: str) -> None:
    """Refuse a file that is not one of ours, and a place where none can be."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist; make it first")
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(begins)) != begins.encode():
                raise UsageError(f"{path} {otherwise}")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _finish(
    told: dict[str, Any], lines: Sequence[str], troubles: Sequence[Trouble], places: Sequence[str], as_json: bool
) -> None:
    """Print what was done and every problem, and exit."""
    from twinscope.report.words import STATUS, visible

    if as_json:
        typer.echo(json.dumps({**told, "problems": [trouble._asdict() for trouble in troubles]}, indent=2))
    else:
        shown = [f"problem: {one.path}: {STATUS.get(one.status, one.status)}: {one.reason}" for one in troubles]
        if len(shown) > MOST_TOLD:
            shown[MOST_TOLD:] = [f"and {len(troubles) - MOST_TOLD} more problems; --json tells all of them"]
        typer.echo("\n".join(visible(line) for line in [*lines, *shown, *places]))
    if troubles:
        raise typer.Exit(EXIT_PROBLEMS)
