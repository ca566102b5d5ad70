"""The displays: what is drawn is what the classifier, the search and the scores say."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer

from sktip import CLIPFeatureTransformer, TipAdapterClassifier, TipAdapterClassifierCV
from sktip.exceptions import ImageReadError
from sktip.inspection import AlphaBetaDisplay, CacheEvidenceDisplay, ShotsCurveDisplay
from sktip.model_selection import FewShotSplit

pyplot = pytest.importorskip("matplotlib.pyplot")

ALPHA, BETA, SCALE = 1.7, 4.2, 9.0
NAMES = np.array(["bee", "cat", "dog", "emu"])


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def shots(features):
    """Shots of four classes, in mixed order: X, y, text features."""
    return features((3, 5, 2, 4))


def classifier(text=None, **parameters):
    defaults = {"alpha": ALPHA, "beta": BETA, "logit_scale": SCALE}
    return TipAdapterClassifier(text_features=text, **{**defaults, **parameters})


class TestNearestShots:
    """The largest votes, as arrays."""

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("n", [1, 4, 14])
    def test_equals_the_formula_sorted(self, features, shots, n, weighted):
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

    def test_adds_up_to_the_caches_part_of_the_logits(self, features, shots):
        X, y, W = shots
        Q = features((5, 5), seed=1)[0]
        clf = classifier(W).fit(X, y, sample_weight=np.linspace(0.2, 2, len(y)))
        _, votes, labels = clf.nearest_shots(Q, len(y))
        sums = np.stack([(votes * (labels == label)).sum(axis=1) for label in range(4)], axis=1)
        np.testing.assert_allclose(SCALE * Q @ W.T + sums, clf.decision_function(Q), atol=1e-9)

    def test_many_queries_come_in_blocks(self, features, shots, monkeypatch):
        from sktip._maths import cache

        X, y, W = shots
        Q = features((40,) * 5, seed=1)[0]
        clf = classifier(W).fit(X, y)
        whole = clf.nearest_shots(Q, 3)
        monkeypatch.setattr(cache, "BLOCK_ELEMENTS", 16 * len(X))
        sizes = []
        affinity = cache.affinity

        def watched(queries, keys, beta):
            sizes.append(len(queries))
            return affinity(queries, keys, beta)

        monkeypatch.setattr(cache, "affinity", watched)
        for part, expected in zip(clf.nearest_shots(Q, 3), whole, strict=True):
            np.testing.assert_allclose(part, expected, atol=1e-12)
        assert max(sizes) == 16
        assert sum(sizes) == 200

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_equal_votes_go_by_row(self, dtype):
        X = np.eye(3, dtype=dtype)[[0, 1, 1, 0, 1, 2, 1, 1]]
        clf = classifier(np.eye(3, dtype=dtype)).fit(X, [0, 1, 2, 0, 1, 2, 0, 1])
        Q = np.eye(3, dtype=dtype)[[1, 0, 1]]
        assert clf.nearest_shots(Q, 3)[0].tolist() == [[1, 2, 4], [0, 3, 1], [1, 2, 4]]
        assert clf.nearest_shots(Q, 8)[0][0].tolist() == [1, 2, 4, 6, 7, 0, 3, 5]
        assert clf.nearest_shots(Q, 1)[0].tolist() == [[1], [0], [1]]

    def test_alpha_zero_has_the_order_of_any_alpha(self, shots):
        X, y, W = shots
        clf = classifier(W).fit(X, y)
        indices = clf.nearest_shots(X, 4)[0]
        none, votes, _ = clf.set_params(alpha=0.0).nearest_shots(X, 4)
        np.testing.assert_array_equal(none, indices)
        assert not votes.any()

    def test_every_cache_has_it(self, shots):
        X, y, W = shots
        clf = TipAdapterClassifierCV(text_features=W, logit_scale=SCALE).fit(X, y)
        _, votes, _ = clf.nearest_shots(X, 2)
        np.testing.assert_allclose(votes[:, 0], clf.alpha_, rtol=1e-9)
        learned = classifier(W, fine_tune=True, n_epochs=2, random_state=0).fit(X, y)
        expected = ALPHA * np.exp(-BETA * (1 - X @ learned.cache_keys_.T)).max(axis=1)
        np.testing.assert_allclose(learned.nearest_shots(X, 1)[1][:, 0], expected, atol=1e-9)
        more = classifier(W).fit(X[:10], y[:10]).partial_fit(X[10:], y[10:])
        np.testing.assert_array_equal(more.nearest_shots(X, 1)[0][:, 0], np.arange(len(X)))

    def test_images(self, clip, digits):
        images, labels = digits
        clf = TipAdapterClassifier(clip, templates="the digit {}").fit(images[:30], labels[:30])
        indices, votes, found = clf.nearest_shots([images[7], images[3]], 2)
        assert indices[:, 0].tolist() == [7, 3]
        assert found[:, 0].tolist() == [labels[7], labels[3]]
        np.testing.assert_allclose(votes[:, 0], 1, atol=1e-5)

    def test_errors(self, shots):
        X, y, W = shots
        with pytest.raises(NotFittedError):
            classifier(W).nearest_shots(X, 1)
        clf = classifier(W).fit(X, y)
        for n in (15, 0, -1, 2.0, None):
            with pytest.raises(ValueError, match=f"n={n}; .* from 1 to .*shots in the cache, 14"):
                clf.nearest_shots(X, n)


class TestCacheEvidence:
    """One prediction, taken apart."""

    @pytest.fixture
    def fitted(self, shots):
        X, y, W = shots
        weights = np.linspace(0.5, 2, len(y))
        return classifier(W).fit(X, NAMES[y], sample_weight=weights)

    @pytest.fixture
    def query(self, features):
        return features((1, 1), seed=3)[0][0]

    def test_parts_are_the_classifiers(self, fitted, query):
        display = CacheEvidenceDisplay.from_estimator(fitted, query, n_shots=3)
        np.testing.assert_allclose(display.prior, SCALE * fitted.text_features_ @ query)
        logits = fitted.decision_function([query])[0]
        np.testing.assert_allclose(display.prior + display.cache, logits, atol=1e-9)
        np.testing.assert_array_equal(display.classes, fitted.classes_)
        found = (display.indices, display.weights, display.labels)
        for mine, arrays in zip(found, fitted.nearest_shots([query], 3), strict=True):
            np.testing.assert_array_equal(mine, arrays[0])

    def test_bars_differ_as_logits_do(self, fitted, query):
        display = CacheEvidenceDisplay.from_estimator(fitted, query, n_classes=3)
        logits = fitted.decision_function([query])[0]
        top = np.argsort(-logits)[:3]
        ticks = [label.get_text() for label in display.ax_.get_yticklabels()]
        assert ticks == NAMES[top].tolist()
        prior, cache = display.prior_bars_.patches, display.cache_bars_.patches
        widths = display.prior[top] - display.prior[top].min()
        np.testing.assert_allclose([bar.get_width() for bar in prior], widths)
        np.testing.assert_allclose([bar.get_width() for bar in cache], display.cache[top])
        np.testing.assert_allclose([bar.get_x() for bar in cache], widths)
        ends = np.array([bar.get_x() + bar.get_width() for bar in cache])
        np.testing.assert_allclose(ends[0] - ends, logits[top[0]] - logits[top], atol=1e-9)
        heights = [bar.get_y() + bar.get_height() / 2 for bar in cache]
        np.testing.assert_allclose(heights, display.ax_.get_yticks())
        bottom, top_of_axis = display.ax_.get_ylim()
        assert bottom > heights[-1] > heights[0] > top_of_axis
        assert display.ax_.get_xlim()[1] > ends[0]

    def test_probabilities_are_written(self, fitted, query):
        display = CacheEvidenceDisplay.from_estimator(fitted, query)
        assert len(display.cache_bars_) == 4
        probabilities = np.sort(fitted.predict_proba([query])[0])[::-1]
        texts = [text.get_text() for text in display.ax_.texts]
        for text, probability in zip(texts, probabilities, strict=True):
            if 0.005 <= probability < 0.995:
                assert text == f"{100 * probability:.0f} %"
            else:
                assert text == ("<1 %" if probability < 0.5 else ">99 %")
        winner = fitted.predict([query])[0]
        assert display.ax_.get_title() == f"prediction: {winner} ({texts[0]})"
        assert display.ax_.get_xlabel() == "logit, above the lowest text prior shown"
        legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert legend == ["text prior", "cache: votes of all shots"]

    def test_extreme_probabilities(self):
        display = CacheEvidenceDisplay(
            classes=["a", "b", "c"], prior=[800, 0, 794], cache=[0, 0, 0], indices=[], weights=[],
            labels=[],
        )  # fmt: skip
        texts = [text.get_text() for text in display.plot().ax_.texts]
        assert texts == [">99 %", "<1 %", "0 %"]

    def test_pictures(self, clip, digits):
        images, labels = digits
        clf = TipAdapterClassifier(clip, templates="the digit {}").fit(images[:40], labels[:40])
        display = CacheEvidenceDisplay.from_estimator(clf, images[50], shots=images[:40], n_shots=4)
        indices, votes, found = (part[0] for part in clf.nearest_shots([images[50]], 4))
        assert len(display.image_axes_) == 5
        pictures = [ax.get_images()[0].get_array() for ax in display.image_axes_]
        for picture, image in zip(
            pictures, [images[50], *(images[i] for i in indices)], strict=True
        ):
            np.testing.assert_array_equal(picture, np.stack([image] * 3, axis=2))
        winner = clf.predict([images[50]])[0]
        assert display.image_axes_[0].get_title() == "query"
        for ax, label, vote in zip(display.image_axes_[1:], found, votes, strict=True):
            assert ax.get_title() == f"{label}\n{vote:+#.3g}"
            solid = ax.spines["left"].get_linestyle() in ("-", "solid")
            assert solid == (label == winner)
        assert display.ax_ not in display.image_axes_
        assert {ax.figure for ax in display.image_axes_} == {display.figure_}
        alone = CacheEvidenceDisplay.from_estimator(clf, images[50])
        assert len(alone.image_axes_) == 1

    def test_images_features_pipelines_and_searches_say_the_same(
        self, clip, digits, digit_features
    ):
        images, labels = digits
        F = digit_features[0]
        parameters = {"templates": "the digit {}"}
        on_features = TipAdapterClassifier(clip, input="features", **parameters)
        on_images = TipAdapterClassifier(clip, **parameters).fit(images[:40], labels[:40])
        pipe = make_pipeline(clip, clone(on_features)).fit(images[:40], labels[:40])
        search = GridSearchCV(clone(on_features), {"alpha": [1.0]}, cv=2).fit(F[:40], labels[:40])
        steps = make_pipeline(Normalizer(), clone(on_features)).fit(F[:40], labels[:40])
        single = Pipeline([("clf", clone(on_features))]).fit(F[:40], labels[:40])
        expected = CacheEvidenceDisplay.from_estimator(on_images, images[50], shots=images[:40])
        for estimator, query in (
            (on_features.fit(F[:40], labels[:40]), F[50]),
            (pipe, images[50]),
            (search, F[50].tolist()),
            (steps, F[50]),
            (single, F[50]),
        ):
            picture = None if query is images[50] else images[50]
            display = CacheEvidenceDisplay.from_estimator(
                estimator, query, shots=images[:40], query_image=picture
            )
            for name in ("prior", "cache", "weights"):
                np.testing.assert_allclose(
                    getattr(display, name), getattr(expected, name), atol=1e-4
                )
            np.testing.assert_array_equal(display.labels, expected.labels)
            assert len(display.image_axes_) == 6

    def test_files_are_read_as_the_encoder_reads_them(self, clip, digits, tmp_path):
        images, labels = digits
        paths = [tmp_path / f"{i}.png" for i in range(20)]
        for path, image in zip(paths, images[:20], strict=True):
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(np.rot90(image).copy()).save(path, exif=exif)
        clf = TipAdapterClassifier(clip).fit(paths, labels[:20])
        kept = set(clf.nearest_shots([paths[4]], 3)[0][0])
        for i in set(range(20)) - kept:
            paths[i].unlink()  # Only what is shown is read.
        display = CacheEvidenceDisplay.from_estimator(
            clf, str(paths[4]), shots=pd.Series(paths), n_shots=3
        )
        for ax in display.image_axes_[:2]:
            np.testing.assert_array_equal(ax.get_images()[0].get_array()[:, :, 0], images[4])
        lost = display.indices[1]
        paths[lost].unlink()
        with pytest.raises(ImageReadError, match=f"image {lost} .*{lost}.png.*no such file"):
            CacheEvidenceDisplay.from_estimator(clf, paths[4], shots=paths, n_shots=3)

    def test_large_pictures_are_kept_small_and_the_users_stay(self, clip, digits):
        images, labels = digits
        clf = TipAdapterClassifier(clip).fit(images[:20], labels[:20])
        photo = Image.fromarray(np.full((1000, 500, 3), 99, np.uint8))
        display = CacheEvidenceDisplay.from_estimator(clf, photo)
        assert photo.size == (500, 1000)
        assert display.query_picture.size == (160, 320)

    def test_no_text_prior(self, shots, query):
        X, y, _ = shots
        with pytest.warns(UserWarning, match="no text prior"):
            clf = classifier().fit(X, y)
        display = CacheEvidenceDisplay.from_estimator(clf, query)
        assert display.prior is None
        assert display.prior_bars_ is None
        logits = np.sort(clf.decision_function([query])[0])[::-1]
        widths = [bar.get_width() for bar in display.cache_bars_.patches]
        np.testing.assert_allclose(widths, logits, atol=1e-12)
        assert display.ax_.get_xlabel() == "logit"

    def test_two_classes_and_a_small_cache(self, features):
        X, y, W = features((2, 1))
        clf = classifier(W).fit(X, y)
        display = CacheEvidenceDisplay.from_estimator(clf, X[0])
        assert len(display.indices) == 3
        assert len(display.cache_bars_) == 2
        difference = np.diff(display.prior + display.cache)[0]
        np.testing.assert_allclose(difference, clf.decision_function(X[:1])[0], atol=1e-9)

    def test_long_names(self, features):
        X, y, W = features((2, 2))
        names = ["golden_retriever", "2012 Aston Martin V8 Vantage Convertible, in the rain"]
        clf = classifier(W, class_names=names).fit(X, np.array(sorted(names))[y])
        display = CacheEvidenceDisplay.from_estimator(clf, X[0])
        ticks = {label.get_text() for label in display.ax_.get_yticklabels()}
        assert ticks == {"golden retriever", "2012 Aston Martin V8\nVantage Convertible, ..."}

    def test_on_axes_of_the_user(self, fitted, query, digits):
        figure, (left, right) = pyplot.subplots(1, 2)
        place = right.get_position()
        display = CacheEvidenceDisplay.from_estimator(
            fitted, query, shots=digits[0][:14], query_image=digits[0][20], n_shots=2, ax=right
        )
        assert display.ax_ is right
        assert display.figure_ is figure
        assert figure.axes == [left, right, *display.image_axes_]
        figure.canvas.draw()
        for ax in (right, *display.image_axes_):
            inner = ax.get_position()
            assert inner.x0 >= place.x0 - 1e-9
            assert inner.x1 <= place.x1 + 1e-9
            assert inner.y0 >= place.y0 - 1e-9
            assert inner.y1 <= place.y1 + 1e-9
        assert min(ax.get_position().y0 for ax in display.image_axes_) > right.get_position().y1
        free = pyplot.figure().add_axes((0.1, 0.1, 0.8, 0.8))
        assert CacheEvidenceDisplay.from_estimator(fitted, query, ax=free).ax_ is free
        with pytest.raises(ValueError, match="ax has no place in a grid"):
            CacheEvidenceDisplay.from_estimator(fitted, query, query_image=digits[0][0], ax=free)

    def test_errors(self, fitted, query, digits, shots):
        X, y, W = shots
        show = CacheEvidenceDisplay.from_estimator
        with pytest.raises(NotFittedError):
            show(classifier(W), query)
        with pytest.raises(TypeError, match="LogisticRegression has no cache of shots"):
            show(LogisticRegression().fit(X, y), query)
        with pytest.raises(ValueError, match="shots has 3 images, but the cache has 14 shots"):
            show(fitted, query, shots=digits[0][:3])
        for wrong, shape in ((X[:1], "1, 8"), ("cat.jpg", "")):
            with pytest.raises(ValueError, match=rf"query has shape \({shape}\);.* such as X\[0\]"):
                show(fitted, wrong)
        with pytest.raises(ValueError, match="7 features"):
            show(fitted, query[:7])
        with pytest.raises(ValueError, match="n_shots == 0"):
            show(fitted, query, n_shots=0)
        with pytest.raises(ValueError, match="n_classes == 0"):
            show(fitted, query, n_classes=0)

    def test_query_that_is_no_image(self, clip, digits):
        clf = TipAdapterClassifier(clip).fit(digits[0][:20], digits[1][:20])
        with pytest.raises(ImageReadError, match="image 0: a list is not an image"):
            CacheEvidenceDisplay.from_estimator(clf, [digits[0][0]])


class TestAlphaBeta:
    """Scores of a search, the point chosen and the paper's."""

    GRID = {"alpha": [4.0, 0.0, 0.5], "beta": [1.0, 30.0, 5.5, 11.0]}

    @pytest.fixture
    def searched(self, shots):
        X, y, W = shots
        return GridSearchCV(classifier(W), self.GRID, cv=2).fit(X, y)

    def check_points(self, display, alpha, beta):
        assert display.chosen_.get_xydata().tolist() == [[beta, alpha]]
        assert display.default_.get_xydata().tolist() == [[5.5, 1.0]]

    def check_cells(self, display):
        """Each pair lies within the cell that has its score."""
        corners = display.surface_.get_coordinates()
        betas, alphas = corners[0, :, 0], corners[:, 0, 1]
        for edges, values in ((betas, display.betas), (alphas, display.alphas)):
            assert len(edges) == len(values) + 1
            assert (np.diff(edges) > 0).all()
            assert (edges[:-1] <= values).all()
            assert (values < edges[1:]).all()
        np.testing.assert_array_equal(display.surface_.get_array(), display.scores)

    def test_grid_search(self, searched):
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
        self.check_cells(display)
        self.check_points(display, searched.best_params_["alpha"], searched.best_params_["beta"])
        assert display.ax_.get_xscale() == "log"
        assert display.ax_.get_yscale() == "symlog"
        ticks = [label.get_text() for label in display.ax_.get_yticklabels()]
        assert ticks == ["0", "0.5", "4"]
        assert display.ax_.get_xlabel() == "beta: sharpness"
        assert display.ax_.get_ylabel() == "alpha: weight of the cache"
        assert display.colorbar_.ax.get_ylabel() == "Accuracy"

    def test_steps_of_a_pipeline(self, shots, searched):
        X, y, W = shots
        pipe = make_pipeline(Normalizer(), classifier(W))
        grid = {f"tipadapterclassifier__{name}": values for name, values in self.GRID.items()}
        display = AlphaBetaDisplay.from_estimator(GridSearchCV(pipe, grid, cv=2).fit(X, y))
        expected = AlphaBetaDisplay.from_estimator(searched)
        np.testing.assert_array_equal(display.scores, expected.scores)
        assert (display.alpha, display.beta) == (expected.alpha, expected.beta)

    def test_other_parameters_give_their_best(self, shots):
        X, y, W = shots
        grid = {**self.GRID, "logit_scale": [0.1, 5.0, 40.0]}
        search = GridSearchCV(classifier(W), grid, cv=2, scoring="neg_log_loss").fit(X, y)
        display = AlphaBetaDisplay.from_estimator(search)
        order = list(ParameterGrid(grid))
        for row, alpha in enumerate([0, 0.5, 4]):
            for column, beta in enumerate([1, 5.5, 11, 30]):
                scores = [
                    score
                    for params, score in zip(
                        order, search.cv_results_["mean_test_score"], strict=True
                    )
                    if (params["alpha"], params["beta"]) == (alpha, beta)
                ]
                assert len(scores) == 3
                assert display.scores[row, column] == max(scores)
        assert display.scores.max() == search.best_score_
        assert display.score_name == "Negative log loss"

    def test_several_metrics_and_grids(self, shots):
        X, y, W = shots
        grids = [self.GRID, {"fine_tune": [True], "n_epochs": [1]}]
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
            classifier(W), self.GRID, cv=2, scoring=["accuracy", "neg_log_loss"], refit=False
        )
        with pytest.raises(ValueError, match="several metrics and refit=False"):
            AlphaBetaDisplay.from_estimator(unnamed.fit(X, y))

    def test_scattered_pairs_are_points(self, shots):
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

    def test_self_tuned_surface(self, shots):
        X, y, W = shots
        clf = TipAdapterClassifierCV(
            text_features=W, alphas=[0.1, 1, 5], betas=[0, 2, 20], scoring="accuracy"
        ).fit(X, y)
        display = AlphaBetaDisplay.from_estimator(make_pipeline(Normalizer(), clf))
        np.testing.assert_array_equal(display.scores, clf.scores_)
        self.check_cells(display)
        self.check_points(display, clf.alpha_, clf.beta_)
        assert display.ax_.get_xscale() == "symlog"
        assert display.score_name == "Accuracy"

    def test_self_tuned_ridge(self, shots):
        X, y, W = shots
        clf = TipAdapterClassifierCV(text_features=W, logit_scale=SCALE).fit(X, y)
        display = AlphaBetaDisplay.from_estimator(clf)
        points = np.column_stack([clf.betas_, clf.alphas_])
        np.testing.assert_array_equal(display.surface_.get_offsets(), points)
        np.testing.assert_array_equal(display.surface_.get_array(), clf.scores_)
        np.testing.assert_array_equal(display.ax_.lines[0].get_xydata(), points)
        self.check_points(display, clf.alpha_, clf.beta_)
        assert display.score_name == "Negative log loss"
        ticks = [label.get_text() for label in display.ax_.get_xticklabels()]
        assert ticks == ["0.5", "1", "2", "5", "10", "20", "50"]

    @pytest.mark.parametrize(
        ("alphas", "betas"), [([1.0], [5.5]), ([0.0], [0.0, 1.0]), ([0.0, 2.0], [3.0])]
    )
    def test_grids_of_one_value(self, alphas, betas):
        scores = np.arange(len(alphas) * len(betas)).reshape(len(alphas), len(betas))
        display = AlphaBetaDisplay(
            alphas=alphas, betas=betas, scores=scores, alpha=alphas[0], beta=betas[0]
        )
        assert display.plot() is display
        self.check_cells(display)
        display.figure_.canvas.draw()

    def test_failed_fits_stay_blank(self, searched):
        scores = AlphaBetaDisplay.from_estimator(searched).scores.copy()
        scores[1, 2] = np.nan
        parameters = {"alphas": [0, 0.5, 4], "betas": [1, 5.5, 11, 30], "alpha": 4, "beta": 11}
        display = AlphaBetaDisplay(scores=scores, **parameters).plot()
        mask = np.ma.getmaskarray(display.surface_.get_array())
        np.testing.assert_array_equal(np.argwhere(mask), [[1, 2]])
        with pytest.raises(ValueError, match="no scores: every fit failed"):
            AlphaBetaDisplay(scores=np.full((3, 4), np.nan), **parameters).plot()

    def test_on_axes_of_the_user(self, searched):
        figure, ax = pyplot.subplots()
        display = AlphaBetaDisplay.from_estimator(searched, ax=ax, cmap="viridis")
        assert display.ax_ is ax
        assert display.figure_ is figure
        assert display.surface_.get_cmap().name == "viridis"

    def test_errors(self, shots, features):
        X, y, W = shots
        show = AlphaBetaDisplay.from_estimator
        for unfitted in (GridSearchCV(classifier(W), self.GRID), TipAdapterClassifierCV()):
            with pytest.raises(NotFittedError):
                show(unfitted)
        with pytest.raises(TypeError, match="TipAdapterClassifier is not a search"):
            show(classifier(W).fit(X, y))
        only_beta = GridSearchCV(classifier(W), {"beta": [1, 2]}, cv=2).fit(X, y)
        with pytest.raises(
            ValueError, match=r"varied \['beta'\]; the display needs alpha and beta"
        ):
            show(only_beta)
        X, y, W = features((1, 1, 1))
        with pytest.warns(UserWarning, match="one shot"):
            single = TipAdapterClassifierCV(text_features=W).fit(X, y)
        with pytest.raises(ValueError, match="no class had a second shot"):
            show(single)


class TestShotsCurve:
    """Scores against shots."""

    SHOTS = [1, 2, 4]

    @pytest.fixture
    def samples(self, features):
        X, y, W = features((9, 9, 9), d=5)
        return X + 0.4 * np.random.default_rng(1).normal(size=X.shape), NAMES[y], W

    def test_draws_means_and_spreads(self):
        rng = np.random.default_rng(0)
        scores = {"one": rng.uniform(size=(3, 4)), "two": rng.uniform(size=(3, 4)).tolist()}
        published = {"two": [0.2, np.nan, 0.4], "paper": 0.5}
        display = ShotsCurveDisplay(self.SHOTS, scores, published=published, score_name="hits")
        assert display.plot() is display
        for container, (name, values) in zip(display.errorbar_, scores.items(), strict=True):
            line, _, (bars,) = container.lines
            mean, spread = np.mean(values, axis=1), np.std(values, axis=1)
            np.testing.assert_array_equal(line.get_xdata(), self.SHOTS)
            np.testing.assert_allclose(line.get_ydata(), mean)
            for x, segment, m, s in zip(self.SHOTS, bars.get_segments(), mean, spread, strict=True):
                np.testing.assert_allclose(segment, [[x, m - s], [x, m + s]])
            assert container.get_label() == name
        two, paper = display.published_lines_
        np.testing.assert_array_equal(two.get_ydata(), published["two"])
        np.testing.assert_array_equal(paper.get_ydata(), [0.5] * 3)
        assert two.get_color() == display.errorbar_[1].lines[0].get_color()
        assert two.get_linestyle() == "--"
        legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert legend == ["one", "two", "two, published", "paper, published"]
        assert display.ax_.get_ylabel() == "hits"
        assert display.ax_.get_xlabel() == "shots: labelled images a class"
        assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["1", "2", "4"]

    def test_everything_drawn_is_inside_the_axes(self):
        scores = {"low": [[0.1, 0.3], [0.2, 0.2]], "high": [[0.5, 0.9], [0.6, 0.6]]}
        ax = ShotsCurveDisplay([1, 2], scores, published={"higher": 0.95}).plot().ax_
        low, high = ax.get_ylim()
        assert low < 0.1
        assert high > 0.95

    def test_a_point_may_be_missing(self):
        scores = {"tuned": [[np.nan, np.nan], [0.5, 0.7], [0.6, 0.8]]}
        line = ShotsCurveDisplay(self.SHOTS, scores).plot().errorbar_[0].lines[0]
        np.testing.assert_allclose(line.get_ydata(), [np.nan, 0.6, 0.7])

    def test_methods_differ_in_more_than_colour(self):
        scores = {f"method {i}": np.ones((3, 2)) for i in range(12)}
        lines = [bar.lines[0] for bar in ShotsCurveDisplay(self.SHOTS, scores).plot().errorbar_]
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12
        assert len({line.get_marker() for line in lines[:8]}) == 8
        assert len({line.get_color() for line in lines[:7]}) == 7

    def test_fits_what_a_plain_loop_fits(self, samples):
        X, y, W = samples
        names = {"class_names": ["bee", "cat", "dog"]}
        methods = {"zero": classifier(W, alpha=0.0, **names), "tip": classifier(W, **names)}
        cv = FewShotSplit(4, 3, random_state=0)
        display = ShotsCurveDisplay.from_estimator(
            methods, X, y, shots=[4, 1, 2], random_state=0, published={"tip": 0.5}
        )
        assert list(display.scores) == ["zero", "tip"]
        assert len(display.published_lines_) == 1
        np.testing.assert_array_equal(display.shots, self.SHOTS)
        for name, method in methods.items():
            for draw, (train, test) in enumerate(cv.split(X, y)):
                for row, k in enumerate(self.SHOTS):
                    chosen = train[: 3 * k]
                    expected = clone(method).fit(X[chosen], y[chosen]).score(X[test], y[test])
                    assert display.scores[name][row, draw] == expected
        assert len(np.unique(display.scores["tip"])) > 1
        assert display.ax_.get_ylabel() == "Accuracy"

    def test_all_methods_see_the_same_draws(self, samples):
        X, y, W = samples
        clf = classifier(W, class_names=["bee", "cat", "dog"])
        scores = ShotsCurveDisplay.from_estimator({"a": clf, "b": clf}, X, y, shots=[1, 3]).scores
        np.testing.assert_array_equal(scores["a"], scores["b"])

    def test_splits_and_scoring_of_the_user(self, samples):
        X, y, W = samples
        clf = classifier(W, class_names=["bee", "cat", "dog"])
        splits = list(FewShotSplit(5, 2, random_state=3).split(X, y))
        held_out = [(train, test[:7]) for train, test in splits]
        display = ShotsCurveDisplay.from_estimator(
            clf, X, y, shots=[2, 5], cv=held_out, scoring="balanced_accuracy", n_jobs=2
        )
        assert list(display.scores) == ["TipAdapterClassifier"]
        for draw, (train, test) in enumerate(held_out):
            predicted = clone(clf).fit(X[train[:6]], y[train[:6]]).predict(X[test])
            expected = balanced_accuracy_score(y[test], predicted)
            assert display.scores["TipAdapterClassifier"][0, draw] == expected
        assert display.ax_.get_ylabel() == "Balanced accuracy"

    def test_images(self, digits):
        images, labels = digits
        pipe = make_pipeline(CLIPFeatureTransformer("tiny", device="cpu"), TipAdapterClassifier())
        with pytest.warns(UserWarning, match="no text prior"):
            display = ShotsCurveDisplay.from_estimator(
                pipe,
                images,
                labels,
                shots=[1, 2],
                cv=FewShotSplit(2, 1, test_size=20, random_state=0),
            )
        assert display.scores["TipAdapterClassifier"].shape == (2, 1)

    def test_on_axes_of_the_user(self):
        figure, ax = pyplot.subplots()
        display = ShotsCurveDisplay([1, 2], {"a": np.ones((2, 3))}).plot(ax)
        assert display.ax_ is ax
        assert display.figure_ is figure

    def test_errors(self, samples):
        X, y, W = samples
        clf = classifier(W, class_names=["bee", "cat", "dog"])
        show = ShotsCurveDisplay.from_estimator
        with pytest.raises(ValueError, match="split 0 do not begin with 1 shots of every class"):
            show(clf, X, y, shots=[1, 2], cv=KFold(3))
        with pytest.raises(ValueError, match="do not begin with 6 shots"):
            show(clf, X, y, shots=[2, 6], cv=FewShotSplit(4, 1))
        for wrong in ([0.5], [0, 1], [1.0, 2.0]):
            with pytest.raises(ValueError, match="integers of at least 1"):
                show(clf, X, y, shots=wrong)
        with pytest.raises(ValueError, match="n_shots=12, but 3 classes have fewer"):
            show(clf, X, y, shots=[12])
        with pytest.raises(ValueError, match=r"scores of 'a' have the shape \(2, 3\); 3 numbers"):
            ShotsCurveDisplay(self.SHOTS, {"a": np.ones((2, 3))}).plot()
        with pytest.raises(ValueError, match=r"figures of 'p' have the shape \(2,\); .* 3 numbers"):
            ShotsCurveDisplay(self.SHOTS, {"a": np.ones((3, 1))}, published={"p": [1, 2]}).plot()


class TestMatplotlib:
    """matplotlib is an extra, and only imported to draw."""

    def test_is_imported_when_drawing(self):
        code = (
            "import sys, sktip; sktip.inspection.ShotsCurveDisplay([1], {'a': [[1]]}); "
            "assert not {'matplotlib', 'torch', 'open_clip'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    @pytest.mark.parametrize(
        "display",
        [
            CacheEvidenceDisplay(
                classes=["a", "b"], prior=None, cache=[1, 2], indices=[0], weights=[1], labels=["a"]
            ),
            AlphaBetaDisplay(alphas=[1], betas=[1], scores=[[1]], alpha=1, beta=1),
            ShotsCurveDisplay([1], {"a": [[1]]}),
        ],
        ids=lambda display: type(display).__name__,
    )
    def test_missing(self, display, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
        name = type(display).__name__
        with pytest.raises(
            ImportError, match=rf'{name}.plot requires .*pip install "sktip\[plot\]"'
        ):
            display.plot()
        arguments = (None,) * {"AlphaBetaDisplay": 1, "ShotsCurveDisplay": 3}.get(name, 2)
        with pytest.raises(
            ImportError, match=rf'{name}.from_estimator .*pip install "sktip\[plot\]"'
        ):
            display.from_estimator(*arguments)
