"""Why the metric says so: the gradient is right, the map depends on the network, and it points at what was edited."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.detect.scenes import byte, cells, real, scene

from twinscope import manipulate, pixels
from twinscope.detect import explain
from twinscope.detect.embed import MODEL, distances, embed
from twinscope.errors import ModelError
from twinscope.models import card as card_module
from twinscope.models import runtime


def point_of(maps_8: NDArray[np.float64], maps_16: NDArray[np.float64], head: explain.Head) -> NDArray[np.float64]:
    """The network's end, written down once more: GeM, GeM and mean; linear; onto the sphere."""

    def gem(maps: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((np.maximum(maps, 1e-4) ** head.power).mean((1, 2)) ** (1 / head.power))

    u = head.weight @ np.concatenate([gem(maps_8), gem(maps_16), maps_16.mean((1, 2))]) + head.bias
    return np.asarray(head.radius * u / np.linalg.norm(u))


def test_maps_have_the_pixels_of_their_pictures_and_one_scale() -> None:
    wide, tall = cells(0, 50, 400), np.repeat(cells(1, 300, 90)[..., None], 3, 2)
    told = explain.explain(wide, tall)
    assert (told.a.shape, told.b.shape) == ((50, 400), (300, 90))
    assert told.a.dtype == told.b.dtype == np.float32
    assert max(np.abs(told.a).max(), np.abs(told.b).max()) == pytest.approx(1)
    for field in (told.a, told.b):
        assert field.min() < -0.05 < 0.05 < field.max()
    assert told.distance == pytest.approx(float(distances(embed([wide]), embed([tall]))[0, 0]), abs=1e-4)


def test_each_map_belongs_to_its_own_picture() -> None:
    a, b = cells(0), cells(1)
    there, back = explain.explain(a, b), explain.explain(b, a)
    assert np.allclose(there.a, back.b, atol=1e-3)
    assert np.allclose(there.b, back.a, atol=1e-3)
    assert not np.allclose(there.a, there.b, atol=0.2)


def test_the_same_picture_twice_leaves_nothing_to_explain() -> None:
    for picture in (cells(0), scene(1)):
        told = explain.explain(picture, picture.copy())
        assert told.distance < explain.NEAR / 10
        assert not told.a.any()
        assert not told.b.any()


def test_no_pair_of_pictures_gives_nan() -> None:
    touched = cells(0)
    touched[100, 100] ^= 1
    flat = [np.full((64, 64), value, np.uint8) for value in (0, 128, 255)]
    pictures = [*flat, cells(0), touched, flat[0][:1, :1]]
    for a in pictures:
        for b in pictures:
            told = explain.explain(a, b)
            assert np.isfinite(told.distance)
            for field in (told.a, told.b):
                assert np.isfinite(field).all()
                assert np.abs(field).max() <= 1


def test_the_gradient_is_that_of_finite_differences() -> None:
    one, other = explain.look([cells(0), cells(1)])
    head = explain.head()
    maps = [one.maps_8.astype(np.float64), one.maps_16.astype(np.float64)]
    assert np.allclose(point_of(maps[0], maps[1], head), one.point, atol=1e-3)
    exact = one._replace(point=point_of(maps[0], maps[1], head))
    slopes = explain.gradients(exact, other, head)
    rng, step = np.random.default_rng(0), 1e-5
    for which in (0, 1):
        alive = np.argwhere(maps[which] > 0.01)
        for place in map(tuple, alive[rng.permutation(len(alive))[:40]]):
            far = []
            for sign in (1, -1):
                moved = [part.copy() for part in maps]
                moved[which][place] += sign * step
                far.append(np.linalg.norm(point_of(moved[0], moved[1], head) - other.point))
            truth = (far[0] - far[1]) / (2 * step)
            assert slopes[which][place] == pytest.approx(truth, rel=1e-3, abs=1e-8)


def test_a_map_tells_how_the_distance_answers_to_each_place_of_its_own_picture() -> None:
    """Turning a place of a picture's maps up by a little must change the distance by what the map has there."""
    pictures = cells(0), scene(5)
    seen, head, step = explain.look(pictures), explain.head(), 1e-6
    maps = [[part.astype(np.float64) for part in (one.maps_8, one.maps_16)] for one in seen]
    seen = [one._replace(point=point_of(*part, head)) for one, part in zip(seen, maps, strict=True)]
    truth = []
    for side, (one, part) in enumerate(zip(seen, maps, strict=True)):
        rates = []
        for k, size in enumerate((12, 6)):
            rate = np.zeros((size, size), np.float32)
            for y, x in np.ndindex(size, size):
                turned = [values.copy() for values in part]
                turned[k][:, y, x] *= 1 + step
                far = [np.linalg.norm(point - seen[1 - side].point) for point in (point_of(*turned, head), one.point)]
                rate[y, x] = (far[0] - far[1]) / step
            rates.append(rate)
        truth.append(rates[0] / 64 + cv2.resize(rates[1], (12, 12), interpolation=cv2.INTER_LINEAR) / 256)
    told = explain.why(seen[0], seen[1], head, (12, 12), (12, 12))
    scale = max(np.abs(field).max() for field in truth)
    assert np.allclose(told.a, truth[0] / scale, atol=5e-3)
    assert np.allclose(told.b, truth[1] / scale, atol=5e-3)


def test_shares_count_each_sign_by_itself() -> None:
    assert explain.shares(np.array([[1, -0.5], [0, 0]], np.float32)) == {"differ": 0.25, "alike": 0.125}


def test_a_network_without_maps_is_told() -> None:
    with pytest.raises(ModelError, match="embedder-0 gives no"):
        explain.explain(cells(0), cells(1), "embedder-0")


# --- sanity: the map must depend on the network -----------------------------------------------------------------


def correlation(a: explain.Explanation, b: explain.Explanation) -> float:
    rows = (np.concatenate([told.a.ravel(), told.b.ravel()]) for told in (a, b))
    return float(np.corrcoef(*rows)[0, 1])


def test_another_head_gives_another_map() -> None:
    head, rng = explain.head(), np.random.default_rng(0)
    other = head._replace(weight=rng.permuted(head.weight, axis=None).reshape(head.weight.shape))
    same, changed = [], []
    for seed in range(6):
        a, b = explain.look([cells(2 * seed), cells(2 * seed + 1)])
        moved = [
            seen._replace(point=point_of(seen.maps_8.astype(float), seen.maps_16.astype(float), other))
            for seen in (a, b)
        ]
        first = explain.why(a, b, head, (96, 96), (96, 96))
        same.append(correlation(first, explain.why(a, b, head, (96, 96), (96, 96))))
        changed.append(correlation(first, explain.why(moved[0], moved[1], other, (96, 96), (96, 96))))
    assert min(same) == pytest.approx(1)
    assert np.mean(np.abs(changed)) < 0.8  # a random projection of the same maps keeps much of their differences


def test_random_weights_give_another_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    graph = onnx.load(str(card_module.WEIGHTS / f"{MODEL}.onnx"))
    for part in graph.graph.initializer:
        if len(part.dims) >= 2:
            values = onnx.numpy_helper.to_array(part)
            mixed = rng.permuted(values, axis=None).reshape(values.shape)
            part.CopyFrom(onnx.numpy_helper.from_array(mixed, part.name))
    card = card_module.read(card_module.CARDS / f"{MODEL}.json")
    pairs = [(cells(2 * k), cells(2 * k + 1)) for k in range(6)]
    trained = [explain.explain(a, b) for a, b in pairs]
    data = graph.SerializeToString()
    (tmp_path / "random.onnx").write_bytes(data)
    changed = {"id": "random", "file": "random.onnx", "sha256": hashlib.sha256(data).hexdigest()}
    card_module.write(card.model_copy(update=changed), tmp_path / "random.json")
    monkeypatch.setattr(card_module, "CARDS", tmp_path)
    monkeypatch.setattr(card_module, "WEIGHTS", tmp_path)
    runtime.load.cache_clear()
    random = [explain.explain(a, b, "random") for a, b in pairs]
    runtime.load.cache_clear()
    assert np.mean([abs(correlation(*both)) for both in zip(trained, random, strict=True)]) < 0.3


# --- sanity: it must point at what was edited -------------------------------------------------------------------


def edits(donor: NDArray[np.float32]) -> list[Callable[..., manipulate.Manipulated]]:
    return [
        lambda image, rng: manipulate.erase(image, rng, value=float(np.median(image))),
        lambda image, rng: manipulate.clone(image, rng, feather_px=2),
        lambda image, rng: manipulate.splice(image, rng, donor, feather_px=2),
        manipulate.retouch,
    ]


def factor(pictures: Sequence[NDArray[np.uint8]]) -> tuple[float, float]:
    """Of what differs, the share inside the mask, over the share of area that the mask has: the mean in b and a."""
    found = []
    for k, picture in enumerate(pictures):
        for number, edit in enumerate(edits(real(pictures[k - 1]))):
            made = edit(real(picture), np.random.default_rng([k, number]))
            told = explain.explain(picture, byte(made.image))
            both = [np.maximum(field, 0) for field in (told.b, told.a)]
            found.append([part[made.mask].sum() / max(part.sum(), 1e-9) / made.mask.mean() for part in both])
    return tuple(np.mean(found, axis=0))


def test_what_differs_lies_where_drawn_pictures_were_edited() -> None:
    in_b, in_a = factor([*map(cells, range(12)), *(scene(k, (256, 256)) for k in range(12))])
    assert in_b > 2
    assert in_a > 1.5


def test_what_differs_lies_where_micrographs_were_edited(shared: Path) -> None:
    rows = [line.split(",") for line in (shared / "data/micrographs/manifest.csv").read_text("utf-8").splitlines()]
    files = [row[0] for row in rows if row[6] == "val" and min(int(row[7]), int(row[8])) >= 300]
    pictures = []
    for file in files[:: len(files) // 24]:
        grey = pixels.grey(cv2.cvtColor(cv2.imread(str(shared / "data/micrographs" / file)), cv2.COLOR_BGR2RGB))
        pictures.append(byte(grey[-300:, -300:]))
    in_b, in_a = factor(pictures)
    assert in_b > 2
    assert in_a > 1.5
