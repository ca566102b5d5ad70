"""Fit and predict from the command line: ``python -m sktip --help``."""

import sys

if __name__ == "__main__":
    try:
        from sktip._cli.commands import main

        sys.exit(main())
    except KeyboardInterrupt:  # During the imports; the commands handle it themselves.
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
