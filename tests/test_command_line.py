"""The command line: `sktip`, or `python -m sktip`."""

import csv
import io
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points

import joblib
import numpy as np
import pytest
import skops.io
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktip import FewShotClassifier
from sktip._cli import _accuracy, load_model, main

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


def run(*arguments, program=("-m", "sktip"), **options):
    """Start a command as users do."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        check=False, text=True, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


def test_fit_as_a_command_and_predict(home, tmp_path, capsys):
    """In a separate process, as users start it."""
    done = run("fit", home / "photos", "--output", "model.skops", *TINY, cwd=tmp_path)
    # The second line says that some of the small digits are alike.
    assert (done.returncode, done.stderr.count("\n")) == (0, 2), done.stderr
    assert "of 3 classes, in folders of" in done.stderr
    saved, held_out = done.stdout.splitlines()
    assert saved == "FewShotClassifier of 3 classes is in model.skops"
    assert re.fullmatch(r"held-out accuracy \d+.\d% \(\d+ of \d+ photos\).*", held_out)

    answers = f"{tmp_path}/answers.csv"
    predict = ["predict", f"{tmp_path}/model.skops", f"{home}/new", "--output", answers]
    assert main(predict) == 0
    out, err = capsys.readouterr()
    assert "image/s" in err
    with open(answers) as file:
        rows = list(csv.DictReader(file))
    assert out == f"answers for {len(rows)} images are in {answers}\n"
    right = [os.path.basename(os.path.dirname(row["path"])) == row["prediction"] for row in rows]
    assert len(rows) > 15
    assert sum(right) > 0.8 * len(rows)
    assert sorted(os.listdir(tmp_path)) == ["answers.csv", "model.skops"]

    assert main(predict) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "answers.csv already exists" in err


def test_copies_are_held_out_together(home, tmp_path, capsys):
    for name in ("one", "seven"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, path in enumerate(sorted((home / "photos" / name).iterdir())[:6]):
            with Image.open(path) as photo:
                for copy, size in enumerate((32, 64, 48)):
                    photo.resize((size, size)).save(tmp_path / "photos" / name / f"{i}{copy}.png")
    assert main(["fit", f"{tmp_path}/photos", "--output", f"{tmp_path}/model.skops", *TINY]) == 0
    assert "36 photos are near-copies of others, or of one burst" in capsys.readouterr().err


def test_classes_in_nested_folders(home, tmp_path, capsys):
    shutil.copytree(home / "photos", tmp_path / "photos/digit")
    fit = ["fit", f"{tmp_path}/photos", "--output", f"{tmp_path}/model.skops", *TINY]
    assert main([*fit, "--levels", "2"]) == 0
    assert "of 3 classes" in capsys.readouterr().out


def test_the_weakest_classes():
    labels = np.array(["a"] * 4 + ["b"] * 4 + ["c"] * 2 + ["d"] * 2 + ["e"])
    predicted = np.array(list("aaab" + "bbbb" + "cd" + "ab" + "e"))
    assert _accuracy(labels, predicted) == (
        "held-out accuracy 69.2% (9 of 13 photos); weakest classes: d (0 of 2), c (1 of 2), a (3 of 4)"
    )
    assert _accuracy(labels, labels) == "held-out accuracy 100.0% (13 of 13 photos)"


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
    clf = load_model(str(model))
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
    assert load_model(str(model)).templates["one"] == ("the digit one",)


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

    def failing(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", failing)
    arguments = ["fit", f"{home}/photos", "--output", f"{model}", "--overwrite", *TINY]
    assert main(arguments) == 1
    assert capsys.readouterr().err.endswith(f"No space left on device: '{model}'\n")
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


def test_unlabelled_photos_and_unknown_ones(home, tmp_path, capsys):
    """They are the same here: new photos of the classes, and one of nothing."""
    model, output, new = tmp_path / "model.skops", tmp_path / "answers.csv", tmp_path / "new"
    shutil.copytree(home / "new", new)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(new / "noise.png")
    (new / "damaged.png").write_bytes(b"no image")
    arguments = ["fit", f"{home}/photos", "--output", f"{model}", "--unlabeled", f"{new}", *TINY]
    assert main([*arguments, "--reject-unknown"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if "warning" in line and "damaged.png" in line] == err[2:]
    clf = load_model(str(model))
    assert clf.estimator_.class_shares_ is not None
    assert main(["predict", f"{model}", f"{new}", "--output", f"{output}", "--quiet"]) == 3
    with open(output) as file:
        answers = {row["path"]: row["prediction"] for row in csv.DictReader(file)}
    assert answers[str(new / "noise.png")] == "unknown"
    assert set(answers.values()) == {"one", "seven", "zero", "unknown", ""}

    arguments = [*arguments, "--overwrite", "--classifier", "TipAdapterClassifier"]
    assert main(arguments) == 1
    assert "TipAdapterClassifier does not learn from unlabelled photos" in capsys.readouterr().err


def test_without_skops(home, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    assert main(["fit", f"{home}/photos", "--output", f"{home}/new.skops", *TINY]) == 1
    assert 'pip install "sktip[skops]"' in capsys.readouterr().err


def test_label_without_its_extra(home, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "sktip._label.page", raising=False)
    assert main(["label", f"{home}/photos", "--classes", "one,two"]) == 1
    message = '`sktip label` needs uvicorn. Run: pip install "sktip[label]"'
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (home / "photos-labels").exists()


def test_an_interrupt(home, tmp_path, capsys, monkeypatch):
    def interrupted(self, X, y):
        raise KeyboardInterrupt

    monkeypatch.setattr(FewShotClassifier, "fit", interrupted)
    assert main(["fit", f"{home}/photos", "--output", f"{tmp_path}/model.skops", *TINY]) == 130
    assert capsys.readouterr().err.endswith("interrupted; nothing was written\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["label", "--help"]])
def test_help_without_slow_imports(arguments):
    done = run("-c", CHECK, *arguments, program=())
    assert done.returncode == 0, done.stderr
    assert "usage: sktip" in done.stdout
    assert "exit codes:\n  0  success" in done.stdout
    assert done.stderr == "set()"


#: Prints which slow libraries the command line has imported when it ends.
CHECK = """
import sys, sktip._cli
try:
    sktip._cli.main()
finally:
    sys.stderr.write(str({"numpy", "sklearn", "torch", "joblib", "starlette", "uvicorn"} & set(sys.modules)))
"""


def test_the_installed_command():
    (entry,) = entry_points(group="console_scripts", name="sktip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sktip", "--version"])
        with pytest.raises(SystemExit) as exit_:
            entry.load()()
    assert exit_.value.code == 0


@pytest.mark.parametrize("arguments", [[], ["fit", "photos"], ["guess"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: sktip" in capsys.readouterr().err


def remade(content, change):
    """A .skops file with other members: `change` takes their contents by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name, member in change({name: old.read(name) for name in old.namelist()}).items():
            new.writestr(name, member)
    return file.getvalue()


def without_arrays(members):
    return {name: member for name, member in members.items() if name.endswith(".json")}


def of_a_newer_format(model):
    clf = skops.io.loads(model, trusted=skops.io.get_untrusted_types(data=model))
    clf.fitted_with_["format"] = 99
    return skops.io.dumps(clf)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.skops", lambda model: b"", "damaged"),
        ("a.skops", lambda model: model[: len(model) // 2], "damaged"),
        ("a.skops", lambda model: pickle.dumps({"a": 1}), "damaged"),
        ("a.skops", lambda model: remade(model, lambda m: {**m, "schema.json": "["}), "damaged"),
        ("a.skops", lambda model: remade(model, without_arrays), "damaged"),
        ("a.skops", of_a_newer_format, "in format 99, but sktip"),
        ("a.skops", lambda model: skops.io.dumps({"a": 1}), "contains a dict, not a classifier"),
        ("a.skops", lambda model: skops.io.dumps(FewShotClassifier()), "not fitted"),
        ("a.joblib", lambda model: bytes(range(256)) * 20, "damaged"),
        ("a.joblib", lambda model: pickle.dumps({"a": 1}), "contains a dict, not a classifier"),
        ("a.skops", None, "is not a file"),
    ],
)
def test_a_damaged_model_is_one_line_that_names_the_file(
    home, tmp_path, capsys, name, content, message
):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content((home / "model.skops").read_bytes()))
    assert main(["predict", f"{path}", f"{home}/new", "--output", f"{tmp_path}/a.csv"]) == 1
    *warned, line = capsys.readouterr().err.splitlines()
    assert re.match(rf"error: {re.escape(str(path))} .*{message}", line)
    assert len(warned) == name.endswith(".joblib")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(os.name == "nt", reason="pipes and names of Unix")
def test_a_folder_of_anything(home, tmp_path, capsys):
    """Nothing is waited for, and no name controls the terminal."""
    (new := tmp_path / "new").mkdir()
    (new / "a\r\x1b[2J\x07\u202e.png").write_bytes(b"")
    os.mkfifo(new / "b.png")
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(new)  # Addresses are short.
        server.bind("c.png")
    (new / "d.png").symlink_to("/dev/zero")
    output = tmp_path / ("a" * 251 + ".csv")
    arguments = ["predict", f"{home}/model.skops", f"{new}", "--output", f"{output}", "--quiet"]
    assert main(arguments) == 3
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()
    assert [line.split(": ")[1:] for line in err.splitlines()[1:]] == [
        [f"{new}/a\\r\\x1b[2J\\x07\\u202e.png", "the file is empty."],
        *([f"{new}/{name}.png", "is not a regular file."] for name in "bcd"),
    ]
    assert len(output.read_text().splitlines()) == 5

    os.mkfifo(tmp_path / "pipe")
    for command in (["fit", f"{tmp_path}/pipe"], ["predict", f"{home}/model.skops"]):
        arguments = [*command, *([] if command[0] == "fit" else [f"{tmp_path}/pipe"])]
        assert main([*arguments, "--output", f"{tmp_path}/new.skops"]) == 1
        assert f"{tmp_path}/pipe is " in capsys.readouterr().err


#: ``python -m sktip`` with a quick `predict`, in which `fsync` is what a test makes of it.
QUICK = """
import os, runpy, signal
from sktip import _cli
from sktip._utils.paths import write_file

def predict(args):
    write_file(args.output, [b"the table\\n"], overwrite=False)
    return 0, ["the summary"], []

_cli._predict = predict
os.fsync = lambda _: {at_fsync}
runpy.run_module("sktip", run_name="__main__", alter_sys=True)
"""


def run_quick(output, *, at_fsync="None", **options):
    arguments = ["predict", "model.skops", "new", "--output", output]
    return run(*arguments, program=("-c", QUICK.replace("{at_fsync}", at_fsync)), **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="devices of Linux")
@pytest.mark.parametrize(
    ("output", "stdout", "code", "err"),
    [
        ("a.csv", "full", 1, "error: a.csv is written, but standard output cannot be: No space left on device\n"),
        ("a.csv", "gone", 141, ""),
        ("/dev/full", "read", 1, "error: [Errno 28] No space left on device: '/dev/full'\n"),
        ("/dev/stdout", "gone", 141, ""),
        ("/dev/stdout", "read", 0, "the summary\n"),
    ],
)  # fmt: skip
def test_standard_output(tmp_path, output, stdout, code, err):
    """A full disk, a pipeline whose next command has ended, and one that goes on."""
    reading, gone = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    files = {"full": full, "gone": gone, "read": subprocess.PIPE}
    done = run_quick(output, cwd=tmp_path, stdout=files[stdout])
    os.close(gone)
    os.close(full)
    assert (done.returncode, done.stderr) == (code, err)
    if output == "a.csv":
        assert (tmp_path / "a.csv").read_text() == "the table\n"
    elif code == 0:
        assert done.stdout == "the table\n"


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_a_terminated_run_leaves_nothing_behind(tmp_path):
    """Also when the signal comes while the file is written."""
    done = run_quick("a.csv", at_fsync="os.kill(os.getpid(), signal.SIGTERM)", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
    assert os.listdir(tmp_path) == []


def test_an_interrupt_of_the_imports(tmp_path):
    (tmp_path / "joblib.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    arguments = ["fit", tmp_path, "--output", "model.joblib"]
    done = run(*arguments, env=os.environ | {"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted; nothing was written\n"


def test_a_class_that_cannot_be_held_out(home, tmp_path, capsys, timm_checkpoint):
    """Without its name, a class of one photo is known by no other: it is named, and no error is counted."""
    for name, n_photos in (("zero", 3), ("one", 3), ("seven", 1)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for photo in sorted((home / "photos" / name).iterdir())[:n_photos]:
            shutil.copy(photo, tmp_path / "photos" / name)
    fit = ["fit", f"{tmp_path}/photos", "--output", f"{tmp_path}/model.skops", "--quiet"]
    timm = ["--model", "timm:test_vit.r160_in1k", "--pretrained", f"{timm_checkpoint}"]
    assert main([*fit, *timm]) == 0
    accuracy, alone = capsys.readouterr().out.splitlines()[-2:]
    assert "of 6 photos)" in accuracy
    assert alone.startswith("not tested: 'seven' (1 in all)")
    assert load_model(f"{tmp_path}/model.skops").classes_.tolist() == ["one", "seven", "zero"]
    assert main([*fit, "--overwrite", "--model", "tiny"]) == 0
    assert "of 7 photos)" in capsys.readouterr().out.splitlines()[-1]


def test_two_models_side_by_side(home, tmp_path, capsys):
    """With one CLIP twice, since no weights of timm are at hand here."""
    fit = ["fit", f"{home}/photos", "--output", f"{tmp_path}/model.skops", *TINY]
    assert main([*fit, "--model", "tiny"]) == 0
    assert "held-out accuracy" in capsys.readouterr().out
    predict = ["predict", f"{tmp_path}/model.skops", f"{home}/new", "--output"]
    assert main([*predict, f"{tmp_path}/a.csv"]) == 0
    assert main([*fit[: -len(TINY)], "--model", "timm:no_such_model", "--overwrite"]) == 1
    assert "no_such_model" in capsys.readouterr().err
