"""Photos found by words, by example, or by a class."""

import csv
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sktip import (
    CLIPFeatureTransformer,
    FewShotClassifier,
    FewShotTagger,
    JointEncoder,
    TipAdapterClassifier,
    rank_images,
)
from sktip._cli import main
from sktip.exceptions import ImageReadError
from sktip.model_selection import suggest_shots


@pytest.fixture(scope="module")
def photos(tmp_path_factory, digits):
    """A folder of digits, and their names."""
    folder = tmp_path_factory.mktemp("digits")
    paths = [folder / f"{i:03}.png" for i in range(100)]
    for path, image in zip(paths, digits[0], strict=False):
        Image.fromarray(image).save(path)
    return list(map(str, paths)), digits[1][:100]


def test_words_find_what_they_name(clip, photos):
    paths, labels = photos
    indices, scores = rank_images(paths, "the digit zero", clip)
    assert sorted(indices) == list(range(100))
    assert (np.diff(scores) <= 0).all()
    assert (labels[indices[:5]] == "zero").all()
    features, text = clip.transform(paths), clip.encode_text(["the digit zero"], "{}")
    np.testing.assert_allclose(scores, (features @ text[0])[indices], atol=1e-6)
    for images, query, encoder in ((features, "the digit zero", clip), (features, text[0], None)):
        found = rank_images(images, query, encoder, top=7)
        np.testing.assert_array_equal(found[0], indices[:7])


def test_several_texts_are_their_mean(clip, photos):
    F = clip.transform(photos[0])
    text = clip.encode_text(["the digit zero", "a circle"], "{}").mean(axis=0)
    expected = F @ (text / np.linalg.norm(text))
    indices, scores = rank_images(F, ["the digit zero", "a circle"], clip)
    np.testing.assert_allclose(scores, expected[indices], atol=1e-6)


@pytest.mark.parametrize("form", ["path", "pixels", "several"])
def test_an_example_finds_itself_first(clip, photos, form):
    paths, _ = photos
    query = {
        "path": paths[7],
        "pixels": np.asarray(Image.open(paths[7])),
        "several": [paths[7]] * 2,
    }
    indices, scores = rank_images(paths, query[form], clip, top=3)
    assert indices[0] == 7
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert len(indices) == 3


def test_a_class_of_a_classifier_is_ranked_by_its_probability(clip, photos):
    paths, labels = photos
    clf = FewShotClassifier(clip, templates="the digit {}").fit(paths[:50], labels[:50])
    indices, scores = rank_images(paths[50:], "seven", clf)
    column = list(clf.classes_).index("seven")
    np.testing.assert_allclose(scores, clf.predict_proba(paths[50:])[indices, column], atol=1e-5)
    tagger = FewShotTagger(clip, class_names=["zero", "seven"])
    tagger.fit(
        paths[:50], np.stack([labels[:50] == name for name in ("zero", "seven")], 1).astype(int)
    )
    assert labels[rank_images(paths, "seven", tagger, top=1)[0]] == "seven"
    with pytest.raises(ValueError, match=r"no class .* 'sevn' \(there is 'seven'\)"):
        rank_images(paths, "sevn", clf)


def test_text_is_compared_with_its_block_of_several_encoders(clip, timm_encoder, photos):
    joint = JointEncoder([timm_encoder, clip])
    alone = rank_images(photos[0], "the digit zero", clip)[0]
    np.testing.assert_array_equal(rank_images(photos[0], "the digit zero", joint)[0], alone)


def test_a_second_search_encodes_nothing(photos, tmp_path, encoded):
    encoder = CLIPFeatureTransformer("tiny", memory=tmp_path / "memory.sqlite")
    expected = rank_images(photos[0], "the digit zero", encoder)
    encoded.clear()
    np.testing.assert_array_equal(rank_images(photos[0], "the digit zero", encoder), expected)
    assert encoded == []


def test_features_on_disk_are_read_in_blocks(tmp_path):
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float16, (60_000, 128))
    for start in range(0, len(X), 10_000):
        X[start : start + 10_000] = rng.normal(size=(10_000, 128))
    tracemalloc.start()
    indices, _ = rank_images(X, X[12_345].astype(float), top=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert indices[0] == 12_345
    assert peak < X.nbytes


def test_photos_that_cannot_be_read_are_left_out(clip, photos, tmp_path):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"")
    images = [photos[0][0], damaged, *photos[0][1:5]]
    with pytest.warns(UserWarning, match=r"1 of 6 images .*damaged.jpg"):
        indices, scores = rank_images(images, "the digit zero", clip)
    assert sorted(indices) == [0, 2, 3, 4, 5]
    assert np.isfinite(scores).all()
    with pytest.raises(ImageReadError, match="none of the 1 images"):
        rank_images([damaged], "the digit zero", clip)


@pytest.mark.parametrize(
    ("images", "query", "encoder", "error", "message"),
    [
        (np.eye(3), "a cat", None, TypeError, "encoder is None"),
        (["a.jpg"], np.ones(3), None, TypeError, "images need an encoder"),
        (np.eye(3), "a cat", "tiny", ValueError, "3 features and the query has 128"),
        (np.ones(3), np.ones(3), None, ValueError, r"shape \(3,\)"),
        (np.eye(3), [], "tiny", ValueError, "query is empty"),
        ("folder", "a cat", "tiny", TypeError, "single str"),
        (np.eye(3), ["a cat", Image.new("L", (9, 9))], "tiny", ValueError, "texts and photos"),
        (np.eye(3), 1, TipAdapterClassifier(), ValueError, "not fitted"),
    ],
)
def test_bad_input_is_refused(images, query, encoder, error, message):
    with pytest.raises(error, match=message):
        rank_images(images, query, encoder)


def test_suggested_shots_begin_with_a_rare_class(features):
    X, y, text = features((300, 300, 8), d=32)
    rows = suggest_shots(X, 5, text_features=text, query=text[2])
    assert (y[rows] == 2).sum() >= 4
    assert len(set(rows)) == 5
    with pytest.raises(ValueError, match="query has 7 features"):
        suggest_shots(X, 5, query=np.ones(7))


def test_search_as_a_command(photos, tmp_path, capsys):
    folder = str(tmp_path / "photos")
    (tmp_path / "photos").symlink_to(photos[0][0].rpartition("/")[0])
    arguments = ["search", folder, "the digit zero", "--model", "tiny", "--quiet"]
    assert main([*arguments, "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    names = [line.split("  ")[1] for line in lines]
    assert [photos[1][int(name[:3])] for name in names] == ["zero"] * 3
    assert (tmp_path / "photos-features.sqlite").is_file()
    assert main([*arguments, "--top", "3", "--output", str(tmp_path / "found.csv")]) == 0
    with open(tmp_path / "found.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].endswith(name) for row, name in zip(rows, names, strict=True)] == [True] * 3
    example = [*arguments[:2], photos[0][7], *arguments[3:]]
    assert main([*example, "--output", str(tmp_path / "found.png"), "--top", "6"]) == 0
    with Image.open(tmp_path / "found.png") as sheet:
        assert sheet.size[0] > 1000
    assert "6 most similar of 100 photos" in capsys.readouterr().out
    assert main([*arguments, "--output", str(tmp_path / "found.txt")]) == 1
    assert "must end in .csv or .png" in capsys.readouterr().err
