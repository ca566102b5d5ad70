"""Classifiers that keep shots and unlabelled images, so that `partial_fit` can fit all of them again."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval

from sktip._base import BaseCLIPClassifier, reads_images
from sktip._images.pictures import as_image_list
from sktip._maths.unit import unit_norm
from sktip._utils.labels import check_groups, codes_of, joined_groups, joined_weights
from sktip.exceptions import ImageReadError


class KeptShotsMixin:
    """Keeps the shots of a classifier."""

    shots_: Any
    shot_codes_: Any
    shot_weights_: NDArray[Any] | None
    # For models saved by a version without groups.
    shot_groups_: NDArray[Any] | None = None

    def _append_shots(
        self,
        shots: NDArray[Any],
        codes: NDArray[Any],
        weights: NDArray[Any] | None,
        groups: NDArray[Any] | None,
    ) -> None:
        """Append shots to the kept ones."""
        if len(getattr(self, "shot_codes_", ())):
            groups = joined_groups(self.shot_groups_, groups)
            weights = joined_weights(self.shot_weights_, len(self.shots_), weights, len(shots))
            shots = np.concatenate([self.shots_, shots])
            codes = np.concatenate([self.shot_codes_, codes])
        self.shots_, self.shot_codes_ = shots, codes
        self.shot_weights_, self.shot_groups_ = weights, groups


class KeptSamplesClassifier(KeptShotsMixin, BaseCLIPClassifier):
    """A classifier that keeps the features of its shots and of unlabelled images.

    A subclass calls `_take` with the arguments of `fit` and `partial_fit`, and then fits what is kept.
    """

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    unlabeled_: NDArray[Any] | None

    def _take(
        self,
        X: Any,
        y: ArrayLike | None,
        *,
        classes: ArrayLike | None = None,
        X_unlabeled: Any,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
    ) -> None:
        """Encode shots and unlabelled images, and append them to the kept ones."""
        first = not hasattr(self, "classes_")
        labels = np.array([])
        has_shots = not (_is_empty(X) and _is_empty(y))
        # Everything is checked before anything is encoded.
        if X is None and has_shots:
            raise ValueError("y was passed without X; pass the shots as X.")
        if has_shots:
            X, labels = self._start_fit(X, y, self.n_views, reset=first)
            shot_groups = check_groups(groups, len(X))
            counting = self._shots_that_count(X, labels, sample_weight)
            labels = counting[1]
        elif not _is_empty(sample_weight):
            raise ValueError("sample_weight was passed without shots; pass X and y.")
        elif not _is_empty(groups):
            raise ValueError("groups were passed without shots; pass X and y.")
        unlabeled = None
        if not _is_empty(X_unlabeled):
            with _about_unlabeled():
                unlabeled = self._start_unlabeled(X_unlabeled, reset=first and not has_shots)
        if has_shots or not _is_empty(classes):
            moved = self._learn_more_classes(labels, classes)
            if not first:
                self.shot_codes_ = moved[self.shot_codes_]
        elif first:
            self._learn_classes(None)
        if first:
            self._start_empty(has_features=has_shots or unlabeled is not None)
        if has_shots:
            self._add_shots(counting, shot_groups)
        if unlabeled is not None:
            with _about_unlabeled():
                self._add_unlabeled(unlabeled)

    def _start_unlabeled(self, X_unlabeled: Any, *, reset: bool) -> Any:
        """Check unlabelled images or features."""
        if reads_images(self):
            return as_image_list(X_unlabeled)
        return self._validate_features(X_unlabeled, reset=reset)

    def _start_empty(self, *, has_features: bool) -> None:
        """Set the state without shots and unlabelled images."""
        self.shot_codes_ = np.empty(0, np.intp)
        self.shot_weights_ = self.shot_groups_ = None
        self.unlabeled_ = None
        if self.text_features_ is not None:
            self.shots_ = self.text_features_[:0]
            if not has_features and not reads_images(self):
                self.n_features_in_ = self.text_features_.shape[1]

    def _add_shots(self, counting: tuple, groups: NDArray[Any] | None) -> None:
        X, labels, weights, rows = counting
        shots = unit_norm(self._shot_features(X, self.n_views, rows).mean(axis=1))
        groups = groups if groups is None or rows is None else groups[rows]
        self._append_shots(shots, codes_of(labels, self.classes_), weights, groups)

    def _add_unlabeled(self, X_unlabeled: Any) -> None:
        new = unit_norm(self._shot_features(X_unlabeled)[:, 0]).astype(np.float32, copy=False)
        old = self.unlabeled_
        self.unlabeled_ = new if old is None else np.concatenate([old, new])

    def _total_weights(self) -> NDArray[Any]:
        """Weights of the shots times those of their classes."""
        n_shots = len(self.shot_codes_)
        weights = np.ones(n_shots) if self.shot_weights_ is None else self.shot_weights_
        total = self._class_weighted(self.shot_codes_, weights)
        return weights if total is None else total


def _is_empty(given: Any) -> bool:
    """Whether an argument is None or has no rows."""
    if given is None:
        return True
    shape = getattr(given, "shape", None)
    return (shape[0] if shape else len(given) if hasattr(given, "__len__") else 1) == 0


@contextmanager
def _about_unlabeled() -> Iterator[None]:
    """Begin error messages with "X_unlabeled"."""
    try:
        yield
    except (TypeError, ValueError, ImageReadError) as error:
        raise type(error)(f"X_unlabeled: {error}") from error
