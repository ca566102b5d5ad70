"""Put the executed notebooks of the examples, with their outputs, where the site offers them.

    python docs/notebooks.py docs/auto_examples docs/_build/html

The gallery copies notebooks into the site before they are run.
"""

import shutil
import sys
from pathlib import Path


def main(gallery, site):
    executed = {path.name: path for path in Path(gallery).rglob("*.ipynb")}
    offered = [path for path in Path(site, "_downloads").rglob("*.ipynb") if path.name in executed]
    for path in offered:
        shutil.copyfile(executed[path.name], path)
    missing = executed.keys() - {path.name for path in offered}
    if missing:
        sys.exit(f"the site does not offer {', '.join(sorted(missing))}")
    print(f"{len(offered)} notebooks have their outputs")


if __name__ == "__main__":
    main(*sys.argv[1:])
