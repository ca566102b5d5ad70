"""``python -m sktip``: parse the arguments, run the command, and return an exit code."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import sktip
from sktip._batch.predict import predict_images
from sktip._cli.arguments import parser
from sktip._cli.models import check_suffix, load_model, save_model
from sktip._encoder import CLIPFeatureTransformer, set_of_the_machine
from sktip._split_encoder import split_encoder
from sktip._utils.output_files import check_output, is_standard_output
from sktip.datasets import load_image_folder, load_image_table
from sktip.datasets._walk import printable
from sktip.prompts import read_descriptions

DONE, FAILED, SOME_UNREAD, INTERRUPTED, UNHEARD = 0, 1, 3, 130, 141


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
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning  # type: ignore[assignment]
            return _run(arguments)
    except BrokenPipeError:
        # Python would write the rest when it ends, and fail again.
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
        return UNHEARD


def _run(arguments: Sequence[str] | None) -> int:
    args = parser().parse_args(arguments)
    try:
        code, summary, unread = {"fit": _fit, "predict": _predict}[args.command](args)
    except KeyboardInterrupt:
        _note("interrupted; nothing was written")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
        _note(f"error: {error}")
        return FAILED
    try:
        # The summary is no part of a table that is written to standard output.
        file = sys.stderr if is_standard_output(args.output) else None
        print(printable(summary), file=file, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None  # type: ignore[assignment]
        _note(f"error: {args.output} is written, but standard output cannot be: {error.strerror}")
        return FAILED
    for line in unread:
        _note(line)
    return code


def _fit(args: argparse.Namespace) -> tuple[int, str, list[str]]:
    check_suffix(args.output)
    check_output(args.output, overwrite=args.overwrite)
    data = _photos(args)
    _note(data.DESCR)
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
    set_of_the_machine(encoder, device=None)
    save_model(classifier, args.output, overwrite=args.overwrite)
    summary = f"{args.classifier} of {len(classifier.classes_):,} classes is in {args.output}"
    return DONE, summary, []


def _photos(args: argparse.Namespace) -> Any:
    if not os.path.exists(args.photos):
        raise FileNotFoundError(f"{args.photos}: no such folder or CSV file.")
    if os.path.isdir(args.photos):
        return load_image_folder(args.photos)
    return load_image_table(
        args.photos, path_column=args.path_column, label_column=args.label_column
    )


def _predict(args: argparse.Namespace) -> tuple[int, str, list[str]]:
    check_output(args.output, overwrite=args.overwrite)
    if not os.path.isdir(args.photos):
        raise NotADirectoryError(f"{args.photos} is not a folder; pass a folder of photos.")
    estimator = load_model(args.model)
    try:
        encoder, _ = split_encoder(estimator)
    except ValueError as error:
        raise ValueError(f"{args.model}: {error}") from error
    set_of_the_machine(encoder, device=args.device, n_jobs=args.n_jobs)
    answers = predict_images(
        estimator,
        args.photos,
        args.output,
        overwrite=args.overwrite,
        verbose=int(not args.quiet),
    )
    unread = [
        f"not read: {printable(path)}: {error}"
        for path, error in zip(answers.path, answers.error, strict=True)
        if error is not None
    ]
    summary = f"answers for {len(answers.path) - len(unread):,} images are in {args.output}"
    return SOME_UNREAD if unread else DONE, summary, unread


def _print_warning(message: Any, *_: Any) -> None:
    _note(f"warning: {message}")


def _note(message: str) -> None:
    """Print one line to standard error, in which a file's name cannot control the terminal."""
    print(printable(" ".join(message.splitlines())), file=sys.stderr)
