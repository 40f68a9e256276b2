"""The workshop: windows, views, relations, losses and the loop; torch only here."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twinscope.detect import embed as desk  # noqa: E402
from twinscope.errors import UsageError  # noqa: E402
from twinscope.models.card import WEIGHTS  # noqa: E402
from twinscope.train import data, drawn, embedder, loop, protocol, stock  # noqa: E402
from twinscope.train.losses import Contrast  # noqa: E402
from twinscope.train.networks import Embedder, relative, tones  # noqa: E402


def window(image: int, group: int, level: int = 0, source: str = "neubias_training") -> data.Window:
    return data.Window(image, group, level, source, "brightfield", (0, 0, 1, 1))


def tiny_stock() -> stock.Stock:
    shapes = np.stack([drawn.family(np.random.default_rng(k), [9 * k + m for m in range(4)]) for k in range(6)])
    rng = np.random.default_rng(1)
    images = [np.asarray(cv2.resize(rng.integers(0, 256, (40, 50, 3), np.uint8), (700, 560))) for _ in range(3)]
    images += [np.asarray(cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (256, 300))) for _ in range(4)]
    starts = np.cumsum([0, *(image.size for image in images)])
    pictures = [
        stock.Picture(int(starts[k]), len(image), image.shape[1], "bccd" if k < 3 else "dsb2018", min(k, 3), "light")
        for k, image in enumerate(images)
    ]
    return stock.Stock(np.concatenate([image.ravel() for image in images]), pictures, shapes, "0" * 64)


def test_tiles_do_not_overlap_and_fit() -> None:
    boxes = data.tiles((700, 1000), 256, np.random.default_rng(0))
    cover = np.zeros((700, 1000), int)
    for x0, y0, x1, y1 in boxes:
        cover[y0:y1, x0:x1] += 1
    assert len(boxes) == 6
    assert cover.sum() == 6 * 256**2
    assert cover.max() == 1


def test_blank_windows_are_known() -> None:
    flat = np.full((256, 256, 3), 7, np.uint8)
    assert data.blank(flat)
    flat[100:140, 100:140] = 90
    assert not data.blank(flat)


def test_relations() -> None:
    windows = [window(0, 0), window(0, 0), window(0, 0, 1), window(1, 0), window(2, 1),
               window(3, 2, 0, "dsb2018"), window(4, 2, 0, "dsb2018")]  # fmt: skip
    same, unsure = data.relations(windows)
    assert np.array_equal(same, np.eye(7, dtype=bool))
    assert not unsure[0, 1]  # two tiles of one level are different
    assert unsure[0, 2]  # tiles of two sizes may overlap
    assert unsure[0, 3]  # two images of one group may show the same place
    assert not unsure[5, 6]  # but not where groups are touching fields
    assert not unsure[0, 4]
    assert np.array_equal(unsure, unsure.T)


def test_a_family_looks_alike_but_is_not_the_same() -> None:
    first = drawn.family(np.random.default_rng(3), [1, 2])
    again = drawn.family(np.random.default_rng(3), [1, 2])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert first[0].shape == (256, 256)
    assert first[0].dtype == np.uint8


def test_a_batch_comes_from_seed_and_step_alone() -> None:
    source = tiny_stock()
    one, two = (stock.FreshBatches(source, 0, 12, 64, 10) for _ in range(2))
    two[4]
    for a, b in zip(one[3], two[3], strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one[3].views, one[4].views)
    batch = one[3]
    assert batch.views.shape == (36, 64, 64)
    assert np.array_equal(batch.same, np.tile(np.eye(12, dtype=bool), (3, 3)))
    assert not (batch.same & batch.unsure).any()


def test_fresh_windows_of_one_cluster_do_not_overlap() -> None:
    batches = stock.FreshBatches(tiny_stock(), 0, 40, 64, 10)
    clusters = neighbours = 0
    for seed in range(30):
        parts, windows = batches.draw(np.random.default_rng(seed))
        assert all(part.shape == (256, 256, 3) and part.dtype == np.uint8 for part in parts)
        drawn_ones = [w.image for w in windows if w.source == "drawn"]
        assert len(set(drawn_ones)) == len(drawn_ones)
        for k, a in enumerate(windows):
            for b in windows[:k]:
                if a.source == "drawn" or (a.image, a.level) != (b.image, b.level):
                    neighbours += a.level == b.level and a.source == "dsb2018"
                    continue
                clusters += 1
                assert a.box[2] <= b.box[0] or b.box[2] <= a.box[0] or a.box[3] <= b.box[1] or b.box[3] <= a.box[1]
    assert clusters > 50  # tiles of one image
    assert neighbours > 20  # fields of one group


def test_windows_blended_with_others_are_new_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    every = stock.FreshBatches(tiny_stock(), 0, 40, 64, 10, blended=1.0)
    flat, seen = np.full((256, 256, 3), 100, np.uint8), set()
    for k in range(40):
        over = every._blend(flat, np.random.default_rng(k))
        assert (over.shape, over.dtype) == ((256, 256, 3), np.uint8)
        assert 100 * 0.4 - 1 <= over.min() <= over.max() <= 100 * 0.75 + 255 * 0.6 + 1  # shares of .25 to .6
        assert over.std() > 1  # something lies over it each time
        seen.add(over.tobytes())
        grey = bool((over == over[..., :1]).all())
        seen.add("drawn" if grey else "real")
    assert len(seen) > 40
    assert {"drawn", "real"} <= seen
    one, two = (every.draw(np.random.default_rng(5))[0] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    monkeypatch.setattr(stock.FreshBatches, "_blend", lambda *_: np.full((256, 256, 3), 7, np.uint8))
    for share, low, high in ((0.0, 0.0, 0.0), (0.4, 0.2, 0.6), (1.0, 1.0, 1.0)):
        batches = stock.FreshBatches(tiny_stock(), 0, 40, 64, 10, blended=share)
        real, blended = 0, 0
        for k in range(10):
            for part, window in zip(*batches.draw(np.random.default_rng(k)), strict=True):
                sevens = bool((part == 7).all())
                assert not (sevens and window.source == "drawn")
                real, blended = real + (window.source != "drawn"), blended + sevens
        assert low <= blended / real <= high


def test_a_share_of_the_views_is_worn(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = stock.FreshBatches(tiny_stock(), 0, 9, 64, 4)[1]
    for share, low, high in ((0.0, 0, 0), (0.5, 6, 21), (1.0, 27, 27)):
        batch = embedder.Views(tiny_stock(), 0, 9, 64, 4, worn=share)[1]
        other = [not np.array_equal(a, b) for a, b in zip(batch.views, plain.views, strict=True)]
        assert low <= sum(other) <= high
        assert batch.views.shape == (27, 64, 64)
        assert np.array_equal(batch.same, plain.same)
        again = embedder.Views(tiny_stock(), 0, 9, 64, 4, worn=share)[1]
        assert np.array_equal(batch.views, again.views)
    seen: list[int] = []

    def edited(image: np.ndarray, *_: object) -> tuple[np.ndarray, None, None]:
        seen.append(1)
        return image, None, None

    monkeypatch.setattr(embedder.changes, "edited", edited)
    parts, _ = stock.FreshBatches(tiny_stock(), 0, 9, 64, 4).draw(np.random.default_rng(2))
    views = [embedder.worn_view(parts[0], parts[1:3], np.random.default_rng(k), 64) for k in range(40)]
    assert 10 < len(seen) < 30
    assert all((view.shape, view.dtype) == ((64, 64), np.uint8) for view in views)


def test_the_recipe_trains_on_what_its_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Caught(Exception):
        pass

    def caught(network: Embedder, loss: Contrast, batches: embedder.Views, plan: loop.Plan, *_: object) -> None:
        found.append((batches, plan, loss))
        raise Caught

    found: list[tuple[embedder.Views, loop.Plan, Contrast]] = []
    monkeypatch.setattr(stock, "stock", lambda *_: tiny_stock())
    monkeypatch.setattr(protocol, "classes", lambda *_, **__: None)
    monkeypatch.setattr(loop, "train", caught)
    said = ["--name", "x", "--runs", str(tmp_path), "--worn", "0.2", "--blended", "0.4", "--seed", "5",
            "--windows", "7", "--steps", "11", "--minutes", "3", "--rate", "0.01", "--memory", "9"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["embedder", *said])
    with pytest.raises(Caught):
        embedder.main()
    batches, plan, loss = found[0]
    assert (batches.worn, batches.blended, batches.seed, batches.windows) == (0.2, 0.4, 5, 7)
    assert (batches.steps, batches.side, plan.steps, plan.minutes, plan.rate) == (11, embedder.SIDE, 11, 3, 0.01)
    assert loss.memory == 9
    told = json.loads((tmp_path / "x" / "run.json").read_text())
    assert (told["worn"], told["blended"], told["seed"], told["memory"]) == (0.2, 0.4, 5, 9)


def test_fresh_tiles_vary_in_place_size_and_aspect() -> None:
    rng = np.random.default_rng(0)
    grids = [stock.fresh_tiles((600, 900), rng) for _ in range(200)]
    assert all(0 <= x0 < x1 <= 900 and 0 <= y0 < y1 <= 600 for boxes in grids for x0, y0, x1, y1 in boxes)
    first = np.array([boxes[0] for boxes in grids])
    aspect = (first[:, 2] - first[:, 0]) / (first[:, 3] - first[:, 1])
    assert len({tuple(box) for box in first}) > 190
    assert 0.3 < np.mean(aspect == 1) < 0.7
    assert aspect.min() < 0.8
    assert aspect.max() > 1.25
    assert len(stock.fresh_tiles((40, 300), rng)) >= 1


def test_odds_favour_what_is_rare() -> None:
    odds = stock.FreshBatches(tiny_stock(), 0, 12, 64, 10).odds
    assert odds.sum() == pytest.approx(1)
    assert odds[0] == pytest.approx(odds[2])
    assert odds[3:].sum() < 2 * odds[0] * 1.5  # four small fields of one group weigh like one or two large images


def test_tones_are_standardised_and_survive_flat_pictures() -> None:
    out = tones(torch.rand(2, 1, 32, 32) * 255)
    assert torch.allclose(out.mean((2, 3)), torch.zeros(2, 4), atol=1e-4)
    assert torch.allclose(out.std((2, 3)), torch.ones(2, 4), atol=0.02)
    assert torch.isfinite(tones(torch.zeros(1, 1, 8, 8))).all()


def test_a_dim_cell_is_seen_beside_a_bright_letter() -> None:
    dim = torch.zeros(1, 1, 96, 96)
    dim[..., 20:32, 20:32] = 0.06
    lettered = dim.clone()
    lettered[..., 70:80, 60:90] = 1.0
    assert float((relative(dim) - relative(lettered))[..., :44, :44].abs().max()) < 1e-5
    assert float(relative(dim)[..., 22:30, 22:30].min()) > 0.5  # deviations: 15 grey values of 255 stand out
    assert torch.allclose(relative(dim + 0.3), relative(dim), atol=1e-4)  # what is near is the level, too
    assert relative(torch.rand(2, 1, 50, 37)).shape == (2, 1, 50, 37)
    fourth = relative(dim)
    assert torch.allclose(tones(dim * 255)[:, 3:], (fourth - fourth.mean()) / fourth.std(correction=0), atol=1e-2)


def test_points_lie_on_a_sphere_of_the_radius() -> None:
    network = Embedder((8, 8, 8, 8), 16).eval()
    network.radius.fill_(2.5)
    points = network(torch.rand(3, 1, 64, 48) * 255)
    assert points.shape == (3, 16)
    assert torch.allclose(points.norm(dim=1), torch.full((3,), 2.5), atol=1e-4)


def test_the_shipped_network_is_lean() -> None:
    assert 4 * sum(p.numel() for p in Embedder().parameters()) <= 10 * 2**20  # bytes; the graph may have 12 MB


def test_loss_prefers_true_pairs_and_leaves_unsure_ones_out() -> None:
    points = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]]), dim=1)
    itself, none = torch.eye(4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    right, wrong = itself.clone(), itself.clone()
    for a, b in ((0, 2), (1, 3)):
        right[a, b] = right[b, a] = True
    for a, b in ((0, 1), (2, 3)):
        wrong[a, b] = wrong[b, a] = True

    @torch.inference_mode()
    def value(same: torch.Tensor, unsure: torch.Tensor) -> float:
        return float(Contrast()(points, same, unsure))

    assert value(right, none) < value(wrong, none) - 5
    unsure = none.clone()
    unsure[0, 1] = unsure[1, 0] = unsure[2, 3] = unsure[3, 2] = True
    near = points.clone()
    near[0] = near[1]  # an unsure pair that coincides costs nothing, a different one does
    points = near
    assert value(right, none) > value(right, unsure) + 1


def test_earlier_points_of_other_places_are_negatives() -> None:
    loss = Contrast(memory=2)
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    same, unsure = torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)

    @torch.inference_mode()
    def value(place: int, loss: Contrast = loss) -> float:
        return float(loss(points, same, unsure, torch.tensor([place, place])))

    alone = value(1)
    assert alone == pytest.approx(float(Contrast()(points, same, unsure).detach()), abs=1e-6)
    assert value(2) - alone == pytest.approx(np.log(3), abs=1e-5)  # two negatives as near as the positive
    assert value(2) == pytest.approx(alone, abs=1e-5)  # the two of place 1 have left, those that are kept are its own
    assert value(1) - alone == pytest.approx(np.log(3), abs=1e-5)
    none = Contrast()
    assert [value(1, none), value(2, none)] == pytest.approx([alone, alone], abs=1e-6)


def test_a_batch_says_where_its_views_are_of() -> None:
    batches = stock.FreshBatches(tiny_stock(), 0, 9, 32, 2)
    _, windows = batches.draw(np.random.default_rng([0, 1]))
    batch = batches[1]
    assert batch.places is not None
    assert batch.places.tolist() == [*data.places(windows)] * 3  # three views of each window, row after row
    assert (batch.places[:, None] == batch.places)[batch.same].all()


def test_places_tell_what_may_share_content_across_batches() -> None:
    shown = [window(0, 0), window(1, 0), window(2, 1), window(3, 2, 0, "dsb2018"), window(4, 2, 0, "dsb2018")]
    a, b, c, d, e = data.places(shown)
    assert a == b  # two images of one group may show the same place
    assert len({a, c, d, e}) == 4  # touching fields of one group do not


def test_lookalikes_are_the_nearest_that_share_nothing() -> None:
    source = tiny_stock()  # two images of one group, which may share content, one of another, and four touching fields
    source.pictures[1] = source.pictures[1]._replace(group=0)
    turn = iter(range(100))

    def embed(views: np.ndarray) -> np.ndarray:
        angle = np.array([0.02 * next(turn) for _ in views])
        return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)

    alike = stock.lookalikes(source, embed, 0, each=1, many=3)
    assert alike.shape == (7, 3)
    assert alike[0].tolist() == [2, 3, 4]
    assert sorted(alike[4].tolist()) == [2, 3, 5]
    batches = stock.FreshBatches(source, 0, 40, 64, 10, alike)
    mixed = 0
    for seed in range(20):
        _, windows = batches.draw(np.random.default_rng(seed))
        for w in windows:
            assert w.source == "drawn" or w.group == source.pictures[w.image].group
        mixed += len({(a.level, a.group) for a in windows}) > len({a.level for a in windows})
    assert mixed > 10  # clusters of several groups, which there are none of without


def test_a_grown_network_begins_as_good_as_the_old_one(tmp_path: Path) -> None:
    new = Embedder((8, 8, 8, 16), 16).eval()
    old = {name: value.clone() for name, value in Embedder((8, 8, 8, 16), 16).state_dict().items()}
    grey = torch.rand(2, 1, 64, 64) * 255
    whole = Embedder((8, 8, 8, 16), 16).eval()
    whole.load_state_dict(old)
    whole.stem[0].weight.data[:, 3:] = 0
    expected = whole.directions(grey)
    short = {name: value for name, value in old.items() if not name.startswith(("top.3", "top.4"))}
    short["stem.0.weight"] = old["stem.0.weight"][:, :3]
    loop.save(tmp_path / "best.pt", {"network": short, "row": {}})
    embedder.begin(new, tmp_path / "best.pt", grey)
    assert torch.allclose(new.directions(grey), expected, atol=1e-5)


def test_a_network_with_more_blocks_begins_as_the_graph_it_is_given() -> None:
    families = [drawn.family(np.random.default_rng(k), [1, 2, 3, 4]) for k in range(4)]
    views = np.stack([one[:192:2, :192:2] for family in families for one in family])
    network = Embedder(blocks=(2, 6))
    assert 4 * sum(p.numel() for p in network.parameters()) <= 11 * 2**20
    embedder.begin(network, WEIGHTS / "embedder-1.onnx", embedder.tensor(views))
    with torch.inference_mode():
        points = (network.eval().directions(embedder.tensor(views)) * network.radius).numpy()
    assert np.abs(points - desk.embed(list(views), "embedder-1", threads=1)).max() < 1e-3
    assert embedder.beginning(WEIGHTS / "embedder-1.onnx")["graph"] == "embedder-1.onnx"


def test_a_run_tells_what_it_began_with(tmp_path: Path) -> None:
    loop.save(tmp_path / "best.pt", {"network": {}, "row": {"step": 70, "seconds": 9, "score": 0.5}})
    digest = hashlib.sha256((tmp_path / "best.pt").read_bytes()).hexdigest()
    assert embedder.beginning(tmp_path / "best.pt") == {"sha256": digest, "step": 70, "train_s": 9}
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "first", "commit": "abc"}))
    assert embedder.beginning(tmp_path / "best.pt")["commit"] == "abc"


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    loop.save(tmp_path / "last.pt", {"network": {"a": torch.zeros(50)}})
    whole = (tmp_path / "last.pt").read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2]):
        (tmp_path / "last.pt").write_bytes(content)
        with pytest.raises(UsageError, match=r"last\.pt is no whole checkpoint"):
            loop.load(tmp_path / "last.pt")


def test_radius_puts_the_border_at_one() -> None:
    loss = Contrast(border=0.5)
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.75**0.5])  # cosine .5
    assert float((a - b).norm()) * loss.radius() == pytest.approx(1.0, abs=1e-5)


def test_training_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    batches, plan = stock.FreshBatches(tiny_stock(), 0, 8, 64, 6), loop.Plan(6, every=2, bf16=False)

    def run(folder: Path, stop_at_look: int) -> None:
        torch.manual_seed(0)
        looks: list[int] = []

        def look(network: torch.nn.Module) -> dict[str, float]:
            looks.append(1)
            if len(looks) == stop_at_look:
                raise KeyboardInterrupt
            return {"score": 1.0}

        loop.train(Embedder((8, 8, 16, 16), 8), Contrast(), batches, plan, folder, look)

    run(tmp_path / "whole", 99)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 3)  # at step 6: the state of step 4 is what is left
    run(tmp_path / "parts", 99)
    whole, parts = (torch.load(tmp_path / name / "best.pt", weights_only=True) for name in ("whole", "parts"))
    assert (whole["row"]["step"], parts["row"]["step"]) == (6, 6)
    for name, value in whole["network"].items():
        assert torch.allclose(value.float(), parts["network"][name].float(), atol=1e-5), name
    rows = (tmp_path / "parts" / "curve.csv").read_text().splitlines()
    assert rows[0].startswith("step,seconds,loss,score")
    assert [row.split(",")[0] for row in rows[1:]] == ["2", "4", "6"]


def test_batches_come_although_opencv_ran_on_threads_before() -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1500, 1500), interpolation=cv2.INTER_AREA)  # starts them
        loader = loop.ahead(stock.FreshBatches(tiny_stock(), 0, 8, 64, 2))
        loader.timeout = 30
        assert len(list(loader)) == 2
    finally:
        cv2.setNumThreads(threads)


def test_training_ends_when_its_time_is_over(tmp_path: Path) -> None:
    batches, plan = stock.FreshBatches(tiny_stock(), 0, 8, 64, 500), loop.Plan(500, minutes=1 / 60, bf16=False)
    best = loop.train(Embedder((8, 8, 16, 16), 8), Contrast(), batches, plan, tmp_path, lambda network: {"score": 1.0})
    assert torch.load(best, weights_only=True)["row"]["step"] < 500
    left = (tmp_path / "curve.csv").read_bytes(), (tmp_path / "last.pt").read_bytes()
    loop.train(Embedder((8, 8, 16, 16), 8), Contrast(), batches, plan, tmp_path, lambda network: pytest.fail("a step"))
    assert left == ((tmp_path / "curve.csv").read_bytes(), (tmp_path / "last.pt").read_bytes())


@pytest.mark.parametrize("slow", [torch.float32, torch.bfloat16])
def test_bf16_is_used_where_it_is_quicker(monkeypatch: pytest.MonkeyPatch, slow: torch.dtype) -> None:
    class Layer(torch.nn.Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
            time.sleep(0.02 if kind == slow else 0.0)
            return x

    monkeypatch.setattr(loop.nn, "Conv2d", lambda *_: Layer())
    assert loop.bf16_is_quicker() is (slow == torch.float32)


def test_protocol_numbers_of_a_perfect_and_a_blind_embedding() -> None:
    rng = np.random.default_rng(0)
    views = np.zeros((5, 4, 8, 8), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None, None]
    test = protocol.Classes(views, [window(k, k) for k in range(5)])
    perfect = protocol.summary(protocol.distances(lambda x: 2 * np.eye(5, dtype=np.float32)[x[:, 0, 0]], test))
    assert (perfect["accuracy"], perfect["ir1"], perfect["tpr_1e-3"], perfect["auc"]) == (1, 1, 1, 1)
    blind = protocol.summary(protocol.distances(lambda x: rng.random((len(x), 3)).astype(np.float32), test))
    assert blind["auc"] == pytest.approx(0.5, abs=0.25)


def test_unsure_pairs_do_not_count() -> None:
    views = np.zeros((2, 2, 8, 8), np.uint8)
    test = protocol.Classes(views, [window(0, 0), window(1, 0)])  # two images of one group: perhaps the same place
    found = protocol.distances(lambda x: np.zeros((len(x), 2), np.float32), test)
    assert found.unsure[0, 1]
    assert found.different().size == 0
    assert found.same().shape == (2, 1)


def test_a_run_until_a_time_counts_what_is_done(tmp_path: Path) -> None:
    soon = datetime.now().astimezone() + timedelta(minutes=30)
    left = embedder.minutes_until(f"{soon:%H:%M}", tmp_path)
    assert 28.9 <= left <= 30.1
    torch.save({"state": {"seconds": 600.0}}, tmp_path / "last.pt")
    assert embedder.minutes_until(f"{soon:%H:%M}", tmp_path) == pytest.approx(left + 10, abs=0.1)


class Failing(torch.utils.data.Dataset[data.Batch]):
    def __getitem__(self, step: int) -> data.Batch:
        if step == 3:
            raise OSError("the disk is gone")
        return stock.FreshBatches(tiny_stock(), 0, 4, 64, 40)[step]


def test_checkpoints_come_by_time_too(tmp_path: Path) -> None:
    plan = loop.Plan(40, every=1000, save_s=0.0, bf16=False)
    with pytest.raises(OSError, match="the disk is gone"):
        loop.train(Embedder((8, 8, 16, 16), 8), Contrast(), Failing(), plan, tmp_path, lambda network: {})
    assert torch.load(tmp_path / "last.pt", weights_only=True)["state"]["step"] == 3
