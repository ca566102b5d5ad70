"""Run the notebooks of the gallery, each in an empty folder, as after a download.

    python docs/check_notebooks.py docs/_build/html

The one for photos of one's own gets digits as photos, and the bundled model.
"""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from sktip.datasets import load_digit_images

#: What a reader of the notebook for photos of one's own has, and changes.
OWN = "own_photos.ipynb"
CHANGES = {'"ViT-B-32"': '"tiny"', '"new_1.jpg", "new_2.jpg"': '"photos/one/1.png"'}


def add_photos(folder):
    """Write ten photos of each of ten classes."""
    images, labels = load_digit_images(return_X_y=True)
    for number, (image, label) in enumerate(zip(images[:200], labels)):
        file = folder / "photos" / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)


def run(path):
    """Return what went wrong in a notebook, or nothing."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        if path.name == OWN:
            add_photos(Path(folder))
            for cell in notebook.cells:
                for old, new in CHANGES.items():
                    cell.source = cell.source.replace(old, new)
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}})
        try:
            client.execute()
        except CellExecutionError as error:
            return f"{path.name}: {error}"
    return None


def main(root):
    notebooks = sorted(Path(root).glob("_downloads/*/*.ipynb"), key=lambda path: path.name)
    if not notebooks:
        sys.exit(f"no notebooks in {root}")
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        wrong = list(filter(None, pool.map(run, notebooks)))
    print("\n".join(wrong))
    print(f"{len(notebooks) - len(wrong)} of {len(notebooks)} notebooks run")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
