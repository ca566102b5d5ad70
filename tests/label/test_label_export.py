"""What is written when the person asks for it: read back, nothing lost, nothing of others changed."""

import csv
import os
import re

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin

from sktip._label.export import write_folders, write_model, write_report, write_table
from sktip._label.files import write_labels
from sktip._label.labelling import open_session
from sktip._label.merge import merge_table, write_conflicts
from sktip._label.store import ASIDE, NONE, UNSURE, Store, checked_name
from sktip.datasets import load_image_table

NAMES = ["fox", "deer"]


class Grey(TransformerMixin, BaseEstimator):
    """An encoder of grey photos: how bright they are, and noise."""

    def transform(self, paths):
        means = np.array([np.asarray(Image.open(path)).mean() / 255 for path in paths])
        noise = [np.random.default_rng(int(999 * mean)).normal(size=6) / 9 for mean in means]
        return np.column_stack([means, 1 - means, noise]).astype(np.float32)


def opened(tmp_path, names, **options):
    """A session on photos with these names; every second one is dark."""
    for number, name in enumerate(names):
        path = os.path.join(tmp_path, "photos", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:  # Its name has not always a suffix of an image.
            grey = Image.new("L", (8, 8), 40 + number if number % 2 else 200 + number)
            grey.convert("RGB").save(file, "PNG")
    session = open_session(f"{tmp_path}/photos", f"{tmp_path}/out", NAMES, Grey(), "{}", **options)
    session.learner.encode()
    return session


def listed(folder):
    return sorted(
        os.path.relpath(os.path.join(root, file), folder)
        for root, _, files in os.walk(folder)
        for file in files
    )


def read(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


#: Names of files as a file system takes them, in bytes.
FILES = st.binary(min_size=1, max_size=8).map(
    lambda name: os.fsdecode(name.translate(None, b"/\0").lstrip(b".") + b".png")
)
CLASSES = st.text(min_size=1, max_size=8)


@settings(max_examples=25)
@given(
    st.lists(FILES, min_size=1, max_size=4, unique=True),
    st.lists(CLASSES, min_size=2, max_size=4),
    st.booleans(),
    st.data(),
)
def test_round_trip(tmp_path_factory, files, classes, tags, data):
    """Answers and classes are read back from the file of answers, and from the table that is for others."""
    folder = str(tmp_path_factory.mktemp("names"))
    store = Store(folder, tags=tags)
    for name in classes:
        try:
            store.open_classes([checked_name(name, tags=tags)])
        except ValueError:
            continue
    paths = [os.path.join(folder, name) for name in files]
    for path in paths:
        open(path, "wb").close()
        options = [[name] for name in (*store.classes, *ASIDE)]
        if tags and store.classes:
            options.append(store.classes)
        store.give({path: data.draw(st.sampled_from(options))}, bulk=data.draw(st.booleans()))
    again = Store(folder)
    assert (again.answers, again.classes, again.tags) == (store.answers, store.classes, tags)
    header, *rows = read(write_labels(store))
    assert header == ["path", *(store.classes if tags else ["label"])]
    found = {os.path.normpath(os.path.join(folder, path)): cells for path, *cells in rows}
    expected = {
        path: [str(int(name in own.labels)) for name in store.classes] if tags else [own.labels[0]]
        for path, own in store.answers.items()
        if own.labels != (UNSURE,) and (tags or own.labels != (NONE,))
    }
    assert found == expected
    if not tags and expected:
        X, y = load_image_table(f"{folder}/labels.csv", return_X_y=True)
        assert dict(zip(X, y, strict=True)) == {path: own[0] for path, own in expected.items()}
    again.close()
    store.close()


def test_table_has_one_row_per_photo_under_its_own_name(tmp_path):
    names = ["a\rb.png", " c.png", os.fsdecode(b"\xff.png"), "d\n.png", "e,.png"]
    session = opened(tmp_path, names)
    session.give({0: ["fox"], 1: ["deer"]})
    header, *rows = read(write_table(session).path)
    assert header == ["path", "prediction", "probability", "error"]
    assert [row[0] for row in rows] == session.paths
    assert sorted(names) == sorted(map(os.path.basename, session.paths))


def test_every_photo_arrives_once_or_its_reason_is_listed(tmp_path):
    names = ["2 a.png", "a.png", "A.png", "z/a.png", "not sorted.csv.png", "con.png"]
    names += ["gone.png", "pipe.png", "open.png"]
    session = opened(tmp_path, names)
    long = "ü" * 300
    for name in ("../up", "one?", "One:", long):
        session.store.add_class(name)
    row_of = {session.name(row): row for row in range(len(names))}
    session.give(dict.fromkeys(set(row_of.values()) - {row_of["open.png"]}, ("fox",)))
    session.give({row_of["con.png"]: ["../up"], row_of["2 a.png"]: [long]})
    session.give({row_of["a.png"]: ["one?"], row_of["A.png"]: ["One:"]})
    os.remove(tmp_path / "photos" / "gone.png")
    os.remove(tmp_path / "photos" / "pipe.png")
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    before = listed(tmp_path / "photos")
    for copy in (True, False):
        written = write_folders(session, copy=copy)
        files = listed(written.path)
        reasons = {os.path.basename(path): reason for path, reason in written.problems}
        assert sorted(reasons) == ["gone.png", "open.png", "pipe.png"]
        assert reasons["gone.png"] == "No such file or directory"
        assert len(files) == len(names) - len(reasons) + 1
        assert "not sorted.csv" in files
        assert "__up/_con.png" in files
        assert len({file.casefold() for file in files}) == len(files)
        arrived = [os.path.join(written.path, f) for f in files if f != "not sorted.csv"]
        assert all(os.path.isfile(path) and os.path.islink(path) != copy for path in arrived)
    assert listed(tmp_path / "photos") == before
    session.give(dict.fromkeys(range(len(names)), ("fox",)))
    files = listed(write_folders(session, copy=True).path)
    assert sum(re.sub(r" \(\d\)", "", file).lower() == "fox/a.png" for file in files) == 3


def test_model_and_what_to_type_next(tmp_path):
    session = opened(tmp_path, [f"{i}.png" for i in range(8)])
    with pytest.raises(ValueError, match="label photos of two classes first"):
        write_model(session, skops.io.dumps)
    session.give({row: [NAMES[row % 2]] for row in range(6)})
    for _ in session.learner.learn():
        pass
    assert session.knowledge.predicted[7] == "deer"
    written = write_model(session, skops.io.dumps)
    assert written.command == f"sktip predict {written.path} NEW_PHOTOS --output predictions.csv"
    assert os.path.getsize(written.path) > 1000


def test_report_is_one_page_that_asks_for_nothing(tmp_path):
    session = opened(tmp_path, [f"<b>{i:02}.png" for i in range(24)])
    session.learner.errors[20] = "not an image"
    session.store.rename_class("fox", "<script>alert(1)</script>")
    session.give({row: [session.classes[row % 2]] for row in range(12)})
    session.give({12: [session.classes[1]]})  # A wrong one.
    for _ in session.learner.learn():
        pass
    with open(write_report(session).path, encoding="utf-8") as file:
        page = file.read()
    assert "13 of 24 photos are labelled" in page
    assert "<script>" not in page
    assert "<b>0" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,)', page) == []
    assert page.count("<img") == 18  # Four of each class, and ten doubtful ones.
    doubtful = page[page.index("Most doubtful") :]
    assert doubtful.index("&lt;b&gt;12.png") < doubtful.index("probability")
    assert "20.png</td><td>not an image</td>" in page


def test_labels_of_another_machine(tmp_path):
    """By their paths in the folder of photos; the own answers stay, and what differs is listed."""
    names = ["deep/a.png", "a.png", "b.png", "c.png", "d.png"]
    session = opened(tmp_path, names)
    row_of = {session.name(row): row for row in range(5)}
    session.give({row_of["b.png"]: ["fox"], row_of["c.png"]: ["fox"]})
    other = tmp_path / "elsewhere" / "labels.csv"
    other.parent.mkdir()
    rows = ["path,label", "../photos/deep/a.png,Deer", "..\\photos\\a.png,hare"]
    rows += ["/home/other/photos/b.png,FOX", "../photos/c.png,deer", "../others/d.png,fox"]
    other.write_text("\n".join(rows))
    merged = merge_table(session, str(other))
    assert (merged.n_new, merged.n_same) == (2, 1)
    assert merged.conflicts == ((session.paths[row_of["c.png"]], "fox", "deer"),)
    assert merged.missing == ("../others/d.png",)
    assert session.classes == ["fox", "deer", "hare"]
    assert session.label_of(row_of["deep/a.png"]) == "deer"
    assert session.label_of(row_of["a.png"]) == "hare"
    assert read(write_conflicts(session, merged))[1][1:] == ["fox", "deer"]
    session.undo(merged.change)
    assert session.classes == NAMES
    assert session.n_answered() == 2
    other.write_text("path,label\n../photos/d.png,fox\nd.png,deer\n")
    with pytest.raises(ValueError, match="has two rows for d.png"):
        merge_table(session, str(other))
    assert session.n_answered() == 2


def test_tags_of_another_machine(tmp_path):
    session = opened(tmp_path, ["a.png", "b.png", "c.png"], tags=True)
    session.give({0: ["fox", "deer"], 1: [NONE]})
    table = write_labels(session.store)
    os.rename(table, tmp_path / "other.csv")
    session.give({0: ["fox"], 1: None, 2: ["deer"]})
    text = (tmp_path / "other.csv").read_text().replace("../", "")
    (tmp_path / "other.csv").write_text(text)
    merged = merge_table(session, str(tmp_path / "other.csv"))
    assert (merged.n_new, merged.n_same) == (1, 0)
    assert [row[1:] for row in merged.conflicts] == [("fox", "deer, fox")]
    assert session.label_of(1) == NONE
    (tmp_path / "other.csv").write_text("path,fox\nphotos/a.png,yes\n")
    with pytest.raises(ValueError, match="line 2: a tag is 0 or 1, not 'yes'"):
        merge_table(session, str(tmp_path / "other.csv"))
