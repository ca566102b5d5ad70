"""Everything of scikit-learn that a user puts around the classifier."""

import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import sklearn
from memory_runs import context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.fixes import parse_version

from sktip import CLIPFeatureTransformer, TipAdapterClassifier

TEMPLATE = "the digit {}"


@pytest.fixture
def on_features(clip):
    return TipAdapterClassifier(clip, input="features", templates=TEMPLATE)


@pytest.fixture
def on_images(clip):
    return TipAdapterClassifier(clip, templates=TEMPLATE)


def test_clone_is_unfitted_and_equal(on_features, digit_features):
    copy = clone(on_features.fit(*digit_features))
    assert not hasattr(copy, "cache_keys_")
    np.testing.assert_array_equal(
        copy.fit(*digit_features).predict(digit_features[0]), on_features.predict(digit_features[0])
    )
    with_arrays = TipAdapterClassifier(text_features=np.eye(3), class_names=["a", "b", "c"])
    assert clone(with_arrays).class_names == ["a", "b", "c"]


def test_pipeline(clip, on_features, digits, digit_features):
    images, labels = digits
    pipeline = make_pipeline(clip, on_features).fit(images[:100], labels[:100])
    direct = clone(on_features).fit(digit_features[0][:100], labels[:100])
    np.testing.assert_allclose(
        pipeline.predict_proba(images[100:120]),
        direct.predict_proba(digit_features[0][100:120]),
        atol=1e-5,
    )
    assert pipeline.score(images[100:], labels[100:]) == direct.score(
        digit_features[0][100:], labels[100:]
    )


def test_grid_search_over_alpha_and_beta(on_features, digit_features):
    grid = {"alpha": [0.0, 1.0, 5.0], "beta": [1.0, 5.5]}
    search = GridSearchCV(on_features, grid, cv=3).fit(*digit_features)
    assert len(search.cv_results_["params"]) == 6
    assert search.best_score_ > search.cv_results_["mean_test_score"][0]
    assert search.predict(digit_features[0][:3]).shape == (3,)


def test_grid_search_over_the_encoder(digits):
    images, labels = digits
    encoder = CLIPFeatureTransformer("tiny", device="cpu", random_state=0)
    pipeline = Pipeline(
        [
            ("clip", encoder),
            ("tip", TipAdapterClassifier(encoder, input="features", templates=TEMPLATE)),
        ]
    )
    grid = {"clip__n_views": [1, 2], "tip__alpha": [1.0, 3.0]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(images[:60], labels[:60])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    on_images = TipAdapterClassifier(encoder, templates=TEMPLATE)
    grid = {"encoder__batch_size": [8, 64], "alpha": [1.0, 2.0]}
    search = GridSearchCV(on_images, grid, cv=2).fit(images[:60], labels[:60])
    scores = search.cv_results_["mean_test_score"].reshape(2, 2)
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], atol=0.02)


def test_cross_val_predict(on_features, digit_features):
    F, labels = digit_features
    predicted = cross_val_predict(on_features, F, labels, cv=4)
    assert (predicted == labels).mean() > 0.5
    codes = np.unique(labels, return_inverse=True)[1]
    numbered = clone(on_features).set_params(class_names=sorted(set(labels)))
    probabilities = cross_val_predict(numbered, F, codes, cv=4, method="predict_proba")
    np.testing.assert_array_equal(np.unique(labels)[probabilities.argmax(axis=1)], predicted)


def test_images_cross_validated_in_another_process(on_images, digits):
    """As a worker of ``n_jobs=2`` does."""
    data = digits[0][:60], digits[1][:60]
    with context.Pool(1) as worker:
        scores = worker.apply(cross_val_score, (on_images, *data), {"cv": 2})
    np.testing.assert_allclose(scores, cross_val_score(on_images, *data, cv=2))


def test_a_class_missing_from_a_fold(on_features, digit_features):
    F, labels = digit_features
    rare = np.flatnonzero(labels == "eight")[1:]
    keep = np.delete(np.arange(len(labels)), rare)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    with pytest.warns(UserWarning, match="least populated class"):
        named = cross_validate(
            clone(on_features).set_params(class_names={name: name for name in labels}),
            F[keep], labels[keep], cv=folds, return_estimator=True,
        )  # fmt: skip
    assert all(len(estimator.classes_) == 10 for estimator in named["estimator"])
    assert named["test_score"].mean() > 0.5
    with pytest.warns(UserWarning, match="least populated class"):
        unnamed = cross_validate(
            on_features, F[keep], labels[keep], cv=folds, return_estimator=True
        )
    assert sorted(len(estimator.classes_) for estimator in unnamed["estimator"]) == [9, 10, 10]


@pytest.mark.parametrize(
    "method",
    [
        "sigmoid",
        pytest.param(
            "temperature",
            marks=pytest.mark.skipif(
                parse_version(sklearn.__version__) < parse_version("1.8"),
                reason="scikit-learn 1.8 brought temperature scaling",
            ),
        ),
    ],
)
def test_calibration(on_features, digit_features, method):
    F, labels = digit_features
    # A logit scale ten times too large: right as often, and much too sure of it.
    on_features.set_params(class_names=sorted(set(labels)), logit_scale=250.0)
    calibrated = CalibratedClassifierCV(on_features, method=method, cv=3).fit(F[:150], labels[:150])
    plain = clone(on_features).fit(F[:150], labels[:150])
    assert calibrated.score(F[150:], labels[150:]) > 0.5
    loss = log_loss(labels[150:], calibrated.predict_proba(F[150:]))
    assert loss < 0.8 * log_loss(labels[150:], plain.predict_proba(F[150:]))


def test_calibration_of_a_frozen_classifier(on_features, digit_features):
    F, labels = digit_features
    frozen = FrozenEstimator(on_features.fit(F[:100], labels[:100]))
    keys = on_features.cache_keys_
    calibrated = CalibratedClassifierCV(frozen).fit(F[100:], labels[100:])
    assert calibrated.predict_proba(F).shape == (200, 10)
    assert on_features.cache_keys_ is keys


def test_voting_and_stacking(on_features, digit_features):
    F, labels = digit_features
    on_features.set_params(class_names=sorted(set(labels)))
    members = [("tip", on_features), ("probe", LogisticRegression(max_iter=500))]
    for ensemble in (
        VotingClassifier(members, voting="soft"),
        StackingClassifier(members, final_estimator=LogisticRegression(max_iter=500), cv=3),
    ):
        assert ensemble.fit(F[:150], labels[:150]).score(F[150:], labels[150:]) > 0.6


@pytest.mark.parametrize("around", [OneVsRestClassifier, OneVsOneClassifier])
def test_a_tool_that_makes_many_problems_of_two_classes(on_features, digit_features, around):
    """It passes 0 and 1, which are indices of names too, and reads answers about all names as one number."""
    F, labels = digit_features
    names = sorted(set(labels))
    many = clone(on_features).set_params(class_names=names)
    with pytest.warns(
        UserWarning, match="only 0 and 1, but class_names has 10 names.*leave it out"
    ):
        around(many).fit(F[:40], labels[:40])
    two = np.isin(labels, names[:2])
    codes = np.searchsorted(names, labels)
    with warnings.catch_warnings(action="error"):
        for class_names in (names[:2], dict(enumerate(names))):
            many.set_params(class_names=class_names).fit(F[two][:9], codes[two][:9])


def test_learning_curve(on_features, digit_features):
    sizes, _, scores = learning_curve(
        on_features, *digit_features, train_sizes=[40, 120], cv=StratifiedKFold(3, shuffle=True, random_state=0)
    )  # fmt: skip
    assert scores[1].mean() > scores[0].mean()
    assert sizes.tolist() == [40, 120]


def test_set_output_of_the_transformer_does_not_reach_the_classifier(digits):
    images, labels = digits
    encoder = CLIPFeatureTransformer("tiny", device="cpu").set_output(transform="pandas")
    clf = TipAdapterClassifier(encoder, templates=TEMPLATE).fit(images[:40], labels[:40])
    assert isinstance(clf.predict_proba(images[:2]), np.ndarray)
    pipeline = make_pipeline(encoder, TipAdapterClassifier(encoder, input="features"))
    pipeline.fit(images[:40], labels[:40])
    assert pipeline[-1].feature_names_in_[0] == "clipfeaturetransformer0"
    assert pipeline.predict(images[:2]).shape == (2,)


class TestPersistence:
    """What a saved classifier needs to be used."""

    def test_in_another_process_clip_is_loaded_for_images_only(
        self, on_images, digits, digit_features, tmp_path
    ):
        images, features = digits[0][60:62], digit_features[0][60:62]
        on_images.fit(digits[0][:60], digits[1][:60])
        path = tmp_path / "model.joblib"
        joblib.dump(on_images, path)
        arrays = sum(
            value.nbytes for value in vars(on_images).values() if isinstance(value, np.ndarray)
        )
        assert path.stat().st_size < arrays + 1_000_000
        joblib.dump((images, features), tmp_path / "queries.joblib")
        code = (
            "import sys, joblib; clf = joblib.load(sys.argv[1]); images, F = joblib.load(sys.argv[2]); "
            "assert not {'torch', 'open_clip'} & set(sys.modules); "
            "print(*clf.set_params(input='features').predict(F)); "
            "assert 'open_clip' not in sys.modules; "
            "print(*clf.set_params(input='image').predict(images)); assert 'open_clip' in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path, tmp_path / "queries.joblib"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout.split() == 2 * on_images.predict(images).tolist()


class TestEncoderInThePipelineAndInTheClassifier:
    """Features of the first step are not encoded again: the error says which parameter to set."""

    @pytest.mark.parametrize("output", ["default", "pandas"])
    def test_says_what_to_do(self, clip, on_images, digits, output):
        images, labels = digits
        twice = make_pipeline(clone(clip).set_output(transform=output), clone(on_images))
        with pytest.raises(ValueError, match="input='features'"):
            twice.fit(images[:40], labels[:40])
        twice.set_params(tipadapterclassifier__input="features").fit(images[:40], labels[:40])
        assert twice.predict(images[40:43]).shape == (3,)
