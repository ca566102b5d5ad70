"""`to_module` and `to_onnx`: every classifier in PyTorch alone, and in ONNX Runtime."""

import copy
import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from classifiers import CLASSIFIERS, make
from PIL import Image
from scipy.special import expit
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktip import (
    CLIPFeatureTransformer,
    FewShotTagger,
    TipAdapterClassifier,
    ZeroShotClassifier,
    export,
)
from sktip.export import to_module, to_onnx

onnxruntime = pytest.importorskip("onnxruntime")


def answers(module, rows):
    with torch.no_grad():
        return module(torch.from_numpy(np.asarray(rows, np.float32))).numpy()


def assert_same_logits(logits, expected):
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "prior"),
    [*((name, True) for name in CLASSIFIERS), ("tip", False), ("proker", False)],
)
@pytest.mark.filterwarnings("ignore:neither `encoder` nor `text_features`")
def test_logits(features, name, prior):
    X, y, W = features((3, 5, 2, 4))
    queries = features((6, 6, 6, 6), seed=1)[0].astype(np.float32)
    clf = make(name, text_features=W if prior else None).fit(X, y)
    module = to_module(clf)
    assert_same_logits(answers(module, queries), clf.decision_function(queries))
    assert module.classes == [0, 1, 2, 3]
    # As the classifier does it: rows of another length have the same answer, one of zeros has one.
    assert_same_logits(answers(module, 7 * queries), clf.decision_function(queries))
    zeros = np.zeros((1, X.shape[1]), np.float32)
    assert_same_logits(answers(module, zeros), clf.decision_function(zeros))


def test_two_classes_have_two_columns(features):
    X, y, W = features((3, 5))
    clf = TipAdapterClassifier(text_features=W).fit(X, np.array(["cat", "dog"])[y])
    logits = answers(to_module(clf), X)
    assert logits.shape == (8, 2)
    assert_same_logits(logits[:, 1] - logits[:, 0], clf.decision_function(X.astype(np.float32)))
    np.testing.assert_allclose(
        torch.softmax(torch.from_numpy(logits), 1), clf.predict_proba(X), atol=1e-4
    )


def test_tags_are_sigmoids_with_thresholds(clip, digits, tmp_path):
    images, labels = digits
    have = {"a loop": ["zero", "six", "eight"], "a line": ["one"], "seven": ["seven"]}
    y = pd.DataFrame({tag: np.isin(labels, own).astype(int) for tag, own in have.items()})
    tagger = FewShotTagger(clip).fit(images[:80], y[:80])
    rows = clip.transform(images[80:120])
    module = to_module(tagger)
    assert module.classes == [*have]
    to_onnx(tagger, tmp_path / "tagger.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tagger.onnx")
    entries = session.get_modelmeta().custom_metadata_map
    assert json.loads(entries["classes"]) == [*have]
    for logits in (answers(module, rows), session.run(None, {"features": rows})[0]):
        p = expit(logits)
        np.testing.assert_allclose(p, tagger.predict_proba(images[80:120]), atol=1e-5)
        for thresholds in (module.thresholds, json.loads(entries["thresholds"])):
            sure = np.abs(p - thresholds) > 1e-4
            own = (p >= np.array(thresholds)).astype(int)
            np.testing.assert_array_equal(own[sure], tagger.predict(images[80:120])[sure])
    assert to_module(TipAdapterClassifier().fit(rows[:4], [0, 1] * 2)).thresholds is None


def test_weighted_shots_and_classes_without_shots(shots):
    X, y, W = shots
    W = np.concatenate([W, -W[:2]])
    clf = TipAdapterClassifier(text_features=W, alpha=3, beta=8)
    clf.fit(X, y, sample_weight=1 + np.arange(len(y)) % 3)
    assert_same_logits(answers(to_module(clf), X), clf.decision_function(X.astype(np.float32)))


@pytest.mark.parametrize("name", ["FewShotClassifier", "tip"])
def test_from_pixels(clip, digits, name):
    images, labels = digits
    clf = make(name, clip, templates="the digit {}").fit(images[:60], labels[:60])
    module = to_module(clf, image=True)
    size, mean, std = (module.preprocessing[key] for key in ("size", "mean", "std"))
    rows = []
    for image in images[60:70]:
        # What the guide says to do with a square picture.
        picture = (
            Image.fromarray(image).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        )
        rows.append(((np.asarray(picture) / 255 - mean) / std).transpose(2, 0, 1))
    assert_same_logits(answers(module, rows), clf.decision_function(images[60:70]))
    assert sorted(module.classes) == sorted(set(labels[:60]))


def test_the_module_is_a_copy_in_full_precision(digits):
    images, labels = digits
    encoder = CLIPFeatureTransformer("tiny", device="cpu", precision="bf16")
    clf = TipAdapterClassifier(encoder, templates="the digit {}").fit(images[:60], labels[:60])
    before = clf.decision_function(images[60:64])
    module = to_module(clf, image=True)
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not module.training
    for tensor in module.state_dict().values():
        tensor.zero_()
    np.testing.assert_array_equal(clf.decision_function(images[60:64]), before)


def test_state_and_types(shots):
    X, y, W = shots
    module = to_module(TipAdapterClassifier(text_features=W).fit(X, y))
    expected = answers(module, X)
    assert set(module.state_dict()) == {"keys", "codes", "text"}
    double = copy.deepcopy(module).double()
    with torch.no_grad():
        np.testing.assert_allclose(double(torch.from_numpy(X)), expected, rtol=1e-4)


def test_what_cannot_be_exported(shots):
    X, y, W = shots
    clf = ZeroShotClassifier(text_features=W)
    with pytest.raises(NotFittedError):
        to_module(clf)
    clf.fit(X, y)
    with pytest.raises(ValueError, match="ZeroShotClassifier has no encoder for the images"):
        to_module(clf, image=True)
    with pytest.raises(TypeError, match="a Pipeline cannot be exported"):
        to_module(make_pipeline(StandardScaler(), clf).fit(X, y))


@pytest.mark.parametrize("image", [False, True])
def test_a_pipeline_of_an_encoder_and_a_classifier(digits, clip, image):
    images, labels = digits
    pipeline = make_pipeline(clip, TipAdapterClassifier(clip, input="features"))
    pipeline.fit(images[:30], labels[:30])
    search = GridSearchCV(pipeline, {"tipadapterclassifier__alpha": [1]}, cv=2)
    search.fit(images[:30], labels[:30])
    whole = TipAdapterClassifier(clip).fit(images[:30], labels[:30])
    module = to_module(whole, image=image)
    size = module.preprocessing["size"] if image else 0
    rows = torch.zeros((2, 3, size, size) if image else (2, 128))
    expected = module(rows)
    for estimator in (pipeline, search):
        np.testing.assert_allclose(to_module(estimator, image=image)(rows), expected, atol=1e-4)


def test_an_encoder_of_another_model(digits, clip, folder):
    images, labels = digits
    clf = ZeroShotClassifier(clip).fit(images[:20], labels[:20])
    clf.set_params(encoder=CLIPFeatureTransformer(f"local-dir:{folder}"))
    with pytest.raises(ValueError, match="not the model that this ZeroShotClassifier was fitted"):
        to_module(clf, image=True)


def logits_of(path, name, rows):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {name: rows})[0]


def metadata_of(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    return {key: json.loads(text) for key, text in texts.items()}


@pytest.fixture
def clf(shots):
    X, y, W = shots
    return ZeroShotClassifier(text_features=W).fit(X, y)


@pytest.mark.parametrize("name", ["zero-shot", "tip", "clip-adapter", "proker"])
def test_every_formula(features, name, tmp_path):
    X, y, W = features((3, 5, 2, 4))
    queries = features((6, 6, 6, 6), seed=1)[0].astype(np.float32)
    clf = make(name, text_features=W).fit(X, y)
    to_onnx(clf, tmp_path / "classifier.onnx")
    for some in (queries, queries[:1]):
        logits = logits_of(tmp_path / "classifier.onnx", "features", some)
        assert_same_logits(logits, clf.decision_function(some))
    assert os.listdir(tmp_path) == ["classifier.onnx"]


def test_onnx_from_pixels(clip, digits, tmp_path):
    images, labels = digits
    clf = TipAdapterClassifier(clip, templates="the digit {}").fit(images[:60], labels[:60])
    path = tmp_path / "classifier.onnx"
    to_onnx(clf, path, image=True)
    known = metadata_of(path)
    size, mean, std = (known["preprocessing"][key] for key in ("size", "mean", "std"))
    pictures = [Image.fromarray(i).convert("RGB").resize((size, size), 3) for i in images[60:67]]
    rows = ((np.stack(pictures) / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    logits = logits_of(path, "pixels", rows)
    assert_same_logits(logits, clf.decision_function(images[60:67]))
    assert known["classes"] == known["class_names"] == clf.classes_.tolist()
    assert known["fitted_with"]["model_name"] == "tiny"


@pytest.mark.filterwarnings("ignore:neither `encoder`")
def test_a_sharp_cache_without_text(features, tmp_path):
    """The rounding of cosines is multiplied by beta, and rows far from all shots have no logits."""
    X, y, _ = features((3, 5, 2), d=512, dtype=np.float32)
    clf = TipAdapterClassifier(beta=1000.0).fit(X, y)
    to_onnx(clf, tmp_path / "sharp.onnx")
    logits = logits_of(tmp_path / "sharp.onnx", "features", X)
    np.testing.assert_allclose(logits, clf.decision_function(X), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("class_names", "labels", "classes", "names"),
    [
        ({3: "cat", 5: "dog"}, [5, 3], [3, 5], ["cat", "dog"]),
        (None, [True, False], [False, True], None),
    ],
)
def test_class_names(class_names, labels, classes, names, tmp_path):
    clf = ZeroShotClassifier(text_features=np.eye(2), class_names=class_names)
    clf.fit(np.eye(2), labels)
    to_onnx(clf, tmp_path / "classifier.onnx")
    known = metadata_of(tmp_path / "classifier.onnx")
    assert known["classes"] == classes
    assert known.get("class_names") == names


def test_nothing_is_overwritten_unasked(clf, tmp_path):
    path = tmp_path / "classifier.onnx"
    path.write_text("mine")
    with pytest.raises(
        FileExistsError, match="already exists. Choose another name, or pass overwrite=True"
    ):
        to_onnx(clf, path)
    assert path.read_text() == "mine"
    to_onnx(clf, str(path), overwrite=True)
    assert metadata_of(path)["classes"] == [0, 1, 2, 3]


def test_other_answers_are_an_error(clf, tmp_path, monkeypatch):
    convert = export._converted

    def wrong(module, rows, name):
        twin = copy.deepcopy(module)
        twin.coef.mul_(2)
        return convert(twin, rows, name)

    monkeypatch.setattr(export, "_converted", wrong)
    with pytest.raises(RuntimeError, match="differ from PyTorch's by .* no file was written"):
        to_onnx(clf, tmp_path / "classifier.onnx")
    assert not os.listdir(tmp_path)


def test_more_than_a_file_holds(clf, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="GB of weights, but an ONNX file is limited to 2 GB"):
        to_onnx(clf, tmp_path / "classifier.onnx")


def test_without_the_packages(clf, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'to_onnx needs onnxruntime.*"sktip\[onnx\]"'):
        to_onnx(clf, tmp_path / "classifier.onnx")
