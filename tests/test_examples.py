"""The paper's table, end to end on a miniature: killed, resumed, refused, and from features."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
N_METHODS = 10


@pytest.fixture(scope="module")
def root(tmp_path_factory, digits):
    """EuroSAT's layout, with three handwritten digits for its classes; one has two shots only."""
    root = tmp_path_factory.mktemp("data")
    images, labels = digits
    split = {"train": [], "val": [], "test": []}
    for code, name in enumerate(["seven", "one", "four"]):
        own = [image for image, label in zip(images, labels, strict=True) if label == name][:12]
        for number, image in enumerate(own):
            part = "train" if number < (2 if name == "one" else 5) else "test"
            path = f"{name}/{number}.png"
            file = root / "eurosat/2750" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
            split[part].append([path, code, name])
    (root / "eurosat/split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return root


@pytest.fixture
def reproduce(monkeypatch, capsys):
    """Run the command in this process; return its output and its error message."""
    monkeypatch.syspath_prepend(EXAMPLES)
    import reproduce_paper

    def run(*arguments):
        error = None
        try:
            reproduce_paper.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            error = str(exit_.code)
        return capsys.readouterr().out, error

    return run


def rows_of(out):
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def arguments_of(root, out, model="tiny"):
    shots = ["--shots", "2", "3", "--seeds", "2", "--views", "2"]
    return ["--root", root, "--out", out, "--datasets", "EuroSAT", "--model", model, *shots]


def test_a_killed_run_resumes_and_a_finished_one_computes_nothing(root, tmp_path, reproduce):
    out = tmp_path / "out"
    methods = ["--methods", "Tip-Adapter", "Tip-Adapter, tuned", "GDA"]
    arguments = arguments_of(root, out) + methods
    assert reproduce(*arguments)[1] is None
    # As a kill in the middle of the third result leaves it.
    before = "".join((out / "results.csv").read_text().splitlines(keepends=True)[:3])
    (out / "results.csv").write_text(before + "eurosat,GDA,2")

    printed, error = reproduce(*arguments)
    assert error is None
    after = (out / "results.csv").read_bytes()
    assert after.decode().startswith(before)
    rows = rows_of(out)
    keys = {(row["dataset"], row["method"], row["shots"], row["seed"]) for row in rows}
    assert len(keys) == len(rows) == 4 * 3
    assert printed.count("draw ") == len(rows) - 2

    printed, error = reproduce(*arguments)
    assert error is None
    assert "draw " not in printed
    assert (out / "results.csv").read_bytes() == after

    assert {row["chosen"] for row in rows if row["method"] == "Tip-Adapter"} == {""}
    assert all("alpha=" in row["chosen"] for row in rows if row["method"] == "Tip-Adapter, tuned")
    assert (out / "eurosat.png").stat().st_size > 0
    table = (out / "table.txt").read_text()
    accuracies = [float(r["accuracy"]) for r in rows if r["method"] == "GDA" and r["shots"] == "2"]
    cell = f"{np.mean(accuracies):.1f} ± {np.std(accuracies):.1f}"
    assert cell in next(line for line in table.splitlines() if line.startswith("| GDA"))

    _, error = reproduce(*arguments_of(root, out, model="RN50"), *methods)
    assert "eurosat with model 'tiny', but it is 'RN50' now; pass another folder as --out" in error
    assert (out / "results.csv").read_bytes() == after


def test_results_do_not_depend_on_what_was_asked_for_before(root, tmp_path, reproduce):
    columns = ("method", "shots", "seed", "accuracy", "chosen")
    some = ["--methods", "Tip-Adapter-F, tuned", "GDA"]
    both, alone = tmp_path / "both", tmp_path / "alone"
    assert reproduce(*arguments_of(root, both), *some)[1] is None
    assert reproduce(*arguments_of(root, alone), *some, "--shots", 3)[1] is None
    alone_rows = [[row[c] for c in columns] for row in rows_of(alone)]
    assert alone_rows == [[r[c] for c in columns] for r in rows_of(both) if r["shots"] == "3"]


def test_unknown_data_set(root, tmp_path, reproduce):
    _, error = reproduce("--root", root, "--out", tmp_path, "--datasets", "eurosats")
    assert "Did you mean 'eurosat'?" in error


def feature_file(file, features, without=()):
    X, y, text = features((9, 9, 9), d=16)
    codes = np.arange(len(y))
    place = np.array([(y[:i] == y[i]).sum() for i in codes])
    arrays = {"text": text, "classnames": np.array(["a", "b", "c"])}
    for k in (1, 4):
        arrays |= {f"support{k}_x": X[place < k], f"support{k}_y": y[place < k]}
    arrays |= {"query_x": X[place >= 4].astype(np.float16), "query_y": y[place >= 4]}
    np.savez(file, **{name: array for name, array in arrays.items() if name not in without})
    return file


def test_features_beside_the_published_numbers(tmp_path, features, reproduce):
    out = tmp_path / "out"
    file = feature_file(tmp_path / "stanford_cars_b32.npz", features)
    other = feature_file(tmp_path / "birds.npz", features)
    printed, error = reproduce("--features", file, other, "--out", out)
    assert error is None
    assert "no shots [8, 16]" in printed
    # Three draws of one and of two shots; all four are one.
    assert len(rows_of(out)) == 2 * (3 + 3 + 1) * N_METHODS
    cars, birds, mean = printed[printed.index("## ") :].split("## ")[1:]
    assert mean.startswith("mean of 2")
    # One draw has no spread. What nobody published is compared with nothing.
    assert "± -" in cars
    assert "published" not in birds
    accuracy = next(
        float(row["accuracy"])
        for row in rows_of(out)
        if row["method"] == "CLIP-Adapter" and row["shots"] == "4"
    )
    with (out / "table.csv").open() as table:
        row = next(
            row
            for row in csv.DictReader(table)
            if row["dataset"] == "stanford_cars_b32"
            and row["method"] == "CLIP-Adapter"
            and row["shots"] == "4"
        )
    assert float(row["published"]) == 62.45
    assert float(row["difference"]) == pytest.approx(accuracy - 62.45, abs=1e-3)
    assert row["std"] == ""
    latex = (out / "table.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    assert (out / "birds.pdf").read_bytes().startswith(b"%PDF")

    with np.load(file) as arrays:
        changed = {**arrays, "text": arrays["text"][::-1]}
    np.savez(file, **changed)
    _, error = reproduce("--features", file, "--out", out)
    assert "stanford_cars_b32 with sha256 of the file" in error


@pytest.mark.parametrize(
    ("without", "options", "message"),
    [
        (["query_y"], [], "lacks query_y"),
        (["text"], [], "lacks text"),
        ([], ["--shots", 5], "lacks shots [5]; it has 4"),
    ],
)
def test_a_file_that_lacks_something(tmp_path, features, reproduce, without, options, message):
    file = feature_file(tmp_path / "file.npz", features, without)
    _, error = reproduce("--features", file, "--out", tmp_path / "out", *options)
    assert message in error


def test_published_means(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from paper.tables import read_published

    published = read_published()
    assert len({name for name, _, _ in published}) == 11
    means = {
        method: [
            np.mean([value for key, value in published.items() if key[1:] == (method, k)])
            for k in (1, 2, 4, 8, 16)
        ]
        for method in {method for _, method, _ in published}
    }
    # The paper's own averages over the eleven data sets.
    assert means == {
        "zero-shot": pytest.approx([58.89] * 5, abs=0.006),
        "Tip-Adapter": pytest.approx([62.33, 64.62, 66.54, 68.50, 70.32], abs=0.006),
        "Tip-Adapter-F": pytest.approx([64.60, 66.65, 69.67, 72.45, 75.83], abs=0.006),
        "CLIP-Adapter": pytest.approx([62.67, 65.55, 68.61, 71.40, 74.44], abs=0.006),
    }


def test_a_method_of_ones_own(tmp_path, features, reproduce):
    file, out = feature_file(tmp_path / "birds.npz", features), tmp_path / "out"
    (tmp_path / "mine.py").write_text("from sktip import ZeroShotClassifier as Mine")
    own = ["--own", f"{tmp_path / 'mine.py'}:Mine"]
    run = ["--features", file, "--out", out, "--shots", 4, "--methods", "zero-shot"]
    assert reproduce(*run, *own)[1] is None
    zero_shot, mine = rows_of(out)
    assert (mine["method"], mine["accuracy"]) == ("Mine", zero_shot["accuracy"])
    assert reproduce(*run, "--own", "mine.py:Mine")[1] == "2"
