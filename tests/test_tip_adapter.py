"""Tip-Adapter's numbers, against the formula written plainly in NumPy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from sktip import TipAdapterClassifier
from sktip._encoding.session import open_encoder

ALPHA, BETA, SCALE = 1.7, 4.2, 30.0


def plain_logits(f, W, K, codes, *, alpha=ALPHA, beta=BETA, scale=SCALE, weights=None):
    """The formula of the paper, with the one-hot matrix and no blocks."""
    one_hot = np.zeros((len(K), codes.max() + 1 if W is None else len(W)))
    one_hot[np.arange(len(K)), codes] = 1 if weights is None else weights
    votes = np.exp(-beta * (1 - f @ K.T)) @ one_hot
    return alpha * votes + (0 if W is None else scale * f @ W.T)


def classifier(text=None, **parameters):
    defaults = {"alpha": ALPHA, "beta": BETA, "logit_scale": SCALE}
    return TipAdapterClassifier(text_features=text, **{**defaults, **parameters})


@pytest.mark.parametrize("shots", [(3, 3, 3), (1, 1, 1), (1, 4, 2, 7), (20, 30, 17), (5, 5)])
@pytest.mark.parametrize("weighted", [False, True])
def test_logits_are_the_papers_formula(features, shots, weighted):
    X, y, W = features(shots)
    Q = features((4,) * len(shots), seed=1)[0]
    weights = np.random.default_rng(2).uniform(0, 3, len(y)) if weighted else None
    clf = classifier(W).fit(X, y, sample_weight=weights)
    expected = plain_logits(Q, W, X, y, weights=weights)
    decision = clf.decision_function(Q)
    if len(shots) == 2:
        np.testing.assert_allclose(decision, expected[:, 1] - expected[:, 0], rtol=0, atol=1e-9)
    else:
        np.testing.assert_allclose(decision, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(clf.predict_proba(Q), softmax(expected, axis=1), atol=1e-9)
    np.testing.assert_allclose(clf.predict_log_proba(Q), log_softmax(expected, axis=1), atol=1e-9)
    np.testing.assert_array_equal(clf.predict(Q), expected.argmax(axis=1))
    assert clf.score(Q, clf.predict(Q)) == 1


def test_cache_alone(features):
    X, y, _ = features((2, 5, 3))
    Q = features((4, 4, 4), seed=1)[0]
    with pytest.warns(UserWarning, match="no text prior: predictions come from the cached shots"):
        clf = classifier().fit(X, y)
    assert clf.text_features_ is None
    np.testing.assert_allclose(clf.decision_function(Q), plain_logits(Q, None, X, y), atol=1e-9)
    zero = clf.decision_function(np.zeros((1, X.shape[1])))
    np.testing.assert_allclose(zero[0], ALPHA * np.exp(-BETA) * np.array([2, 5, 3]), atol=1e-9)


def test_order_of_shots_does_not_matter_and_is_kept(features):
    X, y, W = features((3, 1, 4))
    Q = features((4, 4, 4), seed=1)[0]
    order = np.random.default_rng(0).permutation(len(y))
    clf, shuffled = classifier(W).fit(X, y), classifier(W).fit(X[order], y[order])
    np.testing.assert_allclose(shuffled.decision_function(Q), clf.decision_function(Q), atol=1e-9)
    np.testing.assert_allclose(shuffled.cache_keys_, X[order])
    np.testing.assert_array_equal(shuffled.cache_codes_, y[order])


def test_alpha_zero_is_zero_shot(features):
    X, y, W = features()
    Q = features(seed=1)[0]
    clf = classifier(W, alpha=0.0).fit(X, y)
    np.testing.assert_allclose(clf.decision_function(Q), SCALE * Q @ W.T, atol=1e-9)


def test_alpha_and_beta_can_be_set_after_fit(features):
    X, y, W = features()
    clf = classifier(W).fit(X, y).set_params(alpha=3.0, beta=1.0)
    expected = plain_logits(X, W, X, y, alpha=3.0, beta=1.0)
    np.testing.assert_allclose(clf.decision_function(X), expected, atol=1e-9)


def test_rows_are_normalised_by_the_estimator(features):
    X, y, W = features()
    scaled = X * np.arange(1, len(X) + 1)[:, None]
    clf, raw = classifier(W).fit(X, y), classifier(5 * W).fit(scaled, y)
    np.testing.assert_allclose(raw.decision_function(3 * X), clf.decision_function(X), atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_query_at_a_time(features, weighted):
    X, y, W = features((4, 2, 3))
    clf = classifier(W).fit(X, y, sample_weight=np.linspace(0.5, 2, 9) if weighted else None)
    alone = np.concatenate([clf.predict_proba(row[None]) for row in X])
    np.testing.assert_allclose(alone, clf.predict_proba(X), atol=1e-9)


def test_queries_in_any_array(features, tmp_path):
    X, y, W = features()
    clf = classifier(W).fit(X, y)
    expected = clf.decision_function(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for other in (
        X.tolist(),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        read_only,
        mapped,
    ):
        np.testing.assert_allclose(clf.decision_function(other), expected, atol=1e-9)
    swapped = clf.decision_function(X.astype(X.dtype.newbyteorder()))
    np.testing.assert_allclose(swapped, expected, atol=1e-9)
    for wrong, message in ((X[:, :7], "7 features"), (X[0], "1D array"), (X[:0], "0 sample")):
        with pytest.raises(ValueError, match=message):
            clf.predict(wrong)


def test_huge_and_tiny_rows_are_not_taken_for_bad_ones(features):
    X, y, W = features()
    clf = classifier(W).fit(X, y)
    for scale in (1e-100, 1e100):
        np.testing.assert_allclose(clf.predict_proba(scale * X), clf.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_dtypes(features, dtype):
    X, y, W = features()
    X = (100 * X).astype(dtype)
    logits = classifier(W).fit(X, y).decision_function(X)
    assert logits.dtype == (np.float32 if dtype == np.float32 else np.float64)
    unit = X / np.linalg.norm(X.astype(float), axis=1, keepdims=True)
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(logits, plain_logits(unit, W, unit, y), atol=tolerance)


def test_sample_weight_counts_a_shot_several_times(features):
    X, y, W = features()
    Q = features(seed=1)[0]
    repeats = np.array([1, 3, 2, 0, 1, 1, 2, 1, 4])
    weighted = classifier(W).fit(X, y, sample_weight=repeats)
    repeated = classifier(W).fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats))
    np.testing.assert_allclose(
        weighted.decision_function(Q), repeated.decision_function(Q), atol=1e-9
    )
    with pytest.raises(ValueError, match="(?i)weight.*zero"):
        classifier(W).fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="Negative"):
        classifier(W).fit(X, y, sample_weight=-np.ones(len(y)))


class TestPartialFit:
    """Appended shots give the same classifier as one fit."""

    @pytest.mark.parametrize(
        "weighted", [(False, False), (True, False), (False, True), (True, True)]
    )
    def test_equals_fit(self, features, weighted):
        X, y, W = features((3, 1, 4))
        weights = np.linspace(0.5, 2, len(y))
        parts = [slice(0, 3), slice(3, None)]
        clf = classifier(W)
        for part, use in zip(parts, weighted, strict=True):
            clf.partial_fit(X[part], y[part], sample_weight=weights[part] if use else None)
        total = np.concatenate(
            [
                weights[p] if use else np.ones(len(y[p]))
                for p, use in zip(parts, weighted, strict=True)
            ]
        )
        whole = classifier(W).fit(X, y, sample_weight=total if any(weighted) else None)
        np.testing.assert_array_equal(clf.cache_keys_, whole.cache_keys_)
        np.testing.assert_array_equal(clf.cache_codes_, whole.cache_codes_)
        np.testing.assert_array_equal(clf.classes_, whole.classes_)
        np.testing.assert_allclose(clf.predict_proba(X), whole.predict_proba(X), atol=1e-9)

    def test_new_classes_and_their_names(self, clip, digit_features):
        F, labels = digit_features
        first = np.isin(labels, ["two", "five", "nine"])
        clf = TipAdapterClassifier(clip, input="features", templates="the digit {}")
        clf.partial_fit(F[first], labels[first])
        old = dict(zip(clf.classes_, clf.text_features_, strict=True))
        clf.partial_fit(F[~first], labels[~first])
        whole = clf.__class__(**clf.get_params(deep=False)).fit(
            np.concatenate([F[first], F[~first]]), np.concatenate([labels[first], labels[~first]])
        )
        np.testing.assert_array_equal(clf.classes_, whole.classes_)
        np.testing.assert_allclose(clf.predict_proba(F), whole.predict_proba(F), atol=1e-6)
        for label, row in old.items():
            np.testing.assert_array_equal(clf.text_features_[list(clf.classes_).index(label)], row)

    def test_known_classes_do_not_need_the_model(self, clip, digit_features):
        F, labels = digit_features
        clf = TipAdapterClassifier(clip, input="features").fit(F, labels)
        clf.set_params(encoder="no such model")
        assert len(clf.partial_fit(F[:3], labels[:3]).cache_keys_) == len(F) + 3

    def test_classes_announced_before_their_shots(self, features):
        X, y, _ = features()
        with pytest.warns(UserWarning, match="no text prior"):
            clf = classifier().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
        assert clf.classes_.tolist() == [0, 1, 2]
        assert clf.predict_proba(X).shape == (len(X), 3)

    def test_refused_for_a_fine_tuned_cache(self, features):
        X, y, W = features()
        clf = classifier(W, fine_tune=True, n_epochs=1)
        assert not hasattr(clf, "partial_fit")
        with pytest.raises(AttributeError, match="no attribute 'partial_fit'"):
            clf.partial_fit(X, y)
        assert hasattr(clf.set_params(fine_tune=False), "partial_fit")
        clf.set_params(fine_tune=True)
        with pytest.raises(ValueError, match="fine-tuned"):
            clf.fit(X, y).set_params(fine_tune=False).partial_fit(X, y)

    def test_width_must_stay(self, features):
        X, y, W = features()
        clf = classifier(W).fit(X, y)
        with pytest.raises(
            ValueError, match="X has 7 features, but TipAdapterClassifier is expecting 8"
        ):
            clf.partial_fit(X[:, :7], y)


class TestFineTuning:
    """Tip-Adapter-F: learned keys, everything else as it was."""

    def test_gradient_is_that_of_autograd(self, features):
        import torch

        from sktip._maths.cache import CacheValues
        from sktip._maths.fine_tune import loss_and_gradient

        X, y, W = features((3, 1, 4))
        f, K, codes = torch.tensor(X[:5]), torch.tensor(X, requires_grad=True), torch.tensor(y)
        weights = torch.linspace(0.5, 2, len(y), dtype=torch.float64)
        prior = SCALE * torch.tensor(W) @ f.T
        one_hot = torch.nn.functional.one_hot(codes) * weights[:, None]
        logits = prior.T + ALPHA * torch.exp(-BETA * (1 - f @ K.T)) @ one_hot
        losses = torch.nn.functional.cross_entropy(logits, codes[:5], reduction="none")
        (weights[:5] * losses).mean().backward()
        loss, gradient = loss_and_gradient(
            f, codes[:5], K.detach(), CacheValues(codes, 3, weights), prior,
            alpha=ALPHA, beta=BETA, weights=weights[:5],
        )  # fmt: skip
        assert loss.item() == pytest.approx((weights[:5] * losses).mean().item(), abs=1e-12)
        # A key of weight 2 learns as each of two copies of it would.
        np.testing.assert_allclose(weights[:, None] * gradient, K.grad, atol=1e-12)

    def test_equals_a_plain_training_loop(self, features):
        import torch

        X, y, W = features((3, 3, 3))
        clf = classifier(W, fine_tune=True, n_epochs=5, batch_size=len(y), random_state=0).fit(X, y)
        K = torch.nn.Parameter(torch.tensor(X))
        f, one_hot = torch.tensor(X), torch.nn.functional.one_hot(torch.tensor(y)).double()
        optimizer = torch.optim.AdamW([K], lr=1e-3, eps=1e-4, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
        losses = []
        for _ in range(5):
            logits = (
                SCALE * f @ torch.tensor(W).T + ALPHA * torch.exp(-BETA * (1 - f @ K.T)) @ one_hot
            )
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        np.testing.assert_allclose(clf.cache_keys_, K.detach().numpy(), atol=1e-9)
        np.testing.assert_allclose(clf.loss_curve_, losses, atol=1e-9)
        assert clf.n_iter_ == 5

    def test_lowers_the_loss_and_is_reproducible(self, features):
        X, y, W = features((8, 5, 9))
        first, again, other = (
            classifier(W, fine_tune=True, batch_size=4, random_state=seed).fit(X, y)
            for seed in (0, 0, 1)
        )
        assert first.loss_curve_[-1] < first.loss_curve_[0]
        np.testing.assert_array_equal(first.cache_keys_, again.cache_keys_)
        assert abs(first.cache_keys_ - other.cache_keys_).max() > 0

    def test_touches_nothing_but_its_own_keys(self, features):
        X, y, W = features()
        X_before, plain = X.copy(), classifier(W).fit(X, y)
        keys_before = plain.cache_keys_.copy()
        tuned = classifier(W, fine_tune=True, random_state=0).fit(X, y)
        np.testing.assert_array_equal(X, X_before)
        np.testing.assert_array_equal(plain.cache_keys_, keys_before)
        assert abs(tuned.cache_keys_ - plain.cache_keys_).max() > 1e-4
        np.testing.assert_array_equal(tuned.text_features_, plain.text_features_)
        assert not hasattr(tuned.set_params(fine_tune=False).fit(X, y), "loss_curve_")

    def test_weights_stand_for_repeated_shots(self, features):
        X, y, W = features()
        repeats = np.array([1, 3, 2, 1, 1, 1, 2, 1, 4])
        parameters = {"fine_tune": True, "n_epochs": 3, "batch_size": 100}
        weighted = classifier(W, **parameters).fit(X, y, sample_weight=repeats)
        repeated = classifier(W, **parameters).fit(np.repeat(X, repeats, 0), np.repeat(y, repeats))
        np.testing.assert_allclose(weighted.loss_curve_[0], repeated.loss_curve_[0], rtol=1e-9)

    def test_float32_and_progress(self, features, capsys):
        X, y, W = features(dtype=np.float32)
        clf = classifier(W, fine_tune=True, n_epochs=3, verbose=1).fit(X, y)
        assert clf.cache_keys_.dtype == np.float32
        assert "Fine-tuning" in capsys.readouterr().err


class TestImages:
    """Images in, with the bundled model."""

    def test_images_and_their_features_agree(self, clip, digits, digit_features):
        images, labels = digits
        F, _ = digit_features
        on_images = TipAdapterClassifier(clip, templates="the digit {}").fit(
            images[:60], labels[:60]
        )
        on_features = TipAdapterClassifier(clip, input="features", templates="the digit {}")
        on_features.fit(F[:60], labels[:60])
        np.testing.assert_allclose(
            on_images.predict_proba(images[60:80]), on_features.predict_proba(F[60:80]), atol=1e-5
        )
        assert not hasattr(on_images, "n_features_in_")
        assert on_features.n_features_in_ == 128

    def test_keys_are_normalised_means_of_raw_views(self, clip, digits):
        images, labels = digits
        clf = TipAdapterClassifier(clip, n_views=4, random_state=0).fit(images[:20], labels[:20])
        seeds = np.random.RandomState(0)
        raw = np.stack(list(open_encoder(clip).views(images[:20], 4, seeds)))
        mean = raw.mean(axis=1)
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        np.testing.assert_allclose(clf.cache_keys_, expected, atol=1e-6)
        plain = TipAdapterClassifier(clip).fit(images[:20], labels[:20])
        plain.cache_keys_ = clf.cache_keys_
        np.testing.assert_allclose(
            clf.predict_proba(images[20:25]), plain.predict_proba(images[20:25]), atol=1e-6
        )

    def test_fine_tuning_on_views(self, clip, digits):
        images, labels = digits
        parameters = {"n_views": 3, "fine_tune": True, "n_epochs": 3, "random_state": 0}
        first = TipAdapterClassifier(clip, **parameters).fit(images[:40], labels[:40])
        again = TipAdapterClassifier(clip, **parameters).fit(images[:40], labels[:40])
        np.testing.assert_array_equal(first.cache_keys_, again.cache_keys_)
        untuned = TipAdapterClassifier(clip, n_views=3, random_state=0).fit(
            images[:40], labels[:40]
        )
        assert abs(first.cache_keys_ - untuned.cache_keys_).max() > 1e-4

    def test_shots_help(self, clip, digit_features):
        F, labels = digit_features
        scores = {}
        for name, parameters in {
            "zero-shot": {"alpha": 0.0},
            "tip": {},
            "tip-f": {"fine_tune": True},
        }.items():
            clf = TipAdapterClassifier(
                clip, input="features", templates="the digit {}", random_state=0, **parameters
            )
            scores[name] = clf.fit(F[:120], labels[:120]).score(F[120:], labels[120:])
        assert scores["tip-f"] > scores["tip"] > scores["zero-shot"]

    def test_views_need_images_and_a_plain_encoder(self, clip, digits, digit_features):
        from sklearn.base import clone

        with pytest.raises(ValueError, match="n_views=2 needs images"):
            TipAdapterClassifier(clip, input="features", n_views=2).fit(*digit_features)
        augmenting = clone(clip).set_params(n_views=2)
        with pytest.raises(ValueError, match="encoder has n_views=2"):
            TipAdapterClassifier(augmenting).fit(*digits)


@pytest.mark.parametrize("fine_tuned", [False, True])
def test_files_of_the_official_script(tmp_path, fine_tuned):
    """The lines of the page on migrating: keys are transposed there, labels one-hot, and text columns."""
    rng, codes = np.random.default_rng(0), np.arange(80) % 5

    def near(centres):
        rows = torch.tensor(centres + 1.5 * rng.normal(size=centres.shape) + 3)
        return (rows / rows.norm(dim=1, keepdim=True)).float()

    centres = rng.normal(size=(5, 1024))
    torch.save(near(centres[codes]).T, tmp_path / "keys.pt")
    torch.save(torch.nn.functional.one_hot(torch.tensor(codes)).half(), tmp_path / "values.pt")
    clip_weights, test_f = near(centres).T, near(centres[codes])

    keys, values = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("keys", "values")
    )
    clf = TipAdapterClassifier(text_features=clip_weights.T, alpha=1.17, beta=5.5)
    clf.fit(keys.T, values.argmax(axis=1))
    if fine_tuned:
        keys = keys + 0.01 * torch.tensor(rng.normal(size=keys.shape)).float()
        clf.cache_keys_ = keys.T.numpy()
    affinity = test_f.double() @ keys.double()
    logits = 100 * test_f.double() @ clip_weights.double()
    logits += 1.17 * (5.5 * (affinity - 1)).exp() @ values.double()
    assert 30 < logits.abs().max() < 100
    np.testing.assert_allclose(clf.decision_function(test_f), logits, rtol=0, atol=5e-5)
