"""Files of SQLite: how they are opened and written."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_sqlite(
    path: str | os.PathLike[str], timeout: float, mode: str = "mode=rwc"
) -> sqlite3.Connection:
    """Open a file; one that is missing is made. Each statement is a transaction, unless in `transaction`.

    `timeout` is in seconds: how long to wait for a process that holds the lock of the file.
    """
    # A URI, since ":memory:" and "" as plain names would not be files.
    return sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?{mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing. It takes the lock first, since upgrading a read lock can fail."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back already after some errors, such as a full disk.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def code_of(error: sqlite3.Error) -> int:
    """Primary result code of SQLite, without the bits of the extended code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
