"""The command ``sktip``, which is also ``python -m sktip``."""

# What is slow to import is imported in functions, so that --help answers at once.
import argparse
import errno
import io
import os
import signal
import socket  # noqa: TID251  a port of this machine
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import sktip
from sktip._utils.messages import printable, some
from sktip._utils.optional import import_optional
from sktip._utils.paths import check_input, check_output, is_standard_output, write_file

SUFFIXES = (".skops", ".joblib")
CLASSIFIERS = [name for name in dir(sktip) if name.endswith("Classifier")]
# Exit codes.
DONE = 0
FAILED = 1
SOME_UNREAD = 3
PORT_IN_USE = 4
INTERRUPTED = 130
UNHEARD = 141

CODES = """\
exit codes:
  0  success
  1  failure: the message says why, and nothing was written unless it says so
  2  wrong arguments
  3  the predictions are written, but some images could not be read; they are listed
  4  `sktip label`: the port is in use
  130 (Ctrl-C), 141 (piped to a program that has ended) or 143 (terminated): stopped; the output file is
  complete, or as it was before
"""
FIT = """\
Fit a classifier on labelled photos, save it, and print its held-out accuracy: each photo is predicted by
a classifier that was fitted without it.

PHOTOS is a folder with one subfolder of photos per class, named after the class, or a CSV file with a
column of paths and a column of labels.
"""
PREDICT = """\
Predict all photos in a folder and in the folders below it.

The predictions are written to a CSV file with the columns path, prediction, probability and error. A
classifier that was fitted with --reject-unknown predicts "unknown" for photos that show none of its classes.

With --detections, boxes of a detector are predicted instead of whole photos: a row each. MegaDetector's people
and vehicles keep their name and confidence, and photos without boxes are "empty". If CSV ends in .json, the
detector's file is written with the classes.
"""
LABEL = """\
Look at the photos of a folder, label and sort them, on a page in your browser.

The page is on this machine alone, and asks first for the photos that teach most. Your answers are in
labels.csv in the output folder, each as soon as you have given it. Run the same command to go on.
"""
SEARCH = """\
Find photos of a folder by words, or by an example photo: the most similar first.

The result is printed, or written to a CSV file or a contact sheet, a PNG picture. The features are kept in
PHOTOS-features.sqlite, so that the next search takes no encoding.
"""
TRUST = "a .skops file, or a .joblib file, which can run code when it is loaded"
RUNS = (
    "{path} is a joblib file: loading it runs the code in it. Load joblib files only from people you trust, or "
    "use a .skops file, which runs no code."
)
ONLY_DRAWINGS = 'The bundled model "tiny" knows drawings, and few things in photos. For photos, use --model ViT-B-32.'


def command() -> None:
    """Run the command of this process, and end the process with its exit code."""
    # By default these signals end the process at once, and would leave a file that is half written.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    sys.exit(main())


def _end(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, with the arguments of the process by default; return the exit code."""
    args = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning  # type: ignore[assignment]
            return _run(args)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python would write the rest when it ends, and fail again.
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
        return UNHEARD


def _run(args: argparse.Namespace) -> int:
    try:
        if args.command == "fit":
            inputs = [args.photos, args.descriptions, args.memory]
            check_output(args.output, overwrite=args.overwrite, inputs=inputs)
        elif args.command == "predict":
            inputs = [args.model, args.detections]
            check_output(args.output, overwrite=args.overwrite, inputs=inputs)
        elif args.command == "search" and args.output is not None:
            check_output(args.output, overwrite=args.overwrite, inputs=[args.memory])
        work = {"fit": _fit, "predict": _predict, "search": _search, "label": _label}
        code, summary, notes = work[args.command](args)
    except BrokenPipeError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
        # Messages of the library name its parameters.
        _note(f"error: {error}".replace("model_name=", "--model "))
        return FAILED
    try:
        # The summary is no part of a table that is written to standard output.
        to_stdout = args.output is not None and is_standard_output(args.output)
        file = sys.stderr if to_stdout else None
        for line in summary:
            print(_one_line(line), file=file, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None  # type: ignore[assignment]
        _note(f"error: {args.output} is written, but standard output cannot be: {error.strerror}")
        return FAILED
    for line in notes:
        _note(line)
    return code


def _fit(args: argparse.Namespace) -> tuple[int, list[str], list[str]]:
    import numpy as np
    from sklearn.utils.validation import has_fit_parameter

    from sktip._encoder import set_of_the_machine
    from sktip.model_selection import held_out_proba
    from sktip.prompts import read_descriptions

    _check_suffix(args.output)
    data = _photos(args)
    check_output(args.output, overwrite=args.overwrite, inputs=data.data)
    _note(data.DESCR)
    with tempfile.TemporaryDirectory() as folder:
        # The photos are encoded once, and used in several fits.
        encoder = _encoder(args, args.memory or os.path.join(folder, "features.sqlite"))
        classifier = estimator = getattr(sktip, args.classifier)(encoder)
        if args.descriptions:
            classifier.set_params(templates=read_descriptions(args.descriptions, data.target_names))
        elif args.template:
            classifier.set_params(templates=args.template)
        if args.reject_unknown:
            estimator = sktip.RejectUnknown(classifier)
        groups = _copies(data.data)
        more = {}
        if groups is not None and has_fit_parameter(estimator, "groups"):
            more["groups"] = groups
        if args.unlabeled is None:
            estimator.fit(data.data, data.target, **more)
        elif has_fit_parameter(classifier, "X_unlabeled"):
            estimator.fit(data.data, data.target, X_unlabeled=args.unlabeled, **more)
        else:
            raise ValueError(
                f"{args.classifier} does not learn from unlabelled photos; leave out --unlabeled, or use "
                "FewShotClassifier."
            )
        probabilities = held_out_proba(classifier, data.data, data.target, groups=groups)
    # Settings of this run are not saved.
    set_of_the_machine(encoder, device=None)
    _save_model(estimator, args.output, overwrite=args.overwrite)
    summary = f"{args.classifier} of {len(estimator.classes_):,} classes is in {args.output}"
    predicted = estimator.classes_[probabilities.argmax(axis=1)]
    alone = [] if hasattr(encoder, "encode_text") else _of_one_group(data.target, groups)
    judged = ~np.isin(data.target, alone)
    lines = [summary]
    if judged.any():
        lines.append(_accuracy(data.target[judged], predicted[judged]))
    if alone:
        lines.append(
            f"not tested: {some(alone)} ({len(alone):,} in all), with one photo or one burst each; add photos of "
            "another day"
        )
    return DONE, lines, []


def _of_one_group(labels: Any, groups: Any) -> list[Any]:
    """Classes whose photos are all held out together. Without their names, none of them could be right."""
    import numpy as np

    groups = np.arange(len(labels)) if groups is None else groups
    pairs = np.unique(np.stack([np.unique(labels, return_inverse=True)[1], groups]), axis=1)
    return np.unique(labels)[np.bincount(pairs[0]) == 1].tolist()


def _copies(photos: Any) -> Any:
    """Find groups of photos that are copies or of one burst, with a note; None if there are none."""
    import numpy as np

    from sktip.exceptions import ImageReadError
    from sktip.model_selection import near_duplicate_groups
    from sktip.utils import photo_times

    try:
        groups = near_duplicate_groups(photos, times=photo_times(photos))
    except ImageReadError:  # The encoder raises it too, and says more.
        return None
    n_copies = (np.bincount(groups)[groups] > 1).sum()
    if not n_copies:
        return None
    _note(
        f"{n_copies:,} photos are near-copies of others, or of one burst; they are held out together"
    )
    return groups


def _encoder(args: argparse.Namespace, memory: str) -> Any:
    """Make the encoder that the models name, or several of them side by side."""
    from sktip._encoder import encoder_of

    options = {
        "device": args.device,
        "precision": args.precision,
        "n_jobs": args.n_jobs,
        "memory": memory,
        "verbose": int(not args.quiet),
    }
    names = args.model or ["ViT-B-32"]
    encoders = [encoder_of(name, args.pretrained, **options) for name in names]
    return encoders[0] if len(encoders) == 1 else sktip.JointEncoder(encoders)


def _accuracy(labels: Any, predicted: Any) -> str:
    """One line: the held-out accuracy, and the three classes with the lowest."""
    import numpy as np

    right = labels == predicted
    line = f"held-out accuracy {right.mean():.1%} ({right.sum():,} of {len(right):,} photos)"
    classes, codes = np.unique(labels, return_inverse=True)
    counts, hits = np.bincount(codes), np.bincount(codes, right).astype(int)
    weakest = [i for i in np.argsort(hits / counts, kind="stable")[:3] if hits[i] < counts[i]]
    if weakest:
        shown = (f"{classes[i]} ({hits[i]:,} of {counts[i]:,})" for i in weakest)
        line += f"; weakest classes: {', '.join(shown)}"
    return line


def _photos(args: argparse.Namespace) -> Any:
    from sktip.datasets import load_image_folder, load_image_table

    if not os.path.exists(args.photos):
        raise FileNotFoundError(f"{args.photos}: no such folder or CSV file.")
    if os.path.isdir(args.photos):
        return load_image_folder(args.photos, levels=args.levels)
    return load_image_table(
        args.photos, path_column=args.path_column, label_column=args.label_column
    )


def _predict(args: argparse.Namespace) -> tuple[int, list[str], list[str]]:
    from sktip._encoder import set_of_the_machine
    from sktip.utils import split_encoder

    if not os.path.isdir(args.photos):
        raise NotADirectoryError(f"{args.photos} is not a folder; pass a folder of photos.")
    estimator = load_model(args.model)
    try:
        encoder, _ = split_encoder(estimator)
    except ValueError as error:
        raise ValueError(f"{args.model}: {error}") from error
    set_of_the_machine(encoder, device=args.device, n_jobs=args.n_jobs)
    if args.detections:
        answers = _predict_boxes(args, estimator)
    else:
        answers = sktip.predict_images(
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
    what = "boxes and empty photos" if args.detections else "images"
    summary = f"answers for {len(answers.path) - len(unread):,} {what} are in {args.output}"
    return SOME_UNREAD if unread else DONE, [summary], unread


def _predict_boxes(args: argparse.Namespace, estimator: Any) -> Any:
    """Predict the boxes of a detector, and write a table or the detector's file with classes."""
    import numpy as np

    from sktip._predict_images import csv_lines
    from sktip._utils.bunch import ShortBunch
    from sktip.datasets import read_detections, write_detections

    found = read_detections(args.detections, folder=args.photos)
    _note(found.DESCR)
    # Of MegaDetector's categories, people and vehicles have their name already.
    chosen = np.flatnonzero((found.target == "animal") | ("animal" not in found.target))
    labels, shares = found.target.astype(object), found.confidence.copy()
    errors = np.full(len(labels), None, object)
    if len(chosen):
        crops = sktip.predict_images(estimator, found.data[chosen], verbose=int(not args.quiet))
        if "prediction" not in crops:
            raise ValueError(f"{args.model} predicts tags; --detections needs a classifier.")
        labels[chosen], shares[chosen] = crops.prediction, crops.probability
        errors[chosen] = crops.error
    if args.output.lower().endswith(".json"):
        write_detections(found, labels, shares, args.output, overwrite=args.overwrite)
    others = np.flatnonzero(np.bincount(found.groups, minlength=len(found.photos)) == 0)
    order = np.argsort(np.concatenate([found.groups, others]), kind="stable")
    reasons = [
        None if found.empty[i] else found.failures.get(i, "its boxes are damaged") for i in others
    ]
    answers = ShortBunch(
        path=found.photos[[*found.groups, *others]],
        box=[*(crop.box for crop in found.data), *[None] * len(others)],
        prediction=[*labels, *("empty" if found.empty[i] else None for i in others)],
        probability=[*shares, *[np.nan] * len(others)],
        error=[*errors, *reasons],
    )
    answers = ShortBunch(**{name: [column[i] for i in order] for name, column in answers.items()})
    if not args.output.lower().endswith(".json"):
        write_file(args.output, csv_lines(answers), overwrite=args.overwrite)
    return answers


def _search(args: argparse.Namespace) -> tuple[int, list[str], list[str]]:
    from sktip._images.folders import list_images
    from sktip._images.sheet import contact_sheet
    from sktip._predict_images import csv_lines
    from sktip._utils.bunch import ShortBunch

    suffix = os.path.splitext(args.output or "")[1].lower()
    if args.output is not None and suffix not in (".csv", ".png"):
        raise ValueError(f"{args.output}: the name of the output must end in .csv or .png.")
    folder = os.path.abspath(os.path.expanduser(args.photos))
    photos = list_images(folder)
    encoder = _encoder(args, args.memory or f"{folder}-features.sqlite")
    rows, scores = sktip.rank_images(photos, args.query, encoder, top=args.top)
    names = [os.path.relpath(photos[row], folder) for row in rows]
    if args.output is None:
        found = zip(scores, names, strict=True)
        return DONE, [f"{score:.3f}  {name}" for score, name in found], []
    if suffix == ".png":
        titles = [f"{score:.3f}  {name}" for score, name in zip(scores, names, strict=True)]
        sheet = contact_sheet([photos[row] for row in rows], titles)
        content = io.BytesIO()
        sheet.save(content, "PNG")
        write_file(args.output, [content.getvalue()], overwrite=args.overwrite)
    else:
        table = ShortBunch(path=[photos[row] for row in rows], score=scores.astype(float))
        write_file(args.output, csv_lines(table), overwrite=args.overwrite)
    return (
        DONE,
        [f"the {len(rows)} most similar of {len(photos):,} photos are in {args.output}"],
        [],
    )


def _label(args: argparse.Namespace) -> tuple[int, list[str], list[str]]:
    page = import_optional(
        "sktip._label.page", "skops", extra="sktip[label]", caller="`sktip label`"
    )
    from sktip._label.export import write_model
    from sktip._label.labelling import open_session
    from sktip.prompts import GENERAL_TEMPLATES

    def content_of(model: Any) -> bytes:
        # Imported when it is needed: it takes longer than all that the first photo needs.
        content: bytes = _skops().dumps(model)
        return content

    photos = os.path.abspath(os.path.expanduser(args.photos))
    output = args.output = os.path.abspath(os.path.expanduser(args.output or f"{photos}-labels"))
    with socket.socket() as bound:
        if os.name == "posix":  # Else a port is not free until a minute after its last use.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", args.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OSError(f"port {args.port} cannot be used: {error.strerror}.") from None
            line = f"error: port {args.port} is in use; pass another --port, or none for a free one"
            return PORT_IN_USE, [], [line]
        encoder = _encoder(args, os.path.join(output, "features.sqlite"))
        classes = [name for name in (args.classes or "").split(",") if name.strip()]
        templates = args.template or GENERAL_TEMPLATES
        session = open_session(photos, output, classes, encoder, templates, tags=args.tags or None)
        try:
            if args.merge is not None:
                _merge(session, args.merge)
            note = ONLY_DRAWINGS if args.model == ["tiny"] else ""
            save = partial(write_model, session, content_of)
            page.serve(session, save, note, bound=bound, browser=args.browser)
            if session.learner.failure is not None:
                raise session.learner.failure
        except BaseException:
            session.discard()
            raise
    return DONE, [f"all answers are in {output}"], []


def _merge(session: Any, file: str) -> None:
    """Add the answers of another machine, and say what became of them."""
    from sktip._label.merge import merge_table, write_conflicts

    merged = merge_table(session, file)
    line = f"{file}: {merged.n_new:,} labels are new, {merged.n_same:,} were there"
    if merged.conflicts:
        where = write_conflicts(session, merged)
        line += f", {len(merged.conflicts):,} differ from yours, which stay (see {where})"
    if merged.missing:
        line += (
            f", {len(merged.missing):,} are about no photo of the folder: {some(merged.missing)}"
        )
    _note(line)


def _print_warning(message: Any, *_: Any) -> None:
    _note(f"warning: {message}")


def _note(message: str) -> None:
    print(_one_line(message), file=sys.stderr)


def _one_line(message: str) -> str:
    """Make one line, in which the name of a file cannot control the terminal."""
    return printable(" ".join(message.splitlines()))


def _check_suffix(path: str) -> str:
    """Return the suffix of a model file; raise an error if it is not supported."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: the name of a model file must end in {' or '.join(SUFFIXES)}.")
    if suffix == ".skops":
        _skops()
    return suffix


def _save_model(estimator: Any, path: str, *, overwrite: bool) -> None:
    import joblib

    content = io.BytesIO()
    if _check_suffix(path) == ".skops":
        _skops().dump(estimator, content)
    else:
        _note(f"warning: {RUNS.format(path=path)}")
        joblib.dump(estimator, content)
    write_file(path, [content.getvalue()], overwrite=overwrite)


def load_model(path: str) -> Any:
    """Read a fitted classifier from a file; all errors name the file."""
    import joblib
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    suffix = _check_suffix(path)
    check_input(path, "a saved classifier, which `sktip fit` writes")
    try:
        if suffix == ".skops":
            estimator = _load_skops(path)
        else:
            _note(f"warning: {RUNS.format(path=path)}")
            estimator = joblib.load(path)  # noqa: TID251  the user names such a file, and is warned
        if not hasattr(estimator, "predict"):
            raise ValueError(f"it contains a {type(estimator).__name__}, not a classifier.")
        check_is_fitted(estimator)
    except (PermissionError, FileNotFoundError):
        raise
    except Exception as error:
        # Reading a damaged file can raise anything.
        reason = " ".join(str(error).split())
        if type(error) is not ValueError and not isinstance(error, NotFittedError | ImportError):
            reason = (
                f"it is damaged, or not a saved classifier ({type(error).__name__}: {reason}). Copy it again, or "
                "fit again."
            )
        raise ValueError(f"{path} cannot be loaded: {reason}") from error
    return estimator


def _load_skops(path: str) -> Any:
    # Fitted classifiers contain no types of the package but its public classes.
    public = (getattr(sktip, name) for name in dir(sktip))
    trusted = [f"{t.__module__}.{t.__qualname__}" for t in public if isinstance(t, type)]
    strange = sorted(set(_skops().get_untrusted_types(file=path)) - set(trusted))
    if strange:
        raise ValueError(
            f"it contains types that are not from sktip: {', '.join(strange)}. Nothing was loaded. If you trust "
            "them, load the file in Python: skops.io.load(path, trusted=[...])."
        )
    return _skops().load(path, trusted=trusted)


def _skops() -> Any:
    # It runs nothing but the types that are named to it.
    return import_optional("skops.io", extra="sktip[skops]", caller="a .skops file")


def _parser() -> argparse.ArgumentParser:
    whole = _described(
        argparse.ArgumentParser(prog="sktip"), "Few-shot classification of photos with CLIP."
    )
    whole.add_argument("--version", action="version", version=f"sktip {sktip.__version__}")
    commands = whole.add_subparsers(
        dest="command", required=True, metavar="{fit,predict,search,label}"
    )
    fit = _described(commands.add_parser("fit", help="fit on labelled photos"), FIT)
    predict = _described(commands.add_parser("predict", help="predict new photos"), PREDICT)

    search = commands.add_parser("search", help="find photos by words or by an example")
    search = _described(search, SEARCH)
    label = commands.add_parser("label", help="label photos on a page in the browser")
    label = _described(label, LABEL)

    add = fit.add_argument
    add("photos", help="folder of class folders, or CSV file")
    _add_output(fit, "MODEL", f"file to save the classifier to: {TRUST}")
    add(
        "--unlabeled",
        metavar="FOLDER",
        help="folder of unlabelled photos, like those that you will predict, to learn from too",
    )
    add(
        "--reject-unknown",
        action="store_true",
        help='predict "unknown" for photos that show none of the classes',
    )
    add(
        "--model",
        action="append",
        help="CLIP model: a name of open_clip, hf-hub:... or tiny; timm:NAME is an image model of timm; repeat it to "
        "use several side by side (default: ViT-B-32)",
    )
    add(
        "--levels",
        type=lambda text: text if text == "all" else int(text),
        metavar="N",
        help="how many folders deep the class folders are; all for the folder of each photo (default: 1)",
    )
    add(
        "--classifier",
        default="FewShotClassifier",
        choices=CLASSIFIERS,
        metavar="NAME",
        help=f"one of {', '.join(CLASSIFIERS)} (default: FewShotClassifier)",
    )
    add("--descriptions", metavar="JSON", help="file with descriptions of each class")
    add("--path-column", default="path", metavar="NAME", help="column of paths in a CSV file")
    add("--label-column", default="label", metavar="NAME", help="column of labels in a CSV file")
    add("--memory", metavar="FILE", help="file that stores features for later runs")

    predict.add_argument("model", help=f"file of a fitted classifier: {TRUST}")
    predict.add_argument("photos", help="folder of photos")
    _add_output(predict, "CSV", "CSV file to write the predictions to")
    predict.add_argument(
        "--detections",
        metavar="JSON",
        help="boxes to predict: MegaDetector's batch output or COCO's format, whose paths start at PHOTOS",
    )

    add = search.add_argument
    add("photos", help="folder of photos")
    add("query", nargs="+", help='what to find: a text such as "a red car", or the path of a photo')
    add(
        "--model",
        action="append",
        help="CLIP model: a name of open_clip, hf-hub:... or tiny (default: ViT-B-32)",
    )
    add("--top", type=int, default=20, metavar="N", help="number of photos to show (default: 20)")
    add("--output", metavar="FILE", help="CSV file, or PNG picture, to write instead of printing")
    add("--overwrite", action="store_true", help="replace the output file if it exists")
    add("--memory", metavar="FILE", help="file of features (default: PHOTOS-features.sqlite)")

    add = label.add_argument
    add("photos", help="folder of photos")
    add("--classes", metavar="A,B,...", help="names of the classes; you can add more on the page")
    add(
        "--output",
        metavar="FOLDER",
        help="folder for answers, features, tables and models (default: PHOTOS-labels)",
    )
    add(
        "--model",
        nargs=1,
        help="CLIP model: a name of open_clip, hf-hub:... or tiny; timm:NAME is an image model of timm, which reads no "
        "names (default: ViT-B-32)",
    )
    add("--tags", action="store_true", help="give each photo several labels, or none")
    add("--merge", metavar="CSV", help="labels.csv of another machine, to add its labels first")
    add("--port", type=_port, default=0, help="port of the page (default: a free one)")
    add("--no-browser", dest="browser", action="store_false", help="print the address only")

    for each in (fit, search, label):
        each.add_argument(
            "--pretrained",
            metavar="TAG",
            help="weights of the model: a tag of open_clip, or the file of an image model of timm",
        )
        each.add_argument(
            "--precision",
            default="fp32",
            choices=("fp32", "fp16", "bf16", "auto"),
            help="precision of the image model; auto is bf16 where the device has it, up to 4 times as fast "
            "(default: fp32)",
        )
    for each in (fit, label):
        each.add_argument(
            "--template",
            action="append",
            help='prompt with {} for the class name, such as "a satellite photo of {}."; repeat it for several '
            "(default: those of the classifier)",
        )
    for each in (fit, predict, search, label):
        each.add_argument(
            "--device", help="device, such as cpu or cuda:0 (default: CUDA if available)"
        )
        each.add_argument(
            "--n-jobs",
            type=int,
            metavar="N",
            help="number of threads that read photos; -1 for one per CPU",
        )
        each.add_argument("--quiet", action="store_true", help="show no progress bar")
    return whole


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; pass a number from 1 to 65535")
    return int(text)


def _described(parser: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
    parser.description, parser.epilog = text, CODES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _add_output(parser: argparse.ArgumentParser, metavar: str, text: str) -> None:
    parser.add_argument("--output", required=True, metavar=metavar, help=text)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the output file if it exists"
    )
