"""The arguments of the commands, and their help."""

import argparse

from sktip.utils import all_estimators

WHOLE = "Few-shot classification of photos with CLIP."
CODES = """\
exit codes:
  0  success
  1  failure: the message says why, and nothing was written unless it says so
  2  wrong arguments
  3  the predictions are written, but some images could not be read; they are listed
  130 (Ctrl-C), 141 (piped to a program that has ended) or 143 (terminated): stopped; the output file is
  complete, or as it was before
"""
FIT = """\
Fit a classifier on labelled photos, and save it.

PHOTOS is a folder with one subfolder of photos per class, named after the class, or a CSV file with a
column of paths and a column of labels.
"""
PREDICT = """\
Predict all photos in a folder and in the folders below it.

The predictions are written to a CSV file with the columns path, prediction, probability and error. A
classifier in RejectUnknown predicts "unknown" for photos that show none of its classes.
"""
TRUST = "a .skops file, or a .joblib file, which can run code when it is loaded"


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``python -m sktip``."""
    whole = _described(argparse.ArgumentParser(prog="python -m sktip"), WHOLE)
    commands = whole.add_subparsers(dest="command", required=True, metavar="{fit,predict}")
    fit = _described(commands.add_parser("fit", help="fit on labelled photos"), FIT)
    predict = _described(commands.add_parser("predict", help="predict new photos"), PREDICT)

    fit.add_argument("photos", help="folder of class folders, or CSV file")
    _add_output(fit, "MODEL", f"file to save the classifier to: {TRUST}")
    fit.add_argument(
        "--model",
        default="ViT-B-32",
        help="CLIP model: a name of open_clip, hf-hub:... or tiny (default: ViT-B-32)",
    )
    fit.add_argument(
        "--pretrained", metavar="TAG", help="weights of the CLIP model: a tag of open_clip"
    )
    fit.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16", "bf16", "auto"),
        help="precision of the image model; auto is bf16 where the device has it, up to 4 times as fast (default: fp32)",
    )
    names = [name for name, _ in all_estimators(type_filter="classifier")]
    fit.add_argument(
        "--classifier",
        default="FewShotClassifier",
        choices=names,
        metavar="NAME",
        help=f"one of {', '.join(names)} (default: FewShotClassifier)",
    )
    fit.add_argument(
        "--template",
        action="append",
        help='prompt with {} for the class name, such as "a photo of a {}."; repeat it for several',
    )
    fit.add_argument("--descriptions", metavar="JSON", help="file with descriptions of each class")
    fit.add_argument(
        "--path-column", default="path", metavar="NAME", help="column of paths in a CSV file"
    )
    fit.add_argument(
        "--label-column", default="label", metavar="NAME", help="column of labels in a CSV file"
    )
    fit.add_argument("--memory", metavar="FILE", help="file that stores features for later runs")

    predict.add_argument("model", help=f"file of a fitted classifier: {TRUST}")
    predict.add_argument("photos", help="folder of photos")
    _add_output(predict, "CSV", "CSV file to write the predictions to")

    for command in (fit, predict):
        command.add_argument(
            "--device", help="device, such as cpu or cuda:0 (default: CUDA if available)"
        )
        command.add_argument(
            "--n-jobs",
            type=int,
            metavar="N",
            help="number of threads that read photos; -1 for one per CPU",
        )
        command.add_argument("--quiet", action="store_true", help="show no progress bar")
    return whole


def _described(parser: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
    parser.description, parser.epilog = text, CODES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _add_output(command: argparse.ArgumentParser, metavar: str, text: str) -> None:
    command.add_argument("--output", required=True, metavar=metavar, help=text)
    command.add_argument(
        "--overwrite", action="store_true", help="replace the output file if it exists"
    )
