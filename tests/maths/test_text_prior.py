"""The text prior on class means: exact sums, exact weights, and no dependence on the order of anything."""

import numpy as np
import pytest

from sktip._maths.text_prior import Statistics, confidence, fit_text_prior
from sktip._maths.text_prior.evidence import Evidence, shot_contributions
from sktip._maths.text_prior.folds import balanced_folds
from sktip._maths.text_prior.means import class_means
from sktip._maths.text_prior.softmax import log_loss, most_probable_weights
from sktip._maths.text_prior.weights import SHRINKAGES

N_CLASSES, WIDTH, SCALE = 6, 16, 20.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def problem(n_shots, seed=0, *, n_classes=N_CLASSES, n_queries=200, text_noise=0.6, noise=0.6):
    """Shots, codes, text, queries and their codes; text and images share directions, not places."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_classes, WIDTH))
    text = unit(2 + truth + text_noise * rng.normal(size=truth.shape))
    codes = np.tile(np.arange(n_classes), n_shots)
    asked = rng.integers(n_classes, size=n_queries)
    offset = rng.normal(size=WIDTH)

    def images(of):
        return unit(offset + truth[of] + 2 * noise * rng.normal(size=(len(of), WIDTH)))

    return images(codes), codes, text, images(asked), asked


def fitted(shots, codes, weights=None, *, text, n_classes=N_CLASSES):
    return fit_text_prior(shots, codes, weights, text=text, logit_scale=SCALE, n_classes=n_classes)


def logits(model, queries):
    return queries @ model.coef.T + model.intercept


def accuracy(values, codes):
    return (values.argmax(axis=1) == codes).mean()


def test_no_shots_is_zero_shot():
    shots, codes, text, queries, _ = problem(1)
    model = fitted(shots[:0], codes[:0], text=text)
    np.testing.assert_allclose(logits(model, queries), SCALE * queries @ text.T, rtol=1e-12)


@pytest.mark.parametrize("n_shots", [1, 2, 8])
def test_parts_add_up_to_the_logits(n_shots):
    shots, codes, text, queries, _ = problem(n_shots)
    model = fitted(shots, codes, text=text)
    np.testing.assert_allclose(sum(model.parts(queries)), logits(model, queries), rtol=1e-9)


@pytest.mark.parametrize("n_shots", [1, 5])
def test_shots_contributions_add_up_to_their_parts(n_shots):
    shots, codes, text, queries, _ = problem(n_shots)
    weights = np.ones(len(shots))
    weights[3], weights[4] = 0, 2
    counted = weights > 0
    model = fitted(shots, codes, weights, text=text)
    _, through_means, correction = model.parts(queries)
    whitening = model.means.whitening(model.shrinkage)
    for code in (0, 4):
        (of_means,), (of_correction,) = shot_contributions(
            Evidence.of(model),
            queries[:1],
            np.array([code]),
            shots=shots[counted],
            codes=codes[counted],
            weights=weights[counted],
            means=model.means.posterior,
            means_weight=model.means_weight,
        )
        np.testing.assert_allclose(of_correction.sum(), correction[0, code], atol=1e-9)
        assert not of_means[codes[counted] != code].any()
        # What the shots do not give comes from the predicted mean.
        predicted, mean = model.means.prior[code], model.means.posterior[code]
        asked = queries[0] - (model.means.centre + mean) / 2
        share = 3 / (3 + model.means.counts[code])
        rest = share * asked @ whitening @ whitening.T @ (predicted - model.means.centre)
        expected = through_means[0, code] - model.offsets[code] - model.means_weight * rest
        np.testing.assert_allclose(of_means.sum(), expected, atol=1e-9)


def test_statistics_without_a_fold_are_those_of_the_others():
    shots, codes, text, _, _ = problem(3)
    out = balanced_folds(shots, codes) == 1
    ones = np.ones(len(shots))
    whole = Statistics.of(shots, codes, ones, N_CLASSES)
    left = whole - Statistics.of(shots[out], codes[out], ones[out], N_CLASSES)
    again = Statistics.of(shots[~out], codes[~out], ones[~out], N_CLASSES)
    for name in ("counts", "sums", "moment"):
        np.testing.assert_allclose(getattr(left, name), getattr(again, name), atol=1e-12)
    for name in ("prior", "posterior", "centre", "values"):
        np.testing.assert_allclose(
            getattr(class_means(left, text), name),
            getattr(class_means(again, text), name),
            atol=1e-9,
        )


def test_held_out_logits_are_those_of_models_that_never_saw_the_fold():
    shots, codes, text, *_ = problem(3)
    model = fitted(shots, codes, text=text)
    rest = model.held_out_logits - model.text_weight / model.factor * SCALE * shots @ text.T
    for fold in range(3):
        out = model.folds == fold
        ones = np.ones((~out).sum())
        means = class_means(Statistics.of(shots[~out], codes[~out], ones, N_CLASSES), text)
        whitening = means.whitening(model.shrinkage)
        white = (means.posterior - means.centre) @ whitening
        asked = (shots[out] - means.centre) @ whitening
        expected = asked @ white.T - (white**2).sum(axis=1) / 2
        # They differ by a factor alone, the weight of the discriminants.
        ratio = rest[out] / expected
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)


def test_one_shot_per_class_leaves_the_shrinkage_that_is_believed_in():
    shots, codes, text, *_ = problem(1)
    assert fitted(shots, codes, text=text).shrinkage == SHRINKAGES[0]


def test_the_shrinkage_chosen_is_that_of_the_least_held_out_cost(monkeypatch):
    shots, codes, text, *_ = problem(6)
    chosen, costs = fitted(shots, codes, text=text).shrinkage, []

    def noted(*arguments):
        found, cost = most_probable_weights(*arguments)
        costs.append(cost)
        return found, cost

    monkeypatch.setattr("sktip._maths.text_prior.weights.most_probable_weights", noted)
    fitted(shots, codes, text=text)
    assert len(costs) == len(SHRINKAGES)
    assert chosen == SHRINKAGES[int(np.argmin(costs))]


def test_a_class_that_is_left_out_whole_has_no_count_and_no_sum():
    shots, codes, *_ = problem(2)
    weights = np.random.default_rng(0).uniform(0.1, 1, len(shots))
    own = codes == 2
    left = Statistics.of(shots, codes, weights, N_CLASSES) - Statistics.of(
        shots[own], codes[own], weights[own], N_CLASSES
    )
    assert left.counts[2] == 0
    assert not left.sums[2].any()


def test_folds_hold_one_shot_of_every_class_whatever_the_order():
    shots, codes, *_ = problem(5)
    folds = balanced_folds(shots, codes)
    for fold in range(5):
        assert sorted(codes[folds == fold]) == list(range(N_CLASSES))
    order = np.random.default_rng(1).permutation(len(shots))
    np.testing.assert_array_equal(balanced_folds(shots[order], codes[order]), folds[order])


def test_equal_shots_share_a_fold():
    shots, codes, *_ = problem(3)
    folds = balanced_folds(np.vstack([shots, shots]), np.append(codes, codes))
    np.testing.assert_array_equal(folds[: len(shots)], folds[len(shots) :])


def test_rounding_of_features_hardly_changes_the_folds():
    rng = np.random.default_rng(0)
    codes = np.tile(np.arange(200), 8)
    shots = unit(rng.normal(size=(len(codes), 512)))
    moved = balanced_folds(shots + 1e-6 * rng.normal(size=shots.shape), codes)
    assert (moved == balanced_folds(shots, codes)).mean() > 0.99


def test_shots_of_a_group_share_a_fold():
    shots, codes, *_ = problem(6)
    # Two shots of one class in each group, but for one that has shots of three classes.
    groups = np.arange(len(shots)) // (2 * N_CLASSES) * N_CLASSES + codes
    groups[:3] = 99
    folds = balanced_folds(shots, codes, groups)
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    assert np.unique(folds).tolist() == list(range(folds.max() + 1))
    for code in range(3, N_CLASSES):
        assert sorted(folds[codes == code]) == [0, 0, 1, 1, 2, 2]
    rng = np.random.default_rng(1)
    rows, classes = rng.permutation(len(shots)), rng.permutation(N_CLASSES)
    moved = balanced_folds(shots[rows], classes[codes[rows]], groups[rows])
    np.testing.assert_array_equal(moved, folds[rows])
    alone = balanced_folds(shots, codes, np.arange(len(shots)))
    np.testing.assert_array_equal(alone, balanced_folds(shots, codes))
    assert not balanced_folds(shots, codes, np.zeros(len(shots), int)).any()


@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("n_shots", [1, 4])
def test_weights_are_repetition_and_0_is_no_shot(n_shots, with_text):
    shots, codes, text, queries, _ = problem(n_shots)
    text = text if with_text else None
    weights = np.random.default_rng(3).integers(0, 3, len(shots))
    weights[:N_CLASSES] = 1
    rows = np.repeat(np.arange(len(shots)), weights)
    weighted = fitted(shots, codes, weights.astype(float), text=text)
    repeated = fitted(shots[rows], codes[rows], text=text)
    np.testing.assert_allclose(
        logits(weighted, queries), logits(repeated, queries), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("n_shots", [1, 4])
def test_order_of_classes_and_of_shots_does_not_matter(n_shots):
    shots, codes, text, queries, _ = problem(n_shots)
    rng = np.random.default_rng(5)
    classes, rows = rng.permutation(N_CLASSES), rng.permutation(len(shots))
    new_codes = np.argsort(classes)[codes]
    expected = logits(fitted(shots, codes, text=text), queries)[:, classes]
    moved = fitted(shots[rows], new_codes[rows], text=text[classes])
    np.testing.assert_allclose(logits(moved, queries), expected, rtol=1e-7, atol=1e-7)


def test_single_precision_gives_about_the_same():
    shots, codes, text, queries, _ = problem(4)
    expected = logits(fitted(shots, codes, text=text), queries)
    single = fitted(shots.astype(np.float32), codes, text=text.astype(np.float32))
    np.testing.assert_allclose(logits(single, queries), expected, atol=0.02)


def test_shots_help_text_and_text_helps_shots():
    scores = []
    for seed in range(8):
        shots, codes, text, queries, asked = problem(3, seed)
        scores.append(
            [
                accuracy(queries @ text.T, asked),
                accuracy(logits(fitted(shots, codes, text=None), queries), asked),
                accuracy(logits(fitted(shots, codes, text=text), queries), asked),
            ]
        )
    zero_shot, shots_alone, both = np.mean(scores, axis=0)
    assert both > zero_shot + 0.02
    assert both > shots_alone + 0.02


def test_useless_text_does_not_drown_the_shots():
    scores = []
    for seed in range(5):
        shots, codes, text, queries, asked = problem(8, seed)
        noise = unit(np.random.default_rng(seed).normal(size=text.shape))
        scores.append(
            [
                accuracy(logits(fitted(shots, codes, text=None), queries), asked),
                accuracy(logits(fitted(shots, codes, text=noise), queries), asked),
            ]
        )
    alone, beside_noise = np.mean(scores, axis=0)
    assert beside_noise > alone - 0.03


def test_a_class_without_shots_is_predicted_from_its_text():
    shots, codes, text, queries, asked = problem(4, text_noise=0.2)
    seen = codes != 2
    model = fitted(shots[seen], codes[seen], text=text)
    own = asked == 2
    assert accuracy(logits(model, queries)[own], asked[own]) > 0.5
    np.testing.assert_allclose(model.means.posterior[2], model.means.prior[2], rtol=1e-12)
    assert not model.correction_coef[2].any()


@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("counts", [[9, 0, 0, 0, 0, 0], [1, 16, 0, 0, 2, 0], [1, 1, 0, 0, 0, 0]])
def test_any_distribution_of_shots_gives_finite_logits(counts, with_text):
    shots, codes, text, queries, _ = problem(16)
    rows = np.concatenate([np.flatnonzero(codes == c)[:n] for c, n in enumerate(counts)])
    model = fitted(shots[rows], codes[rows], text=text if with_text else None)
    assert np.isfinite(logits(model, queries)).all()


@pytest.mark.parametrize("n_shots", [1, 3])
def test_two_classes(n_shots):
    shots, codes, text, queries, asked = problem(n_shots, n_classes=2, noise=0.3)
    model = fitted(shots, codes, text=text, n_classes=2)
    assert accuracy(logits(model, queries), asked) > 0.8


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_classes", [1, 3])
def test_texts_without_a_difference_are_no_text(n_classes):
    shots, codes, *_ = problem(3, n_classes=n_classes)
    text = np.repeat(unit(np.ones((1, WIDTH))), n_classes, axis=0)
    same = fitted(shots, codes, text=text, n_classes=n_classes)
    assert np.isfinite(same.coef).all()
    assert same.means.scale == 0
    expected = class_means(same.statistics, None)
    np.testing.assert_allclose(same.means.posterior, expected.posterior, rtol=1e-12)


def test_equal_shots_of_each_class_give_finite_logits():
    shots, codes, text, queries, _ = problem(1)
    model = fitted(np.repeat(shots, 3, axis=0), np.repeat(codes, 3), text=text)
    assert np.isfinite(logits(model, queries)).all()


def test_most_probable_weights_have_no_slope():
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=50)
    parts = [rng.normal(size=(50, 4)) + 2 * np.eye(4)[codes] for _ in range(2)]
    weights, precision = rng.uniform(0.5, 2, 50), np.array([[5.0, -1.0], [-1.0, 1.0]])
    found, cost = most_probable_weights(parts, codes, weights, precision, np.ones(2))

    def at(w):
        u = np.log(w)
        total = w[0] * parts[0] + w[1] * parts[1]
        return log_loss(total, codes, weights)[0] + u @ precision @ u / 2

    np.testing.assert_allclose(at(found), cost, rtol=1e-9)
    for step in ([1.01, 1], [0.99, 1], [1, 1.01], [1, 0.99]):
        assert at(found * step) > cost


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]])
def test_without_text_a_fold_of_one_class_says_nothing(order):
    """Its means differ by rounding alone, which must not be blown up."""
    rng = np.random.default_rng(0)
    shots, codes = (
        unit(rng.normal(size=(4, 6)) + 2 * np.eye(2, 6)[[0, 1, 1, 1]]),
        np.array([0, 1, 1, 1]),
    )
    first = fitted(shots, codes, text=None, n_classes=2)
    assert 0 < first.means_weight < 100
    again = fitted(shots[order], codes[order], text=None, n_classes=2)
    np.testing.assert_allclose(again.coef, first.coef, rtol=1e-6)


def test_classes_without_shots_are_answered_as_often_as_they_occur():
    missed, offsets = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shots, codes, text, queries, asked = problem(12, seed, n_classes=30, noise=0.4)
        absent = np.arange(0, 30, 3)
        kept = ~np.isin(codes, absent) & (rng.random(len(codes)) < 0.8)
        model = fitted(shots[kept], codes[kept], text=text, n_classes=30)
        counts = np.bincount(codes[kept], minlength=30)
        offsets.append(model.offsets)
        of_prior = 3 / (3 + counts)
        of_prior -= of_prior.min()
        expected = model.offsets[0] * of_prior / of_prior[0]
        np.testing.assert_allclose(model.offsets, expected, atol=1e-9)
        told = np.isin(logits(model, queries).argmax(axis=1), absent).mean()
        plain = np.isin((logits(model, queries) - model.offsets).argmax(axis=1), absent).mean()
        truth = np.isin(asked, absent).mean()
        missed.append((abs(told - truth), abs(plain - truth)))
    found, before = np.mean(missed, axis=0)
    assert np.all(np.array(offsets) >= 0)
    assert found < before


def test_as_many_shots_of_every_class_ask_for_no_offset():
    shots, codes, text, *_ = problem(3)
    assert not fitted(shots, codes, text=text).offsets.any()


@pytest.mark.parametrize("n_shots", [3, 6])
@pytest.mark.parametrize("with_text", [False, True])
def test_confidence_is_about_accuracy(n_shots, with_text):
    sure, before, right = [], [], []
    for seed in range(4):
        shots, codes, text, queries, asked = problem(n_shots, seed, n_classes=30, n_queries=600)
        model = fitted(shots, codes, text=text if with_text else None, n_classes=30)
        found = logits(model, queries)
        right.append(accuracy(found, asked))
        for noted, values in ((sure, found), (before, found / model.factor)):
            noted.append(log_loss(values, asked, np.ones(600))[1].max(axis=1).mean())
    gap = abs(np.mean(sure) - np.mean(right))
    assert gap < 0.09
    assert gap < abs(np.mean(before) - np.mean(right)) - 0.03


@pytest.mark.parametrize("n_shots", [2, 5])
def test_easy_shots_make_the_answers_less_overconfident(monkeypatch, n_shots):
    def gap():
        """Mean confidence less accuracy, where queries have more noise than shots."""
        gaps = []
        for seed in range(4):
            given = {"n_classes": 30, "n_queries": 600, "text_noise": 0.5}
            _, _, _, queries, asked = problem(n_shots, seed, noise=0.65, **given)
            shots, codes, text, *_ = problem(n_shots, seed, noise=0.4, **given)
            model = fit_text_prior(shots, codes, text=text, logit_scale=10, n_classes=30)
            found = logits(model, queries)
            sure = log_loss(found, asked, np.ones(600))[1].max(axis=1).mean()
            gaps.append(sure - accuracy(found, asked))
        return np.mean(gaps)

    found = gap()
    monkeypatch.setattr(confidence, "LEAST_EASE", 1.0)
    assert abs(found) < gap() - 0.04


def test_wrong_labels_hardly_lower_the_accuracy():
    clean, wrong, told = [], [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        shots, codes, text, queries, asked = problem(12, seed, n_classes=20, noise=0.4)
        given, changed = codes.copy(), rng.random(len(codes)) < 0.15
        given[changed] = (codes[changed] + rng.integers(1, 20, changed.sum())) % 20
        before = fitted(shots, codes, text=text, n_classes=20)
        after = fitted(shots, given, text=text, n_classes=20)
        clean.append(accuracy(logits(before, queries), asked))
        wrong.append(accuracy(logits(after, queries), asked))
        told.append((after.weights[changed].mean(), after.weights[~changed].mean()))
    of_wrong, of_right = np.mean(told, axis=0)
    assert of_wrong < 0.25
    assert of_right > 0.9
    assert np.mean(wrong) > np.mean(clean) - 0.03
