"""Import packages that break if their import is interrupted."""

import importlib
import signal
import sys
import threading


def import_whole(*names: str) -> None:
    """Import packages, and let an interrupt (Ctrl-C) take effect only when they are loaded.

    torch registers types and operators while it is imported. After an interrupt, the process could not
    import it again.
    """
    if all(name in sys.modules for name in names):
        return
    before = signal.getsignal(signal.SIGINT)
    # Interrupts go to the main thread. A handler that was not set by Python cannot be restored.
    is_ours = threading.current_thread() is threading.main_thread() and before is not None
    interrupts: list[int] = []
    if is_ours:
        signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, before)
    if interrupts:
        signal.raise_signal(signal.SIGINT)
