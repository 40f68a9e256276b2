"""The paper's comparator: the de-warping unit, the losses, the scores, and what learns in each row of table 3."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.train import icn_pairs  # noqa: E402

from twinscope.errors import UsageError  # noqa: E402
from twinscope.train import icn, icn_losses, icn_scores, icn_warps  # noqa: E402
from twinscope.train.changes import Changes  # noqa: E402
from twinscope.train.icn import ABLATIONS, SIZES, Aligner, Comparator, Design  # noqa: E402

SIDE = 128


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(design: Design) -> Comparator:
    trunk = "resnet18" if design.trunk == "resnet50" else design.trunk
    return Comparator(design._replace(size="tiny", trunk=trunk))


# ---------------------------------------------------------------------------------------------------- de-warping


def test_a_shift_by_whole_pixels_moves_them() -> None:
    query = torch.arange(20.0).view(1, 1, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[:, 0], flow[:, 1] = 2, 1  # what the original shows at (x, y) the query shows at (x + 2, y + 1)
    out, valid = icn.dewarp(query, flow)
    want = torch.tensor([[7.0, 8, 9, 0, 0], [12, 13, 14, 0, 0], [17, 18, 19, 0, 0], [0, 0, 0, 0, 0]])
    assert torch.allclose(out[0, 0], want, atol=1e-4)
    assert torch.equal(valid[0], want > 0)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    query = torch.tensor([[[[0.0, 10, 40], [1, 2, 3]]]])
    flow = torch.zeros(1, 2, 2, 3)
    flow[:, 0] = 0.5
    out, valid = icn.dewarp(query, flow)
    assert torch.allclose(out[0, 0], torch.tensor([[5.0, 25, 0], [1.5, 2.5, 0]]), atol=1e-4)
    assert valid[0].tolist() == [[True, True, False]] * 2


def test_the_flow_of_a_known_affine_lays_the_query_on_the_original() -> None:
    batch = icn_losses.pairs(icn_pairs.batch(3, 1, reach=9))
    out, valid = icn.dewarp(batch.query, batch.flow)
    away, _ = icn.dewarp(batch.query, -batch.flow)
    seen = batch.seen[:, None].expand_as(out)
    gap = (out - batch.original)[seen].abs().mean()
    assert gap < 0.05
    assert gap < 0.3 * (batch.query - batch.original)[seen].abs().mean()
    assert gap < 0.2 * (away - batch.original)[seen].abs().mean()  # the other direction does not
    assert (valid == batch.seen).float().mean() > 0.999


def test_dewarp_has_gradients_in_both() -> None:
    query = torch.rand(1, 3, 9, 9, requires_grad=True)
    flow = torch.full((1, 2, 9, 9), 0.3, requires_grad=True)
    icn.dewarp(query, flow)[0].square().sum().backward()
    assert flow.grad.abs().sum() > 0
    assert query.grad.abs().sum() > 0


def test_a_plain_warp_has_the_flow_that_undoes_it() -> None:
    rng = np.random.default_rng(1)
    picture = icn_pairs.texture(rng, SIDE)
    query, flow, seen = icn_warps.warped(picture, rng)
    assert 2 < np.linalg.norm(flow, axis=-1).mean() < 40
    as_one = icn_losses.picture(torch.from_numpy(np.stack([picture, query])))
    out, valid = icn.dewarp(as_one[1:], torch.from_numpy(flow).permute(2, 0, 1)[None])
    assert (valid[0].numpy() == seen).mean() > 0.999
    inner = torch.from_numpy(seen)
    assert (out[0] - as_one[0])[:, inner].abs().mean() < 0.3 * (as_one[1] - as_one[0])[:, inner].abs().mean()


def test_plain_batches_replace_all_at_first_and_distinct_pairs_later() -> None:
    class Toy:
        def __getitem__(self, step: int) -> Changes:
            return icn_pairs.batch(7, 3)

    raw, plain = Toy()[0], icn_warps.Plain(Toy(), 1, 1, 5)
    first, later = plain[0], plain[1]
    assert len(plain) == 5
    assert first[5].tolist() == [0, 0, 0]
    assert not first[4].any()
    assert later[5].tolist() == [0, 1, 0]
    assert all(np.array_equal(later[k][:2], raw[k][:2]) for k in range(6))
    assert later[3][2].any()
    assert not raw.seen[2].any()
    assert np.array_equal(later[0], raw.original)
    assert all(np.array_equal(a, b) for a, b in zip(plain[1], later, strict=True))
    assert not np.array_equal(first[2][2], later[2][2])


# ---------------------------------------------------------------------------------------------------- losses


def test_the_cosine_loss_by_hand() -> None:
    truth = torch.zeros(2, 7, 7)
    truth[:, 0, 0] = 1
    maps = torch.zeros(2, 7, 7)
    maps[0, 0, 0], maps[0, 0, 1] = 3, 4  # cos = 3/5
    maps[1, 0, 0] = 9  # cos = 1: the scale is free
    assert icn_losses.heat_loss(maps, truth).item() == pytest.approx((0.4 + 0) / 2, abs=1e-5)


def test_a_zero_target_counts_nothing_and_gives_no_gradient() -> None:
    maps = torch.randn(3, 7, 7, requires_grad=True)
    truth = torch.zeros(3, 7, 7)
    truth[2] = 1
    value = icn_losses.heat_loss(maps, truth)
    value.backward()
    alone = icn_losses.heat_loss(maps.detach()[2:], truth[2:])
    assert value.item() == pytest.approx(alone.item() / 3, rel=1e-5)
    assert torch.isfinite(maps.grad).all()
    assert maps.grad[:2].abs().max() == 0
    assert maps.grad[2].abs().max() > 0


def test_a_zero_map_is_finite() -> None:
    maps = torch.zeros(2, 7, 7, requires_grad=True)
    icn_losses.heat_loss(maps, torch.stack([torch.zeros(7, 7), torch.ones(7, 7)])).backward()
    assert torch.isfinite(maps.grad).all()


def test_targets_are_zeros_shares_and_ones() -> None:
    changed = torch.zeros(3, 14, 14, dtype=torch.bool)
    changed[:, 0, 0] = True
    changed[:, 4:6, 6:8] = True
    out = icn_losses.targets(changed, torch.tensor([0, 1, 2]))
    assert out[0].abs().max() == 0
    assert out[2].min() == 1
    want = torch.zeros(7, 7)
    want[0, 0], want[2, 3] = 0.25, 1
    assert torch.equal(out[1], want)


def test_the_flow_loss_by_hand() -> None:
    truth, seen = torch.zeros(1, 2, 2, 2), torch.tensor([[[True, True], [False, False]]])
    truth[:, :, 1] = math.nan  # what is not seen has no flow
    first, last = torch.full((1, 2, 2, 2), 3.0), torch.ones(1, 2, 2, 2)
    last[0, 1] = 2
    last.requires_grad_()
    value = icn_losses.flow_loss([first, last], truth, seen)
    value.backward()
    assert value.item() == pytest.approx(0.8 * 3 + 1.5)
    assert last.grad[0, :, 0].tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert last.grad[0, :, 1].abs().max() == 0
    assert icn_losses.flow_loss([first], truth, torch.zeros_like(seen)).item() == 0


def test_nothing_is_seen_of_distinct_pairs() -> None:
    raw = icn_pairs.batch(0, 3)
    out = icn_losses.pairs(raw._replace(seen=np.ones_like(raw.seen)))
    assert out.seen[0].all()
    assert not out.seen[2].any()
    assert out.original.shape == (3, 3, SIDE, SIDE)
    assert out.flow.shape == (3, 2, SIDE, SIDE)
    assert out.original.min() >= -1
    assert out.original.max() <= 1
    assert torch.equal(out.flow[0, 0], torch.from_numpy(raw.flow[0, ..., 0]))


def test_the_photometric_term_is_the_gap_where_valid() -> None:
    batch = icn_losses.pairs(icn_pairs.batch(0, 3))
    aligned = batch.original + 0.5
    aligned[2] += 7  # the distinct pair
    aligned[0, :, 0] += 100  # not valid
    valid = torch.ones(3, SIDE, SIDE, dtype=torch.bool)
    valid[0, 0] = False
    said = icn.Output([], aligned, valid, *[torch.zeros(1)] * 3)
    assert icn_losses.photometric_loss(said, batch).item() == pytest.approx(0.25, rel=1e-4)


def test_the_total_is_half_and_half() -> None:
    batch = icn_losses.pairs(icn_pairs.batch(0, 3))
    maps = torch.ones(3, 7, 7)
    said = icn.Output([], batch.query, batch.seen, torch.zeros(3, 256), torch.zeros(3, 3), maps)
    value, parts = icn_losses.total(said, batch, Design())
    assert parts["class"] == pytest.approx(math.log(3))
    assert value.item() == pytest.approx(0.5 * parts["class"] + 0.5 * parts["heat"])
    assert list(icn_losses.total(said, batch, ABLATIONS["no-class-loss"])[1]) == ["heat"]
    assert list(icn_losses.total(said, batch, ABLATIONS["no-heat-loss"])[1]) == ["class"]


# ---------------------------------------------------------------------------------------------------- networks


LEARNS = {
    "full": {"align", "predict", "classes", "heat"},
    "no-align": {"predict", "classes", "heat"},
    "no-predict": {"align", "predict", "classes", "heat"},
    "frozen-predict": {"align", "classes", "heat"},
    "frozen-align": {"predict", "classes", "heat"},
    "no-class-loss": {"align", "predict", "heat"},
    "no-heat-loss": {"align", "predict", "classes"},
    "photometric": {"align", "predict", "classes", "heat"},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_gradients_reach_what_learns_and_nothing_else(name: str) -> None:
    network = small(ABLATIONS[name]).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    batch = icn_losses.pairs(icn_pairs.batch(1, 3))
    said = network(batch.original, batch.query)
    icn_losses.total(said, batch, network.design)[0].backward()
    reached = {key.split(".")[0] for key, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == LEARNS[name]
    moved = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == (set() if name == "frozen-predict" else {"predict"})  # batch normalisation, but where it is frozen
    assert said.z.shape == (3, 256)
    assert said.classes.shape == (3, 3)
    assert said.maps.shape == (3, 7, 7)
    assert bool(said.flows) == (name != "no-align")
    aligned = icn.dewarp(batch.query, said.flows[-1])[0] if said.flows else batch.query
    assert torch.equal(said.aligned, aligned)


def test_the_losses_reach_all_of_the_aligner_through_the_dewarping() -> None:
    network = small(ABLATIONS["full"]).train()
    batch = icn_losses.pairs(icn_pairs.batch(1, 3))
    icn_losses.total(network(batch.original, batch.query), batch, network.design)[0].backward()
    parts = {key.split(".")[2] for key, p in network.named_parameters() if key[:5] == "align" and p.grad.any()}
    assert parts == {"feature_encoder", "context_encoder", "update_block"}


def test_without_a_prediction_module_the_same_picture_is_zero() -> None:
    network = small(ABLATIONS["no-predict"]._replace(align=False)).eval()
    picture = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    assert network(picture, picture).z.abs().max() == 0
    assert network(picture, picture.flip(0)).z.abs().max() > 0


def test_the_extractor_is_shared_and_at_a_quarter() -> None:
    network = icn.Fused().eval()
    picture = torch.rand(1, 3, 224, 224)
    assert network.extract(picture).shape == (1, 128, 56, 56)
    assert network.blocks(torch.rand(1, 256, 56, 56)).shape == (1, 256, 7, 7)


def test_raft_is_torchvisions_small_one() -> None:
    assert sum(p.numel() for p in Aligner(SIZES["raft"]).parameters()) == 990_162


def test_weights_come_from_a_file_and_its_absence_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="weights not present"):
        icn.Differences("resnet18", tmp_path / "none.pth")
    with pytest.raises(UsageError, match="no trunk"):
        icn.backbone("resnet34", None)
    one = icn.backbone("resnet18", None)
    torch.save(one.state_dict(), tmp_path / "one.pth")
    two = icn.Differences("resnet18", tmp_path / "one.pth")
    assert torch.equal(one.conv1.weight, two.trunk.conv1.weight)
    with pytest.raises(UsageError, match="does not hold"):
        icn.backbone("resnet50", tmp_path / "one.pth")


def test_a_few_steps_on_one_batch_lower_both_losses() -> None:
    network = small(ABLATIONS["full"]._replace(pool=2)).train()
    batch = icn_losses.pairs(icn_pairs.batch(2, 3))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    seen = []
    for _ in range(10):
        value, parts = icn_losses.total(network(batch.original, batch.query), batch, network.design)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        seen.append(parts)
    assert seen[-1]["class"] < 0.5 * seen[0]["class"]
    assert seen[-1]["heat"] < 0.7 * seen[0]["heat"]


def test_the_aligner_learns_one_shift_in_the_right_direction() -> None:
    raw = icn_pairs.batch(5, 1)
    moved = np.roll(raw.original, (0, 6), (1, 2))  # what was at x is now at x + 6
    batch = icn_losses.pairs(raw._replace(query=moved))
    truth = torch.zeros_like(batch.flow)
    truth[:, 0] = 6
    network = Aligner(SIZES["tiny"])
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(40):
        value = icn_losses.flow_loss(network(batch.original, batch.query), truth, torch.ones_like(batch.seen))
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        flow = network(batch.original, batch.query)[-1]
        out, _ = icn.dewarp(batch.query, flow)
    inner = (slice(None), slice(None), slice(16, -16), slice(16, -16))
    assert (flow - truth)[inner].abs().mean() < 1.0
    before = (batch.query - batch.original)[inner].square().mean()
    assert (out - batch.original)[inner].square().mean() < 0.3 * before


# ---------------------------------------------------------------------------------------------------- scores


def test_iou_by_hand() -> None:
    heat = np.array([[1.0, 0.35], [0.34, 0.0]], np.float32)
    truth = np.array([[True, False], [True, False]])
    assert icn_scores.iou(heat, truth) == pytest.approx(1 / 3)
    assert icn_scores.iou(heat, truth, None) == pytest.approx((1 + 0.34) / (1 + 0.35 + 1))
    assert icn_scores.iou(np.zeros_like(heat), np.zeros_like(truth), None) == 0


def test_a_heatmap_is_normalised_and_where_its_cell_is() -> None:
    coarse = np.zeros((7, 7), np.float32)
    coarse[2, 5], coarse[6, 6] = 4, -3
    heat = icn_scores.heatmap(coarse, 70)
    assert heat.shape == (70, 70)
    assert heat.max() == 1
    assert heat.min() == 0
    assert np.unravel_index(heat.argmax(), heat.shape)[0] // 10 == 2
    assert np.unravel_index(heat.argmax(), heat.shape)[1] // 10 == 5
    assert heat[60:, 60:].max() == 0
    assert not icn_scores.normalised(-np.ones((3, 3))).any()
    assert icn_scores.heatmap(np.full((7, 7), 2, np.float32), 28).min() == 1


def test_the_class_gates_the_map() -> None:
    heat = np.full((2, 2), 0.4, np.float32)
    assert [float(icn_scores.gated(heat, k).mean()) for k in range(3)] == [0, pytest.approx(0.4), 1]


def test_boxes_fill_each_part() -> None:
    mask = np.zeros((8, 8), np.bool_)
    mask[1, 1] = mask[2, 2] = mask[6, 5] = True
    want = np.zeros_like(mask)
    want[1:3, 1:3] = want[6, 5] = True
    assert np.array_equal(icn_scores.boxed(mask), want)


def test_the_summary_by_hand() -> None:
    probability = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.0, 0.1, 0.9]], np.float32)
    label, changed = np.array([0, 1, 1, 2]), np.zeros((4, 28, 28), np.bool_)
    changed[1:3, :8, :8] = True
    maps = np.zeros((4, 7, 7), np.float32)
    maps[:, :2, :2] = 1
    errors, moved = np.array([1, 3, 8], np.float32), np.array([9, 9, 12], np.float32)
    out = icn_scores.summary(icn_scores.Judged(probability, maps, errors, moved, label, changed))
    assert out["ap_benign"] == 1
    assert out["ap_manipulated"] == 1  # .8, .2 before .1, .1
    assert out["ap_distinct"] == 1
    assert out["accuracy"] == 0.75
    assert out["iou_free"] > 0.8
    assert out["iou"] == pytest.approx(out["iou_free"] / 2)  # one of the two was taken for benign
    assert out["iou_boxes"] == out["iou"]
    assert out["epe"] == 4
    assert out["epe_median"] == 3
    assert out["epe_still"] == 10


def test_a_class_without_pairs_has_no_number() -> None:
    judged = icn_scores.Judged(
        np.array([[1, 0, 0]], np.float32), np.zeros((1, 7, 7), np.float32), np.zeros(0, np.float32),
        np.zeros(0, np.float32), np.array([0]), np.zeros((1, 28, 28), np.bool_),
    )  # fmt: skip
    assert icn_scores.summary(judged) == {"ap_benign": 1.0, "ap": 1.0, "accuracy": 1.0}
