"""The methods of the table: each gives real pictures scores and says from which score on one is taken for used.

Those that learn are cross-fitted in two halves: half of the used and half of the unused pictures are known, the others
are asked, and then the other way round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gan_pictures import Bytes
from numpy.typing import NDArray

from twinscope import audit, pixels
from twinscope.detect import explain, relatives
from twinscope.settings import load
from twinscope.train import relation

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
FOLDS = 2


class Case(NamedTuple):
    """What a method is asked: real pictures, which of them were used, generated ones; a folder of its own; a seed."""

    real: Bytes
    used: Bools
    made: Bytes
    folder: Path
    seed: int
    threads: int = 1
    backbone: str = "embedder"
    weights: Path | str | None = None

    def features(self, images: Bytes) -> Floats:
        """Return the pooled features of pictures by the backbone: (n, k)."""
        if self.backbone == "embedder":
            return pooled(images, self.threads)
        return relation.pooled(relation.maps_of(self.backbone, self.weights), images)


class Answer(NamedTuple):
    """Scores (n,), the border above which a picture is taken for used, and what else a method tells."""

    scores: Floats
    border: float
    more: dict[str, Any]


def pooled(images: Bytes, threads: int = 1) -> Floats:
    """Return the maps of the shipped embedder, averaged over all places: (n, 384)."""
    looked = explain.look(list(images), threads=threads)
    return np.stack([np.concatenate([one.maps_8.mean((1, 2)), one.maps_16.mean((1, 2))]) for one in looked]).astype(
        np.float64
    )


def by_halves(case: Case, asked: Callable[[Bools, Bools], Floats]) -> Floats:
    """Return scores where each half is asked by what the other one taught: asked(known, open) -> scores of the open.

    A used picture and the unused one of its pair, both of one group, go into the same half: were they parted, a method
    that learns how groups look would be wrong more often than chance.
    """
    scores, pairs = np.zeros(len(case.real)), len(case.real) // 2
    place = np.random.default_rng([FOLDS, case.seed]).permutation(pairs) % FOLDS
    for k in range(FOLDS):
        part = np.tile(place == k, 2)
        scores[part] = asked(~part, part)
    return scores


def relation_network(case: Case, plan: relation.Plan | None = None) -> Answer:
    """Return the mean relation to 100 generated pictures (section 5.1)."""
    side = 32 if case.backbone == "embedder" else 128
    chosen = plan or relation.Plan(side=side, seed=case.seed, threads=case.threads)
    losses: list[float] = []

    def asked(taught: Bools, open_: Bools) -> Floats:
        folder = case.folder / f"relation-{int(np.flatnonzero(open_)[0])}-{int(open_.sum())}"
        network = relation.train(case.real[taught], case.used[taught], case.made, chosen, folder,
                                 lambda: relation.maps_of(case.backbone, case.weights))  # fmt: skip
        losses.append(relation.fitted(network, case.real[taught], case.used[taught], case.made[:20], chosen.side))
        return relation.scores(network, case.real[open_], case.made[:100], chosen.side).mean(1)

    return Answer(by_halves(case, asked), 0.5, {"fitted": losses})


def ward(case: Case) -> Answer:
    """Return the share of used ones in the cluster (section 5.2)."""
    features = case.features(case.real)
    told: list[float] = []

    def asked(taught: Bools, open_: Bools) -> Floats:
        shares, found = relatives.ward_votes(features[taught], case.used[taught], features[open_])
        told.append(found.cophenetic)
        return shares

    return Answer(by_halves(case, asked), 0.5, {"cophenetic": told})


def company(case: Case) -> Answer:
    """Return the share of generated ones in the cluster (the abstract's way); it learns nothing."""
    shares, found = relatives.ward_company(case.features(case.real), case.features(case.made))
    return Answer(shares, len(case.made) / (len(case.made) + len(case.real)), {"cophenetic": found.cophenetic})


def svm(case: Case) -> Answer:
    """Return the share of votes "used" over pairs with generated pictures (section 5.3)."""
    real, made = case.features(case.real), case.features(case.made)

    def asked(taught: Bools, open_: Bools) -> Floats:
        return relatives.svm_votes(real[taught], case.used[taught], made, real[open_], seed=case.seed)

    return Answer(by_halves(case, asked), 0.5, {})


def ours(case: Case) -> Answer:
    """Return our probabilities where no picture is known."""
    return _audited(case, False)


def ours_known(case: Case) -> Answer:
    """Return our probabilities where all are known, each judged by the other half."""
    return _audited(case, True)


def _audited(case: Case, with_known: bool) -> Answer:
    """Run the audit as a user does, on files."""
    settings = load(None, {"threads": case.threads, "seed": case.seed, "fingerprint": {"folds": FOLDS}})
    with tempfile.TemporaryDirectory() as place:
        names = [f"r{k:03}.png" for k in np.random.default_rng([3, case.seed]).permutation(len(case.real))]
        for name, folder, images in (("r", "real", case.real), ("g", "made", case.made)):
            (Path(place) / folder).mkdir()
            for k, image in enumerate(images):
                pixels.write_png(Path(place) / folder / (names[k] if name == "r" else f"g{k:04}.png"), image)
        lists = None
        if with_known:
            lists = Path(place) / "used.txt", Path(place) / "unused.txt"
            for path, kind in zip(lists, (True, False), strict=True):
                path.write_text("\n".join(names[k] for k in np.flatnonzero(case.used == kind)), encoding="utf-8")
        part = audit.of_folders(Path(place) / "real", Path(place) / "made", lists)
        found = audit.audit([part], case.folder / "audit", settings)
    told = {Path(one.path).name: one.probability for one in found.images}
    more = found.statement.model_dump(mode="json", exclude={"sentences"})
    more["least_p"] = float(min(one.p for one in found.images))
    return Answer(np.array([told[name] for name in names]), 0.5, more)


METHODS: dict[str, Callable[[Case], Answer]] = {
    "relation": relation_network, "ward": ward, "company": company, "svm": svm, "ours": ours, "ours_known": ours_known,
}  # fmt: skip
