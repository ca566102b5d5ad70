"""Put the executed notebooks of the examples, with their outputs, where the site offers them.

    python docs/notebooks.py docs/auto_examples docs/_build/html

The gallery copies notebooks into the site before they are run.
"""

import json
import shutil
import sys
from pathlib import Path


def has_outputs(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return any(cell.get("outputs") for cell in cells)


def main(gallery, site):
    notebooks = {path.name: path for path in Path(gallery).rglob("*.ipynb")}
    executed = {name: path for name, path in notebooks.items() if has_outputs(path)}
    offered = [path for path in Path(site, "_downloads").rglob("*.ipynb") if path.name in executed]
    for path in offered:
        shutil.copyfile(executed[path.name], path)
    missing = executed.keys() - {path.name for path in offered}
    if missing:
        sys.exit(f"the site does not offer {', '.join(sorted(missing))}")
    others = ", ".join(sorted(notebooks.keys() - executed.keys()))
    print(f"{len(offered)} notebooks have their outputs; not run: {others or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
