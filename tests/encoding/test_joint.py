"""Several encoders side by side, and transformers that are not ours."""

import pickle

import numpy as np
import pytest
from image_files import saved
from memory_runs import make_images
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktip import FeatureMemory, FewShotClassifier, JointEncoder
from sktip._encoding import loop
from sktip._encoding.session import open_encoder
from sktip.exceptions import ImageReadError


class Colours(TransformerMixin, BaseEstimator):
    """A user's own encoder."""

    logit_scale = 20.0

    def transform(self, paths):
        pictures = [Image.open(path).convert("RGB").resize((3, 2)) for path in paths]
        return np.stack([np.asarray(picture).ravel() / 255 for picture in pictures])

    def encode_text(self, texts):
        return np.array([[len(text)] + 17 * [1.0] for text in texts])


def flat(images):
    return np.stack([np.asarray(image).ravel() for image in images])


def grey(images):
    """Pixels of pictures and arrays, 64 each."""
    opened = [im if isinstance(im, Image.Image) else Image.fromarray(im) for im in images]
    return np.stack([np.asarray(im.convert("L").resize((8, 8)), float).ravel() for im in opened])


@pytest.fixture
def paths(tmp_path):
    return make_images(tmp_path, 30)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("n_views", [1, 3])
def test_blocks_are_the_features_of_the_encoders(clip, timm_encoder, paths, n_jobs, n_views):
    parameters = {"n_jobs": n_jobs, "n_views": n_views, "random_state": 0}
    own = [clone(one).set_params(**parameters) for one in (timm_encoder, clip)]
    joint = JointEncoder([*own, Colours()])
    features = joint.transform([*paths, paths[0]])
    np.testing.assert_array_equal(features[30], features[0])
    blocks = np.split(features[:30], [64, 192], axis=1)
    raw = Colours().transform(paths)
    expected = [one.transform(paths) for one in own]
    expected.append(raw / np.linalg.norm(raw, axis=1, keepdims=True))
    for block, alone in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(block, alone, atol=1e-5)
    assert joint.n_views == n_views


def test_views_have_blocks_whose_mean_has_unit_norm(clip, timm_encoder, digits):
    images = digits[0][:4]
    session = open_encoder(JointEncoder([clip, timm_encoder]))
    means = session.view_features(images, 3, 0).mean(axis=1)
    np.testing.assert_allclose(np.linalg.norm(means[:, :128], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(means[:, 128:], axis=1), 1, atol=1e-5)
    own = clone(timm_encoder).set_params(n_views=3, random_state=0).transform(images)
    np.testing.assert_allclose(means[:, 128:], own, atol=1e-5)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_image_is_opened_once(clip, timm_encoder, monkeypatch, n_jobs):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    files = [saved(photo.resize((2000, 1500 + i)), "JPEG") for i in range(3)]
    files.append(saved(photo, "PNG"))
    opened, original = [], loop.to_rgb
    monkeypatch.setattr(loop, "to_rgb", lambda *args: opened.append(args[2]) or original(*args))
    own = [clone(one).set_params(n_jobs=n_jobs) for one in (clip, timm_encoder)]
    JointEncoder(own).transform(files)
    assert sorted(opened) == [f"image {i}" for i in range(4)]


def test_each_encoder_uses_its_memory(clip, timm_encoder, paths, tmp_path, encoded):
    memories = [FeatureMemory(tmp_path / name) for name in ("clip.sqlite", "timm.sqlite")]
    own = [
        clone(one).set_params(memory=memory)
        for one, memory in zip((clip, timm_encoder), memories, strict=True)
    ]
    expected = own[0].transform(paths)
    joint = JointEncoder(own)
    _ = open_encoder(joint).width
    encoded.clear()
    features = joint.transform(paths)
    assert encoded == []
    np.testing.assert_allclose(features[:, :128], expected, atol=1e-6)
    assert [len(memory) for memory in memories] == [30, 30]
    np.testing.assert_array_equal(joint.transform(paths), features)


def test_text_belongs_to_the_first_encoder_that_has_it(clip, timm_encoder):
    joint = JointEncoder([timm_encoder, clip])
    session = open_encoder(joint)
    assert session.widths == (64, 128)
    assert session.text_block == 1
    assert session.logit_scale == open_encoder(clip).logit_scale
    np.testing.assert_array_equal(joint.encode_text(["cat"]), clip.encode_text(["cat"]))
    images_only = JointEncoder([timm_encoder])
    assert not hasattr(images_only, "encode_text")
    assert open_encoder(images_only).text_block is None
    with pytest.raises(ValueError, match="test_vit.r160_in1k cannot encode text"):
        open_encoder(images_only).class_features([["a cat"]], ["cat"])


def test_another_model_in_one_block_is_noticed(clip, timm_encoder):
    session = open_encoder(JointEncoder([timm_encoder, clip]))
    other = open_encoder(JointEncoder([timm_encoder, clone(clip).set_params(precision="bf16")]))
    assert np.linalg.norm(session.probe) == pytest.approx(1)
    assert session.probe.shape == (192,)
    assert session.weights["hash"] != other.weights["hash"]
    assert other.names["precision"] == ["fp32", "bf16"]


def test_images_that_cannot_be_read(clip, timm_encoder, paths):
    images = [*paths[:5], b"bad", *paths[5:]]
    own = [clone(one) for one in (clip, timm_encoder)]
    with pytest.raises(ImageReadError, match="image 5: not an image"):
        JointEncoder(own).transform(images)
    joint = JointEncoder([one.set_params(on_error="nan") for one in own])
    with pytest.warns(UserWarning, match="1 of 31 images"):
        features = joint.transform(images)
    assert np.flatnonzero(np.isnan(features).any(axis=1)).tolist() == [5]


def test_pickles_and_clones(clip, timm_encoder, paths):
    joint = JointEncoder([clip, JointEncoder([timm_encoder, Colours()])])
    expected = joint.transform(paths)
    for copy in (clone(joint), pickle.loads(pickle.dumps(joint))):
        np.testing.assert_array_equal(copy.transform(paths), expected)
    assert JointEncoder([clip]).get_feature_names_out()[-1] == "jointencoder127"


@pytest.mark.parametrize("encoders", [[], "ViT-B-32", [3]])
def test_what_is_no_list_of_encoders(encoders, digits):
    with pytest.raises((ValueError, TypeError), match="encoder"):
        JointEncoder(encoders).transform(digits[0][:1])


class TestTransformers:
    """Transformers that are not ours."""

    def test_features_are_normalised(self, paths):
        features = open_encoder(Colours()).features(paths)
        raw = Colours().transform(paths)
        np.testing.assert_allclose(
            features, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6
        )

    def test_a_pipeline(self, digits):
        session = open_encoder(make_pipeline(FunctionTransformer(flat)))
        assert session.features(digits[0][:70]).shape == (70, 1024)
        assert session.text_block is None
        assert session.logit_scale == 100
        assert session.probe is session.weights is None

    @pytest.mark.parametrize("fills_templates", [True, False])
    def test_text(self, fills_templates):
        class Filling(Colours):
            def encode_text(self, names, templates="a photo of a {}."):
                return super().encode_text([templates.format(name) for name in names])

        session = open_encoder(Filling() if fills_templates else Colours())
        assert session.text_block == 0
        assert session.logit_scale == 20
        features = session.class_features([["a cat", "it is a cat"], ["a"]], ["cat", "a"])
        rows = Colours().encode_text(["a cat", "it is a cat", "a"])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        mean = rows[:2].mean(axis=0)
        expected = [mean / np.linalg.norm(mean), rows[2]]
        np.testing.assert_allclose(features, expected, atol=1e-6)

    def test_text_that_is_no_feature(self, paths):
        class Broken(Colours):
            def encode_text(self, texts):
                return self.change(super().encode_text(texts))

        def fit(change):
            Broken.change = staticmethod(change)
            clf = FewShotClassifier(Broken(), templates="a photo of a {}.")
            return clf.fit(paths[:6], ["ant", "bee", "cat"] * 2)

        def with_row(value):
            return lambda rows: np.where(np.arange(3)[:, None] == 1, value, rows)

        assert len(fit(lambda rows: rows).classes_) == 3
        for change, message in (
            (
                lambda rows: rows[:2],
                r"encode_text of Broken returned the shape \(2, 18\) for 3 prompts",
            ),
            (with_row(np.nan), "returned zeros, NaN or infinity for 'a photo of a bee.'"),
            (with_row(0), "returned zeros, NaN or infinity for 'a photo of a bee.'"),
            (lambda rows: rows[:, :17], "X has 18 features, but the encoder's embedding has 17"),
        ):
            with pytest.raises(ValueError, match=message):
                fit(change)

    def test_encoders_in_another_order(self, clip, digits):
        """The guard of the model includes blocks of others."""
        images, labels = digits
        pixels = make_pipeline(FunctionTransformer(grey))
        clf = FewShotClassifier(JointEncoder([clip, pixels])).fit(images[:60], labels[:60])
        expected = clf.predict(images[60:70])
        clf.set_params(encoder=JointEncoder([clip, make_pipeline(FunctionTransformer(grey))]))
        np.testing.assert_array_equal(clf.predict(images[60:70]), expected)
        bright = make_pipeline(FunctionTransformer(lambda images: 255 - grey(images)))
        for encoders in ([pixels, clip], [clip, bright], [clip]):
            clf.set_params(encoder=JointEncoder(encoders))
            with pytest.raises(ValueError, match="not the model that this FewShotClassifier was"):
                clf.predict(images[60:70])

    def test_an_image_that_fails_is_named_and_others_are_encoded(self, paths, tmp_path):
        images = [*paths[:3], tmp_path / "missing.png", *paths[3:]]
        with pytest.raises(ImageReadError, match=r"image 3 .*missing.png.*: Colours failed \(File"):
            open_encoder(Colours()).features(images)
        failed = []
        features = open_encoder(Colours()).features(images, lambda index, _: failed.append(index))
        assert failed == [3]
        np.testing.assert_allclose(features[4:], open_encoder(Colours()).features(paths[3:]))

    def test_a_matrix_of_another_shape(self, digits):
        with pytest.raises(ImageReadError, match=r"the shape \(1, 32, 32\) for 1 images"):
            open_encoder(FunctionTransformer(np.stack)).features(digits[0][:1])

    def test_the_width_is_known_if_pictures_are_taken(self, digits):
        assert open_encoder(FunctionTransformer(flat)).width == 64 * 64 * 3
        with pytest.raises(ValueError, match="number of features of Colours is not known"):
            _ = open_encoder(Colours()).width

    def test_what_is_no_transformer(self):
        with pytest.raises(TypeError, match="is not an encoder"):
            open_encoder(object())

    def test_views_need_an_encoder_of_ours(self, paths):
        with pytest.raises(ValueError, match="n_views=2 needs an encoder of sktip"):
            open_encoder(Colours()).view_features(paths, 2)
