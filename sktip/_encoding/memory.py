"""Image features stored in a file, for later calls and other processes."""

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from sktip._encoding.memory_file import cause, connect, drop_oldest
from sktip._utils.sqlite import transaction

#: Seed of the plain view, which is not random.
PLAIN = -1
#: Smallest allowed limit on the size of a file. An empty file takes a tenth of it.
MIN_BYTES = 1_000_000

#: Content hash of the image, seed of its random views, number of the view.
Key = tuple[bytes, int, int]


@dataclass(frozen=True)
class Space:
    """What a feature depends on besides the image. Only features of one space are comparable."""

    model: str
    weights: str
    preprocessing: str
    precision: str


@dataclass(frozen=True)
class FeatureMemory:
    """File of image features with a limit on its size, so that no image is encoded twice.

    Pass it to ``CLIPFeatureTransformer(memory=...)``. A plain path works too; this class adds the limit,
    ``len()`` to count the features and `clear` to delete them. The file is created when the first
    feature is stored.

    Read more in the :ref:`User Guide <guide_encoding_once>`.

    Parameters
    ----------
    path : str or path-like
        Path of the file, in an existing folder. While the file is in use, two more files belong to
        it, with ``-wal`` and ``-shm`` appended to its name.

    max_bytes : int, default=None
        Largest size of the file, at least 1,000,000 bytes. If it would grow larger, the oldest
        features are deleted. If None, there is no limit. A feature of 512 numbers takes 2.4 kB.

    Raises
    ------
    ValueError
        If `max_bytes` is too small. At any use, if the file was not written by sktip, or by a newer
        version.

    OSError
        In `clear` and ``len()``, if the file cannot be opened or is damaged.

    See Also
    --------
    CLIPFeatureTransformer : Has the parameter `memory`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, FeatureMemory
    >>> folder = tempfile.TemporaryDirectory()
    >>> memory = FeatureMemory(f"{folder.name}/features.sqlite", max_bytes=10_000_000)
    >>> images = np.random.default_rng(0).integers(256, size=(3, 32, 32, 3), dtype=np.uint8)
    >>> CLIPFeatureTransformer("tiny", memory=memory).transform(images).shape
    (3, 128)
    >>> len(memory)
    3
    >>> memory.clear()
    >>> len(memory)
    0
    >>> folder.cleanup()
    """

    path: str | os.PathLike
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.max_bytes, Integral | None):
            raise TypeError(
                f"max_bytes={self.max_bytes!r} is not an integer; pass a number of bytes."
            )
        if self.max_bytes is not None and self.max_bytes < MIN_BYTES:
            raise ValueError(
                f"max_bytes={self.max_bytes!r} is too small; a file of features needs at least {MIN_BYTES:,} "
                "bytes."
            )

    def __len__(self) -> int:
        """Count the features in the file."""
        with self._maintenance() as db:
            return db.execute("SELECT count(*) FROM features").fetchone()[0] if db else 0

    def __bool__(self) -> bool:
        """Be true even without features, although ``len()`` is 0 then."""
        return True

    def clear(self) -> None:
        """Delete all features, and free their disk space.

        The file itself stays. Other processes may be using it meanwhile.
        """
        with self._maintenance() as db:
            if db:
                db.execute("DELETE FROM features")
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _maintenance(self) -> Iterator[sqlite3.Connection | None]:
        path = os.path.abspath(self.path)
        if not os.path.lexists(path):
            yield None
            return
        try:
            with closing(connect(path)) as db:
                yield db
        except sqlite3.Error as error:
            raise OSError(f"the feature file {path!r}: {cause(error)}.") from error


class FeatureStore:
    """The features of one space, of `width` numbers each, open during one call.

    Storage failures are not raised. The first one is kept in `problem`. From then on nothing is
    written; features are still read if only writing failed.

    Several threads may use one store.
    """

    def __init__(self, memory: FeatureMemory, space: Space, width: int):
        self.problem: str | None = None
        self._memory, self._space, self._width = memory, space, width
        self._lock = threading.Lock()
        self._reads = self._writes = False
        self._space_id: int | None = None
        self._db: sqlite3.Connection | None = None
        # Absolute, since the working directory may change during the call.
        self._path = os.path.abspath(memory.path)
        try:
            self._db = connect(self._path)
            self._place = os.stat(self._path)
            self._space_id = self._find_space()
            self._reads = self._writes = True
        except (sqlite3.Error, OSError) as error:
            self._fail("opened", error)

    def get(self, keys: Iterable[Key]) -> dict[Key, NDArray[np.float32]]:
        """Features of the keys that are stored."""
        found: dict[Key, NDArray[np.float32]] = {}
        if not self._reads or self._space_id is None:
            return found
        try:
            for key in keys:
                feature = self._get(self._space_id, key)
                if feature is not None:
                    found[key] = feature
        except sqlite3.Error as error:
            self._reads = False
            self._fail("read", error)
        return found

    def put(self, features: Mapping[Key, NDArray]) -> None:
        """Write features in one transaction, except those with NaN or infinity."""
        known = {key: feature for key, feature in features.items() if np.isfinite(feature).all()}
        if not self._writes or not known:
            return
        try:
            with self._lock:
                with transaction(self._connection):
                    space = self._put(known)
                self._space_id = space
            self._check_place()
        except (sqlite3.Error, OSError) as error:
            self._fail("written to", error)

    def close(self) -> None:
        """Close the file, after a last check that it still exists."""
        if self._reads:
            try:
                self._check_place()
            except OSError as error:
                self._fail("written to", error)
        self._reads = self._writes = False
        if self._db is not None:
            # Closing copies the log into the file. If that fails, the next opening does.
            with self._lock, suppress(sqlite3.Error):
                self._db.close()

    def _check_place(self) -> None:
        """Raise an error if the path is another file now: SQLite goes on using a removed file."""
        with suppress(OSError):
            if os.path.samestat(os.stat(self._path), self._place):
                return
        raise FileNotFoundError("the file was removed, moved or replaced while it was in use")

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._db is not None  # noqa: S101, for mypy: only used after it is opened
        return self._db

    def _get(self, space: int, key: Key) -> NDArray[np.float32] | None:
        with self._lock:
            row = self._connection.execute(
                "SELECT feature, checksum FROM features "
                "WHERE space = ? AND image = ? AND seed = ? AND view = ?",
                (space, *key),
            ).fetchone()
        if row is None:
            return None
        blob, checksum = row
        # SQLite stores values of any type in any column.
        if not isinstance(blob, bytes) or len(blob) != 4 * self._width:
            raise sqlite3.DatabaseError(f"a feature is not {self._width} numbers of 32 bits")
        if checksum != _checksum(space, key, blob):
            raise sqlite3.DatabaseError("a feature does not match its checksum")
        feature = np.frombuffer(blob, "<f4")
        if not np.isfinite(feature).all():
            raise sqlite3.DatabaseError("a feature has a NaN or infinite number")
        return feature

    def _put(self, features: Mapping[Key, NDArray]) -> int:
        db, space = self._connection, self._space_id
        if space is None:
            db.execute(
                "INSERT OR IGNORE INTO spaces (model, weights, preprocessing, precision) "
                "VALUES (?, ?, ?, ?)",
                astuple(self._space),
            )
            space = self._find_space()
            assert space is not None  # noqa: S101, for mypy: it was just inserted
        blobs = {key: np.asarray(row, "<f4").tobytes() for key, row in features.items()}
        # If another process has stored a feature meanwhile, it is kept.
        db.executemany(
            "INSERT OR IGNORE INTO features (space, image, seed, view, feature, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [(space, *key, blob, _checksum(space, key, blob)) for key, blob in blobs.items()],
        )
        if self._memory.max_bytes is not None:
            drop_oldest(db, self._memory.max_bytes, max(map(len, blobs.values())))
        return space

    def _find_space(self) -> int | None:
        row = self._connection.execute(
            "SELECT id FROM spaces "
            "WHERE model = ? AND weights = ? AND preprocessing = ? AND precision = ?",
            astuple(self._space),
        ).fetchone()
        return None if row is None else row[0]

    def _fail(self, what: str, error: Exception) -> None:
        self._writes = False
        if self.problem is None:
            path = self._path
            self.problem = f"memory={path!r} could not be {what}: {cause(error)}"


def _checksum(space: int, key: Key, blob: bytes) -> int:
    """Checksum of a row. SQLite has none, and a damaged feature looks like any other."""
    image, seed, view = key
    return zlib.crc32(blob, zlib.crc32(f"{space} {image.hex()} {seed} {view}".encode()))
