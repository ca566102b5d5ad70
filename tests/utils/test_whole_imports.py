"""Imports that are not interrupted."""

import signal
import sys

import pytest

from sktip._utils.whole_imports import import_whole

SLOW = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
for _ in range(100_000):
    pass
DONE = True
"""


def test_an_interrupt_waits_for_the_end_of_an_import(tmp_path, monkeypatch):
    """As of torch, whose import cannot be repeated in one process."""
    (tmp_path / "slow_package.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            import_whole("slow_package")
        assert sys.modules["slow_package"].DONE
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        # It is loaded now.
        import_whole("slow_package")
    finally:
        signal.signal(signal.SIGINT, before)
        sys.modules.pop("slow_package", None)
