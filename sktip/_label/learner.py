"""Threads beside the page: one encodes the photos, one learns from the answers. What they know is numbers."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import gen_batches

from sktip._encoder import set_of_the_machine
from sktip._encoding.session import open_encoder
from sktip._few_shot import FewShotClassifier
from sktip._images.inputs import describe
from sktip._label.accuracy import Estimate, expected_accuracy
from sktip._label.store import ASIDE, Answer, Store
from sktip._reject_unknown import RejectUnknown
from sktip.exceptions import ImageReadError
from sktip.model_selection import held_out_proba, suggest_shots

#: Photos without answer that a fit learns from, and that suggestions are drawn from.
POOL = 5000
#: Number of photos that are suggested at a time.
SUGGESTIONS = 24
#: Number of answers that are listed as the most doubtful.
DOUBTFUL = 10
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
    #: Predicted class of each photo, the model's probability of it, and whether it is one of the classes.
    predicted: NDArray[Any] = field(default_factory=lambda: np.empty(0, object))
    certainty: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    known: NDArray[Any] = field(default_factory=lambda: np.empty(0, bool))
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
        """Whether the predictions are right often enough to be shown with their probabilities."""
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
        Why there are no features at all.
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
        self.n_encoded, self.is_learning = 0, False
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
                if self.n_encoded == 0:
                    self.failure = error
                    failed()
                self.problem = f"{type(error).__name__}: {error}"
                self.version += 1

        for action in (encode, self._learn_for_ever):
            threading.Thread(target=action, daemon=True).start()

    def wake(self) -> None:
        """Learn again, since answers or classes have changed."""
        self._changed.set()

    def encode(self) -> None:
        """Load the model, and encode all photos."""
        order, session = self.order.tolist(), open_encoder(self.encoder)
        self._open = session
        self.version += 1

        def note(index: int, error: ImageReadError) -> None:
            row = order[index]
            name = describe(self.paths[row], index) + ": "
            self.errors[row] = str(error).removeprefix(name)

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
                if self.n_encoded in MILESTONES or self.n_encoded == len(order):
                    self.version += 1
                    self.wake()

    @property
    def has_text(self) -> bool:
        """Whether the model reads the names of classes."""
        return self._open is not None and self._open.text_block is not None

    def text_of(self, text: str, templates: Any = "{}") -> NDArray[np.float32]:
        """Feature of a text, (d,)."""
        feature: NDArray[np.float32] = self.encoder.encode_text([text], templates)[0]
        return feature

    def _learn_for_ever(self) -> None:
        while self._changed.wait():
            self._changed.clear()
            self.is_learning = True
            try:
                for _ in self.learn():
                    self.version += 1
                self.problem = ""
            except Exception as error:  # The page shows it, and labelling goes on.
                self.problem = f"{type(error).__name__}: {error}"
            self.is_learning = False
            self.version += 1

    def learn(self) -> Iterator[None]:
        """Fit and predict all photos, suggest the next ones, and assess: three steps."""
        if not self.features.shape[1]:
            return
        answers, classes = self.store.answers, self.store.classes
        given = {self.row_of[path]: own for path, own in answers.items() if path in self.row_of}
        rows, y = self.labelled(given)
        pool = self.pool(given)
        clf, text = self._classifier(classes)
        if clf is None or (text is None and len(np.unique(y)) < 2):
            self.knowledge = replace(
                Knowledge(), classes=self._counts(classes, given), curve=self._curve()
            )
            yield
            self._suggest(pool, rows, y, {})
            return
        model = self._fit(clone(clf), rows, y, pool)
        self.knowledge = self._predict(model, classes, given)
        yield
        names = {} if text is None else {"text_features": text, "class_names": classes}
        self._suggest(pool, rows, y, names)
        yield
        if len(np.unique(y)) > 1:
            self.knowledge = self._assess(clf, text, given, rows, y)

    def labelled(self, given: Mapping[int, Answer]) -> tuple[NDArray[np.intp], NDArray[Any]]:
        """Photos with a class, and their classes."""
        rows = [r for r in sorted(given) if self.readable[r] and given[r].labels[0] not in ASIDE]
        return np.array(rows, np.intp), np.array([given[row].labels[0] for row in rows], str)

    def pool(self, given: Mapping[int, Answer]) -> NDArray[np.intp]:
        """Sample of the photos without answer."""
        without = self.readable.copy()
        without[list(given)] = False
        return np.sort(self.order[without[self.order]][:POOL])

    def final_model(self) -> Any:
        """Fit the classifier that `sktip predict` takes."""
        encoder = clone(self.encoder)
        set_of_the_machine(encoder, device=None)
        classes = self.store.classes
        given = {
            self.row_of[path]: own
            for path, own in self.store.answers.items()
            if path in self.row_of
        }
        rows, y = self.labelled(given)
        options: Any = (
            {"class_names": classes, "templates": self.templates} if self.has_text else {}
        )
        if len(np.unique(y)) < 2 and not (self.has_text and len(classes) > 1):
            raise ValueError("label photos of two classes first.")
        clf = FewShotClassifier(encoder, input="features", **options)
        estimator = RejectUnknown(clf) if len(np.unique(y)) > 1 else clf
        return self._fit(estimator, rows, y, self.pool(given))

    def _classifier(self, classes: list[str]) -> tuple[Any, NDArray[Any] | None]:
        """Return the classifier of features, and the text of the classes if the model has text."""
        if not self.has_text:
            return FewShotClassifier(), None
        if len(classes) < 2:
            return None, None
        new = [name for name in classes if name not in self._text]
        if new:
            text = self.encoder.encode_text(new, self.templates)
            self._text |= dict(zip(new, text, strict=True))
        text = np.stack([self._text[name] for name in classes])
        scale = self._open.logit_scale
        names: Any = {"text_features": text, "class_names": classes}
        return FewShotClassifier(**names, logit_scale=scale), text

    def _fit(self, estimator: Any, rows: NDArray[Any], y: NDArray[Any], pool: NDArray[Any]) -> Any:
        """Fit to the answers, if there are any, and to photos without one."""
        options: dict[str, Any] = {"X_unlabeled": self.features[pool]} if len(pool) else {}
        return estimator.fit(*([self.features[rows], y] if len(y) else []), **options)

    def _suggest(
        self, pool: NDArray[Any], rows: NDArray[Any], y: NDArray[Any], names: dict[str, Any]
    ) -> None:
        if len(pool):
            n = min(SUGGESTIONS, len(pool))
            known: Any = {"X_labeled": self.features[rows], "y": y} if len(y) else {}
            chosen = suggest_shots(self.features[pool], n, **known, **names, random_state=0)
            self.suggested = pool[chosen].tolist()

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

    def _predict(
        self, model: FewShotClassifier, classes: list[str], given: Mapping[int, Answer]
    ) -> Knowledge:
        """Predict all photos, and count the classes in the folder."""
        n, known = len(self.paths), self.knowledge.known
        codes, certainty = np.empty(n, np.intp), np.empty(n, np.float32)
        for part in gen_batches(n, 4096):
            proba = model.predict_proba(self.features[part])
            codes[part], certainty[part] = proba.argmax(axis=1), proba.max(axis=1)
        table = self._counts(classes, given)
        if model.class_shares_ is not None and model.class_share_errors_ is not None:
            # The photos with answers are counted, and the shares among the rest estimated.
            there = [row for row in given if self.readable[row]]
            total = int(self.readable.sum())
            rest = (total - len(there)) * (1 - (model.unknown_share_ or 0))
            shares = zip(
                model.classes_, model.class_shares_, model.class_share_errors_, strict=True
            )
            for name, share, error in shares:
                counted = sum(name in given[row].labels for row in there)
                value, reach = (counted + rest * share) / total, 1.2816 * rest * error / total
                low = max(value - reach, counted / total)
                high = min(value + reach, (counted + total - len(there)) / total)
                table[name] = replace(table[name], share=Estimate(value, low, high, total))
        return replace(
            self.knowledge,
            model=model,
            predicted=model.classes_.astype(object)[codes],
            certainty=certainty,
            known=known if len(known) else np.ones(n, bool),
            classes=table,
        )

    def _assess(
        self,
        clf: FewShotClassifier,
        text: NDArray[Any] | None,
        given: Mapping[int, Answer],
        rows: NDArray[Any],
        y: NDArray[Any],
    ) -> Knowledge:
        """Predict held-out photos: how many are right, which labels are doubtful, which photos are unknown."""
        now, X, classes = self.knowledge, self.features[rows], self.knowledge.model.classes_
        try:
            proba = held_out_proba(clf, X, y)
            reject = RejectUnknown(clf).fit(X, y)
        except ValueError:
            # Without text, a class of one photo is not known when that is held out.
            return replace(now, accuracy=None, doubtful=())
        right = classes[proba.argmax(axis=1)] == y
        table = dict(now.classes)
        named = (
            None if text is None else np.array(clf.class_names)[(X @ text.T).argmax(axis=1)] == y
        )
        for name, known in table.items():
            own = y == name
            by_name = None if named is None else int((own & named).sum())
            counts: Any = {"n_held_out": int(own.sum()), "right": int((own & right).sum())}
            table[name] = replace(known, **counts, right_by_name=by_name)
        parts = gen_batches(len(self.paths), 4096)
        own = proba[np.arange(len(y)), np.searchsorted(classes, y)]
        worst = np.argsort(own, kind="stable")[:DOUBTFUL]
        # Photos that were confirmed in bulk are those that the model was sure of.
        asked = np.array([not given[row].bulk for row in rows.tolist()], bool)
        rest = self.readable.copy()
        rest[list(given)] = False
        accuracy = expected_accuracy(proba[asked].max(axis=1), right[asked], now.certainty[rest])
        if accuracy is not None:
            self._extend_curve(len(given), accuracy)
        return replace(
            now,
            known=np.concatenate([reject.is_known(self.features[part]) for part in parts]),
            accuracy=accuracy,
            curve=self._curve(),
            classes=table,
            doubtful=tuple(
                zip(rows[worst].tolist(), own[worst].astype(float).tolist(), strict=True)
            ),
        )

    def _curve(self) -> tuple[tuple[int, Estimate], ...]:
        return tuple((n, Estimate(*values)) for n, *values in self.store.setting("curve", []))

    def _extend_curve(self, n: int, accuracy: Estimate) -> None:
        """Add to the curve, which is kept for the next time; after an undo it goes on from there."""
        curve = [point for point in self.store.setting("curve", []) if point[0] < n]
        with suppress(OSError):  # A curve with a point less.
            self.store.set("curve", [*curve, [n, *accuracy]])
