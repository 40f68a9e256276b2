"""The small generators: their steps by hand, resumed runs, and four pictures learned by heart."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from twinscope.errors import UsageError
from twinscope.train import dcgan, diffusion

SMALL = diffusion.Plan(steps=12, batch=4, widths=(8, 16), seed=3)
GAN = dcgan.Plan(steps=10, batch=4, wide=8, numbers=8, seed=3)


def four(side: int = 16) -> np.ndarray:
    """Return four pictures that are easy to tell apart: a bright quarter each."""
    images = np.full((4, side, side), 40, np.uint8)
    half = side // 2
    for k in range(4):
        images[k, (k // 2) * half : (k // 2) * half + half, (k % 2) * half : (k % 2) * half + half] = 220
    return images


def test_noise_and_velocity_by_hand() -> None:
    pictures, noise = torch.full((3, 1, 2, 2), 0.5), torch.full((3, 1, 2, 2), -2.0)
    seen, velocity = diffusion.noised(pictures, noise, torch.tensor([0.0, 1.0, 0.5]))
    half = math.sqrt(0.5)
    assert seen[:, 0, 0, 0].tolist() == pytest.approx([0.5, -2.0, half * -1.5], abs=1e-6)
    assert velocity[:, 0, 0, 0].tolist() == pytest.approx([-2.0, -0.5, half * -2.5], abs=1e-6)


def test_ddim_of_a_network_that_knows_the_picture_gives_the_picture() -> None:
    picture = torch.as_tensor(four()[1:2, None].astype(np.float32) / 127.5 - 1)

    class Knows(torch.nn.Module):
        def forward(self, x: Any, times: Any) -> Any:
            a, s = (f(times[0] * math.pi / 2) for f in (torch.cos, torch.sin))
            noise = (x - a * picture) / s
            return a * noise - s * picture

    made = diffusion.sample(Knows(), 3, 16, seed=1, steps=5)
    assert made.shape == (3, 16, 16)
    assert np.abs(made.astype(int) - four()[1]).max() <= 1


def test_pictures_come_back_as_they_were() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert (diffusion.unscaled(diffusion.scaled(images)) == images).all()


@pytest.mark.parametrize(("module", "plan"), [(diffusion, SMALL), (dcgan, GAN)])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(module: Any, plan: Any, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 7:
            raise Stopped

    whole, parted = tmp_path / "whole", tmp_path / "parted"
    module.train(four(), plan._replace(marks=(5,)), whole)
    with pytest.raises(Stopped):
        module.train(four(), plan._replace(marks=(5,), save_s=0.0), parted, stop)
    module.train(four(), plan._replace(marks=(5,)), parted)
    for name in ("at-5.pt", f"at-{plan.steps}.pt"):
        one, two = (torch.load(folder / name, weights_only=True)["network"] for folder in (whole, parted))
        assert all(torch.equal(one[key], two[key]) for key in one)
    rows = [list(csv.DictReader((f / "curve.csv").read_text().splitlines())) for f in (whole, parted)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] == [str(plan.steps)]


def test_a_shorter_run_of_the_same_plan_is_its_beginning(tmp_path: Path) -> None:
    diffusion.train(four(), SMALL._replace(marks=(5,)), tmp_path / "whole")
    diffusion.train(four(), SMALL, tmp_path / "short", until=5)
    one, two = (torch.load(tmp_path / name / "at-5.pt", weights_only=True)["network"] for name in ("whole", "short"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_diffusion_network_learns_four_pictures_by_heart(tmp_path: Path) -> None:
    plan = diffusion.Plan(steps=350, batch=16, widths=(16, 32), rate=2e-3, average=0.98)
    state = diffusion.train(four(), plan, tmp_path)
    assert state["loss"] < 0.25
    made = diffusion.sample(diffusion.load(tmp_path / "at-350.pt"), 24, 16, seed=2, steps=15).astype(float)
    far = np.abs(made[:, None] - four()[None].astype(float)).mean((2, 3))
    assert np.median(far.min(1)) < 20  # grey values; two of the pictures are 90 apart
    assert len(set(far.argmin(1).tolist())) == 4


def test_a_dcgan_makes_pictures_of_the_right_size_and_its_critic_sees_them(tmp_path: Path) -> None:
    state = dcgan.train(four(32), GAN, tmp_path)
    made = dcgan.sample(dcgan.load(tmp_path / "at-10.pt"), 5, seed=0)
    assert (made.shape, made.dtype) == ((5, 32, 32), np.uint8)
    assert state["critic"] < 0.7
    assert dcgan.Critic(8, 64)(torch.zeros(2, 1, 64, 64)).shape == (2,)
    assert dcgan.Generator(8, 8, 64)(torch.zeros(2, 8)).shape == (2, 1, 64, 64)


def test_each_step_draws_anew_and_by_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    forward = dcgan.Generator.forward
    monkeypatch.setattr(dcgan.Generator, "forward", lambda self, n: (seen.append(n.clone()), forward(self, n))[1])
    for seed in (3, 4):
        dcgan.train(four(32), GAN._replace(steps=2, seed=seed), tmp_path / str(seed))
    assert len({tuple(numbers.flatten().tolist()) for numbers in seen}) == 4


@pytest.mark.parametrize(("module", "plan"), [(diffusion, SMALL), (dcgan, GAN)])
def test_pictures_of_another_shape_are_refused(module: Any, plan: Any, tmp_path: Path) -> None:
    for wrong in (np.zeros((4, 16, 18), np.uint8), np.zeros((4, 16, 16), np.float32), np.zeros((0, 16, 16), np.uint8)):
        with pytest.raises(UsageError, match="learns from"):
            module.train(wrong, plan, tmp_path)
    with pytest.raises(UsageError, match="no multiple"):
        module.train(np.zeros((4, 18, 18), np.uint8), plan, tmp_path)


def test_a_broken_checkpoint_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match="no whole checkpoint"):
        diffusion.train(four(), SMALL, tmp_path)
