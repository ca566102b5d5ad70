"""The state of `sktip label` without its page: photos, what is known of them, and what comes next."""

import io
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.utils import gen_batches

from sktip._encoder import set_of_the_machine
from sktip._encoding.session import open_encoder
from sktip._few_shot import FewShotClassifier
from sktip._images.files import read_bytes
from sktip._images.folders import list_images
from sktip._images.inputs import describe
from sktip._images.rgb import to_rgb
from sktip._label.answers import ASIDE, NONE, Answers
from sktip._predict_images import csv_lines
from sktip._reject_unknown import RejectUnknown
from sktip._utils.bunch import ShortBunch
from sktip._utils.output_files import write_file
from sktip._utils.warn import warn
from sktip.exceptions import ImageReadError
from sktip.model_selection import (
    estimate_accuracy,
    forecast_accuracy,
    held_out_proba,
    suggest_shots,
)

#: Photos without answer that a fit learns from, and that suggestions are drawn from.
POOL = 5000
#: Number of photos that are suggested at a time.
SUGGESTIONS = 24
#: Largest size of a photo that is shown, in pixels.
MAX_PIXELS = 89_478_485


@dataclass(frozen=True)
class Knowledge:
    """What one fit knows about the photos."""

    model: Any = None
    #: Predicted class of each photo, its probability, and whether it is one of the classes.
    predicted: NDArray[Any] = field(default_factory=lambda: np.empty(0, object))
    certainty: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    known: NDArray[Any] = field(default_factory=lambda: np.empty(0, bool))
    accuracy: str = ""
    #: What to expect on the photos without answer, and of ten more answers.
    outlook: str = ""
    #: By class, the cells of a table.
    table: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Photos whose label is probably wrong.
    doubtful: list[int] = field(default_factory=list)


class Session:
    """Photos with features, the answers about them, and a thread that learns from these.

    `features`, (n, d), has rows of NaN for photos that cannot be read; `errors` says why. The page
    calls all methods from one thread, but those that write files.
    """

    def __init__(
        self,
        root: str,
        paths: Sequence[str],
        features: NDArray[np.float32],
        encoder: Any,
        answers: Answers,
        *,
        templates: Any = "a photo of a {}.",
        logit_scale: float = 100.0,
        errors: dict[int, str] | None = None,
    ):
        self.root, self.paths, self.answers, self.errors = root, paths, answers, errors or {}
        self.readable = np.asarray(np.isfinite(features).all(axis=1))
        self.features = features
        self.features[~self.readable] = 0
        self.knowledge, self.version, self.problem = Knowledge(), 0, ""
        self.run = secrets.token_hex(4)
        self._encoder, self._templates, self._logit_scale = encoder, templates, logit_scale
        self._row_of = {path: row for row, path in enumerate(paths)}
        self._order = np.random.default_rng(0).permutation(np.flatnonzero(self.readable))
        self._text: dict[str, NDArray[Any]] = {}
        self._first: list[int] = []
        self._suggested: list[int] = []
        self._shown: dict[Any, int] = {}
        self._changed = threading.Event()
        # Each decoder may need as much memory as the largest photo.
        self._decoders = threading.Semaphore(2)

    def answer(self, labels: dict[int, str | None]) -> dict[int, str | None]:
        """Store answers, None for no answer; return the earlier ones, with which they can be undone."""
        before = self.answers.give({self.paths[row]: label for row, label in labels.items()})
        self._changed.set()
        return {self._row_of[path]: label for path, label in before.items()}

    def add_class(self, name: str) -> None:
        """Add a class without photos."""
        self.answers.add_class(name)
        self._changed.set()

    def rename_class(self, old: str, name: str) -> None:
        """Give a class another name."""
        self.answers.rename_class(old, name)
        self._changed.set()

    def next_photo(self, window: Any) -> int | None:
        """Return the photo that a window shows next: one that no other window shows."""
        self._shown.pop(window, None)
        row = self.following_photo()
        if row is not None:
            self._shown[window] = row
        return row

    def following_photo(self) -> int | None:
        """Return the first photo without answer that no window shows."""
        shown = set(self._shown.values())
        rows = map(int, chain(self._first, self._suggested, self._order))
        return next((r for r in rows if r not in shown and self.label_of(r) is None), None)

    def close(self, window: Any) -> None:
        """Free the photo that a window has shown."""
        self._shown.pop(window, None)

    def show_first(self, rows: Sequence[int]) -> None:
        """Show these photos before all others."""
        self._first = [*rows, *self._first]

    def label_of(self, row: int) -> str | None:
        """Answer about a photo."""
        return self.answers.labels.get(self.paths[row])

    def name(self, row: int) -> str:
        """Path of a photo in the folder."""
        return os.path.relpath(self.paths[row], self.root)

    def answered(self) -> list[int]:
        """Photos of this folder with an answer."""
        return self._rows(self.answers.labels)

    def guess(self, row: int) -> dict[str, float]:
        """Probabilities of the classes of a photo, the largest first."""
        model = self.knowledge.model
        if model is None:
            return {}
        proba = model.predict_proba(self.features[[row]])[0]
        return {str(model.classes_[i]): float(proba[i]) for i in np.argsort(-proba, kind="stable")}

    def prediction(self, row: int) -> tuple[str | None, float]:
        """Class of a photo or "unknown", and its probability: 1 for an answer."""
        label, now = self.label_of(row), self.knowledge
        if label == NONE or label in self.answers.classes:
            return "unknown" if label == NONE else label, 1.0
        if now.model is None or not self.readable[row]:
            return None, np.nan
        label = now.predicted[row] if now.known[row] else "unknown"
        return label, float(now.certainty[row])

    def predicted_as(self, label: str | None, low: float = 0, high: float = 1) -> list[int]:
        """Photos without answer that are predicted as a class, NONE or any, the most certain first."""
        now = self.knowledge
        if now.model is None:
            return []
        wanted = self.readable & (now.certainty >= low) & (now.certainty <= high)
        wanted[self.answered()] = False
        if label is not None:
            wanted &= ~now.known if label == NONE else now.known & (now.predicted == label)
        rows = np.flatnonzero(wanted)
        return rows[np.argsort(-now.certainty[rows], kind="stable")].tolist()

    def picture(self, row: int, side: int) -> bytes:
        """Return a photo as a JPEG file that is at most `side` pixels wide and high."""
        path, file = self.paths[row], io.BytesIO()
        where = describe(path, row)
        if not inside(path, self.root):
            raise ImageReadError(f"{where}: leads out of the folder.")
        with self._decoders:
            content = read_bytes(path, where, MAX_PIXELS)
            image = to_rgb(path, content, where, MAX_PIXELS, side)
            image.thumbnail((side, side))
        image.save(file, "JPEG", quality=85)
        return file.getvalue()

    def save_table(self) -> str:
        """Write the table of `predict_images`, in which answers are predictions of probability 1."""
        path = os.path.join(self.answers.folder, "predictions.csv")
        rows = range(len(self.paths))
        labels, probabilities = zip(*map(self.prediction, rows), strict=True)
        errors = [self.errors.get(row) for row in rows]
        table = {"path": self.paths, "prediction": labels, "probability": probabilities}
        write_file(path, csv_lines(ShortBunch(**table, error=errors)), overwrite=True)
        return path

    def sort_into_folders(self, *, copy: bool) -> str:
        """Make a folder per class, with links to the photos or copies. No photo is changed."""
        names = (f"sorted-{number}" for number in count(1))
        targets = (os.path.join(self.answers.folder, name) for name in names)
        target = next(path for path in targets if not os.path.exists(path))
        folders: dict[str, str] = {}
        for row, path in enumerate(self.paths):
            label, _ = self.prediction(row)
            if label is None or not inside(path, self.root):
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

    def model(self) -> Any:
        """Fit the classifier that `sktip predict` takes."""
        encoder = clone(self._encoder)
        set_of_the_machine(encoder, device=None)
        labels, classes = self.answers.now()
        options: Any = {"class_names": classes, "templates": self._templates}
        clf = FewShotClassifier(encoder, input="features", **options)
        rows, y = self._labelled(labels)
        estimator = RejectUnknown(clf) if len(np.unique(y)) > 1 else clf
        return self._fit(estimator, rows, y, self._pool(labels))

    def start(self) -> None:
        """Learn in a thread, now and after each answer."""
        self._changed.set()
        threading.Thread(target=self._learn_for_ever, daemon=True).start()

    def _learn_for_ever(self) -> None:
        while self._changed.wait():
            self._changed.clear()
            try:
                self.problem = ""
                for _ in self.learn():
                    self.version += 1
            except Exception as error:  # The page shows it, and labelling goes on.
                self.problem = f"{type(error).__name__}: {error}"
            self.version += 1

    def learn(self) -> Iterator[None]:
        """Fit and predict all photos, suggest the next ones, assess and forecast: four steps."""
        labels, classes = self.answers.now()
        (rows, y), pool = self._labelled(labels), self._pool(labels)
        new = [name for name in classes if name not in self._text]
        if new:
            text = self._encoder.encode_text(new, self._templates)
            self._text |= dict(zip(new, text, strict=True))
        text = np.stack([self._text[name] for name in classes])
        names: Any = {"text_features": text, "class_names": classes}
        clf = FewShotClassifier(**names, logit_scale=self._logit_scale)
        model = self._fit(clone(clf), rows, y, pool)
        self.knowledge = self._predict(model, list(labels.values()))
        yield
        if len(pool):
            n = min(SUGGESTIONS, len(pool))
            known: Any = {"X_labeled": self.features[rows], "y": y} if len(y) else {}
            chosen = suggest_shots(self.features[pool], n, **known, **names, random_state=0)
            self._suggested = pool[chosen].tolist()
        yield
        if len(np.unique(y)) > 1:
            self.knowledge = self._assess(clf, text, rows, y)
            yield
            self.knowledge = self._foresee(clf, rows, y, pool)

    def _fit(self, estimator: Any, rows: NDArray[Any], y: NDArray[Any], pool: NDArray[Any]) -> Any:
        """Fit to the answers, if there are any, and to photos without one."""
        options: dict[str, Any] = {"X_unlabeled": self.features[pool]} if len(pool) else {}
        return estimator.fit(*([self.features[rows], y] if len(y) else []), **options)

    def _predict(self, model: FewShotClassifier, answers: list[str]) -> Knowledge:
        """Predict all photos, and count the classes in the folder."""
        n, known = len(self.paths), self.knowledge.known
        codes, certainty = np.empty(n, np.intp), np.empty(n, np.float32)
        for part in gen_batches(n, 4096):
            proba = model.predict_proba(self.features[part])
            codes[part], certainty[part] = proba.argmax(axis=1), proba.max(axis=1)
        table: dict[str, dict[str, str]] = {name: {} for name in model.classes_.tolist()}
        if model.class_shares_ is not None and model.class_share_errors_ is not None:
            # The photos with answers are counted, and the shares among the rest estimated.
            total = self.readable.sum()
            rest = (total - len(answers)) * (1 - (model.unknown_share_ or 0))
            pairs = zip(model.class_shares_, model.class_share_errors_, strict=True)
            for (name, row), (share, error) in zip(table.items(), pairs, strict=True):
                whole = (answers.count(name) + rest * share) / total
                row["share of the folder"] = f"{whole:.1%} ± {rest * error / total:.1%}"
        return replace(
            self.knowledge,
            model=model,
            predicted=model.classes_.astype(object)[codes],
            certainty=certainty,
            known=known if len(known) else np.ones(n, bool),
            table=table,
        )

    def _assess(
        self, clf: FewShotClassifier, text: NDArray[Any], rows: NDArray[Any], y: NDArray[Any]
    ) -> Knowledge:
        """Predict held-out photos, find unknown ones, and compare names and labels with the photos."""
        now, X = self.knowledge, self.features[rows]
        right = now.model.classes_[held_out_proba(clf, X, y).argmax(axis=1)] == y
        low, high = binomtest(int(right.sum()), len(y)).proportion_ci(method="wilson")
        named = np.array(clf.class_names)[(X @ text.T).argmax(axis=1)] == y
        for name, cells in now.table.items():
            own = y == name
            for title, good in (("right when held out", right), ("found by name alone", named)):
                cells[title] = f"{(own & good).sum():,} of {own.sum():,}"
        reject = RejectUnknown(clf).fit(X, y)
        parts = gen_batches(len(self.paths), 4096)
        order = sorted(now.table, key=lambda name: right[y == name].mean() if name in y else 2)
        return replace(
            now,
            known=np.concatenate([reject.is_known(self.features[part]) for part in parts]),
            accuracy=f"{right.mean():.0%} (95% interval {low:.0%} to {high:.0%}, {len(y):,} photos)",
            table={name: now.table[name] for name in order},
            doubtful=rows[now.model.label_beliefs_ < 0.5].tolist(),
        )

    def _foresee(
        self, clf: FewShotClassifier, rows: NDArray[Any], y: NDArray[Any], pool: NDArray[Any]
    ) -> Knowledge:
        """Estimate the accuracy on the photos without answer, and with ten more answers."""
        now, X, parts = self.knowledge, self.features[rows], []
        if len(pool):
            estimate = estimate_accuracy(now.model, self.features[pool])
            parts.append(
                f"Expected on the photos without answer: {estimate.accuracy:.0%} "
                f"({estimate.lower:.0%} to {estimate.upper:.0%})."
            )
        n_shots: Any = (len(y) + 10) / len(self.answers.classes)
        if np.unique(y, return_counts=True)[1].max() > 1 and n_shots >= 1:
            forecast = forecast_accuracy(clf, X, y, n_shots=[n_shots])
            gain = max(forecast.accuracy[0] - forecast.now[0], 0)
            parts.append(f"Ten more answers are expected to add {100 * gain:.1f} points.")
        return replace(now, outlook=" ".join(parts))

    def _rows(self, labels: Iterable[str]) -> list[int]:
        rows = map(self._row_of.get, labels)
        return [row for row in rows if row is not None]

    def _labelled(self, labels: dict[str, str]) -> tuple[NDArray[np.intp], NDArray[Any]]:
        """Photos with a class, and their classes."""
        rows = [row for row in sorted(self._rows(labels)) if self.readable[row]]
        pairs = [(row, y) for row in rows if (y := labels[self.paths[row]]) not in ASIDE]
        return np.array([row for row, _ in pairs], np.intp), np.array([y for _, y in pairs], str)

    def _pool(self, labels: dict[str, str]) -> NDArray[np.intp]:
        """Sample of the photos without answer."""
        without = np.ones(len(self.paths), bool)
        without[self._rows(labels)] = False
        return np.sort(self._order[without[self._order]][:POOL])


def inside(path: str, root: str) -> bool:
    """Whether a path, its links followed, is below a folder."""
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(root), ""))


def open_session(
    photos: str, output: str, classes: Sequence[str], encoder: Any, templates: Any
) -> Session:
    """List and encode the photos of a folder, and read the answers about them."""
    listed = list_images(photos)
    # A name that is no text cannot be written to a table.
    paths = [p for p in listed if inside(p, photos) and p.encode("utf-8", "ignore").decode() == p]
    if len(paths) < len(listed):
        warn(
            f"{len(listed) - len(paths):,} photos are left out: they are links out of the folder, or their names are no "
            "text in UTF-8."
        )
    if not paths:
        raise ValueError(f"{photos} contains no photos of its own.")
    os.makedirs(output, exist_ok=True)
    answers = Answers(output, classes)
    if len(answers.classes) < 2:
        raise ValueError("there are fewer than two classes; pass --classes deer,fox,empty.")
    errors: dict[int, str] = {}

    def remember(row: int, error: ImageReadError) -> None:
        errors[row] = str(error).removeprefix(describe(paths[row], row) + ": ")

    session = open_encoder(encoder)
    if session.text_block is None:
        raise ValueError("the model cannot read the names of classes; pass a CLIP as --model.")
    features = session.features(paths, remember)
    options: Any = {"templates": templates, "logit_scale": session.logit_scale, "errors": errors}
    return Session(photos, paths, features, encoder, answers, **options)
