"""RejectUnknown: the rejected images, the threshold, and the classifiers that it takes."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import estimator_checks

from sktip import (
    FewShotClassifier,
    RejectUnknown,
    TipAdapterClassifier,
    ZeroShotClassifier,
)
from sktip.datasets import load_digit_images

KNOWN = ["one", "two", "four", "six", "seven"]


@pytest.fixture(scope="module")
def all_digits(clip):
    """Features, names and images of 700 digits, with five known classes first."""
    images, names = load_digit_images(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(names))[:700]
    known = np.isin(names[order], KNOWN)
    order = np.concatenate([order[known], order[~known]])
    return clip.transform(images[order]), names[order], images[order]


def estimators(clip):
    return {
        "few-shot": FewShotClassifier(clip, input="features"),
        "probe": LogisticRegression(C=100, max_iter=1000),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "svc": SVC(),
    }


@pytest.mark.parametrize("name", ["few-shot", "pipeline", "svc"])
def test_the_share_of_known_images_that_is_rejected(clip, all_digits, name):
    """The mean over three draws of shots, since 150 shots do not fix a quantile to a point."""
    X, y, _ = all_digits
    n_known, rejected = np.isin(y, KNOWN).sum(), []
    for draw in range(3):
        order = np.random.default_rng(draw).permutation(n_known)
        shots, queries = order[:150], order[150:]
        clf = RejectUnknown(estimators(clip)[name], quantile=0.1).fit(X[shots], y[shots])
        is_known = clf.is_known(X[queries])
        rejected.append(1 - is_known.mean())
        # Images of unknown classes are rejected much more often.
        assert clf.is_known(X[n_known:]).mean() < is_known.mean() - 0.2
        np.testing.assert_array_equal(clf.predict(X[queries]) != "unknown", is_known)
    assert np.mean(rejected) == pytest.approx(0.1, abs=0.04)


def test_a_threshold_of_shots_that_were_seen_would_reject_far_more(clip, all_digits):
    """The reason why shots are scored by classifiers fitted without them."""
    X, y, _ = all_digits
    n_known, rejected = np.isin(y, KNOWN).sum(), []
    for draw in range(3):
        order = np.random.default_rng(draw).permutation(n_known)
        shots, queries = order[:100], order[100:]
        clf = RejectUnknown(LogisticRegression(C=1000, max_iter=2000), quantile=0.1)
        clf.fit(X[shots], y[shots])
        best = [clf.estimator_.predict_proba(X[rows]).max(axis=1) for rows in (shots, queries)]
        seen = (best[1] < np.quantile(best[0], 0.1)).mean()
        rejected.append((seen, 1 - clf.is_known(X[queries]).mean()))
    seen, held_out = np.mean(rejected, axis=0)
    assert held_out == pytest.approx(0.1, abs=0.05)
    assert seen > held_out + 0.1


def test_the_combined_score_tells_more_than_its_parts(clip, all_digits):
    X, y, _ = all_digits
    n_known = np.isin(y, KNOWN).sum()
    areas = {}
    for criterion in ("auto", "max_proba", "max_logit", "energy", "zero_shot"):
        clf = RejectUnknown(FewShotClassifier(clip, input="features"), criterion=criterion)
        scores = clf.fit(X[:150], y[:150]).score_samples(X[150:])
        areas[criterion] = roc_auc_score(np.arange(150, len(y)) < n_known, scores)
    assert areas["auto"] > 0.9
    assert areas["auto"] > max(areas.values()) - 0.01


@pytest.mark.parametrize("name", ["few-shot", "probe"])
def test_images_of_nothing_known_choose_criterion_and_threshold(clip, all_digits, name):
    X, y, _ = all_digits
    n_known = np.isin(y, KNOWN).sum()
    clf = RejectUnknown(estimators(clip)[name], quantile=None)
    clf.fit(X[:150], y[:150], X_unknown=X[n_known : n_known + 50])
    kept = clf.is_known(X[150:n_known]).mean()
    rejected = 1 - clf.is_known(X[n_known + 50 :]).mean()
    assert (kept + rejected) / 2 > 0.75
    # The mean of the two shares on the data that set the threshold is the best possible.
    unknown = clf.score_samples(X[n_known : n_known + 50])
    known = clf.held_out_scores_

    def balance(threshold):
        return (known >= threshold).mean() + (unknown < threshold).mean()

    assert balance(clf.threshold_) == pytest.approx(max(balance(t) for t in [*known, *unknown]))


def test_text_helps_a_probe_that_has_none(clip, all_digits):
    X, y, _ = all_digits
    is_known = np.isin(y, KNOWN)[60:]
    text = clip.encode_text(KNOWN, ["a picture of the number {}", "the digit {}"])
    probe = LogisticRegression(C=100, max_iter=1000)
    scores = [
        RejectUnknown(probe, text_features=given).fit(X[:60], y[:60]).score_samples(X[60:])
        for given in (None, text)
    ]
    assert roc_auc_score(is_known, scores[1]) > roc_auc_score(is_known, scores[0]) + 0.02


def test_images_and_their_features_answer_alike(clip, all_digits, encoded):
    X, y, images = all_digits
    on_features = RejectUnknown(FewShotClassifier(clip, input="features")).fit(X[:60], y[:60])
    on_images = RejectUnknown(FewShotClassifier(clip)).fit(list(images[:60]), y[:60])
    np.testing.assert_array_equal(on_images.predict(images[-40:]), on_features.predict(X[-40:]))
    # Images are encoded once, despite the folds and the two predictions.
    assert sum(encoded) == 100
    pipeline = RejectUnknown(make_pipeline(clip, LogisticRegression(C=100, max_iter=1000)))
    pipeline.fit(images[:60], y[:60])
    probe = RejectUnknown(LogisticRegression(C=100, max_iter=1000)).fit(X[:60], y[:60])
    np.testing.assert_allclose(
        pipeline.score_samples(images[-40:]), probe.score_samples(X[-40:]), atol=1e-5
    )


def test_images_stay_images_in_every_form(clip, digits, forms):
    """As an array, a list of PIL images would lose rotation and colours."""
    X, y = clip.transform(forms), digits[1][:40]
    probe = LogisticRegression(C=100, max_iter=1000)
    on_features = RejectUnknown(probe, quantile=0.1).fit(X, y, X_unknown=X[:3])
    clf = RejectUnknown(make_pipeline(clip, probe), quantile=0.1).fit(forms, y, X_unknown=forms[:3])
    np.testing.assert_allclose(clf.score_samples(forms), on_features.score_samples(X), atol=1e-5)
    np.testing.assert_array_equal(clf.predict(forms), on_features.predict(X))
    later = RejectUnknown(make_pipeline(FunctionTransformer(), clip, probe), quantile=0.1)
    answers = later.fit(forms, y).predict_proba(forms[:3])
    np.testing.assert_allclose(answers, clf.predict_proba(forms[:3]), atol=1e-5)


@pytest.mark.parametrize("name", ["few-shot", "probe"])
def test_copies_and_order_of_the_shots_do_not_matter(clip, all_digits, name):
    X, y, _ = all_digits
    n_known = np.isin(y, KNOWN).sum()
    X, y, queries = X[:100], y[:100], X[150:n_known]
    clf = RejectUnknown(estimators(clip)[name])
    order = np.random.default_rng(0).permutation(100)
    once = clf.fit(X, y).score_samples(queries)
    kept = clf.is_known(queries).mean()
    again = clf.fit(X[order], y[order]).score_samples(queries)
    np.testing.assert_allclose(again, once, atol=1e-3)
    # A shot whose copy was seen would have a score that no new image has.
    clf.fit(np.tile(X, (4, 1)), np.tile(y, 4))
    assert clf.is_known(queries).mean() == pytest.approx(kept, abs=0.03)


def test_groups_are_held_out_together(features):
    X, y, _ = features((8, 8, 8))
    groups, seen = np.arange(24) // 3, []

    class Recorder(LogisticRegression):
        def fit(self, X, y, groups):
            seen.append(set(groups))
            return super().fit(X, y)

    RejectUnknown(Recorder()).fit(X, y, groups=groups)
    *held_out, whole = (set(groups) - own for own in seen)
    assert not whole
    assert sorted(group for own in held_out for group in own) == list(range(8))


def test_one_shot_per_class(clip, all_digits):
    X, y, _ = all_digits
    shots = [int(np.flatnonzero(y == name)[0]) for name in KNOWN]
    for clf in (
        FewShotClassifier(clip, input="features"),
        ZeroShotClassifier(clip, input="features"),
    ):
        fitted = RejectUnknown(clf, quantile=0).fit(X[shots], y[shots])
        assert fitted.is_known(X[150:250]).mean() > 0.5
    with pytest.raises(ValueError, match="at least two shots .*, or use a classifier of sktip"):
        RejectUnknown(LogisticRegression()).fit(X[shots], y[shots])


def test_two_classes(clip, all_digits):
    X, y, _ = all_digits
    rows = np.isin(y, ["one", "four"])
    X, y = X[rows], y[rows]
    for clf in (FewShotClassifier(clip, input="features"), LogisticRegression(C=100)):
        fitted = RejectUnknown(clf, quantile=0.2).fit(X[:60], y[:60])
        assert (~fitted.is_known(X[60:])).mean() == pytest.approx(0.2, abs=0.15)
        assert fitted.decision_function(X[:7]).shape == (7,)
        assert fitted.predict_proba(X[:7]).shape == (7, 2)


def test_labels(features):
    X, y, W = features((9, 9, 9))
    names = np.array(["a", "bb", "c"])[y]
    far = -X[:5]
    clf = RejectUnknown(TipAdapterClassifier(text_features=W)).fit(X, y)
    assert clf.unknown_label_ == -1
    assert clf.predict(far).tolist() == [-1] * 5
    assert clf.predict(X).dtype.kind == "i"
    clf = RejectUnknown(TipAdapterClassifier(text_features=W)).fit(X, names)
    assert clf.predict(far).tolist() == ["unknown"] * 5
    assert clf.score(far, ["unknown"] * 5) == 1
    assert clf.set_params(unknown_label="none").fit(X, names).predict(far).tolist() == ["none"] * 5
    # Shorter than the names.
    assert set(clf.set_params(unknown_label="?").fit(X, names).predict(X)) <= {"a", "bb", "c", "?"}


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "float32"])
def test_labels_stay_numbers(features, dtype):
    X, y, W = features((9, 9, 9))
    clf = RejectUnknown(TipAdapterClassifier(text_features=W)).fit(X, y.astype(dtype))
    answers = clf.predict(np.vstack([X, -X]))
    # An unsigned type has no -1.
    assert answers.dtype.kind == np.dtype(dtype).kind.replace("u", "i")
    assert set(answers) == {-1, 0, 1, 2}


@pytest.mark.parametrize("X_unknown", [[], np.empty((0, 4))])
def test_empty_images_of_unknown_classes(X_unknown):
    X = np.random.default_rng(0).normal(size=(10, 4))
    with pytest.raises(ValueError, match="X_unknown is empty"):
        RejectUnknown(LogisticRegression()).fit(X, ["a", "b"] * 5, X_unknown=X_unknown)


def test_an_encoder_of_another_model(clip, digits):
    images, y = digits
    clf = RejectUnknown(TipAdapterClassifier(clip)).fit(images[:40], y[:40])
    clf.estimator_._encoder_probe = -clf.estimator_._encoder_probe
    with pytest.raises(ValueError, match="not the model that this TipAdapterClassifier was fitted"):
        clf.predict(images[:3])


@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        ({"unknown_label": "a"}, ["a", "b"] * 5, "unknown_label='a' is one of the classes"),
        ({"unknown_label": 7}, ["a", "b"] * 5, "unknown_label=7, but y holds text, such as 'a'"),
        ({"unknown_label": "x"}, [0, 1] * 5, "unknown_label='x', but y holds numbers"),
        ({}, [True, False] * 5, "y holds booleans"),
        ({"quantile": None}, ["a", "b"] * 5, "pass it to fit"),
        ({"quantile": 1.5}, ["a", "b"] * 5, "quantile"),
        ({"criterion": "zero_shot"}, ["a", "b"] * 5, "pass text_features"),
        ({"criterion": "best"}, ["a", "b"] * 5, "criterion"),
        ({}, ["a", "b"] * 4, "inconsistent numbers"),
        ({}, ["a"] * 10, "at least two"),
    ],
)
def test_what_does_not_fit_together(parameters, y, message):
    X = np.random.default_rng(0).normal(size=(10, 4))
    clf = RejectUnknown(LogisticRegression(), **parameters)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    assert not hasattr(clf, "threshold_")


def test_averaged_views_are_refused(clip, digits):
    images, names = digits
    clf = RejectUnknown(TipAdapterClassifier(clip, n_views=2))
    with pytest.raises(ValueError, match="n_views=2, which averages views of the shots only"):
        clf.fit(images[:40], names[:40])


def test_a_failed_fit_changes_nothing(shots):
    X, y, W = shots
    clf = RejectUnknown(TipAdapterClassifier(text_features=W)).fit(X, y)
    before = clf.score_samples(X)
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(np.full_like(X, np.nan), y)
    np.testing.assert_array_equal(clf.score_samples(X), before)


def test_in_tools_of_scikit_learn(features, tmp_path):
    X, y, W = features((12, 12, 12))
    clf = RejectUnknown(TipAdapterClassifier(text_features=W))
    assert is_classifier(clf)
    assert clone(clf).get_params()["estimator__alpha"] == 1.0
    search = GridSearchCV(clf, {"estimator__alpha": [0.5, 2.0], "quantile": [0.01, 0.2]}, cv=3)
    assert search.fit(X, y).best_params_["quantile"] == 0.01
    assert cross_val_score(clf, X, y, cv=3).min() > 0.5
    fitted = clf.fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    assert fitted.n_features_in_ == X.shape[1]
    assert not hasattr(RejectUnknown(SVC()).fit(X, y), "predict_proba")


def test_tags_follow_the_classifier(clip):
    for of_images in (TipAdapterClassifier(clip), make_pipeline(clip, SVC())):
        assert RejectUnknown(of_images).__sklearn_tags__().input_tags.three_d_array
    assert not RejectUnknown(SVC()).__sklearn_tags__().input_tags.three_d_array


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimators_unfitted,
        estimator_checks.check_n_features_in,
        estimator_checks.check_dict_unchanged,
        estimator_checks.check_fit2d_1sample,
        estimator_checks.check_methods_subset_invariance,
        estimator_checks.check_methods_sample_order_invariance,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_checks(check):
    check("RejectUnknown", RejectUnknown(LogisticRegression()))
