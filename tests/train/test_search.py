"""The paper's search network: its losses by hand, its views, its beginning, and a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import Dataset  # noqa: E402

from twinscope.detect import embed as desk  # noqa: E402
from twinscope.detect import heat  # noqa: E402
from twinscope.errors import UsageError  # noqa: E402
from twinscope.models.card import WEIGHTS  # noqa: E402
from twinscope.train import comparator, drawn, loop, search, search_losses, stock, unfold  # noqa: E402
from twinscope.train.data import Batch  # noqa: E402

SOURCE = stock.Stock(
    np.zeros(0, np.uint8),
    [],
    np.stack([drawn.family(np.random.default_rng(k), list(range(4))) for k in range(10)]),
    "0",
)
"""A stock of drawn pictures alone."""


def of(labels: list[int]) -> Any:
    known = torch.tensor(labels)
    return known[:, None] == known


def slowly(codes: Any, same: Any, unsure: Any, temperature: float) -> float:
    """Equations 1 and 2, a loop over every code."""
    total = 0.0
    for k, one in enumerate(codes):
        above = below = 0.0
        for j, other in enumerate(codes):
            if j != k:
                value = float(torch.exp(one @ other / one.norm() / other.norm() / temperature))
                above += value * bool(same[k, j])
                below += value * (not same[k, j] and not unsure[k, j])
        total -= np.log(above / below)
    return total / len(codes)


def test_the_loss_by_hand() -> None:
    """Two pictures, two codes each: cosine 1 to the own, 0 to the others; -log(e / 2) for tau 1."""
    codes = torch.tensor([[1.0, 0], [2, 0], [0, 3], [0, 1]])
    same, unsure = of([0, 0, 1, 1]), torch.zeros(4, 4, dtype=torch.bool)
    assert search_losses.several_positives(codes, same, unsure, 1.0).item() == pytest.approx(np.log(2) - 1, abs=1e-6)
    assert search_losses.several_positives(codes, same, unsure, 0.5).item() == pytest.approx(np.log(2) - 2, abs=1e-6)
    three = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [0, 1], [0, 1]])  # positives in one sum: log(e + 1/e)
    want = (2 * (np.log(2) - np.log(np.e + 1 / np.e)) + (np.log(2) - np.log(2 / np.e)) + 2 * (np.log(3 + 0) - 1)) / 5
    found = search_losses.several_positives(three, of([0, 0, 0, 1, 1]), torch.zeros(5, 5, dtype=torch.bool), 1.0)
    assert float(found) == pytest.approx(want, abs=1e-6)


def test_the_loss_is_that_of_a_plain_loop() -> None:
    torch.manual_seed(2)
    codes, same = torch.randn(12, 5), of([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    unsure = torch.zeros(12, 12, dtype=torch.bool)
    unsure[:4, 4:8] = unsure[4:8, :4] = True
    found = search_losses.several_positives(codes, same, unsure, 0.1).item()
    assert found == pytest.approx(slowly(codes, same, unsure, 0.1), rel=1e-5)
    without = search_losses.several_positives(codes, same, torch.zeros_like(unsure), 0.1).item()
    assert without == pytest.approx(slowly(codes, same, torch.zeros_like(unsure), 0.1), rel=1e-5)
    assert found < without  # fewer negatives


def test_a_code_without_company_is_an_error() -> None:
    with pytest.raises(ValueError, match="another one of its picture"):
        search_losses.several_positives(torch.eye(3), of([0, 0, 1]), torch.zeros(3, 3, dtype=torch.bool))


def test_views_of_one_picture_are_positives() -> None:
    batches = search.Worn(SOURCE, 5, 5, 96, 3)
    batch = batches[1]
    assert batch.views.shape == (20, 96, 96)
    assert batch.views.dtype == np.uint8
    own = np.arange(20) // 4
    assert np.array_equal(batch.same, own[:, None] == own)
    assert not (batch.same & batch.unsure).any()
    again = search.Worn(SOURCE, 5, 5, 96, 3)[1]
    assert np.array_equal(batch.views, again.views)
    assert not np.array_equal(batch.views, batches[2].views)
    with pytest.raises(IndexError):
        batches[3]


def test_two_views_are_of_an_edited_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without wear the first two are the picture, the last two one edit of it."""
    monkeypatch.setattr(search, "PLAIN", 1.1)
    window = np.repeat(SOURCE.drawn[0, 0][..., None], 3, 2)
    views = search.four(window, [np.repeat(SOURCE.drawn[1, 0][..., None], 3, 2)], np.random.default_rng(1), 96)
    shown = stock.shrunk(stock.shrunk(window, 128), 96)
    assert np.abs(views[0].astype(int) - shown).max() <= 2
    assert np.array_equal(views[0], views[1])
    assert np.array_equal(views[2], views[3])
    assert 0.003 < (views[0] != views[2]).mean() < 0.6
    monkeypatch.setattr(search, "PLAIN", 0.0)
    worn = search.four(window, [window], np.random.default_rng(1), 96)
    assert not any(np.array_equal(a, b) for k, a in enumerate(worn) for b in worn[:k])


def test_it_begins_as_the_network_that_it_names() -> None:
    torch.manual_seed(1)
    network = search.Search()
    first = network.layer.weight[128:].detach().clone()
    views = np.stack([stock.shrunk(one, 96) for family in SOURCE.drawn[:8] for one in family])
    known = unfold.shipped(WEIGHTS / f"{search.START}.onnx")
    search.begin(network, known, search.tensor(views))
    network.eval()
    with torch.inference_mode():
        found = network.trunk(search.tensor(views)).numpy()
        points = desk.embed(list(views), search.START, threads=1)
        assert np.abs(found - points).max() < 1e-3
        half = network.layer(network.features(search.tensor(views)))[:, :128]
        assert np.abs((torch.nn.functional.normalize(half) * known["radius"]).numpy() - points).max() < 1e-3
        network.train()  # the moments of these very views: the same answer
        again = network.trunk(search.tensor(views)).numpy()
    assert np.abs(again - points).max() < 2e-2
    own, drawn_half = (part.std().item() for part in network.layer.weight.split(128))
    assert drawn_half == pytest.approx(own / 4, rel=0.1)
    ratio = network.layer.weight[128:].detach() / first
    assert torch.allclose(ratio, ratio.flatten()[0])
    with pytest.raises(UsageError, match="weights of its own"):
        search.begin(search.Search("resnet50"), known, search.tensor(views))
    with pytest.raises(UsageError, match="no graph of an embedder"):
        unfold.shipped(WEIGHTS / f"{heat.MODEL}.onnx")


def test_search_does_not_see_the_buffer_layer() -> None:
    torch.manual_seed(0)
    network = search.Search().eval()
    views = search.tensor(SOURCE.drawn[0][:, ::4, ::4])
    before, seen = network(views), network.buffered(views)
    assert before.shape == seen.shape == (4, 256)
    assert torch.allclose(before.norm(dim=1), torch.ones(4))
    with torch.no_grad():
        network.buffer.weight.mul_(-3).add_(0.1)
    assert torch.equal(network(views), before)
    assert not torch.allclose(network.buffered(views), seen)
    same = np.kron(np.eye(2, dtype=bool), np.ones((2, 2), bool))
    batch = Batch(SOURCE.drawn[:2, :2, ::4, ::4].reshape(4, 64, 64), same, np.zeros((4, 4), bool))
    search.loss(network, batch, False).backward()
    assert float(network.buffer.weight.grad.abs().sum()) > 0
    assert network.trunk.head.weight.grad is None


def test_a_resnet_takes_its_place() -> None:
    network = search.Search("resnet50").eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 256)
    assert network.layer.in_features == 2048
    with pytest.raises(UsageError, match="weights not present"):
        search.Search("resnet50", Path("none.pth"))
    with pytest.raises(UsageError, match="no backbone"):
        search.Search("vgg")


def test_the_rate_goes_down_in_steps() -> None:
    plan = comparator.Plan("search-small", 100, rate=1e-3, warm=10)
    at = [search.stepped(plan, step, step / 100) for step in (5, 10, 59, 60, 89, 90, 100)]
    assert at == pytest.approx([5e-4, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


class Three(Dataset):  # type: ignore[type-arg]
    """Batches of three pictures."""

    def __init__(self, steps: int) -> None:
        self.batches = search.Worn(SOURCE, 3, 3, 32, steps)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Batch:
        return self.batches[step]


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun() -> Any:
        torch.manual_seed(4)
        return search.Search()

    def run(network: Any, folder: Path) -> None:
        plan = comparator.Plan("search-small", 4, every=2, warm=1, bf16=False, clip=5.0)
        judge = lambda one: {"score": 0.5}  # noqa: E731
        comparator.train(network, Three(4), plan, folder, judge, search.loss, search.descent, search.stepped)

    whole = begun()
    run(whole, tmp_path / "whole")
    step, done = loop.descend, []

    def breaks(*arguments: Any) -> float:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        assert isinstance(arguments[1], torch.optim.SGD)
        return step(*arguments)

    monkeypatch.setattr(loop, "descend", breaks)
    with pytest.raises(KeyboardInterrupt):
        run(begun(), tmp_path / "parts")
    monkeypatch.undo()
    again = search.Search()
    run(again, tmp_path / "parts")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    assert any(not torch.equal(value, begun().state_dict()[name]) for name, value in whole.state_dict().items())
    kept = search.open_network(tmp_path / "parts" / "best.pt")
    assert torch.equal(kept.layer.weight, again.layer.weight)
    with pytest.raises(UsageError, match="no file"):
        search.open_network(tmp_path / "none.pt")


# ---------------------------------------------------------------------------------------------------- hashing heads


def test_hashnets_loss_by_hand() -> None:
    """Three codes of two bits, tanh of large numbers: inner products 2 (same), -2 and -2 (different); slope 1."""
    raw = torch.tensor([[9.0, 9], [9, 9], [-9, -9]])
    none = torch.zeros(3, 3, dtype=torch.bool)
    found = search_losses.hashnet(raw, of([0, 0, 1]), none, 2.0, 1.0).item()
    near, far = np.log1p(np.exp(2)) - 2, np.log1p(np.exp(-2))
    assert found == pytest.approx((3 * near + 1.5 * far + 1.5 * far) / 3, abs=1e-5)
    soft = search_losses.hashnet(raw / 90, of([0, 0, 1]), none, 2.0, 1.0).item()
    h = np.tanh(0.2)
    near, far = np.log1p(np.exp(2 * h * h)) - 2 * h * h, np.log1p(np.exp(-2 * h * h))
    assert soft == pytest.approx((3 * near + 3 * far) / 3, abs=1e-5)
    unsure = none.clone()
    unsure[0, 2] = unsure[2, 0] = True
    left = search_losses.hashnet(raw, of([0, 0, 1]), unsure, 2.0, 1.0).item()
    assert left == pytest.approx((2 * (np.log1p(np.exp(2)) - 2) + 2 * np.log1p(np.exp(-2))) / 2, abs=1e-5)


def test_csqs_loss_by_hand() -> None:
    raw, centres = torch.tensor([[0.0, float(np.log(3) / 2)]]), torch.tensor([[1.0, 0.0]])  # h = .5 and .75
    nearness = -(np.log(0.5) + np.log(0.25)) / 2
    rest = (np.log(np.cosh(1)) + np.log(np.cosh(0.5))) / 2
    assert search_losses.central(raw, centres, 0.0).item() == pytest.approx(nearness, abs=1e-6)
    assert search_losses.central(raw, centres, 2.0).item() == pytest.approx(nearness + 2 * rest, abs=1e-6)


def test_centres_lie_far_apart() -> None:
    centres = search_losses.hash_centres(300, 64, 1)
    assert centres.shape == (300, 64)
    assert set(np.unique(centres)) == {0, 1}
    far = (centres[:, None] != centres[None]).sum(-1)
    assert set(np.unique(far[:128, :128])) == {0, 32, 64}
    assert (far[:128, :128] == 0).sum() == 128
    assert np.all(centres[128:].sum(1) == 32)
    assert np.array_equal(centres, search_losses.hash_centres(300, 64, 1))
