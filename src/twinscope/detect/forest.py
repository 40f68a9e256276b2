"""A forest that tells labelled places from others, kept as arrays in one file with its card; no pickle.

scikit-learn grows it. A `.model` file is a safetensors file: the arrays, and the card as JSON in its header.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope.errors import ModelError

Floats = NDArray[np.float32]
KIND = "twinscope segment 1"
_CHUNK = 16_384
"""Places that go down the trees together: so many stay near the processor."""


class Forest(NamedTuple):
    """Trees one behind the other: of each node the feature asked (-1 at a leaf), threshold, children, probability.

    roots: (t,) int32, where each tree begins. The other arrays: (nodes,). Children come after their parent. A place
    goes left where its feature is at most the threshold. probability: of an object, at a leaf.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    probability: Floats


def grow(values: Floats, labels: NDArray[np.bool_], trees: int, leaf: int, seed: int, threads: int = 1) -> Forest:
    """Grow a forest on places (n, k) and their labels (n,): True for objects. The same input gives the same forest.

    leaf: the least number of places in a leaf.
    """
    from sklearn.ensemble import RandomForestClassifier  # slow to load, and only training needs it

    grown = RandomForestClassifier(trees, min_samples_leaf=leaf, random_state=seed, n_jobs=threads)
    grown.fit(values, labels)
    parts = [tree.tree_ for tree in grown.estimators_]
    roots = np.cumsum([0, *(part.node_count for part in parts[:-1])]).astype(np.int32)
    inner = [part.children_left >= 0 for part in parts]

    def children(name: str) -> NDArray[np.int32]:
        found = [getattr(part, name) for part in parts]
        moved = [np.where(one >= 0, one + root, 0) for one, root in zip(found, roots, strict=True)]
        return np.concatenate(moved).astype(np.int32)

    return Forest(
        roots,
        np.concatenate([np.where(i, part.feature, -1) for i, part in zip(inner, parts, strict=True)]).astype(np.int16),
        np.concatenate([_below(np.where(i, p.threshold, 0)) for i, p in zip(inner, parts, strict=True)]),
        children("children_left"),
        children("children_right"),
        np.concatenate([part.value[:, 0, 1] / part.value[:, 0].sum(1) for part in parts]).astype(np.float32),
    )


def _below(thresholds: NDArray[np.float64]) -> Floats:
    """Return thresholds as float32, rounded down, so that float32 values fall as they do for float64 thresholds."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


def vote(forest: Forest, features: Floats) -> Floats:
    """Return the probability of an object at each place: features (k, ...) -> (...), the mean over the trees."""
    flat = features.reshape(features.shape[0], -1)
    out = np.empty(flat.shape[1], np.float32)
    depth = _depth(forest)
    inner = np.maximum(forest.feature, 0).astype(np.int32) * min(_CHUNK, max(1, flat.shape[1]))
    nodes = np.arange(len(forest.feature), dtype=np.int32)
    leaf = forest.feature < 0
    left, right = np.where(leaf, nodes, forest.left), np.where(leaf, nodes, forest.right)
    for start in range(0, flat.shape[1], _CHUNK):
        part = np.ascontiguousarray(flat[:, start : start + _CHUNK])
        count = part.shape[1]
        row, values = inner // min(_CHUNK, max(1, flat.shape[1])) * count, part.ravel()
        places, sums = np.arange(count, dtype=np.int32), np.zeros(count, np.float32)
        for root, deep in zip(forest.roots, depth, strict=True):
            node = np.full(count, root, np.int32)
            for _ in range(deep):
                low = values.take(row.take(node) + places) <= forest.threshold.take(node)
                node = np.where(low, left.take(node), right.take(node))
            sums += forest.probability.take(node)
        out[start : start + count] = sums / np.float32(len(depth))
    return out.reshape(features.shape[1:])


def _depth(forest: Forest) -> list[int]:
    """Return how many questions each tree asks, at most."""
    level = np.zeros(len(forest.feature), np.int64)
    for node in np.flatnonzero(forest.feature >= 0):  # parents come first
        level[forest.left[node]] = level[forest.right[node]] = level[node] + 1
    ends = [*forest.roots[1:].tolist(), len(level)]
    return [int(level[a:b].max()) for a, b in zip(forest.roots.tolist(), ends, strict=True)]


def save(path: Path, forest: Forest, card: dict[str, Any]) -> None:
    """Write a forest and its card: the same bytes for the same content; the file is there in whole or not at all."""
    from safetensors.numpy import save as packed

    told = json.dumps({"kind": KIND, **card}, sort_keys=True)
    data = packed({name: np.ascontiguousarray(part) for name, part in forest._asdict().items()}, {"card": told})
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def load(path: Path) -> tuple[Forest, dict[str, Any]]:
    """Return a forest and its card. Raises ModelError for a file that holds none, or one that is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    no = f"{path} is no model of `twinscope segment train`; train one, or name another"
    try:
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        card: dict[str, Any] = json.loads(header["__metadata__"]["card"])
        arrays = unpacked(data)
        forest = Forest(**{name: arrays[name] for name in Forest._fields})
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(no) from error
    if card.get("kind") != KIND or set(arrays) != set(Forest._fields):
        raise ModelError(no)
    _check(forest, int(card.get("features", 0)), path)
    return forest, card


def _check(forest: Forest, features: int, path: Path) -> None:
    """Raise ModelError for arrays that no forest has: each child must follow its parent, each feature must exist."""
    nodes = np.arange(len(forest.feature))
    inner = forest.feature >= 0
    given: list[NDArray[Any]] = list(forest)
    types = (np.int32, np.int16, np.float32, np.int32, np.int32, np.float32)
    good = all(part.dtype == kind and part.ndim == 1 for part, kind in zip(given, types, strict=True))
    good = good and len({len(part) for part in given[1:]}) == 1 and len(forest.roots) > 0 and len(nodes) > 0
    good = good and forest.roots[0] == 0 and bool((np.diff(forest.roots) > 0).all()) and forest.roots[-1] < len(nodes)
    if good:
        ends = np.append(forest.roots[1:], len(nodes))
        end = ends[np.searchsorted(forest.roots, nodes, "right") - 1]
        below = [(child > nodes) & (child < end) for child in (forest.left, forest.right)]
        good = bool((below[0] & below[1])[inner].all()) and int(forest.feature.max()) < features
        good = good and bool(np.isfinite(forest.probability).all() and np.isfinite(forest.threshold).all())
    if not good:
        raise ModelError(f"{path} is damaged: its trees lead nowhere; train it again")
