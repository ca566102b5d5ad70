"""The SQLite file of image features: layout, checks, opening, and limiting its size."""

import os
import sqlite3
import stat
import time
from contextlib import suppress

from sktip._utils.sqlite import code_of, open_sqlite, transaction

#: Fields in the header of the file: "skti", and the version of the layout below.
APPLICATION_ID = int.from_bytes(b"skti", "big")
FORMAT = 1
#: Seconds to wait for a process that holds the file's lock; a transaction takes milliseconds.
LOCK_TIMEOUT = 10.0
#: In bytes. Whole features of 512 and of 1,024 numbers fit into a page with little waste.
PAGE_SIZE = 16_384
#: Size of the write-ahead log, in bytes, at which it is copied into the file.
LOG_SIZE = 4 * 2**20

LAYOUT = """
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    weights TEXT NOT NULL,
    preprocessing TEXT NOT NULL,
    precision TEXT NOT NULL,
    UNIQUE (model, weights, preprocessing, precision)
);
CREATE TABLE features (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES spaces (id),
    image BLOB NOT NULL,
    seed INTEGER NOT NULL,
    view INTEGER NOT NULL,
    feature BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (space, image, seed, view)
);
"""


def drop_oldest(db: sqlite3.Connection, max_bytes: int, n_bytes: int) -> None:
    """Delete the oldest features until the file is within its limit."""

    def pages(pragma: str) -> int:
        return db.execute(f"PRAGMA {pragma}").fetchone()[0]

    size = pages("page_size")
    while (over := (pages("page_count") - pages("freelist_count")) * size - max_bytes) > 0:
        oldest = "SELECT id FROM features ORDER BY id LIMIT ?"
        n_rows = 1 + over // n_bytes
        delete = f"DELETE FROM features WHERE id IN ({oldest})"  # noqa: S608, no input in it
        if not db.execute(delete, [n_rows]).rowcount:
            break
    # Free pages are used again; only those beyond the limit are returned to the disk. One page per
    # statement, since sqlite3 runs only the first step of a statement without columns.
    for _ in range(pages("page_count") - max_bytes // size):
        db.execute("PRAGMA incremental_vacuum(1)")


def connect(path: str | os.PathLike) -> sqlite3.Connection:
    """Open a file of features, and create it if it does not exist; refuse files of other kinds."""
    name = os.fspath(path)
    if not os.path.isdir(os.path.dirname(name) or "."):
        raise FileNotFoundError(f"there is no folder {os.path.dirname(name)!r}")
    if os.path.islink(name) and not (os.path.exists(name) and os.path.getsize(name)):
        raise ValueError(
            f"memory={name!r} is a link to {os.path.realpath(name)!r}, which is not a file of features of sktip. "
            "Pass the path of the file itself; it is created if it does not exist."
        )
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise ValueError(
                f"memory={name!r} is not a regular file; pass the path of a new file or of a file of features."
            )
    try:
        return _open(name, "mode=rwc")
    except sqlite3.OperationalError as error:
        # On a read-only disk, SQLite cannot create the files that processes share.
        if code_of(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        with suppress(sqlite3.OperationalError):
            return _open(name, "mode=ro&immutable=1")
        raise


def _open(name: str, mode: str) -> sqlite3.Connection:
    db = open_sqlite(name, LOCK_TIMEOUT, mode)
    try:
        if _is_empty(db, name):
            _create(db)
        # With this a killed process loses nothing; a power cut may lose the last transactions.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_SIZE // PAGE_SIZE}")
    except BaseException:
        db.close()
        raise
    return db


def _is_empty(db: sqlite3.Connection, name: str) -> bool:
    """Whether the file has no tables yet; raise an error if it is not a file of sktip."""
    foreign = (
        f"memory={name!r} is not a file of features of sktip, or its first bytes are damaged. It was not "
        "changed; pass another path, or move the file."
    )
    try:
        # In one transaction, so that no other process creates the tables between two statements.
        db.execute("BEGIN")
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application == 0:
            empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        else:
            empty = False
        db.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        damaged = code_of(error) == sqlite3.SQLITE_CORRUPT
        if code_of(error) == sqlite3.SQLITE_NOTADB or (damaged and not _has_our_header(name)):
            raise ValueError(foreign) from None
        raise
    if empty:
        return True
    if application != APPLICATION_ID:
        raise ValueError(foreign)
    if version != FORMAT:
        raise ValueError(
            f"memory={name!r} has format {version}, but this version of sktip reads format {FORMAT}. "
            "Upgrade sktip, or pass another path."
        )
    return False


def _has_our_header(name: str) -> bool:
    """Read the header without SQLite. Only for damaged files: closing a file ends all its locks."""
    with open(name, "rb") as file:
        return file.read(72)[68:] == APPLICATION_ID.to_bytes(4)


def _create(db: sqlite3.Connection) -> None:
    """Create the tables of an empty file, once even if several processes try at the same time."""
    db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    # SQLite does not wait for a lock here.
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    with transaction(db):
        if db.execute("PRAGMA application_id").fetchone()[0] == 0:
            for statement in LAYOUT.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT}")
    # Copy the fields from the log into the header, so that a damaged file is still recognised.
    db.execute("PRAGMA wal_checkpoint")


def cause(error: Exception) -> str:
    """Describe what went wrong and, if it is clear, what to do."""
    if not isinstance(error, sqlite3.Error):
        return str(error)
    code = code_of(error)
    name = getattr(error, "sqlite_errorname", None)
    text = f"{error} ({name})" if name else str(error)
    if code == sqlite3.SQLITE_BUSY:
        return f"{text}; waited for {LOCK_TIMEOUT:g} s"
    if code in (sqlite3.SQLITE_CORRUPT, 0):
        return f"{text}; the file is damaged: remove it, and a new one is created"
    return text
