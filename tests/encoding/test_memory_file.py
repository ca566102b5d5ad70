"""The file of features: shared by processes, limited in size, and broken in every way."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from memory_runs import context, encode, encoded, file_hash, make_images, read_rows

from sktip import CLIPFeatureTransformer, FeatureMemory, TipAdapterClassifier
from sktip._encoding import memory_file
from sktip._encoding.memory import PLAIN, FeatureStore, Space, _checksum
from sktip._encoding.session import open_encoder
from sktip.exceptions import ImageReadError

SPACE = Space("model", "weights", "preprocessing", "fp32")


@pytest.fixture
def memory(tmp_path):
    return str(tmp_path / "features.sqlite")


@pytest.fixture
def paths(tmp_path):
    return make_images(tmp_path, 30)


@pytest.fixture
def expected(clip, paths):
    return clip.transform(paths)


@pytest.fixture
def encoder(memory):
    return CLIPFeatureTransformer("tiny", device="cpu", memory=memory, batch_size=8)


def key(i, seed=PLAIN, view=0):
    return i.to_bytes(16), seed, view


def feature(i, d=512):
    return np.random.default_rng(i).standard_normal(d, dtype=np.float32)


def put(memory, numbers, d=512):
    store = FeatureStore(memory, SPACE, d)
    store.put({key(i): feature(i, d) for i in numbers})
    assert store.problem is None
    store.close()


def get(memory, numbers, d=512):
    store = FeatureStore(memory, SPACE, d)
    found = {
        int.from_bytes(image): row for (image, _, _), row in store.get(map(key, numbers)).items()
    }
    assert store.problem is None
    store.close()
    return found


def warned_once(call, *parts):
    """Call; there is one warning, which has all the parts."""
    with pytest.warns(UserWarning, match="returned all the same") as caught:
        result = call()
    assert len(caught) == 1
    for part in parts:
        assert part in str(caught[0].message)
    return result


def test_four_processes_on_one_file(paths, memory, clip, tmp_path):
    start = context.Barrier(4)
    orders = [paths, paths[::-1], paths[::2] + paths[1::2], paths[10:] + paths[:10]]
    processes = [
        context.Process(
            target=encode,
            args=(order, memory, tmp_path / f"{i}.npy", start),
            kwargs={"batch_size": 2, "n_jobs": 1 + i % 2},
        )
        for i, order in enumerate(orders)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    for i, order in enumerate(orders):
        features = np.load(tmp_path / f"{i}.npy")
        np.testing.assert_allclose(features, clip.transform(order), atol=1e-5)
    kept = read_rows(memory)
    assert kept.keys() == set(map(file_hash, paths))
    for path, views in zip(paths, open_encoder(clip).views(paths, 1, None), strict=True):
        np.testing.assert_allclose(kept[file_hash(path)], views[0], rtol=1e-5, atol=1e-5)
    # No process encodes an image twice, though its copies may be prepared ahead.
    assert max(encoded(memory).values()) == 1
    assert not os.path.exists(f"{memory}-wal")


class TestLimit:
    def test_the_oldest_are_dropped_and_the_file_stays_small(self, memory):
        limited = FeatureMemory(memory, max_bytes=2_000_000)
        for start in range(0, 3000, 50):
            put(limited, range(start, start + 50))
            assert os.path.getsize(memory) <= 2_000_000
        kept = get(limited, range(3000))
        assert 700 < len(kept) == len(limited)
        assert set(kept) == set(range(3000 - len(kept), 3000))
        for i, row in kept.items():
            np.testing.assert_array_equal(row, feature(i))
        read_rows(memory)

    def test_a_lower_limit_shrinks_the_file(self, memory):
        put(FeatureMemory(memory), range(2000))
        assert os.path.getsize(memory) > 4_000_000
        put(FeatureMemory(memory, max_bytes=1_000_000), range(2000, 2001))
        assert os.path.getsize(memory) <= 1_000_000
        assert 2000 in get(FeatureMemory(memory), range(2001))

    @pytest.mark.parametrize(
        ("limit", "error", "message"),
        [
            (999_999, ValueError, "at least 1,000,000"),
            (1e9, TypeError, "is not an integer; pass a number of bytes"),
        ],
    )
    def test_invalid(self, memory, limit, error, message):
        with pytest.raises(error, match=message):
            FeatureMemory(memory, max_bytes=limit)


class TestClear:
    def test_forgets_all_and_gives_the_space_back(self, encoder, memory, paths, expected):
        put(FeatureMemory(memory), range(1000))
        encoder.transform(paths)
        keeper = FeatureMemory(memory)
        assert len(keeper) == 1030
        keeper.clear()
        assert len(keeper) == 0
        assert keeper
        assert os.path.getsize(memory) < 200_000
        np.testing.assert_allclose(encoder.transform(paths), expected, atol=1e-6)
        assert len(keeper) == 30

    def test_while_in_use(self, encoder, memory, paths, expected):
        stream = open_encoder(encoder).views(paths, 1, None)
        raw = [next(stream)[0]]
        FeatureMemory(memory).clear()
        raw += [views[0] for views in stream]
        features = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        np.testing.assert_allclose(features, expected, atol=1e-5)
        assert len(FeatureMemory(memory)) == 22

    def test_nothing_is_made(self, memory):
        FeatureMemory(memory).clear()
        assert len(FeatureMemory(memory)) == 0
        assert not os.path.exists(memory)

    def test_of_a_damaged_file(self, memory):
        put(FeatureMemory(memory), range(100))
        damage(memory)
        for call in (FeatureMemory(memory).clear, FeatureMemory(memory).__len__):
            with pytest.raises(OSError, match="features.sqlite.*damaged: remove it"):
                call()


class TestNotOurs:
    """Files of others are never touched."""

    def refused(self, encoder, memory, message, paths):
        before = Path(memory).read_bytes() if os.path.isfile(memory) else None
        with pytest.raises(ValueError, match=f"features.sqlite' {message}"):
            encoder.transform(paths)
        with pytest.raises(ValueError, match=message):
            FeatureMemory(memory).clear()
        if before is not None:
            assert Path(memory).read_bytes() == before

    @pytest.mark.parametrize("content", [b"notes", b"\xff\xd8\xff\xe0" * 5000])
    def test_another_kind_of_file(self, encoder, memory, paths, content):
        Path(memory).write_bytes(content)
        self.refused(encoder, memory, "is not a file of features of sktip", paths)

    @pytest.mark.parametrize("application", [0, 77])
    def test_a_database_of_another_program(self, encoder, memory, paths, application):
        db = sqlite3.connect(memory)
        db.execute(f"PRAGMA application_id = {application}")
        db.execute("CREATE TABLE features (id)")
        db.close()
        self.refused(encoder, memory, "is not a file of features of sktip", paths)
        damage(memory)
        self.refused(encoder, memory, "is not a file of features of sktip", paths)

    def test_a_newer_format(self, encoder, memory, paths):
        encoder.transform(paths[:2])
        db = sqlite3.connect(memory)
        db.execute("PRAGMA user_version = 2")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        self.refused(
            encoder, memory, "has format 2, but this version of sktip reads format 1", paths
        )

    def test_a_folder(self, encoder, memory, paths):
        os.mkdir(memory)
        self.refused(encoder, memory, "is not a regular file; pass the path of a", paths)

    @pytest.mark.parametrize("target", ["empty", "missing"])
    def test_a_link_to_what_is_not_ours(self, encoder, memory, paths, tmp_path, target):
        other = tmp_path / "other"
        if target == "empty":
            other.touch()
        os.symlink(other, memory)
        self.refused(encoder, memory, "is a link to '.*other', which is not a file", paths)
        assert other.exists() == (target == "empty")

    def test_a_link_to_a_file_of_ours(self, encoder, memory, paths, tmp_path):
        own = str(tmp_path / "own.sqlite")
        os.symlink(own, memory)
        encoder.set_params(memory=own).transform(paths[:10])
        encoder.set_params(memory=memory).transform(paths)
        assert len(FeatureMemory(own)) == 30
        assert os.path.islink(memory)

    def test_a_failed_fit_changes_nothing(self, encoder, memory, paths):
        tip = TipAdapterClassifier(encoder)
        Path(memory).write_text("notes")
        with pytest.raises(ValueError, match="is not a file of features"):
            tip.fit(paths, ["cat", "dog", "owl"] * 10)
        assert not hasattr(tip, "classes_")

    @pytest.mark.parametrize("kind", ["empty file", "empty database"])
    def test_what_is_empty_is_ours_to_fill(self, encoder, memory, paths, kind):
        db = sqlite3.connect(memory)
        if kind == "empty database":
            db.execute("PRAGMA journal_mode = WAL")
        else:
            Path(memory).touch()
        db.close()
        encoder.transform(paths)
        assert len(FeatureMemory(memory)) == 30


def damage(memory):
    """Overwrite half of the file, its header apart."""
    size = os.path.getsize(memory)
    with open(memory, "r+b") as file:
        file.seek(100)
        file.write(os.urandom(size // 2))


class TestDamaged:
    def test_any_page_overwritten(self, encoder, memory, paths, expected):
        encoder.transform(paths)
        whole = Path(memory).read_bytes()
        size = memory_file.PAGE_SIZE
        messages = []
        for start in range(0, len(whole), size):
            damaged = bytearray(whole)
            damaged[max(100, start) : start + size] = os.urandom(size - (100 if start == 0 else 0))
            Path(memory).write_bytes(damaged)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                features = encoder.transform(paths)
            np.testing.assert_allclose(features, expected, atol=1e-5)
            assert len(caught) <= 1
            messages += [str(warning.message) for warning in caught]
            # Nothing is written into a damaged file.
            assert not caught or Path(memory).read_bytes() == damaged
        assert len(messages) >= 4
        for message in messages:
            assert repr(memory) in message
            assert "the file is damaged: remove it" in message
        os.remove(memory)
        encoder.transform(paths)
        assert len(FeatureMemory(memory)) == 30

    @pytest.mark.parametrize("size", [72, 50_000])
    def test_truncated(self, encoder, memory, paths, expected, size):
        encoder.transform(paths)
        os.truncate(memory, size)
        features = warned_once(lambda: encoder.transform(paths), "damaged: remove it")
        np.testing.assert_allclose(features, expected, atol=1e-5)

    def test_numbers_that_sqlite_cannot_check(self, encoder, memory, paths, expected):
        encoder.transform(paths)
        raw = read_rows(memory)[file_hash(paths[20])].tobytes()
        content = Path(memory).read_bytes()
        assert content.count(raw) == 1
        Path(memory).write_bytes(content.replace(raw, raw[:40] + b"\x00\x00\x80\x3f" + raw[44:]))
        features = warned_once(lambda: encoder.transform(paths), "does not match its checksum")
        np.testing.assert_allclose(features, expected, atol=1e-5)

    def test_a_row_under_the_name_of_another_image(self, encoder, memory, paths, expected):
        encoder.transform(paths)
        db = sqlite3.connect(memory)
        swapped = db.execute("SELECT id, feature, checksum FROM features LIMIT 2").fetchall()
        for (row, *_), (_, *other) in zip(swapped, swapped[::-1], strict=True):
            db.execute("UPDATE features SET feature = ?, checksum = ? WHERE id = ?", [*other, row])
        db.commit()
        db.close()
        features = warned_once(lambda: encoder.transform(paths), "does not match its checksum")
        np.testing.assert_allclose(features, expected, atol=1e-5)

    @pytest.mark.parametrize(
        "planted",
        ["text", b"", np.zeros(129, "<f4"), np.full(128, np.nan, "<f4"), 1.5],
        ids=["text", "nothing", "long", "nan", "float"],
    )
    def test_a_planted_row(self, encoder, memory, paths, expected, planted):
        """With a checksum that fits, as only who may write the file can make it."""
        encoder.transform(paths)
        if isinstance(planted, np.ndarray):
            planted = planted.tobytes()
        image = file_hash(paths[20])
        checksum = 0
        if isinstance(planted, bytes):
            checksum = _checksum(1, (image, PLAIN, 0), planted)
        db = sqlite3.connect(memory)
        db.execute(
            "UPDATE features SET feature = ?, checksum = ? WHERE image = ?",
            (planted, checksum, image),
        )
        db.commit()
        db.close()
        features = warned_once(lambda: encoder.transform(paths), "a feature", "remove it")
        np.testing.assert_allclose(features, expected, atol=1e-5)

    def test_with_unreadable_images_besides(self, encoder, memory, paths, tmp_path):
        encoder.transform(paths)
        damage(memory)
        with pytest.raises(ImageReadError, match="image 30"):
            warned_once(lambda: encoder.transform([*paths, tmp_path / "missing.png"]))
        encoder.set_params(on_error="nan")
        with pytest.warns(UserWarning, match="1 of 31 images") as caught:
            features = encoder.transform([*paths, tmp_path / "missing.png"])
        assert len(caught) == 2
        assert np.isnan(features[30]).all()


class TestLocked:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch):
        monkeypatch.setattr(memory_file, "LOCK_TIMEOUT", 0.2)

    @pytest.fixture
    def other(self, encoder, memory, paths):
        encoder.transform(paths[:10])
        db = sqlite3.connect(memory, isolation_level=None)
        yield db
        db.close()

    def test_writing_gives_up_and_reading_goes_on(self, encoder, memory, paths, expected, other):
        other.execute("BEGIN EXCLUSIVE")
        np.testing.assert_allclose(encoder.transform(paths[:10]), expected[:10], atol=1e-5)
        features = warned_once(
            lambda: encoder.transform(paths), repr(memory), "database is locked", "waited for 0.2 s"
        )
        np.testing.assert_allclose(features, expected, atol=1e-5)
        other.execute("ROLLBACK")
        encoder.transform(paths)
        assert len(FeatureMemory(memory)) == 30

    def test_nothing_can_be_read(self, encoder, paths, expected, other):
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM features")
        features = warned_once(lambda: encoder.transform(paths), "opened", "database is locked")
        np.testing.assert_allclose(features, expected, atol=1e-5)

    def test_a_lock_that_comes_is_waited_for(self, encoder, memory, paths, other, monkeypatch):
        monkeypatch.setattr(memory_file, "LOCK_TIMEOUT", 60)
        other.execute("BEGIN EXCLUSIVE")
        thread = threading.Thread(target=encoder.transform, args=(paths,))
        thread.start()
        thread.join(0.5)
        other.execute("ROLLBACK")
        thread.join()
        assert len(FeatureMemory(memory)) == 30


def test_missing_folder(encoder, paths, expected, tmp_path):
    encoder.set_params(memory=tmp_path / "nowhere" / "features.sqlite")
    features = warned_once(lambda: encoder.transform(paths), "there is no folder", "nowhere")
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert not (tmp_path / "nowhere").exists()
    with pytest.warns(UserWarning, match="there is no folder"):
        TipAdapterClassifier(encoder).fit(paths, ["cat", "dog", "owl"] * 10)


class Meanwhile(list):
    """Images that call a function before one of them is read."""

    def __init__(self, images, at, happen):
        super().__init__(images)
        self.at, self.happen = at, happen

    def __iter__(self):
        for i, image in enumerate(super().__iter__()):
            if i == self.at:
                self.happen()
            yield image


@pytest.mark.skipif(sys.platform == "win32", reason="a file in use cannot be removed on Windows")
class TestRemovedMeanwhile:
    @pytest.mark.parametrize(("at", "n_kept"), [(0, 0), (15, 0), (29, 30)])
    def test_file(self, encoder, memory, paths, expected, at, n_kept):
        if n_kept:
            encoder.transform(paths)
        images = Meanwhile(paths, at, lambda: os.remove(memory))
        features = warned_once(
            lambda: encoder.transform(images), repr(memory), "removed, moved or replaced"
        )
        np.testing.assert_allclose(features, expected, atol=1e-5)
        # The remaining log belongs to no file, and does not harm the next file.
        for _ in range(2):
            np.testing.assert_allclose(encoder.transform(paths), expected, atol=1e-5)
            assert len(FeatureMemory(memory)) == 30

    def test_folder(self, encoder, tmp_path, paths, expected):
        folder = tmp_path / "kept"
        folder.mkdir()
        encoder.set_params(memory=folder / "features.sqlite")
        images = Meanwhile(paths, 15, lambda: shutil.rmtree(folder))
        features = warned_once(lambda: encoder.transform(images), "removed, moved or replaced")
        np.testing.assert_allclose(features, expected, atol=1e-5)

    @pytest.mark.parametrize("log_too", [False, True])
    def test_replaced_by_another_of_ours(self, encoder, memory, paths, expected, log_too):
        other = CLIPFeatureTransformer("tiny", device="cpu", memory=memory)

        def replace():
            for suffix in ("", "-wal", "-shm")[: 3 if log_too else 1]:
                os.remove(memory + suffix)
            other.transform(paths[:3])

        images = Meanwhile(paths, 15, replace)
        features = warned_once(lambda: encoder.transform(images), "removed, moved or replaced")
        np.testing.assert_allclose(features, expected, atol=1e-5)
        assert read_rows(memory).keys() == set(map(file_hash, paths[:3]))


def test_a_relative_path_and_another_folder(encoder, tmp_path, paths, expected, monkeypatch):
    """The file that is used again is the one that was opened."""
    monkeypatch.chdir(tmp_path)
    encoder.set_params(memory="features.sqlite")
    (tmp_path / "elsewhere").mkdir()
    images = Meanwhile(paths, 15, lambda: os.chdir("elsewhere"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(encoder.transform(images), expected, atol=1e-5)
    assert len(FeatureMemory(tmp_path / "features.sqlite")) == 30


ON_MOUNTS = """
import json, sys, warnings
import numpy as np
from sktip import CLIPFeatureTransformer, FeatureMemory

expected, cases, *paths = sys.argv[1:]
for memory, cause, n_kept in json.loads(cases):
    encoder = CLIPFeatureTransformer("tiny", device="cpu", memory=memory, batch_size=8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features = encoder.transform(paths)
    assert len(caught) == 1, caught
    message = str(caught[0].message)
    assert repr(memory) in message and cause in message, message
    np.testing.assert_allclose(features, np.load(expected), atol=1e-5)
    # What is there is read in spite of it, in silence.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(paths[:n_kept])
    assert len(FeatureMemory(memory)) >= n_kept
"""


class TestFullDisk:
    def test_real_and_a_read_only_folder(self, encoder, tmp_path, paths, expected):
        """By mounts: permissions do not stop root, who runs many a test."""
        kept, disk = tmp_path / "kept", tmp_path / "disk"
        kept.mkdir()
        disk.mkdir()
        encoder.set_params(memory=kept / "features.sqlite").transform(paths[:10])
        np.save(tmp_path / "expected.npy", expected)
        cases = [
            (f"{kept}/features.sqlite", "attempt to write a readonly database", 10),
            (f"{disk}/features.sqlite", "disk", 8),
        ]
        # In a separate name space, where every user may mount.
        own = ["unshare", "--map-root-user", "--mount"]
        if not shutil.which("unshare") or subprocess.run([*own, "true"], check=False).returncode:
            pytest.skip("mounts need a user name space of Linux")
        mounts = f"mount --bind {kept} {kept} && mount -o remount,ro,bind {kept}"
        mounts += f" && mount -t tmpfs -o size=320k none {disk}"
        script = [sys.executable, "-c", ON_MOUNTS, f"{tmp_path}/expected.npy", json.dumps(cases)]
        done = subprocess.run(
            [*own, "sh", "-c", f'{mounts} && exec "$@"', "sh", *script, *paths],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert os.listdir(kept) == ["features.sqlite"]

    @pytest.mark.skipif(sys.platform == "win32", reason="processes have no such limit on Windows")
    def test_limit_of_a_process(self, memory, paths, expected):
        process = context.Process(target=_encode_in_small_files, args=(paths, memory, expected))
        process.start()
        process.join()
        assert process.exitcode == 0
        read_rows(memory)


def _encode_in_small_files(paths, memory, expected):
    import resource

    encoder = CLIPFeatureTransformer("tiny", device="cpu", memory=memory, batch_size=8)
    encoder.transform(paths[:8])
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    features = warned_once(lambda: encoder.transform(paths), repr(memory), "disk")
    np.testing.assert_allclose(features, expected, atol=1e-5)
