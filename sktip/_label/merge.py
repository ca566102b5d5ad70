"""Answers from another machine: the rows of its ``labels.csv``."""

import os
import re
from typing import NamedTuple

from sktip._label.files import csv_lines, write_next
from sktip._label.labelling import Session
from sktip._label.store import NONE, Change, checked_name, key_of
from sktip.datasets._table import absolute, read_cells, read_rows


class Merged(NamedTuple):
    """What became of the rows of a table."""

    #: Undoes it.
    change: Change
    #: Number of photos that got the label of the table, and of those that had it already.
    n_new: int
    n_same: int
    #: Path, own label and that of the table, for photos whose own answer stays.
    conflicts: tuple[tuple[str, str, str], ...]
    #: Paths in the table that are none of the photos.
    missing: tuple[str, ...]


def merge_table(session: Session, file: str) -> Merged:
    """Add the labels of a table to photos without an answer; where both have one, the own one stays.

    The table has the columns path and label or, with several tags, path and a column of 0 and 1 for each tag. A
    photo is found by its path from the folder of the table, or by its path in the folder of photos.
    """
    file = os.path.abspath(os.path.expanduser(file))
    spelled = {key_of(name): name for name in session.classes}
    found: dict[int, tuple[str, ...]] = {}
    missing = []
    find = _Finder(session)
    for path, labels in _read_tags(file) if session.tags else _read_labels(file):
        own = tuple(
            spelled.setdefault(key_of(name), checked_name(name, tags=session.tags))
            for name in labels
        )
        row = find(os.path.dirname(file), path)
        if row is None:
            missing.append(path)
        elif found.setdefault(row, own) != own:
            raise ValueError(f"{file} has two rows for {path}; keep one of them.")
    answers = {row: session.answer_of(row) for row in found}
    new = {row: labels or (NONE,) for row, labels in found.items() if answers[row] is None}
    conflicts, n_same = [], 0
    for row, answer in answers.items():
        if answer is not None:
            theirs = set(found[row]) or {NONE}
            n_same += set(answer.labels) == theirs
            if set(answer.labels) != theirs:
                names = (", ".join(answer.labels), ", ".join(sorted(theirs)))
                conflicts.append((session.paths[row], *names))
    used = {name for labels in new.values() for name in labels} - {NONE}
    # As answers in bulk, since this model has not chosen these photos.
    change = session.give(new, bulk=True, add_classes=sorted(used)) if new else Change()
    session.changed()
    return Merged(change, len(new), n_same, tuple(conflicts), tuple(missing))


def write_conflicts(session: Session, merged: Merged) -> str:
    """Write the conflicts as a table, and return its path."""
    rows = [("path", "label", "other label"), *merged.conflicts]
    return write_next(session.store, "conflicts.csv", b"".join(csv_lines(rows)))


def _read_labels(file: str) -> list[tuple[str, list[str]]]:
    return [(path, [label]) for _, path, label in read_rows(file, "path", "label")]


def _read_tags(file: str) -> list[tuple[str, list[str]]]:
    names, lines = read_cells(file, path_column="path")
    tags = [name for name in names if name != "path"]
    if len(set(tags)) < len(tags):
        raise ValueError(f"{file} has two columns of one tag; keep one of them.")
    rows = []
    for line, cells in lines:
        values = dict(zip(names, cells, strict=True))
        path = values.pop("path")
        odd = next((value for value in values.values() if value.strip() not in ("0", "1")), None)
        if odd is not None:
            raise ValueError(f"{file}, line {line}: a tag is 0 or 1, not {odd[:100]!r}.")
        rows.append((path, [name for name, value in values.items() if value.strip() == "1"]))
    return rows


class _Finder:
    """Finds the photo that a path in a table means."""

    def __init__(self, session: Session):
        root = os.path.basename(session.root.rstrip(os.sep))
        self._rows = {path: row for row, path in enumerate(session.paths)}
        self._inside = {tuple(session.name(row).split(os.sep)): row for row in self._rows.values()}
        self._rooted = {(root, *parts): row for parts, row in self._inside.items()}

    def __call__(self, folder: str, path: str) -> int | None:
        """Return the row of a path that is relative to a folder; None if there is none."""
        row = self._rows.get(os.path.normpath(os.path.join(folder, path)))
        if row is None:
            row = self._rows.get(absolute(folder, path))
        if row is not None:
            return row
        # From another machine: the same path in the folder of photos.
        for form in (path.split("/"), re.split(r"[/\\]", path)):
            parts = tuple(part for part in form if part not in ("", ".", ".."))
            ends = (self._rooted.get(parts[i:]) for i in range(len(parts)))
            row = next((end for end in ends if end is not None), self._inside.get(parts))
            if row is not None:
                return row
        return None
