"""Which shots are held out together, and how much each of them counts."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    held_out: NDArray
    cached: NDArray
    one_by_one: bool = False


def one_by_one(n_shots: int) -> list[Fold]:
    """Each shot is held out alone."""
    rows = np.arange(n_shots)
    return [Fold(rows, rows, one_by_one=True)]


def positions_in_class(codes: NDArray, keys: NDArray | None = None) -> NDArray:
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


def fold_numbers(codes: NDArray, n_folds: int | None = None) -> NDArray:
    """Fold of each shot, (m,), with one shot of every class in each, so that no class is a shot short.

    It is the position of a shot within its class, modulo `n_folds`. The only shot of a class, which
    cannot be held out, has -1.
    """
    positions = positions_in_class(codes)
    numbers = positions if n_folds is None else positions % n_folds
    return np.where(np.bincount(codes)[codes] > 1, numbers, -1)


def balanced_folds(codes: NDArray, n_folds: int | None = None) -> list[Fold]:
    """Folds of `fold_numbers`.

    The only shot of a class is a query of the first fold, but stays in the cache of all.
    """
    numbers = fold_numbers(codes, n_folds)
    queried = np.maximum(numbers, 0)
    return [
        Fold(np.flatnonzero(queried == number), np.flatnonzero(numbers != number))
        for number in range(queried.max() + 1)
    ]


def class_balanced_weights(codes: NDArray, weights: NDArray | None = None) -> NDArray:
    """Weights of held-out shots, of sum 1: every class counts the same, however many it has.

    Parameters
    ----------
    codes : ndarray of shape (q,)
        Class codes of the held-out shots.

    weights : ndarray of shape (q,) or None
        Weight of each beside the others of its class; None if these weigh the same.
    """
    balanced = (1 if weights is None else weights) / np.bincount(codes)[codes]
    return balanced / balanced.sum()


def fold_balanced_weights(sizes: Sequence[int]) -> NDArray:
    """Weights of held-out shots, of sum 1: every fold, of so many of them, counts the same."""
    return np.concatenate([np.full(size, 1 / size) for size in sizes]) / len(sizes)
