"""What the page claims of its predictions holds: intervals of 80 %, simulated from several models."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from sktip._label.accuracy import Calibration, shares_among


def holds_often_enough(holds):
    """Whether as many intervals hold as an interval of 80 % has to, but for chance."""
    return np.sum(holds) >= binom.ppf(0.001, len(holds), 0.8)


@pytest.mark.parametrize("n", [8, 40])
@pytest.mark.parametrize(
    ("intercept", "slope"), [(0, 1), (-0.5, 0.5), (0, 0)], ids=["calibrated", "too sure", "a coin"]
)
def test_the_expected_accuracy_holds(n, intercept, slope):
    """Also of a model that is too sure, or that knows nothing."""
    holds = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = np.abs(rng.normal(2, 1.5, n + 300))
        right = rng.random(n + 300) < expit(intercept + slope * x)
        certainty = expit(x)
        estimate = Calibration(certainty[:n], right[:n]).share(certainty[n:])
        assert 0 <= estimate.lower <= estimate.value <= estimate.upper <= 1
        holds.append(estimate.lower <= right[n:].mean() <= estimate.upper)
    assert holds_often_enough(holds)


def test_a_coin_is_not_sure():
    rng = np.random.default_rng(0)
    coin = Calibration(np.full(60, 0.99), rng.random(60) < 0.5)
    assert coin.probability(0.99) < 0.7
    good = Calibration(np.full(200, 0.99), np.ones(200, bool))
    assert good.probability(0.99) > 0.95


@pytest.mark.parametrize(("n_classes", "accuracy"), [(2, 0.95), (5, 0.8)])
def test_the_shares_hold(n_classes, accuracy):
    """Each class is confused in its own way."""
    holds = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = rng.choice(n_classes, 340, p=rng.dirichlet(np.ones(n_classes)))
        table = rng.dirichlet(np.full(n_classes, 0.5), n_classes) * (1 - accuracy)
        table[np.diag_indices(n_classes)] += accuracy
        found = np.array([rng.choice(n_classes, p=table[code]) for code in true])
        estimates = shares_among(found[:40], true[:40], found[40:], n_classes, accuracy)
        shares = np.bincount(true[40:], minlength=n_classes) / 300
        for (_, low, high), share in zip(estimates, shares, strict=True):
            assert 0 <= low <= high <= 1
            holds.append(low - 1e-9 <= share <= high + 1e-9)
    # Classes of one draw are not independent, and the prior is not that of the draws.
    assert np.mean(holds) > 0.75


def test_shares_of_what_is_not_there():
    """Without a photo of a class its share is small, and never below 0."""
    (_, low, high), _ = shares_among(*np.array([[1] * 9, [1] * 9]), np.ones(50, int), 2, 0.9)
    assert 0 <= low < high < 0.2
