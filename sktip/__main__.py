"""Fit and predict from the command line: ``python -m sktip --help``."""

import sys

from sktip._cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
