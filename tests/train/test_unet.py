"""The U-Net that is compared with: its splines by hand, its augmentation, and that it learns and goes on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from twinscope.train import unet

SMALL = unet.Plan(steps=12, batch=2, side=64, channels=8, depth=2)


def scene(seed: int, side: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(4):
        cv2.circle(mask, tuple(int(v) for v in rng.integers(8, side - 8, 2)), 9, 1, -1)
    return np.clip(60 + 90 * mask + rng.normal(0, 8, mask.shape), 0, 255).astype(np.uint8), mask > 0


def test_a_thin_plate_spline_by_hand() -> None:
    """One corner of five is pushed: the ends are met, and half way lies what Bookstein's equations give."""
    corners = np.array([[-1, 0], [1, 0], [0, -1], [0, 1], [0, 0]], np.float32)
    moves = np.zeros((5, 2), np.float32)
    moves[4, 0] = 1
    np.testing.assert_allclose(unet.thin_plate(corners, moves, corners), moves, atol=1e-6)
    # by symmetry the weights are w at the four, -4 w in the middle, and a constant a:
    # a + w (U(1) 4) = 1 in the middle with U(1) = 0, so a = 1; at (1, 0): a + w (U(2) + 2 U(sqrt 2)) - 4 w U(1) = 0
    u = {2: 4 * np.log(2), 1: 0.0, 2**0.5: np.log(2)}
    w = -1 / (u[2] + 2 * u[2**0.5])
    half = 1 + w * (0.25 * np.log(0.5) + 2.25 * np.log(1.5) + 2 * (1.25 * np.log(1.25**0.5)) - 4 * 0.25 * np.log(0.5))
    moved = unet.thin_plate(corners, moves, np.array([[0.5, 0]], np.float32))
    np.testing.assert_allclose(moved, [[half, 0]], atol=1e-6)


def test_an_affine_move_is_met_everywhere() -> None:
    rng = np.random.default_rng(0)
    corners, at = (rng.uniform(0, 50, (n, 2)).astype(np.float32) for n in (9, 40))
    turn = np.array([[0.1, -0.2], [0.3, 0.05]], np.float32)
    moved = unet.thin_plate(corners, corners @ turn + 3, at)
    np.testing.assert_allclose(moved, at @ turn + 3, atol=1e-3)


def test_picture_and_mask_are_moved_alike() -> None:
    mask = scene(1, 120)[1]
    image = np.asarray(mask * 200, np.uint8)
    kinds = set()
    for seed in range(12):
        a, b = unet.augmented(image, mask, np.random.default_rng(seed), 64)
        assert (a.shape, b.shape, b.dtype) == ((64, 64), (64, 64), np.bool_)
        assert ((a > 100) == b).mean() > 0.97
        kinds.add(bytes(np.packbits(b)))
    assert len(kinds) == 12
    again = unet.augmented(image, mask, np.random.default_rng(3), 64)[0]
    np.testing.assert_array_equal(again, unet.augmented(image, mask, np.random.default_rng(3), 64)[0])


def test_every_step_is_one_of_the_copies() -> None:
    images, masks = zip(*(scene(k) for k in range(2)), strict=True)
    plan = SMALL._replace(copies=2, batch=4)
    seen = {x.tobytes() for step in range(12) for x in unet.batch(images, masks, plan, step)[0].numpy()}
    assert len(seen) == 4  # two copies of two pictures
    x, y = unet.batch(images, masks, plan, 0)
    assert (x.shape, y.shape) == ((4, 1, 64, 64), (4, 1, 64, 64))
    assert set(np.unique(y)) == {0, 1}


def test_the_network_has_the_papers_down_samplings() -> None:
    network = unet.UNet(8, 3)
    assert (len(network.down), len(network.up)) == (4, 3)
    assert network(torch.zeros(1, 1, 64, 48)).shape == (1, 1, 64, 48)
    sizes: list[int] = []
    for block in network.down:
        block.register_forward_hook(lambda _m, _i, out: sizes.append(out.shape[-1]))
    network(torch.zeros(1, 1, 64, 64))
    assert sizes == [64, 32, 16, 8]


def test_the_loss_by_hand() -> None:
    logits, truth = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert float(unet.loss(logits, truth)) == pytest.approx(np.log(2) + 1 - (2 * 0.5 + 1) / (1 + 1 + 1))


def test_it_learns_and_an_interrupted_run_ends_as_a_whole_one(tmp_path: Path) -> None:
    images, masks = zip(*(scene(k) for k in range(3)), strict=True)
    whole = unet.train(images, masks, SMALL, tmp_path / "whole.pt")
    assert whole["step"] == 12
    unet.train(images, masks, SMALL, tmp_path / "whole.pt")  # finished: nothing is done again
    calls = {"left": 5}
    good = unet.batch

    def stop(*given: object) -> object:
        calls["left"] -= 1
        if calls["left"] < 0:
            raise KeyboardInterrupt
        return good(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unet, "batch", stop)
        with pytest.raises(KeyboardInterrupt):
            unet.train(images, masks, SMALL._replace(save_s=0), tmp_path / "parts.pt")
    unet.train(images, masks, SMALL, tmp_path / "parts.pt")
    one, other = (unet.load(tmp_path / f"{name}.pt").state_dict() for name in ("whole", "parts"))
    for name in one:
        torch.testing.assert_close(one[name], other[name])
    unet.train(images, masks, SMALL._replace(steps=60), tmp_path / "more.pt")
    image, mask = scene(9, 75)
    found = unet.probability(unet.load(tmp_path / "more.pt"), image) > 0.5
    assert found.shape == (75, 75)
    assert (found & mask).sum() / (found | mask).sum() > 0.8
