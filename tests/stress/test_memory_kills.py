"""Processes killed at random moments while they write features, and many that write at once."""

import time

import numpy as np
from memory_runs import check_killed_runs, context, read_rows

from sktip import FeatureMemory
from sktip._encoding.memory import PLAIN, FeatureStore, Space

SPACE = Space("model", "weights", "preprocessing", "fp32")
N_FEATURES, N_ROWS = 64, 20_000


def test_transformers_killed_60_times(tmp_path):
    n_files, kept = check_killed_runs(tmp_path, n_kills=60)
    print(f"{len(kept)} kills over {n_files} files, after so many of 300 features: {sorted(kept)}")
    assert len(set(kept)) > 10


def features():
    rows = np.random.default_rng(0).standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)
    return {(i.to_bytes(16), PLAIN, 0): row for i, row in enumerate(rows)}


def write(memory, order, start=None):
    """Write all missing features in this order; a problem is an error."""
    rows = list(features().items())
    if start is not None:
        start.wait()
    store = FeatureStore(memory, SPACE, N_FEATURES)
    for begin in range(0, N_ROWS, 50):
        chunk = dict(rows[i] for i in order[begin : begin + 50])
        found = store.get(chunk)
        store.put({key: row for key, row in chunk.items() if key not in found})
        assert all((found[key] == chunk[key]).all() for key in found)
    assert store.problem is None, store.problem
    store.close()


def count(path):
    """Count the rows of a file, and check each of them."""
    rows, known = read_rows(path), features()
    for image, feature in rows.items():
        np.testing.assert_array_equal(feature, known[image, PLAIN, 0])
    return len(rows)


def test_writers_killed_200_times(tmp_path):
    # No model: the time goes into making the file, writing, dropping and copying the log.
    rng = np.random.default_rng(0)
    order = rng.permutation(N_ROWS)
    begin = time.perf_counter()
    write(FeatureMemory(tmp_path / "timed.sqlite"), order)
    seconds = time.perf_counter() - begin
    counts = []
    for i in range(200):
        path = tmp_path / f"{i // 4}.sqlite"
        limited = i % 8 >= 4
        memory = FeatureMemory(path, max_bytes=2_000_000 if limited else None)
        start = context.Event()
        process = context.Process(target=write, args=(memory, order, start))
        process.start()
        start.set()
        # A part of them in the milliseconds in which the file is made.
        process.join(rng.uniform(0, seconds if i % 3 else 0.05))
        process.kill()
        process.join()
        counts.append(count(path))
        if i % 4 and not limited:
            assert counts[-1] >= counts[-2]
        if i % 4 == 3:
            store = FeatureStore(memory, SPACE, N_FEATURES)
            assert store.problem is None
            store.close()
    print(f"features in the file at each kill: {counts}")
    assert len(set(counts)) > 30


def test_eight_processes_write_at_once(tmp_path):
    memory = FeatureMemory(tmp_path / "features.sqlite")
    orders = [np.random.default_rng(i).permutation(N_ROWS) for i in range(8)]
    start = context.Event()
    processes = [context.Process(target=write, args=(memory, order, start)) for order in orders]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert count(memory.path) == N_ROWS
