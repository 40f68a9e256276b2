"""What fills the tables of black-2021: each method as one function, and the sets of pairs that it is asked about."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "benchmarks"), str(ROOT / "src")]

import common
import icn_desk

from twinscope.train import changes, changes_real, comparator, evaluate, icn, icn_losses, icn_scores, loop
from twinscope.train.icn_baselines import BASELINES, Baseline, resnet_conv

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Pair = changes.Pair | changes_real.RealPair

TRAIN = ROOT / "src" / "twinscope" / "train"
CODE = [Path(__file__), ROOT / "src/twinscope/manipulate", *(TRAIN / f"{name}.py" for name in (
    "changes", "changes_real", "wear", "data", "icn", "icn_baselines", "icn_scores"))]  # fmt: skip
"""What an answer depends on beside the weights: a part that was kept is made again where one of these has changed; of
the network that ships also where one of `icn_desk.parts` has."""
EDITED = ("both", "manipulated", "blots", "copymove")
"""The sets of table 2: where it is known what was edited."""
JUDGED = ("benign", "manipulated", "both", "distinct")
"""The sets of table 3: PSBat-Pair of section 4.1."""
DESK = {True: icn_desk.NAME, False: f"{icn_desk.NAME}, letters no edit"}
"""The rows of the network that ships: with text over a picture as an edit, as in the paper, and as the desk asks."""
NO_RESNET = "no ImageNet weights here (`--imagenet FILE`)"


class Said(NamedTuple):
    """What a method says of a pair: `heat` (S, S) float32 in [0, 1] in the original's frame, and `probability` (3,) of
    benign, manipulated and distinct, None of a method that knows no classes.
    """

    heat: Floats
    probability: Floats | None


class Method(NamedTuple):
    """A method: its name, what tells its weights from others, what it answers, the sets it is asked about, and what is
    known of its training.
    """

    name: str
    key: str
    ask: Callable[[Pair], Said]
    sets: tuple[str, ...]
    training: dict[str, Any]


class Wanted(NamedTuple):
    """What is asked: pairs a set, pairs a benign class, the side in px, the seed."""

    pairs: int = 500
    each: int = 12
    side: int = 128
    seed: int = 7


# ---------------------------------------------------------------------------------------------------- methods


def whole() -> tuple[str, ...]:
    """Return every set: those of the tables, the photographs, and each benign class alone and with an edit."""
    classes = [f"{kind}:{name}" for name in changes.BENIGN_CLASSES for kind in ("benign", "both")]
    return (*EDITED, "identical", "benign", "distinct", "photos", *classes)


def methods(runs: Path, side: int, imagenet: Path | None = None) -> tuple[list[Method], dict[str, str]]:
    """Return every method that is at hand, and of each other one why it is not.

    runs: where black-NAME/best.pt of `twinscope.train.comparator` lie. imagenet: a file of torchvision's resnet50.
    """
    there: list[Method] = []
    missing: dict[str, str] = {}
    for name in icn.ABLATIONS:
        one = trained(runs / f"black-{name}", name, side)
        if isinstance(one, str):
            missing[name] = one
        else:
            there.append(one)
    for letters in (True, False):
        desk = shipped(letters)
        if isinstance(desk, str):
            missing[DESK[letters]] = desk
        else:
            there.append(desk)
    found = dict(BASELINES)
    if imagenet is None:
        missing["ResNetConv"] = NO_RESNET
    else:
        found = {"ResNetConv": resnet_conv(imagenet), **found}
    flow = aligner(runs, side)
    if flow is None:
        missing["F_A"] = "not trained yet (black-flow/best.pt)"
    for name, baseline in found.items():
        there += based(name, baseline, flow)
    return there, missing


def trained(folder: Path, name: str, side: int) -> Method | str:
    """Return the network of a run of the joint stage as a method, or why it cannot be one."""
    path = folder / "best.pt"
    if not path.exists():
        return f"not trained yet ({folder.name}/best.pt)"
    training = run_of(folder)
    if training.get("side", side) != side:
        return f"was trained at {training['side']} px: give --side {training['side']}"
    network = comparator.open_network(path)
    sets = whole() if name == "full" else JUDGED
    return Method(name, training["sha256"], answers(network), sets, training)


def shipped(letters: bool = True) -> Method | str:
    """Return the network that ships as a method, or why it is not there.

    letters: text over one picture is an edit, as in the paper. Without, it is asked about the tables' sets alone.
    """
    why = icn_desk.missing()
    if why:
        return why
    key = common.digest(icn_desk.parts())
    training = {"sha256": comparator.sha256(icn_desk.WEIGHTS)}
    sets = whole() if letters else tuple(dict.fromkeys((*EDITED, *JUDGED)))
    return Method(
        DESK[letters], key, lambda one: Said(*icn_desk.desk(one.original, one.query, letters)), sets, training
    )


def run_of(folder: Path) -> dict[str, Any]:
    """Return what is known of a run: the hash of its best checkpoint, the step it is of, and the time it took."""
    saved = loop.load(folder / "best.pt")
    out = {"sha256": comparator.sha256(folder / "best.pt"), "step": int(saved["row"]["step"])}
    out["minutes"] = round(int(saved["row"]["seconds"]) / 60, 1)
    if (folder / "curve.csv").is_file():
        with (folder / "curve.csv").open(newline="", encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        out |= {"steps": int(last["step"]), "minutes_in_all": round(int(last["seconds"]) / 60, 1)}
    if (folder / "run.json").is_file():
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        kept = ("side", "batch", "flips", "seed", "commit", "parameters", "start", "data_sha256")
        out |= {key: record[key] for key in kept if key in record}
        out |= {"threads": record["plan"]["threads"], "size": record["design"]["size"]}
    return out


def answers(network: icn.Comparator) -> Callable[[Pair], Said]:
    """Return the answers of a comparator of the paper, in evaluation mode."""

    @torch.inference_mode()
    def ask(one: Pair) -> Said:
        said = network(*tensors(one))
        return Said(icn_scores.heatmap(said.maps[0].numpy(), len(one.original)), said.classes.softmax(1)[0].numpy())

    return ask


def tensors(one: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pictures of a pair as the network takes them."""
    original, query = (icn_losses.picture(torch.from_numpy(part[None].copy())) for part in (one.original, one.query))
    return original, query


def aligner(runs: Path, side: int) -> tuple[str, Callable[[Pair], Floats]] | None:
    """Return a trained F_A, of black-full or else of black-flow: its hash, and (pair) -> flow (S, S, 2) px."""
    for name in ("full", "flow"):
        path = runs / f"black-{name}" / "best.pt"
        if path.exists() and run_of(path.parent).get("side", side) == side:
            saved = loop.load(path)
            size = run_of(path.parent).get("size", "small")
            if name == "full":
                network = comparator.open_network(path).align
            else:
                network = icn.Aligner(icn.SIZES[size])
                network.load_state_dict(saved["network"])
            if network is not None:
                return comparator.sha256(path) or "", flows(network.eval())
    return None


def flows(network: icn.Aligner) -> Callable[[Pair], Floats]:
    """Return the flows of an aligner, in evaluation mode."""

    @torch.inference_mode()
    def flow(one: Pair) -> Floats:
        return np.ascontiguousarray(network(*tensors(one))[-1][0].movedim(0, -1).numpy())

    return flow


def based(name: str, show: Baseline, flow: tuple[str, Callable[[Pair], Floats]] | None) -> list[Method]:
    """Return a baseline as it is, with F_A where there is one, and with the true alignment."""
    plain = Method(name, name, lambda one: Said(show(one.original, one.query, None), None), EDITED, {})
    true = Method(
        f"{name} + true alignment", name, lambda one: Said(show(one.original, one.query, one.flow), None), EDITED, {}
    )
    if flow is None:
        return [plain, true]
    sha, of = flow
    moved = Method(
        f"{name} + F_A", f"{name} {sha}", lambda one: Said(show(one.original, one.query, of(one)), None), EDITED, {}
    )
    return [plain, moved, true]


def code(name: str) -> str:
    """Return the hash of the code behind a method's row, which says whether the row is that of today."""
    return common.digest([*CODE, *(icn_desk.parts() if name in DESK.values() else ())])


# ---------------------------------------------------------------------------------------------------- pairs


def pairs(name: str, wanted: Wanted) -> list[Pair]:
    """Return the pairs of a set, always the same ones."""
    if name in changes_real.SETS:
        return list(changes_real.SETS[name](wanted.side))
    kind, _, benign = name.partition(":")
    count = wanted.each if benign else wanted.pairs
    return list(changes.evaluation("test", count, kind, wanted.seed, wanted.side, benign=benign or None))


def groups(name: str, wanted: Wanted) -> list[int]:
    """Return the group of each pair: what its original was taken from, its host blot or its original."""
    if name in changes_real.SETS:
        return evaluate.real_pairs(name).groups
    return changes.sources("test", wanted.each if ":" in name else wanted.pairs, wanted.seed)


# ---------------------------------------------------------------------------------------------------- parts


def scored(one: Pair, said: Said) -> dict[str, Any]:
    """Return what is kept of an answer: p, whether the query is mirrored, and where the truth is known the IoUs.

    t and no_t: with the threshold of section 4.5.1 and without, of S(U) of section 4.3 where there are classes. free_t
    and free_no_t: of U, the map alone. half: of S(U) cut at .5 as it is, not normalised.
    """
    out: dict[str, Any] = {"mirrored": "flip" in one.how}
    kind = 1
    if said.probability is not None:
        out["p"] = [round(float(v), 6) for v in said.probability]
        kind = int(np.argmax(said.probability))
    if one.changed is None or one.label != changes.MANIPULATED:
        return out
    heat = icn_scores.normalised(said.heat)
    for name, shown in (("t", icn_scores.gated(heat, kind)), ("free_t", heat)):
        out[name] = icn_scores.iou(shown, one.changed)
        out[name.replace("t", "no_t")] = icn_scores.iou(shown, one.changed, None)
    out["half"] = icn_scores.iou(icn_scores.gated(said.heat, kind), one.changed, 0.5)
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in out.items()}


def asked(method: Method, name: str, given: Iterable[Pair]) -> dict[str, Any]:
    """Ask a method about every pair; return the scores and the seconds it took."""
    begin, rows = time.monotonic(), []
    for one in given:
        rows.append(scored(one, method.ask(one)))
        if len(rows) % 100 == 0:
            print(f"  {method.name}, {name}: {len(rows)} pairs, {time.monotonic() - begin:.0f} s", flush=True)
    return {"rows": rows, "seconds": round(time.monotonic() - begin, 2)}


def place(cache: Path, method: Method, name: str, wanted: Wanted, code: str) -> Path:
    """Return the file of a part; it is another one for other weights, pairs or code."""
    if name in changes_real.SETS:
        order: tuple[int, ...] = (wanted.side,)
    else:
        order = (wanted.each if ":" in name else wanted.pairs, wanted.side, wanted.seed)
    key = common.short_hash(json.dumps([method.key, method.name, name, order, code]))
    words = f"{method.name} {name}".replace(" + ", "-").replace(":", "-").replace(" ", "-")
    return cache / f"{words}-{key}.json"


def parts(there: Sequence[Method], wanted: Wanted, cache: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what each method says of each of its sets, `[method][set]`; what was kept before is not asked again."""
    cache.mkdir(parents=True, exist_ok=True)
    code = common.digest(CODE)
    out: dict[str, dict[str, dict[str, Any]]] = {method.name: {} for method in there}
    for name in dict.fromkeys(name for method in there for name in method.sets):
        given: list[Pair] | None = None
        for method in there:
            if name not in method.sets:
                continue
            path = place(cache, method, name, wanted, code)
            if not path.is_file():
                given = pairs(name, wanted) if given is None else given
                part = asked(method, name, given)
                path.with_suffix(".part").write_text(json.dumps(part), encoding="utf-8")
                path.with_suffix(".part").replace(path)
                print(f"{method.name}, {name}: {len(given)} pairs in {part['seconds']:.1f} s", flush=True)
            out[method.name][name] = json.loads(path.read_text(encoding="utf-8"))
    return out
