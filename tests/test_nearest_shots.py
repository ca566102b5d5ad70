"""The largest votes, as arrays."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from tip_shots import ALPHA, BETA, NAMES, SCALE, classifier

from sktip import TipAdapterClassifier, TipAdapterClassifierCV


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 4, 14])
def test_equals_the_formula_sorted(features, shots, n, weighted):
    X, y, W = shots
    Q = features((5, 5), seed=1)[0]
    weights = np.random.default_rng(2).uniform(0, 3, len(y)) if weighted else None
    clf = classifier(W).fit(X, NAMES[y], sample_weight=weights)
    votes = ALPHA * np.exp(-BETA * (1 - Q @ X.T)) * (1 if weights is None else weights)
    expected = np.argsort(-votes, axis=1, kind="stable")[:, :n]
    indices, found, labels = clf.nearest_shots(3 * Q, n)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(found, np.take_along_axis(votes, expected, 1), atol=1e-12)
    np.testing.assert_array_equal(labels, NAMES[y[expected]])


def test_adds_up_to_the_caches_part_of_the_logits(features, shots):
    X, y, W = shots
    Q = features((5, 5), seed=1)[0]
    clf = classifier(W).fit(X, y, sample_weight=np.linspace(0.2, 2, len(y)))
    _, votes, labels = clf.nearest_shots(Q, len(y))
    sums = np.stack([(votes * (labels == label)).sum(axis=1) for label in range(4)], axis=1)
    np.testing.assert_allclose(SCALE * Q @ W.T + sums, clf.decision_function(Q), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_votes_go_by_row(dtype):
    X = np.eye(3, dtype=dtype)[[0, 1, 1, 0, 1, 2, 1, 1]]
    clf = classifier(np.eye(3, dtype=dtype)).fit(X, [0, 1, 2, 0, 1, 2, 0, 1])
    Q = np.eye(3, dtype=dtype)[[1, 0, 1]]
    assert clf.nearest_shots(Q, 3)[0].tolist() == [[1, 2, 4], [0, 3, 1], [1, 2, 4]]
    assert clf.nearest_shots(Q, 8)[0][0].tolist() == [1, 2, 4, 6, 7, 0, 3, 5]
    assert clf.nearest_shots(Q, 1)[0].tolist() == [[1], [0], [1]]


def test_alpha_zero_has_the_order_of_any_alpha(shots):
    X, y, W = shots
    clf = classifier(W).fit(X, y)
    indices = clf.nearest_shots(X, 4)[0]
    none, votes, _ = clf.set_params(alpha=0.0).nearest_shots(X, 4)
    np.testing.assert_array_equal(none, indices)
    assert not votes.any()


def test_every_cache_has_it(shots):
    X, y, W = shots
    clf = TipAdapterClassifierCV(text_features=W, logit_scale=SCALE).fit(X, y)
    _, votes, _ = clf.nearest_shots(X, 2)
    np.testing.assert_allclose(votes[:, 0], clf.alpha_, rtol=1e-9)
    learned = classifier(W, fine_tune=True, n_epochs=2, random_state=0).fit(X, y)
    expected = ALPHA * np.exp(-BETA * (1 - X @ learned.cache_keys_.T)).max(axis=1)
    np.testing.assert_allclose(learned.nearest_shots(X, 1)[1][:, 0], expected, atol=1e-9)
    more = classifier(W).fit(X[:10], y[:10]).partial_fit(X[10:], y[10:])
    np.testing.assert_array_equal(more.nearest_shots(X, 1)[0][:, 0], np.arange(len(X)))


def test_images(clip, digits):
    images, labels = digits
    clf = TipAdapterClassifier(clip, templates="the digit {}").fit(images[:30], labels[:30])
    indices, votes, found = clf.nearest_shots([images[7], images[3]], 2)
    assert indices[:, 0].tolist() == [7, 3]
    assert found[:, 0].tolist() == [labels[7], labels[3]]
    np.testing.assert_allclose(votes[:, 0], 1, atol=1e-5)


def test_errors(shots):
    X, y, W = shots
    with pytest.raises(NotFittedError):
        classifier(W).nearest_shots(X, 1)
    clf = classifier(W).fit(X, y)
    for n in (15, 0, -1, 2.0, None):
        with pytest.raises(
            ValueError,
            match=f"n={n} must be an integer from 1 to the number of shots in the cache, 14",
        ):
            clf.nearest_shots(X, n)
