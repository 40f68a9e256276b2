"""The relation network: its backbones and their weights, what it can learn, and that a stopped run goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from twinscope.detect import explain
from twinscope.errors import UsageError
from twinscope.train import relation


class Tiny(torch.nn.Module):
    """A backbone of one convolution, for tests."""

    wide = 8

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 8, 3, 2, 1)

    def forward(self, grey: Any) -> Any:
        return torch.relu(self.layer(grey / 255 - 0.5))


def striped(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of upright stripes (used) and of lying ones (unused)."""
    used = np.arange(count) < count // 2
    wave = (np.sin(np.arange(32)[None] * 0.9 + rng.uniform(0, 6, (count, 1))) * 60 + 128)[:, None, :]
    images = np.broadcast_to(wave, (count, 32, 32)).copy()
    images[~used] = images[~used].transpose(0, 2, 1)
    return np.clip(images + rng.normal(0, 20, images.shape), 0, 255).astype(np.uint8), used


PLAN = relation.Plan(steps=40, batch=16, side=32, backbone=1.0)


def test_the_torch_embedder_is_the_one_of_the_graph() -> None:
    rng = np.random.default_rng(0)
    images = [cv2.GaussianBlur(rng.integers(0, 255, (96, 96)).astype(np.uint8), (0, 0), 2) for _ in range(2)]
    looked = explain.look(images, relation.BACKBONE)
    network = relation.embedder()
    with torch.inference_mode():
        grey = relation.seen(np.stack(images), 96)
        points, maps = network(grey).numpy(), network.maps(grey)[1].numpy()
    assert np.abs(points - np.stack([one.point for one in looked])).max() < 1e-3
    assert np.abs(maps - np.stack([one.maps_16 for one in looked])).max() < 1e-2 * np.abs(maps).max()


def test_it_learns_what_can_be_seen_in_the_pictures_and_tells_new_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    real, used = striped(rng, 24)
    network = relation.train(real, used, real[:8], PLAN, tmp_path, Tiny)
    assert relation.fitted(network, real, used, real[:8], 32) == 1
    new, truth = striped(rng, 20)
    told = relation.scores(network, new, real[:8], 32)
    assert told.shape == (20, 8)
    assert ((told.mean(1) > 0.5) == truth).mean() >= 0.95


def test_the_shipped_embedder_is_trained_end_to_end(tmp_path: Path) -> None:
    real, used = striped(np.random.default_rng(2), 12)
    before = relation.EmbedderMaps().network.stem[0].weight.detach().clone()
    plan = relation.Plan(steps=24, batch=8, side=32)
    network = relation.train(real, used, real[:4], plan, tmp_path)
    assert relation.fitted(network, real, used, real[:4], 32) >= 0.9
    for side in (network.real, network.made):
        assert not torch.equal(side.network.stem[0].weight, before)
    assert not torch.equal(network.real.network.stem[0].weight, network.made.network.stem[0].weight)


def test_one_backbone_for_both_if_asked_for() -> None:
    network = relation.Relation(Tiny(), 8, shared=True)
    assert network.real is network.made
    assert relation.Relation(Tiny(), 8).made is not network.made


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 5:
            raise Stopped

    real, used = striped(np.random.default_rng(3), 12)
    plan = PLAN._replace(steps=9)
    whole = relation.train(real, used, real[:4], plan, tmp_path / "whole", Tiny)
    with pytest.raises(Stopped):
        relation.train(real, used, real[:4], plan._replace(save_s=0.0), tmp_path / "parted", Tiny, stop)
    parted = relation.train(real, used, real[:4], plan, tmp_path / "parted", Tiny)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, parted.state_dict()[key]), key


def test_weights_of_a_resnet_are_loaded_from_a_file(tmp_path: Path) -> None:
    source = relation.resnet("resnet18", None)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    network = relation.ResNetMaps("resnet18", tmp_path / "w.pth")
    assert torch.equal(network.body[0].weight, source.conv1.weight)
    assert network(torch.full((2, 1, 64, 64), 128.0)).shape == (2, 512, 2, 2)
    assert network.wide == 512
    images = np.zeros((3, 40, 40), np.uint8)
    assert relation.pooled(network, images, side=64).shape == (3, 512)


def test_weights_that_are_not_there_or_of_another_network_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="weights not present"):
        relation.resnet("resnet101", tmp_path / "gone.pth")
    torch.save({"layer": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="does not hold the weights of torchvision's resnet18"):
        relation.resnet("resnet18", tmp_path / "other.pth")
    with pytest.raises(UsageError, match="no backbone"):
        relation.maps_of("vgg16")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=r"nothing is fetched, so put https://.*resnet50-.*\.pth"):
        relation.resnet("resnet50", "imagenet")


def test_weights_in_the_folder_of_downloads_are_checked_by_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(relation.resnet("resnet18", None).state_dict(), tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()

    class Listed:
        class DEFAULT:
            url = f"https://example.org/resnet18-{digest[:8]}.pth"

    (tmp_path / "checkpoints").mkdir()
    place = tmp_path / "checkpoints" / f"resnet18-{digest[:8]}.pth"
    (tmp_path / "w.pth").rename(place)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(relation.torchvision.models, "get_model_weights", lambda name: Listed)
    assert relation.resnet("resnet18", "imagenet").fc.in_features == 512
    place.write_bytes(place.read_bytes() + b"x")
    with pytest.raises(UsageError, match="is not whole"):
        relation.resnet("resnet18", "imagenet")


def test_one_kind_alone_teaches_nothing(tmp_path: Path) -> None:
    real, used = striped(np.random.default_rng(4), 8)
    with pytest.raises(UsageError, match="give some of each"):
        relation.train(real, used | True, real, PLAN, tmp_path, Tiny)
    with pytest.raises(UsageError, match="give some of each"):
        relation.train(real, used, real[:0], PLAN, tmp_path, Tiny)
