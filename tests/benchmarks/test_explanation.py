"""The benchmark of explanations counts right, and knows a map that points from one that does not."""

from __future__ import annotations

import explanation
import numpy as np
import pytest
from numpy.typing import NDArray

from twinscope.detect import explain


def picture(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (32, 32)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


def test_edits_change_the_picture_inside_their_mask_alone() -> None:
    told = explanation.cases([picture(k) for k in range(2)], ["x", "y"], 0)
    assert [one.group for one in told] == ["x"] * 5 + ["y"] * 5
    for one in told:
        assert one.mask.any()
        assert np.array_equal(one.a[~one.mask], one.b[~one.mask])
        assert (one.a[one.mask] != one.b[one.mask]).any()


def test_the_factor_is_one_by_chance_and_more_for_a_map_that_points() -> None:
    told = explanation.cases([picture(k) for k in range(8)], [str(k) for k in range(8)], 0)

    def even(gradients: object, seen: explain.Seen) -> explanation.Fields:
        return np.ones(seen.maps_8.shape[1:], np.float32), np.zeros(seen.maps_16.shape[1:], np.float32)

    found = explanation.factors(told, {"even": even, **explanation.ways()})
    assert np.allclose(found["even"], 1, atol=1e-3)
    assert np.nanmean(found[explanation.USED][:, 1]) > 1.5


def test_the_summary_counts_by_hand() -> None:
    told = explanation.summary(np.array([2.0, 4.0, 0.5, np.nan]), ["x", "x", "y", "y"])
    assert told["factor"] == pytest.approx(6.5 / 3, abs=0.01)
    assert told["factor_95"] == [0.5, 3.0]
    assert (told["median"], told["above_chance"], told["pairs"], told["groups"]) == (2, 0.667, 3, 2)
