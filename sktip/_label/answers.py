"""What a person has said about the photos, and the names of the classes, in two files."""

import csv
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from types import SimpleNamespace
from typing import Any

from sktip._utils.labels import LONGEST_LABEL, composed
from sktip._utils.output_files import write_file
from sktip.datasets._table import _absolute, _read

#: Answers that are no class.
NONE, UNSURE = ASIDE = ("none of these", "not sure")


class Answers:
    """The answers about photos, by their absolute paths; each is on disk before `give` returns.

    Labels are in ``labels.csv``, which `sktip.datasets.load_image_table` reads. The classes in their order,
    the former names of renamed ones, and the photos of none of them are in ``classes.json``. Both files
    are replaced as a whole, and read again when another process has changed them.
    """

    def __init__(self, folder: str, classes: Sequence[str] = ()):
        self.folder = folder
        self.labels: dict[str, str] = {}
        self.classes: list[str] = []
        self._renamed: dict[str, str] = {}
        self._seen: Any = ()
        self._lock = threading.RLock()
        self._relative = cache(lambda path: os.path.relpath(path, folder))
        self._table, self._others = (
            os.path.join(folder, name) for name in ("labels.csv", "classes.json")
        )
        with self._alone():
            names = [self._renamed.get(name, name) for name in map(_checked, classes)]
            self._write(self.labels, [*self.classes, *names], self._renamed)

    def now(self) -> tuple[dict[str, str], list[str]]:
        """Return the answers and the classes, which belong together."""
        with self._lock:
            return self.labels, self.classes

    def give(self, labels: Mapping[str, str | None]) -> dict[str, str | None]:
        """Store a class, NONE, UNSURE or no answer (None) for photos; return what undoes it."""
        with self._alone():
            new = {path: self._renamed.get(label or "", label) for path, label in labels.items()}
            unknown = set(new.values()) - {*self.classes, *ASIDE, None}
            if unknown:
                raise ValueError(f"{min(map(str, unknown))!r} is not a class.")
            before = {path: self.labels.get(path) for path in labels}
            merged = {k: v for k, v in {**self.labels, **new}.items() if v is not None}
            self._write(merged, self.classes, self._renamed)
            return before

    def add_class(self, name: str) -> str:
        """Add a class, and return its name as it is written."""
        name = _checked(name)
        with self._alone():
            self._write(self.labels, [*self.classes, name], self._renamed)
        return name

    def rename_class(self, old: str, name: str) -> None:
        """Give a class another name, in all its labels too."""
        name = _checked(name)
        with self._alone():
            old = self._renamed.get(old, old)
            if old not in self.classes:
                raise ValueError(f"{old!r} is not a class.")
            if name in self.classes:
                raise ValueError(f"{name!r} is a class already.")
            # Later runs of the command, and other windows, may still use a former name.
            renamed = {key: name if now == old else now for key, now in self._renamed.items()}
            renamed = {key: now for key, now in {**renamed, old: name}.items() if key != name}
            labels = {k: name if label == old else label for k, label in self.labels.items()}
            classes = [name if own == old else own for own in self.classes]
            self._write(labels, classes, renamed)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the answers against other threads and processes, with what these have written."""
        # SQLite's lock works everywhere, and ends with the process that holds it.
        lock = os.path.join(self.folder, ".lock")
        with self._lock, closing(sqlite3.connect(lock, timeout=60, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            if self._stamps() != self._seen:
                self._reread()
            yield

    def _stamps(self) -> list[Any]:
        stats = [os.stat(p) if os.path.exists(p) else None for p in (self._table, self._others)]
        return [s and (s.st_ino, s.st_mtime_ns, s.st_size) for s in stats]

    def _reread(self) -> None:
        others: dict[str, Any] = {"classes": [], "renamed": {}, "photos": {}}
        if os.path.exists(self._others):
            with open(self._others, encoding="utf-8") as file:
                others |= json.load(file)
        labels = {_absolute(self.folder, path): label for path, label in others["photos"].items()}
        if os.path.exists(self._table):
            rows = _read(self._table, "path", "label")
            labels |= {_absolute(self.folder, path): label for _, path, label in rows}
        # A class that was added to the table by hand is a class too.
        found = [label for label in labels.values() if label not in ASIDE]
        self.classes = list(dict.fromkeys([*others["classes"], *found]))
        self.labels, self._renamed = labels, others["renamed"]
        self._seen = self._stamps()

    def _write(
        self, labels: dict[str, str], classes: Sequence[str], renamed: dict[str, str]
    ) -> None:
        aside, rows = {}, []
        for path, label in labels.items():
            if label in ASIDE:
                aside[self._relative(path)] = label
            else:
                rows.append((self._relative(path), label))
        classes = list(dict.fromkeys(classes))
        others = {"classes": classes, "renamed": renamed, "photos": aside}
        text = json.dumps(others, ensure_ascii=False, indent=1).encode()
        write_file(self._others, [text], overwrite=True)
        if rows:
            writer: Any = csv.writer(SimpleNamespace(write=str.encode), lineterminator="\n")
            lines = [writer.writerow(row) for row in [("path", "label"), *rows]]
            write_file(self._table, lines, overwrite=True)
        else:  # A table without rows cannot be read.
            with suppress(FileNotFoundError):
                os.remove(self._table)
        # Never changed, but replaced: other threads may be reading them.
        self.labels, self.classes, self._renamed = labels, classes, renamed
        self._seen = self._stamps()


def _checked(name: str) -> str:
    """Return the name of a class as it is written in the files."""
    name = composed(" ".join(name.split()))
    if not 0 < len(name) <= LONGEST_LABEL or name in ("unknown", *ASIDE):
        raise ValueError(
            f"{name[:100]!r} cannot be the name of a class; pass up to {LONGEST_LABEL:,} characters that are not "
            f"'unknown', {NONE!r} or {UNSURE!r}."
        )
    return name
