"""What a person has said, on disk: undo, names, two processes, locks, files of others."""

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from sktip._label.files import is_own, secret_file, write_labels, write_next, write_own
from sktip._label.store import NONE, UNSURE, Change, Store
from sktip.datasets import load_image_table

NAMES = [
    "a.png",
    "b, c.png",
    'd"e.png',
    "=f.png",
    "grün\u202f1.png",
    "two\nlines.png",
    "carriage\rreturn.png",
    " leading.png",
    os.fsdecode(b"latin\xe9.png"),
]


@pytest.fixture
def photos(tmp_path):
    """Paths of files with names of all kinds, and the folder of the answers."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b"")
    (tmp_path / "out").mkdir()
    return [str(folder / name) for name in NAMES], str(tmp_path / "out")


def opened(folder, *classes, **options):
    store = Store(folder, **options)
    store.open_classes(classes)
    return store


def labels(store):
    return {path: ", ".join(answer.labels) for path, answer in store.answers.items()}


def test_answers_are_read_again_and_are_a_table(photos):
    paths, out = photos
    store = opened(out, "fox", "deer")
    for path in paths:
        store.give({path: ["fox"]})
    change = store.give({paths[1]: ["deer"], paths[2]: [NONE], paths[3]: [UNSURE]}, bulk=True)
    X, y = load_image_table(write_labels(store), return_X_y=True)
    expected = {path: "fox" for path in paths if path not in paths[2:4]} | {paths[1]: "deer"}
    assert dict(zip(X, y, strict=True)) == expected
    again = Store(out)
    assert again.answers == store.answers
    assert again.answers[paths[1]].bulk
    assert again.classes == ["fox", "deer"]
    assert sorted(again.undo(change)) == sorted(paths[1:4])
    store.refresh()
    assert labels(store) == dict.fromkeys(paths, "fox")
    store.give(dict.fromkeys(paths))
    assert Store(out).answers == {}


def test_undo_takes_back_its_own(photos):
    paths, out = photos
    one, two = opened(out, "fox", "deer"), Store(out)
    first = one.give(dict.fromkeys(paths[:3], ("fox",)), bulk=True)
    two.give({paths[0]: ["deer"]})
    assert sorted(one.undo(first)) == sorted(paths[1:3])
    assert labels(one) == {paths[0]: "deer"}
    assert one.undo(first) == []


def test_new_names_hold_for_earlier_answers_and_for_the_same_command(photos):
    paths, out = photos
    store, other = opened(out, "fox", "deer", "FOX"), Store(out)
    assert store.classes == ["fox", "deer"]
    store.give({paths[0]: ["deer"]})
    change = store.give({paths[0]: ["fox"]})
    store.rename_class("deer", "roe")
    store.rename_class("roe", " roe  deer ")
    other.give({paths[1]: ["deer"]})  # Its window still shows the former name.
    store.undo(change)
    assert opened(out, "fox", "Deer").classes == ["fox", "roe deer"]
    assert labels(store) == {paths[0]: "roe deer", paths[1]: "roe deer"}
    store.rename_class("roe deer", "Roe Deer")
    store.add_class("e\u0301lan")
    assert store.add_class("ÉLAN") == Change()
    store.add_class("deer")  # Another one now.
    assert Store(out).classes == ["fox", "Roe Deer", "élan", "deer"]
    for name in ("", " \n", "Unknown", "None of these", "x" * 1001, "\ud800", "a\x1bb"):
        with pytest.raises(ValueError, match="cannot be the name"):
            store.add_class(name)
    with pytest.raises(ValueError, match="'fox' is a class already; merge"):
        store.rename_class("deer", "FOX")
    with pytest.raises(ValueError, match="'wolf' is not a class"):
        store.give({paths[0]: ["wolf"]})
    with pytest.raises(ValueError, match="'wolf' is not a class"):
        store.rename_class("wolf", "dog")


def test_classes_are_removed_merged_and_ordered_and_all_is_undone(photos):
    paths, out = photos
    store = opened(out, "fox", "deer", "hare")
    store.give({paths[0]: ["fox"], paths[1]: ["deer"], paths[2]: ["hare"]})
    before = (store.classes, labels(store))
    for action, classes, given in (
        (lambda: store.remove_class("deer"), ["fox", "hare"], ["fox", None, "hare"]),
        (lambda: store.merge_classes("deer", "hare"), ["fox", "hare"], ["fox", "hare", "hare"]),
        (lambda: store.order_classes(["hare"]), ["hare", "fox", "deer"], ["fox", "deer", "hare"]),
        (
            lambda: store.rename_class("fox", "wolf"),
            ["wolf", "deer", "hare"],
            ["wolf", "deer", "hare"],
        ),
        (lambda: store.add_class("wolf"), ["fox", "deer", "hare", "wolf"], ["fox", "deer", "hare"]),
    ):
        change = action()
        again = Store(out)
        assert again.classes == store.classes == classes
        assert [labels(again).get(path) for path in paths[:3]] == given
        store.undo(change)
        assert (store.classes, labels(store)) == before
        assert (Store(out).classes, labels(Store(out))) == before
    store.merge_classes("deer", "hare")
    store.remove_class("fox")
    assert opened(out, "fox", "deer").classes == ["hare"]
    change = store.add_class("wolf")
    Store(out).give({paths[0]: ["wolf"]})
    with pytest.raises(ValueError, match="labelled as this class since"):
        store.undo(change)
    assert Store(out).classes == ["hare", "wolf"]


def test_none_of_these_is_asked_again_after_a_class_was_added(photos):
    paths, out = photos
    store = opened(out, "fox", "deer")
    store.give({paths[0]: [NONE], paths[1]: ["fox"], paths[2]: [UNSURE]})
    assert store.outdated() == []
    change = store.add_class("hare")
    store.give({paths[3]: [NONE]})
    assert store.outdated() == Store(out).outdated() == [paths[0]]
    store.undo(change)
    assert store.outdated() == []


def test_several_tags(photos):
    paths, out = photos
    store = opened(out, "fox", "deer", tags=True)
    store.give(
        {paths[0]: ["deer", "fox"], paths[1]: ["deer"], paths[2]: [NONE], paths[3]: [UNSURE]}
    )
    assert labels(Store(out))[paths[0]] == "fox, deer"
    with open(write_labels(store), encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines[:3] == ["path,fox,deer", "../photos/a.png,1,1", '"../photos/b, c.png",0,1']
    assert len(lines) == 4
    store.remove_class("deer")
    assert labels(store)[paths[0]] == "fox"
    for wrong in (["fox", NONE], []):
        with pytest.raises(ValueError, match="one label, or several tags"):
            store.give({paths[0]: wrong})
    with pytest.raises(ValueError, match="cannot be the name"):
        store.add_class("Path")
    with pytest.raises(ValueError, match="several labels per photo"):
        Store(out, tags=False)


WRITER = """
import sys, time
from sktip._label.store import Store
store = Store(sys.argv[1])
store.open_classes(["fox", "deer"])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    store.give({f"{sys.argv[1]}/{number}.png": ["fox"]})
    print(number, flush=True)
    time.sleep(0.02)
"""


def test_two_processes_lose_nothing_and_a_kill_loses_nothing(tmp_path):
    start = [sys.executable, "-c", WRITER, str(tmp_path)]
    one = subprocess.Popen([*start, "0", "20"], stdout=subprocess.PIPE, text=True)
    two = subprocess.Popen([*start, "100", "100000"], stdout=subprocess.PIPE, text=True)
    one.communicate()
    said = [two.stdout.readline() for _ in range(30)][-1]
    two.kill()
    two.communicate()
    found = {int(os.path.basename(path)[:-4]) for path in Store(str(tmp_path)).answers}
    assert found >= {*range(20), *range(100, int(said) + 1)}


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits on the size of files")
def test_a_kill_or_a_full_disk_at_any_write_of_any_action_loses_nothing(tmp_path):
    """What was acknowledged is there, and every class can be used and renamed; long: tests/stress."""
    script = os.path.join(os.path.dirname(__file__), "crash.py")
    run = subprocess.run(
        [sys.executable, script, tmp_path, "8192"], capture_output=True, check=True, text=True
    )
    result = json.loads(run.stdout)
    assert result["problems"] == []
    assert set(result["said"]) == {"done", "killed", "failed, then done"}


def test_a_held_lock_is_an_error_soon(photos):
    paths, out = photos
    store = opened(out, "fox")
    with sqlite3.connect(store.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match="nothing was stored .* another program holds the file"):
            store.give({paths[0]: ["fox"]})
        store.refresh()
        assert store.answers == {}
        other.execute("ROLLBACK")
    other.close()
    store.give({paths[0]: ["fox"]})
    assert labels(Store(out)) == {paths[0]: "fox"}


def test_files_of_others_stay(photos, tmp_path):
    _, out = photos
    store = opened(out, "fox", "deer")
    foreign = tmp_path / "thesis.csv"
    foreign.write_text("precious")
    os.symlink(foreign, f"{out}/labels.csv")
    assert not is_own(store, "labels.csv")
    with pytest.raises(FileExistsError, match="was not written by"):
        write_labels(store)
    assert write_next(store, "labels.csv", b"1") == f"{out}/labels-2.csv"
    assert write_own(store, "labels-2.csv", b"2") == f"{out}/labels-2.csv"
    with open(f"{out}/labels-2.csv", "ab") as file:
        file.write(b"mine")
    with pytest.raises(FileExistsError, match="changed since"):
        write_own(Store(out), "labels-2.csv", b"3")
    assert foreign.read_text() == "precious"
    with secret_file(out, ".html", "token") as path:
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(out)) == ["answers.sqlite", "labels-2.csv", "labels.csv"]


def test_a_file_of_answers_of_others_is_refused(tmp_path):
    path = tmp_path / "answers.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE notes (text)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is not a file of answers"):
        Store(str(tmp_path))
    assert path.read_bytes() == before
    path.rename(tmp_path / "elsewhere.sqlite")
    path.symlink_to(tmp_path / "elsewhere.sqlite")
    with pytest.raises(ValueError, match="is a link"):
        Store(str(tmp_path))
    path.unlink()
    Store(str(tmp_path)).close()
    content = bytearray(path.read_bytes())
    content[2000:6000] = bytes(4000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        Store(str(tmp_path))
