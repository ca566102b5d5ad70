"""What the page writes into the folder of answers when it is asked to: table, model, folders, report."""

import errno
import os
import re
import shlex
import shutil
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, count
from typing import Any, NamedTuple

from sktip._label.files import csv_lines, write_next
from sktip._label.labelling import Session, inside
from sktip._label.report import report
from sktip._label.store import NONE
from sktip._utils.messages import printable

#: Longest name of a folder or file, in bytes, with room for a number. File systems take 255.
LONGEST_NAME = 200
#: Names that Windows keeps for devices.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class Written(NamedTuple):
    """Where something was written, and what could not be."""

    path: str
    #: Photo and reason.
    problems: tuple[tuple[str, str], ...] = ()
    #: What to type next.
    command: str = ""


def write_table(session: Session) -> Written:
    """Write the predictions of all photos as CSV, in which an answer has probability 1.

    The columns are those of `predict_images`, but the paths are as they are on disk.
    """
    tags = session.classes if session.tags else []
    rows = [["path", *(tags if session.tags else ["prediction", "probability"]), "error"]]
    for row, path in enumerate(session.paths):
        label, probability = session.prediction(row)
        if label is None:
            cells = [""] * (len(tags) if session.tags else 2)
        elif isinstance(label, tuple):
            cells = [str(int(name in label)) for name in tags]
        else:
            cells = [label, f"{probability:.6g}"]
        rows.append([path, *cells, printable(session.errors.get(row, ""))])
    return Written(write_next(session.store, "predictions.csv", b"".join(csv_lines(rows))))


def write_model(session: Session, content_of: Callable[[Any], bytes]) -> Written:
    """Fit the classifier to all answers, and write it; `content_of` makes the bytes of the file."""
    path = write_next(session.store, "model.skops", content_of(session.learner.final_model()))
    command = f"sktip predict {shlex.quote(path)} NEW_PHOTOS --output predictions.csv"
    return Written(path, command=command)


def write_report(session: Session) -> Written:
    """Write a page of HTML that can be kept and sent: it needs no other file."""
    content = report(session).encode("utf-8", "replace")
    return Written(write_next(session.store, "report.html", content))


def write_folders(session: Session, *, copy: bool) -> Written:
    """Make a folder per class, with links to the photos or copies. No photo is changed.

    A photo with several tags is in several folders. Those that arrive in none are listed with the reason, also in
    the file ``not sorted.csv``.
    """
    target, problems = _new_folder(session.store.folder), []
    folders = _Names(target)
    names: dict[str, _Names] = {}
    for row, path in enumerate(session.paths):
        label, _ = session.prediction(row)
        reason = _reason(session, row) if label is None else _missing(path, session.root)
        labels = (label,) if isinstance(label, str) else label or (NONE,)
        try:
            for name in () if reason else labels:
                if name not in names:
                    folder = folders.of(name)
                    os.mkdir(folder)
                    names[name] = _Names(folder)
                _put(path, names[name].of(os.path.basename(path)), copy=copy)
        except OSError as error:
            reason = error.strerror or str(error)
        if reason:
            problems.append((path, reason))
    if problems:
        with open(os.path.join(target, "not sorted.csv"), "xb") as file:
            file.writelines(csv_lines([("path", "reason"), *problems]))
    return Written(target, tuple(problems))


def _new_folder(parent: str) -> str:
    for number in count(1):
        path = os.path.join(parent, f"sorted-{number}")
        with suppress(FileExistsError):
            os.mkdir(path)
            return path
    raise AssertionError


def _reason(session: Session, row: int) -> str:
    """Say why a photo has no prediction."""
    return session.errors.get(row, "it has no answer, and no prediction yet")


def _missing(path: str, root: str) -> str:
    """Say why a photo that was there cannot be used now; "" if it can."""
    if not os.path.lexists(path):
        return os.strerror(errno.ENOENT)
    if not os.path.isfile(path):
        return "it is not a file"
    return "" if inside(path, root) else "it is a link out of the folder"


def _put(path: str, target: str, *, copy: bool) -> None:
    """Copy or link one photo; leave no part of it behind."""
    if not copy:
        os.symlink(path, target)
        return
    try:
        shutil.copy2(path, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(target)
        raise


class _Names:
    """Names in one new folder, of which no two are the same on any file system."""

    def __init__(self, folder: str):
        self.folder = folder
        self._taken = {"not sorted.csv"}

    def of(self, name: str) -> str:
        """Return a path for something that is called so, told apart by a number from the others."""
        # Without characters that lead elsewhere, or that some systems refuse or confuse.
        name = re.sub(r'[\x00-\x1f<>:"/\\|?*]|^\.+|[. ]+$', "_", name)
        if DEVICES.fullmatch(name):
            name = f"_{name}"
        stem, suffix = os.path.splitext(name)
        suffix = suffix if len(os.fsencode(suffix)) < 20 else ""
        stem = _cut(stem if suffix else name)
        forms = chain([stem + suffix], (f"{stem} ({number}){suffix}" for number in count(2)))
        form = next(form for form in forms if _alike(form) not in self._taken)
        self._taken.add(_alike(form))
        return os.path.join(self.folder, form)


def _cut(name: str) -> str:
    """Shorten a name, but not within a character."""
    while len(os.fsencode(name)) > LONGEST_NAME:
        name = name[:-1]
    return name


def _alike(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
