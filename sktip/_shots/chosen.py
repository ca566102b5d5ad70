"""Choose alpha and beta of a cache on held-out shots."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneOut

from sktip._maths.selection import beliefs
from sktip._maths.selection.folds import (
    DistinctShots,
    Fold,
    balanced_folds,
    class_balanced_weights,
    fold_balanced_weights,
    one_by_one,
)
from sktip._shots.cache import BaseCacheClassifier
from sktip._utils.cross_validation import moved_folds, score_of_logits
from sktip._utils.warn import warn

if TYPE_CHECKING:
    from sktip._maths.selection.alpha_beta import AlphaBeta


class ChosenCacheClassifier(BaseCacheClassifier):
    """A cache whose alpha and beta are chosen on shots that are held out of it."""

    cv: Any
    scoring: Any
    betas_: NDArray

    def _own_folds(self, codes: NDArray, groups: NDArray | None) -> list[Fold]:
        """Folds without `cv`."""
        if self.fine_tune:
            return balanced_folds(codes, beliefs.LEARNED_FOLDS, groups)
        if self.scoring is None and groups is None:
            return one_by_one(len(codes))
        return balanced_folds(codes, groups=groups)

    def _choose(
        self,
        alphas: NDArray | None,
        queries: NDArray,
        views: NDArray,
        folds: list[Fold] | None,
        groups: NDArray | None,
    ) -> "AlphaBeta":
        """Choose the values with the smallest cost, or the best score, on held-out shots."""
        import torch

        from sktip._maths.selection import alpha_beta
        from sktip._maths.selection.held_out import HeldOutVotes

        betas, all_codes, balanced = self.betas_, self.cache_codes_, folds is None
        rows, weights = np.arange(len(all_codes)), self.cache_weights_
        counted = weights
        if weights is not None and self.class_weight == "balanced":
            # Held-out shots are balanced already.
            means = np.bincount(all_codes, weights)[all_codes] / np.bincount(all_codes)[all_codes]
            counted = weights / means
        alone = isinstance(self.cv, LeaveOneOut)
        if self.scoring is None and not self.fine_tune and not alone:
            # Copies of a shot are merged, unless `cv` separates them.
            apart = groups if folds is None else _memberships(folds, len(rows))
            distinct = DistinctShots.of(queries, all_codes, apart)
            if weights is not None or len(distinct.rows) < len(rows):
                rows = distinct.rows
                weights, counted = distinct.summed(weights), distinct.summed(counted)
                if folds is not None:
                    folds = moved_folds(folds, distinct.inverse)
        if folds is None:
            folds = self._own_folds(all_codes[rows], None if groups is None else groups[rows])
            if not folds or np.bincount(all_codes[rows]).max() == 1:
                return self._papers_values(alphas)
        elif alone and not self.fine_tune:
            # Untrained keys can be held out one by one.
            folds = one_by_one(len(rows))
        asked = np.concatenate([fold.held_out for fold in folds])
        codes = all_codes[rows][asked]
        # The mean over all held-out shots, or the mean over folds, as in GridSearchCV.
        sizes = [len(codes)] if balanced else [len(fold.held_out) for fold in folds]
        shares = fold_balanced_weights(sizes)
        if self.scoring is None:
            shares = class_balanced_weights(codes, None if counted is None else counted[asked])
        keys, shots, text, _ = self._tensors(queries.dtype)
        keys = keys[rows]
        held_out = HeldOutVotes(
            folds,
            torch.as_tensor(queries[rows], device=keys.device),
            [self._fold_keys(keys, views, fold) for fold in folds],
            shots.codes[rows],
            text=text,
            weights=shares,
            logit_scale=self.logit_scale_,
            n_classes=len(self.classes_),
            balanced=balanced,
            key_weights=None if weights is None else keys.new_tensor(weights),
        )
        if self.scoring is None:
            spread = beliefs.SPREAD_LEARNED if self.fine_tune else beliefs.SPREAD
            return alpha_beta.most_probable_values(
                held_out, alphas=alphas, betas=betas, spread=spread
            )
        scoring = self.scoring
        if scoring not in ("accuracy", "neg_log_loss"):
            scoring = score_of_logits(scoring, self.classes_, codes, sizes)
        return alpha_beta.best_values(held_out, scoring, alphas=alphas, betas=betas)

    def _papers_values(self, alphas: NDArray | None) -> "AlphaBeta":
        """Use the paper's values, because no shot can be held out."""
        from sktip._maths.selection import alpha_beta

        chosen = alpha_beta.papers_values(alphas, self.betas_)
        warn(
            "every class has one shot, so no shot can be held out to choose alpha and beta. "
            f"alpha={chosen.alpha:g} and beta={chosen.beta:g} are used: the paper's values, or the nearest values "
            "to try. Add a second shot to some class, or pass a held-out set with cv=PredefinedSplit(...).",
        )
        return chosen

    def _fold_keys(self, keys: Any, views: NDArray, fold: Fold) -> Any:
        """Keys of the cached shots of a fold, trained without the held-out shots."""
        if not self.fine_tune:
            return keys[fold.cached]
        # A larger alpha compensates for the smaller cache, so that training starts at similar logits.
        learned, _ = self._learned_keys(
            views,
            beliefs.PAPER_ALPHA * len(keys) / len(fold.cached),
            beliefs.PAPER_BETA,
            fold.cached,
            np.setdiff1d(fold.cached, fold.held_out),
        )
        return keys.new_tensor(learned)


def _memberships(folds: list[Fold], n_shots: int) -> NDArray:
    """Numbers of the shots, (n_shots,): equal for shots in the same parts of all folds."""
    parts = np.zeros((n_shots, len(folds), 2), bool)
    for number, fold in enumerate(folds):
        parts[fold.held_out, number, 0] = True
        parts[fold.cached, number, 1] = True
    return np.unique(parts.reshape(n_shots, -1), axis=0, return_inverse=True)[1].ravel()
