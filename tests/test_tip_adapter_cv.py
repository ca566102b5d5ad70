"""Choosing alpha and beta: against brute force, and what must not move the choice."""

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score, log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    StratifiedKFold,
    cross_val_score,
)

from sktip import TipAdapterClassifier, TipAdapterClassifierCV
from sktip._maths.folds import balanced_folds

SCALE = 12.0
ALPHAS, BETAS = np.array([0.0, 0.3, 1.0, 4.0]), np.array([0.5, 2.0, 5.5, 20.0])


@pytest.fixture
def shots(features):
    """Overlapping classes of equal shots, in shuffled order: X, y, text features."""
    return noisy(features, (4, 4, 4, 4))


def noisy(features, n_per_class, seed=0, d=6):
    X, y, W = features(n_per_class, d=d, seed=seed)
    X = X + 0.35 * np.random.default_rng(seed + 1).normal(size=X.shape)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y, W


def search(W, **parameters):
    return TipAdapterClassifierCV(text_features=W, logit_scale=SCALE, **parameters)


def votes_without_own_fold(X, y, beta, n_classes, fold_of, rescale):
    """Votes of the cache without the shots of the query's fold, query by query."""
    votes = np.zeros((len(y), n_classes))
    for i in range(len(y)):
        for c in range(n_classes):
            seen = (y == c) & (fold_of != fold_of[i])
            votes[i, c] = np.exp(-beta * (1 - X[seen] @ X[i])).sum()
            if rescale and seen.any():
                votes[i, c] *= (y == c).sum() / seen.sum()
    return votes


def mean_loss(logits, y):
    return -log_softmax(logits, axis=1)[np.arange(len(y)), y].mean()


class TestScores:
    """Scores equal those of brute force."""

    @pytest.mark.parametrize("cv", ["balanced", "leave one out"])
    def test_held_out_shots(self, shots, cv):
        X, y, W = shots
        folds = balanced_folds(X, y) if cv == "balanced" else np.arange(len(y))
        splitter = None if cv == "balanced" else LeaveOneOut()
        loss, accuracy = np.empty((2, len(ALPHAS), len(BETAS)))
        for b, beta in enumerate(BETAS):
            votes = votes_without_own_fold(X, y, beta, 4, folds, rescale=cv == "balanced")
            for a, alpha in enumerate(ALPHAS):
                logits = SCALE * X @ W.T + alpha * votes
                loss[a, b] = mean_loss(logits, y)
                accuracy[a, b] = (logits.argmax(axis=1) == y).mean()
        for scoring, expected in (("neg_log_loss", -loss), ("accuracy", accuracy)):
            clf = search(W, alphas=ALPHAS[::-1], betas=BETAS, scoring=scoring, cv=splitter).fit(
                X, y
            )
            np.testing.assert_allclose(clf.scores_, expected, atol=1e-9)
            np.testing.assert_array_equal(clf.alphas_, ALPHAS)
            np.testing.assert_array_equal(clf.betas_, BETAS)

    def test_balanced_with_unequal_shots(self, features):
        X, y, W = noisy(features, (2, 5, 3, 7))
        expected = [
            -mean_loss(
                SCALE * X @ W.T
                + 2 * votes_without_own_fold(X, y, beta, 4, balanced_folds(X, y), True),
                y,
            )
            for beta in BETAS
        ]
        clf = search(W, alphas=[2.0], betas=BETAS, scoring="neg_log_loss").fit(X, y)
        np.testing.assert_allclose(clf.scores_[0], expected, atol=1e-9)

    @pytest.mark.parametrize(
        ("cv", "scoring"),
        [
            (StratifiedKFold(3), "balanced_accuracy"),
            (KFold(4, shuffle=True, random_state=0), "neg_log_loss"),
            (PredefinedSplit([-1, 0, 0, 0] * 4), "f1_macro"),
            (3, "accuracy"),
        ],
        ids=["stratified", "k-fold", "held out", "number"],
    )
    def test_any_splitter_scores_as_grid_search_does(self, shots, cv, scoring):
        X, y, W = shots
        clf = search(W, alphas=ALPHAS, betas=BETAS, scoring=scoring, cv=cv).fit(X, y)
        plain = TipAdapterClassifier(text_features=W, logit_scale=SCALE, class_names=list("abcd"))
        score = scoring
        if scoring == "neg_log_loss":
            score = make_scorer(
                log_loss, greater_is_better=False, response_method="predict_proba", labels=range(4)
            )
        grid = GridSearchCV(plain, {"alpha": ALPHAS, "beta": BETAS}, cv=cv, scoring=score).fit(X, y)
        expected = grid.cv_results_["mean_test_score"].reshape(clf.scores_.shape)
        np.testing.assert_allclose(clf.scores_, expected, atol=1e-9)

    def test_callable_scorer(self, shots):
        X, y, W = shots
        scorer = make_scorer(balanced_accuracy_score)
        clf = search(W, betas=BETAS, scoring=scorer).fit(X, y)
        named = search(W, betas=BETAS, scoring="balanced_accuracy").fit(X, y)
        np.testing.assert_array_equal(clf.scores_, named.scores_)
        assert clf.scores_.shape == clf.alphas_.shape == BETAS.shape
        assert clf.best_score_ == clf.scores_.max()
        grid = search(W, alphas=clf.alphas_, betas=BETAS, scoring=scorer).fit(X, y)
        assert grid.best_score_ == clf.best_score_

    def test_kept_and_recomputed_similarities_agree(self, shots, monkeypatch):
        from sktip._maths import alpha_beta

        X, y, W = shots
        cv = StratifiedKFold(4)
        expected = search(W, scoring="neg_log_loss", cv=cv).fit(X, y).scores_
        # Votes of two betas at a time; then the similarities are not stored either.
        for name in ("KEPT_VOTES", "KEPT_SIMILARITIES"):
            monkeypatch.setattr(alpha_beta, name, 130)
            np.testing.assert_allclose(
                search(W, scoring="neg_log_loss", cv=cv).fit(X, y).scores_, expected
            )

    @pytest.mark.parametrize("cv", [None, 2])
    @pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
    def test_of_many_shots_some_are_scored(self, features, monkeypatch, scoring, cv):
        from sktip._maths import alpha_beta

        X, y, W = noisy(features, (200, 200, 200), d=40)
        seen = []
        original = alpha_beta.HeldOutShots.votes
        monkeypatch.setattr(
            alpha_beta.HeldOutShots, "votes",
            lambda self, betas: seen.append(len(self.codes)) or original(self, betas),
        )  # fmt: skip
        clf = search(W, scoring=scoring, cv=cv).fit(X, y)
        assert 500 < seen[0] <= 520
        assert clf.score(X, y) > 0.7
        search(W, scoring=scoring, cv=StratifiedKFold(2)).fit(X, y)
        assert seen[1] == len(y)


class TestAllAlphas:
    """Without a grid of alphas the optimum is exact."""

    def test_log_loss(self, shots):
        X, y, W = shots
        clf = search(W, betas=BETAS, scoring="neg_log_loss").fit(X, y)
        assert clf.alphas_.shape == clf.scores_.shape == BETAS.shape
        for beta, alpha, score in zip(BETAS, clf.alphas_, clf.scores_, strict=True):
            votes = votes_without_own_fold(X, y, beta, 4, balanced_folds(X, y), True)
            best = minimize_scalar(
                lambda a, votes=votes: mean_loss(SCALE * X @ W.T + a * votes, y),
                bounds=(0, 1000), method="bounded", options={"xatol": 1e-9},
            )  # fmt: skip
            assert alpha == pytest.approx(best.x, rel=1e-3, abs=1e-3)
            assert score == pytest.approx(-best.fun, abs=1e-7)

    def test_accuracy_takes_the_alpha_nearest_to_one(self, shots):
        X, y, W = shots
        clf = search(W, betas=BETAS, scoring="accuracy").fit(X, y)
        for beta, alpha, score in zip(BETAS, clf.alphas_, clf.scores_, strict=True):
            votes = votes_without_own_fold(X, y, beta, 4, balanced_folds(X, y), True)
            grid = np.geomspace(1e-3, 1e3, 2000)
            accuracies = [((SCALE * X @ W.T + a * votes).argmax(1) == y).mean() for a in grid]
            assert score == pytest.approx(max(accuracies))
            best = grid[np.isclose(accuracies, score)]
            assert abs(np.log(alpha)) < abs(np.log(best)).min() + 0.5

    def test_one_lucky_shot_does_not_move_beta(self):
        X, W = np.eye(4, 6), np.eye(4, 6)
        X, y = np.concatenate([X] * 3), np.tile(np.arange(4), 3)
        X = X + 0.1 * np.random.default_rng(0).normal(size=X.shape)
        clf = search(W, scoring="accuracy").fit(X, y)
        assert clf.best_score_ == pytest.approx(1)
        assert clf.beta_ == 5.5
        assert clf.alpha_ == pytest.approx(1)


class TestDefaultRule:
    """The documented rule: most probable values, drawn to the paper's."""

    def test_minimises_what_the_notes_say(self, shots):
        X, y, W = shots
        n = len(y)
        logits = SCALE * X @ W.T

        def cost(point):
            alpha, beta = np.exp(point[0]), 5.5 * np.exp(point[1])
            votes = np.exp(-beta * (1 - X @ X.T))
            np.fill_diagonal(votes, 0)
            votes = votes @ np.eye(4)[y]
            votes[np.arange(n), y] *= 4 / 3
            return n * mean_loss(logits + alpha * votes, y) + (point**2).sum() / (2 * 1.5**2)

        assert 0.5 < minimize_scalar(lambda t: mean_loss(t * logits, y)).x < 2
        clf = search(W, betas=np.geomspace(0.1, 50, 400)).fit(X, y)
        best = min((minimize(cost, start) for start in ([0, 0], [4, 0])), key=lambda r: r.fun)
        chosen = np.array([np.log(clf.alpha_), np.log(clf.beta_ / 5.5)])
        assert cost(chosen) == pytest.approx(best.fun, abs=1e-3)
        assert clf.best_score_ in clf.scores_

    def test_order_of_shots_does_not_matter(self, features):
        X, y, W = noisy(features, (2, 5, 1, 7))
        order = np.random.default_rng(3).permutation(len(y))
        first, second = search(W).fit(X, y), search(W).fit(X[order], y[order])
        assert second.alpha_ == pytest.approx(first.alpha_)
        assert second.beta_ == first.beta_
        np.testing.assert_allclose(second.scores_, first.scores_)

    def test_few_shots_hardly_move_the_papers_values(self, features):
        def step(n):
            X, y, W = noisy(features, (n, n, n))
            clf = search(W).fit(X, y)
            return abs(np.log(clf.alpha_)) + abs(np.log(clf.beta_ / 5.5))

        assert step(2) < 1.5
        assert step(60) > 1.5 * step(2)

    def test_an_overconfident_prior_is_not_taken_at_its_word(self, features):
        X, y, W = noisy(features, (8, 8, 8, 8))
        Q, q, _ = noisy(features, (40, 40, 40, 40), seed=0)
        useless = W[[1, 2, 3, 0]]
        chosen = TipAdapterClassifierCV(text_features=useless, logit_scale=100).fit(X, y)
        default = TipAdapterClassifier(text_features=useless, logit_scale=100).fit(X, y)
        assert chosen.score(Q, q) > default.score(Q, q) + 0.2

    def test_one_shot_everywhere(self, features):
        X, y, W = features((1, 1, 1))
        with pytest.warns(UserWarning, match=r"every class has one shot.*PredefinedSplit"):
            clf = search(W).fit(X, y)
        assert (clf.alpha_, clf.beta_) == (1.0, 5.5)
        assert clf.alphas_.shape == clf.scores_.shape == clf.betas_.shape
        assert np.isnan(clf.best_score_)
        plain = TipAdapterClassifier(text_features=W, logit_scale=SCALE).fit(X, y)
        np.testing.assert_allclose(clf.predict_proba(X), plain.predict_proba(X))

    @pytest.mark.parametrize("scoring", [None, "accuracy", "neg_log_loss"])
    @pytest.mark.parametrize("fine_tune", [False, True])
    def test_one_shot_beside_several(self, features, scoring, fine_tune):
        X, y, W = noisy(features, (1, 4, 1, 3))
        clf = search(W, scoring=scoring, fine_tune=fine_tune, n_epochs=2, random_state=0).fit(X, y)
        assert 0 < clf.alpha_ <= 10_000
        assert np.isfinite(clf.scores_).all()

    def test_cache_alone(self, features):
        X, y, _ = noisy(features, (6, 6, 6))
        with pytest.warns(UserWarning, match="no text prior"):
            clf = TipAdapterClassifierCV().fit(X, y)
        assert clf.beta_ in clf.betas_
        assert clf.score(X, y) > 0.8

    def test_grid_is_respected(self, shots):
        X, y, W = shots
        clf = search(W, alphas=[3.0, 0.5], betas=[7.0, 2.0]).fit(X, y)
        assert clf.alpha_ in (0.5, 3.0)
        assert clf.beta_ in (2.0, 7.0)
        assert clf.scores_.shape == (2, 2)
        only_zero = search(W, alphas=[0.0], betas=[0.0, 3.0]).fit(X, y)
        np.testing.assert_allclose(only_zero.predict_proba(X), softmax(SCALE * X @ W.T, axis=1))


class TestFineTuning:
    """alpha and beta are chosen for learned keys."""

    def test_keys_are_those_learned_at_the_papers_values(self, shots):
        X, y, W = shots
        clf = search(W, fine_tune=True, random_state=0, n_epochs=5).fit(X, y)
        plain = TipAdapterClassifier(
            text_features=W, logit_scale=SCALE, fine_tune=True, random_state=0, n_epochs=5
        ).fit(X, y)
        np.testing.assert_array_equal(clf.cache_keys_, plain.cache_keys_)
        plain.set_params(alpha=clf.alpha_, beta=clf.beta_)
        np.testing.assert_allclose(clf.predict_proba(X), plain.predict_proba(X))
        assert clf.n_iter_ == len(clf.loss_curve_) == 5

    def test_reproducible_and_different_from_the_untrained_choice(self, shots):
        X, y, W = shots
        first, again = (search(W, fine_tune=True, random_state=0).fit(X, y) for _ in range(2))
        assert (first.alpha_, first.beta_) == (again.alpha_, again.beta_)
        np.testing.assert_array_equal(first.scores_, again.scores_)
        assert abs(first.scores_ - search(W).fit(X, y).scores_).max() > 1e-6

    def test_held_out_shots_are_not_learned_from(self, shots):
        X, y, W = shots
        cv = StratifiedKFold(2)
        clf = search(
            W, fine_tune=True, random_state=0, n_epochs=3, cv=cv, alphas=[2.0], betas=[5.5],
            scoring="accuracy",
        ).fit(X, y)  # fmt: skip
        scores = []
        for train, test in cv.split(X, y):
            part = TipAdapterClassifier(
                text_features=W, logit_scale=SCALE, fine_tune=True, random_state=0, n_epochs=3,
                alpha=len(y) / len(train),
            ).fit(X[train], y[train])  # fmt: skip
            scores.append(part.set_params(alpha=2.0).score(X[test], y[test]))
        assert clf.scores_[0, 0] == pytest.approx(np.mean(scores))


class TestImages:
    """With the bundled model."""

    def test_on_images_with_views_the_query_is_the_plain_feature(self, clip, digits, monkeypatch):
        images, labels = digits
        parameters = {"templates": "the digit {}", "n_views": 3, "random_state": 0}
        clf = TipAdapterClassifierCV(clip, **parameters).fit(images[:50], labels[:50])
        keys = TipAdapterClassifier(clip, **parameters).fit(images[:50], labels[:50]).cache_keys_
        np.testing.assert_allclose(clf.cache_keys_, keys, atol=1e-6)
        seen = []
        original = TipAdapterClassifierCV._choose
        monkeypatch.setattr(
            TipAdapterClassifierCV,
            "_choose",
            lambda self, cache, views, queries, *rest, **others: (
                seen.append(queries) or original(self, cache, views, queries, *rest, **others)
            ),
        )
        clone(clf).fit(images[:50], labels[:50])
        np.testing.assert_allclose(seen[0], clip.transform(images[:50]), atol=1e-5)
        assert clf.score(images[50:100], labels[50:100]) > 0.6

    def test_encoded_once_whatever_the_folds(self, clip, digits, encoded):
        images, labels = digits
        TipAdapterClassifierCV(clip, cv=3, templates="the digit {}").fit(images[:50], labels[:50])
        assert sum(encoded) == 50

    def test_better_than_the_papers_values_on_digits(self, clip, digit_features):
        F, labels = digit_features
        scores = {}
        for estimator in (TipAdapterClassifier, TipAdapterClassifierCV):
            clf = estimator(clip, input="features", templates="the digit {}")
            scores[estimator] = cross_val_score(clf, F, labels, cv=4).mean()
        assert scores[TipAdapterClassifierCV] >= scores[TipAdapterClassifier]


class TestBadInput:
    """Said before anything is encoded."""

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"alphas": []}, "alphas has the shape"),
            ({"betas": []}, "betas has the shape"),
            ({"alphas": [1.0, -2.0]}, "alphas holds .*-2.0"),
            ({"betas": [np.nan]}, "betas holds .*nan"),
            ({"betas": [np.inf, 1]}, "betas holds .*inf"),
            ({"alphas": [[1.0]]}, r"alphas has the shape \(1, 1\)"),
            ({"scoring": "acuracy"}, "scoring"),  # codespell:ignore
            ({"cv": "five"}, "cv"),
            ({"cv": 5}, "n_splits=5 cannot be greater"),
        ],
    )
    def test_parameters(self, digits, parameters, message):
        clf = TipAdapterClassifierCV("no such model", **parameters)
        with pytest.raises(ValueError, match=message):
            clf.fit(digits[0][:8], list("aabbccdd"))

    def test_no_partial_fit(self, shots):
        _, _, W = shots
        assert not hasattr(search(W), "partial_fit")


def test_a_nan_is_no_score(features):
    """A scorer that fails for some alphas does not choose them; one that always fails is refused."""
    X, y, text = features((4, 4, 4))

    def of_calm_classifiers(estimator, X, y):
        sure = estimator.predict_proba(X).max(axis=1).mean()
        return np.nan if sure > 0.9 else estimator.score(X, y)

    clf = TipAdapterClassifierCV(text_features=text, logit_scale=1.0, scoring=of_calm_classifiers)
    assert np.isfinite(clf.fit(X, y).best_score_)
    assert clf.predict_proba(X).max(axis=1).mean() < 0.95
    with pytest.raises(ValueError, match="returns NaN for every alpha and beta"):
        clf.set_params(scoring=lambda estimator, X, y: np.nan).fit(X, y)
