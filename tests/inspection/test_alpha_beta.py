"""Scores of a search, the point chosen and the paper's."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from tip_shots import SCALE, classifier

from sktip import TipAdapterClassifierCV
from sktip.inspection import AlphaBetaDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")

GRID = {"alpha": [4.0, 0.0, 0.5], "beta": [1.0, 30.0, 5.5, 11.0]}
VALUES = {"alphas": [0, 0.5, 4], "betas": [1, 5.5, 11, 30], "alpha": 4, "beta": 11}


def check_cells(display):
    """Each pair lies within the cell that has its score."""
    corners = display.surface_.get_coordinates()
    betas, alphas = corners[0, :, 0], corners[:, 0, 1]
    for edges, values in ((betas, display.betas), (alphas, display.alphas)):
        assert len(edges) == len(values) + 1
        assert (edges[:-1] < values).all()
        assert (values < edges[1:]).all()
    np.testing.assert_array_equal(display.surface_.get_array(), display.scores)


def by_pair(search, metric="score"):
    """The scores of each pair of alpha and beta of a search."""
    found = {}
    results = search.cv_results_
    for params, score in zip(results["params"], results[f"mean_test_{metric}"], strict=True):
        pair = [params[key] for key in sorted(params) if key.endswith(("alpha", "beta"))]
        found.setdefault(tuple(pair), []).append(score)
    return found


def check_scores(display, expected):
    for (alpha, beta), scores in expected.items():
        row, column = np.searchsorted(display.alphas, alpha), np.searchsorted(display.betas, beta)
        assert display.scores[row, column] == max(scores)


@pytest.mark.parametrize("prefix", ["", "tipadapterclassifier__"])
def test_grid_search_of_a_classifier_or_a_pipeline(shots, prefix):
    X, y, W = shots
    estimator = make_pipeline(Normalizer(), classifier(W)) if prefix else classifier(W)
    search = GridSearchCV(estimator, {prefix + k: v for k, v in GRID.items()}, cv=2).fit(X, y)
    _, ax = pyplot.subplots()
    display = AlphaBetaDisplay.from_estimator(search, ax=ax, cmap="viridis")
    assert (display.ax_, display.surface_.get_cmap().name) == (ax, "viridis")
    np.testing.assert_array_equal(display.alphas, VALUES["alphas"])
    np.testing.assert_array_equal(display.betas, VALUES["betas"])
    check_scores(display, by_pair(search))
    check_cells(display)
    best = search.best_params_
    assert display.chosen_.get_xydata().tolist() == [
        [best[f"{prefix}beta"], best[f"{prefix}alpha"]]
    ]
    assert display.default_.get_xydata().tolist() == [[5.5, 1.0]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "0.5", "4"]
    assert display.colorbar_.ax.get_ylabel() == "Accuracy"


def test_other_parameters_give_their_best(shots):
    X, y, W = shots
    grids = [{**GRID, "logit_scale": [0.1, 5.0]}, {"fine_tune": [True], "n_epochs": [1]}]
    search = GridSearchCV(
        classifier(W), grids, cv=2, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss"
    ).fit(X, y)
    display = AlphaBetaDisplay.from_estimator(search)
    expected = by_pair(search, "neg_log_loss")
    assert [len(scores) for scores in expected.values()] == [2] * 12 + [1]
    del expected[()]
    assert display.scores.shape == (3, 4)
    check_scores(display, expected)
    assert display.score_name == "Negative log loss"
    with pytest.raises(ValueError, match="several metrics and refit=False"):
        AlphaBetaDisplay.from_estimator(search.set_params(refit=False))


def test_scattered_pairs_are_points(shots):
    X, y, W = shots
    space = {"alpha": np.geomspace(0.1, 10, 50).tolist(), "beta": np.arange(1, 51).tolist()}
    search = RandomizedSearchCV(classifier(W), space, n_iter=8, cv=2, random_state=0).fit(X, y)
    points = AlphaBetaDisplay.from_estimator(search).surface_
    drawn = zip(*points.get_offsets().T, points.get_array(), strict=True)
    expected = [(beta, alpha, score) for (alpha, beta), (score,) in by_pair(search).items()]
    assert sorted(map(tuple, np.array(list(drawn)))) == sorted(expected)


def test_self_tuned(shots):
    X, y, W = shots
    grid = TipAdapterClassifierCV(
        text_features=W, alphas=[0.1, 1, 5], betas=[0, 2, 20], scoring="accuracy"
    ).fit(X, y)
    display = AlphaBetaDisplay.from_estimator(make_pipeline(Normalizer(), grid))
    np.testing.assert_array_equal(display.scores, grid.scores_)
    check_cells(display)
    assert display.chosen_.get_xydata().tolist() == [[grid.beta_, grid.alpha_]]
    assert display.score_name == "Accuracy"

    ridge = TipAdapterClassifierCV(text_features=W, logit_scale=SCALE).fit(X, y)
    display = AlphaBetaDisplay.from_estimator(ridge)
    points = np.column_stack([ridge.betas_, ridge.alphas_])
    np.testing.assert_array_equal(display.surface_.get_offsets(), points)
    np.testing.assert_array_equal(display.surface_.get_array(), ridge.scores_)
    np.testing.assert_array_equal(display.ax_.lines[0].get_xydata(), points)
    assert display.score_name == "Negative log loss"


@pytest.mark.parametrize(
    ("alphas", "betas"), [([1.0], [5.5]), ([0.0], [0.0, 1.0]), ([0.0, 2.0], [3.0])]
)
def test_grids_of_one_value(alphas, betas):
    scores = np.arange(len(alphas) * len(betas)).reshape(len(alphas), len(betas))
    display = AlphaBetaDisplay(
        alphas=alphas, betas=betas, scores=scores, alpha=alphas[0], beta=betas[0]
    )
    check_cells(display.plot())
    display.figure_.canvas.draw()


def test_failed_fits_stay_blank():
    scores = np.arange(12.0).reshape(3, 4)
    scores[1, 2] = np.nan
    display = AlphaBetaDisplay(scores=scores, **VALUES).plot()
    mask = np.ma.getmaskarray(display.surface_.get_array())
    np.testing.assert_array_equal(np.argwhere(mask), [[1, 2]])
    with pytest.raises(ValueError, match="no scores: every fit failed"):
        AlphaBetaDisplay(scores=np.full((3, 4), np.nan), **VALUES).plot()


def test_errors(shots):
    X, y, W = shots
    show = AlphaBetaDisplay.from_estimator
    with pytest.raises(NotFittedError):
        show(GridSearchCV(classifier(W), GRID))
    with pytest.raises(TypeError, match="TipAdapterClassifier is not a search"):
        show(classifier(W).fit(X, y))
    only_beta = GridSearchCV(classifier(W), {"beta": [1, 2]}, cv=2).fit(X, y)
    with pytest.raises(ValueError, match=r"varied \['beta'\], but the display needs alpha"):
        show(only_beta)


@pytest.mark.parametrize("exponent", [0.5, 2, 12])
def test_a_fine_grid_stays_legible(exponent):
    alphas = np.logspace(-exponent, exponent, 121)
    scores = np.random.default_rng(0).uniform(size=(121, 101))
    display = AlphaBetaDisplay(
        alphas=alphas, betas=np.linspace(0, 100, 101), scores=scores, alpha=1, beta=2
    ).plot()
    display.figure_.canvas.draw()
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        low, high = axis.get_view_interval()
        found = [
            tick.label1.get_window_extent()
            for tick in axis.get_major_ticks()
            if low <= tick.get_loc() <= high
        ]
        assert 3 <= len(found) <= 14
        for i, box in enumerate(found):
            assert not any(box.overlaps(other) for other in found[i + 1 :])
