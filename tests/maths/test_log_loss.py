"""The log-loss of labelled logits, and the most probable weights of their parts."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from sktip._maths.log_loss import log_loss, most_probable_weights


def test_log_loss_and_probabilities():
    rng = np.random.default_rng(0)
    logits, codes, weights = 5 * rng.normal(size=(40, 6)), rng.integers(6, size=40), rng.random(40)
    loss, p = log_loss(logits, codes, weights)
    expected = log_softmax(logits, axis=1)
    assert loss == pytest.approx(-weights @ expected[np.arange(40), codes])
    np.testing.assert_allclose(p, np.exp(expected), atol=1e-12)


@pytest.mark.parametrize("n_parts", [1, 2])
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_weights_have_the_smallest_cost(n_parts, scale):
    """Also if logits are useless, or by far too large or small."""
    rng = np.random.default_rng(n_parts)
    codes, weights = rng.integers(5, size=60), rng.uniform(0.2, 2, 60)
    parts = [scale * rng.normal(size=(60, 5)), rng.normal(size=(60, 5)) + 2 * np.eye(5)[codes]]
    parts, offset = parts[:n_parts], rng.normal(size=(60, 5))

    def cost(logs):
        logits = offset + sum(np.exp(u) * part for u, part in zip(logs, parts, strict=True))
        loss = -weights @ log_softmax(logits, axis=1)[np.arange(60), codes]
        return loss + logs @ logs / (2 * 0.7**2)

    found, value = most_probable_weights(parts, codes, weights, offset=offset, deviation=0.7)
    best = minimize(cost, np.log(found), method="Nelder-Mead", options={"xatol": 1e-6})
    assert value == pytest.approx(cost(np.log(found)), rel=1e-9)
    assert value <= best.fun + 1e-7


@pytest.mark.parametrize("factor", [0.05, 0.7, 30.0])
def test_weight_of_overconfident_and_dull_logits(factor):
    """Logits are right at the temperature that their own probabilities are drawn at."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 5))
    odds = np.exp(z)
    codes = (rng.random((20_000, 1)) > (odds / odds.sum(1, keepdims=True)).cumsum(1)).sum(1)
    found, _ = most_probable_weights([z / factor], codes, np.ones(20_000), deviation=np.inf)
    assert found[0] == pytest.approx(factor, rel=0.05)
    believed, _ = most_probable_weights([z / factor], codes, np.ones(20_000), deviation=1e-4)
    assert believed[0] == pytest.approx(1, abs=0.01)


def test_an_overconfident_part_does_not_make_the_other_small():
    """Both are equally informative, but the logits of one are three times too large."""
    rng = np.random.default_rng(0)
    codes = rng.integers(5, size=4000)
    text, votes = (np.eye(5)[codes] + rng.normal(size=(4000, 5)) for _ in range(2))
    found, _ = most_probable_weights([3 * text, votes], codes, np.ones(4000))
    assert found[1] / found[0] == pytest.approx(3, rel=0.2)
