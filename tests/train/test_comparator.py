"""The recipe of the paper's comparator: stages, checkpoints, and a run that goes on where it was stopped."""

from __future__ import annotations

import csv
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.train import icn_pairs  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from twinscope.errors import UsageError  # noqa: E402
from twinscope.train import comparator, icn_losses, loop, stock  # noqa: E402
from twinscope.train.changes import Changes  # noqa: E402
from twinscope.train.icn import ABLATIONS, SIZES, Aligner, Comparator  # noqa: E402

DESIGN = ABLATIONS["full"]._replace(size="tiny", pool=2)


class Toy(Dataset):  # type: ignore[type-arg]
    """Three drawn pairs a step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Changes:
        return icn_pairs.batch(step, 3)


def plan(stage: str, steps: int, **other: Any) -> comparator.Plan:
    return comparator.Plan(stage, steps, every=2, warm=1, bf16=False, **other)


def begun(design: Any = DESIGN) -> Comparator:
    torch.manual_seed(3)
    return Comparator(design)


def constant(network: torch.nn.Module) -> dict[str, float]:
    assert not network.training
    return {"score": 0.5}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.mark.parametrize("broken_at", [2, 3])
def test_a_resumed_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: int
) -> None:
    whole = begun()
    comparator.train(whole, Toy(4), plan("joint", 4), tmp_path / "whole", constant)
    step, done = loop.descend, []

    def breaks(*arguments: Any) -> float:
        if len(done) == broken_at:
            raise KeyboardInterrupt
        done.append(1)
        return step(*arguments)

    monkeypatch.setattr(loop, "descend", breaks)
    with pytest.raises(KeyboardInterrupt):
        comparator.train(begun(), Toy(4), plan("joint", 4), tmp_path / "parts", constant)
    monkeypatch.undo()
    assert loop.load(tmp_path / "parts" / "last.pt")["state"]["step"] == 2
    again = Comparator(DESIGN)  # begins elsewhere: all must come from the checkpoint
    comparator.train(again, Toy(4), plan("joint", 4), tmp_path / "parts", constant)
    assert same(whole.state_dict(), again.state_dict())
    assert not same(whole.state_dict(), begun().state_dict())
    with (tmp_path / "parts" / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]


def test_rows_after_the_checkpoint_come_again(tmp_path: Path) -> None:
    comparator.train(begun(), Toy(2), plan("joint", 2), tmp_path, constant)
    with (tmp_path / "curve.csv").open("a") as file:
        file.write("3,9,9,9\n")  # written, and then the machine stopped before the checkpoint
    comparator.train(begun(), Toy(2), plan("joint", 2), tmp_path, constant)
    with (tmp_path / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2"]


def test_the_flow_stage_gives_the_joint_stage_its_aligner(tmp_path: Path) -> None:
    torch.manual_seed(0)
    aligner = Aligner(SIZES["tiny"])
    held = [icn_pairs.batch(90, 3)]
    best = comparator.train(aligner, Toy(2), plan("flow", 2), tmp_path, lambda one: comparator.look(one, held))
    row = loop.load(best)["row"]
    assert row["score"] == -row["epe"]
    network = begun()
    comparator.begin(network, best)
    assert same(network.align.state_dict(), aligner.state_dict())
    assert same(network.predict.state_dict(), begun().predict.state_dict())
    comparator.begin(Comparator(DESIGN._replace(align=False)), best)  # nothing to take, and no error
    with pytest.raises(UsageError, match="does not fit"):
        comparator.begin(Comparator(DESIGN._replace(size="small")), best)
    with pytest.raises(UsageError, match="train --stage flow first"):
        comparator.begin(network, tmp_path / "none.pt")
    with pytest.raises(UsageError, match="no checkpoint of the joint stage"):
        comparator.open_network(best)
    with pytest.raises(UsageError, match="another stage or design"):
        comparator.train(begun(), Toy(2), plan("joint", 2), tmp_path, constant)


def test_a_joint_checkpoint_opens_as_it_was(tmp_path: Path) -> None:
    held = [icn_pairs.batch(90, 6), icn_pairs.batch(91, 3)]
    network = begun()
    best = comparator.train(network, Toy(2), plan("joint", 2), tmp_path, lambda one: comparator.look(one, held))
    opened = comparator.open_network(best)
    assert opened.design == DESIGN
    assert same(opened.state_dict(), network.state_dict())
    row = loop.load(best)["row"]
    assert {"ap_benign", "ap_manipulated", "ap_distinct", "ap", "accuracy", "iou", "iou_boxes", "epe"} < set(row)
    assert comparator.look(opened, held)["score"] == row["score"]


def test_the_rate_goes_up_then_down() -> None:
    made = comparator.Plan("flow", 100, rate=1e-4, warm=10)
    rates = [comparator.rate(made, step, step / 100) for step in range(1, 101)]
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == pytest.approx(1e-4, rel=0.05)
    assert rates[49] == pytest.approx(5e-5)
    assert rates[-1] == pytest.approx(1e-7)


def test_a_step_does_what_adam_does(tmp_path: Path) -> None:
    network, mine = begun(), begun()
    comparator.train(network, Toy(1), plan("joint", 1, clip=1e9)._replace(warm=0), tmp_path, constant)
    batch = icn_losses.pairs(icn_pairs.batch(0, 3))
    mine.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(mine.parameters(), 1e-4 * 1e-3)  # one step is the end of the cosine
    comparator.objective(mine, batch, bf16=False).backward()
    optimiser.step()
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(network.parameters(), mine.parameters(), strict=True))


def test_bf16_is_near_and_the_correlation_stays_exact() -> None:
    network, batch = begun().eval(), icn_losses.pairs(icn_pairs.batch(0, 3))
    with torch.no_grad():
        exact, half = (comparator.objective(network, batch, bf16).item() for bf16 in (False, True))
    assert half == pytest.approx(exact, rel=0.05)
    seen = []
    pyramid = network.align.raft.corr_block.index_pyramid
    network.align.raft.corr_block.index_pyramid = lambda **k: seen.append(pyramid(**k)) or seen[-1]
    with torch.no_grad():
        comparator.objective(network, batch, bf16=True)
    assert {one.dtype for one in seen} == {torch.float32}


def test_an_aligner_sees_no_distinct_pairs_and_loses_nothing() -> None:
    torch.manual_seed(0)
    network, batch = Aligner(SIZES["tiny"]), icn_losses.pairs(icn_pairs.batch(0, 3))
    shown = []
    network.register_forward_pre_hook(lambda _, given: shown.append(len(given[0])))
    with torch.no_grad():
        value = comparator.objective(network, batch, bf16=False)
        whole = icn_losses.flow_loss(network(batch.original, batch.query), batch.flow, batch.seen)
    assert shown == [2, 3]
    assert torch.allclose(value, whole, rtol=1e-4)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    network = begun()
    network.classes.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        comparator.train(network, Toy(1), plan("joint", 1), tmp_path, constant)


def test_end_point_errors_are_of_seen_places() -> None:
    class Still(torch.nn.Module):
        def forward(self, original: Any, query: Any) -> list[Any]:
            return [torch.zeros(len(original), 2, 128, 128)]

    raw = icn_pairs.batch(0, 3)
    flow = np.zeros_like(raw.flow)
    flow[..., 0], flow[..., 1] = 3, 4
    seen = np.zeros_like(raw.seen)
    seen[0, :9, :9] = True
    flow[~seen] = 1e6
    judged = comparator.judge(Still(), [raw._replace(flow=flow, seen=seen)])
    assert len(judged.errors) == 81
    assert np.allclose(judged.errors, 5)
    assert np.allclose(judged.moved, 5)


def test_main_trains_both_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Batches(Toy):
        def __init__(self, source: Any, seed: int, batch: int, side: int, steps: int, flips: bool) -> None:
            assert (batch, side, flips) == (8, 128, False)
            super().__init__(steps)

    def evaluation(split: str, count: int, kind: str, seed: int, size: int, *, flips: bool) -> list[tuple[Any, ...]]:
        assert split == "val"
        row = {"benign": 0, "manipulated": 1, "both": 1, "distinct": 2}[kind]
        return [tuple(part[row] for part in icn_pairs.batch(k, 3, size)[:6]) for k in range(count)]

    def stacked(pairs: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        return (*(np.stack(column) for column in zip(*pairs, strict=True)), (("how",),) * len(pairs))

    changes = types.ModuleType("twinscope.train.changes")
    changes.Batches, changes.evaluation, changes.stacked = Batches, evaluation, stacked  # type: ignore[attr-defined]
    changes.Changes = Changes  # type: ignore[attr-defined]  # by which name a worker sends it: without, it waits for ever
    monkeypatch.setitem(sys.modules, "twinscope.train.changes", changes)
    nothing = stock.Stock(np.zeros(0, np.uint8), [], np.zeros((1, 4, 256, 256), np.uint8), "0" * 64)
    monkeypatch.setattr(stock, "stock", lambda folder, seed: nothing)
    common = ["--runs", str(tmp_path), "--steps", "1", "--looks", "2", "--size", "tiny"]

    def start(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["comparator", *arguments, *common])
        comparator.main()

    with pytest.raises(UsageError, match="needs --start"):
        start("--stage", "joint", "--name", "joint")
    start("--stage", "flow", "--name", "flow")
    start("--stage", "joint", "--name", "joint", "--start", str(tmp_path / "flow" / "best.pt"), "--photometric", "0.2")
    record = json.loads((tmp_path / "joint" / "run.json").read_text())
    assert record["design"]["photometric"] == 0.2
    assert record["plan"]["rate"] == 1e-4
    assert record["data_sha256"] == "0" * 64
    assert len(record["start"]) == 64
    assert comparator.open_network(tmp_path / "joint" / "best.pt").design.size == "tiny"
