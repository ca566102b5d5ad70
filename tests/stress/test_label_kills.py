"""Every action on the answers of `sktip label` is stopped at each of its writes; see tests/label/crash.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits on the size of files")
def test_no_write_is_the_wrong_one_to_stop_at(tmp_path):
    script = Path(__file__).parents[1] / "label" / "crash.py"
    run = subprocess.run(
        [sys.executable, script, tmp_path, "256"], capture_output=True, check=True, text=True
    )
    print(run.stdout)
    result = json.loads(run.stdout)
    assert result["problems"] == []
    assert min(result["said"].values()) > 100
