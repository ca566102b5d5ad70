"""Features in a file: which are stored, which are not, and what is not computed again."""

import json
import pickle
import shutil
import sqlite3

import numpy as np
import pytest
import torch
from memory_runs import (
    CountingTransformer,
    check_killed_runs,
    encoded,
    file_hash,
    make_images,
    read_rows,
)
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from sktip import (
    CLIPFeatureTransformer,
    FeatureMemory,
    TipAdapterClassifier,
    clear_model_cache,
)
from sktip._encoding import clip as clip_module
from sktip._encoding import loop
from sktip._encoding.session import open_encoder
from sktip.exceptions import ImageReadError


@pytest.fixture
def memory(tmp_path):
    return str(tmp_path / "features.sqlite")


@pytest.fixture
def counting(memory):
    return CountingTransformer("tiny", device="cpu", memory=memory, batch_size=8)


@pytest.fixture
def paths(tmp_path):
    return make_images(tmp_path, 30)


class TestGridSearch:
    """Three folds of four candidates, on the paths of images."""

    @pytest.fixture
    def digit_paths(self, digits, tmp_path):
        paths = [tmp_path / f"{i}.png" for i in range(50)]
        for path, image in zip(paths, digits[0], strict=False):
            Image.fromarray(image).save(path)
        return paths, digits[1][:50]

    def search(self, counting, n_jobs):
        grid = {"alpha": [0.5, 4.0], "beta": [1.0, 5.5]}
        tip = TipAdapterClassifier(counting, templates="the digit {}")
        return GridSearchCV(tip, grid, cv=StratifiedKFold(3), n_jobs=n_jobs)

    def test_each_image_is_encoded_exactly_once(self, counting, memory, digit_paths, clip):
        first = self.search(counting, n_jobs=1).fit(*digit_paths)
        seen = encoded(memory)
        assert len(seen) == len(digit_paths[0])
        assert set(seen.values()) == {1}
        again = self.search(clone(counting), n_jobs=1).fit(*digit_paths)
        assert encoded(memory) == seen
        key = "mean_test_score"
        np.testing.assert_array_equal(again.cv_results_[key], first.cv_results_[key])
        paths, labels = digit_paths
        best = clone(first.best_estimator_).set_params(encoder=clip).fit(paths, labels)
        np.testing.assert_allclose(best.predict_proba(paths), first.predict_proba(paths), atol=1e-4)


def test_features_are_those_without_a_memory(clip, counting, paths):
    expected = clip.transform(paths)
    for _ in range(2):
        features = counting.transform(paths)
        np.testing.assert_allclose(features, expected, atol=1e-6)
        assert features.dtype == np.float32


def test_the_file_is_as_documented(clip, counting, memory, paths):
    counting.transform(paths)
    raw = np.stack([views[0] for views in open_encoder(clip).views(paths, 1, None)])
    kept = read_rows(memory)
    assert len(kept) == len(paths)
    for path, row in zip(paths, raw, strict=True):
        np.testing.assert_allclose(kept[file_hash(path)], row, atol=1e-5)
    db = sqlite3.connect(memory)
    pragmas = ["application_id", "user_version", "journal_mode"]
    values = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert values == [int.from_bytes(b"skti", "big"), 1, "wal"]
    model, weights, preprocessing, precision = db.execute(
        "SELECT model, weights, preprocessing, precision FROM spaces"
    ).fetchone()
    db.close()
    assert json.loads(model)["embed_dim"] == 128
    assert weights == open_encoder(clip).blocks[0].model.weights_hash
    assert json.loads(preprocessing)["size"] == 64
    assert precision == "fp32"


def test_a_hit_is_not_decoded(counting, paths, monkeypatch):
    expected = counting.transform(paths)
    monkeypatch.setattr(loop, "to_rgb", None)
    np.testing.assert_array_equal(counting.transform(paths), expected)


def test_only_what_is_missing_is_encoded_in_full_batches(counting, memory, paths, monkeypatch):
    counting.set_params(n_jobs=1).transform(paths[1::2])
    batches = []
    original = clip_module.ClipModel.encode_images
    monkeypatch.setattr(
        clip_module.ClipModel,
        "encode_images",
        lambda self, tensors: batches.append(len(tensors)) or original(self, tensors),
    )
    features = counting.transform(paths)
    assert batches == [8, 7]
    np.testing.assert_array_equal(features, counting.transform(paths))
    counting.transform(paths[::-1])
    assert encoded(memory).total() == 30


def test_hits_do_not_pile_up_behind_a_miss(counting, clip, paths, monkeypatch):
    counting.transform(paths[1:])
    monkeypatch.setattr(loop, "MAX_WAITING", 4)
    taken = []
    stream = open_encoder(counting).views(_Noted(paths, taken), 1, None)
    first = next(stream)
    assert len(taken) <= 5
    np.testing.assert_allclose(
        first[0], next(open_encoder(clip).views(paths, 1, None))[0], atol=1e-5
    )
    assert len(list(stream)) == 29


class _Noted(list):
    """A list that records which items are read."""

    def __init__(self, items, taken):
        super().__init__(items)
        self.taken = taken

    def __iter__(self):
        for item in super().__iter__():
            self.taken.append(item)
            yield item


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_equal_images_are_encoded_once(counting, memory, paths, n_jobs):
    copy = paths[0].replace("0.png", "copy.png")
    shutil.copy(paths[0], copy)
    X = [*paths[:3], copy] * 20
    # Small batches: with threads, copies are prepared before the first of them is written down.
    features = counting.set_params(n_jobs=n_jobs, batch_size=2).transform(X)
    assert encoded(memory).total() == 3
    np.testing.assert_array_equal(features[3], features[0])


def test_a_changed_file_is_encoded_again(counting, memory, clip, paths):
    counting.transform(paths[:2])
    Image.new("RGB", (40, 40), "red").save(paths[0])
    np.testing.assert_allclose(counting.transform(paths[:2]), clip.transform(paths[:2]), atol=1e-6)
    assert encoded(memory).total() == 3


def test_images_in_memory_are_known_by_what_they_show(counting, memory, clip, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    grey = Image.fromarray(pixels[:, :, 0])
    palettes = [grey.copy(), grey.copy()]
    palettes[0].putpalette(pixels.tobytes()[:768])
    palettes[1].putpalette(pixels.tobytes()[768:1536])
    seen_through = palettes[0].copy()
    seen_through.info["transparency"] = 7
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = Image.fromarray(pixels)
    upright.save(tmp_path / "turned.png", exif=turned)
    X = [
        pixels,
        pixels[::-1],
        pixels.reshape(20, 80, 3),
        grey,
        *palettes,
        seen_through,
        Image.fromarray(pixels).convert("CMYK"),
        Image.fromarray(pixels, mode="HSV"),
        Image.open(tmp_path / "turned.png"),
    ]
    expected = clip.transform(X)
    assert len(np.unique(expected.round(4), axis=0)) >= 9
    for _ in range(2):
        np.testing.assert_allclose(counting.transform(X), expected, atol=1e-5)
    n = encoded(memory).total()
    counting.transform([upright, upright.copy(), pixels.copy()])
    assert encoded(memory).total() == n


class TestViews:
    def test_seeded_views_are_kept_one_by_one(self, counting, memory, paths):
        three = counting.set_params(n_views=3, random_state=0)
        first = three.transform(paths)
        assert encoded(memory).total() == 90
        np.testing.assert_array_equal(three.transform(paths), first)
        five = clone(counting).set_params(n_views=5)
        plain = CLIPFeatureTransformer("tiny", device="cpu", n_views=5, random_state=0)
        np.testing.assert_allclose(five.transform(paths), plain.transform(paths), atol=1e-5)
        assert encoded(memory).total() == 150
        five.set_params(random_state=1).transform(paths)
        assert encoded(memory).total() == 300
        five.set_params(n_views=1).transform(paths)
        assert encoded(memory).total() == 330

    def test_fresh_views_are_not_kept(self, counting, memory, paths):
        counting.set_params(n_views=2, random_state=None)
        first, second = counting.transform(paths), counting.transform(paths)
        assert abs(first - second).max() > 1e-3
        assert len(FeatureMemory(memory)) == 0

    def test_of_a_classifier(self, counting, memory, paths):
        tip = TipAdapterClassifier(counting, n_views=4, random_state=0)
        labels = ["cat", "dog", "owl"] * 10
        first = tip.fit(paths, labels).cache_keys_
        np.testing.assert_array_equal(clone(tip).fit(paths, labels).cache_keys_, first)
        assert encoded(memory).total() == 120


class TestSpaces:
    """Features of another model, or otherwise made, are never taken for one's own."""

    def test_precision(self, counting, memory, paths):
        fp32 = counting.transform(paths)
        bf16 = counting.set_params(precision="bf16").transform(paths)
        assert abs(bf16 - fp32).max() > 1e-5
        assert len(FeatureMemory(memory)) == 60
        np.testing.assert_array_equal(counting.transform(paths), bf16)

    @pytest.mark.parametrize("change", ["weights", "preprocessing", "activation"])
    def test_another_model_in_the_same_folder(self, memory, paths, folder, change):
        encoder = CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu", memory=memory)
        before = encoder.transform(paths)
        weights, config = folder / "open_clip_pytorch_model.bin", folder / "open_clip_config.json"
        settings = json.loads(config.read_text())
        if change == "weights":
            state = torch.load(weights, weights_only=True)
            state["visual.proj"][0] += 0.01
            torch.save(state, weights)
        elif change == "preprocessing":
            settings["preprocess_cfg"]["mean"] = [0.4, 0.4, 0.4]
        else:
            settings["model_cfg"]["quick_gelu"] = True
        config.write_text(json.dumps(settings))
        clear_model_cache()
        after = encoder.transform(paths)
        assert abs(after - before).max() > 1e-5
        np.testing.assert_allclose(
            after, clone(encoder).set_params(memory=None).transform(paths), atol=1e-6
        )

    def test_the_same_model_elsewhere_is_the_same(self, counting, memory, paths, tmp_path):
        counting.transform(paths)
        shutil.copytree(clip_module.TINY_FOLDER, tmp_path / "model")
        counting.set_params(model_name=f"local-dir:{tmp_path / 'model'}").transform(paths)
        assert encoded(memory).total() == 30


class TestFailures:
    """Errors of images and models; those of the file are in test_memory_file.py."""

    def test_unreadable_images_are_not_kept(self, counting, memory, paths, tmp_path):
        bad = tmp_path / "bad.png"
        bad.write_bytes(b"not an image")
        X = [*paths[:5], bad, *paths[5:]]
        for _ in range(2):
            with pytest.warns(UserWarning, match="1 of 31 images") as caught:
                features = counting.set_params(on_error="nan").transform(X)
            assert len(caught) == 1
            np.testing.assert_array_equal(np.flatnonzero(np.isnan(features[:, 0])), [5])
        assert len(read_rows(memory)) == 30

    def test_what_came_before_an_error_is_kept(self, counting, memory, paths, tmp_path):
        with pytest.raises(ImageReadError, match="image 20 .*no such file"):
            counting.transform([*paths[:20], tmp_path / "missing.png", *paths[20:]])
        assert len(read_rows(memory)) >= 20
        counting.transform(paths)
        assert encoded(memory).total() == 30

    def test_features_that_are_no_numbers_are_not_kept(self, counting, memory, paths, monkeypatch):
        original = clip_module.ClipModel.encode_images

        def overflowing(self, tensors):
            features = original(self, tensors)
            features[0, 3], features[1, 3] = np.nan, np.inf
            return features

        with monkeypatch.context() as patch:
            patch.setattr(clip_module.ClipModel, "encode_images", overflowing)
            assert np.isnan(next(open_encoder(counting).views(paths[:8], 1, None))).any()
        assert len(read_rows(memory)) == 6
        assert np.isfinite(counting.transform(paths[:8])).all()


def test_a_transformer_holds_the_path_and_nothing_else(clip, memory, paths):
    for given in (memory, FeatureMemory(memory, max_bytes=2_000_000)):
        encoder = clone(clip).set_params(memory=given)
        encoder.transform(paths)
        copy = clone(encoder)
        assert copy.get_params()["memory"] == given
        assert pickle.loads(pickle.dumps(encoder)).get_params()["memory"] == given
        assert vars(encoder).keys() == vars(clip).keys()
        tip = TipAdapterClassifier(encoder).set_params(encoder__memory=None)
        assert tip.encoder.memory is None


@pytest.mark.parametrize("given", [3, True, b"features.sqlite"])
def test_invalid_memory(clip, paths, given):
    with pytest.raises(ValueError, match="memory"):
        clone(clip).set_params(memory=given).transform(paths)


def test_killed_runs_lose_nothing_that_was_kept(tmp_path):
    # Many more of them are in the folder stress.
    check_killed_runs(tmp_path, n_kills=2, n_images=120)


def test_class_names_are_encoded_once(counting, memory, clip, monkeypatch):
    """An ensemble of templates over many classes costs once, also in another process."""
    names = [f"class {i}" for i in range(300)]
    templates = ["a photo of a {}.", "a drawing of a {}."]
    expected = clip.encode_text(names, templates)
    clear_model_cache()
    np.testing.assert_allclose(counting.encode_text(names, templates), expected, atol=1e-6)
    assert len(FeatureMemory(memory)) == 300
    clear_model_cache()
    prompts, original = [], clip_module.ClipModel._encode_text
    monkeypatch.setattr(
        clip_module.ClipModel,
        "_encode_text",
        lambda self, tokens: prompts.extend(tokens) or original(self, tokens),
    )
    kept = counting.encode_text(["another class", *names], templates)
    assert len(prompts) == 2
    np.testing.assert_allclose(kept[1:], expected, atol=1e-6)


def test_text_features_are_returned_without_a_file(clip, digits, tmp_path):
    encoder = clone(clip).set_params(memory=tmp_path / "missing" / "features.sqlite")
    with pytest.warns(UserWarning, match="could not be opened: there is no folder"):
        text = encoder.encode_text(["cat", "dog"])
    np.testing.assert_allclose(text, clip.encode_text(["cat", "dog"]), atol=1e-6)
