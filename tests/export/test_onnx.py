"""`to_onnx`: a file that ONNX Runtime answers from as the classifier does."""

import copy
import json
import os
import sys

import numpy as np
import pytest
from classifiers import make
from PIL import Image

from sktip import TipAdapterClassifier, ZeroShotClassifier
from sktip.export import _onnx, to_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def logits_of(path, name, rows):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {name: rows})[0]


def metadata_of(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    return {key: json.loads(text) for key, text in texts.items()}


def assert_same_logits(logits, expected):
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


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


def test_from_pixels(clip, digits, tmp_path):
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
        (["cat", "dog"], [1, 0], [0, 1], ["cat", "dog"]),
        ({3: "cat", 5: "dog"}, [5, 3], [3, 5], ["cat", "dog"]),
        (["dog", "cat"], None, ["cat", "dog"], ["cat", "dog"]),
        (None, [True, False], [False, True], None),
    ],
)
def test_class_names(class_names, labels, classes, names, tmp_path):
    clf = ZeroShotClassifier(text_features=np.eye(2), class_names=class_names)
    clf.fit(*((None, None) if labels is None else (np.eye(2), labels)))
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
    convert = _onnx._converted

    def wrong(module, rows, name):
        twin = copy.deepcopy(module)
        twin.coef.mul_(2)
        return convert(twin, rows, name)

    monkeypatch.setattr(_onnx, "_converted", wrong)
    with pytest.raises(RuntimeError, match="differ from PyTorch's by .* no file was written"):
        to_onnx(clf, tmp_path / "classifier.onnx")
    assert not os.listdir(tmp_path)


def test_more_than_a_file_holds(clf, tmp_path, monkeypatch):
    monkeypatch.setattr(_onnx, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="GB of weights, but an ONNX file is limited to 2 GB"):
        to_onnx(clf, tmp_path / "classifier.onnx")


def test_without_the_packages(clf, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'to_onnx requires onnxruntime.*"sktip\[onnx\]"'):
        to_onnx(clf, tmp_path / "classifier.onnx")
