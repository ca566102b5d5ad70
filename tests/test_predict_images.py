"""Many images without a cluster: answers, errors, memory and files."""

import csv
import os
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sktip import (
    FewShotClassifier,
    GDAClassifier,
    RejectUnknown,
    TipAdapterClassifier,
    _predict_images,
    predict_images,
)
from sktip._encoding.session import open_encoder


@pytest.fixture(scope="module")
def clf(clip, digits):
    images, labels = digits
    return FewShotClassifier(clip, templates="the digit {}").fit(images[:60], labels[:60])


@pytest.fixture
def photos(tmp_path, digits):
    """Twelve digits in nested folders, one of them damaged, and a file that is no image."""
    folder = tmp_path / "photos"
    for index, image in enumerate(digits[0][60:72]):
        path = folder / f"{index // 5}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "1/7.png").write_bytes(b"not an image")
    (folder / "1/notes.txt").touch()
    return folder


def rows_of(file):
    with open(file, newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_a_folder_with_a_damaged_file(clf, photos, tmp_path, digits):
    output = tmp_path / "answers.csv"
    with pytest.warns(UserWarning, match="could not be read") as caught:
        answers = predict_images(clf, photos, output, verbose=0)
    messages = sorted(str(warning.message) for warning in caught)
    assert {warning.filename for warning in caught} == {__file__}
    assert len(messages) == 2
    assert re.match(
        r"1 of 12 images could not be read and have no prediction; see the column 'error'. image 7 "
        r"\('.*1.7.png'\): not an image in a supported format",
        messages[0],
    )
    assert messages[1].endswith("1 files that are not images: '1/notes.txt'.")

    assert [os.path.relpath(path, photos) for path in answers.path] == [
        os.path.join(f"{index // 5}", f"{index}.png")
        for index in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    ]
    read = np.arange(12) != 7
    images = [digits[0][60 + index] for index in np.flatnonzero(read)]
    assert answers.prediction[read].tolist() == clf.predict(images).tolist()
    np.testing.assert_allclose(
        answers.probability[read], clf.predict_proba(images).max(axis=1), atol=1e-6
    )
    assert answers.prediction[7] is None
    assert np.isnan(answers.probability[7])
    assert answers.error[7].startswith("not an image in a supported format")
    assert not answers.error[read].any()
    assert repr(answers.prediction[0]).startswith("'")

    rows = rows_of(output)
    assert [row["path"] for row in rows] == answers.path.tolist()
    assert [row["prediction"] or None for row in rows] == answers.prediction.tolist()
    assert [row["error"] or None for row in rows] == answers.error.tolist()
    assert rows[7]["probability"] == ""
    assert float(rows[0]["probability"]) == pytest.approx(answers.probability[0], rel=1e-5)

    table = pd.DataFrame(answers)
    assert table.columns.tolist() == ["path", "prediction", "probability", "error"]
    assert table["error"].notna().tolist() == (~read).tolist()


@pytest.mark.parametrize("kind", ["features", "search", "no probabilities"])
def test_whatever_classifies_images(kind, clip, digits, digit_features):
    images, _ = digits
    features, labels = digit_features
    if kind == "features":
        clf = GDAClassifier(clip, input="features").fit(features[:60], labels[:60])
        expected = clf.predict(features[60:90])
    else:
        last = LinearSVC() if kind == "no probabilities" else LogisticRegression()
        clf = make_pipeline(clip, last)
        if kind == "search":
            clf = GridSearchCV(clf, {"logisticregression__C": [1]}, cv=2)
        clf = clf.fit(images[:60], labels[:60])
        expected = clf.predict(images[60:90])
    answers = predict_images(clf, images[60:90], verbose=0)
    assert answers.prediction.tolist() == expected.tolist()
    assert np.isnan(answers.probability).all() == (kind == "no probabilities")
    assert set(answers.path) == {None}


@pytest.mark.parametrize("kind", ["images", "probe", "search"])
def test_unknown_images_are_rejected_as_by_predict(kind, clip, digits, encoded):
    """Whatever stands in or around `RejectUnknown`; the images are encoded once."""
    images, labels = digits
    known = np.isin(labels, ["one", "two", "four", "six", "seven"])
    probe = RejectUnknown(LogisticRegression(C=100, max_iter=1000), unknown_label="none of them")
    tip = RejectUnknown(TipAdapterClassifier(clip))
    clf = {
        "images": RejectUnknown(FewShotClassifier(clip)),
        "probe": make_pipeline(clip, probe),
        "search": GridSearchCV(tip, {"quantile": [0.2]}, cv=2),
    }[kind]
    shots = np.flatnonzero(known[:100])
    clf.fit([images[row] for row in shots], labels[shots])
    expected, probabilities = clf.predict(images[100:150]), clf.predict_proba(images[100:150])
    encoded.clear()
    with pytest.warns(UserWarning, match="1 of 51 images"):
        answers = predict_images(clf, [*images[100:149], b"", images[149]], verbose=0)
    assert sum(encoded) == 50
    read = np.arange(51) != 49
    assert answers.prediction[read].tolist() == expected.tolist()
    assert answers.prediction[49] is None
    rejected = set(answers.prediction[read]) - set(labels[known])
    assert rejected == {"none of them" if kind == "probe" else "unknown"}
    np.testing.assert_allclose(
        answers.probability[read], probabilities.max(axis=1), atol=1e-5, rtol=1e-5
    )


def test_an_encoder_of_another_model(clip, digits):
    images, labels = digits
    clf = RejectUnknown(TipAdapterClassifier(clip)).fit(images[:60], labels[:60])
    clf.estimator_._encoder_probe = -clf.estimator_._encoder_probe
    with pytest.raises(ValueError, match="not the model that this TipAdapterClassifier was fitted"):
        predict_images(clf, images[:3])


def test_several_values_per_image(clip, digits, digit_features):
    features, labels = digit_features
    tags = np.stack([labels[:60] == "one", labels[:60] == "two"], axis=1)
    clf = make_pipeline(clip, DecisionTreeClassifier(max_depth=1).fit(features[:60], tags))
    with pytest.raises(ValueError, match="Pipeline predicts 2 values per image.*split_encoder"):
        predict_images(clf, digits[0][:3], verbose=0)


def test_integer_labels_stay_integers(clip, digits, tmp_path):
    images, labels = digits
    names = sorted(set(labels))
    codes = np.searchsorted(names, labels)
    clf = TipAdapterClassifier(clip, class_names=names).fit(images[:60], codes[:60])
    with pytest.warns(UserWarning, match="1 of 3 images"):
        answers = predict_images(clf, [images[60], b"", images[61]], verbose=0)
    assert [type(label) for label in answers.prediction] == [int, type(None), int]
    clf = RejectUnknown(clf).fit(images[:60], codes[:60])
    noise = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    assert predict_images(clf, noise, verbose=0).prediction.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("n", [1, 8, 9])
def test_batches_of_any_size(n, clf, digits, monkeypatch):
    monkeypatch.setattr(_predict_images, "BATCH", 8)
    images = list(digits[0][60 : 60 + n])
    images[n // 2] = b""
    with pytest.warns(UserWarning, match=f"1 of {n} images"):
        answers = predict_images(clf, images, verbose=0)
    read = np.arange(n) != n // 2
    assert answers.error[n // 2] == "the file is empty."
    assert [error is None for error in answers.error] == read.tolist()
    if n > 1:
        expected = clf.predict([image for image, good in zip(images, read, strict=True) if good])
        assert answers.prediction[read].tolist() == expected.tolist()


def test_memory_does_not_grow_with_the_images(clf, monkeypatch):
    """Features of as many images would be 10 MB."""

    class Pictures(list):
        def __getitem__(self, index):
            if isinstance(index, slice):
                return [self[i] for i in range(*index.indices(len(self)))]
            return np.full((16, 16), index % 256, np.uint8)

        def __iter__(self):
            return (self[i] for i in range(len(self)))

        def __len__(self):
            return 20_000

    session = open_encoder(clf.encoder)
    rows = session.features([np.full((16, 16), i, np.uint8) for i in range(256)])
    monkeypatch.setattr(
        type(session),
        "rows",
        lambda self, images, on_failure: (rows[i % len(rows)] for i in range(len(images))),
    )
    tracemalloc.start()
    try:
        answers = predict_images(clf, Pictures(), verbose=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(answers.path) == 20_000
    assert peak < 6e6, peak


def test_a_file_is_replaced_only_when_asked_and_never_left_half_written(
    clf, tmp_path, digits, monkeypatch
):
    output, images = tmp_path / "answers.csv", digits[0][60:90]
    output.write_text("mine")
    with pytest.raises(FileExistsError, match="answers.csv already exists.*overwrite=True"):
        predict_images(clf, images, output, verbose=0)

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_predict_images, "with_feature_names", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_images(clf, images, output, overwrite=True, verbose=0)
    assert output.read_text() == "mine"
    assert os.listdir(tmp_path) == ["answers.csv"]
    predict_images(clf, images, output, overwrite=True, verbose=0)
    assert len(rows_of(output)) == 30


@pytest.mark.skipif(os.name == "nt", reason="names of files are text there, without controls")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9\r\n\x1b[31m.png", r"caf\udce9\r\n\x1b[31m.png"),
        ("\u3000\u200d=1+1.png".encode(), "\u3000\u200d=1+1.png"),
    ],
)
def test_names_of_files_in_the_table(clf, digits, tmp_path, name, shown):
    """What a terminal would obey, and bytes that are not text, are escaped; all else stays."""
    path = os.path.join(os.fsencode(tmp_path), name)
    Image.fromarray(digits[0][60]).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", path)
    answers = predict_images(clf, tmp_path, tmp_path / "answers.csv", verbose=0)
    assert answers.path.tolist() == [os.fsdecode(path)]
    assert [os.path.basename(row["path"]) for row in rows_of(tmp_path / "answers.csv")] == [shown]
    assert (tmp_path / "answers.csv").read_bytes().count(b"\n") == 2


def test_a_progress_bar_for_all(clf, digits, capsys):
    predict_images(clf, digits[0][60:70], verbose=1)
    assert "10/10" in capsys.readouterr().err
    predict_images(clf, digits[0][60:70], verbose=0)
    assert capsys.readouterr().err == ""


def test_what_cannot_be_predicted(clf, clip, digit_features, tmp_path):
    features, labels = digit_features
    (tmp_path / "a.txt").touch()
    with pytest.raises(
        ValueError, match=r"contains no images \(skipped: 1 files that are not images: 'a.txt'\)"
    ):
        predict_images(clf, tmp_path)
    with pytest.raises(NotADirectoryError, match="a.txt is not a folder; for a single image, pass"):
        predict_images(clf, str(tmp_path / "a.txt"))
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        predict_images(clf, tmp_path / "nowhere")
    with pytest.raises(TypeError, match="X is a single bytes"):
        predict_images(clf, b"")
    with pytest.raises(ValueError, match="LogisticRegression has no encoder.*make_pipeline"):
        predict_images(LogisticRegression().fit(features[:60], labels[:60]), tmp_path)
    with pytest.raises(ValueError, match="not fitted"):
        predict_images(FewShotClassifier(clip), tmp_path)
