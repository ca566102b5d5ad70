"""Compare results with the published numbers: as text, CSV and LaTeX, and as plots."""

import csv
import io
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from paper.methods import METHODS, markdown
from paper.results import replace
from sktip.prompts import TEMPLATES

#: Which published method each of ours repeats; alpha and beta of the published ones are tuned.
REPEATS = {
    "zero-shot": "zero-shot",
    "Tip-Adapter, tuned": "Tip-Adapter",
    "Tip-Adapter-F, tuned": "Tip-Adapter-F",
    "CLIP-Adapter": "CLIP-Adapter",
}


def read_published():
    """Published accuracies of RN50 in %, by data set, method and shots."""
    with Path(__file__).with_name("published.csv").open() as file:
        return {
            (row["dataset"], row["method"], int(k)): float(row[k])
            for row in csv.DictReader(file)
            for k in row
            if k.isdigit()
        }


def summary(rows):
    """Mean, standard deviation and the published number of each data set, method and shots."""
    draws, published = defaultdict(dict), {}
    given = read_published()
    for row in rows:
        name, method, k = row["dataset"], row["method"], row["shots"]
        draws[name, method, k][row["seed"]] = row["accuracy"]
        key = next((key for key in TEMPLATES if name.startswith(key)), None)
        published[name, method, k] = given.get((key, REPEATS.get(method), k), np.nan)
    names = list(dict.fromkeys(row["dataset"] for row in rows))
    if len(names) > 1:
        mean = f"mean of {len(names)}"
        for _, method, k in list(draws):
            each = [draws.get((name, method, k), {}) for name in names]
            seeds = set.intersection(*map(set, each))
            if seeds:
                draws[mean, method, k] = {s: np.mean([own[s] for own in each]) for s in seeds}
                published[mean, method, k] = np.mean([published[n, method, k] for n in names])
    return [
        {
            "dataset": key[0],
            "method": key[1],
            "shots": key[2],
            "draws": len(own),
            "mean": np.mean(list(own.values())),
            "std": np.std(list(own.values())) if len(own) > 1 else np.nan,
            "published": published[key],
        }
        for key, own in draws.items()
    ]


def report(results):
    """Write the table as text, CSV and LaTeX, and a plot of each data set."""
    lines, latex, table = [], [], summary(results.rows)
    by_name = defaultdict(dict)
    for row in table:
        row["difference"] = row["mean"] - row["published"]
        by_name[row["dataset"]][row["method"], row["shots"]] = row
    for name, cells in by_name.items():
        settings = results.settings.get(name, {})
        made_by = [str(settings[key]) for key in ("model", "pretrained") if settings.get(key)]
        lines += [f"## {name}" + f": {', '.join(made_by)}" * bool(made_by), ""]
        rows = table_rows(cells)
        lines += [*markdown(rows), ""]
        latex += latex_table(name, rows)
        if settings:
            plot(results, name, cells, is_published_model(settings))
    head = (
        "Accuracy on the test images in %, mean ± standard deviation over the draws of shots (- where there is "
        "one).\nTuned: alpha and beta chosen on held-out shots. Published: of RN50, so that the difference from "
        "another\nmodel is one of the models too.\n"
    )
    text = "\n".join([head, *lines])
    replace(results.out / "table.txt", text.encode())
    replace(results.out / "table.tex", "\n".join(latex).encode())
    file = io.StringIO()
    writer = csv.DictWriter(file, table[0], lineterminator="\n")
    writer.writeheader()
    for row in table:
        numbers = {k: round(v, 4) for k, v in row.items() if isinstance(v, float)}
        writer.writerow({**row, **{k: "" if np.isnan(v) else v for k, v in numbers.items()}})
    replace(results.out / "table.csv", file.getvalue().encode())
    return text


def is_published_model(settings):
    """Whether the published numbers are for this model."""
    rn50 = settings["model"] in ("RN50", "RN50-quickgelu")
    return rn50 and settings.get("pretrained", "openai") == "openai"


def methods_of(cells):
    """Names of the methods: those of the paper's table, then those of one's own."""
    there = dict.fromkeys(method for method, _ in cells)
    return sorted(there, key=lambda name: METHODS.index(name) if name in METHODS else len(METHODS))


def table_rows(cells):
    """Rows of one data set: our accuracies, and below them the published ones."""
    shots = sorted({k for _, k in cells})
    rows = [["shots per class", *map(str, shots)]]

    def add(label, method, column, form):
        row = [cells.get((method, k), {}).get(column, np.nan) for k in shots]
        rows.append([label, *("-" if np.isnan(value) else form.format(value) for value in row)])

    for method in methods_of(cells):
        add(method, method, "mean", "{:.1f}")
        for column, k in enumerate(shots, 1):
            if (method, k) in cells:
                std = cells[method, k]["std"]
                rows[-1][column] += " ± -" if np.isnan(std) else f" ± {std:.1f}"
        if any(not np.isnan(cells[key]["published"]) for key in cells if key[0] == method):
            add("  published", method, "published", "{:.1f}")
            add("  difference", method, "difference", "{:+.1f}")
    return rows


def latex_table(name, rows):
    """Lines of a table for a paper; it needs the package booktabs."""

    def line(cells):
        text = " & ".join(cells).replace("_", r"\_").replace(" ± -", "")
        return text.replace("±", r"$\pm$") + r" \\"

    return [
        rf"% {name}",
        rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
        r"\toprule",
        line(rows[0]),
        r"\midrule",
        *map(line, rows[1:]),
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]


def plot(results, name, cells, with_published):
    """Plot the curves of one data set, and the published ones if they are for the same model."""
    shots = sorted({k for _, k in cells})
    seeds = sorted({row["seed"] for row in results.rows if row["dataset"] == name})
    scores = {method: np.full((len(shots), len(seeds)), np.nan) for method in methods_of(cells)}
    for row in results.rows:
        if row["dataset"] == name:
            place = shots.index(row["shots"]), seeds.index(row["seed"])
            scores[row["method"]][place] = row["accuracy"]
    figure, ax = plt.subplots(figsize=(10, 5), layout="constrained")
    colours = plt.get_cmap("tab20").colors
    for number, (method, draws) in enumerate(scores.items()):
        look = {"color": colours[number % 20], "marker": "os^DvPX*"[number % 8]}
        # Of the largest number of shots, there may be a single draw.
        known = np.ma.masked_invalid(draws)
        ax.errorbar(
            shots,
            known.mean(axis=1).filled(np.nan),
            known.std(axis=1).filled(np.nan),
            label=method,
            capsize=3,
            **look,
        )
        published = [cells.get((method, k), {}).get("published", np.nan) for k in shots]
        if with_published and method in REPEATS and not np.isnan(published).all():
            ax.plot(shots, published, "--", label=f"{method}, published", mfc="white", **look)
    ax.set_xscale("symlog" if shots[0] == 0 else "log", base=2)
    ax.set_xticks(shots, shots)
    ax.minorticks_off()
    ax.set(title=name, xlabel="shots per class", ylabel="accuracy on test images (%)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for kind in ("png", "pdf"):
        figure.savefig(results.out / f"{name}.{kind}", dpi=110)
    plt.close(figure)
