"""``python -m sktip``: parse the arguments, run the command, and return an exit code."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import sktip
from sktip._batch.parts import parts_of
from sktip._batch.predict import predict_images
from sktip._cli.arguments import parser
from sktip._cli.models import check_suffix, load_model, save_model
from sktip._encoder import CLIPFeatureTransformer, defaults_of_the_machine
from sktip._utils.output_files import check_free
from sktip.datasets import load_image_folder, load_image_table
from sktip.prompts import read_descriptions

DONE, FAILED, SOME_UNREAD, INTERRUPTED = 0, 1, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, default=None
        Command-line arguments. If None, those of the process.

    Returns
    -------
    code : int
        Exit code, see the help.
    """
    args = parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _print_warning  # type: ignore[assignment]
        try:
            return {"fit": _fit, "predict": _predict}[args.command](args)
        except KeyboardInterrupt:
            print("interrupted; nothing was written", file=sys.stderr)
            return INTERRUPTED
        except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED


def _fit(args: argparse.Namespace) -> int:
    check_suffix(args.output)
    check_free(args.output, overwrite=args.overwrite)
    data = _photos(args)
    print(data.DESCR, file=sys.stderr)
    encoder = CLIPFeatureTransformer(
        args.model,
        args.pretrained,
        device=args.device,
        precision=args.precision,
        n_jobs=args.n_jobs,
        memory=args.memory,
        verbose=int(not args.quiet),
    )
    classifier = getattr(sktip, args.classifier)(encoder)
    if args.descriptions:
        classifier.set_params(templates=read_descriptions(args.descriptions, data.target_names))
    elif args.template:
        classifier.set_params(templates=args.template)
    classifier.fit(data.data, data.target)
    # Settings of this run are not saved.
    encoder.set_params(device=None, **defaults_of_the_machine())
    save_model(classifier, args.output, overwrite=args.overwrite)
    print(f"{args.classifier} of {len(classifier.classes_):,} classes is in {args.output}")
    return DONE


def _photos(args: argparse.Namespace) -> Any:
    if not os.path.exists(args.photos):
        raise FileNotFoundError(f"{args.photos}: no such folder or CSV file.")
    if os.path.isdir(args.photos):
        return load_image_folder(args.photos)
    return load_image_table(
        args.photos, path_column=args.path_column, label_column=args.label_column
    )


def _predict(args: argparse.Namespace) -> int:
    check_free(args.output, overwrite=args.overwrite)
    if not os.path.isdir(args.photos):
        raise NotADirectoryError(f"{args.photos} is not a folder; pass a folder of photos.")
    estimator = load_model(args.model)
    own = {"device": args.device, "n_jobs": args.n_jobs}
    parts_of(estimator)[0].set_params(**(defaults_of_the_machine() | own))
    answers = predict_images(
        estimator,
        args.photos,
        args.output,
        overwrite=args.overwrite,
        verbose=int(not args.quiet),
    )
    unread = np.flatnonzero(answers.error != None)  # noqa: E711  of each element
    print(f"answers for {len(answers.path) - len(unread):,} images are in {args.output}")
    for row in unread:
        print(f"not read: {answers.path[row]}: {answers.error[row]}", file=sys.stderr)
    return SOME_UNREAD if len(unread) else DONE


def _print_warning(message: Any, *_: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
