"""`explain`: split the logits of a classifier into parts that add up to them."""

# Without this, annotations of nested functions would be evaluated in every call.
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from sktip._maths.head import Head
from sktip._maths.unit import unit_rows
from sktip._utils.labels import check_labels, codes_of, unknown_labels

#: Names of the parts.
PARTS = ("text", "means", "correction", "unlabeled")


class ExplanationMixin:
    """Split logits into parts, and into contributions of single shots.

    A classifier defines `_parts` and `_shots_part`.
    """

    classes_: NDArray[Any]
    text_features_: NDArray[Any] | None
    _query_features: Callable[[Any], NDArray[Any]]
    __sktip_head__: Callable[[], Head]

    def explain(self, X: Any, labels: ArrayLike | None = None) -> Bunch:
        """Explain predictions: split logits into text, class means, correction and single shots.

        Parameters
        ----------
        X : sequence of images of length n, or array-like of shape (n, d)
            Queries.

        labels : array-like of shape (n,), default=None
            For each query, the class whose logit is split into contributions of single shots. If None,
            the predicted classes.

        Returns
        -------
        explanation : Bunch
            The logits are the sum of four parts. Parts that a classifier does not have are zeros.
            Compare the parts of competing classes: a number that is added to all classes of a query
            does not change the prediction.

            - ``labels``: ndarray of shape (n,), classes whose logits are split by shots.
            - ``text``, ``means``, ``correction``, ``unlabeled``: ndarray of shape (n, C), the parts,
              with columns in the order of `classes_`.
            - ``shots``: ndarray of shape (n, m), contribution of each shot to the logit of that class,
              through the class means and the correction. Columns are the shots in the order given
              to `fit`, without shots of weight 0. Values that depend on all shots together, such as
              the covariance, are held fixed. None if the shots are not kept: `GDAClassifier` keeps
              them only with ``alpha="auto"``.
            - ``shot_labels``: ndarray of shape (m,), classes of the shots, or None.
            - ``prior``: ndarray of shape (n,), the part of the logit that does not come from shots:
              ``means + correction`` of that class minus the sum of ``shots``. None without ``shots``.

        Raises
        ------
        ValueError
            If a label is unknown, or if there is not one label per query.

        See Also
        --------
        TipAdapterClassifier.nearest_shots : Return the votes of a cache.
        sktip.inspection.EvidenceDisplay : Plot the explanation of one query.
        """
        check_is_fitted(self)
        queries = unit_rows(self._query_features(X)).astype(np.float64, copy=False)
        logits = self.__sktip_head__().prepared(queries.dtype)(queries)
        parts = {name: np.zeros_like(logits) for name in PARTS} | self._parts(queries, logits)
        if labels is None:
            targets = logits.argmax(axis=1)
        else:
            labels = check_labels(labels, "labels")
            if len(labels) != len(queries):
                raise ValueError(
                    f"labels has {len(labels)} classes for {len(queries)} queries; pass one per query."
                )
            unknown = unknown_labels(labels, self.classes_)
            if unknown:
                index = labels.tolist().index(unknown[0])
                raise ValueError(
                    f"labels has {unknown[0]!r} at index {index}, which is not a class."
                )
            targets = codes_of(labels, self.classes_)
        found = self._shots_part(queries, targets)
        shots = shot_labels = prior = None
        if found is not None:
            shots, codes = found
            traced = np.arange(len(queries)), targets
            prior = (parts["means"] + parts["correction"])[traced] - shots.sum(axis=1)
            shot_labels = self.classes_[codes]
        return Bunch(
            labels=self.classes_[targets],
            **parts,
            shots=shots,
            shot_labels=shot_labels,
            prior=prior,
        )

    def _parts(self, queries: NDArray[Any], logits: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Parts that add up to the logits, by name: (n, C) each. Missing parts are left out."""
        raise NotImplementedError

    def _shots_part(
        self, queries: NDArray[Any], targets: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Contributions of the shots to the logits of classes, (n, m), and the shots' codes, (m,)."""
        raise NotImplementedError

    def _text_part(self, queries: NDArray[Any], scale: float) -> NDArray[Any]:
        """Scaled cosines with the text features: (n, C)."""
        if self.text_features_ is None:
            return np.zeros((len(queries), len(self.classes_)))
        return scale * (queries @ self.text_features_.T.astype(np.float64))
