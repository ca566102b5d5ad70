"""Which shots are held out together, and how much each of them counts."""

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
        Whether both are all shots, each of which is hidden from itself alone: as many folds of one
        shot in one.
    """

    held_out: NDArray[Any]
    cached: NDArray[Any]
    one_by_one: bool = False


@dataclass(frozen=True)
class DistinctShots:
    """Shots, each once, in an order that depends on nothing but themselves.

    Parameters
    ----------
    rows : ndarray of shape (u,)
        A row of each.

    inverse : ndarray of shape (m,)
        Which of them each row is.
    """

    rows: NDArray[Any]
    inverse: NDArray[Any]

    @classmethod
    def of(
        cls, shots: NDArray[Any], codes: NDArray[Any], groups: NDArray[Any] | None
    ) -> "DistinctShots":
        """Find those that differ in features, class or group: shots is (m, ...)."""
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
        """Weights (u,) of the distinct shots, of those of all rows."""
        return np.bincount(self.inverse, weights, minlength=len(self.rows)).astype(float)


def one_by_one(n_shots: int) -> list[Fold]:
    """Each shot is held out alone."""
    rows = np.arange(n_shots)
    return [Fold(rows, rows, one_by_one=True)]


def positions_in_class(codes: NDArray[Any], keys: NDArray[Any] | None = None) -> NDArray[Any]:
    """Position of each shot among those of its class, from 0: (m,).

    Parameters
    ----------
    codes : ndarray of shape (m,)
        Class codes.

    keys : ndarray of shape (m,) or None
        What orders the shots of a class; equal shots share a position. None is the order given.
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
    """Fold of each shot, (m,), with one shot of every class in each, so that no class is a shot short.

    It is the position of a shot within its class, modulo `n_folds`. The only shot of a class, which
    cannot be held out, has -1.

    Parameters
    ----------
    codes : ndarray of shape (m,)
        Class codes.

    n_folds : int or None
        Folds at most; None for as many as the largest class has shots.

    groups : ndarray of shape (m,), int, or None
        Shots of a group are held out together, as if they were one: a fold has one group of every
        class. A group without which some class had no shot is never held out.
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
    """Place of each group: the first in which none of its classes has another one yet."""
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
    """Folds of `fold_numbers`.

    The only shot of a class is a query of the first fold, but stays in the cache of all. With
    groups, what cannot be held out is no query at all.
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
    """Weights of held-out shots, of sum 1: every class counts the same, however many it has.

    Parameters
    ----------
    codes : ndarray of shape (q,)
        Class codes of the held-out shots.

    weights : ndarray of shape (q,) or None
        Weight of each beside the others of its class; None if these weigh the same.
    """
    balanced: NDArray[Any] = (1 if weights is None else weights) / np.bincount(codes)[codes]
    return balanced / balanced.sum()


def fold_balanced_weights(sizes: Sequence[int]) -> NDArray[Any]:
    """Weights of held-out shots, of sum 1: every fold, of so many of them, counts the same."""
    return np.concatenate([np.full(size, 1 / size) for size in sizes]) / len(sizes)
