"""What a person has said, on disk: undo, renaming, two processes, a kill."""

import csv
import json
import os
import subprocess
import sys

import pytest

from sktip._label.answers import NONE, UNSURE, Answers
from sktip.datasets import load_image_table


@pytest.fixture
def photos(tmp_path):
    """Paths of files with names of all kinds, and the folder of the answers."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = ["a.png", "b, c.png", 'd"e.png', "=f.png", "grün\u202f1.png", "two\nlines.png"]
    for name in names:
        (folder / name).write_bytes(b"")
    (tmp_path / "out").mkdir()
    return [str(folder / name) for name in names], str(tmp_path / "out")


def test_answers_are_a_table_that_is_read_again(photos):
    paths, out = photos
    answers = Answers(out, ["fox", "deer"])
    for path in paths:
        answers.give({path: "fox"})
    answers.give({paths[1]: "deer", paths[2]: NONE, paths[3]: UNSURE})
    X, y = load_image_table(f"{out}/labels.csv", return_X_y=True)
    left = [path for path in paths if path not in (paths[2], paths[3])]
    assert sorted(zip(X, y, strict=True)) == sorted(
        (path, "deer" if path == paths[1] else "fox") for path in left
    )
    again = Answers(out)
    assert again.labels == answers.labels
    assert again.classes == ["fox", "deer"]
    before = again.give({paths[0]: "deer", paths[2]: "fox"})
    assert before == {paths[0]: "fox", paths[2]: NONE}
    again.give(before)
    assert again.labels == answers.labels
    again.give(dict.fromkeys(paths))
    assert Answers(out).labels == {}


def test_new_names_hold_for_earlier_answers_and_for_the_same_command(photos):
    paths, out = photos
    answers, other = Answers(out, ["fox", "deer"]), Answers(out)
    before = answers.give({paths[0]: "deer"}) and answers.give({paths[0]: "fox"})
    answers.rename_class("deer", "roe")
    answers.rename_class("roe", " roe  deer ")
    other.give({paths[1]: "deer"})  # Its window still shows the former name.
    answers.give(before)
    assert Answers(out, ["fox", "deer"]).classes == ["fox", "roe deer"]
    assert answers.labels == {paths[0]: "roe deer", paths[1]: "roe deer"}
    assert answers.add_class("e\u0301lan") == "élan"
    answers.rename_class("roe deer", "deer")
    assert Answers(out).classes == ["fox", "deer", "élan"]
    for name in ("", " \n", "unknown", NONE, "x" * 1001):
        with pytest.raises(ValueError, match="cannot be the name"):
            answers.add_class(name)
    with pytest.raises(ValueError, match="'fox' is a class already"):
        answers.rename_class("deer", "fox")
    with pytest.raises(ValueError, match="'wolf' is not a class"):
        answers.give({paths[0]: "wolf"})
    with pytest.raises(ValueError, match="'wolf' is not a class"):
        answers.rename_class("wolf", "dog")


def test_a_table_changed_by_hand(photos):
    """Rows of photos that are elsewhere stay, and a label that is no class becomes one."""
    paths, out = photos
    answers = Answers(out, ["fox", "deer"])
    answers.give({paths[0]: "fox"})
    with open(f"{out}/labels.csv", "a") as file:
        file.write("../elsewhere/z.png,wolf\n")
    answers.give({paths[1]: "deer"})
    with open(f"{out}/labels.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert sorted(label for _, label in rows) == ["deer", "fox", "wolf"]
    assert answers.classes == ["fox", "deer", "wolf"]


WRITER = """
import sys, time
from sktip._label.answers import Answers
answers = Answers(sys.argv[1], ["fox", "deer"])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    answers.give({f"{sys.argv[1]}/{number}.png": "fox"})
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
    found = {int(os.path.basename(path)[:-4]) for path in Answers(str(tmp_path)).labels}
    assert found >= {*range(20), *range(100, int(said) + 1)}
    assert json.loads((tmp_path / "classes.json").read_text())["classes"] == ["fox", "deer"]
