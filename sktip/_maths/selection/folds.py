"""Split shots into folds that are held out together, and weight the held-out shots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fold:
    """Shots that are held out together, and the cached shots that they query.

    Parameters
    ----------
    held_out : ndarray of shape (q,)
        Rows of the held-out shots.

    cached : ndarray of shape (v,)
        Rows of the shots in the cache.

    one_by_one : bool
        Whether both are all shots, and each shot is masked for itself only. This is leave-one-out as a
        single fold.
    """

    held_out: NDArray[Any]
    cached: NDArray[Any]
    one_by_one: bool = False


@dataclass(frozen=True)
class DistinctShots:
    """Distinct shots, in an order that does not depend on the order of the rows.

    Parameters
    ----------
    rows : ndarray of shape (u,)
        Index of a row of each distinct shot.

    inverse : ndarray of shape (m,)
        Index of the distinct shot of each row.
    """

    rows: NDArray[Any]
    inverse: NDArray[Any]

    @classmethod
    def of(
        cls, shots: NDArray[Any], codes: NDArray[Any], groups: NDArray[Any] | None
    ) -> "DistinctShots":
        """Find the shots, (m, ...), that differ in features, class or group."""
        columns = [shots.reshape(len(shots), -1), codes[:, None]]
        columns += [] if groups is None else [groups[:, None]]
        parts = [np.ascontiguousarray(c).view(np.uint8).reshape(len(shots), -1) for c in columns]
        raw = np.hstack(parts)
        rows, inverse = np.unique(
            raw.view(np.dtype((np.void, raw.shape[1])))[:, 0],
            return_index=True,
            return_inverse=True,
        )[1:]
        return cls(rows, inverse)

    def summed(self, weights: NDArray[Any] | None) -> NDArray[Any]:
        """Sum the weights of the rows of each distinct shot: (u,)."""
        return np.bincount(self.inverse, weights, minlength=len(self.rows)).astype(float)


def one_by_one(n_shots: int) -> list[Fold]:
    """Hold out each shot on its own."""
    rows = np.arange(n_shots)
    return [Fold(rows, rows, one_by_one=True)]


def positions_in_class(codes: NDArray[Any], keys: NDArray[Any] | None = None) -> NDArray[Any]:
    """Position of each shot within its class, counted from 0: (m,).

    Parameters
    ----------
    codes : ndarray of shape (m,)
        Class codes.

    keys : ndarray of shape (m,) or None
        Sort keys of the shots of a class. Shots with equal keys get the same position. If None, the
        given order.
    """
    keys = np.arange(len(codes)) if keys is None else keys
    order = np.lexsort((keys, codes))
    codes, keys = codes[order], keys[order]
    is_first = np.append(True, codes[1:] != codes[:-1])[: len(order)]
    is_new = is_first | np.append(True, keys[1:] != keys[:-1])[: len(order)]
    n_distinct = np.cumsum(is_new)
    positions = np.empty(len(order), np.intp)
    positions[order] = n_distinct - np.maximum.accumulate(np.where(is_first, n_distinct, 0))
    return positions


def fold_numbers(
    codes: NDArray[Any], n_folds: int | None = None, groups: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Fold of each shot, (m,). Each fold has one shot of every class, which treats all classes alike.

    The fold is the position of a shot within its class, modulo `n_folds`. The only shot of a class
    cannot be held out, and gets -1.

    Parameters
    ----------
    codes : ndarray of shape (m,)
        Class codes.

    n_folds : int or None
        Largest number of folds. If None, the number of shots of the largest class.

    groups : ndarray of shape (m,), int, or None
        Shots of a group are held out together, as if they were one shot: a fold has one group of every
        class. A group is not held out if a class has no shots outside of it.
    """
    if groups is None:
        positions, n_units = positions_in_class(codes), np.bincount(codes)
        alone = n_units[codes] == 1
    else:
        pairs = np.unique(np.stack([groups, codes]), axis=1)
        only = np.bincount(pairs[1])[pairs[1]] == 1
        alone = np.isin(groups, pairs[0, only])
        positions = _group_positions(*pairs)[groups]
    numbers = positions if n_folds is None else positions % n_folds
    return np.where(alone, -1, numbers)


def _group_positions(groups: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """Position of each group: the first one that no other group of its classes has."""
    positions = np.zeros(groups.max() + 1, np.intp)
    taken: dict[int, set[int]] = {}
    ends = np.flatnonzero(np.diff(groups)) + 1
    for own, classes in zip(np.split(groups, ends), np.split(codes, ends), strict=True):
        before = set().union(*(taken.setdefault(code, set()) for code in classes.tolist()))
        place = next(place for place in range(len(before) + 1) if place not in before)
        positions[own[0]] = place
        for code in classes.tolist():
            taken[code].add(place)
    return positions


def balanced_folds(
    codes: NDArray[Any], n_folds: int | None = None, groups: NDArray[Any] | None = None
) -> list[Fold]:
    """Return the folds of `fold_numbers`.

    The only shot of a class is a query of the first fold, but stays in the cache of all folds. With
    groups, shots that cannot be held out are not queries.
    """
    numbers = fold_numbers(codes, n_folds, groups)
    queried = np.maximum(numbers, 0) if groups is None else numbers
    return [
        Fold(np.flatnonzero(queried == number), np.flatnonzero(numbers != number))
        for number in range(queried.max() + 1)
    ]


def class_balanced_weights(
    codes: NDArray[Any], weights: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Weights of held-out shots with sum 1 and the same total weight for every class.

    Parameters
    ----------
    codes : ndarray of shape (q,)
        Class codes of the held-out shots.

    weights : ndarray of shape (q,) or None
        Weight of each shot relative to the others of its class. If None, they are equal.
    """
    balanced: NDArray[Any] = (1 if weights is None else weights) / np.bincount(codes)[codes]
    return balanced / balanced.sum()


def fold_balanced_weights(sizes: Sequence[int]) -> NDArray[Any]:
    """Weights of held-out shots with sum 1 and the same total weight for every fold, by fold sizes."""
    return np.concatenate([np.full(size, 1 / size) for size in sizes]) / len(sizes)
