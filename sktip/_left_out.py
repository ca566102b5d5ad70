"""Which shots are left out together when alpha and beta are chosen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneOut, check_cv


@dataclass(frozen=True)
class Split:
    """Rows that are asked about, and rows of the cache that answer; `own` hides each from itself."""

    asked: NDArray
    visible: NDArray
    own: bool = False


def each_on_its_own(codes: NDArray) -> list[Split]:
    """Every shot is asked about, and hidden from itself alone."""
    rows = np.arange(len(codes))
    return [Split(rows, rows, own=True)]


def place_in_class(codes: NDArray) -> NDArray:
    """Place of each shot among those of its class, from 0, in the order given."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    place = np.empty(len(codes), np.intp)
    place[order] = np.arange(len(codes)) - (np.cumsum(counts) - counts)[codes[order]]
    return place


def balanced_splits(codes: NDArray, n_folds: int | None = None) -> list[Split]:
    """One shot of every class is left out together, so that no class is a shot short.

    A fold is the place of a shot within its class, modulo `n_folds`. The only shot of a class is
    asked about in the first fold, but answers in all of them.
    """
    place = place_in_class(codes)
    folds = place if n_folds is None else place % n_folds
    only = np.bincount(codes)[codes] == 1
    return [
        Split(np.flatnonzero(folds == fold), np.flatnonzero((folds != fold) | only))
        for fold in range(folds.max() + 1)
    ]


def splits_of(cv: Any, X: Any, y: NDArray, *, learned: bool) -> list[Split]:
    """Split as a scikit-learn splitter does; plain leave-one-out in one piece unless keys are learned.

    Parts may be positions or boolean masks.
    """
    if isinstance(cv, LeaveOneOut) and not learned:
        return each_on_its_own(y)
    splits = [
        Split(
            _rows(test, len(y), f"test part of split {i}"),
            _rows(train, len(y), f"train part of split {i}"),
        )
        for i, (train, test) in enumerate(check_cv(cv, y, classifier=True).split(X, y))
    ]
    if not splits:
        raise ValueError("cv makes no splits; it must leave some shots out.")
    return splits


def _rows(part: Any, n_shots: int, what: str) -> NDArray[np.intp]:
    """Positions of the shots of one part of a split."""
    part = np.asarray(part)
    try:
        rows = np.arange(n_shots)[part] if part.size else np.empty(0, np.intp)
    except IndexError as error:
        raise ValueError(
            f"cv: the {what} does not index {n_shots} shots ({error}). It holds positions, or is a "
            "boolean mask of that length."
        ) from error
    if not len(rows):
        raise ValueError(
            f"cv: the {what} is empty; every split needs shots to learn from and shots to ask about."
        )
    return rows
