"""Scores of a search, the point chosen and the paper's."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, ParameterGrid, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from tip_shots import ALPHA, BETA, SCALE, classifier

from sktip import TipAdapterClassifierCV
from sktip.inspection import AlphaBetaDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")

GRID = {"alpha": [4.0, 0.0, 0.5], "beta": [1.0, 30.0, 5.5, 11.0]}


@pytest.fixture
def searched(shots):
    X, y, W = shots
    return GridSearchCV(classifier(W), GRID, cv=2).fit(X, y)


def check_points(display, alpha, beta):
    assert display.chosen_.get_xydata().tolist() == [[beta, alpha]]
    assert display.default_.get_xydata().tolist() == [[5.5, 1.0]]


def check_cells(display):
    """Each pair lies within the cell that has its score."""
    corners = display.surface_.get_coordinates()
    betas, alphas = corners[0, :, 0], corners[:, 0, 1]
    for edges, values in ((betas, display.betas), (alphas, display.alphas)):
        assert len(edges) == len(values) + 1
        assert (np.diff(edges) > 0).all()
        assert (edges[:-1] <= values).all()
        assert (values < edges[1:]).all()
    np.testing.assert_array_equal(display.surface_.get_array(), display.scores)


def test_grid_search(searched):
    display = AlphaBetaDisplay.from_estimator(searched)
    np.testing.assert_array_equal(display.alphas, [0, 0.5, 4])
    np.testing.assert_array_equal(display.betas, [1, 5.5, 11, 30])
    results = searched.cv_results_
    for alpha, beta, score in zip(
        results["param_alpha"], results["param_beta"], results["mean_test_score"], strict=True
    ):
        row, column = (
            np.searchsorted([0, 0.5, 4], alpha),
            np.searchsorted([1, 5.5, 11, 30], beta),
        )
        assert display.scores[row, column] == score
    check_cells(display)
    check_points(display, searched.best_params_["alpha"], searched.best_params_["beta"])
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_yscale() == "symlog"
    ticks = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert ticks == ["0", "0.5", "4"]
    assert display.ax_.get_xlabel() == "beta: sharpness"
    assert display.ax_.get_ylabel() == "alpha: weight of the cache"
    assert display.colorbar_.ax.get_ylabel() == "Accuracy"


def test_steps_of_a_pipeline(shots, searched):
    X, y, W = shots
    pipe = make_pipeline(Normalizer(), classifier(W))
    grid = {f"tipadapterclassifier__{name}": values for name, values in GRID.items()}
    display = AlphaBetaDisplay.from_estimator(GridSearchCV(pipe, grid, cv=2).fit(X, y))
    expected = AlphaBetaDisplay.from_estimator(searched)
    np.testing.assert_array_equal(display.scores, expected.scores)
    assert (display.alpha, display.beta) == (expected.alpha, expected.beta)


def test_other_parameters_give_their_best(shots):
    X, y, W = shots
    grid = {**GRID, "logit_scale": [0.1, 5.0, 40.0]}
    search = GridSearchCV(classifier(W), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    display = AlphaBetaDisplay.from_estimator(search)
    order = list(ParameterGrid(grid))
    for row, alpha in enumerate([0, 0.5, 4]):
        for column, beta in enumerate([1, 5.5, 11, 30]):
            scores = [
                score
                for params, score in zip(order, search.cv_results_["mean_test_score"], strict=True)
                if (params["alpha"], params["beta"]) == (alpha, beta)
            ]
            assert len(scores) == 3
            assert display.scores[row, column] == max(scores)
    assert display.scores.max() == search.best_score_
    assert display.score_name == "Negative log loss"


def test_several_metrics_and_grids(shots):
    X, y, W = shots
    grids = [GRID, {"fine_tune": [True], "n_epochs": [1]}]
    search = GridSearchCV(
        classifier(W), grids, cv=2, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss"
    ).fit(X, y)
    display = AlphaBetaDisplay.from_estimator(search)
    # The other grid is at the alpha and beta of the estimator.
    assert display.alphas.tolist() == [0, 0.5, ALPHA, 4]
    assert display.betas.tolist() == [1, BETA, 5.5, 11, 30]
    assert display.scores[2, 1] == search.cv_results_["mean_test_neg_log_loss"][-1]
    assert np.isfinite(display.scores).sum() == 13
    assert display.score_name == "Negative log loss"
    unnamed = GridSearchCV(
        classifier(W), GRID, cv=2, scoring=["accuracy", "neg_log_loss"], refit=False
    )
    with pytest.raises(ValueError, match="several metrics and refit=False"):
        AlphaBetaDisplay.from_estimator(unnamed.fit(X, y))


def test_scattered_pairs_are_points(shots):
    X, y, W = shots
    space = {"alpha": np.geomspace(0.1, 10, 50).tolist(), "beta": np.arange(1, 51).tolist()}
    search = RandomizedSearchCV(classifier(W), space, n_iter=8, cv=2, random_state=0).fit(X, y)
    display = AlphaBetaDisplay.from_estimator(search)
    drawn = {
        (*map(float, point), float(score))
        for point, score in zip(
            display.surface_.get_offsets(), display.surface_.get_array(), strict=True
        )
    }
    results = search.cv_results_
    expected = zip(
        results["param_beta"].astype(float),
        results["param_alpha"].astype(float),
        results["mean_test_score"],
        strict=True,
    )
    assert drawn == set(expected)
    assert len(drawn) == 8


def test_self_tuned_surface(shots):
    X, y, W = shots
    clf = TipAdapterClassifierCV(
        text_features=W, alphas=[0.1, 1, 5], betas=[0, 2, 20], scoring="accuracy"
    ).fit(X, y)
    display = AlphaBetaDisplay.from_estimator(make_pipeline(Normalizer(), clf))
    np.testing.assert_array_equal(display.scores, clf.scores_)
    check_cells(display)
    check_points(display, clf.alpha_, clf.beta_)
    assert display.ax_.get_xscale() == "symlog"
    assert display.score_name == "Accuracy"


def test_self_tuned_ridge(shots):
    X, y, W = shots
    clf = TipAdapterClassifierCV(text_features=W, logit_scale=SCALE).fit(X, y)
    display = AlphaBetaDisplay.from_estimator(clf)
    points = np.column_stack([clf.betas_, clf.alphas_])
    np.testing.assert_array_equal(display.surface_.get_offsets(), points)
    np.testing.assert_array_equal(display.surface_.get_array(), clf.scores_)
    np.testing.assert_array_equal(display.ax_.lines[0].get_xydata(), points)
    check_points(display, clf.alpha_, clf.beta_)
    assert display.score_name == "Negative log loss"
    ticks = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert ticks == ["0.5", "1", "2", "5", "10", "20", "50"]


@pytest.mark.parametrize(
    ("alphas", "betas"), [([1.0], [5.5]), ([0.0], [0.0, 1.0]), ([0.0, 2.0], [3.0])]
)
def test_grids_of_one_value(alphas, betas):
    scores = np.arange(len(alphas) * len(betas)).reshape(len(alphas), len(betas))
    display = AlphaBetaDisplay(
        alphas=alphas, betas=betas, scores=scores, alpha=alphas[0], beta=betas[0]
    )
    assert display.plot() is display
    check_cells(display)
    display.figure_.canvas.draw()


def test_failed_fits_stay_blank(searched):
    scores = AlphaBetaDisplay.from_estimator(searched).scores.copy()
    scores[1, 2] = np.nan
    parameters = {"alphas": [0, 0.5, 4], "betas": [1, 5.5, 11, 30], "alpha": 4, "beta": 11}
    display = AlphaBetaDisplay(scores=scores, **parameters).plot()
    mask = np.ma.getmaskarray(display.surface_.get_array())
    np.testing.assert_array_equal(np.argwhere(mask), [[1, 2]])
    with pytest.raises(ValueError, match="no scores: every fit failed"):
        AlphaBetaDisplay(scores=np.full((3, 4), np.nan), **parameters).plot()


def test_on_axes_of_the_user(searched):
    figure, ax = pyplot.subplots()
    display = AlphaBetaDisplay.from_estimator(searched, ax=ax, cmap="viridis")
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert display.surface_.get_cmap().name == "viridis"


def test_errors(shots, features):
    X, y, W = shots
    show = AlphaBetaDisplay.from_estimator
    for unfitted in (GridSearchCV(classifier(W), GRID), TipAdapterClassifierCV()):
        with pytest.raises(NotFittedError):
            show(unfitted)
    with pytest.raises(TypeError, match="TipAdapterClassifier is not a search"):
        show(classifier(W).fit(X, y))
    only_beta = GridSearchCV(classifier(W), {"beta": [1, 2]}, cv=2).fit(X, y)
    with pytest.raises(
        ValueError, match=r"varied \['beta'\], but the display needs alpha and beta"
    ):
        show(only_beta)
    X, y, W = features((1, 1, 1))
    with pytest.warns(UserWarning, match="one shot"):
        single = TipAdapterClassifierCV(text_features=W).fit(X, y)
    with pytest.raises(ValueError, match="no class had a second shot"):
        show(single)


@pytest.mark.parametrize("exponent", [0.5, 2, 12])
def test_a_fine_grid_stays_legible(exponent):
    alphas = np.logspace(-exponent, exponent, 121)
    betas = np.linspace(0, 100, 101)
    scores = np.random.default_rng(0).uniform(size=(121, 101))
    display = AlphaBetaDisplay(alphas=alphas, betas=betas, scores=scores, alpha=1, beta=2).plot()
    display.figure_.canvas.draw()
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        found = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert 3 <= len(found) <= 14
        for i, box in enumerate(found):
            assert not any(box.overlaps(other) for other in found[i + 1 :])
    pyplot.close(display.figure_)
