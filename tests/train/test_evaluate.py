"""The protocol's numbers by hand: pairs not compared, intervals over groups, real pairs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from twinscope.train import evaluate, protocol

NAN = np.float32(np.nan)


def three_classes() -> protocol.Distances:
    """Two versions each; class 0 and 1 are unsure; version 1 of class 2 was compared with its own alone."""
    cross = np.full((3, 3, 2), 2.0, np.float32)
    cross[0, 0] = cross[1, 1] = 0.5
    cross[2, 2] = (1.5, 0.8)
    cross[0, 1], cross[1, 0] = 0.1, 0.1
    cross[0, 2] = (0.9, NAN)
    cross[1, 2] = (3.0, NAN)
    unsure = np.zeros((3, 3), np.bool_)
    unsure[0, 1] = unsure[1, 0] = True
    return protocol.Distances(cross, unsure)


def test_what_was_not_compared_is_left_out() -> None:
    found = three_classes()
    assert sorted(found.different().tolist()) == pytest.approx([0.9, 2, 2, 2, 2, 3])
    hits = found.hits()
    assert hits[:2].tolist() == [[1, 1], [1, 1]]  # the nearer picture of each other is unsure
    assert hits[2, 0] == 0  # .9 lies before 1.5
    assert np.isnan(hits[2, 1])
    assert protocol.summary(found)["ir1"] == pytest.approx(4 / 5)


def test_right_answers_of_each_class_by_hand() -> None:
    # class 0: same 1 and 1, different .9; class 1: different 3; class 2: one of two same, different 2, 2, 2, 2
    assert evaluate.right(three_classes()).tolist() == pytest.approx([0.5, 1.0, 0.75])


def test_a_class_that_was_compared_with_no_other_has_no_share() -> None:
    cross = np.full((2, 2, 1), np.nan, np.float32)
    cross[0, 0] = cross[1, 1] = 0.5
    cross[0, 1] = 3.0
    shares = evaluate.right(protocol.Distances(cross, np.zeros((2, 2), np.bool_)))
    assert shares[0] == 1
    assert np.isnan(shares[1])


def test_the_report_of_pairs_that_were_not_all_compared() -> None:
    numbers = evaluate.report(three_classes(), [0, 0, 1])
    assert numbers["different_pairs"] == 6
    assert numbers["accuracy"] == pytest.approx(0.5 * (5 / 6 + 5 / 6), abs=1e-4)
    assert "runs_accuracy" not in numbers
    assert numbers["tpr_1e-3"] == pytest.approx(5 / 6, abs=1e-4)  # below .9, the nearest of the different ones


def test_an_interval_draws_groups_not_rows() -> None:
    values = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, np.nan]])
    alone = evaluate.interval(values, [0, 0, 1, 1])
    assert alone == [0.0, 1.0]  # both draws may be one group
    assert evaluate.interval(values[2:], [5, 7]) == [1.0, 1.0]
    whole = evaluate.interval(np.repeat([0.0, 1.0], 200), list(range(400)))
    assert whole == pytest.approx([0.45, 0.55], abs=0.01)  # 1.96 x sqrt(.25 / 400) = .049
    with pytest.raises(ValueError, match="nothing"):
        evaluate.interval(np.array([np.nan]), [0])


def test_real_pairs_of_one_host_are_neither_same_nor_different() -> None:
    far = np.array([[0.2, 0.3, 2.0], [0.1, 0.4, 3.0], [4.0, 5.0, 1.2]])
    found = evaluate.paired(far, [0, 0, 1])
    assert found.same().ravel().tolist() == pytest.approx([0.2, 0.4, 1.2])
    assert sorted(found.different().tolist()) == [2, 3, 4, 5]
    assert found.hits().ravel().tolist() == [1, 1, 1]


def test_city_is_equation_1() -> None:
    x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 4.0, 3.5], [1.0, 2.0, 3.0]])
    assert protocol.city(x, y, np.array([0.5, -1.0, 2.0])).tolist() == [[0.5 - 2 + 1, 0.0]]


@pytest.mark.parametrize("name", list(evaluate.SETS))
def test_real_pairs_are_read(name: str, shared: object) -> None:
    pairs = evaluate.real_pairs(name)
    assert len(pairs.a) == len(pairs.b) == len(pairs.groups) == {"blots": 233, "photos": 12, "copymove": 18}[name]
    assert len(set(pairs.groups)) == {"blots": 12, "photos": 10, "copymove": 13}[name]
    assert all(image.ndim == 3 and image.dtype == np.uint8 for image in pairs.a + pairs.b)


def test_tiles_of_one_photograph_are_one_group(shared: object) -> None:
    test = evaluate.unseen_classes("copymove")
    assert test.views.shape[1:] == (10, 128, 128)
    assert len({w.group for w in test.windows}) == 13 < len(test.windows)
