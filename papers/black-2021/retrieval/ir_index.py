"""Equation 3 of black-2021: a coarse quantiser and product quantisation of what it leaves, 128 bits a vector.

b = q1(z) + q2(z - q1(z)): q1 is one of 1024 centres (k-means), each with the list of its vectors; q2 cuts the rest in
16 parts and takes for each the nearest of 256 centres. A query looks through the lists of its 10 nearest centres, by
the distance to what is kept of each vector.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

Floats = NDArray[np.float32]
LISTS, PROBED, PARTS, CENTRES = 1024, 10, 16, 256
"""The paper's 1024 lists, of which 10 are looked through, and 16 bytes a vector."""


class Quantiser(NamedTuple):
    """`coarse` (lists, d) and `fine` (parts, 256, d / parts): the centres of q1 and of q2."""

    coarse: Floats
    fine: Floats


class Index(NamedTuple):
    """Vectors as they are kept: the list (n,) and the code (n, parts) uint8 of each, and the vectors of each list."""

    quantiser: Quantiser
    lists: NDArray[np.int64]
    codes: NDArray[np.uint8]
    members: list[NDArray[np.int64]]


def learned(vectors: Floats, seed: int, lists: int = LISTS, parts: int = PARTS, centres: int = CENTRES) -> Quantiser:
    """Return the quantisers learned from vectors (n, d); there are no more centres than vectors."""
    coarse = _means(vectors, min(lists, len(vectors)), seed)
    rest = vectors - coarse[nearest(vectors, coarse)]
    fine = [_means(part, min(centres, len(part)), seed) for part in np.split(rest, parts, axis=1)]
    return Quantiser(coarse, np.stack(fine))


def _means(values: Floats, count: int, seed: int) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct values than centres: some are equal
        found = MiniBatchKMeans(count, random_state=seed, batch_size=max(1024, 2 * count), n_init=1, max_iter=30,
                                reassignment_ratio=0.0)  # fmt: skip
        return np.asarray(found.fit(values).cluster_centers_, np.float32)


def nearest(vectors: Floats, centres: Floats, lot: int = 8192) -> NDArray[np.int64]:
    """Return the number of the nearest centre of each vector."""
    half = (centres**2).sum(1) / 2
    parts = [(half - vectors[k : k + lot] @ centres.T).argmin(1) for k in range(0, len(vectors), lot)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def encoded(quantiser: Quantiser, vectors: Floats) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the list and the code of vectors (n, d): (n,) and (n, parts)."""
    lists = nearest(vectors, quantiser.coarse)
    rest = np.split(vectors - quantiser.coarse[lists], len(quantiser.fine), axis=1)
    codes = [nearest(np.ascontiguousarray(part), own) for part, own in zip(rest, quantiser.fine, strict=True)]
    return lists, np.stack(codes, 1).astype(np.uint8)


def decoded(quantiser: Quantiser, lists: NDArray[np.int64], codes: NDArray[np.uint8]) -> Floats:
    """Return what is kept of vectors: q1(z) + q2(z - q1(z)), (n, d)."""
    rest = [own[code] for own, code in zip(quantiser.fine, codes.T, strict=True)]
    return np.asarray(quantiser.coarse[lists] + np.concatenate(rest, 1), np.float32)


def made(quantiser: Quantiser, lists: NDArray[np.int64], codes: NDArray[np.uint8]) -> Index:
    """Return the index of encoded vectors."""
    order = np.argsort(lists, kind="stable")
    borders = np.searchsorted(lists[order], np.arange(len(quantiser.coarse) + 1))
    members = [order[a:b] for a, b in pairwise(borders)]
    return Index(quantiser, lists, codes, members)


def looked(index: Index, query: Floats, probed: int = PROBED) -> tuple[NDArray[np.int64], Floats]:
    """Return the vectors in the `probed` lists nearest to a query (d,), and their squared distances: (m,), (m,)."""
    far = ((index.quantiser.coarse - query) ** 2).sum(1)
    chosen = np.argsort(far, kind="stable")[:probed]
    found = np.concatenate([index.members[k] for k in chosen])
    kept = decoded(index.quantiser, index.lists[found], index.codes[found])
    return found, np.asarray(((kept - query) ** 2).sum(1), np.float32)
