"""The baselines of the comparator's table 2: what each lights up, with and without an alignment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from tests.train import icn_pairs  # noqa: E402

from twinscope.errors import UsageError  # noqa: E402
from twinscope.train import icn_baselines  # noqa: E402
from twinscope.train.icn_baselines import BASELINES, Baseline  # noqa: E402

SIDE = 128
BOX = (slice(60, 100), slice(20, 60))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """Return the ResNet baseline with weights drawn at random."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(icn_baselines.icn.backbone("resnet50", None).state_dict(), path)
    return icn_baselines.resnet_conv(path)


def planted() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a textured picture that has been through JPEG, and it with a smooth, uncompressed patch in `BOX`."""
    rng = np.random.default_rng(0)
    data = cv2.imencode(".jpg", icn_pairs.texture(rng, SIDE), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    original = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    query = original.copy()
    rough = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    query[BOX] = cv2.addWeighted(original[BOX], 0.6, rough, 0.4, 0)
    return original, query


def lit(heat: NDArray[np.float32], box: tuple[slice, slice] = BOX) -> float:
    """Return how much brighter a map is within the box than outside."""
    outside = np.ones(heat.shape, np.bool_)
    outside[box] = False
    return float(heat[box].mean() / max(float(heat[outside].mean()), 1e-6))


@pytest.mark.parametrize("name", [*BASELINES, "ResNetConv"])
def test_a_planted_change_lights_up(name: str, resnet: Baseline) -> None:
    show = BASELINES.get(name, resnet)
    heat = show(*planted(), None)
    assert heat.shape == (SIDE, SIDE)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() == 1
    assert lit(heat) > 2


@pytest.mark.parametrize("name", [*BASELINES, "ResNetConv"])
def test_with_the_alignment_the_change_lies_where_it_is_in_the_original(name: str, resnet: Baseline) -> None:
    show = BASELINES.get(name, resnet)
    original, query = planted()
    moved = np.roll(query, (-16, 24), (0, 1))  # what was at (x, y) is now at (x + 24, y - 16)
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    flow[..., 0], flow[..., 1] = 24, -16
    heat = show(original, moved, flow)
    assert lit(heat) > 2
    assert lit(heat) > 1.5 * lit(show(original, moved, None))
    assert heat[:, -24:].max() == 0  # outside the query nothing can be said
    assert heat[:16].max() == 0


def test_ssd_by_hand() -> None:
    original = np.zeros((14, 14, 3), np.uint8)
    query = original.copy()
    query[4:6, 8:10] = 10
    query[10:12, 2:4, 0] = 20
    coarse = np.zeros((7, 7), np.float32)
    coarse[2, 4], coarse[5, 1] = 3 * 10**2, 20**2
    want = np.clip(cv2.resize(coarse, (14, 14), interpolation=cv2.INTER_CUBIC), 0, None)
    assert np.allclose(icn_baselines.ssd(original, query), want / want.max(), atol=1e-6)


@pytest.mark.parametrize("name", ["SSD", "ResNetConv"])
def test_the_same_picture_has_no_change(name: str, resnet: Baseline) -> None:
    original, _ = planted()
    assert BASELINES.get(name, resnet)(original, original, None).max() == 0


@pytest.mark.parametrize("name", ["ErrAnalysis", "noise residual"])
def test_the_blind_ones_do_not_look_at_the_original(name: str) -> None:
    original, query = planted()
    show = BASELINES[name]
    assert np.array_equal(show(original, query, None), show(255 - original, query, None))
    assert not np.array_equal(show(original, query, None), show(original, 255 - query[::-1], None))


@pytest.mark.parametrize("name", BASELINES)
def test_a_flat_picture_is_no_trouble(name: str) -> None:
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    assert BASELINES[name](flat, flat, None).max() == 0


def test_absent_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="weights not present"):
        icn_baselines.resnet_conv(tmp_path / "none.pth")


def test_carried_says_where_nothing_is() -> None:
    picture = np.arange(12, dtype=np.float32).reshape(3, 4)
    flow = np.zeros((3, 4, 2), np.float32)
    flow[..., 0] = 1.5
    out, valid = icn_baselines.carried(picture, flow)
    assert np.allclose(out, [[1.5, 2.5, 0, 0], [5.5, 6.5, 0, 0], [9.5, 10.5, 0, 0]])
    assert valid.tolist() == [[True, True, False, False]] * 3
