"""suggest_shots: which images are chosen, which are passed over, and its memory."""

import tracemalloc

import numpy as np
import pytest

from sktip import FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import suggest_shots

NAMES = sorted("zero one two three four five six seven eight nine".split())


@pytest.fixture(scope="module")
def digits(clip):
    """Features and names of all digits, and text features."""
    images, names = load_digit_images(return_X_y=True)
    return clip.transform(images), names, clip.encode_text(NAMES, "the digit {}")


@pytest.fixture(scope="module")
def pool(digits):
    """The same of 300 digits to choose from."""
    X, names, text = digits
    rows = np.random.default_rng(1).permutation(len(names))[:300]
    return X[rows], names[rows], text


def test_rare_classes_are_found():
    """Where some classes have ten times the images of others, as collections have: five of them."""
    n_classes, accuracy = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(20, 24))
        y = np.repeat(np.arange(20), np.geomspace(40, 4, 20).astype(int))
        query_y = np.repeat(np.arange(20), 10)
        X, Q = (centres[c] + 0.6 * rng.normal(size=(len(c), 24)) for c in (y, query_y))
        text = centres + 1.5 * rng.normal(size=centres.shape)
        by_text, by_looks = suggest_shots(X, 40, text_features=text), suggest_shots(X, 40)
        ways = [rng.permutation(len(y))[:40], by_text, by_looks]
        n_classes.append([len(set(y[rows[:20]].tolist())) for rows in ways])
        clfs = [FewShotClassifier(text_features=text).fit(X[rows], y[rows]) for rows in ways]
        accuracy.append([clf.score(Q, query_y) for clf in clfs])
    random, *suggested = np.mean(n_classes, axis=0)
    assert min(suggested) > random + 4
    random, *suggested = np.mean(accuracy, axis=0)
    assert min(suggested) > random + 0.02


@pytest.mark.filterwarnings("ignore:neither `encoder` nor")
@pytest.mark.parametrize(("with_text", "n"), [(True, 20), (False, 10)])
def test_suggested_digits_teach_more_than_random_ones(digits, with_text, n):
    features, names, text = digits
    codes = np.searchsorted(NAMES, names)
    text = text if with_text else None
    accuracy = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        pool, queries = np.split(rng.permutation(len(codes)), [600])
        ways = [
            pool[suggest_shots(features[pool], n, text_features=text)],
            *(rng.permutation(pool)[:n] for _ in range(3)),
        ]
        clfs = [
            FewShotClassifier(text_features=text).fit(features[rows], codes[rows]) for rows in ways
        ]
        scores = [clf.score(features[queries], codes[queries]) for clf in clfs]
        accuracy.append([scores[0], np.mean(scores[1:])])
    suggested, random = np.mean(accuracy, axis=0)
    assert suggested > random


def test_more_classes_are_covered(digits):
    """Of three pools of 300 digits each."""
    X, y, text = digits
    chosen, random = [], []
    for seed in range(1, 4):
        rows = np.random.default_rng(seed).permutation(len(y))[:300]
        chosen.append(len(set(y[rows][suggest_shots(X[rows], 10, text_features=text)])))
        draws = [np.random.default_rng(draw).permutation(rows)[:10] for draw in range(5)]
        random += [len(set(y[draw])) for draw in draws]
    assert np.mean(chosen) > np.mean(random) + 1


def test_fewer_are_the_first_of_more(pool):
    X, _, text = pool
    more = suggest_shots(X, 60, text_features=text)
    np.testing.assert_array_equal(suggest_shots(X, 25, text_features=text), more[:25])


@pytest.mark.parametrize("with_text", [True, False])
def test_what_is_labelled_is_not_asked_for_again(pool, with_text):
    """If one of two kinds of images has labels, the other kind is chosen first."""
    X, y, text = pool
    labelled = np.flatnonzero(np.isin(y, NAMES[:5]))[:60]
    rest = np.setdiff1d(np.arange(300), labelled)
    given = {"text_features": text, "class_names": NAMES} if with_text else {}
    rows = suggest_shots(X[rest], 8, X_labeled=X[labelled], y=y[labelled], **given)
    share = np.isin(y[rest], NAMES[5:]).mean()
    assert np.isin(y[rest][rows], NAMES[5:]).mean() > share + 0.1


def test_each_row_once_and_reproducible(pool):
    X, _, text = pool
    for n in (1, 7, 299, 300):
        rows = suggest_shots(X, n, text_features=text, random_state=3)
        assert len(set(rows.tolist())) == len(rows) == n
        assert 0 <= rows.min() <= rows.max() < 300
        again = suggest_shots(X, n, text_features=text, random_state=3)
        np.testing.assert_array_equal(rows, again)


def test_near_duplicates_are_one_kind(pool):
    """A burst of similar pictures gets one label, and more only if no other image remains."""
    X, _, _ = pool
    burst = np.concatenate([X[:40], np.repeat(X[40:41], 200, axis=0)])
    rows = suggest_shots(burst, 20, random_state=0)
    assert (rows >= 40).sum() <= 2
    rows = suggest_shots(np.repeat(X[:1], 50, axis=0), 20, random_state=0)
    assert len(set(rows.tolist())) == 20


def test_labels_may_be_numbers_or_names_in_any_order(pool):
    X, y, text = pool
    codes = np.searchsorted(NAMES, y)
    labelled, rest = np.arange(30), np.arange(30, 300)
    expected = suggest_shots(
        X[rest], 9, X_labeled=X[labelled], y=codes[labelled], text_features=text, random_state=0
    )
    turned = suggest_shots(
        X[rest],
        9,
        X_labeled=X[labelled],
        y=y[labelled],
        text_features=text[::-1],
        class_names=NAMES[::-1],
        random_state=0,
    )
    # Columns in another order make the same products.
    np.testing.assert_array_equal(np.sort(turned), np.sort(expected))


def test_memory_beyond_the_features_does_not_grow_with_them():
    peaks = []
    for n_images in (20_000, 60_000):
        X = np.random.default_rng(0).normal(size=(n_images, 32)).astype(np.float32)
        text = np.random.default_rng(1).normal(size=(50, 32))
        tracemalloc.start()
        suggest_shots(X, 20, text_features=text, random_state=0)
        # A unit copy of the features and its making are allowed.
        peaks.append(tracemalloc.get_traced_memory()[1] - 3 * X.nbytes)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 8e6


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"n": 9}, "n=9 must be an integer from 1 to the number of images, 8"),
        ({"y": [0, 1]}, "must be passed together"),
        ({"X_labeled": np.eye(2, 8), "y": [0]}, "inconsistent numbers of samples"),
        ({"X_labeled": np.eye(2, 4), "y": [0, 1]}, "X_labeled has 4 features, but X has 8"),
        ({"X": ["a.png", "b.png"]}, r"X looks like images; pass encoder.transform\(X\)"),
        ({"class_names": ["a", "b"]}, "but text_features was not passed"),
        (
            {"class_names": ["a", "b"], "text_features": np.eye(3, 8)},
            "text_features has 3 rows for 2 classes",
        ),
        (
            {
                "X_labeled": np.eye(2, 8),
                "y": ["a", "c"],
                "class_names": ["a", "b"],
                "text_features": np.eye(2, 8),
            },
            "y holds the label 'c', which is not in class_names",
        ),
    ],
)
def test_what_is_refused(parameters, message):
    given = {"X": np.eye(8), "n": 2, **parameters}
    with pytest.raises(ValueError, match=message):
        suggest_shots(given.pop("X"), given.pop("n"), **given)
