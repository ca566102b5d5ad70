"""Files that the page writes into the folder of answers: never through a link, and never over those of others."""

import csv
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from types import SimpleNamespace
from typing import Any

from sktip._label.store import ASIDE, UNSURE, Store

#: Number of contents of a file by which it is recognised as one of the page. The last one may not be on disk yet.
RECOGNISED = 4


def csv_lines(rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """Lines of a CSV file in UTF-8, from which every name of a file can be read again."""
    # With this end of a line, the writer puts quotes around "\r" too. Names that are no text keep their bytes.
    encode = SimpleNamespace(
        write=lambda line: line[:-2].encode("utf-8", "surrogateescape") + b"\n"
    )
    writer: Any = csv.writer(encode, lineterminator="\r\n")
    return map(writer.writerow, rows)


def is_own(store: Store, name: str) -> bool:
    """Whether a file in the folder of answers is as the page has written it, or is not there."""
    path = os.path.join(store.folder, name)
    if not os.path.lexists(path):
        return True
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return found in store.setting("written", {}).get(name, [])


def write_own(store: Store, name: str, content: bytes) -> str:
    """Write a file in the folder of answers as a whole, and return its path.

    FileExistsError if there is one that the page has not written, or that was changed since.
    """
    path = os.path.join(store.folder, name)
    if not is_own(store, name):
        raise FileExistsError(
            f"{path} was not written by `sktip label`, or was changed since; it stays as it is. Rename it or move it."
        )
    # Known before it is there, so that it is recognised after a kill.
    written = store.setting("written", {})
    digests = [hashlib.sha256(content).hexdigest(), *written.get(name, [])]
    store.set("written", written | {name: list(dict.fromkeys(digests))[:RECOGNISED]})
    beside = os.path.join(store.folder, f".{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        error.filename = path  # Not the hidden file.
        raise
    finally:
        with suppress(FileNotFoundError):
            os.remove(beside)
    return path


def write_next(store: Store, name: str, content: bytes) -> str:
    """Write a file as `write_own`, under a name with a number if that is somebody else's."""
    stem, suffix = os.path.splitext(name)
    names = (name if number == 1 else f"{stem}-{number}{suffix}" for number in count(1))
    return write_own(store, next(own for own in names if is_own(store, own)), content)


@contextmanager
def secret_file(folder: str, suffix: str, content: str) -> Iterator[str]:
    """Write a file that only its owner can read, and remove it at the end; yield its path."""
    # Created exclusively, with mode 600 from the beginning.
    number, path = tempfile.mkstemp(dir=folder, prefix=".open-", suffix=suffix)
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(content)
        yield path
    finally:
        with suppress(FileNotFoundError):
            os.remove(path)


def write_labels(store: Store) -> str:
    """Write ``labels.csv``: what `sktip.datasets.load_image_table` reads, or a column for each tag."""
    while True:
        store.refresh()
        version, classes = store.version, store.classes
        rows = [["path", *(classes if store.tags else ["label"])]]
        for path, answer in sorted(store.answers.items(), key=lambda item: item[1].number):
            relative = store.relative(path)
            if store.tags and answer.labels != (UNSURE,):
                rows.append([relative, *(str(int(name in answer.labels)) for name in classes)])
            elif answer.labels[0] not in ASIDE:
                rows.append([relative, answer.labels[0]])
        path = write_own(store, "labels.csv", b"".join(csv_lines(rows)))
        store.refresh()
        # Another process may have stored more, and written it before this one.
        if store.version == version:
            return path
