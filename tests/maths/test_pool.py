"""Unlabelled images: how many of each class are among them, and what they add."""

import itertools

import numpy as np
import pytest
from made_up import WIDTH, World, unit
from scipy.special import softmax
from scipy.stats import binomtest

from sktip._maths.log_loss import log_loss
from sktip._maths.pool import _class_shares, add_pool


def answer(world, model, pool, *, text=True):
    zeros = np.zeros((world.n_classes, pool.shape[1] - WIDTH))
    return add_pool(
        model.coef,
        model.intercept,
        model.statistics,
        pool.astype(np.float32),
        np.hstack([world.text, zeros]) if text else None,
        weights_of_blocks=model.relative_weights,
    )


def fitted(world, n_shots):
    return world.fit(*world.images(np.full(world.n_classes, n_shots)))


def strangers(world, n):
    """Images of other classes, further from all texts."""
    truth = world.rng.normal(size=(n, WIDTH))
    return unit(world.offset - 2 + truth)


def gains(n_shots, counts, *, n_strangers=0, alike=False, seeds=6, **world):
    """Mean gain over the classifier without the pool; and over queries like the pool, with priors."""
    found = []
    for seed in range(seeds):
        made = World(seed=seed, noise=1.2, **world)
        model, counts = fitted(made, n_shots), np.resize(counts, made.n_classes)
        pool = np.vstack([made.images(counts)[0], strangers(made, n_strangers)])
        pooled = answer(made, model, pool)
        if alike:
            made.queries, made.asked = made.images(5 * counts)
        before = made.score(model)
        offsets = pooled.prior_offsets if alike else 0
        after = made.score(pooled._replace(intercept=pooled.intercept + offsets))
        found.append(after - before)
    return np.mean(found)


@pytest.mark.parametrize("n_shots", [0, 1, 4])
def test_a_pool_helps(n_shots):
    clean = gains(n_shots, 30)
    assert clean > 0.003
    # As many strangers change little.
    assert gains(n_shots, 30, n_strangers=360) > clean - 0.015


@pytest.mark.parametrize("n_shots", [0, 2])
@pytest.mark.parametrize("counts", [[60] * 2 + [0] * 10, [2] + [1] * 11, [40, 20, 10, 5, 3, 2]])
def test_no_pool_does_harm(n_shots, counts):
    assert gains(n_shots, counts) > -0.005


def test_only_strangers_do_little_harm():
    assert gains(1, 0, n_strangers=200) > -0.03


@pytest.mark.parametrize("n_classes", [2, 12])
@pytest.mark.parametrize("text", [True, False])
def test_a_pool_of_noise_changes_nothing(n_classes, text):
    world = World(n_classes)
    model = world.fit(*world.images(np.full(n_classes, 1)), text=text)
    noise = unit(world.rng.normal(size=(300, WIDTH)))
    found = answer(world, model, noise, text=text)
    assert found.unknown > 0.9
    assert world.score(found) > world.score(model) - 0.01


@pytest.mark.parametrize("n_shots", [1, 2])
def test_queries_like_a_pool_of_few_classes_gain_by_its_shares(n_shots):
    assert gains(n_shots, [60] * 2 + [0] * 10, alike=True) > 0.005


def test_even_shares_change_little():
    assert gains(1, 30, alike=True) > -0.003


@pytest.mark.parametrize(
    ("n_classes", "n_shots", "noise"), [(2, 4, 2.0), (3, 2, 2.0), (6, 4, 3.0), (12, 1, 1.2)]
)
@pytest.mark.parametrize("text", [True, False])
def test_a_pool_makes_nothing_surer_than_it_makes_it_better(n_classes, n_shots, noise, text):
    found = []
    for seed in range(6):
        world = World(n_classes, noise=noise, seed=seed)
        model = world.fit(*world.images(np.full(n_classes, n_shots)), text=text)
        pool = world.images(np.full(n_classes, 40))[0]
        pooled = answer(world, model, pool, text=text)
        confidences = [
            softmax(world.logits(each), axis=1).max(axis=1).mean() for each in (model, pooled)
        ]
        found.append([*confidences, world.score(model), world.score(pooled)])
    before, after, right_before, right_after = np.mean(found, axis=0)
    assert after - before < max(right_after - right_before, 0) + 0.03


@pytest.mark.parametrize("n_shots", [0, 1])
def test_answers_that_are_far_too_sure_do_not_get_louder(n_shots):
    world = World()
    model = fitted(world, n_shots)
    pool = world.images(np.full(12, 60))[0]
    loud = model._replace(
        text_coef=20 * model.text_coef,
        means_part=tuple(20 * part for part in model.means_part),
        correction_part=tuple(20 * part for part in model.correction_part),
    )
    before, after = (
        log_loss(world.logits(each), world.asked, np.ones(len(world.asked)))[0]
        for each in (loud, answer(world, loud, pool))
    )
    assert after < before


def test_shares_are_closer_than_counts_of_answers():
    errors, stated = [], []
    for seed in range(6):
        world = World(seed=seed, noise=1.2)
        model = fitted(world, 1)
        counts = world.rng.permutation([80, 40, 20, 10, 5, 5, 2, 2, 1, 1, 0, 0])
        pool, codes = world.images(counts)
        pooled = answer(world, model, pool)
        assert pooled.shares.sum() == pytest.approx(1)
        answers = (pool @ model.coef.T + model.intercept).argmax(axis=1)
        truth = counts / counts.sum()
        counted = np.bincount(answers, minlength=12) / len(codes)
        errors.append([np.abs(pooled.shares - truth).sum(), np.abs(counted - truth).sum()])
        stated.append(((pooled.shares - truth) ** 2).sum() / (pooled.errors**2).sum())
    mine, by_counting = np.mean(errors, axis=0)
    assert mine < by_counting
    assert 0.2 < np.mean(stated) < 5


@pytest.mark.parametrize(("n_classes", "n_shots"), [(2, 2), (2, 4), (5, 2), (12, 1)])
def test_nine_in_ten_true_shares_are_within_their_errors(n_classes, n_shots):
    hits, errors = [], []
    for noise, strange, seed in itertools.product((1.0, 2.0), (0, 0.2, 0.5), range(6)):
        world = World(n_classes, noise=noise, text_noise=0.5, seed=seed)
        text = n_classes > 2
        model = world.fit(*world.images(np.full(n_classes, n_shots)), text=text)
        counts = world.rng.multinomial(120, world.rng.dirichlet(np.ones(n_classes)))
        pool = world.images(counts)[0]
        # Strangers between the classes and other places.
        size = (int(120 * strange / (1 - strange)), WIDTH)
        places = world.truth[world.rng.integers(0, n_classes, 3)] + world.rng.normal(
            size=(3, WIDTH)
        )
        places = np.sqrt(0.5) * places[world.rng.integers(0, 3, len(pool))][: size[0]]
        more = unit(world.offset + places + 1.5 * noise * world.rng.normal(size=size))
        found = answer(world, model, np.vstack([pool, more]), text=text)
        own = seed % n_classes
        hits.append(abs(found.shares - counts / 120)[own] < 1.96 * found.errors[own])
        errors.append(found.errors.mean())
    assert binomtest(sum(hits), len(hits), 0.9, alternative="less").pvalue > 0.01
    # What is easily told apart is counted more closely.
    easy, hard = np.mean(np.reshape(errors, (2, -1)), axis=1)
    assert easy < hard


@pytest.mark.parametrize("share", [0, 0.3, 0.6])
def test_unknown_images_are_counted(share):
    world = World(20, text_noise=0.3, noise=0.8)
    pool = world.images(np.full(20, 20))[0]
    n = int(len(pool) * share / (1 - share))
    pooled = answer(world, fitted(world, 2), np.vstack([pool, strangers(world, n)]))
    assert pooled.unknown == pytest.approx(share, abs=0.1)


def test_order_and_copies_of_the_pool_change_nothing():
    world = World()
    model, pool = fitted(world, 1), world.images(np.full(12, 10))[0]
    expected = answer(world, model, pool)
    order = world.rng.permutation(len(pool))
    for changed in (pool[order], np.tile(pool, (50, 1))):
        found = answer(world, model, changed)
        for name in ("coef", "intercept", "shares", "errors", "prior_offsets"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)


def test_one_image_a_thousand_times_is_one_image():
    world = World()
    pool = world.images(np.full(12, 1))[0][:1]
    near = unit(pool.repeat(1000, axis=0) + 1e-3 * world.rng.normal(size=(1000, WIDTH)))
    for n_shots, changed in itertools.product((0, 1), (pool, near)):
        model = fitted(world, n_shots)
        found = answer(world, model, changed)
        assert world.score(found) > world.score(model) - 0.01


def test_frames_of_one_animal_count_as_often_as_they_are_there():
    world = World()
    model, (pool, _) = fitted(world, 4), world.images(np.full(12, 5))
    frames = unit(pool[:1].repeat(200, axis=0) + 1e-3 * world.rng.normal(size=(200, WIDTH)))
    found = answer(world, model, np.vstack([pool, frames]))
    assert found.shares[0] == pytest.approx(205 / 260, abs=0.05)
    assert found.prior_offsets[0] > found.prior_offsets[1:].max() + 1


def test_an_empty_pool_changes_nothing():
    world = World()
    model = fitted(world, 1)
    found = answer(world, model, np.zeros((0, WIDTH)))
    np.testing.assert_array_equal(found.coef, model.coef)
    np.testing.assert_allclose(found.shares, 1 / 12)


def test_shares_of_sharp_answers_are_their_counts():
    p = np.eye(4, dtype=np.float32)[np.repeat([0, 1], [300, 100])]
    shares, variance, *_ = _class_shares(p, np.ones(400, np.float32))
    np.testing.assert_allclose(shares, [0.75, 0.25, 0, 0], atol=0.02)
    assert variance == pytest.approx(1.5, rel=0.2)


def test_two_blocks_gain_from_a_pool():
    found = []
    for seed in range(4):
        world = World(seed=seed, noise=1.2)
        shots, codes = world.images(np.full(12, 2))
        model = world.fit(np.hstack([shots, world.second(codes)]), codes, widths=[WIDTH, WIDTH])
        pool, shown = world.images(np.full(12, 15))
        world.queries = np.hstack([world.queries, world.second(world.asked)])
        pooled = answer(world, model, np.hstack([pool, world.second(shown)]))
        found.append(world.score(pooled) - world.score(model))
    assert np.mean(found) > 0.02
