"""What must not matter to any public estimator, and what none may answer: each is listed by the package."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

import sktip
from sktip import BackOff, FewShotTagger, RejectUnknown
from sktip.utils import all_estimators

N_CLASSES, WIDTH = 4, 24
NAMES = [f"class {i}" for i in range(N_CLASSES)]
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(N_CLASSES, WIDTH))
TEXT = CENTRES + RNG.normal(size=CENTRES.shape)
CODES = np.arange(32) % N_CLASSES
LABELS = np.array(NAMES)[CODES]
X, Q = (CENTRES[CODES] + 1.2 * RNG.normal(size=(32, WIDTH)) for _ in range(2))

#: Deterministic in a few steps.
QUICK = {
    "TipAdapterClassifier": {"alpha": 2.0},
    "CLIPAdapterClassifier": {"n_epochs": 3, "batch_size": 10_000, "random_state": 0},
}


def classifier(cls, text=TEXT):
    quick = QUICK.get(cls.__name__, {})
    named = {"class_names": list(NAMES)} if text is not None else {"templates": None}
    # Cosines of these features are as far apart as ten times those of CLIP.
    return cls(text_features=text, logit_scale=10.0, **named, **quick)


#: By name, how to make each public estimator of features from text features, or from None.
ESTIMATORS = {
    **{
        name: lambda text=TEXT, cls=cls: classifier(cls, text)
        for name, cls in all_estimators(type_filter="classifier")
    },
    "FewShotTagger": lambda text=TEXT: FewShotTagger(text_features=text, templates=None),
    "RejectUnknown": lambda text=TEXT: RejectUnknown(classifier(sktip.FewShotClassifier, text)),
    "BackOff": lambda text=TEXT: BackOff(
        classifier(sktip.FewShotClassifier, text),
        {NAMES[0]: "pair", NAMES[1]: "pair"},
        coverage=0.8,
    ),
}
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def targets(name, labels=LABELS):
    """Labels, or a matrix of tags."""
    if name != "FewShotTagger":
        return labels
    return (np.asarray(labels)[:, None] == NAMES).astype(int)


def fitted(name, X=X, labels=LABELS, text=TEXT, **fit):
    return ESTIMATORS[name](text).fit(X, targets(name, labels), **fit)


def difference(first, second, Q=Q, other=None):
    """Largest difference of probabilities."""
    return np.abs(
        first.predict_proba(Q) - second.predict_proba(Q if other is None else other)
    ).max()


def test_all_are_here():
    """Every public estimator with `predict_proba`."""
    public = (getattr(sktip, name) for name in dir(sktip))
    there = {
        cls.__name__ for cls in public if isinstance(cls, type) and hasattr(cls, "predict_proba")
    }
    assert there <= set(ESTIMATORS)


@every_estimator
@pytest.mark.parametrize("noise", [0, 1e-6, 1e-3])
def test_copies_and_near_copies(name, noise):
    """All shots of a class show one scene: other photos get an answer that is not certain beyond reason."""
    # A class whose shots are copies cannot be held out without its name.
    texts = [TEXT] if name in ("RejectUnknown", "BackOff") else [TEXT, None]
    changes = 1 + noise * np.random.default_rng(1).normal(size=X.shape)
    for text in texts:
        p = fitted(name, X[:N_CLASSES][CODES] * changes, text=text).predict_proba(Q)
        assert 1e-18 < p.min() < p.max() <= 1


#: Largest change of a probability by a rotation, where it is more than rounding, and why.
TURNED = {
    "CLIPAdapterClassifier": 0.2,  # The first weights of its network are random.
}


@every_estimator
def test_columns_and_rows_in_another_order(name):
    rng = np.random.default_rng(2)
    columns, rows = rng.permutation(WIDTH), rng.permutation(len(X))
    expected = fitted(name)
    turned = fitted(name, X[:, columns], text=TEXT[:, columns])
    assert difference(expected, turned, other=Q[:, columns]) < TURNED.get(name, 1e-6)
    assert difference(expected, fitted(name, X[rows], LABELS[rows])) < 1e-6


@every_estimator
def test_rotation(name):
    """Cosines do not change, so nothing that is learned from them may."""
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(WIDTH, WIDTH)))[0]
    turned = fitted(name, X @ turn, text=TEXT @ turn)
    assert difference(fitted(name), turned, other=Q @ turn) < TURNED.get(name, 1e-6)


@every_estimator
def test_a_constant_block(name):
    """Columns that are the same for all photos say nothing; rows keep their length 1."""

    def beside(rows, value):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return np.hstack([unit, np.full((len(rows), 3), value)])

    estimator = fitted(name, beside(X, 0.1), text=beside(TEXT, 0))
    answers, plain = estimator.predict(beside(Q, 0.1)), fitted(name).predict(Q)
    assert (answers == plain).mean() > 0.85


@every_estimator
def test_the_fit_is_its_own(name):
    """What is done to the parameters and the data afterwards changes no answer."""
    text, shots, labels = TEXT.copy(), X.copy(), targets(name).copy()
    estimator = ESTIMATORS[name](text).fit(shots, labels)
    expected, answers = estimator.predict_proba(Q), estimator.predict(Q)
    for array in (text, shots, labels):
        array[:] = array[::-1].copy()
    for value in estimator.get_params().values():
        if isinstance(value, list):
            value.reverse()
        elif isinstance(value, dict):
            value.update(dict.fromkeys(NAMES, NAMES[0]))
    np.testing.assert_array_equal(estimator.predict_proba(Q), expected)
    np.testing.assert_array_equal(estimator.predict(Q), answers)


@every_estimator
def test_before_the_fit(name):
    estimator = ESTIMATORS[name]()
    methods = [
        m
        for m in dir(estimator)
        if m.startswith(("predict", "decision", "score_samples", "is_known"))
    ]
    for method in methods:
        with pytest.raises(NotFittedError):
            getattr(estimator, method)(Q)


@every_estimator
def test_labels_that_are_no_classes(name):
    """In every public method that takes labels; they sort beside and between the classes."""
    estimator = fitted(name)
    for label in ("a", "class 00", "z"):
        odd = np.full(4, label)
        if hasattr(estimator, "partial_fit"):
            with pytest.raises(ValueError, match=f"'{label}'"):
                estimator.partial_fit(X[:4], odd)
        if hasattr(estimator, "holds"):
            with pytest.raises(ValueError, match=f"'{label}'"):
                estimator.holds(odd, LABELS[:4])
            with pytest.raises(ValueError, match=f"'{label}'"):
                estimator.holds(LABELS[:4], odd)
        if name != "FewShotTagger":
            assert estimator.score(Q[:4], odd) == 0
            with pytest.raises(ValueError, match=f"'{label}'"):
                ESTIMATORS[name]().fit(X[:8], [*LABELS[:7], label])


@every_estimator
def test_shares_are_between_0_and_1(name):
    estimator = fitted(name)
    for method in ("predict_proba", "predict_node_proba"):
        if hasattr(estimator, method):
            p = getattr(estimator, method)(np.vstack([Q, 1e9 * Q, -Q, np.zeros((1, WIDTH))]))
            assert ((p >= 0) & (p <= 1 + 1e-12)).all()
    for attribute in ("threshold_", "thresholds_", "class_shares_"):
        value = getattr(estimator, attribute, None)
        if value is not None and name != "RejectUnknown":
            assert ((np.asarray(value) >= 0) & (np.asarray(value) <= 1)).all()


@every_estimator
def test_export_through_its_documented_link(name):
    """Softmax, or sigmoid for tags, of the exported logits; what cannot be exported is refused."""
    import torch

    from sktip.export import to_module

    estimator = fitted(name)
    if name in ("RejectUnknown", "BackOff"):
        with pytest.raises(TypeError, match=f"a {name} cannot be exported"):
            to_module(estimator)
        return
    module = to_module(estimator)
    with torch.no_grad():
        logits = module(torch.from_numpy(Q.astype(np.float32))).double().numpy()
    link = expit(logits) if module.thresholds is not None else softmax(logits, axis=1)
    np.testing.assert_allclose(link, estimator.predict_proba(Q), atol=1e-4)
    labels = getattr(estimator, "tags_", estimator.classes_)
    assert module.classes == labels.tolist()


@every_estimator
def test_one_thread_against_two(name):
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(fitted(name).predict_proba(Q))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-6)
