"""Interrupts and threads."""

import linecache
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from classifiers import CLASSIFIERS, EXTENDABLE, make

import sktip

PACKAGE = Path(sktip.__file__).parent


# Interrupts.


def run_interrupted(call, at):
    """Raise KeyboardInterrupt at the line with number `at` that the package runs; count the lines.

    Not at the line of a `with`: at its end Python lets no interrupt in before the block is closed,
    but tracing does stop there.
    """
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(str(PACKAGE)):
            return None
        if event == "line":
            source = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if not source.lstrip().startswith("with "):
                lines += 1
                if lines - 1 == at:
                    raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def copied(state):
    return {
        name: value.copy() if isinstance(value, np.ndarray | list | dict) else value
        for name, value in state.items()
    }


def check_interrupts(clf, call, n_points=15):
    """Interrupt a call at points all along its way: the classifier stays as it was."""
    before, contents = dict(vars(clf)), copied(vars(clf))
    # Twice, since the first call imports what the later ones find.
    for _ in range(2):
        n_lines = run_interrupted(lambda: call(clf), at=-1)
        vars(clf).clear()
        vars(clf).update(before)
    # Short of the last lines, which assign what was learned.
    points = np.unique(np.linspace(0, 0.95 * n_lines - 20, n_points).astype(int))
    for point in points:
        with pytest.raises(KeyboardInterrupt):
            run_interrupted(lambda: call(clf), at=point)
        assert list(vars(clf)) == list(before)
        for name, value in before.items():
            assert vars(clf)[name] is value, (name, point)
            np.testing.assert_equal(value, contents[name], err_msg=name)
    assert len(points) > 10


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_an_interrupted_fit_changes_nothing(features, name):
    X, y, text = features((3, 2, 4))
    clf = make(name, text_features=text).fit(X, y)
    other, labels, _ = features((2, 5, 2), seed=1)
    check_interrupts(clf, lambda clf: clf.fit(other, labels))


@pytest.mark.parametrize("name", EXTENDABLE)
@pytest.mark.filterwarnings("ignore:neither `encoder`")
def test_an_interrupted_partial_fit_changes_nothing(features, name):
    X, y, _ = features((3, 2, 4))
    clf = make(name).fit(X[y < 2], y[y < 2])
    check_interrupts(clf, lambda clf: clf.partial_fit(X, y))


def test_an_interrupted_fit_on_images_changes_nothing(clip, digits):
    images, labels = digits
    clf = make("tip-f", clip, n_views=2).fit(images[:20], labels[:20])
    check_interrupts(clf, lambda clf: clf.fit(images[20:32], labels[20:32]))


# Threads.


def in_eight_threads(call):
    """Call with 0 to 7, all at once."""
    barrier = threading.Barrier(8)

    def start(index):
        barrier.wait()
        return [call(index) for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(start, range(8)))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_eight_threads_predict_features(features, name):
    X, y, text = features((8, 5, 9), d=16)
    clf = make(name, text_features=text).fit(X, y)
    queries = [features((40,) * 3, d=16, seed=seed)[0] for seed in range(8)]
    expected = [clf.predict_proba(own) for own in queries]
    state = dict(vars(clf))
    for index, answers in enumerate(in_eight_threads(lambda i: clf.predict_proba(queries[i]))):
        for answer in answers:
            np.testing.assert_array_equal(answer, expected[index])
    assert all(vars(clf)[key] is value for key, value in state.items())


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_eight_threads_predict_images(digits, n_jobs, tmp_path):
    images, labels = digits
    clip = sktip.CLIPFeatureTransformer(
        "tiny", device="cpu", n_jobs=n_jobs, memory=str(tmp_path / "features.sqlite")
    )
    clf = make("tip", clip).fit(images[:60], labels[:60])
    parts = [images[60 + 5 * i : 65 + 5 * i] for i in range(8)]
    plain = make("tip", sktip.CLIPFeatureTransformer("tiny", device="cpu"))
    plain.fit(images[:60], labels[:60])
    expected = [plain.predict_proba(part) for part in parts]
    sktip.clear_model_cache()
    for index, answers in enumerate(in_eight_threads(lambda i: clf.predict_proba(parts[i]))):
        for answer in answers:
            np.testing.assert_allclose(answer, expected[index], atol=1e-6)


def test_fifty_threads_ask_one_classifier(digits):
    """As a server does: each for one image, and all get what one thread gets."""
    images, labels = digits
    clf = make("FewShotClassifier", sktip.CLIPFeatureTransformer("tiny", device="cpu"))
    clf.fit(images[:60], labels[:60])
    expected = [clf.predict_proba(images[60 + i : 61 + i]) for i in range(50)]
    sktip.clear_model_cache()
    barrier = threading.Barrier(50)

    def ask(index):
        barrier.wait()
        return clf.predict_proba(images[60 + index : 61 + index])

    with ThreadPoolExecutor(50) as pool:
        for answer, own in zip(pool.map(ask, range(50)), expected, strict=True):
            np.testing.assert_array_equal(answer, own)
