"""What is written can be read again: one row per photo, one column per tag, and no input is lost."""

import csv
import io
import os
import unicodedata
from contextlib import suppress
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from sktip import FewShotTagger, TipAdapterClassifier, predict_images
from sktip._cli import main
from sktip._images.folders import list_images
from sktip._utils.messages import unescaped
from sktip.datasets import load_image_table

#: With what tables, terminals and paths treat in a way of their own.
TEXT = st.text(
    st.one_of(
        st.sampled_from(" \\nrtxu0af,;\"'=\n\r\t\x1b\x85\u2028\u202e\u0301e"),
        st.characters(codec="utf-8"),
    ),
    min_size=1,
    max_size=8,
)
#: Bytes that are not text are surrogates in Python.
FILES = st.text(
    st.one_of(st.sampled_from(' \\nrx0,"\n\r\x1b\udcff'), st.characters()), min_size=1, max_size=8
).filter(lambda name: not set(name) & set("/\0"))


def png(grey):
    file = io.BytesIO()
    Image.new("L", (2, 2), grey).save(file, "PNG")
    return file.getvalue()


PHOTOS = [png(30), png(220)]


class Brightness:
    """An encoder that is quick: two numbers per photo."""

    def transform(self, images):
        opened = [Image.open(io.BytesIO(im) if isinstance(im, bytes) else im) for im in images]
        return np.array([[np.asarray(image).mean(), 100] for image in opened])


def distinct(texts, n):
    return st.lists(
        texts, min_size=n, max_size=n, unique_by=lambda text: unicodedata.normalize("NFC", text)
    )


def rows_of(file):
    with open(file, newline="", encoding="utf-8") as text:
        return [list(map(unescaped, row)) for row in csv.reader(text)]


@pytest.mark.skipif(os.name == "nt", reason="names of files have no controls there")
@given(files=st.sets(FILES, min_size=1, max_size=5), labels=distinct(TEXT, 2))
def test_photos_and_their_classes(files, labels):
    with TemporaryDirectory() as folder:
        for number, name in enumerate(sorted(files)):
            path = os.path.join(folder, f"x{name}.png")
            # Not every text is the name of a file.
            with suppress(UnicodeEncodeError), open(path, "wb") as file:
                file.write(PHOTOS[number % 2])
        assume(os.listdir(folder))
        clf = TipAdapterClassifier(Brightness(), templates=None).fit(PHOTOS, labels)
        table = os.path.join(folder, "answers.csv")
        paths = list_images(folder)
        answers = predict_images(clf, paths, table, verbose=0)
        assert answers.path.tolist() == paths
        header, *rows = rows_of(table)
        assert header == ["path", "prediction", "probability", "error"]
        assert [row[0] for row in rows] == paths
        assert [row[1] for row in rows] == answers.prediction.tolist()
        if all(label.strip() for label in labels):
            again = load_image_table(table, label_column="prediction")
            assert again.data.tolist() == paths


@given(tags=distinct(st.one_of(TEXT, st.sampled_from(["self", "keys", "items"])), 3))
def test_tags(tags):
    with TemporaryDirectory() as folder:
        table = os.path.join(folder, "answers.csv")
        y = pd.DataFrame([[1, 0, 1], [0, 1, 0]], columns=tags)
        tagger = FewShotTagger(Brightness(), templates=None).fit(PHOTOS, y)
        answers = predict_images(tagger, PHOTOS, table, verbose=0)
        assert list(answers) == ["path", *tags, "error"]
        header, *rows = rows_of(table)
        assert header == ["path", *tags, "error"]
        assert [list(map(int, row[1:-1])) for row in rows] == tagger.predict(PHOTOS).tolist()


@pytest.mark.parametrize("name", ["path", "box", "error"])
def test_a_tag_with_the_name_of_another_column(name, tmp_path):
    y = pd.DataFrame([[1, 0], [0, 1]], columns=[name, "lake"])
    tagger = FewShotTagger(Brightness(), templates=None).fit(PHOTOS, y)
    with pytest.raises(ValueError, match=f"the tag '{name}' has the name of a column of the table"):
        predict_images(tagger, tmp_path / "nothing is encoded", verbose=0)
    tagger.tags_ = np.array(["way", "lake"])
    assert list(predict_images(tagger, PHOTOS, verbose=0)) == ["path", "way", "lake", "error"]


def test_an_output_is_no_input(clip, digits, tmp_path, capsys):
    """Neither a photo nor a model is replaced by the answers, also through another name of the file."""
    photos = tmp_path / "photos"
    for label in ("one", "two"):
        (photos / label).mkdir(parents=True)
        rows = np.flatnonzero(digits[1] == label)[:3]
        for row in rows:
            Image.fromarray(digits[0][row]).save(photos / label / f"{row}.png")
    model, image = tmp_path / "model.skops", next(photos.glob("one/*"))
    fit = [
        "fit",
        str(photos),
        "--model",
        "tiny",
        "--quiet",
        "--classifier",
        "GDAClassifier",
        "--output",
    ]
    assert main([*fit, str(model)]) == 0
    (tmp_path / "link.skops").symlink_to(image)
    (tmp_path / "hard.skops").hardlink_to(model)
    (tmp_path / "link.csv").symlink_to(image)
    before = {path: path.read_bytes() for path in (model, image)}
    predict = ["predict", str(model), str(photos), "--quiet", "--overwrite", "--output"]
    for command in (
        [*predict, str(model)],
        [*predict, str(tmp_path / "hard.skops")],
        [*predict, str(image)],
        [*predict, str(tmp_path / "link.csv")],
        [*fit, str(tmp_path / "link.skops"), "--overwrite"],
    ):
        assert main(command) == 1
        assert "is an input too, and would be lost" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
