"""The arguments of both commands, and their help."""

import argparse

from sktip.utils import all_estimators

WHOLE = "Few-shot classification of photos with CLIP."
CODES = """\
exit codes:
  0  all is done
  1  it failed, and nothing was written: the message says why
  2  the arguments are wrong
  3  the answers are written, but some images could not be read; they are listed
"""
FIT = """\
Fit a classifier on labelled photos, and save it.

PHOTOS is a folder that holds a folder of photos for each class, whose names are the class names, or a
CSV file with a column of paths and one of labels.
"""
PREDICT = """\
Predict the photos in a folder, and in all folders below it.

The answers are a CSV file with the columns path, prediction, probability and error.
"""
TRUST = "skops by default; a file that ends in .joblib runs what is in it when it is loaded"


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``python -m sktip``."""
    whole = _described(argparse.ArgumentParser(prog="python -m sktip"), WHOLE)
    commands = whole.add_subparsers(dest="command", required=True, metavar="{fit,predict}")
    fit = _described(commands.add_parser("fit", help="fit on labelled photos"), FIT)
    predict = _described(commands.add_parser("predict", help="answers for new photos"), PREDICT)

    fit.add_argument("photos", help="folder of class folders, or CSV file")
    _add_output(fit, "MODEL", f"file of the classifier, such as model.skops ({TRUST})")
    fit.add_argument(
        "--model", default="ViT-B-32", help="CLIP: a name of open_clip, hf-hub:..., tiny"
    )
    fit.add_argument("--pretrained", metavar="TAG", help="weights of the CLIP, a tag of open_clip")
    names = [name for name, _ in all_estimators(type_filter="classifier")]
    fit.add_argument(
        "--classifier",
        default="FewShotClassifier",
        choices=names,
        metavar="NAME",
        help=f"one of {', '.join(names)}",
    )
    fit.add_argument(
        "--template",
        action="append",
        help='sentence with {} for the class name, such as "a photo of a {}."; may be given again',
    )
    fit.add_argument("--descriptions", metavar="JSON", help="file of sentences for each class")
    fit.add_argument("--path-column", default="path", metavar="NAME", help="of a CSV file")
    fit.add_argument("--label-column", default="label", metavar="NAME", help="of a CSV file")
    fit.add_argument("--memory", metavar="FILE", help="keep features here, for later runs")

    predict.add_argument("model", help=f"file that fit has written ({TRUST})")
    predict.add_argument("photos", help="folder of photos")
    _add_output(predict, "CSV", "file of the answers")

    for command in (fit, predict):
        command.add_argument(
            "--device", help="such as cpu or cuda:0; CUDA by default if there is one"
        )
        command.add_argument(
            "--n-jobs", type=int, metavar="N", help="threads that read photos; -1: all"
        )
        command.add_argument("--quiet", action="store_true", help="no progress bar")
    return whole


def _described(parser: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
    parser.description, parser.epilog = text, CODES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _add_output(command: argparse.ArgumentParser, metavar: str, text: str) -> None:
    command.add_argument("--output", required=True, metavar=metavar, help=text)
    command.add_argument("--overwrite", action="store_true", help="replace a file that is there")
