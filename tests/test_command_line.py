"""The command line, `python -m sktip`."""

import csv
import json
import os
import re
import subprocess
import sys

import joblib
import pytest
import skops.io
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktip import FewShotClassifier, RejectUnknown
from sktip._cli import models
from sktip._cli.commands import main

TINY = ["--model", "tiny", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory, digits):
    """Photos of three digits in folders of their names, the same by a table, and new ones."""
    home = tmp_path_factory.mktemp("home")
    images, labels = digits
    rows = ["path,label"]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        if label in ("zero", "one", "seven"):
            path = home / ("photos" if index < 120 else "new") / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            if index < 120:
                rows.append(f"photos/{label}/{index}.png,{label}")
    (home / "labels.csv").write_text("\n".join(rows))
    assert main(["fit", f"{home}/photos", "--output", f"{home}/model.skops", *TINY]) == 0
    return home


def test_fit_and_predict_as_commands(home, tmp_path):
    """In separate processes, as users start them."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "sktip", *map(str, arguments)],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )

    done = run("fit", home / "photos", "--output", "model.skops", *TINY)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert "of 3 classes, in folders of" in done.stderr
    assert done.stdout == "FewShotClassifier of 3 classes is in model.skops\n"
    done = run("predict", "model.skops", home / "new", "--output", "answers.csv")
    assert done.returncode == 0, done.stderr
    assert "image/s" in done.stderr
    with open(tmp_path / "answers.csv") as file:
        rows = list(csv.DictReader(file))
    assert done.stdout == f"answers for {len(rows)} images are in answers.csv\n"
    right = [os.path.basename(os.path.dirname(row["path"])) == row["prediction"] for row in rows]
    assert len(rows) > 15
    assert sum(right) > 0.8 * len(rows)
    assert sorted(os.listdir(tmp_path)) == ["answers.csv", "model.skops"]

    done = run("predict", "model.skops", home / "new", "--output", "answers.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "answers.csv already exists" in done.stderr


def test_a_photo_that_cannot_be_read(home, tmp_path, capsys):
    new, output = tmp_path / "new", tmp_path / "answers.csv"
    new.mkdir()
    for name in ("a.png", "b.png"):
        (new / name).write_bytes(next((home / "new" / "one").iterdir()).read_bytes()[:60])
    (new / "c.png").write_bytes(next((home / "new" / "one").iterdir()).read_bytes())
    code = main(["predict", f"{home}/model.skops", f"{new}", "--output", f"{output}", "--quiet"])
    assert code == 3
    out, err = capsys.readouterr()
    assert out.startswith("answers for 1 images")
    assert [line.split(": ")[:2] for line in err.splitlines()[1:]] == [
        ["not read", str(new / "a.png")],
        ["not read", str(new / "b.png")],
    ]
    assert err.startswith("warning: 2 of 3 images could not be read")
    assert len(output.read_text().splitlines()) == 4


def test_labels_in_a_table_and_the_options_of_fit(home, tmp_path):
    model = tmp_path / "model.skops"
    arguments = ["fit", f"{home}/labels.csv", "--output", f"{model}", *TINY]
    options = ["--classifier", "TipAdapterClassifier", "--template", "the digit {}"]
    options += ["--precision", "bf16"]
    assert main([*arguments, *options, "--memory", f"{tmp_path}/features.sqlite"]) == 0
    clf = models.load_model(str(model))
    assert type(clf).__name__ == "TipAdapterClassifier"
    assert clf.templates == ["the digit {}"]
    assert clf.encoder.precision == clf.fitted_with_["precision"] == "bf16"
    assert clf.classes_.tolist() == ["one", "seven", "zero"]
    # Settings of that run are not saved.
    assert (clf.encoder.memory, clf.encoder.verbose) == (None, 0)
    assert (tmp_path / "features.sqlite").exists()

    described = tmp_path / "descriptions.json"
    described.write_text(json.dumps({n: [f"the digit {n}"] for n in ("zero", "one", "seven")}))
    assert main([*arguments, "--overwrite", "--descriptions", f"{described}"]) == 0
    assert models.load_model(str(model)).templates["one"] == ("the digit one",)


def test_joblib_when_asked_with_a_warning(home, tmp_path, capsys):
    model, output = tmp_path / "model.joblib", tmp_path / "answers.csv"
    assert main(["fit", f"{home}/photos", "--output", f"{model}", *TINY]) == 0
    assert "warning: " in (err := capsys.readouterr().err)
    assert "model.joblib is a joblib file: loading it runs the code in it. Load joblib files" in err
    assert main(["predict", f"{model}", f"{home}/new", "--output", f"{output}", "--quiet"]) == 0
    assert "loading it runs the code in it" in capsys.readouterr().err
    assert isinstance(joblib.load(model), FewShotClassifier)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fit", "photos", "--output", "model.pkl"],
            "model.pkl: the name of a model file must end",
        ),
        (["fit", "photos", "--output", "model.skops"], "already exists.*--overwrite"),
        (["fit", "nowhere", "--output", "new.skops"], "nowhere: no such folder or CSV"),
        (["fit", "photos", "--output", "new.skops", "--model", "tiny2"], "unknown model_name"),
        (
            ["fit", "new", "--output", "none/new.skops"],
            "the folder .*none does not exist. Create it",
        ),
        (["predict", "none.skops", "new", "--output", "a.csv"], "none.skops: no such file"),
        (
            ["predict", "model.skops", "labels.csv", "--output", "a.csv"],
            "is not a folder; pass a folder of photos",
        ),
        (["predict", "model.skops", "new", "--output", "labels.csv"], "already exists"),
    ],
)
def test_errors(home, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(home)
    before = {path: path.stat().st_mtime_ns for path in home.iterdir()}
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(rf"^error: .*{message}", err, re.MULTILINE), err
    assert {path: path.stat().st_mtime_ns for path in home.iterdir()} == before


def test_a_failed_fit_keeps_the_file_that_was_there(home, tmp_path, capsys, monkeypatch):
    model = tmp_path / "model.skops"
    model.write_text("mine")

    def failing(estimator, file):
        with open(file, "w") as half:
            half.write("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(skops.io, "dump", failing)
    arguments = ["fit", f"{home}/photos", "--output", f"{model}", "--overwrite", *TINY]
    assert main(arguments) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert model.read_text() == "mine"
    assert os.listdir(tmp_path) == ["model.skops"]


def test_types_of_others_are_not_loaded(home, tmp_path, clip, digits, capsys):
    class Stranger(LogisticRegression):
        pass

    images, labels = digits
    pipeline = make_pipeline(clip, Stranger()).fit(images[:40], labels[:40])
    skops.io.dump(pipeline, tmp_path / "model.skops")
    output = ["--output", f"{tmp_path}/answers.csv"]
    assert main(["predict", f"{tmp_path}/model.skops", f"{home}/new", *output]) == 1
    err = capsys.readouterr().err
    assert "Stranger" in err
    assert "Nothing was loaded" in err

    # skops trusts the types of scikit-learn.
    pipeline = make_pipeline(clip, LogisticRegression()).fit(images[:40], labels[:40])
    skops.io.dump(pipeline, tmp_path / "pipeline.skops")
    assert main(["predict", f"{tmp_path}/pipeline.skops", f"{home}/new", *output, "--quiet"]) == 0


def test_unknown_photos_are_rejected(home, tmp_path, clip, digits):
    images, labels = digits
    clf = RejectUnknown(FewShotClassifier(clip, templates="the digit {}"), quantile=0.2)
    known = [row for row in range(100) if labels[row] in ("one", "four", "seven")]
    clf.fit([images[row] for row in known], labels[known])
    skops.io.dump(clf, tmp_path / "model.skops")
    output = tmp_path / "answers.csv"
    arguments = ["predict", f"{tmp_path}/model.skops", f"{home}/new", "--output", f"{output}"]
    assert main([*arguments, "--quiet", "--device", "cpu"]) == 0
    with open(output) as file:
        rows = list(csv.DictReader(file))
    answers = [row["prediction"] for row in rows]
    assert answers == clf.predict([row["path"] for row in rows]).tolist()
    assert "unknown" in answers
    assert set(answers) & {"one", "four", "seven"}


def test_without_skops(home, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    assert main(["fit", f"{home}/photos", "--output", f"{home}/new.skops", *TINY]) == 1
    assert 'pip install "sktip[skops]", or use a .joblib file' in (capsys.readouterr().err)


def test_an_interrupt(home, tmp_path, capsys, monkeypatch):
    def interrupted(self, X, y):
        raise KeyboardInterrupt

    monkeypatch.setattr(FewShotClassifier, "fit", interrupted)
    assert main(["fit", f"{home}/photos", "--output", f"{tmp_path}/model.skops", *TINY]) == 130
    assert capsys.readouterr().err.endswith("interrupted; nothing was written\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["predict", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "python -m sktip" in out
    assert "exit codes:\n  0  success" in out


@pytest.mark.parametrize("arguments", [[], ["fit", "photos"], ["guess"], ["predict", "a", "b"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: python -m sktip" in capsys.readouterr().err
