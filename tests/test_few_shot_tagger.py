"""FewShotTagger: several tags per photo."""

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

from sktip import FewShotClassifier, FewShotTagger, predict_images

TAGS = [f"tag {i}" for i in range(12)]


@pytest.fixture(scope="module")
def photos():
    """Features that are sums of directions of one to four tags, and texts near the directions."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(12, 48))

    def make(n, seed):
        rng = np.random.default_rng(seed)
        Y = np.zeros((n, 12), int)
        for row in Y:
            row[rng.choice(12, rng.integers(1, 5), replace=False)] = 1
        return Y @ directions + 1.5 * rng.normal(size=(n, 48)), Y

    return make, directions + 1.5 * rng.normal(size=(12, 48))


def mean_precision(scores, Y):
    return average_precision_score(Y, scores, average="macro")


def test_better_than_names_alone_and_calibrated(photos):
    make, text = photos
    X, Y = make(60, 1)
    Q, R = make(600, 2)
    tagger = FewShotTagger(text_features=text).fit(X, Y)
    alone = OneVsRestClassifier(LogisticRegression()).fit(X, Y).decision_function(Q)
    names = Q @ (text / np.linalg.norm(text, axis=1, keepdims=True)).T
    own = mean_precision(tagger.predict_proba(Q), R)
    assert own > mean_precision(alone, R) - 0.01
    assert own > mean_precision(names, R) + 0.03
    assert f1_score(R, tagger.predict(Q), average="macro") > 0.6
    # The probabilities are calibrated.
    p = FewShotTagger(text_features=text).fit(*make(240, 1)).predict_proba(Q)
    bins = np.digitize(p, np.linspace(0, 1, 11)[1:-1])
    errors = [
        abs(p[bins == b].mean() - R[bins == b].mean()) * (bins == b).mean() for b in set(bins.flat)
    ]
    assert sum(errors) < 0.05


def test_a_tag_without_photos_is_found_by_its_name(photos):
    make, text = photos
    X, Y = make(60, 1)
    Q, R = make(600, 2)
    some = Y[:, 3] == 0
    for unknown in (0, np.nan):
        targets = Y[some].astype(float)
        targets[:, 3] = unknown
        scores = FewShotTagger(text_features=text).fit(X[some], targets).predict_proba(Q)
        assert average_precision_score(R[:, 3], scores[:, 3]) > 2 * R[:, 3].mean()


def test_unknown_entries_are_no_negatives(photos):
    make, text = photos
    X, Y = make(120, 1)
    hidden = np.where((Y == 1) & (np.random.default_rng(0).random(Y.shape) < 0.6), np.nan, Y)
    Q, R = make(400, 2)
    ignored, as_zero = (
        FewShotTagger(text_features=text).fit(X, targets).predict_proba(Q)
        for targets in (hidden, np.nan_to_num(hidden))
    )
    assert ignored.mean() > as_zero.mean()
    assert mean_precision(ignored, R) > mean_precision(as_zero, R)


def test_weights_order_and_groups(photos):
    make, text = photos
    X, Y = make(40, 1)
    Q, _ = make(20, 2)
    tagger = FewShotTagger(text_features=text)
    expected = tagger.fit(X, Y).decision_function(Q)
    np.testing.assert_allclose(
        tagger.fit(X[::-1], Y[::-1]).decision_function(Q), expected, atol=2e-3
    )
    weights = np.repeat([2.0, 0.0, 1.0], [10, 5, 25])
    rows = np.r_[np.arange(10), np.arange(10), np.arange(15, 40)]
    weighted = tagger.fit(X, Y, weights).decision_function(Q)
    repeated = tagger.fit(X[rows], Y[rows]).decision_function(Q)
    np.testing.assert_allclose(weighted, repeated, atol=2e-3)
    tagger.fit(X, Y, groups=np.arange(40) // 2)


def test_with_the_tools_of_scikit_learn(photos):
    make, text = photos
    X, Y = make(60, 1)
    tagger = FewShotTagger(text_features=text)
    p = cross_val_predict(tagger, X, Y, method="predict_proba", cv=3)
    assert p.shape == Y.shape
    assert mean_precision(p, Y) > 0.6
    for scoring in ("average_precision", "f1_macro", "jaccard_samples"):
        assert cross_val_score(tagger, X, Y, scoring=scoring, cv=3).mean() > 0.3
    search = GridSearchCV(tagger, {"threshold": ["f1", 0.5]}, scoring="f1_macro", cv=3).fit(X, Y)
    assert search.best_params_ == {"threshold": "f1"}
    two = Y[:, :2]
    assert cross_val_score(FewShotTagger(), X, two, scoring="average_precision", cv=3).mean() > 0.5
    with pytest.warns(UserWarning, match="no text prior"):
        around = OneVsRestClassifier(FewShotClassifier()).fit(X, Y)
    assert around.predict(X).shape == Y.shape


def test_images_names_and_files(clip, digits, tmp_path):
    images, labels = digits
    tags = [["round"] if name in ("zero", "six", "eight") else ["thin", "line"] for name in labels]
    binarizer = MultiLabelBinarizer()
    table = pd.DataFrame(binarizer.fit_transform(tags), columns=binarizer.classes_)
    tagger = FewShotTagger(clip).fit(images[:100], table[:100])
    assert tagger.tags_.tolist() == ["line", "round", "thin"]
    named = FewShotTagger("tiny", class_names=["line", "round", "thin"])
    named.fit(images[:100], table[:100].to_numpy())
    np.testing.assert_array_equal(
        named.predict_proba(images[100:]), tagger.predict_proba(images[100:])
    )
    assert (tagger.predict(images[100:]) == table[100:]).to_numpy().mean() > 0.8
    joblib.dump(tagger, tmp_path / "tagger.joblib")
    loaded = joblib.load(tmp_path / "tagger.joblib")
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    with pytest.warns(UserWarning, match="1 of 2 images could not be read"):
        answers = predict_images(
            loaded, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "t.csv", verbose=0
        )
    assert list(answers) == ["path", "line", "round", "thin", "error"]
    written = pd.read_csv(tmp_path / "t.csv")
    assert (
        written[["line", "round", "thin"]].iloc[0].tolist()
        == loaded.predict(images[:1])[0].tolist()
    )
    assert written.iloc[1, 1:4].isna().all()


@pytest.mark.parametrize("noise", [0, 1e-7, 1e-3, 0.03])
def test_shots_that_are_nearly_equal_say_little(photos, noise):
    """Frames of one scene: their differences are not stretched until every other photo is certain."""
    make, text = photos
    scene, rng = make(1, 3)[0], np.random.default_rng(0)
    X = scene / np.linalg.norm(scene) + noise / np.sqrt(48) * rng.normal(size=(24, 48))
    Y = rng.integers(0, 2, (24, 12))
    for given in (text, None):
        tagger = FewShotTagger(text_features=given, templates=None).fit(X, Y)
        assert np.abs(tagger.decision_function(make(200, 4)[0])).max() < 15


@pytest.mark.parametrize(
    ("y", "parameters", "message"),
    [
        ([["a"], ["b"]], {}, "MultiLabelBinarizer"),
        (np.array(["a", "b"]), {}, "one label per photo.*use FewShotClassifier"),
        ([[0, 2], [1, 0]], {}, "y holds 2"),
        ([[1, 1], [1, np.nan]], {}, "some 1 and some 0"),
        ([[1, 0], [0, 1]], {"class_names": ["a"]}, "class_names has 1 names for 2 columns"),
        ([[1, 0], [0, 1]], {"threshold": [0.1, 2]}, "threshold=.* from 0 to 1"),
        ([[1, 0], [0, 1]], {"threshold": True}, "threshold=True .* from 0 to 1"),
        ([0, 1], {}, "one label per photo.*use FewShotClassifier"),
        ([[1, 0], [0, 1]], {"class_names": ["é", "e\u0301"]}, "the name 'é' more than once"),
        (pd.DataFrame([[1, 0], [0, 1]], columns=["a", "a"]), {}, "the column 'a' more than once"),
        (
            pd.DataFrame([[1, 0], [0, 1]], columns=["a", "b"]),
            {"class_names": ["b", "a"]},
            r"'b' for the column 'a' of y, .* Pass y\[class_names\]",
        ),
        ([[1, 0], [0, 1]], {"text_features": np.eye(3)}, "text_features has 3 rows for 2 columns"),
        ([[1, 0], [0, 1]], {"encoder": "tiny", "input": "features"}, "names of the tags"),
    ],
)
def test_what_is_wrong(y, parameters, message):
    with pytest.raises(ValueError, match=message):
        FewShotTagger(**parameters).fit(np.eye(2, 3), y)
