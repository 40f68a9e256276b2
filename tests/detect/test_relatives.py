"""Ward clustering and the SVM on pairs, as bharathi-2023 has them: what they can tell, and what they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster import hierarchy

from twinscope.detect import relatives
from twinscope.errors import UsageError


def blobs(rng: np.random.Generator, apart: float, each: int = 20, wide: int = 6) -> np.ndarray:
    return np.r_[rng.normal(size=(each, wide)), apart + rng.normal(size=(each, wide))]


def test_wards_heights_and_the_cophenetic_correlation_by_hand() -> None:
    found = relatives.ward(np.array([[0.0], [1.0], [10.0]]))
    # 0 and 1 meet at 1; both (middle .5, two pictures) meet 10 at sqrt(2 x 2 x 1 / 3) x 9.5
    assert found.linkage[:, 2].tolist() == pytest.approx([1.0, np.sqrt(4 / 3) * 9.5])
    assert found.members[0] == found.members[1] != found.members[2]
    met = np.array([1.0, np.sqrt(4 / 3) * 9.5, np.sqrt(4 / 3) * 9.5])
    assert found.cophenetic == pytest.approx(np.corrcoef(met, [1, 10, 9])[0, 1])


def test_the_cut_lies_in_the_largest_gap() -> None:
    rng = np.random.default_rng(0)
    three = np.repeat(30 * np.eye(3), 10, 0) + rng.normal(size=(30, 3))  # as far from each other, all three
    found = relatives.ward(three)
    assert sorted(np.bincount(found.members).tolist()) == [10, 10, 10]
    assert hierarchy.is_valid_linkage(found.linkage)


def test_known_clusters_give_their_share_to_what_is_nearest() -> None:
    rng = np.random.default_rng(1)
    features = blobs(rng, 9.0)
    used = np.arange(40) < 20
    used[:5] = False  # the first cluster holds 15 used of 20
    shares, _ = relatives.ward_votes(features, used, np.array([[0.0] * 6, [9.0] * 6]))
    assert shares.tolist() == [0.75, 0.0]


def test_company_of_generated_pictures_is_counted() -> None:
    rng = np.random.default_rng(2)
    real, made = blobs(rng, 20.0), 20 + rng.normal(size=(30, 6))
    shares, _ = relatives.ward_company(real, made)
    assert (shares[:20] == 0).all()
    assert shares[20:].mean() > 0.5


def test_features_that_vary_alike_are_brought_together() -> None:
    rng = np.random.default_rng(3)
    two = rng.normal(size=(30, 2))
    wide = np.repeat(two, 40, 1)
    found = relatives.agglomerated(wide, 2)
    assert np.allclose(np.sort(found, 1), np.sort(two, 1))
    assert relatives.agglomerated(two, 5).shape == (30, 2)


def test_the_machine_learns_what_differs_between_real_pictures() -> None:
    rng = np.random.default_rng(4)
    features = blobs(rng, 4.0)
    used = np.arange(40) >= 20
    votes = relatives.svm_votes(features, used, rng.normal(size=(30, 6)), blobs(rng, 4.0), pairs=5)
    assert votes.shape == (40,)
    assert ((votes > 0.5) == used).mean() > 0.95


def test_copies_among_the_generated_ones_teach_the_machine_nothing() -> None:
    rng = np.random.default_rng(5)
    right = []
    for seed in range(3):
        real = rng.normal(size=(60, 12))
        used = np.arange(60) % 2 == 0
        made = np.repeat(real[used], 3, 0)  # a generator that knows all of them by heart
        half = np.arange(60) < 30
        votes = relatives.svm_votes(real[half], used[half], made, real[~half], pairs=5, seed=seed)
        right += ((votes > 0.5) == used[~half]).tolist()
    assert 0.5 == pytest.approx(np.mean(right), abs=0.18)  # 90 answers: three standard errors are .16


def test_eigenvalues_by_hand() -> None:
    vectors = np.array([[[3.0], [4.0]], [[0.0], [1.0]]], np.float32)
    assert relatives.eigenvalues(vectors).tolist() == pytest.approx([25, 1])
    maps = np.zeros((1, 2, 2, 2), np.float32)
    maps[0, 0], maps[0, 1] = 2, [[1, -1], [1, -1]]
    assert relatives.eigenvalues(maps)[0] == pytest.approx(16)  # orthogonal maps: the longer one's square


def test_two_pictures_are_no_clustering() -> None:
    with pytest.raises(UsageError, match="too few to cluster"):
        relatives.ward(np.zeros((2, 3)))
