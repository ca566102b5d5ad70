"""Shots and unlabelled images that are kept, so that more can be added and all be fitted again."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval

from sktip._base import BaseCLIPClassifier
from sktip._images.pictures import as_image_list
from sktip._maths.unit import unit_norm
from sktip._utils.labels import codes_of, joined_weights
from sktip.exceptions import ImageReadError


class KeptSamplesClassifier(BaseCLIPClassifier):
    """A classifier that keeps the features of its shots and of unlabelled images.

    A subclass takes what `fit` and `partial_fit` are given, and then fits what is kept.
    """

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    shots_: NDArray[Any]
    shot_codes_: NDArray[Any]
    shot_weights_: NDArray[Any] | None
    unlabeled_: NDArray[Any] | None

    def _take(
        self,
        X: Any,
        y: ArrayLike | None,
        classes: ArrayLike | None,
        X_unlabeled: Any,
        sample_weight: ArrayLike | None,
    ) -> None:
        """Read what is given, and add it to what is kept."""
        first = not hasattr(self, "classes_")
        labels, weights, rows = np.array([]), None, None
        has_shots = not (_is_empty(X) and _is_empty(y))
        # Everything is checked before anything is encoded.
        if X is None and has_shots:
            raise ValueError("y was given without X, the shots that it labels.")
        if has_shots:
            X, labels = self._start_fit(X, y, self.n_views, reset=first)
            X, labels, weights, rows = self._shots_that_count(X, labels, sample_weight)
        elif not _is_empty(sample_weight):
            raise ValueError("sample_weight was given, but no shots that it is the weight of.")
        unlabeled = None
        if not _is_empty(X_unlabeled):
            with _about_unlabeled():
                unlabeled = self._start_unlabeled(X_unlabeled, reset=first and not has_shots)
        if has_shots or not _is_empty(classes):
            moved = self._learn_more_classes(labels, classes)
            if not first:
                self.shot_codes_ = moved[self.shot_codes_]
        elif first:
            self._learn_named_classes()
        if first:
            self._start_empty(has_features=has_shots or unlabeled is not None)
        if has_shots:
            self._add_shots(X, labels, weights, rows)
        if unlabeled is not None:
            with _about_unlabeled():
                self._add_unlabeled(unlabeled)

    def _start_unlabeled(self, X_unlabeled: Any, *, reset: bool) -> Any:
        """Check unlabelled images or features."""
        if self._reads_images:
            return as_image_list(X_unlabeled)
        return self._validate_features(X_unlabeled, reset=reset)

    def _start_empty(self, *, has_features: bool) -> None:
        """Set the state before any shot and any unlabelled image."""
        self.shot_codes_, self.shot_weights_ = np.empty(0, np.intp), None
        self.unlabeled_ = None
        if self.text_features_ is not None:
            self.shots_ = self.text_features_[:0]
            if not has_features and not self._reads_images:
                self.n_features_in_ = self.text_features_.shape[1]

    def _add_shots(
        self, X: Any, labels: NDArray[Any], weights: NDArray[Any] | None, rows: NDArray[Any] | None
    ) -> None:
        shots = unit_norm(self._shot_features(X, self.n_views, rows).mean(axis=1))
        codes = codes_of(labels, self.classes_)
        if len(self.shot_codes_):
            weights = joined_weights(self.shot_weights_, len(self.shots_), weights, len(shots))
            shots = np.concatenate([self.shots_, shots])
            codes = np.concatenate([self.shot_codes_, codes])
        self.shots_, self.shot_codes_, self.shot_weights_ = shots, codes, weights

    def _add_unlabeled(self, X_unlabeled: Any) -> None:
        new = unit_norm(self._shot_features(X_unlabeled)[:, 0]).astype(np.float32, copy=False)
        old = self.unlabeled_
        self.unlabeled_ = new if old is None else np.concatenate([old, new])

    def _total_weights(self) -> NDArray[Any]:
        """Weights of the shots, with those of their classes."""
        n_shots = len(self.shot_codes_)
        weights = np.ones(n_shots) if self.shot_weights_ is None else self.shot_weights_
        total = self._class_weighted(self.shot_codes_, weights)
        return weights if total is None else total


def _is_empty(given: Any) -> bool:
    """Whether nothing is given, or nothing of it."""
    if given is None:
        return True
    shape = getattr(given, "shape", None)
    return (shape[0] if shape else len(given) if hasattr(given, "__len__") else 1) == 0


@contextmanager
def _about_unlabeled() -> Iterator[None]:
    """Say of which images or features an error is."""
    try:
        yield
    except (TypeError, ValueError, ImageReadError) as error:
        raise type(error)(f"X_unlabeled: {error}") from error
