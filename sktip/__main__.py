"""Fit and predict from the command line: ``python -m sktip --help``."""

import signal
import sys
from typing import Any


def _end(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    # By default these signals end the process at once, and would leave a file that is half written.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    try:
        from sktip._cli.commands import main

        code = main()
    except KeyboardInterrupt:  # During the imports; the commands handle it themselves.
        print("interrupted; nothing was written", file=sys.stderr)
        code = 128 + signal.SIGINT
    sys.exit(code)
