"""The state of `sktip label` without its page.

    session = open_session(photos, output, classes, encoder, templates)   # at once; nothing is encoded
    session.start(failed)                         # encodes, learns and writes labels.csv, in threads
    row = next(filter(session.is_open, session.queue()))   # the photo to show
    change = session.give({row: ["fox"]})         # on disk when it returns
    session.changed()                             # learn from it
    session.undo(change)
    session.store.add_class("deer")               # and rename, remove, merge, order: each can be undone
    session.knowledge                             # numbers: `Knowledge` in learner.py
    session.version                               # grows when any of this may have changed

All methods may be called from several threads.
"""

import io
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._images.files import read_bytes
from sktip._images.folders import list_images
from sktip._images.inputs import describe
from sktip._images.rgb import to_rgb
from sktip._label.files import is_own, write_labels
from sktip._label.learner import Knowledge, Learner
from sktip._label.store import NONE, UNSURE, Answer, Change, Store, refuse_links
from sktip._utils.messages import warn
from sktip.exceptions import ImageReadError

#: Largest size of a photo that is shown, in pixels.
MAX_PIXELS = 89_478_485
#: Every so manieth photo of the queue is drawn at random, so that the answers say something about all photos.
RANDOM = 3


class Session:
    """Photos, the answers about them, and what is learned from these.

    Photos are numbered: `row` is the index of one in `paths`.

    Attributes
    ----------
    root : str
        The folder of photos.

    paths : list of str
        Absolute paths of the photos.

    store : Store
        Answers and classes on disk.

    learner : Learner
        Features, and what is learned; `learner.stage`, `learner.n_encoded` and `learner.problem` are for
        showing.

    problem : str
        Why ``labels.csv`` could not be written, if so.
    """

    def __init__(
        self,
        root: str,
        paths: Sequence[str],
        store: Store,
        encoder: Any,
        *,
        templates: Any,
        is_new: bool = False,
    ):
        self.root, self.paths, self.store = root, paths, store
        self.learner = Learner(paths, store, encoder, templates)
        self.problem = ""
        #: Pictures of another run have other addresses, since browsers keep them.
        self.run_id = secrets.token_hex(4)
        self._row_of = self.learner.row_of
        self._changed, self._is_new = threading.Event(), is_new
        # Each decoder may need as much memory as the largest photo.
        self._decoders = threading.Semaphore(2)

    def start(self, failed: Callable[[], None] = lambda: None) -> None:
        """Encode and learn in threads; `failed` is called if there is no model to encode with."""
        self.learner.start(failed)
        threading.Thread(target=self._write_for_ever, daemon=True).start()
        self.changed()

    def changed(self) -> None:
        """Learn from new answers, and write them to ``labels.csv``, both in threads."""
        self.learner.wake()
        self._changed.set()

    def _write_for_ever(self) -> None:
        while self._changed.wait():
            self._changed.clear()
            try:
                self._write_labels()
                self.problem = ""
            except (OSError, ValueError) as error:  # The answers are stored all the same.
                self.problem = str(error)

    def _write_labels(self) -> None:
        # Not before the first answer: a start that fails leaves nothing.
        if self.store.n_answers or os.path.exists(os.path.join(self.store.folder, "labels.csv")):
            write_labels(self.store)

    def close(self) -> None:
        """Write ``labels.csv`` a last time."""
        self._write_labels()

    def discard(self) -> None:
        """Remove what this run has made, if there are no answers in it."""
        self.store.discard()
        if self._is_new:
            with suppress(OSError):
                os.rmdir(self.store.folder)

    # What is known

    @property
    def version(self) -> int:
        """Grows when there is something new to show."""
        self.store.refresh()
        return self.store.version + self.learner.version

    @property
    def knowledge(self) -> Knowledge:
        """What the last fit knows."""
        return self.learner.knowledge

    @property
    def errors(self) -> dict[int, str]:
        """Why photos cannot be read."""
        return self.learner.errors

    @property
    def classes(self) -> list[str]:
        """The classes, or the tags, in their order."""
        return self.store.classes

    @property
    def tags(self) -> bool:
        """Whether a photo has several labels."""
        return self.store.tags

    def answer_of(self, row: int) -> Answer | None:
        """Answer about a photo: its labels, and whether it was given in bulk."""
        return self.store.answer_of(self.paths[row])

    def label_of(self, row: int) -> str | None:
        """Answer about a photo in words."""
        answer = self.answer_of(row)
        return None if answer is None else ", ".join(answer.labels)

    def answered(self) -> list[int]:
        """Photos of this folder with an answer, in the order of the answers."""
        answers = self.store.answers
        rows = [
            (own.number, self._row_of[path])
            for path, own in answers.items()
            if path in self._row_of
        ]
        return [row for _, row in sorted(rows)]

    def n_answered(self) -> int:
        """Count the photos of this folder with an answer."""
        return sum(path in self._row_of for path in self.store.answers)

    def is_open(self, row: int) -> bool:
        """Whether a photo waits for an answer: it has none, or one from before a class was added."""
        return row not in self.errors and self.store.is_open(self.paths[row])

    def name(self, row: int) -> str:
        """Path of a photo in the folder."""
        return os.path.relpath(self.paths[row], self.root)

    def time(self, row: int) -> str:
        """When a photo was taken, to the minute; "" if it does not say."""
        times = self.learner.times
        known = times is not None and not np.isnat(times[row])
        return str(times[row].astype("datetime64[m]")).replace("T", " ") if known else ""

    def guess(self, row: int) -> dict[str, float]:
        """Probabilities of the classes of a photo, the largest first; of each tag, in a session with tags."""
        model = self.knowledge.model
        if model is None or not self.learner.readable[row]:
            return {}
        proba = model.predict_proba(self.learner.features[[row]])[0]
        names = model.tags_ if self.tags else model.classes_
        return {str(names[i]): float(proba[i]) for i in np.argsort(-proba, kind="stable")}

    def certainty(self, row: int) -> float | None:
        """Return how probable the prediction of a photo is, or None while predictions are often wrong."""
        now = self.knowledge
        if not now.is_good or now.calibration is None or not self.learner.readable[row]:
            return None
        return now.calibration.probability(float(now.certainty[row]))

    def prediction(self, row: int) -> tuple[str | tuple[str, ...] | None, float]:
        """Return the class of a photo or "unknown", or its tags, and the probability: 1 for an answer.

        None for a photo that cannot be read, or before there is a model.
        """
        answer, now = self.answer_of(row), self.knowledge
        if answer is not None and answer.labels != (UNSURE,):
            if self.tags:
                return tuple(name for name in answer.labels if name != NONE), 1.0
            return "unknown" if answer.labels == (NONE,) else answer.labels[0], 1.0
        if now.model is None or not self.learner.readable[row]:
            return None, np.nan
        label = now.predicted[row] if now.known[row] else "unknown"
        return label, float(now.certainty[row])

    def predicted_as(self, label: str | None, low: float = 0, high: float = 1) -> list[int]:
        """List photos without answer that are predicted as a class, NONE or any, the most certain first.

        With several tags: those that have a tag, or none of them.
        """
        now = self.knowledge
        if now.model is None:
            return []
        wanted = self.learner.readable & (now.certainty >= low) & (now.certainty <= high)
        wanted[self.answered()] = False
        if label is not None and self.tags:
            has = [label in own if label != NONE else not own for own in now.predicted]
            wanted &= np.array(has, bool)
        elif label is not None:
            wanted &= ~now.known if label == NONE else now.known & (now.predicted == label)
        rows = np.flatnonzero(wanted)
        return rows[np.argsort(-now.certainty[rows], kind="stable")].tolist()

    # What comes next

    def queue(self) -> Iterator[int]:
        """Photos in the order in which a person should see them; with answers too."""
        yield from (self._row_of[path] for path in self.store.outdated() if path in self._row_of)
        waiting = (row for row in self.learner.order.tolist() if self.is_open(row))
        suggested = (row for row in self.learner.suggested if self.is_open(row))
        n = self.store.n_answers
        while True:
            row = next(waiting if n % RANDOM == RANDOM - 1 else suggested, None)
            if row is None:
                break
            n += 1
            yield row
        yield from suggested
        yield from self.learner.order.tolist()

    def ranked_by_words(self, words: str) -> list[int]:
        """Photos without answer, those first that look like words."""
        if not self.learner.has_text:
            raise ValueError("this model reads no words; a CLIP, such as ViT-B-32, does.")
        return self._ranked(self.learner.text_of(words))

    def ranked_like(self, row: int) -> list[int]:
        """Photos without answer, those first that look like a photo."""
        return [other for other in self._ranked(self.learner.features[row]) if other != row]

    def _ranked(self, feature: NDArray[Any]) -> list[int]:
        if not self.learner.features.shape[1]:
            raise ValueError("the photos are not encoded yet; wait a moment.")
        rows = np.array(
            [r for r in np.flatnonzero(self.learner.readable) if self.is_open(int(r))], int
        )
        scores = self.learner.features[rows] @ feature
        return rows[np.argsort(-scores, kind="stable")].tolist()

    def neighbours(self, row: int, n: int = 3) -> list[int]:
        """List the photos taken just before and after one, in their order, with it in between."""
        place = int(self.learner.place_in_time[row])
        return self.learner.in_time[max(place - n, 0) : place + n + 1].tolist()

    def pile(self, row: int) -> list[int]:
        """List a photo and, after it, those without answer that show nearly the same: copies, or one burst."""
        piles = self.learner.piles
        others = self.learner.in_time[piles[self.learner.in_time] == piles[row]].tolist()
        return [row, *(other for other in others if other != row and self.is_open(other))]

    # What changes something

    def give(
        self,
        labels: Mapping[int, Iterable[str] | None],
        *,
        bulk: bool = False,
        add_classes: Iterable[str] = (),
    ) -> Change:
        """Store answers: a class, NONE, UNSURE, all tags, or no answer (None). `bulk`: not seen one by one.

        Classes that are missing are added with them.
        """
        given = {self.paths[row]: own for row, own in labels.items()}
        return self.store.give(given, bulk=bulk, add_classes=add_classes)

    def undo(self, change: Change) -> list[int]:
        """Take a change back; return the photos concerned."""
        rows = [self._row_of[path] for path in self.store.undo(change)]
        self.changed()
        return rows

    # Pictures

    def picture(self, row: int, side: int) -> bytes:
        """Return a photo as a JPEG file that is at most `side` pixels wide and high."""
        path, file = self.paths[row], io.BytesIO()
        where = describe(path, row)
        if not inside(path, self.root):
            raise ImageReadError(where, "leads out of the folder.")
        with self._decoders:
            content = read_bytes(path, where, MAX_PIXELS)
            image = to_rgb(path, content, where, MAX_PIXELS, side)
            image.thumbnail((side, side))
        image.save(file, "JPEG", quality=85)
        return file.getvalue()


def inside(path: str, root: str) -> bool:
    """Whether a path, its links followed, is below a folder."""
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(root), ""))


def _all_inside(paths: Iterable[str], root: str) -> list[str]:
    """Leave out links that lead out of a folder. Each folder of photos is looked at once: that is quick."""
    real = cache(os.path.realpath)

    def target(path: str) -> str:
        folder, name = os.path.split(path)
        is_link = os.path.islink(path)
        return os.path.realpath(path) if is_link else os.path.join(real(folder), name)

    top = os.path.join(real(root), "")
    return [path for path in paths if target(path).startswith(top)]


def open_session(
    photos: str,
    output: str,
    classes: Sequence[str],
    encoder: Any,
    templates: Any,
    *,
    tags: bool | None = None,
) -> Session:
    """List the photos of a folder, and open the answers about them. A start that fails leaves nothing behind."""
    listed = list_images(photos)
    paths = _all_inside(listed, photos)
    if len(paths) < len(listed):
        warn(f"{len(listed) - len(paths):,} photos are left out: they are links out of the folder.")
    # What has been sorted into folders earlier, if the answers are in the folder of photos.
    earlier = re.compile(re.escape(os.path.join(output, "sorted-")) + rf"\d+{re.escape(os.sep)}")
    paths = [path for path in paths if not earlier.match(path)]
    if not paths:
        raise ValueError(f"{photos} contains no photos of its own.")
    if os.path.exists(output) and not os.path.isdir(output):
        raise NotADirectoryError(f"{output} is not a folder; pass another one as --output.")
    is_new = not os.path.isdir(output)
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{output} cannot be made: {error.strerror}. Pass another folder as --output."
        ) from error
    store = None
    try:
        refuse_links(os.path.join(output, "features.sqlite"))
        store = Store(output, tags=tags)
        if not is_own(store, "labels.csv"):
            raise FileExistsError(
                f"{os.path.join(output, 'labels.csv')} was not written by `sktip label`, or was changed since; "
                "it stays as it is. Move it, and add its labels with --merge, or pass another folder as "
                "--output."
            )
        store.open_classes(classes)
    except BaseException:
        if store is not None:
            store.discard()
        if is_new:
            with suppress(OSError):
                os.rmdir(output)
        raise
    return Session(photos, paths, store, encoder, templates=templates, is_new=is_new)
