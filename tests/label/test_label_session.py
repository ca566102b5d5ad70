"""The state of the page: what comes next, what is known, and what is written."""

import csv
import os
import time

import numpy as np
import pytest
import skops.io
from PIL import Image

import sktip
from sktip._cli import load_model, main
from sktip._label.export import write_table
from sktip._label.labelling import Session, open_session
from sktip._label.store import NONE, UNSURE, Store
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
        session = open_session(str(photos), f"{photos}-labels", NAMES, clip, "the digit {}")
    session.learner.encode()
    return session


def learn(session):
    for _ in session.learner.learn():
        pass


def first(session):
    """The photo that comes first."""
    return next(filter(session.is_open, session.queue()), None)


def label(session, truth, n):
    """Answer n photos rightly, as a person would."""
    for _ in range(n):
        row = first(session)
        session.give({row: [truth[session.paths[row]]]})


def test_from_names_alone_to_a_table_and_a_model(session, folder, tmp_path):
    photos, truth = folder
    learn(session)
    assert session.knowledge.accuracy is None
    assert list(session.knowledge.classes) == NAMES
    rows = session.predicted_as(None)
    assert len(rows) == 60
    assert rows == sorted(rows, key=lambda row: -session.prediction(row)[1])
    for _ in range(4):
        label(session, truth, 3)
        learn(session)
    odd = first(session)
    session.give({odd: [NONE]})
    learn(session)
    now = session.knowledge
    assert now.accuracy.n == 13
    assert now.accuracy.lower < now.accuracy.value < now.accuracy.upper
    assert [n for n, _ in now.curve] == [9, 12, 13]
    assert sum(known.n_held_out for known in now.classes.values()) == 12
    assert len(now.doubtful) == 10
    guessed = {row: session.prediction(row)[0] for row in session.predicted_as(None)}
    assert len(guessed) == 60 - 13
    right = [truth[session.paths[row]] == label for row, label in guessed.items()]
    assert np.mean(right) > 0.8
    parts = [session.predicted_as(name) for name in (*NAMES, NONE)]
    assert sorted(np.concatenate(parts)) == sorted(guessed)

    with open(write_table(session).path, newline="") as file:
        table = {row.pop("path"): row for row in csv.DictReader(file)}
    assert len(table) == 61
    assert table[session.paths[odd]]["prediction"] == "unknown"
    damaged = table[str(photos / "damaged.jpg")]
    assert (damaged["prediction"], damaged["probability"]) == ("", "")
    assert damaged["error"].startswith("not an image")

    skops.io.dump(session.learner.final_model(), tmp_path / "model.skops")
    assert isinstance(load_model(str(tmp_path / "model.skops")), sktip.RejectUnknown)
    command = ["predict", f"{tmp_path}/model.skops", str(photos), "--output", f"{tmp_path}/p.csv"]
    assert main([*command, "--quiet"]) == 3
    with open(tmp_path / "p.csv", newline="") as file:
        predicted = {row["path"]: row["prediction"] for row in csv.DictReader(file)}
    agree = [predicted[session.paths[row]] == label for row, label in guessed.items()]
    assert np.mean(agree) == 1


def test_what_comes_next(session, folder):
    """Suggestions and random photos, then all others, each once; what was asked for comes before."""
    _, truth = folder
    learn(session)
    rows = list(filter(session.is_open, session.queue()))
    assert sorted(set(rows)) == sorted(
        row for row, path in enumerate(session.paths) if path in truth
    )
    suggested = session.learner.suggested
    assert [row for row in rows[:12] if row in suggested[:8]] == suggested[:8]
    change = session.give({rows[0]: [UNSURE]})
    assert first(session) == rows[1]
    session.undo(change)
    assert first(session) == rows[0]
    label(session, truth, 60)
    assert first(session) is None
    learn(session)
    assert session.predicted_as(None) == []


def test_none_of_these_comes_up_again_after_a_class_was_added(session):
    rows = list(filter(session.is_open, session.queue()))[:3]
    session.give({rows[0]: ["one"], rows[1]: [NONE], rows[2]: [UNSURE]})
    change = session.store.add_class("dragon")
    assert first(session) == rows[1]
    session.give({rows[1]: [NONE]})
    assert first(session) not in rows
    session.store.undo(change)
    assert session.label_of(rows[1]) == NONE


def test_shares_of_what_is_there(session, folder, clip):
    """Answers about photos that are gone, or cannot be read, are not counted."""
    photos, truth = folder
    damaged = session.paths.index(str(photos / "damaged.jpg"))
    label(session, truth, 40)
    session.give({damaged: ["zero"]})
    gone = session.answered()[10:35]
    for row in gone:
        os.remove(session.paths[row])
    session.store.close()
    with pytest.warns(UserWarning, match="links out"):
        again = open_session(str(photos), f"{photos}-labels", NAMES, clip, "the digit {}")
    again.learner.encode()
    learn(again)
    assert again.n_answered() == 16
    shares = {name: known.share for name, known in again.knowledge.classes.items()}
    counts = {name: sum(again.label_of(row) == name for row in range(36)) for name in NAMES}
    counts["zero"] -= 1  # The damaged one.
    for name, share in shares.items():
        assert counts[name] / 35 <= share.lower <= share.value <= share.upper <= 1
    assert 0.9 < sum(share.value for share in shares.values()) < 1.001


def test_wrong_labels_and_new_classes(session, folder):
    _, truth = folder
    label(session, truth, 60)
    wrong = next(row for row, path in enumerate(session.paths) if truth.get(path) == "one")
    session.give({wrong: ["zero"]})
    session.store.add_class("dragon")
    learn(session)
    assert session.knowledge.doubtful[0][0] == wrong
    assert session.knowledge.classes["dragon"].n_held_out == 0
    session.store.rename_class("zero", "nought")
    learn(session)
    assert set(session.knowledge.classes) == {"nought", "one", "seven", "dragon"}


def test_one_label_and_one_class_of_labels(session, folder):
    _, truth = folder
    row = first(session)
    for other in (row, *session.predicted_as(None)[:3]):
        session.give({other: [truth[session.paths[row]]]})
        learn(session)
    assert session.knowledge.accuracy is None
    assert isinstance(session.learner.final_model(), sktip.FewShotClassifier)


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


def test_a_start_that_fails_leaves_nothing(tmp_path, clip):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_session(f"{tmp_path}/none", f"{tmp_path}/out", NAMES, clip, "{}")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="cannot be the name of a class"):
        open_session(str(tmp_path), f"{tmp_path}/out", ["unknown"], clip, "{}")
    assert os.listdir(tmp_path) == ["a.png"]
    (tmp_path / "labels.csv").write_text("precious")
    with pytest.raises(FileExistsError, match=r"labels.csv was not written by .* --merge"):
        open_session(str(tmp_path), str(tmp_path), NAMES, clip, "{}")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "labels.csv"]
    assert (tmp_path / "labels.csv").read_text() == "precious"


class MadeUp:
    """An encoder of photos that do not exist: the number in the name is the row of features."""

    def __init__(self, features):
        self.features = features

    def transform(self, paths):
        return self.features[[int(os.path.basename(path)[:-4]) for path in paths]]

    def encode_text(self, names, templates):
        rng = np.random.default_rng(len(names))
        return rng.normal(size=(len(names), self.features.shape[1])).astype(np.float32)


def made_up(tmp_path, n, n_classes, width=64):
    """A session on n photos that do not exist, with made-up features."""
    names = [f"class {i}" for i in range(n_classes)]
    truth = np.random.default_rng(1).integers(n_classes, size=n)
    encoder = MadeUp(np.zeros((n, width)))
    features = encoder.encode_text(names, "")[truth]
    features += np.random.default_rng(2).normal(size=features.shape).astype(np.float32)
    encoder.features = features / np.linalg.norm(features, axis=1, keepdims=True)
    paths = [f"{tmp_path}/photos/{row:06}.jpg" for row in range(n)]
    store = Store(str(tmp_path))
    store.open_classes(names)
    return Session(f"{tmp_path}/photos", paths, store, encoder, templates="{}"), [
        names[c] for c in truth
    ]


def test_an_answer_is_fast_while_the_thread_learns(tmp_path):
    """Among 10,000 photos of 100 classes."""
    session, truth = made_up(tmp_path, 10_000, 100)
    session.start()
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        row = first(session)
        session.give({row: [truth[row]]})
        session.changed()
        session.guess(first(session))
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 0.3
    until = time.monotonic() + 60
    while not session.knowledge.accuracy and time.monotonic() < until:
        time.sleep(0.1)
    assert session.learner.problem == ""
    assert session.knowledge.accuracy
    assert session.prediction(0)[0] in (*truth, "unknown")


TAGS = {"circle": ("zero", "six", "eight", "nine"), "line": ("one", "seven", "four")}


def test_several_tags(tmp_path, digits, clip):
    """Each photo has all tags that hold or none; the predictions are those of `FewShotTagger`."""
    images, labels = digits
    (tmp_path / "photos").mkdir()
    for row, image in enumerate(images[:80]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{row:02}.png")
    session = open_session(
        f"{tmp_path}/photos", f"{tmp_path}/out", list(TAGS), clip, "a {}", tags=True
    )
    session.learner.encode()
    learn(session)

    def tags_of(row):
        return tuple(tag for tag, names in TAGS.items() if labels[row] in names)

    for _ in range(40):
        row = first(session)
        session.give({row: tags_of(row) or [NONE]})
    learn(session)
    rest = session.predicted_as(None)
    assert np.mean([session.prediction(row)[0] == tags_of(row) for row in rest]) > 0.7
    assert set(session.predicted_as("line")) | set(session.predicted_as(NONE)) < set(rest)
    assert session.knowledge.accuracy.n == 40
    assert len(session.knowledge.doubtful) == 10
    assert isinstance(session.learner.final_model(), sktip.FewShotTagger)


def test_piles_and_neighbours(tmp_path, clip, digits):
    """Copies are one pile, and the photos taken before and after are found by their EXIF data."""
    (tmp_path / "photos").mkdir()
    for row, image in enumerate([*digits[0][:20], digits[0][7]]):
        photo = Image.fromarray(image)
        if row < 20:
            photo.getexif()[306] = f"2026:05:01 06:{59 - row}:00"
        photo.save(tmp_path / "photos" / f"{row:02}.png", exif=photo.getexif())
    session = open_session(f"{tmp_path}/photos", f"{tmp_path}/out", NAMES, clip, "{}")
    assert session.neighbours(5, 1) == [4, 5, 6]
    session.learner.look_at_times()
    assert session.neighbours(5, 1) == [6, 5, 4]
    assert session.neighbours(19, 1) == [19, 18]
    assert session.neighbours(20, 1) == [0, 20]
    session.learner.encode()
    assert session.pile(7) == [7, 20]
    assert session.pile(20) == [20, 7]
    session.give(dict.fromkeys(session.pile(7), ("one",)), bulk=True)
    assert session.pile(20) == [20]
    assert session.ranked_like(3)[0] not in (3, 7, 20)
    assert sorted(session.ranked_by_words("a circle")) == [r for r in range(21) if r not in (7, 20)]


def test_ten_photos_and_as_many_classes(tmp_path):
    session, truth = made_up(tmp_path, 10, 10)
    session.learner.encode()
    while (row := first(session)) is not None:
        session.give({row: [truth[row]]})
        learn(session)
