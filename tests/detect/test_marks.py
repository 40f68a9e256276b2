"""What is drawn on one of two pictures, and what only passed for it: letters, bars and arrows, and bright cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, real, scene

from twinscope.detect import align, compare, evidence, features, marks
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)
STRAIGHT = align.Alignment(np.eye(3), False, 0, np.zeros((0, 2)), np.zeros((0, 2)))
SIZE = (240, 300)


def ground() -> np.ndarray:
    """Return dim cells, float32, with a bare place in the middle."""
    out = 0.1 + 0.35 * real(scene(90, SIZE))
    cv2.circle(out, (150, 120), 40, 0.12, -1)
    return cv2.GaussianBlur(out, (0, 0), 1.0)


def with_cell(dim: np.ndarray, axes: tuple[int, int] = (11, 8), turn: float = 20, level: float = 1.0) -> np.ndarray:
    """Return the picture with a bright, soft cell in the bare place."""
    spot = np.zeros_like(dim)
    cv2.ellipse(spot, (150, 120), axes, turn, 0, 360, level, -1)
    return np.maximum(dim, cv2.GaussianBlur(spot, (0, 0), 1.6))


def drawn(kind: str) -> np.ndarray:
    out = byte(ground())
    if kind == "letter":
        cv2.putText(out, "B", (138, 132), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 3, cv2.LINE_AA)
    elif kind == "bar":
        cv2.rectangle(out, (120, 115), (180, 122), 255, -1)
    else:
        cv2.fillPoly(out, [np.array([(140, 108), (166, 120), (140, 132)])], 255, cv2.LINE_AA)
    return real(out)


def pair(a: np.ndarray, b: np.ndarray, core: float) -> tuple[list[features.View], evidence.Frame]:
    """Return two views and their frame, in which as annotated counts where the brighter one is above `core`."""
    views = [features.view(byte(x), SETTINGS.features) for x in (a, b)]
    bright = max((v.tones[0] for v in views), key=lambda z: float(z.max()))
    spot = np.zeros(bright.shape, np.uint8)
    scale = bright.shape[1] / SIZE[1]
    near = np.s_[int(75 * scale) : int(165 * scale), int(105 * scale) : int(195 * scale)]
    spot[near] = bright[near] > core
    known = cv2.dilate(spot, np.ones((5, 5), np.uint8)) > 0
    views = [dataclasses.replace(v, annotated=known) for v in views]
    return views, evidence.frame(*views, STRAIGHT)


@pytest.mark.parametrize("core", [0.3, 0.97])
def test_a_bright_cell_that_passed_for_a_mark_and_is_gone_is_an_edit(core: float) -> None:
    whole, bare = with_cell(ground()), ground()
    for one, other, kind in ((whole, bare, "erased"), (bare, whole, "added")):
        views, shared = pair(one, other, core)
        assert not shared.clean[shared.clean.shape[0] // 2, shared.clean.shape[1] // 2]
        told = compare.compare(*views, STRAIGHT, shared, SETTINGS.compare)
        assert (told.verdict, [edit.kind for edit in told.edits]) == ("manipulated", [kind])
        assert "letters or marks drawn over" not in told.steps


def test_a_cell_of_which_only_a_core_like_a_bar_was_masked_and_that_is_gone_is_an_edit() -> None:
    """A cell that divides: its chromosomes are a bright, thin plate, which by its shape may be drawn."""
    whole, bare = with_cell(with_cell(ground(), (26, 20), level=0.6), (14, 4), turn=110), ground()
    for one, other, kind in ((whole, bare, "erased"), (bare, whole, "added")):
        views, shared = pair(one, other, 0.8)
        masked = shared.seen & ~shared.clean
        assert masked.sum() > 200
        assert marks.is_drawn(masked & (np.maximum(shared.a, shared.b) > 0.8))
        assert marks.doubtful(shared, False)[masked].all()
        told = compare.compare(*views, STRAIGHT, shared, SETTINGS.compare)
        assert (told.verdict, [edit.kind for edit in told.edits]) == ("manipulated", [kind])
        assert "letters or marks drawn over" not in told.steps
        assert not told.unsure_a[105:135, 140:160].any()


@pytest.mark.parametrize("soft", [0.0, 1.2])
@pytest.mark.parametrize("kind", ["letter", "bar", "arrow"])
def test_what_is_drawn_stays_a_mark(kind: str, soft: float) -> None:
    lettered = cv2.GaussianBlur(drawn(kind), (0, 0), soft) if soft else drawn(kind)  # as out of a PDF
    for one, other in ((lettered, ground()), (ground(), lettered)):
        views, shared = pair(one, other, 0.6)
        assert not marks.doubtful(shared, False).any()
        told = compare.compare(*views, STRAIGHT, shared, SETTINGS.compare)
        assert (told.verdict, told.edits) == ("benign", ())
        assert "letters or marks drawn over" in told.steps


def test_a_mark_that_both_show_is_no_doubt() -> None:
    _, shared = pair(with_cell(ground()), with_cell(ground()), 0.3)
    assert (~shared.clean & shared.seen).any()
    assert not marks.doubtful(shared, False).any()


def test_only_a_thick_round_spot_may_not_be_drawn() -> None:
    def ink(draw: Callable[[np.ndarray], object]) -> np.ndarray:
        out = np.zeros((60, 60), np.uint8)
        draw(out)
        return out > 0

    assert not marks.is_drawn(ink(lambda x: cv2.circle(x, (30, 30), 12, 1, -1)))
    assert not marks.is_drawn(ink(lambda x: cv2.ellipse(x, (30, 30), (18, 9), 30, 0, 360, 1, -1)))
    assert marks.is_drawn(ink(lambda x: cv2.circle(x, (30, 30), 2, 1, -1)))
    assert marks.is_drawn(ink(lambda x: cv2.rectangle(x, (5, 20), (54, 39), 1, -1)))
    assert marks.is_drawn(ink(lambda x: cv2.fillPoly(x, [np.array([(10, 10), (50, 30), (10, 50)])], 1)))
    assert marks.is_drawn(ink(lambda x: cv2.putText(x, "B", (10, 50), cv2.FONT_HERSHEY_SIMPLEX, 1.8, 1, 7)))
    assert marks.is_drawn(ink(lambda x: x))  # nothing
