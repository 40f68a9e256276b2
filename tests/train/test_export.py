"""A trained network becomes a graph and a card that the desk can load; what is said of it is counted right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from twinscope import models  # noqa: E402
from twinscope.detect import explain  # noqa: E402
from twinscope.detect.embed import SIDE_PX, embed  # noqa: E402
from twinscope.models import card as card_of  # noqa: E402
from twinscope.train import data, evaluate, export, protocol  # noqa: E402
from twinscope.train.embedder import SIDE  # noqa: E402
from twinscope.train.networks import Embedder  # noqa: E402


def window(image: int, group: int) -> data.Window:
    return data.Window(image, group, 0, "bccd", "light" if group < 2 else "dark", (0, 0, 1, 1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_candidate_is_exported_and_loaded_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    small = Embedder((8, 8, 8, 16), 16, (1, 5))
    run, into = tmp_path / "run", tmp_path / "candidate"
    run.mkdir()
    torch.save({"network": small.state_dict(), "row": {"step": 7, "seconds": 60}}, run / "best.pt")
    torch.save({"average": small.state_dict(), "state": {"step": 9, "seconds": 90}}, run / "last.pt")
    (run / "run.json").write_text(json.dumps({"recipe": "a test", "seed": 5, "blocks": [1, 5]}))
    monkeypatch.setattr(export, "Embedder", lambda blocks: Embedder((8, 8, 8, 16), 16, blocks))
    monkeypatch.setattr(export, "choose_border", lambda network: {"accuracy": 0.9, "fpr": 0.05, "unit_border": 0.8})
    packaged = sorted(card_of.CARDS.iterdir()) + sorted(card_of.WEIGHTS.iterdir())
    arguments = ["export", str(run), "--id", "embedder-test", "--into", str(into), "--last"]
    monkeypatch.setattr(sys, "argv", arguments)
    export.main()
    assert sorted(card_of.CARDS.iterdir()) + sorted(card_of.WEIGHTS.iterdir()) == packaged
    monkeypatch.setattr(card_of, "CARDS", into)
    monkeypatch.setattr(card_of, "WEIGHTS", into)
    card = models.load("embedder-test").card
    assert card.training == {"data": "micrographs (train split) and drawn pictures", "recipe": "a test", "seed": 5,
                             "blocks": [1, 5], "step": 9, "train_s": 90}  # fmt: skip
    assert models.verify("embedder-test") <= card.probe.atol
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8))
    with torch.inference_mode():
        expected = small.eval()(torch.as_tensor(np.stack(pictures))[:, None].float()).numpy()
    assert np.allclose(embed(pictures, "embedder-test"), expected, atol=1e-3)
    assert explain.explain(pictures[0], pictures[1], "embedder-test").distance == pytest.approx(
        float(np.linalg.norm(expected[0] - expected[1])), abs=1e-4
    )
    graph = (into / card.file).read_bytes()
    assert b"site-packages" not in graph
    assert str(Path(export.__file__).parent).encode() not in graph


def test_the_border_lets_in_the_share_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Embedder((8, 8, 8, 16), 16)
    cross = np.full((11, 11, 2), 1.5, np.float32)  # 11 classes: 22 same pairs, 220 different ones
    cross[np.arange(11), np.arange(11)] = 0.4
    cross[0, 1:, 0] = np.linspace(0.5, 0.95, 10)
    found = protocol.Distances(cross, np.zeros((11, 11), np.bool_))
    monkeypatch.setattr(protocol, "distances", lambda embed, test: found)
    numbers = export.set_border(network, ["one test"], inside=0.02)  # 4 of 220
    assert numbers == {"accuracy": round(0.5 * (1 + 216 / 220), 4), "fpr": round(4 / 220, 4), "unit_border": 0.65}
    assert float(network.radius) == pytest.approx(1 / 0.65)
    assert export.set_border(network, ["one test"], inside=0.001)["unit_border"] == 0.5  # one at least
    assert export.set_border(network, ["one test"]) == {"accuracy": 1.0, "fpr": 0.0, "unit_border": 0.4}
    assert float(network.radius) == pytest.approx(1 / 0.4)


def test_a_shipped_border_lets_one_different_pair_in_a_hundred_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(protocol, "classes", lambda *what, seed: (*what, seed))
    monkeypatch.setattr(export, "set_border", lambda *given, **options: asked.append((*given, options)) or {})
    network = Embedder((8, 8, 8, 16), 16)
    assert export.choose_border(network) == {}
    tests = [("val", 200, 4, how, 2) for how in ("v02", "strong", "figure")]
    assert asked == [(network, tests, {"inside": 0.01})]


@pytest.mark.parametrize("side", [0, 1])
def test_the_desk_has_the_gradient_of_the_distance_without_torch(side: int) -> None:
    torch.manual_seed(3)
    network = Embedder((8, 8, 8, 16), 16).eval()
    with torch.no_grad():
        network.power.fill_(2.6)
        network.radius.fill_(1.7)
        pictures = torch.as_tensor(np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE), np.uint8))
        points, maps_8, maps_16, power, weight, bias, radius = export.Graph(network)(pictures)
    middle, last = (maps.double().requires_grad_() for maps in (maps_8, maps_16))
    placed = network.double().place(middle, last) * network.radius
    assert np.allclose(placed.detach().numpy(), points.numpy(), atol=1e-5)
    (placed[0] - placed[1]).norm().backward()
    seen = [explain.Seen(*(part[k].numpy() for part in (points, maps_8, maps_16))) for k in (0, 1)]
    head = explain.Head(float(power), weight.double().numpy(), bias.double().numpy(), float(radius))
    for mine, maps in zip(explain.gradients(seen[side], seen[1 - side], head), (middle, last), strict=True):
        truth = maps.grad[side].numpy()
        assert np.abs(truth).max() > 0
        assert np.allclose(mine, truth, atol=1e-4 * np.abs(truth).max())


def test_desk_and_workshop_agree_on_the_size() -> None:
    assert SIDE == SIDE_PX


def four_classes() -> tuple[protocol.Distances, protocol.Classes]:
    cross = np.full((4, 4, 2), 1.5, np.float32)
    for k in range(4):
        cross[k, k] = (0.2, 0.4)
    cross[0, 1] = cross[1, 0] = 0.3  # look-alikes: two tiles of one image
    cross[3, 3, 1] = 1.2  # a miss
    windows = [window(0, 0), window(0, 0), window(1, 1), window(2, 2)]
    test = protocol.Classes(np.zeros((4, 3, 8, 8), np.uint8), windows)
    return protocol.Distances(cross, data.relations(windows)[1]), test


def test_the_report_counts_by_hand() -> None:
    found, test = four_classes()
    numbers = evaluate.report(found, [w.group for w in test.windows])
    assert numbers["accuracy"] == pytest.approx(0.5 * 7 / 8 + 0.5 * 20 / 24, abs=1e-4)
    assert (numbers["tpr_at_border"], numbers["fpr_at_border"]) == (0.875, pytest.approx(4 / 24, abs=1e-4))
    assert numbers["ir1"] == pytest.approx(6 / 8)  # .3 lies before .4 for two versions
    assert (numbers["groups"], numbers["classes"], numbers["versions"]) == (3, 4, 2)
    assert numbers["tpr_1e-4"] <= numbers["tpr_1e-3"] == 0.5
    assert 0.7 < numbers["runs_accuracy"] < 0.95
    low, high = numbers["ir1_95"]
    assert low <= numbers["ir1"] <= high


def test_the_report_of_a_perfect_network_has_no_doubt() -> None:
    cross = np.where(np.eye(4, dtype=bool)[..., None], np.float32(0.5), np.float32(1.5)).repeat(2, 2)
    found = protocol.Distances(cross, np.zeros((4, 4), np.bool_))
    numbers = evaluate.report(found, [0, 1, 2, 3])
    for name in ("accuracy", "ir1", "tpr_1e-3"):
        assert numbers[name] == 1
        assert numbers[f"{name}_95"] == [1, 1]


def test_look_alikes_and_modalities_count_by_hand() -> None:
    found, test = four_classes()
    near = evaluate.look_alikes(found, test)
    assert near["one image"]["pairs"] == 4
    assert near["one image"]["within_border"] == 1
    kinds = evaluate.modalities(found, test)
    assert kinds["light"]["classes"] == 3
    assert kinds["dark"]["tpr_at_border"] == 0.5
    assert (kinds["dark"]["ir1"], kinds["light"]["ir1"]) == (1, 0.6667)
    assert kinds["dark"]["fpr_within_modality"] is None
    assert kinds["dark"]["tpr_1e-3_95"] is None, "one group tells nothing of others"
    assert (kinds["dark"]["groups"], kinds["light"]["groups"]) == (1, 2)
    assert kinds["light"]["tpr_1e-3_95"] == [0.5, 0.5]
    assert kinds["light"]["fpr_within_modality"] == 0.3333, "4 of 12"
    assert kinds["light"]["fpr_within_modality_95"] == [0, 0.5], "4 of 8 in one group, 0 of 4 in the other"


@pytest.mark.parametrize("name", list(evaluate.single()))
def test_single_manipulations_give_pictures(name: str) -> None:
    image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    out = evaluate.single()[name](image, np.random.default_rng(1)).image
    assert out.ndim in (2, 3)
    assert 0 <= out.min() <= out.max() <= 1
