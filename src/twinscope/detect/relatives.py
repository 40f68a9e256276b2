"""The two methods of bharathi-2023 that need no training of a network: Ward clustering and an RBF-SVM on pairs.

Both take pooled features of a backbone, one row a picture. As the paper has them (sections 5.2 and 5.3), neither can
learn more than how the known real pictures differ: clustering never sees a generated picture, and in a pair the
generated half is the same for used and unused ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from twinscope.errors import UsageError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Clusters(NamedTuple):
    """A Ward clustering: the linkage (n - 1, 4), the height it is cut at, the cluster of each picture (n,) from 0, and
    the cophenetic correlation, of the heights at which two pictures meet with their distances.
    """

    linkage: Floats
    cut: float
    members: NDArray[np.int64]
    cophenetic: float


def agglomerated(features: Floats, groups: int = 32) -> Floats:
    """Return features (n, k) as (n, groups): the means of features that vary alike (feature agglomeration, Ward)."""
    from sklearn.cluster import FeatureAgglomeration  # slow to load

    if features.shape[1] <= groups:
        return np.asarray(features, np.float64)
    return np.asarray(FeatureAgglomeration(groups).fit_transform(features), np.float64)


def ward(features: Floats, most: int = 12) -> Clusters:
    """Cluster pictures (n, k), n >= 3, by Ward's linkage, and cut where merging costs most.

    The paper takes "an approximate threshold" from the dendrogram; here it lies in the middle of the largest gap
    between the heights of two merges that leaves 2 to `most` clusters.
    """
    if len(features) < 3:
        raise UsageError(f"{len(features)} pictures are too few to cluster; give at least 3")
    linkage = hierarchy.linkage(features, "ward")
    heights = linkage[-min(most, len(linkage)) :, 2]
    gap = int(np.argmax(np.diff(heights)))
    cut = float((heights[gap] + heights[gap + 1]) / 2)
    members = hierarchy.fcluster(linkage, cut, "distance").astype(np.int64) - 1
    return Clusters(linkage, cut, members, float(hierarchy.cophenet(linkage, pdist(features))[0]))


def ward_votes(known: Floats, used: Bools, asked: Floats, groups: int = 32) -> tuple[Floats, Clusters]:
    """Return the share of used ones in the cluster of each asked picture, and the clusters (paper, section 5.2).

    The known pictures (n, k) with labels used (n,) are clustered; an asked one (m, k) goes to the cluster with the
    nearest middle, as a clustering has no prediction of its own. Used is what is above the share of all.
    """
    both = agglomerated(np.concatenate([known, asked]), groups)
    first, rest = both[: len(known)], both[len(known) :]
    found = ward(first)
    names = np.unique(found.members)
    middles = np.stack([first[found.members == name].mean(0) for name in names])
    shares = np.array([used[found.members == name].mean() for name in names])
    near = ((rest[:, None] - middles[None]) ** 2).sum(2).argmin(1)
    return shares[near], found


def ward_company(real: Floats, made: Floats, groups: int = 32) -> tuple[Floats, Clusters]:
    """Return the share of generated pictures in the cluster of each real one, and the clusters (the paper's abstract).

    Real (n, k) and generated (m, k) pictures are clustered together; real ones in the company of more generated ones
    than there are in all are taken for used.
    """
    found = ward(agglomerated(np.concatenate([real, made]), groups), most=40)
    shares = np.bincount(found.members[len(real) :], minlength=found.members.max() + 1) / np.bincount(found.members)
    return shares[found.members[: len(real)]], found


def svm_votes(known: Floats, used: Bools, made: Floats, asked: Floats, pairs: int = 25, seed: int = 0) -> Floats:
    """Return the share of votes "used" for each asked picture over pairs with generated ones (paper, section 5.3).

    A pair is the features of a real and of a generated picture one behind the other. An SVM with the RBF kernel learns
    from each known picture (n, k) with `pairs` generated ones (m, k) that are drawn, and votes on each asked one with
    100 drawn ones; above .5 it is taken for used.
    """
    from sklearn.pipeline import make_pipeline  # slow to load
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rng = np.random.default_rng([5, seed])
    drawn = [rng.choice(len(made), min(pairs, len(made)), replace=False) for _ in known]
    rows = np.concatenate([np.c_[np.repeat(one[None], len(which), 0), made[which]]
                           for one, which in zip(known, drawn, strict=True)])  # fmt: skip
    labels = np.repeat(used, [len(which) for which in drawn])
    machine = make_pipeline(StandardScaler(), SVC(kernel="rbf", gamma="scale")).fit(rows, labels)
    others = made[rng.choice(len(made), min(100, len(made)), replace=False)]
    return np.array([machine.predict(np.c_[np.repeat(one[None], len(others), 0), others]).mean() for one in asked])


def eigenvalues(maps: NDArray[np.float32]) -> Floats:
    """Return the largest eigenvalue of M M^T for each picture's maps, (n, c, ...) -> (n,); of a vector its square.

    The paper stores "the maximum eigenvalue for each feature vector"; that of v v^T is |v|^2, and with the places of
    the maps kept it is the strength of their first principal direction.
    """
    flat = maps.reshape(len(maps), maps.shape[1], -1).astype(np.float64)
    return np.asarray(np.square(np.linalg.svd(flat, compute_uv=False)[:, 0]), np.float64)
