"""Rows that are near copies of each other, found among many without a matrix of all pairs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

#: Largest squared distance of two copies, as a fraction of the median one to the `NEIGHBOUR`-th nearest row. In dense
#: data, where this is small, different photos are as near as copies elsewhere.
NEAR, NEIGHBOUR = 0.2, 10
#: The same, as a fraction of the mean squared distance between rows: for photos with many more copies.
LEAST = 0.02
#: Number of rows whose neighbours are searched.
SAMPLE = 1024
#: Number of rows that are compared with as many others at a time.
TILE = 1024
#: Number of principal components in which all pairs are compared. Few pairs are near in them, and only
#: these are compared in full.
N_COMPONENTS = 64
#: Number of pairs that are compared in full one by one. If a tile has more, all its rows are compared in full.
FEW_PAIRS = 4096


def distance_of_copies(features: NDArray[Any]) -> float:
    """Choose the largest squared distance of two rows that are copies, from all rows (m, d)."""
    m = len(features)
    if m < 2:
        return 0.0
    rows = features - features.mean(axis=0)
    # A sample that does not depend on the order of the rows.
    mix = np.random.RandomState(0).normal(size=features.shape[1])
    sample = rows[np.argsort(features @ mix * 4 % 1, kind="stable")[:SAMPLE]]
    halves = np.einsum("ij,ij->i", rows, rows) / 2
    k = min(NEIGHBOUR, max(1, m // 4))
    distances = []
    for start in range(0, len(sample), 64):
        block = sample[start : start + 64]
        # Each row is its own nearest one.
        kth = np.partition(halves - block @ rows.T, k, axis=1)[:, k]
        distances.append(2 * kth + np.einsum("ij,ij->i", block, block))
    usual = float(np.median(np.concatenate(distances)))
    return max(NEAR * usual, LEAST * mean_squared_distance(features))


def mean_squared_distance(features: NDArray[Any], weights: NDArray[Any] | None = None) -> float:
    """Mean squared distance between two random rows of (m, d)."""
    centred = features - np.average(features, axis=0, weights=weights)
    return float(2 * np.average(np.einsum("ij,ij->i", centred, centred), weights=weights))


def near_groups(features: NDArray[Any], limit: float) -> NDArray[np.intp]:
    """Group of each row, (m,): rows within the squared distance `limit` share one.

    So do rows that others connect. Groups are numbered from 0 in the order of their first rows. Memory grows
    with the number of rows, not of pairs.
    """
    m = len(features)
    rows = features - features.mean(axis=0)
    order = np.arange(m)
    if m > TILE:
        rows = rows @ np.linalg.eigh(rows.T @ rows)[1][:, ::-1].astype(rows.dtype)
        # So that rows that are far apart in the first component are not compared.
        order = np.argsort(rows[:, 0], kind="stable")
        rows = rows[order]
    few = whole = _Distances(rows)
    if m > TILE:
        few = _Distances(rows[:, :N_COMPONENTS])
    groups = np.arange(m)
    for start in range(0, m, TILE):
        a = slice(start, start + TILE)
        end = int(np.searchsorted(rows[:, 0], rows[a, 0].max() + np.sqrt(limit), "right"))
        for other in range(start, end, TILE):
            b = slice(other, other + TILE)
            near = few.within(a, b, limit)
            near &= groups[a, np.newaxis] != groups[b]
            n_near = np.count_nonzero(near)
            if n_near > FEW_PAIRS and few is not whole:
                near &= whole.within(a, b, limit)
            i, j = np.nonzero(near)
            i, j = i + start, j + other
            if n_near <= FEW_PAIRS and few is not whole:
                is_near = ((rows[i] - rows[j]) ** 2).sum(axis=1) <= limit
                i, j = i[is_near], j[is_near]
            if len(i):
                groups = joined(groups, groups[i], groups[j])
    if (groups == np.arange(m)).all():
        return groups
    result = np.empty(m, np.intp)
    result[order] = groups
    return in_order(result)


class _Distances:
    """Squared distances between rows, a tile at a time."""

    def __init__(self, rows: NDArray[Any]):
        halves = np.einsum("ij,ij->i", rows, rows)[:, np.newaxis] / 2
        ones = np.ones_like(halves)
        # The product of a row of one with a row of the other is minus half of the squared distance.
        self._left = np.hstack([rows, -halves, -ones])
        self._right = np.hstack([rows, ones, halves])

    def within(self, a: slice, b: slice, limit: float) -> NDArray[np.bool_]:
        """Whether rows of one tile are that near to rows of another."""
        return self._left[a] @ self._right[b].T >= -limit / 2 - 1e-6


def in_order(groups: NDArray[Any]) -> NDArray[np.intp]:
    """Renumber groups from 0 in the order of their first rows."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    places = np.empty(len(first), np.intp)
    places[np.argsort(first)] = np.arange(len(first))
    return places[number]


def joined(groups: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Join pairs of groups, which are named by integers from 0 to the number of rows."""
    known, ends = np.unique(np.concatenate([first, second]), return_inverse=True)
    n, pairs = len(known), (ends[: len(first)], ends[len(first) :])
    graph = coo_matrix((np.ones(len(first), np.int8), pairs), shape=(n, n))
    parts = connected_components(graph, directed=False)[1]
    become = np.arange(len(groups))
    become[known] = known[np.unique(parts, return_index=True)[1]][parts]
    return become[groups]
