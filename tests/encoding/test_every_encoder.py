"""What holds for every encoder of the registry, so that a new one needs no test of it."""

import pickle
import threading

import numpy as np
import pytest
from memory_runs import make_images
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

import sktip
from sktip import CLIPFeatureTransformer, FeatureMemory, FewShotClassifier, JointEncoder
from sktip._encoder import ENCODERS, encoder_of
from sktip._encoding.session import open_encoder
from sktip.exceptions import ImageReadError


@pytest.fixture(scope="module")
def small(timm_checkpoint):
    """A model of each prefix that needs no network: its name, and its weights."""
    models = {"": ("tiny", None), "timm:": ("test_vit.r160_in1k", timm_checkpoint)}
    assert models.keys() == ENCODERS.keys()
    return models


@pytest.fixture(params=ENCODERS)
def make(request, small):
    """Make an encoder of one prefix, with parameters."""
    name, weights = small[request.param]
    return lambda **parameters: encoder_of(
        request.param + name, weights, **{"device": "cpu", **parameters}
    )


# Encoders take no numbers, so scikit-learn skips nearly every check of them: these need no X.
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_tags_renamed,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_of_scikit_learn(make, check):
    check(type(make()).__name__, make())


@pytest.mark.parametrize("prefix", ENCODERS)
def test_a_name_is_an_encoder(prefix, small):
    encoder = encoder_of(prefix + small[prefix][0], n_jobs=2)
    assert type(encoder) is ENCODERS[prefix]
    assert (encoder.model_name, encoder.n_jobs) == (small[prefix][0], 2)
    assert getattr(sktip, type(encoder).__name__) is type(encoder)


def test_the_library_is_in_the_bug_report(make, capsys):
    sktip.show_versions()
    assert f" {open_encoder(make()).blocks[0].model.library}: " in capsys.readouterr().out


def test_features(make, digits, tmp_path):
    encoder, images = make(), digits[0][:12]
    before = dict(vars(encoder))
    check_is_fitted(encoder)
    features = encoder.transform(images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(encoder.fit(images).fit_transform(images), features)
    assert {name: vars(encoder)[name] for name in before} == before
    assert encoder.get_feature_names_out().shape == features.shape[1:]
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled).transform(images), features)
    np.testing.assert_array_equal(clone(encoder).transform(images), features)
    for parameters in ({"n_jobs": 2}, {"batch_size": 5}, {"n_jobs": 3, "batch_size": 1}):
        np.testing.assert_allclose(make(**parameters).transform(images), features, atol=1e-5)
    np.testing.assert_allclose(encoder.transform(images[::-1])[::-1], features, atol=1e-5)
    # Every encoder has a bf16 that is close.
    assert (make(precision="bf16").transform(images) * features).sum(axis=1).min() > 0.99


def test_many_threads_use_one_model(make, digits):
    expected = make().transform(digits[0][:6])
    got = [None] * 4

    def work(i):
        got[i] = make().transform(digits[0][:6])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(got, [expected] * 4, atol=1e-5)


def test_views(make, digits):
    images = digits[0][:4]
    features = make(n_views=3, random_state=0).transform(images)
    np.testing.assert_array_equal(make(n_views=3, random_state=0).transform(images), features)
    assert not np.allclose(features, make().transform(images), atol=1e-3)


def test_images_that_cannot_be_read(make, digits):
    images = [*digits[0][:3], b"bad"]
    with pytest.raises(ImageReadError, match="image 3"):
        make().transform(images)
    with pytest.warns(UserWarning, match="1 of 4 images could not be read"):
        features = make(on_error="nan").transform(images)
    assert np.isnan(features).any(axis=1).tolist() == [False] * 3 + [True]


def test_memory(make, tmp_path, monkeypatch):
    paths, memory = make_images(tmp_path, 6), FeatureMemory(tmp_path / "features.sqlite")
    features = make(memory=memory).transform(paths)
    assert len(memory) == 6
    model = open_encoder(make()).blocks[0].model
    monkeypatch.setattr(type(model), "encode_images", lambda *_: 1 / 0)
    np.testing.assert_array_equal(make(memory=memory).transform(paths), features)


def test_a_session(make):
    session, encoder = open_encoder(make()), make()
    assert session.widths == (session.width,) == session.probe.shape
    assert session.precision == "fp32"
    assert session.names["model_name"] == encoder.model_name
    assert len(session.weights["hash"]) == 32
    assert (session.text_block == 0) == hasattr(encoder, "encode_text")
    assert {"mean", "std"} <= session.preprocessing.keys()


def test_text_of_those_that_have_it(make):
    if not hasattr(make(), "encode_text"):
        with pytest.raises(ValueError, match="cannot encode text"):
            open_encoder(make()).class_features([["a cat"]], ["cat"])
        return
    text = make().encode_text(["cat", "dog"], ["a photo of a {}.", "a {}"])
    assert text.shape == (2, open_encoder(make()).width)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-6)


def test_side_by_side_and_in_a_classifier(make, clip, digits):
    images, labels = digits
    joint = JointEncoder([make(), clip])
    width = open_encoder(make()).width
    features = joint.transform(images[:20])
    np.testing.assert_allclose(features[:, :width], make().transform(images[:20]), atol=1e-5)
    clf = FewShotClassifier(make()).fit(images[:60], labels[:60])
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(
        loaded.predict_proba(images[60:70]), clf.predict_proba(images[60:70])
    )


def test_a_name_in_place_of_an_encoder(digits):
    images, labels = digits
    clf = FewShotClassifier("tiny").fit(images[:40], labels[:40])
    same = FewShotClassifier(CLIPFeatureTransformer("tiny")).fit(images[:40], labels[:40])
    np.testing.assert_array_equal(clf.predict_proba(images[40:]), same.predict_proba(images[40:]))
    with pytest.raises(ValueError, match=r"unknown model_name 'no_such_model'.*timm.list_models"):
        FewShotClassifier("timm:no_such_model").fit(images[:40], labels[:40])
