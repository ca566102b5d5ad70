"""Threads beside the page: one encodes the photos, one learns from the answers. What they know is numbers."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.utils import gen_batches

from sktip._encoder import set_of_the_machine
from sktip._encoding.session import open_encoder
from sktip._few_shot import FewShotClassifier
from sktip._few_shot_tagger import FewShotTagger
from sktip._images.times import photo_times
from sktip._label.accuracy import FEWEST, Calibration, Estimate, shares_among
from sktip._label.store import ASIDE, NONE, Answer, Store
from sktip._reject_unknown import RejectUnknown
from sktip.exceptions import ImageReadError
from sktip.model_selection import near_duplicate_groups, suggest_shots
from sktip.model_selection._cross_fit import cv_splits

#: Photos without answer that a fit learns from, and that suggestions are drawn from.
POOL = 5000
#: Number of photos that are suggested at a time.
SUGGESTIONS = 24
#: Number of answers that are listed as the most doubtful.
DOUBTFUL = 10
#: Number of parts in which answers are held out, and of answers above which half as many do.
FOLDS, FEW_ANSWERS = 8, 200
#: Numbers of encoded photos after which the thread learns anew, besides all of them.
MILESTONES = frozenset(4**power for power in range(3, 12))
#: Probabilities are hidden while the expected accuracy may be below it.
QUALITY = 0.6


@dataclass(frozen=True)
class ClassKnowledge:
    """What is known of one class."""

    #: Number of its photos with an answer.
    n_answers: int = 0
    #: Of `n_held_out` of them, predicted without their own label, how many are right; and by its name alone.
    n_held_out: int = 0
    right: int = 0
    right_by_name: int | None = None
    #: Of the photos in the folder that can be read.
    share: Estimate | None = None
    #: A few of its photos, the most typical first.
    examples: tuple[int, ...] = ()


@dataclass(frozen=True)
class Knowledge:
    """What one fit knows about the photos."""

    model: Any = None
    #: Predicted class of each photo, and whether it is one of the classes; with several tags, a tuple of tags.
    predicted: NDArray[Any] = field(default_factory=lambda: np.empty(0, object))
    known: NDArray[Any] = field(default_factory=lambda: np.empty(0, bool))
    #: The model's probability that the prediction is right.
    certainty: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    #: How often predictions of a certainty are right.
    calibration: Calibration | None = None
    #: Expected share of right predictions among the photos without answer.
    accuracy: Estimate | None = None
    #: The same after earlier numbers of answers.
    curve: tuple[tuple[int, Estimate], ...] = ()
    #: By class, in the order of the classes.
    classes: dict[str, ClassKnowledge] = field(default_factory=dict)
    #: The answers that are least probable without themselves, and their probabilities, the smallest first.
    doubtful: tuple[tuple[int, float], ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether the predictions are right often enough to be shown with their certainty."""
        return self.accuracy is not None and self.accuracy.lower >= QUALITY


class Learner:
    """Features of the photos and what is learned from the answers, by threads that `start` starts.

    Attributes
    ----------
    features : ndarray of shape (n, d)
        Zero for photos that are not encoded yet; (n, 0) before the first.

    readable : ndarray of shape (n,), bool
        Which photos are encoded.

    errors : dict of int to str
        Why photos cannot be read.

    knowledge : Knowledge
        Of the last fit.

    suggested : list of int
        Photos to label next.

    version : int
        Grows when there is something new.

    stage : str
        What the threads are doing: "loading", "encoding", "learning" or "".

    problem : str
        Why the last fit failed, if it did.

    failure : Exception or None
        Why not all photos could be encoded.
    """

    def __init__(self, paths: Sequence[str], store: Store, encoder: Any, templates: Any):
        n = len(paths)
        self.paths, self.store, self.encoder, self.templates = paths, store, encoder, templates
        self.features, self.readable = np.zeros((n, 0), np.float32), np.zeros(n, bool)
        self.errors: dict[int, str] = {}
        self.knowledge, self.suggested, self.version = Knowledge(), list[int](), 0
        self.problem = ""
        self.failure: Exception | None = None
        #: The order in which photos are encoded, so that those at any time are a sample of all.
        self.order = np.random.default_rng(0).permutation(n)
        self.row_of = {path: row for row, path in enumerate(paths)}
        #: Photos in the order in which they were taken, and the place of each in it.
        self.in_time = np.arange(n)
        self.place_in_time = np.arange(n)
        #: Number of the pile of copies, or of the burst, that each photo belongs to.
        self.piles = np.arange(n)
        self.n_encoded, self.is_learning = 0, False
        self.times: Any = None
        self._open: Any = None
        self._text: dict[str, NDArray[Any]] = {}
        self._changed = threading.Event()

    @property
    def stage(self) -> str:
        """What the threads are doing."""
        if self._open is None:
            return "loading"
        if self.n_encoded < len(self.paths):
            return "encoding"
        return "learning" if self.is_learning or self._changed.is_set() else ""

    def start(self, failed: Callable[[], None] = lambda: None) -> None:
        """Encode and learn in threads; call `failed` if the photos cannot be encoded."""

        def encode() -> None:
            try:
                self.encode()
            except Exception as error:
                self.failure, self.problem = error, str(error)
                self.version += 1
                if self.n_encoded == 0:
                    failed()

        for action in (self.look_at_times, encode, self._learn_for_ever):
            threading.Thread(target=action, daemon=True).start()

    def wake(self) -> None:
        """Learn again, since answers or classes have changed."""
        self._changed.set()

    def look_at_times(self) -> None:
        """Put the photos into the order in which they were taken; those without a time by their names."""
        # Reading a pipe may never end.
        self.times = photo_times([p if os.path.isfile(p) else b"" for p in self.paths])
        self.in_time = np.argsort(self.times, kind="stable")  # NaT comes last.
        self.place_in_time = np.argsort(self.in_time)
        self.version += 1

    def encode(self) -> None:
        """Load the model, encode all photos, and find the piles of photos that show nearly the same."""
        order, session = self.order.tolist(), open_encoder(self.encoder)
        self._open = session
        self.version += 1

        def note(index: int, error: ImageReadError) -> None:
            self.errors[order[index]] = error.reason

        with closing(session.rows([self.paths[row] for row in order], note)) as rows:
            for row, feature in zip(order, rows, strict=True):
                if not self.features.shape[1]:
                    self.features = np.zeros((len(order), len(feature)), np.float32)
                if np.isfinite(feature).all():
                    self.features[row] = feature
                    self.readable[row] = True
                else:
                    self.errors.setdefault(row, "its features are not finite")
                self.n_encoded += 1
                if self.n_encoded in MILESTONES:
                    self.version += 1
                    self.wake()
        if self.times is None:  # Its thread is not ready yet.
            self.look_at_times()
        seen = np.flatnonzero(self.readable)
        if len(seen) > 1:
            groups = near_duplicate_groups(self.features[seen], times=self.times[seen])
            # Each pile has the number of its first photo; photos that cannot be read are piles of their own.
            _, first = np.unique(groups, return_index=True)
            piles = np.arange(len(order))
            piles[seen] = seen[first[groups]]
            self.piles = piles
        self.version += 1
        self.wake()

    @property
    def has_text(self) -> bool:
        """Whether the model reads the names of classes."""
        return self._open is not None and self._open.text_block is not None

    def text_of(self, text: str, templates: Any = "{}") -> NDArray[np.float32]:
        """Feature of a text, (d,)."""
        return self.encoder.encode_text([text], templates)[0]

    def _learn_for_ever(self) -> None:
        while self._changed.wait():
            self._changed.clear()
            self.is_learning = True
            try:
                for _ in self.learn():
                    self.version += 1
                self.problem = str(self.failure or "")
            except Exception as error:  # The page shows it, and labelling goes on.
                self.problem = f"{type(error).__name__}: {error}"
            self.is_learning = False
            self.version += 1

    def learn(self) -> Iterator[None]:
        """Fit and predict all photos, suggest the next ones, and assess: three steps."""
        if not self.features.shape[1]:
            return
        given, classes = self._given(), self.store.classes
        task = self._task(given, classes)
        pool = self._pool(given)
        self.knowledge = replace(
            self.knowledge, classes=self._counts(classes, given), curve=self._curve()
        )
        if task.clf is None:
            self.knowledge = Knowledge(classes=self.knowledge.classes, curve=self.knowledge.curve)
        else:
            self.knowledge = self._predict(self._fit(clone(task.clf), task, pool), given)
        yield
        if len(pool):
            n, known = min(SUGGESTIONS, len(pool)), self.features[task.rows]
            options: Any = {"X_labeled": known, "y": task.y} if len(task.rows) else {}
            if self.store.tags:  # Only the features say what is like them.
                options = {"X_labeled": known, "y": np.zeros(len(known), int)} if len(known) else {}
            elif task.clf is not None:
                options |= task.names
            chosen = suggest_shots(self.features[pool], n, **options, random_state=0)
            self.suggested = pool[chosen].tolist()
        yield
        if task.clf is not None and task.is_assessed and len(set(self.piles[task.rows])) > 1:
            self.knowledge = self._assess(task, given)

    def final_model(self) -> Any:
        """Fit the classifier or tagger that `sktip predict` takes."""
        encoder, given = clone(self.encoder), self._given()
        set_of_the_machine(encoder, device=None)
        classes = self.store.classes
        task = self._task(given, classes)
        if task.clf is None:
            raise ValueError("label photos of two classes first.")
        options: Any = {"class_names": classes} if self.store.tags or self.has_text else {}
        if self.has_text or not self.store.tags:
            options["templates"] = self.templates if self.has_text else None
        estimator = type(task.clf)(encoder, input="features", **options)
        if task.is_assessed and not self.store.tags:
            estimator = RejectUnknown(estimator)
        return self._fit(estimator, task, self._pool(given))

    def _given(self) -> dict[int, Answer]:
        """Answers to photos of this folder."""
        answers, rows = self.store.answers, self.row_of
        return {rows[path]: own for path, own in answers.items() if path in rows}

    def _task(self, given: Mapping[int, Answer], classes: list[str]) -> "Task":
        """Collect what a fit learns from."""
        tags = self.store.tags
        aside = ASIDE[1:] if tags else ASIDE
        rows = [r for r in sorted(given) if self.readable[r] and given[r].labels[0] not in aside]
        if tags:
            y = np.array([[name in given[row].labels for name in classes] for row in rows], int)
            is_possible = len(rows) > 1 and len(classes) > 0
        else:
            y = np.array([given[row].labels[0] for row in rows], str)
            is_possible = len(classes) > 1 if self.has_text else len(np.unique(y)) > 1
        names: dict[str, Any] = {"class_names": classes} if tags else {}
        if self.has_text and is_possible:
            new = [name for name in classes if name not in self._text]
            if new:
                text = self.encoder.encode_text(new, self.templates)
                self._text |= dict(zip(new, text, strict=True))
            names["text_features"] = np.stack([self._text[name] for name in classes])
            names["class_names"] = classes
        clf: Any = None
        if is_possible and tags:
            clf = FewShotTagger(**names)
        elif is_possible:
            scale: Any = {"logit_scale": self._open.logit_scale} if names else {"templates": None}
            clf = FewShotClassifier(**names, **scale)
        return Task(clf, np.array(rows, np.intp), y, names)

    def _pool(self, given: Mapping[int, Answer]) -> NDArray[np.intp]:
        """Sample of the photos without answer."""
        without = self.readable.copy()
        without[list(given)] = False
        return np.sort(self.order[without[self.order]][:POOL])

    def _fit(self, estimator: Any, task: "Task", pool: NDArray[Any]) -> Any:
        """Fit to the answers, if there are any, and to photos without one."""
        options: dict[str, Any] = {}
        if len(task.rows):
            options = {"X": self.features[task.rows], "y": task.y, "groups": self.piles[task.rows]}
        if len(pool) and not self.store.tags:
            options["X_unlabeled"] = self.features[pool]
        with warnings.catch_warnings():
            # The page shows the shares itself.
            warnings.filterwarnings("ignore", "X_unlabeled: ")
            return estimator.fit(**options)

    def _counts(self, classes: list[str], given: Mapping[int, Answer]) -> dict[str, ClassKnowledge]:
        rows: dict[str, list[int]] = {name: [] for name in classes}
        for row, answer in given.items():
            for label in answer.labels:
                if label in rows:
                    rows[label].append(row)
        return {
            name: ClassKnowledge(len(own), examples=tuple(self._typical(own)))
            for name, own in rows.items()
        }

    def _typical(self, rows: list[int]) -> list[int]:
        """Choose a few photos of a class, the nearest to its mean first."""
        rows = [row for row in rows if self.readable[row]]
        X = self.features[rows]
        return [rows[i] for i in np.argsort(-(X @ X.sum(axis=0)), kind="stable")[:4]]

    def _predict(self, model: Any, given: Mapping[int, Answer]) -> Knowledge:
        """Predict all photos, and count the classes in the folder."""
        n, known = len(self.paths), self.knowledge.known
        predicted, certainty = np.empty(n, object), np.empty(n, np.float32)
        for part in gen_batches(n, 4096):
            proba = model.predict_proba(self.features[part])
            predicted[part], certainty[part] = _decided(model, proba)
        return replace(
            self.knowledge,
            model=model,
            predicted=predicted,
            certainty=certainty,
            known=known if len(known) else np.ones(n, bool),
        )

    def _assess(self, task: "Task", given: Mapping[int, Answer]) -> Knowledge:
        """Predict held-out photos: how many are right, which labels are doubtful, which photos are unknown."""
        now, X, groups = self.knowledge, self.features[task.rows], self.piles[task.rows]
        if self.store.tags:
            held_out = _held_out_tags(task, X, groups, now, len(self.paths))
        else:
            held_out = _held_out(task, X, groups, self.features[self._pool(given)], self.features)
        table = dict(now.classes)
        named = None
        if "text_features" in task.names and not self.store.tags:
            best = (X @ task.names["text_features"].T).argmax(axis=1)
            named = np.array(task.names["class_names"])[best] == task.y
        for name, known in table.items():
            here = task.has(name)
            n_right = int((here & held_out.finds(name)).sum())
            by_name = None if named is None else int((here & named).sum())
            table[name] = replace(
                known, n_held_out=int(here.sum()), right=n_right, right_by_name=by_name
            )
        worst = np.argsort(held_out.own, kind="stable")[:DOUBTFUL]
        now = replace(
            now,
            known=held_out.known,
            calibration=None,
            accuracy=None,
            classes=table,
            doubtful=tuple((int(task.rows[i]), float(held_out.own[i])) for i in worst),
        )
        asked, strange, rest = self._parts(task, given)
        right = np.append(held_out.right[asked], ~held_out.known[strange])
        if len(right) < FEWEST:
            return now
        certainty = np.append(held_out.certainty[asked], now.certainty[strange])
        now = replace(now, calibration=Calibration(certainty, right))
        if now.calibration is None or not rest.any():
            return now
        accuracy = now.calibration.share(now.certainty[rest])
        self._extend_curve(len(given), accuracy)
        now = replace(now, accuracy=accuracy, curve=self._curve())
        return replace(now, classes=self._shares(now, accuracy.value, task, held_out, given))

    def _parts(
        self, task: "Task", given: Mapping[int, Answer]
    ) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.bool_]]:
        """Return which photos of a task were looked at one by one, those of no class, and those without answer.

        Photos that were confirmed in bulk are those that the model was sure of. From those of no class it has not
        learned.
        """
        asked = np.array([not given[row].bulk for row in task.rows.tolist()], bool)
        strange = [
            row
            for row, own in given.items()
            if own.labels == (NONE,) and not own.bulk and self.readable[row] and not self.store.tags
        ]
        rest = self.readable.copy()
        rest[list(given)] = False
        return asked, np.array(strange, np.intp), rest

    def _shares(
        self,
        now: Knowledge,
        accuracy: float,
        task: "Task",
        held_out: "HeldOut",
        given: Mapping[int, Answer],
    ) -> dict[str, ClassKnowledge]:
        """Count the answers about photos that are there, and estimate the shares among the rest."""
        asked, strange, rest = self._parts(task, given)
        names, predicted = list(now.classes), now.predicted[rest].tolist()
        if self.store.tags:
            shares = [
                shares_among(
                    held_out.finds(name)[asked].astype(int),
                    task.has(name)[asked].astype(int),
                    np.array([name in own for own in predicted], int),
                    2,
                    accuracy,
                )[1]
                for name in names
            ]
        else:
            # The last one is none of the classes.
            code, n = {name: i for i, name in enumerate(names)}, len(names)

            def codes(labels: Any, is_known: Any) -> NDArray[np.intp]:
                found = np.array([code[own] for own in labels.tolist()], np.intp)
                return np.where(is_known, found, n)

            found = codes(held_out.predicted[asked], held_out.is_known[asked])
            found = np.append(found, codes(now.predicted[strange], now.known[strange]))
            true = np.append(codes(task.y[asked], True), np.full(len(strange), n))
            among = codes(now.predicted[rest], now.known[rest])
            shares = shares_among(found, true, among, n + 1, accuracy)
        n_rest, total, table = int(rest.sum()), int(self.readable.sum()), {}
        for name, own in zip(names, shares, strict=False):
            counted = int(task.has(name).sum())
            value, low, high = ((counted + n_rest * share) / total for share in own)
            share = Estimate(float(value), float(low), float(high), total)
            table[name] = replace(now.classes[name], share=share)
        return table

    def _curve(self) -> tuple[tuple[int, Estimate], ...]:
        return tuple((n, Estimate(*values)) for n, *values in self.store.setting("curve", []))

    def _extend_curve(self, n: int, accuracy: Estimate) -> None:
        """Add to the curve, which is kept for the next time; after an undo it goes on from there."""
        curve = [point for point in self.store.setting("curve", []) if point[0] < n]
        with suppress(OSError):  # A curve with a point less.
            self.store.set("curve", [*curve, [n, *accuracy]])


class Task(NamedTuple):
    """What a fit learns from."""

    #: Unfitted classifier or tagger of features; None if there are too few classes or answers.
    clf: Any
    #: Photos with labels, and the labels; with several tags a column of 0 and 1 for each.
    rows: NDArray[np.intp]
    y: NDArray[Any]
    #: `class_names` and `text_features`.
    names: dict[str, Any]

    @property
    def is_assessed(self) -> bool:
        """Whether there are labels to hold out."""
        return len(self.rows) > 3 if self.y.ndim > 1 else len(np.unique(self.y)) > 1

    def has(self, name: str) -> NDArray[np.bool_]:
        """Return which photos have a label."""
        if self.y.ndim > 1:
            return np.asarray(self.y[:, self.names["class_names"].index(name)] == 1)
        return np.asarray(self.y == name)


class HeldOut(NamedTuple):
    """Predictions of the photos of a task without their own labels."""

    #: Of the photos of the task: what is predicted, how certain that is, whether it is one of the classes, whether it
    #: is right, and the probability of the label that was given.
    predicted: NDArray[Any]
    certainty: NDArray[Any]
    is_known: NDArray[Any]
    right: NDArray[Any]
    own: NDArray[Any]
    #: Which of all photos show one of the classes.
    known: NDArray[Any]

    def finds(self, name: str) -> NDArray[np.bool_]:
        """Return for which photos a label is predicted."""
        found = [name == own or (isinstance(own, tuple) and name in own) for own in self.predicted]
        return np.array(found, bool)


def _held_out(
    task: Task, X: NDArray[Any], groups: NDArray[Any], pool: NDArray[Any], features: NDArray[Any]
) -> HeldOut:
    """Hold out parts of the photos with one label, which are unlabelled photos meanwhile."""
    classes, y = np.unique([*task.y, *task.names.get("class_names", [])]), task.y
    codes, proba = np.searchsorted(classes, y), np.zeros((len(y), len(classes)))
    n_folds = FOLDS if len(y) <= FEW_ANSWERS else FOLDS // 2
    for rows, held_out in cv_splits(task.clf, X, y, groups, cv=n_folds):
        left = np.unique(codes[rows])
        if len(left) < 2 and not task.names:  # It is all that the model could say.
            proba[np.ix_(held_out, left)] = 1
            continue
        fitted = clone(task.clf).fit(
            X[rows], y[rows], groups=groups[rows], X_unlabeled=np.concatenate([pool, X[held_out]])
        )
        columns = np.searchsorted(classes, fitted.classes_)
        proba[np.ix_(held_out, columns)] = fitted.predict_proba(X[held_out])
    own = proba[np.arange(len(X)), codes]
    if not task.names:
        # A class without text is not known when all its photos are held out: nothing is said of them.
        pairs = np.unique(np.column_stack([codes, groups]), axis=0)[:, 0]
        own = np.where(np.bincount(pairs, minlength=len(classes))[codes] > 1, own, 1)
    is_known, known = np.ones(len(y), bool), np.ones(len(features), bool)
    with suppress(ValueError):  # For the same reason.
        reject = RejectUnknown(task.clf).fit(X, y, groups=groups)
        is_known = reject.held_out_scores_ >= reject.threshold_
        parts = gen_batches(len(features), 4096)
        known = np.concatenate([reject.is_known(features[part]) for part in parts])
    predicted = classes.astype(object)[proba.argmax(axis=1)]
    right = is_known & (predicted == y)
    return HeldOut(predicted, proba.max(axis=1), is_known, right, own, known)


def _held_out_tags(
    task: Task, X: NDArray[Any], groups: NDArray[Any], now: Knowledge, n_photos: int
) -> HeldOut:
    """Hold out parts of the photos with several tags."""
    proba, n_folds = np.empty(task.y.shape), min(4, len(np.unique(groups)))
    for rows, held_out in GroupKFold(n_folds).split(X, task.y, groups):
        fitted = clone(task.clf).fit(X[rows], task.y[rows], groups=groups[rows])
        proba[held_out] = fitted.predict_proba(X[held_out])
    predicted, certainty = _decided(now.model, proba)
    own = np.where(task.y, proba, 1 - proba).min(axis=1)
    found = np.array([[tag in tags for tag in now.model.tags_] for tags in predicted], int)
    right = (found == task.y).all(axis=1)
    known = np.ones(n_photos, bool)
    return HeldOut(predicted, certainty, np.ones(len(X), bool), right, own, known)


def _decided(model: Any, proba: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predictions of classes or of tuples of tags, (n,), and the probabilities that they are right."""
    if not isinstance(model, FewShotTagger):
        return model.classes_.astype(object)[proba.argmax(axis=1)], proba.max(axis=1)
    positive, predicted = proba >= model.thresholds_, np.empty(len(proba), object)
    for i, own in enumerate(positive):
        predicted[i] = tuple(model.tags_[own].tolist())
    return predicted, np.where(positive, proba, 1 - proba).prod(axis=1)
