"""Train the metric on a user's own pictures: `twinscope train metric`. One seed, resumable.

In the folder of the run: metric.onnx and its card metric.json, curve.csv (a row an epoch), run.json (settings, data,
results), and the checkpoints last.pt and best.pt.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from twinscope import __version__
from twinscope.detect.vectors import Trouble
from twinscope.errors import UsageError
from twinscope.models.card import write as write_card
from twinscope.settings import Settings, Training
from twinscope.train import evaluate, export, folders, loop, protocol
from twinscope.train.embedder import SIDE, embed
from twinscope.train.losses import Contrast
from twinscope.train.networks import Embedder
from twinscope.types import Progress

ID = "metric"
FILES = ("metric.onnx", "metric.json", "curve.csv", "run.json")
SCORED = ("best_accuracy", "ir1", "tpr_1e-3")
"""The validation numbers whose mean is the score."""


class Trained(NamedTuple):
    """A finished run: what is told of it, a row an epoch, the troubles; `again` where it was finished before."""

    told: dict[str, Any]
    rows: list[dict[str, float]]
    troubles: tuple[Trouble, ...]
    again: bool


def train(
    training: Path, validation: Path, run: Path, wanted: Training, settings: Settings, progress: Progress | None = None
) -> Trained:
    """Train to the end, going on from what is in the folder `run`, and write graph, card and records there.

    settings: its threads, and the limit on the pixels of a picture. progress: hears (stage, done, total). Raises
    UsageError where the folders cannot be used, where the run is one of other settings or pictures, and where the
    training diverges.
    """
    tell = progress or (lambda stage, done, total: None)
    cv2.setNumThreads(1)  # before its first use: OpenCV's threads do not survive the fork of the loader's worker
    before = _begun(run, wanted)
    most_px = settings.ingest.limits.image_px
    own = folders.read(training, most_px, lambda done, total: tell("training", done, total))
    held = folders.read(validation, most_px, lambda done, total: tell("validation", done, total))
    folders.check(own, held)
    test = folders.classes(held, wanted.preset, wanted.seed)
    parts = {name: {"pictures": len(one.names), "groups": one.groups(), "sha256": one.stock.sha256}
             for name, one in (("training", own), ("validation", held))}  # fmt: skip
    record = {"recipe": "twinscope train metric", "twinscope": __version__, "torch": torch.__version__,
              "settings": wanted.model_dump(mode="json"), "data": parts}  # fmt: skip
    troubles = (*own.troubles, *held.troubles)
    if before is not None:
        _same_data(run, before["data"], parts)
        if "result" in before and all((run / name).exists() for name in FILES):
            return Trained(before["result"], _rows(run), troubles, True)
    run.mkdir(parents=True, exist_ok=True)
    _write(run / "run.json", record)
    batches = folders.EpochBatches(own.stock, wanted.seed, wanted.batch, SIDE, wanted.epochs, wanted.preset)
    _loop(batches, test, run, wanted, settings.threads, tell)
    result = _finish(run, record, test, batches.each)
    _write(run / "run.json", record | {"result": result})
    return Trained(result, _rows(run), troubles, False)


def _begun(run: Path, wanted: Training) -> dict[str, Any] | None:
    """Return the record of a run that was begun here. Raises UsageError where it is one of other settings."""
    path = run / "run.json"
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        settings, _ = record["settings"], record["data"]["validation"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no record of a training; name a new or empty folder") from error
    for name, value in wanted.model_dump(mode="json").items():
        if settings.get(name) != value:
            raise UsageError(f"{run} is a run with --{name} {settings.get(name)}, not {value}; "
                             "give the same, or name a new folder")  # fmt: skip
    return record


def _same_data(run: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for name, one in now.items():
        if before[name] != one:
            raise UsageError(f"the {name} pictures are not those that the run in {run} began with; name a new folder")


def _loop(
    batches: folders.EpochBatches, test: protocol.Classes, run: Path, wanted: Training, threads: int, tell: Progress
) -> None:
    """Train to the last epoch, or until the patience is over; leave the checkpoints and the curve."""
    steps = len(batches)
    plan = loop.Plan(steps, minutes=float("inf"), rate=wanted.rate, every=batches.each, threads=threads, bf16=False,
                     warm=min(150, -(-steps // 10)), patience=wanted.patience)  # fmt: skip
    torch.manual_seed(wanted.seed)
    stopped = False
    try:
        loop.train(Embedder(), Contrast(), batches, plan, run, lambda network: judge(network, test),
                   lambda step, row: tell("train", step, steps))  # fmt: skip
    except KeyboardInterrupt:
        stopped = True
    except FloatingPointError as error:
        raise UsageError(f"the training diverges at --rate {wanted.rate:g} ({error}); "
                         "give a lower one and a new folder") from error  # fmt: skip
    if stopped:  # raised again out here, where the loader of the batches has ended and its process with it
        raise KeyboardInterrupt


def judge(network: nn.Module, test: protocol.Classes) -> dict[str, float]:
    """Return the validation numbers of a network; "score" is the mean of those to be selected by."""
    network.radius.fill_(1.0)  # type: ignore[operator]
    numbers = protocol.summary(protocol.distances(lambda views: embed(network, views), test))
    seen = {name: numbers[name] for name in (*SCORED, "best_border")}
    return protocol.rounded(seen | {"score": float(np.mean([numbers[name] for name in SCORED]))})


def _finish(run: Path, record: dict[str, Any], test: protocol.Classes, each: int) -> dict[str, Any]:
    """Write the graph of the best checkpoint, its border at 1, and its card; return what is told of the run."""
    best = loop.load(run / "best.pt")
    state = loop.load(run / "last.pt")["state"]
    network = Embedder()
    network.load_state_dict(best["network"])
    chosen = export.set_border(network, [test], slack=1e-5)
    export.save_graph(network, run / f"{ID}.onnx")
    found = protocol.distances(lambda views: embed(network, views), test)
    numbers = evaluate.report(found, [window.group for window in test.windows])
    del numbers["border_1e-3"]
    for rate in (2, 3, 4):  # what too few pairs cannot say
        if numbers["different_pairs"] < 10**rate:
            numbers |= dict.fromkeys((f"tpr_1e-{rate}", f"tpr_1e-{rate}_95"))
    epochs = state["step"] // each
    pictures = {name: part["pictures"] for name, part in record["data"].items()}
    result = {"pictures": pictures, "epochs": epochs, "best_epoch": best["row"]["step"] // each,
              "best_score": best["row"]["score"],
              "stopped": "patience" if epochs < record["settings"]["epochs"] else "epochs",
              "train_s": round(state["seconds"], 1), "validation": numbers}  # fmt: skip
    write_card(_card(run, record, result, chosen), run / f"{ID}.json")
    return result


def _card(run: Path, record: dict[str, Any], result: dict[str, Any], chosen: dict[str, float]) -> Any:
    settings, kinds = record["settings"], record["data"]
    told = {name: value for name, value in result.items() if name not in ("validation", "pictures")}
    return export.described(
        ID,
        run / f"{ID}.onnx",
        border_chosen="the best accuracy (same and different pairs weigh alike) on windows of the validation pictures, "
        f"{settings['preset']} manipulations: {chosen['accuracy']}, with {chosen['fpr']} of different pairs inside",
        training={**record, **told, "data": "the user's own pictures", "folders": kinds},
        metrics={"results": "on the validation pictures, by which the weights and the border were chosen",
                 settings["preset"]: result["validation"]},
        limits=(
            *export.LIMITS[:2],
            f"Learned from {kinds['training']['pictures']} pictures of one user: of other kinds it may say little.",
            "Its numbers are of the pictures by which its weights and its border were chosen: they flatter.",
        ),
        licence="the user's own: it learned from the user's pictures alone",
    )  # fmt: skip


def _rows(run: Path) -> list[dict[str, float]]:
    """Return the curve of a run, a row an epoch."""
    with (run / "curve.csv").open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _write(path: Path, record: dict[str, Any]) -> None:
    """Write a record; what was there stays whole until the new one is."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
