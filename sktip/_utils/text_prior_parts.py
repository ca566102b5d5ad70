"""The parts of the logits of `FewShotClassifier`, for `explain` and `responsibilities`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sktip._maths.text_prior.evidence import Evidence, shot_contributions
from sktip._maths.text_prior.means import KAPPA, Means
from sktip._maths.text_prior.model import TextPriorModel
from sktip._maths.text_prior.pool import probabilities
from sktip._utils.explanation import ExplanationMixin

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class TextPriorPartsMixin(ExplanationMixin):
    """The parts of `FewShotClassifier`'s logits."""

    classes_: NDArray[Any]
    shots_: NDArray[Any]
    shot_codes_: NDArray[Any]
    logit_scale_: float
    coef_: NDArray[Any]
    intercept_: NDArray[Any]
    trust_: float | None
    unlabeled_: NDArray[Any] | None
    evidence_: dict[str, NDArray[Any]] | None

    def _keep_parts(
        self, model: TextPriorModel, weights: NDArray[Any], scale: float, means: Means | None
    ) -> None:
        """Set the attributes that `explain` needs; all parts are scaled."""
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
        """Return the class probabilities of each unlabelled image that was given to `fit`.

        Parameters
        ----------
        smallest : float, default=1e-3
            Smaller probabilities are omitted, so that the result needs little memory.

        Returns
        -------
        responsibilities : sparse array of shape (n, C), float32
            One row per row of `unlabeled_`. Columns follow `classes_`.

        Raises
        ------
        ValueError
            If there are no unlabelled images.

        See Also
        --------
        FewShotClassifier.predict_proba : Predict the probabilities of any images, as a dense array.
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

    def _parts(self, queries: NDArray[Any], logits: NDArray[Any]) -> dict[str, NDArray[Any]]:
        parts = {"text": self._text_part(queries, self.text_weight_ * self.logit_scale_)}
        if self.evidence_ is not None:
            centre, axes = self.evidence_["centre"], self.evidence_["axes"]
            placed = (self.evidence_["means"] - centre) @ axes
            projected = (queries - centre) @ axes
            parts["means"] = self.means_weight_ * projected @ placed.T + self.evidence_["intercept"]
            parts["correction"] = (queries - centre) @ self.correction_coef_.T
        rest = logits - sum(parts.values())
        if self.trust_:
            return {**parts, "unlabeled": rest}
        # If unlabelled images have changed nothing, the rest is rounding.
        last = "text" if self.evidence_ is None else "means"
        return {**parts, last: parts[last] + rest}

    def _shots_part(
        self, queries: NDArray[Any], targets: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
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
        return moved, self.shot_codes_
