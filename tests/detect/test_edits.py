"""Where a heat-map says that something was edited, and what kind of edit it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import real, scene

from twinscope.detect import edits
from twinscope.settings import Compare
from twinscope.types import Box

SETTINGS = Compare()
ALL = np.ones((200, 300), bool)


def heated(*boxes: tuple[int, int, int, int], value: float = 1.0) -> np.ndarray:
    out = np.zeros((200, 300), np.float32)
    for x0, y0, x1, y1 in boxes:
        out[y0:y1, x0:x1] = value
    return out


def test_regions_are_the_parts_above_the_threshold_the_largest_first() -> None:
    found = edits.regions(heated((10, 20, 30, 40), (100, 100, 150, 160)), ALL, ALL, SETTINGS)
    assert [tuple(box) for _, box in found] == [(100, 100, 150, 160), (10, 20, 30, 40)]
    assert found[0][0].sum() == 50 * 60
    assert edits.regions(heated((10, 20, 30, 40), value=0.49), ALL, ALL, SETTINGS) == []


def test_a_region_is_only_where_it_is_allowed_and_not_too_small() -> None:
    allowed = ALL.copy()
    allowed[:, 140:] = False
    ((_, box),) = edits.regions(heated((100, 100, 150, 160)), allowed, ALL, SETTINGS)
    assert tuple(box) == (100, 100, 140, 160)
    assert edits.regions(heated((10, 20, 13, 60)), ALL, ALL, SETTINGS) == []  # a line of 3 px
    assert edits.regions(heated((10, 20, 15, 25)), ALL, ALL, SETTINGS) == []  # 25 px, less than the least


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of cells (200, 300) on noisy ground, float32 in [0, 1]."""
    rng = np.random.default_rng(3)
    out = np.full((200, 300), 0.2, np.float32)
    for x, y in ((60, 60), (150, 50), (240, 70), (90, 140), (200, 150)):
        cell = np.zeros_like(out)
        cv2.ellipse(cell, (x, y), (16, 11), int(rng.integers(180)), 0, 360, 1.0, -1)
        grain = cv2.GaussianBlur(rng.normal(0, 1, out.shape).astype(np.float32), (0, 0), 2)
        out += cell * (0.4 + 0.6 * grain)
    out += rng.normal(0, 0.01, out.shape).astype(np.float32)
    return out.clip(0, 1), ALL


def region(x0: int, y0: int, x1: int, y1: int) -> tuple[np.ndarray, Box]:
    mask = np.zeros((200, 300), bool)
    mask[y0:y1, x0:x1] = True
    return mask, Box(float(x0), float(y0), float(x1), float(y1))


def ground(rng_seed: int, shape: tuple[int, int]) -> np.ndarray:
    return (0.2 + np.random.default_rng(rng_seed).normal(0, 0.01, shape)).astype(np.float32)


def test_a_cell_that_is_gone_is_erased_and_the_other_way_round_added() -> None:
    a, clean = pair()
    b = a.copy()
    b[40:80, 38:82] = ground(1, (40, 44))
    assert edits.told(*region(38, 40, 82, 80), *edits.both(a, b, clean)).kind == "erased"
    assert edits.told(*region(38, 40, 82, 80), *edits.both(b, a, clean)).kind == "added"


def test_a_copied_cell_is_cloned_and_its_source_is_told() -> None:
    a, clean = pair()
    b = a.copy()
    b[120:164, 20:64] = a[28:72, 128:172]
    noisy = b + np.random.default_rng(5).normal(0, 0.01, b.shape).astype(np.float32)
    found = edits.told(*region(20, 120, 64, 164), *edits.both(a, noisy, clean))
    assert (found.kind, found.side) == ("cloned", "b")
    assert tuple(found.source or ()) == (128, 28, 172, 72)
    back = edits.told(*region(20, 120, 64, 164), *edits.both(noisy, a, clean))
    assert (back.kind, back.side, back.source) == ("cloned", "a", found.source)


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_copy_of_fine_grain_an_odd_shift_away_is_told(shift: tuple[int, int]) -> None:
    rng = np.random.default_rng(8)
    grain = cv2.GaussianBlur(rng.standard_normal((200, 300)).astype(np.float32), (0, 0), 0.9)
    picture = np.clip(0.5 + 0.15 * grain / grain.std(), 0, 1).astype(np.float32)
    y, x = 30 + shift[1], 180 + shift[0]
    picture[120:164, 20:64] = picture[y : y + 44, x : x + 44]
    mask, box = region(20, 120, 64, 164)
    assert edits.copied_from(edits.Side(picture, ALL), mask, box) == (x, y, x + 44, y + 44)
    assert edits.copied_from(edits.Side(picture, ALL), *region(100, 60, 144, 104)) is None


@pytest.mark.parametrize(("shape", "box"), [((61, 90), (10, 5, 31, 40)), ((128, 37), (0, 100, 12, 128))])
def test_likeness_is_the_correlation_at_every_place(shape: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(4)
    picture = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 1.0)
    picture[:25, :25] = 0.5  # nothing is to be seen there
    own = edits.Side(picture, np.ones(shape, bool))
    window = np.s_[box[1] : box[3], box[0] : box[2]]
    weight = (rng.random(picture[window].shape) < 0.8).astype(np.float32)
    found = edits.likeness(own, window, weight)
    assert found.shape == (shape[0] - weight.shape[0] + 1, shape[1] - weight.shape[1] + 1)
    counted, truth = weight > 0, np.empty_like(found)
    part = own.fine[window][counted]
    for y, x in np.ndindex(*found.shape):
        there = own.fine[y : y + weight.shape[0], x : x + weight.shape[1]][counted]
        blank = there.var() <= edits.EMPTY * part.var()
        truth[y, x] = -1 if blank else np.corrcoef(part, there)[0, 1]
    assert np.abs(found - truth).max() < 1e-3
    assert found[box[1], box[0]] == pytest.approx(1, abs=1e-5)
    theirs = cv2.matchTemplate(own.fine, np.ascontiguousarray(own.fine[window]), cv2.TM_CCOEFF_NORMED, mask=weight)
    assert np.abs(found - theirs)[truth > -1].max() < 2e-3


def test_a_place_without_anything_is_like_no_region() -> None:
    picture = np.full((240, 240), 0.5, np.float32)
    grain = np.random.default_rng(1).random((30, 30)).astype(np.float32)
    picture[10:40, 10:40] += cv2.GaussianBlur(grain, (0, 0), 1)
    own = edits.Side(picture, np.ones(picture.shape, bool))
    found = edits.likeness(own, np.s_[10:40, 10:40], np.ones((30, 30), np.float32))
    assert np.isfinite(found).all()
    assert found[10, 10] == pytest.approx(1, abs=1e-5)
    assert (found[150:, 150:] == -1).all()


def test_what_is_like_many_places_is_a_copy_of_none() -> None:
    y, x = np.mgrid[0:200, 0:300].astype(np.float32)
    lattice = (0.5 + 0.2 * np.sin(x / 4) * np.sin(y / 4)).astype(np.float32)
    a = lattice.copy()
    a[60:100, 60:100] = 0.5
    assert edits.copied_from(edits.Side(lattice, ALL), *region(60, 60, 100, 100)) is None
    found = edits.told(*region(60, 60, 100, 100), *edits.both(a, lattice, ALL))
    assert found.kind == "added"


def test_the_same_content_in_other_tones_is_tone() -> None:
    a, clean = pair()
    b = a.copy()
    b[40:80, 38:82] = 0.6 * a[40:80, 38:82] + 0.3
    assert edits.told(*region(38, 40, 82, 80), *edits.both(a, b, clean)).kind == "tone"


def test_the_rim_of_a_region_does_not_hide_that_only_its_tones_are_others() -> None:
    a, clean = pair()
    x, y = np.meshgrid(np.arange(300), np.arange(200))
    inside = np.hypot((x - 60) / 24, (y - 60) / 20) < 1
    b = np.where(inside, 0.35 * a, a + 0.0).astype(np.float32)
    b[~inside & (np.hypot((x - 60) / 28, (y - 60) / 24) < 1)] = 0.9  # what a careless brush leaves
    mask = np.hypot((x - 60) / 26, (y - 60) / 22) < 1
    assert edits._alike(a, b, mask) < edits.SAME_TONE
    assert edits.told(mask, Box(34, 38, 86, 82), *edits.both(a, b, clean)).kind == "tone"


def test_other_tones_are_told_where_nothing_is_left_of_a_region_without_its_rim() -> None:
    a, clean = pair()
    mask, box = region(20, 57, 280, 63)  # a narrow strip across cells
    b = np.where(mask, 0.5 * a, a).astype(np.float32)
    assert not edits._without_rim(mask).any()
    assert edits.told(mask, box, *edits.both(a, b, clean)).kind == "tone"


def test_other_tones_are_told_where_a_region_is_even_within_its_rim() -> None:
    a, clean = pair()
    x, y = np.meshgrid(np.arange(300), np.arange(200))
    far = np.hypot(x - 60, y - 60)
    a[far < 20] = 0.8  # a cell without any detail
    mask = far < 23
    b = np.where(mask, 0.5 * a, a).astype(np.float32)
    assert edits._alike(a, b, edits._without_rim(mask)) == 0
    assert edits.told(mask, Box(37, 37, 83, 83), *edits.both(a, b, clean)).kind == "tone"


def test_a_plain_region_differs_as_the_pictures_do_nowhere_else() -> None:
    a, clean = pair()
    b = a.copy()
    b[40:80, 38:82] += 0.1
    found = [region(38, 40, 82, 80), region(200, 120, 240, 160)]
    assert edits.plain(found, a, b, clean) == found[:1]
    worn = b + np.random.default_rng(1).normal(0, 0.05, b.shape).astype(np.float32)
    assert edits.plain(found, a, worn, clean) == []
    assert edits.plain([], a, b, clean) == []


def test_other_content_as_plain_as_before_is_only_changed() -> None:
    a, clean = pair()
    b = a.copy()
    other = real(scene(5))[:40, :44]
    b[40:80, 38:82] = (other - other.mean()) * (a[40:80, 38:82].std() / other.std()) + a[40:80, 38:82].mean()
    assert edits.told(*region(38, 40, 82, 80), *edits.both(a, b, clean)).kind == "changed"


def test_a_region_that_nothing_is_known_of_is_only_changed() -> None:
    a, _ = pair()
    assert edits.told(*region(38, 40, 82, 80), *edits.both(a, 1 - a, np.zeros_like(ALL))).kind == "changed"


def texture(seed: int) -> np.ndarray:
    fine = np.random.default_rng(seed).standard_normal((200, 300)).astype(np.float32)
    return np.clip(0.5 + 0.6 * cv2.GaussianBlur(fine, (0, 0), 2), 0, 1)


@pytest.mark.parametrize(
    ("size", "told"), [((9, 40), False), ((24, 40), True), ((40, 9), False), ((235, 40), False), ((40, 180), False)]
)
def test_what_is_too_small_or_too_large_is_not_searched_for(size: tuple[int, int], told: bool) -> None:
    b, (width, height) = texture(1), size
    y, x = (150, 20) if height < 50 else (5, 120)
    b[y : y + height, x : x + width] = texture(1)[5 : 5 + height, 60 : 60 + width]
    found = edits.copied_from(edits.Side(b, ALL), *region(x, y, x + width, y + height))
    assert (found is not None) is told
    assert not told or tuple(found or ()) == (60, 5, 60 + width, 5 + height)


def test_the_rim_of_a_region_has_no_say_in_where_it_was_copied_from() -> None:
    b = texture(1)
    b[126:174, 26:74] = texture(1)[16:64, 206:254]
    found = edits.copied_from(edits.Side(b, ALL), *region(20, 120, 80, 180))  # 6 px more all round than was copied
    assert tuple(found or ()) == (200, 10, 260, 70)
