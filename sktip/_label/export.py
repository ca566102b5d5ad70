"""What the page writes into the folder of answers when it is asked to: table, model, folders. Each returns its path."""

import os
import re
import shutil
from collections.abc import Callable
from itertools import chain, count
from typing import Any

from sktip._label.files import csv_lines, write_next
from sktip._label.session import Session, inside


def write_table(session: Session) -> str:
    """Write the table of `predict_images`, in which answers are predictions of probability 1."""
    rows = [["path", "prediction", "probability", "error"]]
    for row, path in enumerate(session.paths):
        label, probability = session.prediction(row)
        certainty = "" if label is None else f"{probability:.6g}"
        rows.append([path, label or "", certainty, session.errors.get(row, "")])
    return write_next(session.store, "predictions.csv", b"".join(csv_lines(rows)))


def write_folders(session: Session, *, copy: bool) -> str:
    """Make a folder per class, with links to the photos or copies. No photo is changed."""
    names = (f"sorted-{number}" for number in count(1))
    targets = (os.path.join(session.store.folder, name) for name in names)
    target = next(path for path in targets if not os.path.lexists(path))
    folders: dict[str, str] = {}
    for row, path in enumerate(session.paths):
        label, _ = session.prediction(row)
        if label is None or not inside(path, session.root):
            continue
        if label not in folders:
            # Without characters that lead elsewhere, or that some systems refuse or confuse.
            name = re.sub(r'[\x00-\x1f<>:"/\\|?*]|^\.+|[. ]+$', "_", label)
            taken = {own.casefold() for own in folders.values()}
            own_names = chain([name], (f"{name} {number}" for number in count(2)))
            folders[label] = next(own for own in own_names if own.casefold() not in taken)
            os.makedirs(os.path.join(target, folders[label]))
        name = os.path.join(target, folders[label], os.path.basename(path))
        if os.path.lexists(name):
            name = os.path.join(target, folders[label], f"{row} {os.path.basename(path)}")
        (shutil.copy2 if copy else os.symlink)(path, name)
    return target


def write_model(session: Session, content_of: Callable[[Any], bytes]) -> str:
    """Write ``model.skops``."""
    return write_next(session.store, "model.skops", content_of(session.learner.final_model()))
