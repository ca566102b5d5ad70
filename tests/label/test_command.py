"""`sktip label` on the command line: each failure is one line, and leaves nothing behind."""

import os
import re
import socket

import pytest
from PIL import Image

from sktip._cli import main

pytest.importorskip("uvicorn")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(f"photos/{number}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--output", "photos/0.png"],
            "photos/0.png is not a folder; pass another one as --output",
        ),
        (["--output", "photos/0.png/x"], "cannot be made: Not a directory. Pass another folder"),
        (["--classes", "fox,unknown"], "'unknown' cannot be the name of a class"),
        (["--merge", "none.csv"], "none.csv: no such file"),
        (["--model", "ViT-B-3"], "unknown model_name 'ViT-B-3'. Did you mean 'ViT-B-32'"),
        (
            ["--model", "ViT-B-32"],
            "not on this machine .* Without a network, .*: --model 'local-dir:",
        ),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(home, capsys, options, message):
    assert main(["label", "photos", "--no-browser", "--quiet", *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert len(os.listdir(home)) == 1
    assert re.search(message, lines[0])


def test_the_port(home, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["label", "photos", "--port", str(port), "--model", "tiny"]) == 4
    assert f"port {port} is in use" in capsys.readouterr().err
    for wrong in ("70000", "-1", "http"):
        with pytest.raises(SystemExit, match="2"):
            main(["label", "photos", "--port", wrong])
        assert f"{wrong} is not a port" in capsys.readouterr().err
    assert os.listdir(home) == ["photos"]


def test_answers_of_another_machine_are_kept_when_the_start_fails(home, capsys):
    (home / "theirs.csv").write_text("path,label\nphotos/1.png,fox\nphotos/2.png,deer\nx.png,fox\n")
    command = ["label", "photos", "--no-browser", "--merge", "theirs.csv", "--model", "ViT-B-3"]
    for new, same in ((2, 0), (0, 2)):
        assert main(command) == 1
        line = (
            f"{new} labels are new, {same} were there, 1 are about no photo of the folder: 'x.png'"
        )
        assert line in capsys.readouterr().err
    assert (home / "photos-labels" / "labels.csv").read_text().count("\n") == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_cannot_be_written(home, capsys):
    os.mkdir("answers", 0o555)
    command = ["label", "photos", "--output", "answers", "--model", "tiny", "--no-browser"]
    assert main(command) == 1
    assert "nothing was stored" in capsys.readouterr().err
    assert os.listdir("answers") == []


def test_files_of_others_stay(home, capsys):
    """Also those that a prepared folder of answers leads to."""
    (home / "thesis").write_text("precious")
    os.mkdir("answers")
    for name in ("labels.csv", "answers.sqlite", "answers.sqlite-journal", "features.sqlite-wal"):
        os.symlink(home / "thesis", f"answers/{name}")
        command = ["label", "photos", "--output", "answers", "--model", "tiny", "--no-browser"]
        assert main(command) == 1
        assert name in capsys.readouterr().err
        assert os.listdir("answers") == [name]
        os.remove(f"answers/{name}")
    assert (home / "thesis").read_text() == "precious"
