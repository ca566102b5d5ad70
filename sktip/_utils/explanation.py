"""Why a linear few-shot classifier answers as it does: parts of the logits that add up to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from sktip._maths.text_prior.evidence import Evidence, shot_contributions
from sktip._maths.text_prior.means import KAPPA, Means
from sktip._maths.text_prior.model import TextPriorModel
from sktip._maths.text_prior.pool import probabilities
from sktip._utils.fitting import answers
from sktip._utils.labels import check_labels, codes_of
from sktip._utils.prediction import unit_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class ExplanationMixin:
    """The parts of `FewShotClassifier`'s logits."""

    classes_: NDArray[Any]
    shots_: NDArray[Any]
    shot_codes_: NDArray[Any]
    text_features_: NDArray[Any] | None
    logit_scale_: float
    coef_: NDArray[Any]
    intercept_: NDArray[Any]
    trust_: float | None
    unlabeled_: NDArray[Any] | None
    _query_rows: Callable[[Any], NDArray[Any]]
    evidence_: dict[str, NDArray[Any]] | None

    def _keep_parts(
        self, model: TextPriorModel, weights: NDArray[Any], scale: float, means: Means | None
    ) -> None:
        """Set the attributes that say what the logits are made of; all parts are scaled."""
        self.text_weight_ = scale * model.text_weight
        self.means_weight_ = scale * model.means_weight
        self.shrinkage_ = model.shrinkage
        self.kappa_ = KAPPA
        self.class_counts_ = model.statistics.counts
        self.class_means_ = None if means is None else means.posterior
        self.predicted_means_ = None if means is None else means.prior
        self.correction_coef_ = scale * model.correction_coef
        evidence = Evidence.of(model)
        if evidence is None or model.means is None:
            self.evidence_ = None
            return
        rows = np.flatnonzero(weights)
        self.evidence_ = {
            **evidence._asdict(),
            "responses": scale * evidence.responses,
            "intercept": scale * (model.means_intercept + model.means_coef @ evidence.centre),
            "means": model.means.posterior,
            "rows": rows,
            "weights": weights[rows],
        }

    def responsibilities(self, *, smallest: float = 1e-3) -> csr_array:
        """Return the probabilities of the classes for each unlabelled image given to `fit`.

        Parameters
        ----------
        smallest : float, default=1e-3
            Probabilities below this are left out, so that the result is small.

        Returns
        -------
        responsibilities : sparse array of shape (n, C), float32
            One row per row of `unlabeled_`; columns follow `classes_`.

        Raises
        ------
        ValueError
            If there are no unlabelled images.

        See Also
        --------
        FewShotClassifier.predict_proba : The same for any images, dense.
        """
        from scipy.sparse import csr_array

        check_is_fitted(self)
        if self.unlabeled_ is None:
            raise ValueError("there are no unlabelled images; pass them to fit as X_unlabeled.")
        data, columns, ends = [], [], [np.zeros(1, np.int64)]
        for _, p in probabilities(self.unlabeled_, self.coef_, self.intercept_):
            kept = p >= smallest
            data.append(p[kept])
            columns.append(np.nonzero(kept)[1])
            ends.append(ends[-1][-1] + kept.sum(axis=1).cumsum())
        parts = np.concatenate(data), np.concatenate(columns), np.concatenate(ends)
        return csr_array(parts, shape=(len(self.unlabeled_), len(self.classes_)))

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
            The logits are the sum of four parts. Adding the same to all classes of a query changes
            no answer: compare the parts of competing classes.

            - ``labels``: ndarray of shape (n,), the classes that are traced to shots.
            - ``text``, ``means``, ``correction``, ``unlabeled``: ndarray of shape (n, C), the parts;
              columns follow `classes_`.
            - ``shots``: ndarray of shape (n, m), how far each shot moved the logit of that class,
              through the class means and the correction; columns follow `shots_`.
            - ``prior``: ndarray of shape (n,), the part of the mean that the text predicts for that
              class: its ``means + correction`` minus the sum of ``shots``.

        Raises
        ------
        ValueError
            If labels are unknown, or not as many as the queries.

        See Also
        --------
        TipAdapterClassifier.nearest_shots : The votes of a cache.
        """
        check_is_fitted(self)
        queries = unit_rows(self._query_rows(X)).astype(np.float64, copy=False)
        parts, logits = self._parts(queries)
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
        shots = self._shots_part(queries, targets)
        traced = np.arange(len(queries)), targets
        prior = (parts["means"] + parts["correction"])[traced] - shots.sum(axis=1)
        return Bunch(labels=self.classes_[targets], **parts, shots=shots, prior=prior)

    def _parts(self, queries: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        """Parts of the logits, by name, and the logits: (n, C) each."""
        logits = queries @ self.coef_.T.astype(np.float64) + self.intercept_
        parts = {name: np.zeros_like(logits) for name in ("text", "means", "correction")}
        if self.text_features_ is not None:
            text = self.text_features_.T.astype(np.float64)
            parts["text"] = self.text_weight_ * self.logit_scale_ * (queries @ text)
        if self.evidence_ is not None:
            centre, axes = self.evidence_["centre"], self.evidence_["axes"]
            placed = (self.evidence_["means"] - centre) @ axes
            projected = (queries - centre) @ axes
            parts["means"] = self.means_weight_ * projected @ placed.T + self.evidence_["intercept"]
            parts["correction"] = (queries - centre) @ self.correction_coef_.T
        # Without unlabelled images this is rounding, which is given to the means.
        rest = logits - sum(parts.values())
        if self.trust_:
            return {**parts, "unlabeled": rest}, logits
        parts["means"] += rest
        return {**parts, "unlabeled": np.zeros_like(rest)}, logits

    def _shots_part(self, queries: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Sum of what each shot says through means and correction: (n, m)."""
        moved = np.zeros((len(queries), len(self.shots_)))
        if self.evidence_ is not None:
            arrays = self.evidence_
            rows = arrays["rows"]
            through_means, through_correction = shot_contributions(
                Evidence(*(arrays[name] for name in Evidence._fields)),
                queries,
                targets,
                shots=self.shots_[rows],
                codes=self.shot_codes_[rows],
                weights=arrays["weights"],
                means=arrays["means"],
                means_weight=self.means_weight_,
            )
            moved[:, rows] = through_means + through_correction
        return moved
