"""Choosing alpha and beta on left-out shots: who asks, what is a good answer, who wins."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer

from sktip._base import BaseCLIPClassifier
from sktip._cache import BaseCacheClassifier
from sktip._left_out import Split, balanced_splits, each_on_its_own, splits_of
from sktip._utils.warn import warn

#: The paper's values: what a search is drawn to, and what it falls back on.
PAPER_ALPHA, PAPER_BETA = 1.0, 5.5
#: Standard deviation, in the logarithm, of the default rule's belief in the paper's values: for
#: shots as they are, and for keys that were trained at those values.
SPREAD, SPREAD_LEARNED = 1.5, 0.5
#: Folds in which keys learn anew to choose alpha and beta for learned keys.
LEARNED_FOLDS = 4
#: Residual ratios that a scorer without a closed form is tried on.
SCORER_ALPHAS = np.geomspace(0.1, 30, 21)


def default_betas() -> NDArray:
    """31 values from 0.5 to 50, evenly spaced in the logarithm on either side of 5.5."""
    return np.concatenate([np.geomspace(0.5, PAPER_BETA, 16), np.geomspace(PAPER_BETA, 50, 16)[1:]])


def distance_to_paper(alphas: Any, betas: Any) -> NDArray:
    """Squared distance to the paper's values in log space; an alpha of 0 counts as 1e-5."""
    alphas, betas = np.maximum(alphas, 1e-5), np.maximum(betas, 1e-5)
    return np.log(alphas / PAPER_ALPHA) ** 2 + np.log(betas / PAPER_BETA) ** 2


class BaseSearchingClassifier(BaseCacheClassifier):
    """A cache that chooses its alpha and beta by leaving its own shots out."""

    def _splits(self, X: Any, y: Any) -> list[Split]:
        if self.cv is not None:
            return splits_of(self.cv, X, y, learned=self.fine_tune)
        codes = np.unique(y, return_inverse=True)[1]
        if self.fine_tune:
            return balanced_splits(codes, LEARNED_FOLDS)
        return each_on_its_own(codes) if self.scoring is None else balanced_splits(codes)

    def _choose(
        self, alphas: NDArray | None, queries: NDArray, views: NDArray, splits: list[Split]
    ) -> None:
        """Set `alpha_`, `beta_` and what led to them."""
        import torch

        from sktip._maths.selection import LeftOutVotes, Questions, complete_own_votes

        counts = np.bincount(self.cache_codes_, minlength=len(self.classes_))
        if self.cv is None and counts.max() == 1:
            tried = np.array([PAPER_ALPHA]) if alphas is None else alphas
            self.alpha_ = float(tried[distance_to_paper(tried, PAPER_BETA).argmin()])
            self.beta_ = float(self.betas_[distance_to_paper(PAPER_ALPHA, self.betas_).argmin()])
            warn(
                "every class has one shot, so that none can be left out to choose alpha and beta; "
                f"{self.alpha_:g} and {self.beta_:g} are used, the paper's values or the nearest of those to "
                "try. Give some class a second shot, or pass a held-out set by cv=PredefinedSplit(...).",
            )
            self.best_score_ = np.nan
            shape = (len(self.betas_),) if alphas is None else (len(alphas), len(self.betas_))
            self.alphas_ = np.full(shape, PAPER_ALPHA) if alphas is None else alphas
            self.scores_ = np.full(shape, np.nan)
            return

        asked = np.concatenate([split.asked for split in splits])
        codes = self.cache_codes_[asked]
        keys, shots, text, _ = self._tensors(queries.dtype)
        held = LeftOutVotes([self._part(keys, shots, queries, views, split) for split in splits])
        device = keys.device
        weights = self._weights_of_questions(codes, splits)
        target = torch.as_tensor(codes, device=device)
        own_counts = torch.as_tensor(counts[codes], device=device)
        asked_features = torch.cat([part.queries for part in held.parts])
        prior = (
            asked_features.new_zeros((len(counts), len(asked)))
            if text is None
            else self.logit_scale_ * text @ asked_features.T
        )
        questions = Questions(prior, target, asked_features.new_tensor(weights))

        def votes_at(beta: float) -> Any:
            votes = held.at(beta)
            if self.cv is None:
                complete_own_votes(
                    votes, target, own_counts, questions.weights, one_missing=splits[0].own
                )
            return votes

        if self.scoring is None:
            # What is made up for a class's only shot is no evidence.
            n_evidence = len(asked) * (weights[counts[codes] > 1].sum() if self.cv is None else 1)
            self._choose_by_default_rule(alphas, votes_at, questions, n_evidence)
        else:
            self._choose_by_score(alphas, votes_at, questions, splits)

    def _part(self, keys: Any, shots: Any, queries: NDArray, views: NDArray, split: Split) -> Any:
        """Left-out queries and the cache that they ask, with keys that have not seen them."""
        import torch

        from sktip._maths.cache import Shots
        from sktip._maths.selection import Part

        n_classes = len(self.classes_)
        codes = shots.codes[split.visible]
        if self.fine_tune:
            # A larger alpha makes up for the smaller cache: the logits start as they will in full.
            learned, _ = self._learned_keys(
                views,
                PAPER_ALPHA * len(keys) / len(split.visible),
                PAPER_BETA,
                split.visible,
                np.setdiff1d(split.visible, split.asked),
            )
            visible = torch.as_tensor(learned, device=keys.device)
        else:
            visible = keys[split.visible]
        scale = None
        if self.cv is None and not split.own:
            whole = torch.bincount(shots.codes, minlength=n_classes)
            scale = whole / torch.bincount(codes, minlength=n_classes).clamp(min=1)
            scale = scale.to(keys.dtype)[:, None]
        return Part(
            torch.as_tensor(queries[split.asked], device=keys.device),
            visible,
            Shots(codes, n_classes),
            scale,
            torch.as_tensor(split.asked, device=keys.device) if split.own else None,
        )

    def _weights_of_questions(self, codes: NDArray, splits: list[Split]) -> NDArray:
        if self.scoring is None:
            # Every class counts the same, however many shots it has.
            weights = 1 / np.bincount(codes)[codes]
        elif self.cv is None or splits[0].own:
            weights = np.ones(len(codes))
        else:
            # The mean of the means of the folds, as GridSearchCV has it.
            weights = np.concatenate([np.full(len(s.asked), 1 / len(s.asked)) for s in splits])
        return weights / weights.sum()

    def _choose_by_default_rule(
        self, alphas: NDArray | None, votes_at: Callable, questions: Any, n_evidence: float
    ) -> None:
        """Most probable alpha and beta: log-loss of the left-out shots, and belief in the paper's values."""
        import torch

        from sktip._maths.criteria import LogLoss, nearest_within_two_errors, zero_shot_temperature
        from sktip._maths.selection import Questions

        spread = SPREAD_LEARNED if self.fine_tune else SPREAD
        factor = 1.0
        if self.text_features_ is not None:
            factor = zero_shot_temperature(questions, len(questions.target), SPREAD)
        scaled = Questions(factor * questions.prior, questions.target, questions.weights)
        hits = []

        def votes_to_score(beta: float) -> Any:
            votes = votes_at(beta)
            if self.text_features_ is None:
                hits.append(scaled.hits(votes, 1.0))
            return votes.mul_(factor)

        self._score_grid(alphas, votes_to_score, LogLoss(scaled, 1 / (n_evidence * spread**2)))
        costs = -n_evidence * self.scores_ + self._distances() / (2 * spread**2)
        if self.text_features_ is None:
            # alpha changes no answer then, and the log-loss rewards a dull beta: ask for right answers.
            nearness = torch.as_tensor(distance_to_paper(PAPER_ALPHA, self.betas_))
            beta = nearest_within_two_errors(
                torch.stack(hits).cpu(), questions.weights.cpu(), nearness
            )
            kept = np.full_like(costs, np.inf)
            kept[..., beta] = costs[..., beta]
            costs = kept
        self._take(np.unravel_index(costs.argmin(), costs.shape))

    def _choose_by_score(
        self, alphas: NDArray | None, votes_at: Callable, questions: Any, splits: list[Split]
    ) -> None:
        """Best score; where several are as good, the one nearest to the paper's values."""
        from sktip._maths.criteria import Accuracy, LogLoss

        tolerance = 1e-12
        if self.scoring == "neg_log_loss":
            criterion: Any = LogLoss(questions)
        elif self.scoring == "accuracy":
            criterion = Accuracy(questions)
            # One shot more or less is luck.
            tolerance += 1 / len(questions.target)
        else:
            pooled = self.cv is None or splits[0].own
            sizes = [len(questions.target)] if pooled else [len(split.asked) for split in splits]
            criterion = ScorerCriterion(self.scoring, questions, self.classes_, sizes)
        self._score_grid(alphas, votes_at, criterion)
        if np.isnan(self.scores_).all():
            raise ValueError(
                f"scoring={self.scoring!r} gives NaN for every alpha and beta; use another scorer, or "
                "parts of `cv` that it can score."
            )
        good = self.scores_ >= np.nanmax(self.scores_) - tolerance
        nearest = np.where(good, self._distances(), np.inf).argmin()
        self._take(np.unravel_index(nearest, good.shape))

    def _score_grid(self, alphas: NDArray | None, votes_at: Callable, criterion: Any) -> None:
        """Set `alphas_` and `scores_`: one pass for each beta."""
        if alphas is None:
            found = [criterion.best(votes_at(beta)) for beta in self.betas_]
            self.alphas_, self.scores_ = np.array(found).T.copy()
            return
        self.alphas_ = alphas
        self.scores_ = np.empty((len(alphas), len(self.betas_)))
        for column, beta in enumerate(self.betas_):
            votes = votes_at(beta)
            self.scores_[:, column] = [criterion.at(votes, alpha) for alpha in alphas]

    def _distances(self) -> NDArray:
        """Distance to the paper's values of all that was scored, in the shape of `scores_`."""
        tried = self.alphas_ if self.scores_.ndim == 1 else self.alphas_[:, np.newaxis]
        return distance_to_paper(tried, self.betas_)

    def _take(self, index: tuple) -> None:
        self.alpha_ = float(self.alphas_[index[0]])
        self.beta_ = float(self.betas_[index[-1]])
        self.best_score_ = float(self.scores_[index])

    def _alpha_beta(self) -> tuple[float, float]:
        return self.alpha_, self.beta_


class ScorerCriterion:
    """Any scikit-learn scorer: the mean of its scores on the folds, one alpha at a time.

    Its best alpha is that of a grid: nothing is known of how the score depends on it.
    """

    def __init__(self, scoring: Any, questions: Any, classes: NDArray, sizes: list[int]):
        self.questions = questions
        self.classes = classes
        self.labels = classes[questions.target.cpu().numpy()]
        self.ends = np.cumsum(sizes)[:-1]
        self.scorer = get_scorer(scoring)

    def best(self, votes: Any) -> tuple[float, float]:
        """Best of a grid of alphas, the one nearest to 1 among equals, and its score."""
        scores = np.array([self.at(votes, alpha) for alpha in SCORER_ALPHAS])
        nearness = -np.abs(np.log(SCORER_ALPHAS / PAPER_ALPHA))
        # A NaN is no score; sorted as it is, it would come out on top.
        best = np.lexsort((nearness, np.where(np.isnan(scores), -np.inf, scores)))[-1]
        return float(SCORER_ALPHAS[best]), float(scores[best])

    def at(self, votes: Any, alpha: float) -> float:
        """Score of one alpha."""
        logits = (self.questions.prior + alpha * votes).T.double().cpu().numpy()
        folds = zip(np.split(logits, self.ends), np.split(self.labels, self.ends), strict=True)
        return float(
            np.mean([self.scorer(KnownAnswers(z, self.classes), z, labels) for z, labels in folds])
        )


class KnownAnswers(BaseCLIPClassifier):
    """A classifier whose logits are known already: what a scikit-learn scorer is handed."""

    encoder = None

    def __init__(self, logits: NDArray, classes: NDArray):
        self.logits = logits
        self.classes = classes
        self.classes_ = classes

    def _ask(self, X: Any, answer: Callable[[NDArray], NDArray]) -> NDArray:
        return answer(self.logits)
