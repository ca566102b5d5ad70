"""Splits into k shots per class and the rest."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import BaseShuffleSplit
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, RealNotInt, validate_parameter_constraints
from sklearn.utils.multiclass import check_classification_targets


class FewShotSplit(BaseShuffleSplit):
    """Draw the same number of shots of every class for training, and test on the rest.

    A cross-validator for `cross_validate`, `GridSearchCV` and `learning_curve`. The training indices
    are ordered shot by shot: one shot of each class, then the next of each class. The first ``C * k``
    of them are therefore the k-shot split of the same seed.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    n_shots : int, default=16
        Number of training samples of each class.

    n_splits : int, default=3
        Number of independent draws.

    test_size : int or float, default=None
        Largest number of test samples, drawn at random from the samples that are not for training. A
        float is their share. If None, all of them are test samples.

    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Raises
    ------
    ValueError
        In `split`, if a class has fewer samples than `n_shots`, or if no sample remains for testing.

    References
    ----------
    .. [1] R. Zhang et al., "Tip-Adapter: Training-free CLIP-Adapter for better
       vision-language modeling", arXiv:2111.03930, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip.model_selection import FewShotSplit
    >>> y = np.array(["cat", "dog"] * 5)
    >>> for train, test in FewShotSplit(n_shots=2, n_splits=1, random_state=0).split(y, y):
    ...     print(y[train], len(test))
    ['cat' 'dog' 'cat' 'dog'] 6
    """

    _parameter_constraints: dict = {
        "n_shots": [Interval(Integral, 1, None, closed="left")],
        "n_splits": [Interval(Integral, 1, None, closed="left")],
        "test_size": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_shots: int = 16,
        n_splits: int = 3,
        *,
        test_size: int | float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_shots = n_shots
        self.n_splits = n_splits
        self.test_size = test_size
        self.random_state = random_state

    def _iter_indices(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple]:
        if y is None:
            raise ValueError("FewShotSplit needs y: shots are drawn from each class.")
        validate_parameter_constraints(self._parameter_constraints, vars(self), "FewShotSplit")
        y = column_or_1d(y)
        check_classification_targets(y)
        classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        few = [
            f"{label!r} ({n})"
            for label, n in zip(classes.tolist(), counts, strict=True)
            if n < self.n_shots
        ]
        if few:
            raise ValueError(
                f"n_shots={self.n_shots}, but {len(few)} classes have fewer samples: {', '.join(few[:10])}."
            )
        n_test = n_rest = len(y) - self.n_shots * len(classes)
        if n_rest == 0:
            raise ValueError(
                f"n_shots={self.n_shots} takes every sample, and none remains for testing; lower it."
            )
        if isinstance(self.test_size, Integral):
            n_test = min(self.test_size, n_rest)
        elif self.test_size is not None:
            n_test = max(1, round(self.test_size * n_rest))
        rng = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            order = rng.permutation(len(y))
            by_class = [order[codes[order] == code] for code in range(len(classes))]
            train = np.stack([rows[: self.n_shots] for rows in by_class], axis=1).ravel()
            rest = np.concatenate([rows[self.n_shots :] for rows in by_class])
            if n_test < n_rest:
                rest = rng.permutation(rest)[:n_test]
            yield train, np.sort(rest)
