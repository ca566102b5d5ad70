"""Why a classifier answers as it does: parts of the logits that add up to them."""

# The annotations of nested functions would be evaluated anew in every call.
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from sktip._utils.fitting import answers
from sktip._utils.labels import check_labels, codes_of
from sktip._utils.prediction import unit_rows

#: What logits may be made of.
PARTS = ("text", "means", "correction", "unlabeled")


class ExplanationMixin:
    """Logits as sums of parts, and of what each shot says.

    The classifier says what its logits are made of in `_parts`, and what its shots do in
    `_shots_part`.
    """

    classes_: NDArray[Any]
    text_features_: NDArray[Any] | None
    _query_rows: Callable[[Any], NDArray[Any]]
    _logit_function: Callable[[np.dtype], Callable[[NDArray[Any]], NDArray[Any]]]

    @answers
    def explain(self, X: Any, labels: ArrayLike | None = None) -> Bunch:
        """Split logits into parts: text, class means, correction, unlabelled images, single shots.

        Parameters
        ----------
        X : sequence of images of length n, or array-like of shape (n, d)
            Queries.

        labels : array-like of shape (n,), default=None
            For each query, the class whose logit is traced to single shots. None takes the
            predicted classes.

        Returns
        -------
        explanation : Bunch
            The logits are the sum of four parts, of which those that a classifier does not have are
            zeros. Adding the same to all classes of a query changes no answer: compare the parts of
            competing classes.

            - ``labels``: ndarray of shape (n,), the classes that are traced to shots.
            - ``text``, ``means``, ``correction``, ``unlabeled``: ndarray of shape (n, C), the parts;
              columns follow `classes_`.
            - ``shots``: ndarray of shape (n, m), how far each shot moved the logit of that class,
              through the class means and the correction. Columns are the shots in the order given,
              without those of weight 0. What was chosen on all shots together, such as weights and
              the covariance, is held fixed. None where the shots are not kept: `GDAClassifier`
              keeps them with ``alpha="auto"`` and a text prior.
            - ``shot_labels``: ndarray of shape (m,), the classes of the shots, or None.
            - ``prior``: ndarray of shape (n,), what no shot says: ``means + correction`` of that
              class minus the sum of ``shots``, or None.

        Raises
        ------
        ValueError
            If labels are unknown, or not as many as the queries.

        See Also
        --------
        TipAdapterClassifier.nearest_shots : The votes of a cache.
        sktip.inspection.CacheEvidenceDisplay : The same as a picture.
        """
        check_is_fitted(self)
        queries = unit_rows(self._query_rows(X)).astype(np.float64, copy=False)
        logits = self._logit_function(np.dtype(np.float64))(queries)
        parts = {name: np.zeros_like(logits) for name in PARTS} | self._parts(queries, logits)
        if labels is None:
            targets = logits.argmax(axis=1)
        else:
            labels = check_labels(labels, "labels")
            if len(labels) != len(queries):
                raise ValueError(f"labels has {len(labels)} classes for {len(queries)} queries.")
            unknown = np.flatnonzero(~np.isin(labels, self.classes_))
            if len(unknown):
                raise ValueError(
                    f"labels has {labels.tolist()[unknown[0]]!r} at index {unknown[0]}, which is no class."
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
        """Parts that add up to the logits, by those of their names that there are: (n, C) each."""
        raise NotImplementedError

    def _shots_part(
        self, queries: NDArray[Any], targets: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Split the logits of classes by shots: (n, m); also return the shots' classes, (m,)."""
        raise NotImplementedError

    def _text_part(self, queries: NDArray[Any], scale: float) -> NDArray[Any]:
        """Cosines with the text features, scaled: (n, C)."""
        if self.text_features_ is None:
            return np.zeros((len(queries), len(self.classes_)))
        part: NDArray[Any] = scale * (queries @ self.text_features_.T.astype(np.float64))
        return part
