"""A million features in one file: the time to write, find and delete them."""

import subprocess
import sys

import pytest

MILLION = """
import os, sys, time
import numpy as np
from sktip import FeatureMemory
from sktip._encoding.memory import PLAIN, FeatureStore, Space

N, BATCH, ASKED, D = 1_000_000, 64, 20_000, 512
memory = FeatureMemory(sys.argv[1])
space = Space("model", "weights", "preprocessing", "fp32")
rng = np.random.default_rng(0)
images = rng.bytes(16 * 2 * N)
block = rng.standard_normal((4096, D), dtype=np.float32)

def key(i):
    return images[16 * i : 16 * i + 16], PLAIN, 0

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith(name))

def timed(what, call):
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    print(what, seconds)
    return result

def write(start, stop):
    for i in range(start, stop, BATCH):
        store.put({key(j): block[j % 4096] for j in range(i, min(stop, i + BATCH))})

def find(where, n):
    wanted = where + rng.integers(n, size=ASKED)
    for i in wanted.tolist():
        found = store.get([key(i)])
        assert len(found) == (where == 0)
        if where == 0:
            assert np.array_equal(found[key(i)], block[i % 4096])

before = status("VmRSS")
store = FeatureStore(memory, space, D)
timed("write_first", lambda: write(0, 50_000))
timed("find_few", lambda: find(0, 50_000))
timed("write_middle", lambda: write(50_000, N - 50_000))
timed("write_last", lambda: write(N - 50_000, N))
timed("find", lambda: find(0, N))
timed("miss", lambda: find(N, N))
assert store.problem is None
timed("close", store.close)
store = timed("open", lambda: FeatureStore(memory, space, D))
store.close()
assert timed("count", lambda: len(memory)) == N
print("bytes", os.path.getsize(memory.path))
print("memory", status("VmHWM") - before)
limited = FeatureMemory(memory.path, max_bytes=1_000_000_000)
store = FeatureStore(limited, space, D)
timed("halve", lambda: write(N, N + BATCH))
timed("write_limited", lambda: write(N + BATCH, N + 50_000))
store.close()
assert os.path.getsize(memory.path) <= 1_000_000_000
print("left", len(memory))
timed("clear", memory.clear)
print("cleared", os.path.getsize(memory.path))
"""


def test_a_million_features(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    # In a separate process, since the peak memory of this one includes other tests.
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(tmp_path / "features.sqlite")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    measured = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    # Not much slower than with a small file, and not larger than its content.
    assert measured["find"] < 4 * measured["find_few"]
    assert measured["write_last"] < 4 * measured["write_first"]
    assert measured["bytes"] < 1.2 * 1_000_000 * 2048
    assert measured["memory"] < 100
    assert measured["open"] < 1
    assert measured["cleared"] < 1_000_000
