"""Metrics against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from twinscope import metrics


def test_accuracy_weighs_same_and_different_alike() -> None:
    same, different = np.array([0.2, 1.0, 1.1, 0.5]), np.array([1.0, 3.0])
    assert metrics.accuracy(same, different) == pytest.approx(0.5 * (3 / 4 + 1 / 2))
    assert metrics.accuracy(same, different, border=1.2) == pytest.approx(0.5 * (1 + 1 / 2))


def test_best_border() -> None:
    border, value = metrics.best_border(np.array([0.1, 0.4, 0.9]), np.array([0.5, 1.0, 2.0, 3.0]))
    assert (border, value) == (pytest.approx(0.9), pytest.approx(0.5 * (1 + 3 / 4)))
    assert metrics.best_border(np.array([0.1, 0.4]), np.array([0.5, 2.0]))[0] == pytest.approx(0.4)


def test_auc_counts_ties_half() -> None:
    assert metrics.auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert metrics.auc(np.array([3.0]), np.array([1.0, 2.0])) == 0


def test_tpr_at_fpr() -> None:
    different = np.arange(1, 11) / 10
    assert metrics.tpr_at_fpr(np.array([0.05, 0.15, 0.25, 0.95]), different, 0.1) == (0.5, pytest.approx(0.2))
    assert metrics.tpr_at_fpr(np.array([0.05, 0.15]), different, 0.01) == (0.5, pytest.approx(0.1))
    assert metrics.tpr_at_fpr(np.array([0.05, 5.0]), different, 1.0) == (1.0, float("inf"))


def test_tpr_at_fpr_keeps_its_promise_with_ties() -> None:
    share, border = metrics.tpr_at_fpr(np.array([0.0, 0.5]), np.array([0.0, 0.0, 0.0, 1.0]), 0.25)
    assert border == 0.0
    assert share == 0.0


def test_average_precision() -> None:
    # ranks 1 (true), 2 (false), 3 (true): (1/1 + 2/3) / 2
    assert metrics.average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1])) == pytest.approx((1 + 2 / 3) / 2)
    # all scores equal: the precision of everything
    assert metrics.average_precision(np.zeros(4), np.array([1, 0, 0, 0])) == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="at least one true"):
        metrics.average_precision(np.zeros(2), np.zeros(2))


def test_ir_at_k() -> None:
    distances = np.array([[0.1, 0.5, 0.9], [0.2, 0.3, 0.1], [np.inf, 0.4, np.inf]])
    gallery, queries = np.array([0, 1, 2]), np.array([0, 1, 2])
    assert metrics.ir_at_k(distances, queries, gallery, 1) == pytest.approx(1 / 3)
    assert metrics.ir_at_k(distances, queries, gallery, 2) == pytest.approx(1 / 3)
    assert metrics.ir_at_k(distances, queries, gallery, 3) == pytest.approx(2 / 3)  # what is left out is never found


def test_iou_of_boxes_and_masks() -> None:
    assert metrics.iou(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(2 / 6)
    assert metrics.iou(np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])) == 0
    a, b = np.zeros((2, 2), bool), np.zeros((2, 2), bool)
    assert metrics.iou(a, b) == 0
    a[0], b[:, 0] = True, True
    assert metrics.iou(a, b) == pytest.approx(1 / 3)


def test_brier_and_calibration() -> None:
    probabilities, truth = np.array([0.9, 0.8, 0.2, 1.0]), np.array([1, 0, 0, 1])
    assert metrics.brier(probabilities, truth) == pytest.approx((0.01 + 0.64 + 0.04 + 0) / 4)
    table = metrics.reliability(probabilities, truth, bins=2)
    assert [(row.items, row.observed) for row in table] == [(1, 0.0), (3, pytest.approx(2 / 3))]
    assert table[1].predicted == pytest.approx(0.9)
    gap = (1 * 0.2 + 3 * (0.9 - 2 / 3)) / 4
    assert metrics.calibration_error(probabilities, truth, bins=2) == pytest.approx(gap)


def test_wilson() -> None:
    low, high = metrics.wilson(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert metrics.wilson(0, 10).low == 0
    assert metrics.wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    with pytest.raises(ValueError, match="hits"):
        metrics.wilson(3, 2)


def test_bootstrap_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(2, 1, 400)
    low, high = metrics.bootstrap(400, lambda k: float(values[k].mean()), np.random.default_rng(1))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_nothing_is_not_measured() -> None:
    for call in (metrics.accuracy, metrics.auc, metrics.best_border):
        with pytest.raises(ValueError, match="not defined"):
            call(np.array([]), np.array([1.0]))


def test_hits_at_k_says_which_queries_found_their_own() -> None:
    distances = np.array([[0.1, 0.5, 0.9], [0.2, 0.3, 0.1], [np.inf, 0.4, np.inf]])
    hits = metrics.hits_at_k(distances, np.array([0, 1, 2]), np.array([0, 1, 2]), 1)
    assert hits.tolist() == [True, False, False]
    assert metrics.hits_at_k(distances, np.array([0, 1, 2]), np.array([0, 1, 2]), 3).tolist() == [True, True, False]


def test_roc_has_a_point_for_every_border() -> None:
    false, true = metrics.roc(np.array([0.2, 0.6]), np.array([0.4, 0.6, 0.9, 1.0]))
    assert false.tolist() == [0, 0, 0.25, 0.5, 0.75, 1]
    assert true.tolist() == [0, 0.5, 0.5, 1, 1, 1]


def test_bootstrap_leaves_out_rounds_that_say_nothing() -> None:
    def share(indices: np.ndarray) -> float:
        return float("nan") if 0 in indices else 2.0

    assert metrics.bootstrap(4, share, np.random.default_rng(0), 200) == (2.0, 2.0)
    with pytest.raises(ValueError, match="not defined"):
        metrics.bootstrap(1, share, np.random.default_rng(0), 5)
