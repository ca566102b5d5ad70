"""The measured accuracies: one file, from which README and guide have their tables and chart.

    tox -e accuracy -- FILE.npz ...      measure from files of features, then write tables and chart
    python docs/accuracy.py              write tables and chart again
    python docs/accuracy.py --check      fail if README or the chart is not what the file says

The file is ``docs/accuracy.csv``: mean and standard deviation over draws of shots, of each data set,
classifier and number of shots. ``examples/reproduce_paper.py`` says what a file of features holds.
"""

import argparse
import csv
import hashlib
import math
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
CHARTS = [HERE / "images" / f"accuracy-{page}.svg" for page in ("light", "dark")]
FIELDS = ("dataset", "method", "shots", "draws", "mean", "std")
#: How the tables name what was measured.
NAMES = {
    "zero-shot": "`ZeroShotClassifier`",
    "Tip-Adapter": "`TipAdapterClassifier`",
    "Tip-Adapter, tuned": "`TipAdapterClassifierCV`",
    "Tip-Adapter-F": "`TipAdapterClassifier(fine_tune=True)`",
    "Tip-Adapter-F, tuned": "`TipAdapterClassifierCV(fine_tune=True)`",
    "CLIP-Adapter": "`CLIPAdapterClassifier`",
    "GDA": "`GDAClassifier`",
    "ProKeR": "`ProKeRClassifier`",
    "FewShotClassifier": "`FewShotClassifier`",
    "linear probe": "logistic regression on features",
}
#: The lines of the chart, and what they are called there; the first stands out.
LINES = {
    "FewShotClassifier": "FewShotClassifier",
    "Tip-Adapter-F, tuned": "Tip-Adapter-F",
    "linear probe": "linear probe",
    "Tip-Adapter, tuned": "Tip-Adapter",
    "zero-shot": "zero-shot CLIP",
}
#: Where README has the table of a data set.
BEGIN, END = "<!-- accuracy of {} -->\n", "<!-- end -->\n"


def read(file=HERE / "accuracy.csv"):
    """Read means and deviations by data set, method and shots."""
    found = defaultdict(lambda: defaultdict(dict))
    with Path(file).open(newline="") as lines:
        for row in csv.DictReader(lines):
            mean, std = (float(row[name] or "nan") for name in ("mean", "std"))
            found[row["dataset"]][row["method"]][int(row["shots"])] = mean, std
    return {name: dict(methods) for name, methods in found.items()}


def digest():
    """What the charts carry of the figures that they were drawn from, so that an old one is noticed."""
    drawn = {method: read()["stanford_cars_vitb32"][method] for method in LINES}
    return "accuracy.csv " + hashlib.sha256(repr(drawn).encode()).hexdigest()[:16]


def table(dataset):
    """Rows of one data set: the numbers of shots, then each method with the best in bold."""
    methods = read()[dataset]
    shots = sorted({k for cells in methods.values() for k in cells})
    best = {k: max(cells[k][0] for cells in methods.values() if k in cells) for k in shots}
    rows = [["shots per class", *map(str, shots)]]
    for method, cells in methods.items():
        row = [NAMES.get(method, method)]
        for k in shots:
            mean, std = cells.get(k, (math.nan, math.nan))
            shown = "-" if math.isnan(mean) else f"{mean:.1f}"
            if shown != "-" and round(mean, 1) == round(best[k], 1):
                shown = f"**{shown}**"
            row.append(shown if math.isnan(std) else f"{shown} ± {std:.1f}")
        rows.append(row)
    return rows


def markdown(rows):
    """Lines of a Markdown table; the first row is the header."""
    lines = ["| " + " | ".join(row) + " |\n" for row in rows]
    return lines[0] + "|" + " --- |" * len(rows[0]) + "\n" + "".join(lines[1:])


def with_tables(text):
    """README's text with the tables between its marks made anew."""
    for dataset in read():
        begin = BEGIN.format(dataset)
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(END)
            text = before + begin + markdown(table(dataset)) + END + after
    return text


def write_wide(folder):
    """Write one CSV file per data set, as the guide's tables read them."""
    folder.mkdir(exist_ok=True)
    for dataset in read():
        with (folder / f"accuracy_{dataset}.csv").open("w", newline="") as file:
            # Two backticks are code in reStructuredText.
            rows = [[row[0].replace("`", "``"), *row[1:]] for row in table(dataset)]
            csv.writer(file, lineterminator="\n").writerows(rows)


def write_chart(folder):
    """Write the directives that show the chart, with its ends as text for those who cannot see it."""
    ends = []
    for method, cells in read()["stanford_cars_vitb32"].items():
        if method in LINES:
            first, last = (cells[k][0] for k in (min(cells), max(cells)))
            ends.append(f"{LINES[method]} from {first:.0f} to {last:.0f} %")
    text = "Accuracy on Stanford Cars from 1 to 16 photos per class: " + ", ".join(ends) + "."
    shown = [
        f".. image:: /images/accuracy-{page}.svg\n   :class: only-{page}\n   :alt: {text}\n"
        for page in ("light", "dark")
    ]
    (folder / "accuracy_chart.rst").write_text("\n".join(shown), encoding="utf-8")


def take(measured):
    """Take over what ``reproduce_paper.py`` has measured, cell by cell; other cells stay."""

    def cells(file):
        with Path(file).open(newline="") as lines:
            rows = [{name: row[name] for name in FIELDS} for row in csv.DictReader(lines)]
        return {(row["dataset"], row["method"], row["shots"]): row for row in rows}

    file = HERE / "accuracy.csv"
    new = {key: row for key, row in cells(measured).items() if not key[0].startswith("mean of")}
    merged = cells(file) | new
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged.values())


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", nargs="?", help="table.csv of examples/reproduce_paper.py")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if README differs"
    )
    options = parser.parse_args(arguments)
    if options.measured:
        take(options.measured)
    text = README.read_text(encoding="utf-8")
    if not options.check:
        README.write_text(with_tables(text), encoding="utf-8")
        from figures import write_charts

        write_charts()
    elif with_tables(text) != text:
        sys.exit(
            "README.md has other accuracies than docs/accuracy.csv: run python docs/accuracy.py"
        )
    elif any(digest() not in chart.read_text("utf-8") for chart in CHARTS):
        sys.exit(
            "docs/images/ has an older chart than docs/accuracy.csv: run python docs/accuracy.py"
        )


if __name__ == "__main__":
    main()
