"""Outlines, where nothing can be said, and the pieces that are enlarged."""

from __future__ import annotations

import re

import numpy as np
import pytest

from twinscope.report import edits
from twinscope.types import Box, Edit, Finding, Screening

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def finding(**changes: object) -> Finding:
    fields = {
        "id": "f", "kind": "duplicate", "a": "a", "b": "b", "verdict": "manipulated", "probability": 0.9,
        "expected_false": 0.1, "region_a": (0, 0, 90, 60), "region_b": (0, 0, 90, 60), "transform": IDENTITY,
    }  # fmt: skip
    return Finding.model_validate({**fields, **changes})


def test_an_outline_runs_where_the_map_reaches_the_level() -> None:
    heat = np.zeros((200, 300), np.uint8)
    heat[50:80, 100:160] = 255
    (outline,) = edits.outlines(heat, (400, 600))
    assert (*outline.min(axis=0), *outline.max(axis=0)) == pytest.approx((200, 100, 320, 160), abs=2)
    heat[50:80, 100:160] = 102
    assert edits.outlines(heat, (400, 600)) == []
    assert len(edits.outlines(heat, (400, 600), 0.39)) == 1


def test_a_hole_has_an_outline_of_its_own() -> None:
    mask = np.full((120, 120), 255, np.uint8)
    mask[40:80, 40:80] = 0
    outside, hole = sorted(edits.unsure(mask, (120, 120)), key=lambda one: -np.ptp(one))
    assert (*outside.min(axis=0), *outside.max(axis=0)) == pytest.approx((0, 0, 120, 120), abs=0.5)
    assert (*hole.min(axis=0), *hole.max(axis=0)) == pytest.approx((40, 40, 80, 80), abs=1)
    path = edits.path([outside, hole])
    assert path.count("M") == path.count("Z") == 2


def test_a_map_of_noise_has_few_points() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 720), np.uint8)
    assert sum(map(len, edits.outlines(noise, (900, 720)))) <= edits.MOST_POINTS


def test_the_colour_of_an_outline_goes_by_the_ground_beneath_it() -> None:
    image = np.full((100, 200, 3), 20, np.uint8)
    image[:, 100:] = 230
    left, right = (np.array([[x, 30.0], [x + 40, 30], [x + 40, 70], [x, 70]]) for x in (20.0, 140.0))
    dark, light = edits.by_ground(image, (100, 200), [right, left])
    assert [one is left for one in dark] == [True]
    assert [one is right for one in light] == [True]
    assert edits.by_ground(image[..., 0], (100, 200), []) == ([], [])


@pytest.mark.parametrize(
    "box", [(0, 0, 5, 5), (80, 50, 90, 60), (10, 20, 80, 26), (0, 0, 90, 60), (44.5, 10.25, 46, 58)]
)
def test_a_view_holds_its_box_with_a_margin_and_lies_in_the_panel(box: tuple[float, ...]) -> None:
    view = edits.view(Box(*box), (60, 90))
    assert view.x0 <= box[0] <= box[2] <= view.x1
    assert view.y0 <= box[1] <= box[3] <= view.y1
    assert min(view.x0, view.y0) >= 0
    assert (view.x1 <= 90, view.y1 <= 60) == (True, True)
    assert view.width >= min(90, box[2] - box[0] + 16)


def test_both_places_of_a_clone_are_seen_at_one_scale() -> None:
    edit = Edit(box_a=(0, 0, 10, 10), box_b=(100, 100, 120, 130), kind="cloned", source_b=(300, 250, 320, 280))
    (one,) = edits.shown(finding(edits=(edit,)), (400, 400), (400, 400))
    assert one.source_view is not None
    assert (one.view.width, one.view.height) == (one.source_view.width, one.source_view.height)
    assert one.source_view.x0 <= 300 <= 320 <= one.source_view.x1


def test_the_other_place_of_a_is_seen_in_the_frame_of_b() -> None:
    """b is a turned clockwise; a is 400 wide and 300 high, so that a pixel (x, y) comes to (299 - y, x)."""
    turned = ((0.0, -1.0, 299.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    edit = Edit(box_a=(350, 20, 370, 50), box_b=(250, 350, 280, 370), kind="cloned", source_a=(40, 100, 60, 130))
    (one,) = edits.shown(finding(edits=(edit,), transform=turned), (400, 300), (300, 400))
    assert one.source == pytest.approx((170, 40, 200, 60))
    assert one.view == edits.view(one.box_b, (400, 300))
    assert (one.source_a, one.source_b) == ((40, 100, 60, 130), None)
    assert one.source_view is not None
    assert (one.view.width, one.view.height) == (one.source_view.width, one.source_view.height)
    assert one.source_view.x0 <= 170 <= 200 <= one.source_view.x1
    assert one.source_view.y0 <= 40 <= 60 <= one.source_view.y1


def test_the_other_place_of_a_is_seen_where_b_does_not_reach() -> None:
    """b is the right half of a; the other place lies in the left half, well inside of a."""
    crop = ((1.0, 0.0, -200.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    edit = Edit(box_a=(300, 100, 320, 120), box_b=(100, 100, 120, 120), kind="cloned", source_a=(60, 200, 80, 220))
    (one,) = edits.shown(finding(edits=(edit,), transform=crop), (300, 200), (300, 400))
    assert one.source == (-140, 200, -120, 220)
    assert one.source_view is not None
    middle = (one.source_view.x0 + one.source_view.x1, one.source_view.y0 + one.source_view.y1)
    assert middle == pytest.approx((-260, 420))
    assert (one.view.width, one.view.height) == (one.source_view.width, one.source_view.height)
    edge = edit.model_copy(update={"source_a": (0, 0, 20, 20)})
    (one,) = edits.shown(finding(edits=(edge,), transform=crop), (300, 200), (300, 400))
    assert one.source_view is not None
    assert one.source_view[:2] == (-200, 0)  # as a ends there


def test_another_place_beyond_the_horizon_has_no_view() -> None:
    bent = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-0.02, 0.0, 1.0))  # nothing of a comes from beyond x = 50
    edit = Edit(box_a=(10, 10, 20, 20), box_b=(12, 12, 30, 30), kind="cloned", source_a=(60, 10, 70, 20))
    (one,) = edits.shown(finding(edits=(edit,), transform=bent), (60, 90), (60, 90))
    assert (one.source, one.source_view) == (None, None)
    seen = edit.model_copy(update={"source_a": (30, 10, 40, 20)})
    (one,) = edits.shown(finding(edits=(seen,), transform=bent), (60, 90), (60, 90))
    assert one.source is not None
    assert np.isfinite(one.source_view).all()


def test_the_level_is_that_of_the_screening_as_the_slider_can_have_it() -> None:
    made_by = {"twinscope": "0", "settings_sha256": "0"}  # as it was before it told the threshold
    for told, level in (({}, 0.5), ({"threshold": 0.9}, 0.9), ({"threshold": 0.123}, 0.12), ({"threshold": 1e-4}, 0.01),
                        ({"threshold": 0.9999}, 0.99)):  # fmt: skip
        screening = Screening.model_validate({"inputs": (), "seconds": 1, "provenance": made_by | told})
        assert edits.level(screening) == level


def test_old_findings_show_their_changes_without_a_kind() -> None:
    one, two = edits.shown(finding(changes=((1, 2, 9, 8), (40, 30, 50, 50))), (60, 90), (60, 90))
    assert (one.kind, one.box_a, one.box_b, two.number) == (None, None, (1, 2, 9, 8), 2)


def test_a_piece_is_cut_where_the_transform_says() -> None:
    image = np.zeros((80, 120), np.uint8)
    image[30:40, 50:70] = 200
    shift = np.array([[1.0, 0, 15], [0, 1, -10], [0, 0, 1]])
    piece = edits.cut(image, shift, Box(60, 15, 95, 35))
    assert piece.shape == (20, 35)
    assert (piece[5:15, 5:25] == 200).all()
    assert piece.sum() == 200 * 200


def test_corner_marks_stand_around_the_box() -> None:
    numbers = [
        float(value) for value in re.findall(r"-?[0-9.]+", edits.corner_marks(Box(20, 30, 40, 60), Box(0, 0, 100, 100)))
    ]
    assert edits.corner_marks(Box(20, 30, 40, 60), Box(0, 0, 100, 100)).count("M") == 4
    assert {18.5, 28.5, 41.5, 61.5} <= set(numbers)
