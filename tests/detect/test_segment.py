"""Segmentation: maps by tiles, forests as arrays, label images; by hand, on drawn pictures of known truth."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from twinscope import models
from twinscope.detect import forest, maps, segment
from twinscope.errors import ModelError, UsageError
from twinscope.settings import Segment

RNG = np.random.default_rng(4)


def scene(height: int = 120, width: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw grainy discs on smooth ground of the same grey; return the picture and the mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(4):
        spot = (int(rng.integers(20, width - 20)), int(rng.integers(20, height - 20)))
        cv2.circle(mask, spot, int(rng.integers(14, 24)), 1, -1)
    grain = rng.normal(0, 1, mask.shape)
    level = 120 + 25 * grain * mask + 12 * cv2.GaussianBlur(grain, (0, 0), 6) * 6 * (1 - mask)
    return np.clip(level, 0, 255).astype(np.uint8), mask > 0


# --- maps -------------------------------------------------------------------------------------------------------


def test_maps_stand_for_two_pixels_a_side_and_any_size_goes() -> None:
    for size in ((17, 33), (64, 64), (121, 90, 3), (5, 300)):
        image = RNG.integers(0, 256, size, dtype=np.uint8)
        seen = maps.features(image, "maps-1", Segment(plain=False), 1)
        assert seen.shape == (224, -(-size[0] // 2), -(-size[1] // 2))
        assert np.isfinite(seen).all()


def test_tiles_give_what_the_whole_picture_gives() -> None:
    image = scene(230, 310)[0]
    whole = maps.features(image, "maps-1", Segment(plain=False), 1)
    tiled = maps.features(image, "maps-1", Segment(plain=False, tile_px=64), 1)
    np.testing.assert_allclose(tiled, whole, atol=1e-4)
    assert whole.std() > 0.1


def test_the_tiles_cover_the_grid_once() -> None:
    seen = np.zeros((15 * 8, 22 * 8), int)
    for (y, x), (top, bottom, left, right), window in maps.tiles(240, 352, Segment(tile_px=96)):
        assert all(side % 16 == 0 for side in window)
        assert (2 * (y - top), 2 * (x - left)) == (window[0], window[2])
        seen[y : y + bottom - top, x : x + right - left] += 1
    assert (seen == 1).all()


def test_features_lie_where_they_are_seen() -> None:
    """A dot moves the features most near itself, at every size of map, on the mean over places of the dot."""
    plain = np.full((128, 128), 100, np.uint8) + RNG.integers(0, 9, (128, 128), dtype=np.uint8)
    before = maps.features(plain, "maps-1", Segment(plain=False), 1)
    off: list[list[float]] = []
    for k in range(16):
        spot = (60 + k, 50 + 5 * k % 16)
        moved = np.abs(
            maps.features(cv2.circle(plain.copy(), spot, 3, 140, -1), "maps-1", Segment(plain=False), 1) - before
        )
        for part in (slice(0, 32), slice(32, 96), slice(96, 224)):  # 1/2, 1/4, 1/8
            power = (moved[part] ** 2).sum(0) ** 2
            y, x = np.indices(power.shape)
            off.append(
                [float((one * power).sum() / power.sum()) * 2 + 0.5 - at for one, at in zip((x, y), spot, strict=True)]
            )
    assert np.abs(np.reshape(off, (16, 3, 2)).mean(0)).max() < 1.5  # from the middle of the stride it would be 2.5


def test_planes_are_standardised_over_the_whole_picture() -> None:
    values = RNG.random((50, 70)).astype(np.float32)
    for channels in (1, 4):
        seen = maps.planes(values, channels)
        assert seen.shape == (channels, 64, 80)
        inner = seen[:, :50, :70]
        np.testing.assert_allclose(inner.mean((1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(inner.std((1, 2)), 1, atol=2e-3)
    np.testing.assert_array_equal(seen[:, 50], seen[:, 49])  # what is missing is the picture mirrored
    flat = maps.planes(np.full((32, 32), 0.5, np.float32), 4)
    np.testing.assert_allclose(flat, 0, atol=1e-3)


def test_tones_are_those_that_the_network_learned_with() -> None:
    torch = pytest.importorskip("torch")
    from twinscope.train import networks

    image = scene(96, 128)[0]
    expected = networks.tones(torch.as_tensor(image[None, None]).float())[0].numpy()
    np.testing.assert_allclose(maps.planes(maps.grey(image), 4), expected, atol=1e-4)


def test_the_maps_are_those_of_the_shipped_network() -> None:
    image = scene(96, 96)[0]
    theirs = models.load("embedder-1", 1).outputs(image[None], ("maps_8",))[0][0]
    ours = maps.features(image, "maps-1", Segment(plain=False), 1)[96:]
    np.testing.assert_allclose(ours[:, ::4, ::4], theirs, atol=1e-3)  # value k of a map stands at pixel 8 k
    between = (theirs[:, 1, 1] + theirs[:, 1, 2]) / 2
    np.testing.assert_allclose(ours[:, 4, 6], between, atol=1e-3)


def test_plain_channels_by_hand() -> None:
    image = np.zeros((40, 60), np.uint8)
    image[:, 30:] = 200
    seen = maps.plain(image)
    assert seen.shape == (14, 20, 30)
    assert seen[0, 5, 3] == pytest.approx(-1, abs=0.01)
    assert seen[0, 5, 25] == pytest.approx(1, abs=0.01)
    assert int(np.argmax(seen[2, 10])) in (14, 15)  # the slope is at the step
    assert seen[-1, 0, [0, -1]] == pytest.approx([0, 1], abs=1e-5)


def test_what_gives_no_maps_is_refused() -> None:
    with pytest.raises(UsageError, match="gives no maps"):
        maps.features(scene()[0], "embedder-1", Segment(), 1)


# --- forest -----------------------------------------------------------------------------------------------------


def grown(seed: int = 0, leaf: int = 5) -> tuple[forest.Forest, np.ndarray, np.ndarray]:
    values = np.random.default_rng(9).normal(0, 1, (1200, 6)).astype(np.float32)
    labels = (values[:, 2] + 0.3 * values[:, 4] ** 2) > 0.2
    return forest.grow(values, labels, 7, leaf, seed), values, labels


def test_votes_are_those_of_scikit_learn() -> None:
    from sklearn.ensemble import RandomForestClassifier

    trees, values, labels = grown()
    theirs = RandomForestClassifier(7, min_samples_leaf=5, random_state=0).fit(values, labels)
    fresh = np.random.default_rng(1).normal(0, 1, (40_000, 6)).astype(np.float32)
    fresh[:1200] = values  # thresholds lie between values that were seen
    votes = forest.vote(trees, np.ascontiguousarray(fresh.T).reshape(6, 200, 200))
    assert votes.shape == (200, 200)
    np.testing.assert_allclose(votes.ravel(), theirs.predict_proba(fresh)[:, 1], atol=1e-6)


def test_a_forest_by_hand() -> None:
    """One question, `feature 1 <= .5`, then one leaf each; and a second tree that is a leaf."""
    trees = forest.Forest(
        np.array([0, 3], np.int32), np.array([1, -1, -1, -1], np.int16), np.array([0.5, 0, 0, 0], np.float32),
        np.array([1, 0, 0, 0], np.int32), np.array([2, 0, 0, 0], np.int32), np.array([9, 0.25, 1, 0.5], np.float32),
    )  # fmt: skip
    votes = forest.vote(trees, np.array([[0, 0, 0], [0.4, 0.5, 0.6]], np.float32))
    np.testing.assert_allclose(votes, [0.375, 0.375, 0.75])


def test_a_model_comes_back_bit_for_bit_and_is_no_pickle(tmp_path: Path) -> None:
    trees = grown()[0]
    for name in ("a.model", "b.model"):
        forest.save(tmp_path / name, grown()[0], {"features": 6, "note": "x"})
    data = (tmp_path / "a.model").read_bytes()
    assert data == (tmp_path / "b.model").read_bytes()
    back, card = forest.load(tmp_path / "a.model")
    assert (card["features"], card["note"]) == (6, "x")
    for one, other in zip(trees, back, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert data[8:9] == b"{"  # a header of JSON, then arrays
    assert b"sklearn" not in data
    assert grown(seed=1)[0].threshold.tolist() != trees.threshold.tolist()


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.model"
    for content in (b"", b"PK\x03\x04", b"\x80\x04pickle", b"\xff" * 100, (10**9).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"x\.model is no model"):
            forest.load(path)
    with pytest.raises(ModelError, match="is no model"):
        forest.load(tmp_path / "none.model")
    with pytest.raises(ModelError, match="is no model"):
        forest.load(tmp_path)


@pytest.mark.parametrize("harm", ["loop", "beyond", "feature", "nan", "short", "root", "kind"])
def test_trees_that_lead_nowhere_are_refused(tmp_path: Path, harm: str) -> None:
    trees = grown()[0]
    parts = {name: part.copy() for name, part in trees._asdict().items()}
    if harm == "loop":
        parts["left"][0] = 0
    elif harm == "beyond":
        parts["right"][0] = len(parts["right"])
    elif harm == "feature":
        parts["feature"][0] = 6
    elif harm == "nan":
        parts["probability"][3] = np.nan
    elif harm == "short":
        parts["left"] = parts["left"][:-1]
    elif harm == "root":
        parts["roots"][0] = 1
    else:
        parts["threshold"] = parts["threshold"].astype(np.float64)
    forest.save(tmp_path / "x.model", forest.Forest(**parts), {"features": 6})
    with pytest.raises(ModelError, match="damaged"):
        forest.load(tmp_path / "x.model")


# --- labels -----------------------------------------------------------------------------------------------------


def test_what_masks_say_by_hand() -> None:
    mask = np.array([[0, 0, 5, 5, 0], [0, 0, 5, 0, 0], [7, 0, 1, 2, 2]])
    assert segment.labelled(mask, scribbles=False).tolist() == [[0, 1, 0], [-1, 1, 1]]
    assert segment.labelled(mask, scribbles=True).tolist() == [[-1, 1, -1], [1, -1, 1]]


def test_places_are_drawn_in_the_shares_that_the_kinds_have() -> None:
    told = np.full((100, 100), -1, np.int8)
    told[:80], told[80:90] = 0, 1
    values = np.arange(10_000, dtype=np.float32).reshape(1, 100, 100)
    rng = np.random.default_rng(0)
    places = segment.drawn(values, told, Segment(), 10**6, rng)
    assert (len(places.objects), places.objects.sum()) == (4500, 500)  # half of 9,000, a ninth of them objects
    assert (places.objects == ((places.values[:, 0] >= 8000) & (places.values[:, 0] < 9000))).all()
    assert len(np.unique(places.values)) == 4500
    assert len(segment.drawn(values, told, Segment(), 900, rng).objects) == 900
    told[:] = -1
    told[3, :50], told[4, 0] = 0, 1
    few = segment.drawn(values, told, Segment(), 10, rng)
    assert few.objects.sum() == 1  # a kind that is there is never left out


def test_places_of_a_few_strokes_are_all_kept() -> None:
    told = np.full((50, 50), -1, np.int8)
    told[5, :30], told[9, :10] = 0, 1
    places = segment.drawn(np.zeros((2, 50, 50), np.float32), told, Segment(), 1000, np.random.default_rng(0))
    assert (len(places.objects), places.objects.sum()) == (40, 10)
    assert [segment.leaf(Segment(), n) for n in (10, 5000, 10**6)] == [1, 10, 20]


def test_a_border_moves_to_the_edge_of_the_picture() -> None:
    image = np.full((60, 80), 60, np.uint8)
    image[:, 41:] = 180  # not where places of 2x2 px have a border
    small = np.zeros((30, 40), np.float32)
    small[:, 20:] = 1
    rough = segment.enlarged(small, image.shape)
    assert (rough[30] > 0.5).argmax() == 40
    fine = segment.guided(rough, image, Segment())
    assert (fine[30] > 0.5).argmax() == 41
    assert np.array_equal(segment.guided(rough, image, Segment(edge_px=0)), rough)


def test_without_an_edge_probabilities_are_smoothed_and_stay_probabilities() -> None:
    image = np.full((40, 40), 90, np.uint8)
    rough = np.zeros((40, 40), np.float32)
    rough[20, 20] = 1
    smooth = segment.guided(rough, image, Segment(edge_px=1))
    weights = np.array([1, 2, 3, 2, 1]) / 9  # the mean of a mean of three
    assert np.allclose(smooth[18:23, 18:23], np.outer(weights, weights), atol=1e-6)
    noisy = np.asarray(np.random.default_rng(1).integers(0, 256, (40, 40)), np.uint8)
    out = segment.guided(np.asarray(noisy / 255, np.float32), noisy, Segment())
    assert 0 <= out.min() <= out.max() <= 1


def test_a_mask_of_another_size_is_refused() -> None:
    image, mask = scene()
    with pytest.raises(UsageError, match="150 x 120 px and its mask 75 x 120"):
        segment.sample(image, mask[:, ::2], "maps-1", Segment(), 10, np.random.default_rng(0))


def test_what_is_learned_from_one_picture_is_found_in_another() -> None:
    settings = Segment(trees=5)
    (image, mask), (other, truth) = scene(seed=1), scene(seed=2)
    places = segment.sample(image, mask, "maps-1", settings, 4000, np.random.default_rng(0), threads=1)
    trees = forest.grow(places.values, places.objects, settings.trees, segment.leaf(settings, 4000), 0)
    probable = segment.probability(other, trees, "maps-1", settings, 1)
    assert probable.shape == other.shape
    found = segment.objects(probable, settings) > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.75


def test_objects_by_hand() -> None:
    probable = np.zeros((60, 80), np.float32)
    probable[5:15, 5:15] = 0.9
    probable[40:50, 60:75] = 0.6
    probable[30:34, 2:6] = 0.9  # 16 px: too small
    probable[52:58, 2:20] = 0.5  # not above the threshold
    labels = segment.objects(probable, Segment())
    assert labels.dtype == np.uint16
    assert (np.unique(labels).tolist(), labels[10, 10], labels[45, 70]) == ([0, 1, 2], 1, 2)
    rows = segment.areas(labels, probable)
    assert rows[0] == {"label": 1, "area_px": 100, "x_px": 9.5, "y_px": 9.5, "probability": 0.9}
    assert [row["area_px"] for row in rows] == [100, 150]
    assert segment.objects(np.zeros((5, 7), np.float32), Segment()).shape == (5, 7)
    assert segment.areas(np.zeros((5, 7), np.uint16), np.zeros((5, 7), np.float32)) == []


def test_touching_discs_are_cut_at_the_neck_and_a_disc_is_not() -> None:
    probable = np.zeros((80, 160), np.float32)
    for x in (40, 72, 130):
        cv2.circle(probable, (x, 40), 20, 1.0, -1)
    labels = segment.objects(probable, Segment())
    assert int(labels.max()) == 3
    assert len({int(labels[40, x]) for x in (30, 82, 130)}) == 3
    np.testing.assert_array_equal(labels > 0, probable > 0.5)  # nothing is lost between them
    cut = np.flatnonzero(np.diff(labels[40, 25:90].astype(int))) + 25
    assert cut.tolist() == pytest.approx([56], abs=2)
    assert int(segment.objects(probable, Segment(neck=0)).max()) == 2
    blob = np.zeros((60, 100), np.float32)
    cv2.ellipse(blob, (50, 30), (40, 15), 0, 0, 360, 1.0, -1)
    assert int(segment.objects(blob, Segment()).max()) == 1  # long, and no neck


def test_objects_at_the_rim_keep_their_pixels() -> None:
    probable = np.zeros((50, 50), np.float32)
    probable[:12, :50] = 1
    probable[20:, 40:] = 1
    labels = segment.objects(probable, Segment())
    np.testing.assert_array_equal(labels > 0, probable > 0.5)
    assert int(labels.max()) == 2


def test_outlines_lie_inside_of_objects() -> None:
    labels = np.zeros((20, 30), np.uint16)
    labels[5:12, 5:15], labels[5:12, 15:25] = 1, 2
    image = np.full((20, 30), 50, np.uint8)
    drawn = segment.overlay(image, labels)
    yellow = (drawn == segment.OUTLINE).all(2)
    assert yellow[5, 5:25].all()
    assert yellow[5:12, 14:16].all()  # between two that touch
    assert not (yellow & (labels == 0)).any()
    assert not yellow[8, 7:13].any()
    assert (drawn[~yellow] == 50).all()
    assert (image == 50).all()


def test_the_card_of_the_maps_names_the_network(tmp_path: Path) -> None:
    card = models.load("maps-1", 1).card
    shipped = models.load("embedder-1", 1).card
    assert card.training["network"] == "embedder-1"
    assert card.training["sha256"] == shipped.sha256
    assert json.loads(card.model_dump_json())["probe"]["dtype"] == "float32"
