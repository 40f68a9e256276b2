"""Calibrated distances: by hand, under the null, and on copies; what knows nothing says chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from twinscope import metrics
from twinscope.detect import fingerprint, known
from twinscope.errors import UsageError
from twinscope.settings import Fingerprint

ASKED = Fingerprint()
STILL = Fingerprint(turned=False, shift_px=0)
Floats = NDArray[np.float64]


def pictures(rng: np.random.Generator, count: int, side: int = 20) -> NDArray[np.float32]:
    """Return smooth random pictures: independent draws of one kind."""
    fine = rng.normal(size=(count, side + 8, side + 8))
    smooth = sum(fine[:, y : y + side, x : x + side] for y in range(5) for x in range(5))
    return np.asarray(smooth, np.float32)


def p_values(real: NDArray[np.float32], made: NDArray[np.float32], settings: Fingerprint = ASKED) -> Floats:
    """Return the p-values of the distance of pictures laid over each other."""
    parts = [fingerprint.pixel_distances(a, b, settings) for a, b in ((real, made), (real, real), (made, made))]
    return fingerprint.of_distance(parts[0], parts[1], parts[2], settings).p


def test_the_distance_is_that_of_unit_vectors_and_forgets_brightness_and_contrast() -> None:
    rng = np.random.default_rng(0)
    a, b = pictures(rng, 2)
    r = float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    found = fingerprint.pixel_distances(a[None], np.stack([b, 3 * a + 7, -a]), STILL)
    assert found[0].tolist() == pytest.approx([math.sqrt(2 - 2 * r), 0, 2], abs=1e-3)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_each_orientation_and_a_shift_are_found(quarters: int, mirrored: bool) -> None:
    whole = pictures(np.random.default_rng(1), 1, 22)[0]
    real, moved = whole[1:21, 1:21], whole[:20, 2:22]
    turned = np.rot90(moved[:, ::-1] if mirrored else moved, quarters)
    assert fingerprint.pixel_distances(real[None], turned[None], ASKED)[0, 0] == pytest.approx(0, abs=2e-3)
    assert fingerprint.pixel_distances(real[None], turned[None], STILL)[0, 0] > 0.4


def test_a_margin_is_the_next_mean_over_the_nearest() -> None:
    far = np.array([[0.2, 1.0], [1.0, 1.0], [0.6, 1.0], [9.0, 1.0]])
    found = fingerprint.ratios(far, 2)
    assert found.nearest.tolist() == [0, 0]
    assert found.distance.tolist() == [0.2, 1.0]
    assert found.margin.tolist() == pytest.approx([math.log(0.8 / 0.2), 0.0])


def test_the_tail_counts_and_then_falls_off() -> None:
    null = np.arange(10.0)  # quantile .8 is 7.2; beyond lie 8 and 9: mean excess 1.3
    counted = fingerprint.tail(null, np.array([-1.0, 5.0]), 0.2)
    assert counted.tolist() == pytest.approx([11 / 11, 6 / 11])
    fall = 1.3 * (1 + 1.5 / math.sqrt(2))
    assert fingerprint.tail(null, np.array([20.0]), 0.2)[0] == pytest.approx(3 / 11 * math.exp(-12.8 / fall))
    every = fingerprint.tail(null, np.linspace(-1, 30, 200), 0.2)
    assert (np.diff(every) <= 1e-12).all()


def test_pictures_that_repeat_each_other_count_as_fewer() -> None:
    far = np.ones((5, 5)) - np.eye(5)
    assert fingerprint.different(far, 0.5) == 5
    far[:3, :3] = 0
    assert fingerprint.different(far, 0.5) == pytest.approx(3)
    assert fingerprint.different(far, 2.0) == pytest.approx(1)


def test_p_values_without_copies_are_not_smaller_than_they_say() -> None:
    rng = np.random.default_rng(2)
    found = np.concatenate([p_values(pictures(rng, 60), pictures(rng, 150), STILL) for _ in range(12)])
    assert (found <= 0.05).mean() < 0.07
    assert (found <= 0.01).mean() < 0.02
    assert (found <= 0.5).mean() > 0.25  # and not empty of meaning


@pytest.mark.parametrize("seed", range(3))
def test_a_generator_that_copies_half_with_noise_is_seen_through(seed: int) -> None:
    rng = np.random.default_rng([3, seed])
    real = pictures(rng, 60)
    used = np.arange(60) < 30
    made = np.concatenate([np.repeat(real[used], 5, 0), pictures(rng, 50)])
    made = made + rng.normal(0, 2.5, made.shape).astype(np.float32)
    found = fingerprint.verdict(p_values(real, made), ASKED)
    assert found.evidence
    assert found.p < 1e-6
    assert found.interval.low < 0.5 < found.interval.high
    assert ((found.probability > 0.5) == used).mean() >= 0.9
    assert metrics.brier(found.probability, used) < 0.1
    assert found.probability.mean() == pytest.approx(0.5, abs=0.05)


def test_a_generator_that_saw_neither_half_leaves_every_picture_at_chance() -> None:
    rng = np.random.default_rng(4)
    said = [fingerprint.verdict(p_values(pictures(rng, 60), pictures(rng, 150), STILL), ASKED) for _ in range(20)]
    alarms = sum(one.evidence for one in said)
    assert alarms <= 3  # at .05 each: four and more have a chance of 1.6 %
    quiet = [one for one in said if not one.evidence]
    assert all((one.probability == 0.5).all() for one in quiet)
    assert all(one.interval.high < 0.2 for one in quiet)


def test_the_prior_is_what_stays_where_nothing_speaks_and_what_the_mean_is_where_something_does() -> None:
    p = np.concatenate([np.full(10, 1e-8), np.linspace(0.02, 1, 90)])
    asked = Fingerprint(prior=0.3)
    assert (fingerprint.verdict(np.linspace(0.01, 1, 100), asked).probability == 0.3).all()
    found = fingerprint.verdict(p, asked)
    assert found.probability[0] == fingerprint.SURE
    assert found.probability.mean() == pytest.approx(0.3, abs=0.03)
    assert found.probability[-1] == pytest.approx((0.3 - found.share) / (1 - found.share), abs=0.03)


def test_more_copies_than_the_prior_raise_it() -> None:
    p = np.concatenate([np.full(80, 1e-9), np.linspace(0.05, 1, 20)])
    found = fingerprint.verdict(p, ASKED)
    assert found.prior == pytest.approx(found.share)
    assert found.share == pytest.approx((0.8 - 0.01) / 0.99)


def test_the_set_is_tested_by_the_binomial_law() -> None:
    p = np.concatenate([np.full(5, 0.009), np.full(95, 0.6)])
    tail = 1 - sum(math.comb(100, k) * 0.01**k * 0.99 ** (100 - k) for k in range(5))
    assert fingerprint.verdict(p, ASKED).p == pytest.approx(3 * tail, rel=1e-6)


def test_too_few_pictures_are_said_to_be() -> None:
    with pytest.raises(UsageError, match="7 real pictures are too few"):
        fingerprint.copies(np.ones((7, 3)), np.ones((7, 7)), 3, ASKED)
    with pytest.raises(UsageError, match="no generated picture"):
        fingerprint.copies(np.ones((9, 0)), np.ones((9, 9)), 3, ASKED)


def test_several_p_values_become_one() -> None:
    assert fingerprint.combined([np.array([0.01, 0.9]), np.array([0.4, 0.7])]).tolist() == pytest.approx([0.02, 1.0])


# --- learning from known examples ---------------------------------------------------------------------------------


def test_learning_finds_a_signal_and_says_how_sure_it_is() -> None:
    rng = np.random.default_rng(5)
    used = np.arange(200) < 100
    values = np.c_[used * 1.5 + rng.normal(size=200), rng.normal(size=(200, 4))]
    told = known.learn(values, used, np.ones(200, bool), ASKED)
    assert told.evidence
    assert told.interval.low < told.auc < told.interval.high
    assert told.auc == pytest.approx(0.855, abs=0.07)  # of two normals 1.5 apart
    assert told.brier < 0.2
    for row in told.reliability:
        assert row.predicted == pytest.approx(row.observed, abs=2.5 * 0.5 / math.sqrt(row.items))


def test_where_nothing_is_to_be_learned_every_probability_is_the_share_of_the_known() -> None:
    rng = np.random.default_rng(6)
    gated = 0
    for seed in range(20):
        used = np.arange(80) < 40
        told = known.learn(rng.normal(size=(80, 6)), used, np.ones(80, bool), ASKED, seed)
        if not told.evidence:
            gated += 1
            assert (told.probability == 0.5).all()
            assert told.brier == 0.25
    assert gated >= 16


def test_what_is_not_known_is_told_by_what_is() -> None:
    rng = np.random.default_rng(7)
    used = np.arange(120) % 2 == 0
    values = np.c_[used * 4.0 + rng.normal(size=120), rng.normal(size=120)]
    is_known = np.arange(120) < 60
    told = known.learn(values, used & is_known, is_known, ASKED)
    assert ((told.probability > 0.5) == used)[~is_known].mean() > 0.9


def test_no_answer_of_a_known_picture_rests_on_itself() -> None:
    rng = np.random.default_rng(8)
    used = rng.permutation(np.arange(60) < 30)
    by_heart = np.c_[np.eye(60) * 50]  # each picture has a column of its own: perfect for those that are learned from
    told = known.learn(by_heart, used, np.ones(60, bool), ASKED)
    assert told.auc < 0.7


def test_parts_hold_their_share_of_both_kinds_and_each_picture_once() -> None:
    truth = np.arange(23) < 9
    found = known.parts(truth, 4, 1)
    assert np.sum(found, 0).tolist() == [1] * 23
    assert {int(truth[part].sum()) for part in found} <= {2, 3}
    assert {int((~truth)[part].sum()) for part in found} <= {3, 4}


def test_too_few_known_examples_are_said_to_be() -> None:
    with pytest.raises(UsageError, match="3 known used pictures are too few"):
        known.learn(np.zeros((20, 2)), np.arange(20) < 3, np.ones(20, bool), ASKED)


def test_platt_shrinks_and_never_turns_round() -> None:
    odds = np.r_[np.full(10, 3.0), np.full(10, -3.0)]
    truth = odds > 0
    slope, offset = known.platt(odds, truth)
    assert 1 / (1 + math.exp(-(slope * 3 + offset))) == pytest.approx(11 / 12, abs=1e-3)  # (10 + 1) / (10 + 2)
    assert known.platt(-odds, truth)[0] == pytest.approx(0, abs=1e-6)
