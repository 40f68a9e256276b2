"""Which pairs get a closer look: by votes, and by correlation only where it may find what the keypoints did not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, scene
from tests.detect.test_dense import strip

from twinscope.detect import candidates, dense, features
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)
NEAR, FAR = SETTINGS.candidates.distance, SETTINGS.candidates.far


def view(image: np.ndarray) -> features.View:
    return features.view(image, SETTINGS.features)


RICH = [view(scene(seed)) for seed in (51, 52)]
POOR = [view(byte(strip(seed))) for seed in (1, 2)]
BLANK = view(np.full((200, 200), 240, np.uint8))


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every correlation search adds an entry."""
    calls: list[int] = []
    search = dense.search

    def counted(*given: object) -> tuple[dense.Place, ...]:
        calls.append(1)
        return search(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(dense, "search", counted)
    return calls


def far_apart(distance: float) -> np.ndarray:
    return np.array([[0, distance], [distance, 0]], np.float32)


@pytest.mark.parametrize(
    ("pair", "distance", "times"),
    [
        (POOR, None, 1),
        (POOR, FAR - 0.1, 1),
        (POOR, FAR + 0.1, 0),
        (RICH, None, 0),
        (RICH, NEAR - 0.1, 1),
        (RICH, NEAR + 0.1, 0),
        ([POOR[0], BLANK], 0.1, 0),
    ],
    ids=["poor", "poor and near", "poor and far", "rich", "rich and very near", "rich and near", "blank"],
)
def test_a_search_by_correlation_needs_few_keypoints_or_a_near_embedding(
    searched: list[int], pair: list[features.View], distance: float | None, times: int
) -> None:
    candidates.candidates(pair, SETTINGS, None if distance is None else far_apart(distance))
    assert len(searched) == times


def test_no_search_where_many_keypoints_agree(searched: list[int]) -> None:
    same = [RICH[0], view(cv2.flip(scene(51), 1))]
    found = candidates.candidates(same, SETTINGS, far_apart(0.1))
    assert found[0].vote.votes >= 8
    assert found[0].vote.state == (True, False)
    assert not searched


def test_the_best_of_a_panel_come_first_and_the_rest_is_left_out() -> None:
    several = [RICH[0], view(scene(51)[60:150, 70:160]), RICH[1], view(cv2.flip(scene(51), 0))]
    found = candidates.candidates(several, SETTINGS)
    assert [(c.a, c.b) for c in found if c.a == 0] == [(0, 3), (0, 1)]
    one = SETTINGS.model_copy(update={"candidates": SETTINGS.candidates.model_copy(update={"most": 1})})
    assert [(c.a, c.b) for c in candidates.candidates(several, one)] == [(0, 3), (1, 3)]
