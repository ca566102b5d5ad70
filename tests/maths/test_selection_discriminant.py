"""The weight of Gaussian discriminants, chosen on held-out shots."""

import numpy as np
import pytest
from formulas import plain_logits

from sktip._maths.discriminant import ClassStatistics
from sktip._maths.selection.discriminant import chosen_weight, held_out_groups


@pytest.mark.parametrize("shots", [(5, 6, 4, 8, 5), (2, 2, 2, 2, 2, 2), (9, 9), (1, 3, 1, 2)])
def test_held_out_shots_are_not_seen(features, shots):
    X, y, W = features(shots, d=6)
    groups = list(held_out_groups(X[:, None], y, None, len(shots)))
    held_out = np.concatenate([group.rows for group in groups])
    several = np.flatnonzero(np.array(shots)[y] > 1)
    np.testing.assert_array_equal(np.sort(held_out), several)
    for group in groups:
        assert set(y[group.rows]) <= set(group.classes)
        kept = np.setdiff1d(np.arange(len(y)), group.rows)
        plain = plain_logits(X[group.rows], X[kept], y[kept], 0 * W, alpha=1)
        np.testing.assert_allclose(group.votes, plain[:, group.classes], atol=1e-8)


def test_two_shots_do_not_shape_the_covariance_they_are_judged_by(features):
    """With two shots, one held out, the covariance is that of classes that do not compete."""
    X, y, _ = features((2,) * 8, d=6)
    for group in held_out_groups(X[:, None], y, None, 8):
        moved = X.copy()
        inside = np.setdiff1d(np.flatnonzero(np.isin(y, group.classes)), group.rows)
        # Other means, the same spread: discriminants change by the means alone.
        moved[inside] += 0.3
        after = {tuple(p.rows): p for p in held_out_groups(moved[:, None], y, None, 8)}
        others = np.flatnonzero(~np.isin(y, group.classes))
        scatter = sum(np.cov(X[y == c].T, bias=True) * 2 for c in set(y[others]))
        n = len(X) - len(group.rows)
        P = 6 * np.linalg.inv((n - 1) * scatter / n + np.trace(scatter) / n * np.eye(6))
        mu = np.stack([moved[inside][y[inside] == c][0] for c in group.classes])
        own = np.log(8) + np.einsum("cd,de,ce->c", mu, P, mu) / 2
        votes = X[group.rows] @ P @ mu.T - own
        np.testing.assert_allclose(after[tuple(group.rows)].votes, votes, atol=1e-8)


def test_logits_are_those_of_the_groups_at_the_weight_chosen(features):
    X, y, W = features((6,) * 5, d=6)
    chosen = chosen_weight(
        ClassStatistics.of(X, y, 5), X[:, None], y, None, text=W, logit_scale=10.0
    )
    order = np.lexsort(W.T[::-1])
    groups = list(held_out_groups(X[:, None], np.argsort(order)[y], None, 5))
    assert len(chosen.logits) == sum(len(group.rows) for group in groups)
    start = 0
    ratios = []
    for group in groups:
        own = chosen.logits[start : start + len(group.rows), : len(group.classes)]
        start += len(group.rows)
        votes = own - 10 * X[group.rows] @ W[order][group.classes].T
        ratios.append(votes / group.votes)
        np.testing.assert_allclose(ratios[-1], ratios[0][0, 0])
    # Half of the shots of so many are believed to be worth less than all.
    assert ratios[0][0, 0] < chosen.alpha < 2 * ratios[0][0, 0]


def test_views_of_a_shot_are_held_out_together(features):
    X, y, _ = features((4,) * 6, d=6)
    views = np.stack([X, X + 0.01], axis=1)
    for group in held_out_groups(views, y, None, 6):
        assert (np.bincount(group.rows // 2)[np.unique(group.rows // 2)] == 2).all()
