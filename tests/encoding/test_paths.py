"""Relative paths are resolved at the first use, and do not change with the working directory."""

import pickle
import shutil
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sktip import CLIPFeatureTransformer, FeatureMemory, TipAdapterClassifier, clear_model_cache
from sktip._encoding.model import TINY_FOLDER

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Working directory with a model in the folder ``mod``."""
    shutil.copytree(TINY_FOLDER, tmp_path / "here" / "mod")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    clear_model_cache()
    return tmp_path / "here"


@pytest.fixture
def leave(here, monkeypatch):
    def change():
        clear_model_cache()
        monkeypatch.chdir(here.parent / "there")

    return change


@pytest.mark.parametrize("copy", ["none", "clone", "pickle", "joblib"])
def test_a_fitted_classifier_still_predicts(here, leave, digits, copy):
    images, labels = digits
    clf = TipAdapterClassifier(CLIPFeatureTransformer("local-dir:mod", device="cpu"))
    clf.fit(images[:20], labels[:20])
    expected = clf.predict_proba(images[:5])
    state = pickle.dumps(clf)
    joblib.dump(clf, here / "clf.joblib")
    leave()
    if copy == "pickle":
        clf = pickle.loads(state)
    elif copy == "joblib":
        clf = joblib.load(here / "clf.joblib")
    elif copy == "clone":
        clf = clone(clf).fit(images[:20], labels[:20])
    np.testing.assert_array_equal(clf.predict_proba(images[:5]), expected)
    assert clf.get_params()["encoder__model_name"] == "local-dir:mod"


def test_skops_keeps_it_as_well(here, leave, digits):
    skops = pytest.importorskip("skops.io")
    images, labels = digits
    clf = TipAdapterClassifier(CLIPFeatureTransformer("local-dir:mod", device="cpu"))
    skops.dump(clf.fit(images[:20], labels[:20]), here / "clf.skops")
    expected = clf.predict_proba(images[:5])
    trusted = skops.get_untrusted_types(file=here / "clf.skops")
    leave()
    loaded = skops.load(here / "clf.skops", trusted=trusted)
    np.testing.assert_array_equal(loaded.predict_proba(images[:5]), expected)


def test_a_transformer_that_was_fitted_but_never_used(here, leave):
    pipe = make_pipeline(CLIPFeatureTransformer("local-dir:mod", device="cpu")).fit(IMAGES)
    leave()
    assert pipe.transform(IMAGES).shape == (2, 128)


def test_another_folder_of_that_name_is_another_model(here, monkeypatch, folder):
    shutil.copytree(folder, here.parent / "there" / "mod", ignore=shutil.ignore_patterns("*here"))
    first = CLIPFeatureTransformer("local-dir:mod", device="cpu")
    assert first.transform(IMAGES).shape == (2, 128)
    monkeypatch.chdir(here.parent / "there")
    # Without a cleared cache: the name is not the model.
    assert CLIPFeatureTransformer("local-dir:mod", device="cpu").transform(IMAGES).shape == (2, 16)
    assert first.transform(IMAGES).shape == (2, 128)
    assert first.set_params(n_views=1).transform(IMAGES).shape == (2, 128)
    assert first.set_params(model_name="local-dir:mod").transform(IMAGES).shape == (2, 16)
    first.model_name = f"local-dir:{here / 'mod'}"
    assert first.transform(IMAGES).shape == (2, 128)


def test_what_was_pickled_before_its_first_use(here, leave):
    encoder = CLIPFeatureTransformer("local-dir:mod", device="cpu")
    state = pickle.dumps(encoder)
    assert set(vars(encoder)) == set(encoder.get_params())
    leave()
    assert pickle.loads(state).transform(IMAGES).shape == (2, 128)


def test_a_project_that_has_moved_is_found_from_where_it_is(here, monkeypatch):
    encoder = CLIPFeatureTransformer("local-dir:mod", memory="f.sqlite", device="cpu")
    encoder.transform(IMAGES)
    state = pickle.dumps(encoder)
    moved = here.rename(here.parent / "moved")
    monkeypatch.chdir(moved)
    loaded = pickle.loads(state)
    assert loaded.transform(IMAGES).shape == (2, 128)
    assert not here.exists()
    assert len(FeatureMemory(moved / "f.sqlite")) == 2


def test_another_process_elsewhere(here, leave):
    encoder = CLIPFeatureTransformer("local-dir:mod", memory="f.sqlite", device="cpu")
    (here / "encoder.pickle").write_bytes(pickle.dumps(encoder))
    leave()
    code = (
        "import pickle, sys, numpy as np; "
        "encoder = pickle.load(open(sys.argv[1], 'rb')); "
        "encoder.transform(np.zeros((1, 32, 32, 3), np.uint8))"
    )
    subprocess.run([sys.executable, "-c", code, here / "encoder.pickle"], check=True)
    assert [path.name for path in here.parent.joinpath("there").iterdir()] == []
    assert len(FeatureMemory(here / "f.sqlite")) == 1


@pytest.mark.parametrize("kind", [str, FeatureMemory])
def test_memory(here, leave, kind):
    memory = kind("f.sqlite")
    encoder = CLIPFeatureTransformer("tiny", memory=memory, device="cpu")
    encoder.transform(IMAGES[:1])
    leave()
    encoder.transform(IMAGES)
    pickle.loads(pickle.dumps(encoder)).transform(IMAGES)
    assert encoder.memory is memory
    assert not list((here.parent / "there").iterdir())
    assert len(FeatureMemory(here / "f.sqlite")) == 2
    if kind is FeatureMemory:
        assert len(memory) == 2
        assert repr(memory) == "FeatureMemory(path='f.sqlite', max_bytes=None)"
        assert memory == FeatureMemory("f.sqlite")


def test_weights(here, leave, folder, monkeypatch):
    import json

    import open_clip

    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small", config)
    shutil.copy(folder / "open_clip_pytorch_model.bin", here / "weights.pt")
    encoder = CLIPFeatureTransformer("Small", "weights.pt", device="cpu")
    expected = encoder.transform(IMAGES)
    leave()
    np.testing.assert_array_equal(encoder.transform(IMAGES), expected)
    assert encoder.get_params()["pretrained"] == "weights.pt"


def test_encoders_without_relative_paths_hold_their_parameters_only(tmp_path):
    encoder = CLIPFeatureTransformer("tiny", memory=tmp_path / "f.sqlite", device="cpu")
    encoder.transform(IMAGES)
    assert set(vars(encoder)) == set(encoder.get_params())
