"""Reproduce the paper's table: eleven data sets, 1 to 16 shots, compared with the published numbers.

    python examples/reproduce_paper.py --root DATA --datasets all --shots 1 2 4 8 16 --seeds 3 \\
        --model RN50-quickgelu --pretrained openai

Alpha and beta are chosen on held-out shots, never on the test set. The number of epochs is fixed, and the
last epoch is used. With one shot per class, alpha and beta cannot be tuned, and "tuned" methods use 1 and
5.5. The folders in DATA are those of CoOp's guide.

Every image is encoded once, and its features are stored in OUT/features.sqlite. Every result is written to
OUT/results.csv before the next one is computed. So the command can be run again after an interruption, or
with more data sets, shots, seeds or methods. OUT/table.txt, OUT/table.csv and OUT/table.tex have the means and
the published numbers, and OUT/DATASET.png and OUT/DATASET.pdf are plots of them.

    python examples/reproduce_paper.py --features FILE.npz ...

does the same from existing features. A file has the arrays `text` (C, d), `query_x` and `query_y`, and k
shots per class in `support{k}_x` and `support{k}_y`. Labels are row indices of `text`. Shots are drawn from
those of the largest k; for the largest k itself, there is only one draw. A file whose name begins with the
name of a data set of the paper is compared with the published numbers.

    python examples/reproduce_paper.py --own mine.py:MyMethod ...

adds a method of your own: a classifier of features, such as a subclass of sktip.base.BaseFewShotClassifier.
"""

import argparse
import runpy
import sys

from paper.data import FeatureData, ImageData
from paper.methods import METHODS, fit_and_score, paper_methods
from paper.results import Results
from paper.tables import report
from sktip.exceptions import ModelLoadError
from sktip.prompts import TEMPLATES


def run(data, results, arguments):
    """Compute the missing results of a data set."""
    results.check_settings(data.name, data.settings)
    for seed in range(data.n_seeds):
        for n_shots in data.all_shots:
            names = (*arguments.methods, *arguments.own)
            missing = results.missing(data.name, n_shots, seed, names)
            if not missing or not data.has_draw(n_shots, seed):
                continue
            shots, labels, images = data.shots(n_shots, seed)
            methods = paper_methods(
                data.prior,
                n_views=data.n_views,
                n_epochs=100 if data.name.startswith("eurosat") else 20,
                device=arguments.device,
                seed=seed,
            )
            methods |= {
                name: own(input="features", **data.prior) for name, own in arguments.own.items()
            }
            for name in missing:
                accuracy, chosen, seconds = fit_and_score(
                    methods[name], shots, labels, *data.queries, images=images
                )
                results.add(
                    data.name, name, n_shots, seed, round(accuracy, 4), chosen, round(seconds, 1)
                )
                print(
                    f"{data.name}, {n_shots} shots, draw {seed}: {name} {accuracy:.2f} {chosen} "
                    f"({seconds:.1f} s)",
                    flush=True,
                )


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--root", help="folder of the data sets, as in CoOp's guide")
    source.add_argument("--features", nargs="+", metavar="FILE", help="files of existing features")
    parser.add_argument("--datasets", nargs="+", default=["all"], metavar="NAME")
    parser.add_argument("--shots", nargs="+", type=positive, default=[1, 2, 4, 8, 16], metavar="K")
    parser.add_argument("--seeds", type=positive, default=3, help="draws of shots")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--own", type=own_method, default={}, metavar="FILE.py:CLASS", help="a method of your own"
    )
    parser.add_argument(
        "--model", help="default RN50-quickgelu; with --features, the model that they are from"
    )
    parser.add_argument("--pretrained", help="weights of the model, such as openai")
    parser.add_argument("--views", type=positive, default=10, help="random views of each shot")
    parser.add_argument("--device", help="torch device (default: CUDA if available)")
    parser.add_argument("--jobs", type=int, default=2, help="threads that read images")
    parser.add_argument("--out", default="paper_results", help="folder of results and features")
    return parser.parse_args(arguments)


def own_method(text):
    file, _, name = text.rpartition(":")
    try:
        return {name: runpy.run_path(file)[name]}
    except (OSError, KeyError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE.py:CLASS: {error}") from error


def positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def main(arguments=None):
    arguments = parse(arguments)
    try:
        results = Results(arguments.out)
        if arguments.features:
            sources = [FeatureData(file, arguments) for file in arguments.features]
        else:
            names = TEMPLATES if arguments.datasets == ["all"] else arguments.datasets
            # All data sets are checked before the first is encoded, which may take hours.
            sources = [ImageData(name, arguments) for name in names]
        for data in sources:
            run(data, results, arguments)
            text = report(results)
    except (ValueError, OSError, ModelLoadError) as error:
        sys.exit(f"error: {error}")
    print(f"\n{text}\nwrote table.txt, table.csv, table.tex and plots to {arguments.out}")


if __name__ == "__main__":
    main()
