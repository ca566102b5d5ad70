"""Inputs of a search: splitters as folds, scorers as functions of logits, and values to try."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv

from sktip._maths.folds import Split
from sktip._utils.prediction import BlockwisePredictionMixin


def splits_of(cv: Any, X: Any, y: NDArray[Any], groups: NDArray[Any] | None = None) -> list[Split]:
    """Return the splits of a scikit-learn splitter, which may yield indices or boolean masks."""
    splits = [
        Split(
            _rows(train, len(y), f"train part of split {i}"),
            _rows(test, len(y), f"test part of split {i}"),
        )
        for i, (train, test) in enumerate(check_cv(cv, y, classifier=True).split(X, y, groups))
    ]
    if not splits:
        raise ValueError("cv has no splits; it must hold out some shots.")
    return splits


def without_rows(splits: list[Split], kept: NDArray[Any], n_rows: int) -> list[Split]:
    """Return the splits without the rows that are not `kept`, and number the others anew."""
    places = np.full(n_rows, -1)
    places[kept] = np.arange(len(kept))
    renumbered = []
    for i, split in enumerate(splits):
        cached, held_out = (part[part >= 0] for part in (places[rows] for rows in split))
        if not len(held_out) or not len(cached):
            raise ValueError(
                f"cv: split {i} has no training or no test shot with positive sample_weight; change the splits."
            )
        renumbered.append(Split(cached, held_out))
    return renumbered


def _rows(part: Any, n_shots: int, what: str) -> NDArray[np.intp]:
    """Return the row indices of one part of a split."""
    part = np.asarray(part)
    try:
        rows = np.arange(n_shots)[part] if part.size else np.empty(0, np.intp)
    except IndexError as error:
        raise ValueError(
            f"cv: the {what} does not index {n_shots} shots ({error}). Pass indices, or a boolean "
            "mask of that length."
        ) from error
    if not len(rows):
        raise ValueError(
            f"cv: the {what} is empty; every split needs training shots and held-out shots."
        )
    return rows


def score_of_logits(
    scoring: Any, classes: NDArray[Any], codes: NDArray[Any], sizes: Sequence[int]
) -> Callable[[NDArray[Any]], float]:
    """Convert a scorer to a function of logits: the mean of its scores over the folds.

    Parameters
    ----------
    scoring : str or callable
        The scorer.

    classes : ndarray of shape (C,)
        The classes.

    codes : ndarray of shape (q,)
        Class codes of the held-out shots, fold by fold.

    sizes : sequence of int
        Number of held-out shots of each fold.

    Returns
    -------
    score : callable
        Function from logits of the held-out shots, (q, C), to their score.
    """
    scorer, ends = get_scorer(scoring), np.cumsum(sizes)[:-1]
    labels = np.split(classes[codes], ends)

    def score(logits: NDArray[Any]) -> float:
        parts = zip(np.split(logits, ends), labels, strict=True)
        return float(np.mean([scorer(KnownLogits(z, classes), z, own) for z, own in parts]))

    return score


class KnownLogits(BlockwisePredictionMixin, ClassifierMixin, BaseEstimator):
    """A classifier with known logits, to pass to scikit-learn scorers."""

    def __init__(self, logits: NDArray[Any], classes: NDArray[Any]):
        self.logits = logits
        self.classes = classes
        self.classes_ = classes

    def _ask(self, X: Any, answer: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        return answer(self.logits)


def search_values(values: ArrayLike | None, name: str) -> NDArray[Any] | None:
    """Check the alphas or betas to try, and sort them."""
    if values is None:
        return None
    grid = np.asarray(values, dtype=float)
    if grid.ndim != 1 or len(grid) == 0:
        raise ValueError(f"{name} has the shape {grid.shape}; pass a list of at least one number.")
    wrong = grid[~((grid >= 0) & (grid <= 1e6))]
    if len(wrong):
        raise ValueError(f"{name} holds {wrong.tolist()[0]!r}; values must be from 0 to 1e6.")
    return np.unique(grid)
