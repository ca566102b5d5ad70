"""The state of the page: what comes next, what is known, and what is written."""

import csv
import os
import re
import time

import numpy as np
import pytest
import skops.io
from PIL import Image

import sktip
from sktip._cli import load_model, main
from sktip._label.answers import NONE, UNSURE, Answers
from sktip._label.session import Session, open_session
from sktip.exceptions import ImageReadError

NAMES = ["one", "seven", "zero"]


@pytest.fixture
def folder(tmp_path, digits):
    """Photos of three digits, a damaged one, and links into and out of the folder."""
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    images, labels = digits
    truth = {}
    for index in np.flatnonzero(np.isin(labels, NAMES))[:60]:
        path = photos / ("deep" if index % 2 else "") / f"{index}.png"
        Image.fromarray(images[index]).save(path)
        truth[str(path)] = str(labels[index])
    (photos / "damaged.jpg").write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (photos / "out.png").symlink_to(tmp_path / "secret.png")
    return photos, truth


@pytest.fixture
def session(folder, clip):
    photos, _ = folder
    with pytest.warns(UserWarning, match="1 photos are left out: they are links out"):
        return open_session(str(photos), f"{photos}-labels", NAMES, clip, "the digit {}")


def learn(session):
    for _ in session.learn():
        pass


def label(session, truth, n):
    """Answer n photos rightly, as a person would."""
    for _ in range(n):
        row = session.next_photo("me")
        session.answer({row: truth[session.paths[row]]})


def test_from_names_alone_to_a_table_and_a_model(session, folder, tmp_path):
    photos, truth = folder
    learn(session)
    assert session.knowledge.accuracy == ""
    assert set(session.knowledge.table) == set(NAMES)
    rows = session.predicted_as(None)
    assert len(rows) == 60
    assert rows == sorted(rows, key=lambda row: -session.prediction(row)[1])
    for _ in range(4):
        label(session, truth, 3)
        learn(session)
    first = session.next_photo("me")
    session.answer({first: NONE})
    learn(session)
    now = session.knowledge
    assert "12 photos" in now.accuracy
    assert re.fullmatch("Expected on .* Ten more answers are expected .* points.", now.outlook)
    assert all("of" in cells["right when held out"] for cells in now.table.values())
    guessed = {row: session.prediction(row)[0] for row in session.predicted_as(None)}
    assert len(guessed) == 60 - 13
    right = [truth[session.paths[row]] == label for row, label in guessed.items()]
    assert np.mean(right) > 0.8
    parts = [session.predicted_as(name) for name in (*NAMES, NONE)]
    assert sorted(np.concatenate(parts)) == sorted(guessed)

    with open(session.save_table(), newline="") as file:
        table = {row.pop("path"): row for row in csv.DictReader(file)}
    assert len(table) == 61
    assert table[session.paths[first]]["prediction"] == "unknown"
    damaged = table[str(photos / "damaged.jpg")]
    assert (damaged["prediction"], damaged["probability"]) == ("", "")
    assert damaged["error"].startswith("not an image")

    skops.io.dump(session.model(), tmp_path / "model.skops")
    assert isinstance(load_model(str(tmp_path / "model.skops")), sktip.RejectUnknown)
    command = ["predict", f"{tmp_path}/model.skops", str(photos), "--output", f"{tmp_path}/p.csv"]
    assert main([*command, "--quiet"]) == 3
    with open(tmp_path / "p.csv", newline="") as file:
        predicted = {row["path"]: row["prediction"] for row in csv.DictReader(file)}
    agree = [predicted[session.paths[row]] == label for row, label in guessed.items()]
    assert np.mean(agree) == 1


def test_what_comes_next(session, folder):
    """Suggestions, then all others, and no photo in two windows."""
    _, truth = folder
    learn(session)
    one, two = session.next_photo("one"), session.next_photo("two")
    assert one != two
    assert session.next_photo("one") == one
    session.close("two")
    before = session.answer({one: UNSURE})
    assert session.next_photo("one") == two
    session.answer(before)
    assert session.next_photo("one") == one
    doubted = session.predicted_as("one")[:2]
    session.show_first(doubted)
    assert session.next_photo("one") == doubted[0]
    session.close("one")
    session.close("two")
    label(session, truth, 60)
    assert session.next_photo("me") is None
    learn(session)
    assert session.predicted_as(None) == []


def test_wrong_labels_and_new_classes(session, folder):
    _, truth = folder
    label(session, truth, 60)
    wrong = next(row for row, path in enumerate(session.paths) if truth.get(path) == "one")
    session.answer({wrong: "zero"})
    session.add_class("dragon")
    learn(session)
    assert session.knowledge.doubtful == [wrong]
    assert session.knowledge.table["dragon"]["right when held out"] == "0 of 0"
    session.rename_class("zero", "nought")
    learn(session)
    assert set(session.knowledge.table) == {"nought", "one", "seven", "dragon"}


def test_one_label_and_one_class_of_labels(session, folder):
    _, truth = folder
    row = session.next_photo("me")
    for other in (row, *session.predicted_as(None)[:3]):
        session.answer({other: truth[session.paths[row]]})
        learn(session)
    assert session.knowledge.accuracy == ""
    assert isinstance(session.model(), sktip.FewShotClassifier)


@pytest.mark.parametrize("copy", [True, False])
def test_folders_of_links_or_copies(session, folder, copy):
    """Nothing is moved or replaced, and no name leads elsewhere."""
    _, truth = folder
    before = {path: os.stat(path).st_mtime_ns for path in session.paths}
    session.add_class("../up")
    session.add_class("one?")
    session.add_class("One:")
    rows = [row for row, path in enumerate(session.paths) if path in truth]
    labels = {rows[0]: "../up", rows[1]: "one?", rows[2]: "One:"}
    session.answer(labels | dict.fromkeys(rows[3:], "one"))
    target = session.sort_into_folders(copy=copy)
    again = session.sort_into_folders(copy=copy)
    assert os.path.basename(target) != os.path.basename(again)
    assert sorted(os.listdir(target)) == ["One_ 2", "__up", "one", "one_"]
    assert len(os.listdir(f"{target}/one")) == 57
    found = os.path.join(target, "__up", os.listdir(f"{target}/__up")[0])
    assert os.path.islink(found) != copy
    assert {path: os.stat(path).st_mtime_ns for path in session.paths} == before


def test_pictures_of_the_folder_alone(session, folder, tmp_path):
    photos, truth = folder
    row = next(row for row, path in enumerate(session.paths) if path in truth)
    assert session.picture(row, 20).startswith(b"\xff\xd8")
    with pytest.raises(ImageReadError, match="not an image"):
        session.picture(session.paths.index(str(photos / "damaged.jpg")), 20)
    os.remove(session.paths[row])
    os.symlink(tmp_path / "secret.png", session.paths[row])
    with pytest.raises(ImageReadError, match="leads out of the folder"):
        session.picture(row, 20)


def test_errors_before_anything_is_encoded(tmp_path, clip):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_session(f"{tmp_path}/none", f"{tmp_path}/out", NAMES, clip, "{}")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="fewer than two classes; pass --classes"):
        open_session(str(tmp_path), f"{tmp_path}/out", ["fox"], clip, "{}")


class Texts:
    """An encoder of made-up texts."""

    def __init__(self, width):
        self.width = width

    def encode_text(self, names, templates):
        rng = np.random.default_rng(len(names))
        return rng.normal(size=(len(names), self.width)).astype(np.float32)


def made_up(tmp_path, n, n_classes, width=64):
    """A session on n photos that do not exist, with made-up features."""
    names = [f"class {i}" for i in range(n_classes)]
    texts = Texts(width)
    truth = np.random.default_rng(1).integers(n_classes, size=n)
    features = texts.encode_text(names, "")[truth]
    features += np.random.default_rng(2).normal(size=features.shape).astype(np.float32)
    paths = [f"{tmp_path}/photos/{row:06}.jpg" for row in range(n)]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    answers = Answers(str(tmp_path), names)
    return Session(f"{tmp_path}/photos", paths, features, texts, answers), [names[c] for c in truth]


@pytest.mark.parametrize("n_classes", [3, 100])
def test_an_answer_is_fast_while_the_thread_learns(tmp_path, n_classes):
    """Among 10,000 photos."""
    session, truth = made_up(tmp_path, 10_000, n_classes)
    session.start()
    seconds = []
    for _ in range(30):
        row = session.next_photo("me")
        start = time.perf_counter()
        session.answer({row: truth[row]})
        session.guess(session.next_photo("me"))
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 0.3
    until = time.monotonic() + 60
    while not session.knowledge.accuracy and time.monotonic() < until:
        time.sleep(0.1)
    assert session.problem == ""
    assert session.knowledge.accuracy
    assert session.prediction(0)[0] in (*truth, "unknown")


def test_ten_photos_and_as_many_classes(tmp_path):
    session, truth = made_up(tmp_path, 10, 10)
    for row in range(10):
        session.answer({row: truth[row]})
        learn(session)
    assert session.next_photo("me") is None
