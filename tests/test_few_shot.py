"""FewShotClassifier: its inputs, its state, and that it improves with more data."""

import warnings
from contextlib import nullcontext

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sktip import FewShotClassifier, JointEncoder, RejectUnknown, ZeroShotClassifier
from sktip.datasets import load_digit_images
from sktip.exceptions import ImageReadError
from sktip.export import to_module

SCALE = 30.0
TEMPLATES = ["a picture of the number {}", "the digit {}"]


def make(text, **parameters):
    return FewShotClassifier(text_features=text, logit_scale=SCALE, **parameters)


def logits(clf, X):
    """Logits of all classes, of two classes too."""
    return X @ clf.coef_.T + clf.intercept_


@pytest.fixture
def problem(features):
    """Shots, labels, text and a pool of six classes."""
    X, y, W = features((3, 1, 4, 2, 5, 3), d=16)
    return X, y, W, features((20,) * 6, d=16)[0]


@pytest.fixture
def on_digits(clip):
    def make(**parameters):
        return FewShotClassifier(clip, templates=TEMPLATES, **parameters)

    return make


# What it learns from.


def test_text_alone_is_zero_shot(problem):
    X, y, W, _ = problem
    expected = ZeroShotClassifier(text_features=W, logit_scale=SCALE).fit().decision_function(X)
    for shots in ((), (None, None), ([], []), (X[:0], y[:0])):
        clf = make(W).fit(*shots)
        np.testing.assert_allclose(clf.decision_function(X), expected, atol=1e-9)
        assert clf.n_features_in_ == 16
        assert clf.class_means_ is None
        assert (clf.means_weight_, clf.class_shares_, clf.unknown_share_) == (0, None, None)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shots", [False, True])
def test_images_and_features_agree(on_digits, clip, digits, digit_features, pool, shots):
    (images, labels), F = digits, digit_features[0]
    names = sorted(set(labels))
    given = (images[:40], labels[:40]) if shots else ()
    unlabeled = images[60:200] if pool else None
    of_images = on_digits(class_names=names).fit(*given, X_unlabeled=unlabeled)
    given = (F[:40], labels[:40]) if shots else ()
    unlabeled = F[60:200] if pool else None
    of_features = on_digits(class_names=names, input="features")
    of_features.fit(*given, X_unlabeled=unlabeled)
    assert of_images.classes_.tolist() == names
    expected = of_features.predict_proba(F[40:60])
    np.testing.assert_allclose(of_images.predict_proba(images[40:60]), expected, atol=1e-3)
    assert (of_features.class_shares_ is not None) == pool


def test_answers_are_one_matrix_product(problem):
    X, y, W, pool = problem
    clf = make(W).fit(X, y, X_unlabeled=pool)
    assert clf.coef_.shape == (6, 16)
    assert 0 < clf.shrinkage_ < 1
    assert clf.class_means_.shape == clf.predicted_means_.shape == (6, 16)
    np.testing.assert_allclose(clf.decision_function(pool), logits(clf, pool), atol=1e-12)


def test_float32_stays_float32(problem):
    X, y, W, pool = (
        array.astype(np.float32) if array.dtype == float else array for array in problem
    )
    clf = make(W).fit(X, y, X_unlabeled=pool)
    assert clf.coef_.dtype == clf.intercept_.dtype == clf.decision_function(X).dtype == np.float32


def test_a_class_without_shots_is_predicted_by_its_text_and_better_with_a_pool(features):
    X, y, W = features((6,) * 8, d=32)
    Q, asked, _ = features((40,) * 8, d=32)
    seen = y != 2
    labels_only = make(W).fit(X[seen], y[seen])
    assert (labels_only.predict(Q[asked == 2]) == 2).mean() > 0.5
    pooled = make(W).fit(X[seen], y[seen], X_unlabeled=Q[::2])
    assert pooled.score(Q[1::2], asked[1::2]) >= labels_only.score(Q[1::2], asked[1::2])


def test_without_text_shots_and_pool_answer(features):
    X, y, _ = features((4,) * 5, d=16)
    Q, asked, _ = features((30,) * 5, d=16)
    with pytest.warns(UserWarning, match="there is no text prior"):
        alone = FewShotClassifier().fit(X, y)
    with pytest.warns(UserWarning, match="there is no text prior"):
        pooled = FewShotClassifier().fit(X, y, X_unlabeled=Q)
    assert alone.score(Q, asked) > 0.8
    assert pooled.score(Q, asked) >= alone.score(Q, asked) - 0.01
    # A class that was only announced is not predicted.
    with pytest.warns(UserWarning, match="there is no text prior"):
        more = FewShotClassifier().partial_fit(X, y, classes=np.arange(6))
    assert more.predict_proba(Q)[:, 5].max() < 1e-3


# Shots and unlabelled images that come later.


@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fit_is_a_refit(problem, weighted):
    X, y, W, pool = problem
    weights = np.random.default_rng(0).uniform(0, 2, len(y)).round(1) if weighted else None
    whole = make(W).fit(X, y, X_unlabeled=pool, sample_weight=weights)
    parts = make(W, keep_unlabeled=True).partial_fit()
    for rows, more in zip(
        np.array_split(np.arange(len(y)), 4), np.array_split(pool, 4), strict=True
    ):
        own = weights[rows] if weighted else None
        parts.partial_fit(X[rows], y[rows], X_unlabeled=more, sample_weight=own)
    np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-9)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, atol=1e-9)
    np.testing.assert_array_equal(parts.shot_features_, whole.shot_features_)
    # Only a pool, and only shots.
    parts = make(W, keep_unlabeled=True).partial_fit(X_unlabeled=pool)
    parts.partial_fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-9)


def test_unlabelled_images_are_kept_if_asked_for(problem):
    X, y, W, pool = problem
    clf = make(W).fit(X, y, X_unlabeled=pool)
    assert clf.unlabeled_features_ is None
    for more in ({"X": X, "y": y}, {"X_unlabeled": pool}, {"classes": [5]}):
        with pytest.raises(ValueError, match="were not kept: set keep_unlabeled=True before fit"):
            clf.partial_fit(**more)
    with pytest.raises(ValueError, match="set keep_unlabeled=True"):
        clf.responsibilities()
    assert clf.set_params(keep_unlabeled=True).fit(X, y).partial_fit(X_unlabeled=pool).coef_.any()
    assert clf.unlabeled_features_.shape == pool.shape


def test_partial_fit_with_new_classes(on_digits, digit_features):
    F, labels = digit_features
    first = np.isin(labels, ["three", "one"])
    order = np.argsort(~first, kind="stable")
    F, labels = F[order], labels[order]
    whole = on_digits(input="features").fit(F[:120], labels[:120], X_unlabeled=F[120:])
    parts = on_digits(input="features", keep_unlabeled=True).partial_fit(F[:30], labels[:30])
    assert parts.classes_.tolist() == ["one", "three"]
    parts.partial_fit(classes=whole.classes_, X_unlabeled=F[120:])
    parts.partial_fit(F[30:120], labels[30:120])
    np.testing.assert_array_equal(parts.classes_, whole.classes_)
    np.testing.assert_array_equal(parts.shot_codes_, whole.shot_codes_)
    np.testing.assert_allclose(parts.decision_function(F), whole.decision_function(F), atol=1e-3)


def test_a_new_class_keeps_the_codes_of_shots(features):
    X, y, _ = features((3, 3, 3), d=8)
    names = np.array(["b", "d", "e"])
    text = dict(zip("abcde", features((1,) * 5)[2], strict=True))
    rows = np.stack(list(text.values()))
    clf = FewShotClassifier(class_names={name: name for name in "abcde"}, text_features=rows)
    clf.partial_fit(X, names[y]).partial_fit(classes=["c"])
    assert clf.classes_[clf.shot_codes_].tolist() == names[y].tolist()


# Weights.


@pytest.mark.parametrize("pool", [False, True])
def test_weights_are_repeats(problem, pool):
    X, y, W, unlabeled = problem
    unlabeled = unlabeled if pool else None
    weights = np.random.default_rng(3).integers(0, 3, len(y))
    weighted = make(W).fit(X, y, sample_weight=weights, X_unlabeled=unlabeled)
    repeated = make(W).fit(X.repeat(weights, axis=0), y.repeat(weights), X_unlabeled=unlabeled)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    assert len(weighted.shot_features_) == np.count_nonzero(weights)


def test_a_shot_of_weight_0_is_not_even_read(on_digits, digits):
    images, labels = digits
    weights = np.ones(41)
    weights[40] = 0
    given = [*images[:40], "no such file.png"]
    clf = on_digits().fit(given, [*labels[:40], "zeppelin"], sample_weight=weights)
    np.testing.assert_array_equal(clf.coef_, on_digits().fit(images[:40], labels[:40]).coef_)


def test_only_ratios_within_a_class_count(problem):
    """Four copies of every shot, or a larger weight for all shots of a class, say nothing new."""
    X, y, W, pool = problem
    own = np.linspace(0.5, 2, len(y))
    clf = make(W).fit(X, y, X_unlabeled=pool, sample_weight=own)
    for change in (
        {"sample_weight": own * (1 + y)},
        {"X": X.repeat(4, axis=0), "y": y.repeat(4), "sample_weight": own.repeat(4)},
    ):
        again = make(W).fit(**{"X": X, "y": y, "X_unlabeled": pool, **change})
        np.testing.assert_allclose(again.coef_, clf.coef_, atol=1e-6)


@pytest.mark.parametrize("with_groups", [False, True])
@pytest.mark.parametrize("noise", [0.03, 0.2])
def test_frames_of_a_video_count_as_one_photo(features, noise, with_groups):
    X, y, W = features((2,) * 8, d=48)
    Q, asked, _ = features((40,) * 8, d=48)
    rng = np.random.default_rng(0)
    frames = X.repeat(4, axis=0)
    noisy = noise * rng.normal(size=frames.shape) / np.sqrt(48)
    frames = frames + np.linalg.norm(frames, axis=1, keepdims=True) * noisy
    groups = np.arange(len(X)).repeat(4) if with_groups else None
    clf = make(W).fit(frames, y.repeat(4), groups=groups)
    alone = make(W).fit(X, y)
    assert clf.score(Q, asked) > alone.score(Q, asked) - 0.01
    assert (
        abs(clf.predict_proba(Q).max(axis=1).mean() - alone.predict_proba(Q).max(axis=1).mean())
        < 0.03
    )


@pytest.mark.parametrize("given", ["balanced", {0: 2.0, 3: 0.5}, {1: 0.0}])
def test_class_weight_multiplies_the_numbers_of_photos(problem, given):
    X, y, W, pool = problem
    counts = np.bincount(y)
    if given == "balanced":
        factors = len(y) / (len(counts) * counts)
        expected = make(W, class_weight=dict(enumerate(factors))).fit(X, y)
        np.testing.assert_allclose(
            make(W, class_weight=given).fit(X, y).coef_, expected.coef_, atol=1e-9
        )
    own = np.linspace(0.5, 2, len(y))
    clf = make(W, class_weight=given).fit(X, y, X_unlabeled=pool, sample_weight=own)
    # The weights belong to all shots, those that come later too.
    parts = make(W, class_weight=given).partial_fit(X[:9], y[:9], sample_weight=own[:9])
    parts.partial_fit(X[9:], y[9:], X_unlabeled=pool, sample_weight=own[9:])
    np.testing.assert_allclose(parts.coef_, clf.coef_, atol=1e-9)
    if given == {1: 0.0}:
        seen = y != 1
        without = make(W).fit(X[seen], y[seen], X_unlabeled=pool, sample_weight=own[seen])
        np.testing.assert_allclose(clf.coef_, without.coef_, atol=1e-9)
        assert not clf.explain(X).shots[:, ~seen].any()


# Why it answers so.


@pytest.mark.parametrize("shots", [0, 1])
@pytest.mark.parametrize("pool", [0, 1])
@pytest.mark.parametrize("text", [0, 1])
def test_parts_and_shots_add_up_to_the_logits(problem, shots, pool, text):
    X, y, W, unlabeled = problem
    if not (shots or text):
        return
    Q = unlabeled[:7]
    clf = make(W) if text else FewShotClassifier(logit_scale=SCALE)
    weights = np.linspace(0, 2, len(y))
    given = {"X": X, "y": y, "sample_weight": weights} if shots else {}
    with nullcontext() if text else pytest.warns(UserWarning, match="no text prior"):
        clf.fit(**given, X_unlabeled=unlabeled if pool else None)
    for labels in (None, np.arange(7) % 6):
        why = clf.explain(5 * Q, labels)
        total = why.text + why.means + why.correction + why.unlabeled
        np.testing.assert_allclose(total, logits(clf, Q), atol=1e-9)
        asked = np.arange(7), np.searchsorted(clf.classes_, why.labels)
        one_by_one = (why.text + why.unlabeled)[asked] + why.prior + why.shots.sum(axis=1)
        np.testing.assert_allclose(one_by_one, logits(clf, Q)[asked], atol=1e-9)
        assert why.shots.shape == (7, len(clf.shot_features_))
    np.testing.assert_array_equal(clf.explain(Q).labels, clf.predict(Q))
    if text and not pool:
        text_part = clf.text_weight_ * SCALE * Q @ W.T
        np.testing.assert_allclose(why.text, text_part, atol=1e-9)
    assert bool(np.any(why.unlabeled)) == bool(pool)
    assert bool(np.any(why.correction)) == bool(shots)


def test_what_a_shot_says_is_what_is_missing_without_it(problem):
    """Through the class means, to first order, with everything that was chosen held fixed."""
    X, y, W, _ = problem
    clf = make(W).fit(X, y)
    own = y == 4
    why = clf.explain(X[own][:1], [4])
    # A shot contributes to its own class, and most to its own prediction.
    assert why.shots[0].argmax() == np.flatnonzero(own)[0]
    assert why.shots[0, own].min() > np.median(why.shots[0, ~own])


# How often queries belong to each class.


def test_priors_are_offsets_of_the_logits(problem):
    X, y, W, pool = problem
    even = make(W).fit(X, y)
    shares = np.array([4, 1, 1, 1, 1, 0])
    given = make(W, priors=shares).fit(X, y)
    np.testing.assert_allclose(given.coef_, even.coef_)
    offsets = given.intercept_ - even.intercept_
    np.testing.assert_allclose(offsets[:5], np.log(6 * shares[:5] / 8), atol=1e-9)
    assert given.predict_proba(pool)[:, 5].max() < 1e-3
    np.testing.assert_allclose(make(W, priors=np.ones(6)).fit(X, y).intercept_, even.intercept_)


def test_priors_of_unlabelled_images(features):
    X, y, W = features((2,) * 6, d=12)
    photos, truth, _ = features((120, 60, 0, 0, 0, 0), d=12)
    pool, Q = photos[::2], (photos[1::2], truth[1::2])
    with pytest.warns(UserWarning, match=r"[45]\d% of .* show 0, .*priors='unlabeled': about \d+%"):
        uniform = make(W).fit(X, y, X_unlabeled=pool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        like_the_pool = make(W, priors="unlabeled").fit(X, y, X_unlabeled=pool)
        make(W).fit(X, y, X_unlabeled=features((20,) * 6, d=12)[0])
    assert like_the_pool.score(*Q) > uniform.score(*Q)
    np.testing.assert_allclose(uniform.class_shares_[:2], [2 / 3, 1 / 3], atol=0.2)
    assert (uniform.class_share_errors_ > 0).all()
    assert uniform.unknown_share_ < 0.1


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ("unlabeled", "pass X_unlabeled"),
        ("even", "priors"),
        ([0.5, 0.5], "priors needs one share per class, 6 numbers"),
        ([1, 1, 1, 1, 1, -1], "priors needs one share per class"),
        ([0] * 6, "priors needs one share per class"),
    ],
)
def test_bad_priors(problem, priors, message):
    X, y, W, _ = problem
    with pytest.raises(ValueError, match=message):
        make(W, priors=priors).fit(X, y)


# Errors.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pool: pool[:, :5], "X_unlabeled: X has 5 features, but .* 16"),
        (lambda pool: pool[0], "X_unlabeled: Expected 2D array"),
        (
            lambda pool: np.where(np.arange(len(pool))[:, None] == 3, np.nan, pool),
            "X_unlabeled: .*row 3",
        ),
        (
            lambda pool: pool * (np.arange(len(pool)) != 4)[:, None],
            "X_unlabeled: row 4 of X is all zeros",
        ),
        (lambda pool: "photos", "X_unlabeled: "),
        (lambda pool: [np.zeros((8, 8), np.uint8)] * 3, "X_unlabeled: "),
    ],
)
@pytest.mark.parametrize("with_shots", [False, True])
def test_bad_pools_are_named(problem, change, message, with_shots):
    X, y, W, pool = problem
    clf = make(W).fit(X, y)
    before = dict(vars(clf))
    with pytest.raises(ValueError, match=message):
        clf.fit(*((X, y) if with_shots else ()), X_unlabeled=change(pool))
    assert vars(clf) == before


def test_a_folder_of_unlabelled_images_with_damaged_ones(on_digits, digits, tmp_path):
    images, labels = digits
    for index, image in enumerate(images[20:40]):
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    (tmp_path / "damaged.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"X_unlabeled: 1 of 21 .*damaged\.png") as caught:
        clf = on_digits().fit(images[:20], labels[:20], X_unlabeled=tmp_path)
    assert len(caught) == 1
    expected = on_digits().fit(images[:20], labels[:20], X_unlabeled=images[20:40])
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-4, atol=1e-4)
    with pytest.raises(ImageReadError, match=r"X_unlabeled: none of the 1 .*damaged\.png"):
        on_digits().fit(images[:20], labels[:20], X_unlabeled=[tmp_path / "damaged.png"])
    with pytest.raises((TypeError, ValueError), match="X_unlabeled: "):
        on_digits().fit(images[:20], labels[:20], X_unlabeled=images[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither shots nor text"),
        ({"X_unlabeled": np.eye(3)}, "neither shots nor text"),
        ({"X": np.eye(3)}, "requires y to be passed"),
        ({"y": [0, 1, 2]}, "y was passed without X"),
    ],
)
def test_nothing_to_learn_from(arguments, message):
    with pytest.raises(ValueError, match=message):
        FewShotClassifier().fit(**arguments)


def test_weights_without_shots_and_negative_class_weights(problem):
    X, y, W, _ = problem
    with pytest.raises(ValueError, match="no shots for sample_weight"):
        make(W).fit(sample_weight=[1.0])
    with pytest.raises(ValueError, match="Negative class_weight: -1"):
        make(W, class_weight={2: -1.0}).fit(X, y)


# scikit-learn's tools.


def test_saved_and_loaded(problem, tmp_path):
    skops = pytest.importorskip("skops.io")
    X, y, W, pool = problem
    clf = make(W, keep_unlabeled=True).fit(X, y, X_unlabeled=pool)
    joblib.dump(clf, tmp_path / "model.joblib")
    skops.dump(clf, tmp_path / "model.skops")
    untrusted = skops.get_untrusted_types(file=tmp_path / "model.skops")
    assert untrusted == ["sktip._few_shot.FewShotClassifier"]
    for loaded in (
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
        skops.load(tmp_path / "model.skops", trusted=untrusted),
    ):
        np.testing.assert_array_equal(loaded.decision_function(X), clf.decision_function(X))
        np.testing.assert_array_equal(loaded.explain(X).shots, clf.explain(X).shots)
        more = loaded.partial_fit(X[:4], y[:4], X_unlabeled=pool[:3])
        np.testing.assert_array_equal(
            more.coef_,
            clone(clf)
            .fit(
                np.concatenate([X, X[:4]]),
                np.concatenate([y, y[:4]]),
                X_unlabeled=np.concatenate([pool, pool[:3]]),
            )
            .coef_,
        )


def test_pipeline_and_search(on_digits, clip, digits, digit_features):
    (images, labels), F = digits, digit_features[0]
    clf = on_digits(input="features")
    pipe = make_pipeline(clip, clf).fit(images[:40], labels[:40])
    assert pipe.score(images[40:80], labels[40:80]) > 0.6
    # Unlabelled images pass through a Pipeline as they are: features for a step that reads features.
    pipe.fit(images[:40], labels[:40], fewshotclassifier__X_unlabeled=F[100:])
    assert pipe[-1].class_shares_.sum() == pytest.approx(1)
    grid = {"logit_scale": [10.0, 100.0], "templates": ["a photo of a {}.", TEMPLATES]}
    search = GridSearchCV(clf, grid, cv=2).fit(F[:80], labels[:80])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_calibration_and_stacking(on_digits, digit_features):
    F, labels = digit_features
    clf = on_digits(input="features", class_names=sorted(set(labels)))
    calibrated = CalibratedClassifierCV(clf, cv=2).fit(F[:100], labels[:100])
    assert calibrated.score(F[100:], labels[100:]) > 0.7
    stack = StackingClassifier([("few", clf)], LogisticRegression(), cv=2)
    assert stack.fit(F[:100], labels[:100]).score(F[100:], labels[100:]) > 0.6


def test_steps_are_shown(problem, capsys):
    X, y, W, pool = problem
    make(W, verbose=1).fit(X, y, X_unlabeled=pool)
    shown = capsys.readouterr().err
    assert "Fitting" in shown
    assert "unknown" in shown
    make(W).fit(X, y, X_unlabeled=pool)
    assert not capsys.readouterr().err


# More knowledge is better.


@pytest.fixture(scope="module")
def all_digits(clip):
    images, labels = load_digit_images(return_X_y=True)
    return clip.transform(images), labels


@pytest.mark.parametrize("n_shots", [0, 1, 2, 4])
def test_pool_is_better_than_labels_only_is_better_than_zero_shot(clip, all_digits, n_shots):
    F, labels = all_digits
    zero_shot = ZeroShotClassifier(
        clip, input="features", class_names=sorted(set(labels)), templates=TEMPLATES
    ).fit()
    clf = FewShotClassifier(
        clip, input="features", class_names=sorted(set(labels)), templates=TEMPLATES
    )
    scores = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(labels))
        drawn, pool, test = order[:200], order[200:700], order[900:]
        shots = [
            row for name in zero_shot.classes_ for row in drawn[labels[drawn] == name][:n_shots]
        ]
        given = F[shots], labels[shots]
        scores.append(
            [
                zero_shot.score(F[test], labels[test]),
                clf.fit(*given).score(F[test], labels[test]),
                clf.fit(*given, X_unlabeled=F[pool]).score(F[test], labels[test]),
            ]
        )
    zero, alone, pooled = np.mean(scores, axis=0)
    assert alone >= zero + (0.03 if n_shots else 0)
    assert pooled >= alone + 0.002


def test_a_second_shot_of_one_class_alone_does_no_harm(clip, all_digits):
    """Without the fold of that shot, one shot remains, and no usable covariance."""
    F, labels = all_digits
    clf = FewShotClassifier(
        clip, input="features", class_names=sorted(set(labels)), templates=TEMPLATES
    )
    text = clf.fit().score(F[900:], labels[900:])
    for twice in range(10):
        order = np.random.default_rng(twice).permutation(700)
        shots = [
            row
            for code, name in enumerate(clf.classes_)
            for row in order[labels[order] == name][: 2 if code == twice else 1]
        ]
        assert clf.fit(F[shots], labels[shots]).score(F[900:], labels[900:]) > text - 0.02


@pytest.mark.parametrize("n_shots", [0, 2])
def test_a_useless_pool_does_no_harm(clip, all_digits, n_shots):
    F, labels = all_digits
    clf = FewShotClassifier(
        clip, input="features", class_names=sorted(set(labels)), templates=TEMPLATES
    )
    shots = [row for name in set(labels) for row in np.flatnonzero(labels[:200] == name)[:n_shots]]
    test = slice(900, None)
    alone = clf.fit(F[shots], labels[shots]).score(F[test], labels[test])
    noise = np.random.default_rng(0).normal(size=(300, F.shape[1]))
    pools = {
        "two classes": (0.006, F[200:900][np.isin(labels[200:900], ["one", "four"])]),
        "one image a thousand times": (0.006, F[[300]].repeat(1000, axis=0)),
        "one image": (0.006, F[[300]]),
        "pictures of noise": (0.02, F[:200].mean(axis=0) + F[:200].std(axis=0) * noise),
    }
    for name, (harm, pool) in pools.items():
        pooled = clf.fit(F[shots], labels[shots], X_unlabeled=pool).score(F[test], labels[test])
        assert pooled >= alone - harm, name


def test_the_same_twice(problem):
    X, y, W, pool = problem
    once, twice = (make(W).fit(X, y, X_unlabeled=pool) for _ in range(2))
    np.testing.assert_array_equal(once.coef_, twice.coef_)
    order = np.random.default_rng(0).permutation(len(y))
    shuffled = make(W).fit(X[order], y[order], X_unlabeled=pool[::-1])
    np.testing.assert_allclose(shuffled.coef_, once.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(shuffled.predict(pool), once.predict(pool))


# What it thinks of labels and of unlabelled images.


def test_wrong_labels_are_found_and_count_little(features):
    X, y, W = features((8,) * 10, d=32)
    wrong = np.arange(0, len(y), 13)
    given = y.copy()
    given[wrong] = (y[wrong] + 3) % 10
    clean, clf = (make(W).fit(X, labels) for labels in (y, given))
    assert (clean.label_beliefs_ > 0.9).mean() > 0.98
    right = np.setdiff1d(np.arange(len(y)), wrong)
    assert np.median(clf.label_beliefs_[wrong]) < 0.3 < 0.9 < clf.label_beliefs_[right].mean()


def test_responsibilities_are_the_answers_of_unlabelled_images(problem):
    X, y, W, pool = problem
    clf = make(W, keep_unlabeled=True).fit(X, y, X_unlabeled=pool)
    told = clf.predict_proba(pool)
    found = clf.responsibilities(smallest=0.01)
    assert found.shape == told.shape
    np.testing.assert_allclose(found.toarray(), np.where(told >= 0.01, told, 0), atol=1e-5)
    assert found.nnz == (told >= 0.01).sum()
    with pytest.raises(ValueError, match="no unlabelled images"):
        make(W).fit(X, y).responsibilities()


# Several encoders.


@pytest.fixture
def two_encoders(problem):
    """Shots, labels, text of the second block, a pool, and a classifier of blocks of 8 and 16 columns."""
    X, y, W, pool = problem
    rng = np.random.default_rng(0)

    def both(rows):
        return np.hstack([5 * rows[:, :8] + 0.1 * rng.normal(size=(len(rows), 8)), rows])

    return both(X), y, W, both(pool), make(W, blocks=[8, 16])


@pytest.mark.parametrize("shots", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_blocks_have_unit_norm_and_parts_that_add_up(two_encoders, shots, pool):
    X, y, W, P, clf = two_encoders
    given = (X, y) if shots else ()
    clf.fit(*given, X_unlabeled=P if pool else None)
    assert (clf.n_features_in_, clf.coef_.shape, clf.text_features_.shape) == (24, (6, 24), (6, 24))
    expected = clf.decision_function(P)
    scaled = P * np.repeat([0.1, 7.0], [8, 16])
    np.testing.assert_allclose(clf.decision_function(scaled), expected, atol=1e-9)
    why = clf.explain(P)
    parts = why.text + why.means + why.correction + why.unlabeled
    np.testing.assert_allclose(parts, expected, atol=1e-9)
    cosines = (
        P[:, 8:] / np.linalg.norm(P[:, 8:], axis=1, keepdims=True) @ W.T / np.linalg.norm(W, axis=1)
    )
    np.testing.assert_allclose(why.text, clf.text_weight_ * SCALE * cosines, atol=1e-9)
    assert (why.unlabeled != 0).any() == pool


def test_blocks_in_partial_fit_export_and_beside_unknown_images(two_encoders):
    X, y, _, P, clf = two_encoders
    clf.set_params(keep_unlabeled=True)
    whole = clone(clf).fit(X, y, X_unlabeled=P)
    clf.partial_fit(X[::2], y[::2], X_unlabeled=P).partial_fit(X[1::2], y[1::2])
    np.testing.assert_allclose(clf.predict_proba(P), whole.predict_proba(P), atol=1e-5)
    rows = P.astype(np.float32)
    logits = to_module(clf)(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(logits, clf.decision_function(rows), rtol=1e-3, atol=1e-3)
    assert RejectUnknown(clone(clf)).fit(X[y != 1], y[y != 1]).predict(P).shape == (len(P),)


def test_one_block_is_as_without(problem):
    X, y, W, pool = problem
    plain = make(W).fit(X, y, X_unlabeled=pool)
    blocks = make(W, blocks=[16]).fit(X, y, X_unlabeled=pool)
    for name in ("coef_", "intercept_", "means_weight_", "class_means_"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(blocks, name))
    np.testing.assert_array_equal(plain.explain(pool).shots, blocks.explain(pool).shots)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([8, 8], r"the blocks \[8, 8\] have 16 columns, but X has 24 features"),
        ([12, 12], r"text_features has 16 columns, but the blocks have \[12, 12\]"),
        ([], "must be a sequence of positive integers"),
        ([24.0], "must be a sequence of positive integers"),
        ([25, -1], "must be a sequence of positive integers"),
    ],
)
def test_bad_blocks(two_encoders, blocks, message):
    X, y, _, _, clf = two_encoders
    with pytest.raises(ValueError, match=message):
        clf.set_params(blocks=blocks).fit(X, y)


def test_photos_through_two_encoders_are_blocks(clip, digits):
    images, labels = digits
    joint = JointEncoder([clip, clone(clip).set_params(reduced_decoding=False)])
    of_photos = FewShotClassifier(joint, templates=TEMPLATES).fit(images[:40], labels[:40])
    widths = [of_photos.coef_.shape[1] // 2] * 2
    F = joint.transform(images[:60])
    of_features = FewShotClassifier(clip, input="features", templates=TEMPLATES, blocks=widths)
    of_features.fit(F[:40], labels[:40])
    assert len(of_photos.means_weight_) == 2
    np.testing.assert_allclose(
        of_photos.predict_proba(images[40:60]), of_features.predict_proba(F[40:60]), atol=1e-4
    )
    silent = FewShotClassifier(joint, templates=None).fit(images[:40], labels[:40])
    assert silent.text_features_ is None
