"""The maths of FewShotClassifier, on made-up features: each part, and the data on which other rules fail."""

import numpy as np
import pytest
from made_up import SCALE, WIDTH, World, unit

from sktip._maths.contributions import shot_contributions
from sktip._maths.statistics import Statistics
from sktip._maths.text_prior import fit_text_prior
from sktip._maths.unit import columns_of


def mean_gain(counts, seeds=8, *, text=True, **world):
    """Mean gain over zero-shot for shots of these counts."""
    gains = []
    for seed in range(seeds):
        made = World(seed=seed, **world)
        own = np.resize(counts, made.n_classes)
        model = made.fit(*made.images(made.rng.permutation(own)), text=text)
        gains.append(made.score(model) - made.zero_shot)
    return np.mean(gains)


def calibration_error(probabilities, codes):
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == codes
    bins = np.minimum((confidence * 10).astype(int), 9)
    return sum(
        abs(right[bins == i].mean() - confidence[bins == i].mean()) * (bins == i).mean()
        for i in np.unique(bins)
    )


# Parts.


def test_no_shots_is_zero_shot():
    world = World()
    model = world.fit(np.zeros((0, WIDTH)), np.zeros(0, int))
    np.testing.assert_allclose(world.logits(model), SCALE * world.queries @ world.text.T)


def test_statistics_without_a_fold_are_those_of_the_others():
    shots, codes = World().images(np.full(12, 3))
    weights, out = np.linspace(0.5, 2, 36), np.arange(36) % 3 == 0
    out[codes == 2] = True
    whole, part, rest = (
        Statistics.of(shots[rows], codes[rows], weights[rows], 12)
        for rows in (slice(None), out, ~out)
    )
    for found, expected in zip(whole.without(part), rest, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert whole.without(part).counts[2] == 0


@pytest.mark.parametrize("text", [False, True])
def test_fewer_shots_than_columns_change_nothing_but_the_time(text):
    """The model is fitted in the span of shots and text; more columns of zeros leave it as it is."""
    world = World(5)
    shots, codes = world.images(np.full(5, 3))

    def padded(rows):
        return np.hstack([rows, np.zeros((len(rows), 2 * WIDTH))])

    models = [
        fit_text_prior(
            change(shots),
            codes,
            text=change(world.text) if text else None,
            logit_scale=SCALE,
            n_classes=5,
        )
        for change in (lambda rows: padded(rows)[:, :96], padded)
    ]
    for model in models:
        assert not model.coef[:, WIDTH:].any()
    np.testing.assert_allclose(models[0].coef, models[1].coef, atol=1e-9)


@pytest.mark.parametrize(
    ("n_shots", "text", "n_blocks"),
    [(1, False, 1), (2, True, 1), (5, True, 1), (3, True, 2), (4, False, 2)],
)
def test_contributions_of_shots_are_what_means_and_correction_gain_by_them(n_shots, text, n_blocks):
    world = World()
    shots, codes = world.images(np.full(12, n_shots))
    queries, widths = world.queries, [WIDTH] * n_blocks
    if n_blocks == 2:
        shots = np.hstack([shots, world.second(codes)])
        queries = np.hstack([queries, world.second(world.asked)])
    model = world.fit(shots, codes, text=text, widths=widths)
    targets = np.arange(len(queries)) % 12
    blocks = model.evidence["blocks"]

    def found(blocks):
        return shot_contributions(
            {**model.evidence, "blocks": blocks},
            queries,
            targets,
            shots=shots,
            codes=codes,
            weights=model.weights,
            prior=model.prior,
            means=model.means,
        ).sum(axis=1)

    def logits(means):
        total = 0
        for block, own in zip(blocks, columns_of(widths), strict=True):
            apart = means[:, own] - block["centre"]
            coef = apart @ block["precision"]
            squares = (apart * coef).sum(axis=1)
            total += block["weight"] * ((queries[:, own] - block["centre"]) @ coef.T - squares / 2)
        return total

    asked = np.arange(len(targets)), targets
    gained = (logits(model.means) - logits(model.prior))[asked]
    parts = "centre", "precision", "weight"
    only_means = [
        {key: block[key] for key in parts} | {"variances": np.zeros(12)} for block in blocks
    ]
    np.testing.assert_allclose(found(only_means), gained, atol=1e-9)
    # The rest is what the predicted means say, and an offset for each class. Both corrections are at their optimum, but
    # for the tolerance of the search.
    coef = model.coef - model.text_coef
    learnt = (queries @ coef.T)[asked] - logits(model.prior)[asked]
    rest = learnt - found(blocks)
    offsets = np.array([rest[targets == code].mean() for code in range(12)])
    assert np.std(rest - offsets[targets]) < 0.1 * np.std(learnt)


@pytest.mark.parametrize("weight", [1e-300, 1e-12, 1e12])
def test_any_weight_ends(weight):
    world = World()
    shots, codes = world.images(np.full(12, 2))
    for weights in (np.full(24, weight), np.where(np.arange(24) == 5, weight, 1)):
        assert np.isfinite(world.logits(world.fit(shots, codes, weights))).all()


def test_many_shots_in_single_precision_answer_as_in_double(monkeypatch):
    world = World()
    shots, codes = world.images(np.full(12, 40))
    expected = world.logits(world.fit(shots, codes))
    monkeypatch.setattr("sktip._maths.text_prior.DOUBLE", 0)
    np.testing.assert_allclose(world.logits(world.fit(shots, codes)), expected, atol=0.05)


# Data on which other rules fail.


def test_more_shots_are_better():
    gains = [mean_gain([n_shots]) for n_shots in (1, 2, 4, 16)]
    assert gains[0] > 0.02
    assert (np.diff(gains) > 0.01).all()


@pytest.mark.parametrize("missing", [10, 3])
def test_classes_without_shots_beside_others_of_one(missing):
    assert mean_gain([0] + [1] * (missing - 1), n_classes=30) > 0.01


@pytest.mark.parametrize("n_shots", [1, 4, 16])
def test_a_third_of_the_classes_without_shots(n_shots):
    assert mean_gain([0, n_shots, n_shots]) > 0


def test_a_second_shot_of_one_class():
    even, more = mean_gain([1]), mean_gain([2] + [1] * 11)
    assert more > even - 0.01


@pytest.mark.parametrize("noise", [0, 0.1])
def test_near_copies_are_held_out_together(noise):
    for seed in range(4):
        world = World(seed=seed)
        shots, codes = world.images(np.full(12, 2))
        groups = np.arange(24).repeat(4)
        copies = unit(shots.repeat(4, axis=0) + noise * unit(world.rng.normal(size=(96, WIDTH))))
        alone = world.fit(copies, codes.repeat(4))
        grouped = world.fit(copies, codes.repeat(4), groups=groups)
        np.testing.assert_allclose(alone.coef, grouped.coef, atol=1e-9)


def test_weak_shots_beside_strong_text():
    strong = {"noise": 2.0, "text_noise": 0.1}
    for n_shots in (1, 2, 4):
        assert mean_gain([n_shots], **strong) > -0.01


@pytest.mark.parametrize("n_classes", [2, 5])
def test_few_classes(n_classes):
    for n_shots in (1, 4, 16):
        assert mean_gain([n_shots], seeds=20, n_classes=n_classes) > -0.005


@pytest.mark.parametrize(
    ("n_shots", "text"), [(1, True), (3, True), (8, True), (3, False), (8, False)]
)
def test_probabilities_are_calibrated(n_shots, text):
    probabilities, codes = [], []
    for seed in range(8):
        world = World(seed=seed)
        model = world.fit(*world.images(np.full(12, n_shots)), text=text)
        logits = world.logits(model)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities.append(p / p.sum(axis=1, keepdims=True))
        codes.append(world.asked)
    error = calibration_error(np.concatenate(probabilities), np.concatenate(codes))
    assert error < 0.06


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_probabilities_hold_for_few_classes(noise):
    """Two to six classes without names: a dozen held-out shots choose the weights and test them."""
    confidence, right = [], []
    for n_classes, n_shots in [(2, 2), (2, 4), (3, 2), (4, 8), (5, 2), (6, 4)]:
        for seed in range(12):
            world = World(n_classes, seed=seed, noise=noise)
            model = world.fit(*world.images(np.full(n_classes, n_shots)), text=False)
            p = softmax(world.logits(model))
            confidence.append(p.max(axis=1).mean())
            right.append((p.argmax(axis=1) == world.asked).mean())
    above = np.reshape(confidence, (6, 12)).mean(axis=1) - np.reshape(right, (6, 12)).mean(axis=1)
    # Where little is known, modesty is the smaller error.
    assert -0.1 < above.mean() < 0.08
    assert above.max() < 0.15


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_rotation_and_a_constant_block_change_nothing(n_classes, text):
    for seed in range(4):
        world = World(n_classes, seed=seed)
        shots, codes = world.images(np.full(n_classes, 4))
        p = softmax(world.logits(world.fit(shots, codes, text=text)))
        constant = np.full((len(shots), 16), 0.25)
        both = side_by_side(world, shots, codes, constant, np.full((len(p), 16), 0.25), text=text)
        assert np.abs(softmax(both) - p).max() < 0.02
        turn = np.linalg.qr(world.rng.normal(size=(WIDTH, WIDTH)))[0]
        world.text = world.text @ turn
        model = world.fit(shots @ turn, codes, text=text)
        turned = world.queries @ turn @ model.coef.T + model.intercept
        np.testing.assert_allclose(softmax(turned), p, atol=1e-3)


@pytest.mark.parametrize("apart", [0, 0.02])
def test_texts_that_are_alike_count_as_none(apart):
    """Names like "type A12" and "type A13" say nothing; the shots decide."""
    for n_shots in (1, 4):
        alike, without = [], []
        for seed in range(6):
            world = World(seed=seed)
            shots = world.images(np.full(12, n_shots))
            world.text = unit(
                world.text[:1] + apart * unit(world.rng.normal(size=world.text.shape))
            )
            alike.append(world.score(world.fit(*shots)))
            without.append(world.score(world.fit(*shots, text=False)))
        assert np.mean(alike) > np.mean(without) - 0.02


def test_wrong_labels_are_found():
    for seed in range(3):
        world = World(seed=seed, noise=0.6)
        shots, codes = world.images(np.full(12, 8))
        assert (world.fit(shots, codes).weights == 1).all()
        wrong = np.arange(0, len(codes), 9)
        given = codes.copy()
        given[wrong] = (codes[wrong] + 5) % 12
        beliefs = world.fit(shots, given).weights
        assert np.median(beliefs[wrong]) < 0.2
        assert np.delete(beliefs, wrong).mean() > 0.9


def test_a_useless_text_is_not_trusted():
    world = World()
    world.text = unit(world.rng.normal(size=world.text.shape))
    model = world.fit(*world.images(np.full(12, 8)))
    without = world.fit(*world.images(np.full(12, 8)), text=False)
    assert world.score(model) > world.score(without) - 0.03


# Several blocks.


def side_by_side(world, shots, codes, second, queries, *, text):
    """Logits of the queries with a second block of shots and queries."""
    widths = [shots.shape[1], second.shape[1]]
    model = world.fit(np.hstack([shots, second]), codes, text=text, widths=widths)
    return np.hstack([world.queries, queries]) @ model.coef.T + model.intercept


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("n_shots", [1, 3])
@pytest.mark.parametrize("kind", ["noise", "copy", "of other images"])
def test_a_useless_block_costs_nothing(n_shots, text, kind):
    losses = []
    for seed in range(6):
        world = World(seed=seed, n_classes=20)
        shots, codes = world.images(np.full(20, n_shots))

        def second(rows, rng=world.rng):
            if kind == "noise":
                return unit(rng.normal(size=(len(rows), 50)))
            return rows if kind == "copy" else rng.permutation(rows)

        alone = world.score(world.fit(shots, codes, text=text))
        both = side_by_side(world, shots, codes, second(shots), second(world.queries), text=text)
        losses.append(alone - (both.argmax(axis=1) == world.asked).mean())
    assert np.mean(losses) < 0.01


@pytest.mark.parametrize("text", [False, True])
def test_a_second_encoder_helps_and_is_calibrated(text):
    gains, probabilities, codes = [], [], []
    for seed in range(6):
        world = World(seed=seed, n_classes=20)
        shots, own = world.images(np.full(20, 4))
        alone = world.score(world.fit(shots, own, text=text))
        second, queries = world.second(own), world.second(world.asked)
        logits = side_by_side(world, shots, own, second, queries, text=text)
        gains.append((logits.argmax(axis=1) == world.asked).mean() - alone)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities.append(p / p.sum(axis=1, keepdims=True))
        codes.append(world.asked)
    assert np.mean(gains) > 0.05
    assert calibration_error(np.concatenate(probabilities), np.concatenate(codes)) < 0.06
