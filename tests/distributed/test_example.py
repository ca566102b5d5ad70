"""examples/distributed_scoring.py: killed, resumed, refused, and over a Parquet file of paths."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

PROGRAM = Path(__file__).parents[2] / "examples" / "distributed_scoring.py"


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def files(out):
    return {
        path.name: path.read_bytes()
        for path in (out / "done").glob("*")
        if ".pending" not in path.name
    }


def test_a_killed_run_goes_on(broken, clf, expected, tmp_path):
    paths, damaged = broken
    listed, out = tmp_path / "paths.parquet", tmp_path / "out"
    pd.DataFrame({"path": paths}).to_parquet(listed)
    joblib.dump(clf, tmp_path / "clf.joblib")
    arguments = [listed, "--classifier", tmp_path / "clf.joblib", "--out", out, "--block", 20]

    run = start(*arguments, "--batch-size", 20)
    deadline = time.monotonic() + 120
    while len(files(out)) < 5:
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    # Workers notice that the driver is gone, and end.
    time.sleep(3)
    before = files(out)
    n_done = sum(len(pd.read_parquet(out / "done" / name)) for name in before)
    assert 100 <= n_done < 1000

    run = start(*arguments)
    printed = run.communicate(timeout=200)[0]
    assert run.returncode == 0, printed
    assert "1000 images scored, 10 of them could not be read." in printed
    # Finished results have not changed.
    after = files(out)
    assert all(after[name] == content for name, content in before.items())
    rows = pd.read_parquet(out / "rows")
    assert sorted(rows["path"]) == sorted(paths)
    rows = rows.set_index("path").loc[paths]
    own = np.stack(rows["probabilities"])
    np.testing.assert_allclose(own[~damaged], expected[1][~damaged], atol=1e-5)

    joblib.dump(clf.classes_, tmp_path / "clf.joblib")
    run = start(*arguments)
    assert "results of another classifier; pass another --out" in run.communicate()[0]


def test_digits(tmp_path):
    run = start("--out", tmp_path, "--workers", 2)
    printed = run.communicate(timeout=300)[0]
    assert "1797 images scored, 0 of them could not be read." in printed
    assert len(pd.read_parquet(tmp_path / "rows")) == 1797
