"""The recipe of the comparator: pairs aligned as the desk does it, its network, loss and looks."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.train import icn_pairs  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from twinscope.detect import heat as desk  # noqa: E402
from twinscope.errors import ModelError, UsageError  # noqa: E402
from twinscope.models import card, runtime  # noqa: E402
from twinscope.train import aligned, changes, export_comparator, heat, loop, stock, unfold  # noqa: E402
from twinscope.train.changes import Pair  # noqa: E402

SIDE = 128


def pairs_(seed: int = 0, count: int = 6) -> list[Pair]:
    """Return pairs of the three classes in turn."""
    return [Pair(*row) for row in zip(*icn_pairs.batch(seed, count, SIDE), strict=True)]


def drawn(kind: str, seed: int = 0, benign: str | None = None) -> Pair:
    rng = np.random.default_rng(seed)
    window, other = (np.repeat(icn_pairs.texture(rng, 256)[..., :1], 3, 2) for _ in range(2))
    return changes.pair(window, [other], rng, kind, SIDE, benign=benign, worn=0.0)


@pytest.mark.parametrize("benign", ["rotate", "flip", "perspective", "crop"])
def test_the_homography_undoes_what_moved_the_picture(benign: str) -> None:
    one = drawn("benign", 3, benign)
    found = aligned.homography(one, np.random.default_rng(0))
    ys, xs = np.nonzero(one.seen)
    there = cv2.perspectiveTransform(np.column_stack([xs, ys])[None].astype(np.float64), found)[0]
    truth = np.column_stack([xs, ys]) + one.flow[ys, xs]
    assert np.abs(there - truth).max() < 0.1


def test_a_benign_pair_is_alike_once_aligned_and_an_edit_is_where_it_is_said_to_be() -> None:
    given, changed, seen = aligned.aligned(drawn("benign", 3, "rotate"), np.random.default_rng(0), False)
    assert given.shape == (desk.PLANES, SIDE, SIDE)
    assert not changed.any()
    assert 0.6 < seen.mean() < 1
    inner = cv2.erode(seen.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert np.abs(given[0] - given[3])[inner].mean() < 0.25
    edited, changed, seen = aligned.aligned(drawn("manipulated", 5), np.random.default_rng(0), False)
    apart = cv2.blur(np.abs(edited[0] - edited[3]), (5, 5))
    assert changed.mean() > 0.005
    assert apart[changed > 0.5].mean() > 3 * apart[(changed < 0.5) & seen].mean()


def test_a_distinct_pair_is_laid_anyhow_and_has_no_heat_map() -> None:
    one = drawn("distinct", 4)
    first, second = (aligned.homography(one, np.random.default_rng(k)) for k in (0, 1))
    assert np.abs(first - second).max() > 1e-3
    assert not aligned.aligned(one, np.random.default_rng(0))[1].any()


def test_in_training_the_rng_alone_decides_and_hidden_places_say_nothing() -> None:
    one = drawn("both", 6)
    for seed in range(12):
        given, changed, seen = aligned.aligned(one, np.random.default_rng(seed))
        again = aligned.aligned(one, np.random.default_rng(seed))
        np.testing.assert_array_equal(given, again[0])
        assert not given[:, ~seen].any()
        assert not changed[~seen].any()
        np.testing.assert_array_equal(given[6] > 0, seen)
    shares = [aligned._hidden(SIDE, np.random.default_rng(seed)).mean() for seed in range(200)]
    assert 0.15 < np.mean(np.array(shares) > 0) < 0.35


def test_a_batch_counts_a_cell_as_seen_where_all_of_it_is() -> None:
    batch = aligned.stacked(pairs_(), np.random.default_rng(0), False)
    assert batch.given.shape == (6, desk.PLANES, SIDE, SIDE)
    assert batch.changed.shape == batch.seen.shape == (6, SIDE // 2, SIDE // 2)
    assert batch.label.tolist() == [pair.label for pair in pairs_()]
    whole = batch.given[:, 6].reshape(6, SIDE // 2, 2, SIDE // 2, 2).min((2, 4)) > 0
    np.testing.assert_array_equal(batch.seen, whole)
    assert [part.any() for part in batch.changed] == [label == 1 for label in batch.label]


class Oracle(nn.Module):
    """Says what it is told: heat logits (n, 1, h, w) and class logits (n, 3)."""

    def __init__(self, hot: np.ndarray, classes: np.ndarray) -> None:
        super().__init__()
        self.hot = nn.Parameter(torch.as_tensor(hot, dtype=torch.float32))
        self.said = nn.Parameter(torch.as_tensor(classes, dtype=torch.float32))

    def forward(self, given: object) -> tuple[object, object]:
        return self.hot[:, None], self.said


def truth(batch: aligned.Aligned, sure: float = 12.0) -> Oracle:
    return Oracle(sure * (2 * (batch.changed > 0.5) - 1.0), sure * np.eye(3)[batch.label])


def test_the_truth_costs_next_to_nothing_and_an_error_more() -> None:
    batch = aligned.stacked(pairs_(), np.random.default_rng(0), False)
    batch = batch._replace(changed=(batch.changed > 0.5).astype(np.float32))
    assert float(aligned.loss(truth(batch), batch, False).detach()) < 1e-3
    nothing = Oracle(np.full(batch.seen.shape, -12.0), 12 * np.eye(3)[batch.label])
    assert float(aligned.loss(nothing, batch, False).detach()) > 0.5  # the edited pairs have an IoU of 0: half of 1
    confused = truth(batch)
    confused.said.data.zero_()
    assert float(aligned.loss(confused, batch, False).detach()) == pytest.approx(0.5 * np.log(3), abs=1e-3)


def test_what_is_not_seen_and_distinct_pairs_have_no_heat_loss() -> None:
    batch = aligned.stacked(pairs_(), np.random.default_rng(0), False)
    network = truth(batch, 1.0)
    aligned.loss(network, batch, False).backward()
    gradient = network.hot.grad.abs().numpy()
    assert not gradient[batch.label == changes.DISTINCT].any()
    assert not gradient[~batch.seen].any()
    assert gradient[(batch.label == changes.BENIGN)].any()


def test_a_look_at_the_truth_is_perfect_and_at_a_false_alarm_is_not() -> None:
    batch = aligned.stacked(pairs_(), np.random.default_rng(0), False)
    seen = aligned.look(truth(batch), [batch])
    assert (seen["ap_benign"], seen["ap_manipulated"], seen["ap_distinct"], seen["accuracy"]) == (1, 1, 1, 1)
    assert (seen["iou"], seen["false"], seen["score"]) == (1, 0, 1)
    alarmed = truth(batch)
    alarmed.hot.data[batch.label == 0, 20:40, 20:40] = 5.0
    assert aligned.look(alarmed, [batch])["false"] == 1


def test_the_search_finds_what_moved_and_carries_it_over() -> None:
    torch.manual_seed(0)
    search = heat.Search(24, 2)
    with torch.no_grad():
        search.nearness.zero_()
        search.scale.fill_(4.6)
    b = torch.randn(1, 24, 20, 22)
    a = torch.roll(b, (1, -2), (2, 3))  # a[y, x] = b[y - 1, x + 2]
    costs, found = search(a, b)
    inner = np.s_[..., 3:-3, 3:-3]
    assert costs.shape == (1, 25, 20, 22)
    assert (costs[inner].argmax(1) == 1 * 5 + 4).float().mean() > 0.98  # one up, two to the right
    assert (found - a)[inner].abs().mean() < 0.05 * a.abs().mean()


def test_the_network_does_not_see_what_is_not_clean() -> None:
    torch.manual_seed(0)
    network = heat.Seer().eval()
    given = torch.as_tensor(aligned.stacked(pairs_(1, 3), np.random.default_rng(0), False).given)
    hot, classes = network(given)
    assert hot.shape == (3, 1, SIDE // 2, SIDE // 2)
    assert classes.shape == (3, 3)
    blank = torch.cat([given, torch.zeros(1, *given.shape[1:])])
    assert torch.isfinite(network(blank)[1]).all()


class Toy(Dataset):  # type: ignore[type-arg]
    """The same six drawn pairs at every step."""

    def __init__(self, source: object, seed: int, pairs: int, steps: int) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> aligned.Aligned:
        return aligned.stacked(pairs_(2, 3), np.random.default_rng(0), False)


def test_training_learns_and_the_export_answers_as_the_network_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Toy(None, 0, 0, 1)[0]
    nothing = stock.Stock(np.zeros(0, np.uint8), [], np.zeros((1, 4, 256, 256), np.uint8), "0" * 64)
    monkeypatch.setattr(stock, "stock", lambda folder, seed: nothing)
    monkeypatch.setattr(aligned, "Batches", Toy)
    monkeypatch.setattr(aligned, "held", lambda each: [batch])
    monkeypatch.setattr(
        sys, "argv", ["aligned", "--name", "x", "--runs", str(tmp_path), "--steps", "6", "--every", "3"]
    )
    aligned.main()
    run = tmp_path / "x"
    assert json.loads((run / "run.json").read_text())["data_sha256"] == "0" * 64
    with (run / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    monkeypatch.setattr(sys, "argv", ["export", str(run), "--id", "comparator-9", "--into", str(tmp_path), "--last"])
    export_comparator.main()
    made, path = card.read(tmp_path / "comparator-9.json"), tmp_path / "comparator-9.onnx"
    assert made.training["step"] == 6
    assert made.metrics["validation"]["iou"] == float(rows[1]["iou"])
    assert made.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(Path.home()) not in path.read_bytes().decode("latin-1")
    network = heat.Seer()
    network.load_state_dict(loop.load(run / "last.pt")["network"])
    with torch.inference_mode():
        hot, classes = network.eval()(torch.as_tensor(batch.given[:1]))
    asked = runtime.load(str(path), 1).outputs(batch.given[:1], ("heat", "classes"))
    np.testing.assert_allclose(asked[0], hot.sigmoid().numpy(), atol=1e-3)
    np.testing.assert_allclose(asked[1], classes.softmax(1).numpy(), atol=1e-3)


def test_a_run_begins_as_the_graph_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = aligned.stacked(pairs_(count=3), np.random.default_rng(1))
    nothing = stock.Stock(np.zeros(0, np.uint8), [], np.zeros((1, 4, 256, 256), np.uint8), "0" * 64)
    monkeypatch.setattr(stock, "stock", lambda runs, seed: nothing)
    monkeypatch.setattr(aligned, "Batches", lambda source, seed, pairs, steps: [batch] * steps)
    begun: dict[bool, tuple[np.ndarray, np.ndarray]] = {}

    def train(network: nn.Module, *_: object) -> None:
        for training in (False, True):  # the moments were taken of this batch, so that both are alike
            with torch.inference_mode():
                hot, classes = network.train(training)(torch.as_tensor(batch.given))
            begun[training] = hot.sigmoid().numpy(), classes.softmax(1).numpy()

    monkeypatch.setattr(aligned.comparator, "train", train)
    monkeypatch.setattr(aligned, "held", lambda each: [batch])
    graph = card.WEIGHTS / f"{desk.MODEL}.onnx"
    arguments = ["aligned", "--name", "x", "--runs", str(tmp_path), "--seed", "5", "--start", str(graph)]
    monkeypatch.setattr(sys, "argv", arguments)
    aligned.main()
    record = json.loads((tmp_path / "x" / "run.json").read_text())
    assert (record["seed"], record["start"]) == (5, hashlib.sha256(graph.read_bytes()).hexdigest())
    asked = [runtime.load(desk.MODEL, 1).outputs(batch.given[k : k + 1], ("heat", "classes")) for k in range(3)]
    for told, *parts in zip(zip(*asked, strict=True), begun[False], begun[True], strict=True):
        for part, near in zip(parts, (1e-4, 5e-3), strict=True):  # a batch's own variance is that of all it holds
            np.testing.assert_allclose(np.concatenate(told), part, atol=near)


def test_a_graph_of_another_network_is_no_beginning() -> None:
    with pytest.raises(UsageError, match="is no graph of a comparator"):
        unfold.comparator(card.WEIGHTS / "embedder-1.onnx")
    with pytest.raises(UsageError, match="is no graph of an embedder"):
        unfold.shipped(card.WEIGHTS / f"{desk.MODEL}.onnx")


def test_a_graph_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Restless(heat.Graph):
        def forward(self, given: object) -> tuple[object, object]:
            hot, classes = super().forward(given)
            return (hot, classes) if torch.compiler.is_compiling() else (hot + 0.1, classes)

    monkeypatch.setattr(export_comparator, "Graph", Restless)
    with pytest.raises(ModelError, match=r"differs from the network by 0\.1"):
        export_comparator.save_graph(heat.Seer(), tmp_path / "x.onnx")
