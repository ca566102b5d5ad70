"""``python -m sktip``: the command ``sktip``."""

from sktip._cli import command

if __name__ == "__main__":
    command()
