"""Unlabelled images: they help where they fit the classes, and change nothing where they do not."""

import tracemalloc

import numpy as np
import pytest

from sktip._maths.text_prior import add_pool, fit_text_prior, pool
from sktip._maths.text_prior.pool import _duplicate_weights, _soft_statistics, probabilities

WIDTH, SCALE = 16, 20.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class World:
    """Classes whose images surround a mean that their text shows roughly."""

    def __init__(self, n_classes=6, seed=0, *, noise=1.2, text_noise=0.8):
        self.rng = np.random.default_rng(seed)
        self.n_classes, self.noise = n_classes, noise
        self.truth = self.rng.normal(size=(n_classes, WIDTH))
        self.text = unit(2 + self.truth + text_noise * self.rng.normal(size=self.truth.shape))
        self.offset = self.rng.normal(size=WIDTH)

    def images(self, codes):
        noise = self.noise * self.rng.normal(size=(len(codes), WIDTH))
        return unit(self.offset + self.truth[codes] + noise).astype(np.float32)

    def pool(self, n_each, classes=None):
        classes = np.arange(self.n_classes) if classes is None else classes
        return self.images(np.repeat(classes, n_each))

    def model(self, n_shots, *, with_text=True):
        codes = np.tile(np.arange(self.n_classes), n_shots)
        return fit_text_prior(
            self.images(codes).astype(np.float64),
            codes,
            text=self.text if with_text else None,
            logit_scale=SCALE,
            n_classes=self.n_classes,
        )

    def accuracy(self, answer):
        codes = np.repeat(np.arange(self.n_classes), 200)
        logits = self.images(codes) @ answer.coef.T + answer.intercept
        return float((logits.argmax(axis=1) == codes).mean())


def assert_same_answer(found, model):
    np.testing.assert_array_equal(found.coef, model.coef)
    np.testing.assert_array_equal(found.intercept, model.intercept)
    assert (found.trust, found.scale, found.n_iter, found.means) == (0.0, 1.0, 0, None)


@pytest.mark.parametrize(("n_shots", "gain"), [(0, 0.03), (1, 0.02), (3, 0.003)])
def test_a_pool_helps(n_shots, gain):
    before, after = [], []
    for seed in range(6):
        world = World(seed=seed)
        model = world.model(n_shots)
        found = add_pool(model, world.pool(60), world.text)
        assert found.n_iter == pool.ROUNDS
        before.append(world.accuracy(model))
        after.append(world.accuracy(found))
    assert np.mean(after) > np.mean(before) + gain


def test_a_pool_helps_without_text():
    before, after = [], []
    for seed in range(6):
        world = World(seed=seed)
        model = world.model(1, with_text=False)
        before.append(world.accuracy(model))
        after.append(world.accuracy(add_pool(model, world.pool(60), None)))
    assert np.mean(after) > np.mean(before) + 0.02


def test_two_classes():
    before, after = [], []
    for seed in range(8):
        world = World(2, seed)
        model = world.model(1)
        before.append(world.accuracy(model))
        after.append(world.accuracy(add_pool(model, world.pool(100), world.text)))
    assert np.mean(after) > np.mean(before)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_shots", [0, 2])
def test_a_single_class_gives_finite_logits(n_shots):
    world = World(1)
    found = add_pool(world.model(n_shots), world.pool(20), world.text)
    assert np.isfinite(found.coef).all()
    assert np.isfinite(found.intercept).all()


@pytest.mark.parametrize("n_shots", [0, 2])
def test_a_pool_of_one_class_of_many_changes_nothing(n_shots):
    world = World(12, noise=0.6, text_noise=0.4)
    model = world.model(n_shots)
    assert_same_answer(add_pool(model, world.pool(300, [3]), world.text), model)


def test_uneven_counts_of_a_small_sample_are_partly_forgiven(monkeypatch):
    world = World(30, noise=0.3, text_noise=0.2)
    model = world.model(1)
    images = world.images(world.rng.integers(30, size=60))
    found = add_pool(model, images, world.text)
    monkeypatch.setattr(pool, "NOISE", 0)
    assert found.trust > 1.2 * add_pool(model, images, world.text).trust > 0


@pytest.mark.parametrize("n_images", [40, 2000])
@pytest.mark.parametrize(("n_shots", "with_text"), [(0, True), (2, True), (2, False)])
def test_noise_changes_nothing(n_images, n_shots, with_text):
    world = World(n_classes=12)
    model = world.model(n_shots, with_text=with_text)
    noise = unit(np.random.default_rng(5).normal(size=(n_images, WIDTH))).astype(np.float32)
    text = world.text if with_text else None
    assert_same_answer(add_pool(model, noise, text), model)
    # Nor does noise around a place of its own.
    shifted = unit(noise + 0.5 * np.eye(WIDTH)[0]).astype(np.float32)
    assert_same_answer(add_pool(model, shifted, text), model)


def test_an_image_that_is_repeated_changes_nothing():
    world = World(12)
    model = world.model(1)
    assert_same_answer(
        add_pool(model, np.repeat(world.pool(1)[:1], 500, axis=0), world.text), model
    )


def test_no_image_changes_nothing():
    world = World()
    model = world.model(1)
    assert_same_answer(add_pool(model, world.pool(1)[:0], world.text), model)


@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("n_images", [1, 2, 7])
def test_fewer_images_than_classes_do_no_harm(n_images, with_text):
    world = World(20)
    model = world.model(1, with_text=with_text)
    images = world.pool(1)[world.rng.permutation(20)[:n_images]]
    found = add_pool(model, images, world.text if with_text else None)
    assert np.isfinite(found.coef).all()
    assert np.isfinite(found.intercept).all()
    assert world.accuracy(found) > world.accuracy(model) - 0.03


@pytest.mark.parametrize("n_shots", [0, 2])
def test_order_of_classes_does_not_matter(n_shots):
    world = World()
    images = world.pool(50)
    model, order = world.model(n_shots), world.rng.permutation(world.n_classes)
    found = add_pool(model, images, world.text)
    rows = {"text_coef", "means_coef", "means_intercept", "correction_coef", "correction_intercept"}
    moved = {name: getattr(model, name)[order] for name in rows}
    statistics = model.statistics
    moved["statistics"] = type(statistics)(
        statistics.counts[order], statistics.sums[order], statistics.moment
    )
    again = add_pool(type(model)(**{**vars(model), **moved}), images, world.text[order])
    np.testing.assert_allclose(again.coef, found.coef[order], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.intercept, found.intercept[order], rtol=1e-4, atol=1e-4)


def test_the_same_twice_is_the_same_bit_for_bit():
    world = World()
    model, images = world.model(1), world.pool(40)
    first, second = (add_pool(model, images, world.text) for _ in range(2))
    np.testing.assert_array_equal(first.coef, second.coef)


def test_near_duplicates_share_the_weight_of_one_image():
    world = World(noise=1.6)
    model = world.model(0)
    images = world.pool(4)
    copies = unit(images[[2] * 9] + 1e-3 * world.rng.normal(size=(9, WIDTH))).astype(np.float32)
    weights = _duplicate_weights(np.vstack([images, copies]), model.coef, model.intercept)
    np.testing.assert_allclose(weights[[2, *range(24, 33)]], 0.1)
    np.testing.assert_array_equal(np.delete(weights[:24], 2), 1)


def test_repeating_some_images_matters_little():
    world = World()
    model, images = world.model(1), world.pool(60)
    once = add_pool(model, images, world.text)
    burst = add_pool(model, np.vstack([images, np.repeat(images[:3], 100, axis=0)]), world.text)
    difference = np.abs(burst.coef - once.coef).max()
    assert difference < 0.05 * np.abs(once.coef - model.coef).max()


def test_confidence_grows_little_on_the_pool():
    world = World()
    model, images = world.model(2), world.pool(60)
    found = add_pool(model, images, world.text)

    def confidence(answer, scale=1.0):
        of_blocks = probabilities(images, answer.coef / scale, answer.intercept / scale)
        return np.concatenate([p.max(axis=1) for _, p in of_blocks]).mean()

    assert found.scale <= 1
    before, plain = confidence(model), confidence(found, found.scale)
    assert before - 0.002 < confidence(found) < before + 0.7 * (plain - before)


def test_means_are_those_of_shots_and_pool():
    world = World()
    model = world.model(2)
    found = add_pool(model, world.pool(60), world.text)
    assert (found.means.counts > model.statistics.counts).all()
    soft = found.means.counts - model.statistics.counts
    assert soft.max() < (pool.CAP + 1e-6) * np.median(soft)

    def error(means):
        expected = np.array([world.images(np.full(400, c)).mean(axis=0) for c in range(6)])
        return np.linalg.norm(means.posterior - expected, axis=1).mean()

    assert error(found.means) < error(model.means)


def test_statistics_of_blocks_are_those_of_the_whole(monkeypatch):
    world = World()
    model, images = world.model(1), world.pool(30)
    whole = add_pool(model, images, world.text)
    monkeypatch.setattr(pool, "CELLS", 50)
    blocks = add_pool(model, images, world.text)
    assert blocks.trust == pytest.approx(whole.trust, rel=1e-5)
    monkeypatch.undo()
    monkeypatch.setattr(pool, "ROWS", 7)
    monkeypatch.setattr("sktip._maths.text_prior.statistics.ROWS", 7)
    blocks = add_pool(model, images, world.text)
    np.testing.assert_allclose(blocks.coef, whole.coef, rtol=1e-3, atol=1e-3)


def test_soft_statistics_are_capped_sums_by_probability():
    world = World()
    # Class 3 has many more images than the others.
    model, images = world.model(1), np.vstack([world.pool(30), world.pool(400, [3])])
    weights = world.rng.uniform(0.1, 1, len(images)).astype(np.float32)
    logits = images @ model.coef.T + model.intercept
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p *= (weights * p.max(axis=1))[:, None]
    assert p.sum(axis=0).max() > pool.CAP * np.median(p.sum(axis=0))
    p *= np.minimum(1, pool.CAP * np.median(p.sum(axis=0)) / p.sum(axis=0))
    found = _soft_statistics(pool._Pool(images, weights), model.coef, model.intercept)
    np.testing.assert_allclose(found.counts, p.sum(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.sums, p.T @ images, atol=1e-3)
    expected = (images * p.sum(axis=1)[:, None]).T @ images
    np.testing.assert_allclose(found.moment, expected, atol=1e-3)


def test_memory_does_not_grow_with_images_times_classes():
    world = World(400)
    model, images = world.model(0), world.pool(100)
    tracemalloc.start()
    add_pool(model, images, world.text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All probabilities in single precision would be 64 MB.
    assert peak < 48e6
