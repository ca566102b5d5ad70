"""Saved classifiers: their content, their recorded versions, and loading them."""

import copy
import inspect
import json
import pickle
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from classifiers import CLASSIFIERS, EXTENDABLE, make
from PIL import Image
from saved_models import check
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import sktip
from sktip import (
    BackOff,
    CLIPFeatureTransformer,
    FeatureMemory,
    JointEncoder,
    RejectUnknown,
    TipAdapterClassifier,
    ZeroShotClassifier,
)
from sktip._cli import main
from sktip.utils import split_encoder

TESTS = Path(__file__).parent
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)


@pytest.fixture
def fitted(clip, digits):
    """Make a classifier that was fitted on images."""

    def make_fitted(name, encoder=clip, **parameters):
        images, labels = digits
        clf = make(name, clone(encoder), **{"templates": ["the digit {}", "a {}"], **parameters})
        return clf.fit(images[:60], labels[:60])

    return make_fitted


def skops_round_trip(clf):
    skops_io = pytest.importorskip("skops.io")
    content = skops_io.dumps(clf)
    untrusted = skops_io.get_untrusted_types(data=content)
    return skops_io.loads(content, trusted=untrusted), untrusted


def full_name(estimator):
    return f"{type(estimator).__module__}.{type(estimator).__name__}"


def assert_same_state(value, expected, where="estimator"):
    """Compare two objects attribute by attribute, types and bits included."""
    assert type(value) is type(expected), where
    if isinstance(expected, np.ndarray):
        assert value.dtype == expected.dtype, where
        np.testing.assert_array_equal(value, expected, err_msg=where)
    elif isinstance(expected, dict):
        assert list(value) == list(expected), where
        for key in expected:
            assert_same_state(value[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, list | tuple):
        assert len(value) == len(expected), where
        for index, pair in enumerate(zip(value, expected, strict=True)):
            assert_same_state(*pair, f"{where}[{index}]")
    elif hasattr(expected, "__dict__"):
        assert_same_state(vars(value), vars(expected), f"{where}.{type(expected).__name__}")
    else:
        assert value == expected, where


def assert_no_tensors(value, where):
    """A file must not need the device that the classifier was fitted on."""
    assert not isinstance(value, torch.Tensor | torch.nn.Module | torch.device), where
    if isinstance(value, dict):
        for key, item in value.items():
            assert_no_tensors(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for item in value:
            assert_no_tensors(item, where)
    elif hasattr(value, "__dict__") and not inspect.isclass(value):
        assert_no_tensors(vars(value), where)


@every_classifier
class TestRoundTrip:
    """The same object, with the same answers."""

    def test_on_images(self, fitted, digits, name, tmp_path):
        clf = fitted(name)
        assert_no_tensors(clf, name)
        joblib.dump(clf, tmp_path / "model.joblib")
        from_skops, untrusted = skops_round_trip(clf)
        # A user has to trust our own two classes, and nothing more.
        assert sorted(untrusted) == sorted([full_name(clf), full_name(clf.encoder)])
        expected = clf.predict_proba(digits[0][60:70])
        for loaded in (joblib.load(tmp_path / "model.joblib"), from_skops):
            assert_same_state(loaded, clf)
            np.testing.assert_array_equal(loaded.predict_proba(digits[0][60:70]), expected)

    def test_on_features(self, features, name, tmp_path):
        X, y, W = features((3, 2, 4))
        clf = make(name, text_features=W).fit(X, y)
        joblib.dump(clf, tmp_path / "model.joblib")
        from_skops, untrusted = skops_round_trip(clf)
        assert untrusted == [full_name(clf)]
        assert_same_state(from_skops, clf)
        mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
        for loaded in (mapped, from_skops):
            np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
        if name in EXTENDABLE:
            parts = [model.partial_fit(X[:2], y[:2]) for model in (mapped, clf)]
            np.testing.assert_array_equal(*[part.predict_proba(X) for part in parts])


def test_types_to_trust_with_mappings(digits, tmp_path):
    images, labels = digits
    clf = TipAdapterClassifier(
        CLIPFeatureTransformer("tiny", memory=FeatureMemory(str(tmp_path / "features.sqlite"))),
        class_names={label: f"digit {label}" for label in labels},
        templates={label: ["the {}", "a {}"] for label in labels},
    ).fit(images[:60], labels[:60])
    loaded, untrusted = skops_round_trip(clf)
    assert sorted(untrusted) == [
        "sktip._encoder.CLIPFeatureTransformer",
        "sktip._tip_adapter.TipAdapterClassifier",
    ]
    assert (loaded.class_names, loaded.templates) == (clf.class_names, clf.templates)


class TestSettingsOfTheMachine:
    """Such as memory and verbose of the encoder: copies keep them, files of what is fitted do not."""

    @pytest.fixture
    def kept(self, monkeypatch, tmp_path):
        """An encoder with a relative file of features, and a bar."""
        monkeypatch.chdir(tmp_path)
        return CLIPFeatureTransformer("tiny", memory="features.sqlite", verbose=1)

    @pytest.mark.parametrize("way", ["joblib", "skops", "pickle"])
    def test_a_server_has_no_database_and_no_bar(
        self, fitted, digits, kept, tmp_path, capsys, monkeypatch, way
    ):
        clf = fitted("tip", kept)
        assert (tmp_path / "features.sqlite").exists()
        assert "Encoding" in capsys.readouterr().err
        if way == "skops":
            loaded, _ = skops_round_trip(clf)
        elif way == "pickle":
            loaded = pickle.loads(pickle.dumps(clf))
        else:
            joblib.dump(clf, tmp_path / "model.joblib")
            loaded = joblib.load(tmp_path / "model.joblib")
        for file in tmp_path.glob("features.sqlite*"):
            file.unlink()
        server = tmp_path / "server"
        server.mkdir()
        monkeypatch.chdir(server)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            answers = loaded.predict_proba(digits[0][60:70])
        assert capsys.readouterr().err == ""
        assert not [*tmp_path.rglob("*.sqlite*")]
        # The saved one keeps them.
        assert (clf.encoder.memory, clf.encoder.verbose) == ("features.sqlite", 1)
        clf.set_params(encoder__memory=None, encoder__verbose=0)
        np.testing.assert_array_equal(answers, clf.predict_proba(digits[0][60:70]))
        # Another may be set where the classifier is loaded.
        loaded.set_params(encoder__memory="other.sqlite").predict(digits[0][:3])
        assert (server / "other.sqlite").exists()

    @pytest.mark.parametrize(
        "around",
        [
            lambda encoder: encoder,
            lambda encoder: JointEncoder([encoder, "tiny"]),
            lambda encoder: make_pipeline(encoder, LogisticRegression()),
            lambda encoder: TipAdapterClassifier(JointEncoder([encoder, "tiny"])),
            lambda encoder: RejectUnknown(make_pipeline(encoder, LogisticRegression())),
            lambda encoder: BackOff(ZeroShotClassifier(encoder), {}),
        ],
    )
    def test_copies_keep_them_and_files_do_not(self, digits, kept, around):
        def encoder_of(estimator):
            if not isinstance(estimator, CLIPFeatureTransformer | JointEncoder):
                estimator, _ = split_encoder(estimator)
            return estimator.encoders[0] if isinstance(estimator, JointEncoder) else estimator

        estimator = around(kept.set_params(n_jobs=1))
        default, given = CLIPFeatureTransformer("tiny").get_params(), kept.get_params()
        # Workers that fit it need all of them.
        assert encoder_of(pickle.loads(pickle.dumps(estimator))).get_params() == given
        estimator.fit(digits[0][:20], digits[1][:20])
        for same in (copy.copy(estimator), copy.deepcopy(estimator), estimator):
            assert encoder_of(same).get_params() == given
        assert encoder_of(pickle.loads(pickle.dumps(estimator))).get_params() == default

    @pytest.mark.parametrize("inside", ["a classifier", "a pipeline"])
    def test_a_crafted_file_does_not_set_them(self, digits, tmp_path, monkeypatch, inside):
        """Neither where a database is written, nor how large a picture may be, nor how many threads run."""
        skops_io = pytest.importorskip("skops.io")
        images, labels = digits
        clip = CLIPFeatureTransformer("tiny")
        clf = TipAdapterClassifier(clip)
        if inside == "a pipeline":
            clf = make_pipeline(clip, LogisticRegression())
        clf.fit(images[:60], labels[:60])
        database = tmp_path / "crafted.sqlite"
        evil = {"memory": str(database), "max_pixels": 10**12, "n_jobs": 500, "batch_size": 10**9}
        evil["_absolute"] = {"memory": (str(database), str(database))}
        state = CLIPFeatureTransformer.__getstate__
        path = tmp_path / "crafted.skops"
        with monkeypatch.context() as crafting:
            crafting.setattr(
                CLIPFeatureTransformer, "__getstate__", lambda self: state(self) | evil
            )
            skops_io.dump(clf, path)
        loaded = skops_io.load(path, trusted=skops_io.get_untrusted_types(file=path))
        encoder = loaded.encoder if inside == "a classifier" else loaded[0]
        assert encoder.get_params() == clip.get_params()
        loaded.predict(images[:3])
        (tmp_path / "photos").mkdir()
        Image.fromarray(images[0]).save(tmp_path / "photos" / "a.png")
        arguments = ["predict", str(path), str(tmp_path / "photos"), "--output"]
        assert main([*arguments, str(tmp_path / "answers.csv"), "--quiet"]) == 0
        assert not [*tmp_path.rglob("*.sqlite*")]

    def test_workers_that_fit_keep_them(self, kept):
        """Unfitted classifiers are sent to the processes of a search unchanged."""
        clf = pickle.loads(pickle.dumps(TipAdapterClassifier(kept)))
        assert clf.encoder.get_params() == kept.get_params()
        assert pickle.loads(pickle.dumps(kept)).get_params() == kept.get_params()


def test_skops_reads_nothing_that_was_not_trusted(features):
    skops_io = pytest.importorskip("skops.io")
    X, y, W = features()
    content = skops_io.dumps(TipAdapterClassifier(text_features=W).fit(X, y))
    with pytest.raises(Exception, match=r"sktip\._tip_adapter\.TipAdapterClassifier"):
        skops_io.loads(content)


def test_the_file_alone_tells_how_the_model_was_made(fitted, tmp_path):
    clf = fitted("tip", class_names={"zero": "nought"}, alpha=2.5, beta=7.0)
    joblib.dump(clf, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    assert loaded.class_names == {"zero": "nought"}
    assert loaded.templates == ["the digit {}", "a {}"]
    assert (loaded.alpha, loaded.beta) == (2.5, 7.0)
    assert loaded.classes_.tolist() == sorted(clf.classes_)
    assert (loaded.encoder.model_name, loaded.encoder.precision) == ("tiny", "fp32")
    made = loaded.fitted_with_
    assert (made["format"], made["sktip"]) == (1, sktip.__version__)
    assert made["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"numpy", "scikit-learn", "open_clip_torch"} <= set(made)
    assert (made["model_name"], made["pretrained"], made["precision"]) == ("tiny", None, "fp32")


def test_a_newer_format_is_refused(features):
    X, y, W = features()
    clf = TipAdapterClassifier(text_features=W).fit(X, y)
    clf.fitted_with_ |= {"format": 2, "sktip": "7.1"}
    message = (
        "saved by sktip 7.1 in format 2, but sktip .* reads formats up to 1. Install sktip 7.1"
    )
    state = clf.__reduce_ex__(2)[2]
    with pytest.raises(ValueError, match=message):
        TipAdapterClassifier().__setstate__(state)
    skops_io = pytest.importorskip("skops.io")
    content = skops_io.dumps(clf)
    with pytest.raises(ValueError, match=message):
        skops_io.loads(content, trusted=skops_io.get_untrusted_types(data=content))


def changed_tiny(folder, noise):
    """The bundled model with noise in its weights, by their deviation."""
    from safetensors.torch import load_file, save_file

    for file in sktip._encoding.clip.TINY_FOLDER.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    generator = torch.Generator().manual_seed(0)
    for tensor in tensors.values():
        if tensor.is_floating_point() and tensor.ndim > 1:
            change = noise * tensor.float().std() * torch.randn(tensor.shape, generator=generator)
            tensor.add_(change.to(tensor))
    save_file(tensors, weights)


class TestAnotherEncoder:
    """The model that reads the queries is the one that read the shots."""

    @pytest.mark.parametrize("name", ["tip", "gda-auto", "FewShotClassifier"])
    def test_is_refused(self, fitted, digits, folder, name):
        clf = fitted(name)
        expected = clf.predict_proba(digits[0][:3])
        clf.set_params(encoder__model_name=f"local-dir:{folder}")
        with pytest.raises(
            ValueError,
            match="not the model that .* model_name='tiny'.* now it is model_name='local-dir",
        ):
            clf.predict(digits[0][:3])
        clf.set_params(encoder__model_name="tiny")
        np.testing.assert_array_equal(clf.predict_proba(digits[0][:3]), expected)

    def test_of_the_same_width_is_refused(self, fitted, digits, tmp_path):
        changed_tiny(tmp_path, 1)
        clf = fitted("tip").set_params(encoder__model_name=f"local-dir:{tmp_path}")
        for call in (
            lambda: clf.predict(digits[0][:3]),
            lambda: clf.partial_fit(digits[0][:3], digits[1][:3]),
            lambda: clf.partial_fit(digits[0][:3], ["ten"] * 3),
        ):
            with pytest.raises(ValueError, match="Set the old encoder again, or call fit"):
                call()
        assert clf.fit(digits[0][:20], digits[1][:20]).predict(digits[0][:3]).shape == (3,)

    def test_a_fine_tune_that_is_nearly_the_same_is_refused(self, fitted, digits, tmp_path):
        clf = fitted("tip")
        changed_tiny(tmp_path, 0.01)
        other = CLIPFeatureTransformer(f"local-dir:{tmp_path}", device="cpu")
        # Their features of one picture are almost the same.
        assert clf._encoder_probe @ fitted("tip", other)._encoder_probe > 0.995
        clf.set_params(encoder=other)
        with pytest.raises(ValueError, match="not the model .* and their weights differ"):
            clf.predict(digits[0][:3])
        # Hashes are not compared in another precision or open_clip version, or for old files.
        assert len(clf.set_params(encoder__precision="bf16").predict(digits[0][:3])) == 3
        clf.set_params(encoder__precision="fp32")
        clf.fitted_with_["weights"]["open_clip_torch"] = "2.0"
        assert len(clf.predict(digits[0][:3])) == 3
        del clf.fitted_with_["weights"]
        assert len(clf.predict(digits[0][:3])) == 3

    def test_the_weights_stay_known(self, fitted, digits, digit_features):
        clf = fitted("tip")
        weights = clf.fitted_with_["weights"]
        assert len(weights["hash"]) == 32
        clf.partial_fit(digits[0][60:64], digits[1][60:64])
        assert clf.fitted_with_["weights"] == weights
        clf.set_params(input="features")
        clf.partial_fit(digit_features[0][64:66], digit_features[1][64:66])
        assert clf.fitted_with_["weights"] == weights
        # A fit that uses no model has nothing to compare.
        text = clf.text_features_
        clf.set_params(encoder=None, text_features=text).fit(*digit_features)
        assert "weights" not in clf.fitted_with_

    def test_the_same_model_may_move(self, fitted, digits, tmp_path):
        clf = fitted("tip")
        for file in sktip._encoding.clip.TINY_FOLDER.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        expected = clf.predict_proba(digits[0][60:70])
        clf.set_params(encoder__model_name=f"local-dir:{tmp_path}", encoder__batch_size=3)
        np.testing.assert_allclose(clf.predict_proba(digits[0][60:70]), expected, atol=1e-5)
        clf.set_params(encoder__precision="bf16")
        np.testing.assert_allclose(clf.predict_proba(digits[0][60:70]), expected, atol=0.1)

    def test_does_not_matter_to_features(self, clip, digit_features, folder):
        F, labels = digit_features
        clf = TipAdapterClassifier(clone(clip), input="features").fit(F[:60], labels[:60])
        expected = clf.predict_proba(F[60:70])
        other = CLIPFeatureTransformer(f"local-dir:{folder}")
        np.testing.assert_array_equal(
            clf.set_params(encoder=other).predict_proba(F[60:70]), expected
        )
        with pytest.raises(ValueError, match="Set the old encoder again, or call fit"):
            clf.partial_fit(F[60:63], ["ten"] * 3)


class TestWithoutCuda:
    """A classifier of a machine with a GPU, on one without that GPU."""

    @pytest.mark.parametrize("name", ["tip", "clip-adapter", "proker"])
    def test_a_missing_device_is_named(self, features, tmp_path, name):
        X, y, W = features()
        clf = make(name, text_features=W).fit(X, y)
        expected = clf.predict_proba(X)
        joblib.dump(clf.set_params(device="cuda:77"), tmp_path / "model.joblib")
        loaded = joblib.load(tmp_path / "model.joblib")
        with pytest.raises(
            ValueError, match=r"'cuda:77' is not available.*set_params\(device=None"
        ):
            loaded.predict(X)
        loaded.set_params(device=None)
        np.testing.assert_allclose(loaded.predict_proba(X), expected, atol=1e-6)

    def test_a_missing_device_of_the_encoder_is_named(self, fitted, digits):
        encoder = CLIPFeatureTransformer("tiny")
        clf = fitted("gda", encoder)
        clf.set_params(encoder__device="cuda:77")
        with pytest.raises(ValueError, match=r"'cuda:77' is not .*encoder__device=None"):
            clf.predict(digits[0][:3])
        assert clf.set_params(encoder__device=None).predict(digits[0][:3]).shape == (3,)


class TestAcrossVersions:
    """Files of other versions of sktip and its dependencies."""

    def test_format_1(self):
        """Files written under the oldest versions of `made_with.json` give the same numbers."""
        pytest.importorskip("skops")
        folder = TESTS / "saved"
        made_with = json.loads((folder / "made_with.json").read_text())
        assert made_with["scikit-learn"] == "1.6.0"
        assert check(folder) == len(CLASSIFIERS) + 1
