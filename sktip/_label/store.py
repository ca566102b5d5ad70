"""What a person has said about the photos, in one SQLite file.

    store = Store(folder)                     # folder/answers.sqlite; made if it is missing
    store.add_class("fox")
    store.answers[path]                       # Answer(labels=("fox",), bulk=False, number=3)
    change = store.give({path: ["fox"]})      # on disk when it returns
    store.undo(change)                        # what has not been changed since

Classes have numbers, and answers refer to these, so that a class with another name is one changed row. Each
method that changes something is one transaction: after a kill, a full disk or a power cut it has happened as a
whole or not at all. Several processes may use one folder.
"""

import json
import os
import sqlite3
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sktip._utils.messages import LONGEST_LABEL, composed
from sktip._utils.sqlite import code_of, open_sqlite, transaction

#: Answers that are no class.
NONE, UNSURE = ASIDE = ("none of these", "not sure")
#: Their numbers among the classes, whose own numbers begin at 1.
ASIDE_NUMBERS = {0: NONE, -1: UNSURE}
#: Seconds to wait for a process that holds the lock; a transaction takes milliseconds.
LOCK_TIMEOUT = 1.0
#: Field in the header of the file, "skta"; and the version of the layout below.
APPLICATION_ID = int.from_bytes(b"skta", "big")
FORMAT = 1
LAYOUT = [
    "CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, place INTEGER NOT NULL, since INTEGER NOT NULL)",
    # Of all names that a class has had; no class for those of removed ones.
    "CREATE TABLE names (key TEXT PRIMARY KEY, class INTEGER) WITHOUT ROWID",
    "CREATE TABLE answers (photo BLOB NOT NULL, class INTEGER NOT NULL, bulk INTEGER NOT NULL, "
    "number INTEGER NOT NULL, PRIMARY KEY (photo, class)) WITHOUT ROWID",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
]


class Answer(NamedTuple):
    """The answer about one photo."""

    #: A class, `NONE` or `UNSURE`; with several tags all that hold, in the order of the tags.
    labels: tuple[str, ...]
    #: Whether it was given to several photos at once.
    bulk: bool
    #: Position in the order of all answers.
    number: int


class _Given(NamedTuple):
    """An answer in the file, by the numbers of its classes."""

    classes: tuple[int, ...]
    bulk: bool
    number: int


class _Class(NamedTuple):
    """A class in the file. `since` is the number of the next answer when the class was added."""

    name: str
    place: int
    since: int


#: By the key of a row, the row before and after; None for one that is not there.
Rows = dict[Any, tuple[Any, Any]]


@dataclass(frozen=True)
class Change:
    """What one action has changed: answers by path, classes by number, and the class that each name means."""

    answers: Rows = field(default_factory=dict)
    classes: Rows = field(default_factory=dict)
    names: Rows = field(default_factory=dict)


class Store:
    """Answers about photos, by their absolute paths, and the classes in their order.

    Parameters
    ----------
    folder : str
        Existing folder for ``answers.sqlite``. Paths are stored relative to it, so that it can be moved
        together with the photos.

    tags : bool, default=None
        Whether a photo has several labels. It is stored; None means what the file says, and one label in a
        new file.

    Raises
    ------
    OSError
        If the file cannot be read or written, or another process holds its lock. Nothing was stored then.
        The same holds for all methods.

    ValueError
        If the file is not of sktip, is damaged, or has the other kind of labels.
    """

    def __init__(self, folder: str, *, tags: bool | None = None):
        self.folder = folder
        self.path = os.path.join(folder, "answers.sqlite")
        self._lock = threading.RLock()
        self._relative: dict[str, str] = {}
        self._answers: dict[str, _Given] = {}
        self._classes: dict[int, _Class] = {}
        self._names: dict[str, int | None] = {}
        self._settings: dict[str, Any] = {}
        # Names by the numbers of the classes, in their order; and when the newest class was added.
        self._shown, self._newest = dict(ASIDE_NUMBERS), 0
        #: Grows with every change, also of other processes.
        self.version = 0
        self._seen = -1
        #: Whether this object has made the file.
        self.is_new = not (os.path.exists(self.path) and os.path.getsize(self.path))
        self._db = self._opened()
        try:
            with self._alone():
                if tags is not None and self._settings.get("tags", tags) != tags:
                    given, other = ("--tags", "one") if tags else ("one class per photo", "several")
                    raise ValueError(
                        f"{self.path} has {other} label{'s' * (not tags)} per photo, and you asked for "
                        f"{given}. Pass another folder as --output."
                    )
                self._set("tags", self._settings.get("tags", bool(tags)))
        except BaseException:
            self.close()
            raise

    # What is known

    @property
    def tags(self) -> bool:
        """Whether a photo has several labels."""
        return bool(self._settings["tags"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in their order."""
        return [name for number, name in self._shown.items() if number > 0]

    @property
    def answers(self) -> dict[str, Answer]:
        """A copy of all answers, by the absolute paths of the photos."""
        with self._lock:
            return {path: self._answer(given) for path, given in self._answers.items()}

    def answer_of(self, path: str) -> Answer | None:
        """Answer about one photo."""
        with self._lock:
            given = self._answers.get(path)
            return None if given is None else self._answer(given)

    @property
    def n_answers(self) -> int:
        """Number of photos with an answer, also those that are gone."""
        return len(self._answers)

    def is_open(self, path: str) -> bool:
        """Whether a photo waits for an answer: it has none, or one of before the newest class."""
        given = self._answers.get(path)
        return given is None or self._is_outdated(given)

    def outdated(self) -> list[str]:
        """Photos that are none of the classes, by an answer that did not know all classes."""
        with self._lock:
            return [path for path, given in self._answers.items() if self._is_outdated(given)]

    def _is_outdated(self, given: _Given) -> bool:
        return given.classes == (0,) and given.number < self._newest

    def relative(self, path: str) -> str:
        """Return a path from the folder of the file; the whole path on another drive."""
        if path not in self._relative:
            with suppress(ValueError):
                self._relative[path] = os.path.relpath(path, self.folder)
        return self._relative.get(path, path)

    def setting(self, name: str, default: Any = None) -> Any:
        """Return what was stored under a name."""
        return self._settings.get(name, default)

    def refresh(self) -> None:
        """See what other processes have written; keep what is known while one of them is writing."""
        with self._lock, suppress(sqlite3.Error):
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                self._reread()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {1000 * LOCK_TIMEOUT:.0f}")

    # What changes something

    def give(
        self,
        labels: Mapping[str, Iterable[str] | None],
        *,
        bulk: bool = False,
        add_classes: Iterable[str] = (),
    ) -> Change:
        """Store the labels of photos, or no answer (None); return what undoes it."""
        with self._alone():
            added = [self.add_class(name) for name in add_classes]
            number = self._next_number()
            after = {
                path: None
                if own is None
                else _Given(tuple(sorted(map(self._number_of, own))), bulk, number)
                for path, own in labels.items()
            }
            for given in filter(None, after.values()):
                if not given.classes or (
                    len(given.classes) > 1 and not self._may_be_several(given)
                ):
                    raise ValueError("give each photo one label, or several tags.")
            change = self._apply(self._change(answers=after))
            classes = {number: rows for own in added for number, rows in own.classes.items()}
            names = {key: rows for own in added for key, rows in own.names.items()}
            return Change(change.answers, classes, names)

    def add_class(self, name: str) -> Change:
        """Add a class; nothing happens if it is there already, in small letters or capitals."""
        name = checked_name(name, tags=self.tags)
        with self._alone():
            if self._is_name_of(name, self._names.get(key_of(name))):
                return Change()
            number = self._settings.get("classes so far", 0) + 1
            self._set("classes so far", number)
            places = [row.place for row in self._classes.values()]
            row = _Class(name, max(places, default=-1) + 1, self._next_number())
            return self._apply(self._change(classes={number: row}, names={key_of(name): number}))

    def rename_class(self, old: str, name: str) -> Change:
        """Give a class another name. Its former one still means this class."""
        name = checked_name(name, tags=self.tags)
        with self._alone():
            number = self._number_of(old, aside=False)
            other = self._names.get(key_of(name))
            if other is not None and other != number and self._is_name_of(name, other):
                raise ValueError(
                    f"{self._classes[other].name!r} is a class already; merge the two instead."
                )
            row = self._classes[number]._replace(name=name)
            return self._apply(self._change(classes={number: row}, names={key_of(name): number}))

    def remove_class(self, name: str) -> Change:
        """Remove a class and its labels: its photos have no answer then."""
        with self._alone():
            return self._apply(self._without(self._number_of(name, aside=False), None))

    def merge_classes(self, name: str, into: str) -> Change:
        """Give all photos of a class another one, and remove it. Its name then means the other one."""
        with self._alone():
            numbers = [self._number_of(each, aside=False) for each in (name, into)]
            if numbers[0] == numbers[1]:
                raise ValueError(f"{name!r} and {into!r} are one class already.")
            return self._apply(self._without(*numbers))

    def order_classes(self, names: Sequence[str]) -> Change:
        """Put the classes into this order; those that are not named come last."""
        with self._alone():
            first = [self._number_of(name, aside=False) for name in names]
            rest = [number for number in self._shown if number > 0]
            rows = {
                number: self._classes[number]._replace(place=place)
                for place, number in enumerate(dict.fromkeys([*first, *rest]))
            }
            return self._apply(self._change(classes=rows))

    def undo(self, change: Change) -> list[str]:
        """Take a change back where nothing has been changed since; return the photos concerned.

        What another page has changed since stays.
        """
        with self._alone():
            classes = {
                number: before
                for number, (before, after) in change.classes.items()
                if self._classes.get(number) == after
            }
            answers = {
                path: before
                for path, (before, after) in change.answers.items()
                if self._answers.get(path) == after
            }
            there = {*self._classes, *classes, *ASIDE_NUMBERS} - {
                number for number, row in classes.items() if row is None
            }
            kept = {k: given for k, given in self._answers.items() if k not in answers}
            used = {number for given in kept.values() for number in given.classes}
            if used - there:
                raise ValueError("photos have been labelled as this class since; it stays.")
            answers = {
                path: before
                for path, before in answers.items()
                if before is None or there.issuperset(before.classes)
            }
            names = {
                key: before
                for key, (before, after) in change.names.items()
                if self._names.get(key) == after and (before is None or before in there)
            }
            self._apply(self._change(answers=answers, classes=classes, names=names))
            return list(answers)

    def open_classes(self, names: Iterable[str]) -> None:
        """Add the classes of a command line, but those that a person has renamed or removed."""
        with self._alone():
            for name in names:
                if key_of(checked_name(name, tags=self.tags)) not in self._names:
                    self.add_class(name)

    def set(self, name: str, value: Any) -> None:
        """Store something that JSON can hold under a name."""
        with self._alone():
            self._set(name, value)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._db.close()

    def discard(self) -> None:
        """Remove a file that this object has made and that has no answers."""
        self.close()
        if self.is_new and not self._answers:
            os.remove(self.path)

    # How it is stored

    def _opened(self) -> sqlite3.Connection:
        refuse_links(self.path)
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise ValueError(f"{self.path} is not a file; pass another folder as --output.")
        try:
            self._check_header()
            db = open_sqlite(self.path, LOCK_TIMEOUT)
            try:
                db.execute("PRAGMA trusted_schema = OFF")
                db.execute("PRAGMA synchronous = FULL")
                with transaction(db):
                    tables = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master") if sql]
                    if not tables:
                        for statement in LAYOUT:
                            db.execute(statement)
                        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                        db.execute(f"PRAGMA user_version = {FORMAT}")
                    elif sorted(tables) != sorted(LAYOUT):
                        raise ValueError(self._foreign)
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            raise self._explained(error) from error
        return db

    @property
    def _foreign(self) -> str:
        return (
            f"{self.path} is not a file of answers of this version of sktip. It was not changed; move it, or pass "
            "another folder as --output."
        )

    def _check_header(self) -> None:
        """Refuse the file of another program before SQLite opens it."""
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            header = file.read(72)
            version = int.from_bytes(header[60:64])
            if header and (
                header[68:] != APPLICATION_ID.to_bytes(4)
                or not header.startswith(b"SQLite format 3\0")
                or version != FORMAT
            ):
                raise ValueError(self._foreign)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file against other threads and processes, with what these have written."""
        with self._lock:
            if self._db.in_transaction:  # A method that is part of another one.
                yield
                return
            self._pending = Change()
            stored = dict(self._settings)
            try:
                with transaction(self._db):
                    self._reread()
                    stored = dict(self._settings)
                    yield
            except BaseException as error:
                # What is in memory is what is on disk.
                self._remember(_reversed(self._pending))
                self._settings = stored
                if isinstance(error, sqlite3.Error):
                    raise self._explained(error) from error
                raise

    def _reread(self) -> None:
        """Read everything again if another process has changed something."""
        (seen,) = self._db.execute("PRAGMA data_version").fetchone()
        if seen == self._seen:
            return
        rows = self._db.execute("SELECT id, name, place, since FROM classes")
        classes = {number: _Class(*row) for number, *row in rows}
        names = dict(self._db.execute("SELECT key, class FROM names"))
        settings = {
            name: json.loads(value)
            for name, value in self._db.execute("SELECT name, value FROM settings")
        }
        answers: dict[str, _Given] = {}
        listed = self._db.execute("SELECT photo, class, bulk, number FROM answers")
        for photo, number, bulk, order in listed:
            path = os.path.normpath(os.path.join(self.folder, os.fsdecode(photo)))
            before = answers[path].classes if path in answers else ()
            answers[path] = _Given(tuple(sorted((*before, number))), bool(bulk), order)
        self._classes, self._names, self._settings, self._answers = (
            classes,
            names,
            settings,
            answers,
        )
        self._seen = seen
        self._show_classes()
        self.version += 1

    def _show_classes(self) -> None:
        rows = sorted(self._classes.items(), key=lambda item: item[1].place)
        self._shown = {number: row.name for number, row in rows} | ASIDE_NUMBERS
        self._newest = max((row.since for row in self._classes.values()), default=0)

    def _change(
        self,
        answers: Mapping[str, _Given | None] | None = None,
        classes: Mapping[int, _Class | None] | None = None,
        names: Mapping[str, int | None] | None = None,
    ) -> Change:
        """Return what it means to set these rows."""
        return Change(
            {path: (self._answers.get(path), after) for path, after in (answers or {}).items()},
            {number: (self._classes.get(number), row) for number, row in (classes or {}).items()},
            {key: (self._names.get(key), number) for key, number in (names or {}).items()},
        )

    def _apply(self, change: Change) -> Change:
        """Write the rows of a change."""
        run = self._db.execute
        for number, (_, row) in change.classes.items():
            run("DELETE FROM classes WHERE id = ?", [number])
            if row is not None:
                run("INSERT INTO classes VALUES (?, ?, ?, ?)", [number, *row])
        for key, (_, meant) in change.names.items():
            run("INSERT OR REPLACE INTO names VALUES (?, ?)", [key, meant])
        for path, (_, given) in change.answers.items():
            photo = os.fsencode(self.relative(path))
            run("DELETE FROM answers WHERE photo = ?", [photo])
            for number in () if given is None else given.classes:
                run(
                    "INSERT INTO answers VALUES (?, ?, ?, ?)",
                    [photo, number, given.bulk, given.number],
                )
        self._remember(change)
        # The first state of each row is the one before the transaction.
        for name in ("answers", "classes", "names"):
            before = getattr(self._pending, name)
            for key, (old, new) in getattr(change, name).items():
                before[key] = (before[key][0] if key in before else old, new)
        return change

    def _remember(self, change: Change) -> None:
        """Keep in memory what is on disk."""
        tables: list[tuple[dict[Any, Any], Rows]] = [
            (self._answers, change.answers),
            (self._classes, change.classes),
        ]
        for known, rows in tables:
            for key, (_, after) in rows.items():
                if after is None:
                    known.pop(key, None)
                else:
                    known[key] = after
        # A name without class is that of a removed one.
        self._names |= {key: after for key, (_, after) in change.names.items()}
        if change.classes:
            self._show_classes()
        if change != Change():
            self.version += 1

    def _set(self, name: str, value: Any) -> None:
        if self._settings.get(name) != value:
            row = [name, json.dumps(value)]
            self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", row)
            self._settings[name] = value

    def _without(self, number: int, other: int | None) -> Change:
        """Return the change that removes a class; its labels become another one, or none."""
        answers: dict[str, _Given | None] = {}
        for path, given in self._answers.items():
            if number in given.classes:
                rest = {*given.classes, *([] if other is None else [other])} - {number}
                answers[path] = given._replace(classes=tuple(sorted(rest))) if rest else None
        names = {key: other for key, own in self._names.items() if own == number}
        return self._change(answers, {number: None}, names)

    def _answer(self, given: _Given) -> Answer:
        numbers = given.classes
        if len(numbers) > 1:
            numbers = tuple(number for number in self._shown if number in numbers)
        return Answer(tuple(self._shown[number] for number in numbers), given.bulk, given.number)

    def _number_of(self, name: str, *, aside: bool = True) -> int:
        """Return the number of a class, also by a former name."""
        if aside and name in ASIDE:
            return -ASIDE.index(name)
        number = self._names.get(key_of(name))
        if number is None:
            raise ValueError(f"{name!r} is not a class.")
        return number

    def _is_name_of(self, name: str, number: int | None) -> bool:
        """Whether a class has this name now."""
        return number is not None and key_of(self._classes[number].name) == key_of(name)

    def _may_be_several(self, given: _Given) -> bool:
        return self.tags and min(given.classes) > 0 and len({*given.classes}) == len(given.classes)

    def _next_number(self) -> int:
        last = self._settings.get("answers so far", 0) + 1
        self._set("answers so far", last)
        return last

    def _explained(self, error: sqlite3.Error) -> Exception:
        """Return the error that a person can understand."""
        code = code_of(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            reason = "another program holds the file; try again"
        elif code == sqlite3.SQLITE_FULL:
            reason = "the disk is full; make room, and try again"
        elif code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return ValueError(
                f"{self.path} is damaged ({error}). Move it; labels.csv beside it has the labels, and "
                "`--merge` reads them."
            )
        elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            reason = f"the file cannot be written ({error}); check the folder"
        else:
            reason = str(error)
        return OSError(f"nothing was stored in {self.path}: {reason}.")


def refuse_links(path: str) -> None:
    """Refuse a file of SQLite that would be written through a link, or whose side files would."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        if os.path.islink(path + suffix):
            raise ValueError(
                f"{path}{suffix} is a link, and `sktip label` does not write through links. Remove it, or pass another "
                "folder as --output."
            )


def key_of(name: str) -> str:
    """Return what is equal for names that are one class: "bird" and "BIRD"."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()


def checked_name(name: str, *, tags: bool = False) -> str:
    """Return the name of a class as it is written in files, or raise a ValueError."""
    name = composed(" ".join(name.split()))
    # Columns of tables, and what `RejectUnknown` predicts.
    taken = {"unknown", *ASIDE, *(("path", "error") if tags else ())}
    odd = any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    if not 0 < len(name) <= LONGEST_LABEL or odd or key_of(name) in taken:
        raise ValueError(
            f"{name[:100]!r} cannot be the name of a class; pass up to {LONGEST_LABEL:,} printable characters that are "
            f"not {', '.join(map(repr, sorted(taken)))}."
        )
    return name


def _reversed(change: Change) -> Change:
    return Change(
        *(
            {key: (after, before) for key, (before, after) in rows.items()}
            for rows in (change.answers, change.classes, change.names)
        )
    )
