"""Images and the model run at the same time: threads, order, and cleaning up."""

import os
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from memory_runs import make_images, read_rows

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip._encoding import loop
from sktip._encoding.clip import ClipModel
from sktip._encoding.session import open_encoder
from sktip._utils.threads import count_threads
from sktip.exceptions import ImageReadError


@pytest.fixture
def passes(monkeypatch):
    """Note of each pass of the model: its thread, the threads torch has there, its length."""
    noted, original = [], ClipModel.encode_images
    _ = open_encoder(encoder()).width  # The model is loaded and has run once.

    def noting(self, inputs):
        noted.append((threading.current_thread(), torch.get_num_threads(), len(inputs)))
        return original(self, inputs)

    monkeypatch.setattr(ClipModel, "encode_images", noting)
    return noted


def encoder(**parameters):
    return CLIPFeatureTransformer("tiny", device="cpu", **parameters)


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sktip")]


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_threads_share_the_images(clip, digits, passes, n_jobs):
    before = torch.get_num_threads()
    expected = encoder(n_jobs=1).transform(digits[0])
    passes.clear()
    features = encoder(n_jobs=n_jobs).transform(digits[0])
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert {thread.name.split("_")[0] for thread, _, _ in passes} == {"sktip"}
    assert {n for _, n, _ in passes} == {1}
    assert max(length for _, _, length in passes) <= 8
    assert sum(length for _, _, length in passes) == len(digits[0])
    # Nobody else's torch has other threads than before: neither here, nor in a thread of later.
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *later] == [before, before]
    assert own_threads() == []


@pytest.mark.skipif("mkl_get_max_threads" not in torch.__config__.parallel_info(), reason="no MKL")
def test_products_use_one_thread_in_each_thread(digits, monkeypatch):
    """Also where a program has set torch's number of threads, which MKL takes for that of each thread."""
    original, noted, before = ClipModel.encode_images, [], torch.get_num_threads()

    def noting(self, inputs):
        noted.extend(
            re.findall(r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())
        )
        return original(self, inputs)

    monkeypatch.setattr(ClipModel, "encode_images", noting)
    torch.set_num_threads(3)
    try:
        encoder(n_jobs=2).transform(digits[0][:20])
        assert set(noted) == {"1"}
        info = torch.__config__.parallel_info()
        assert re.findall(r"mkl_get_max_threads\(\) : (\d+)", info) == ["3"]
    finally:
        torch.set_num_threads(before)


def test_threads_decode_at_the_same_time(tmp_path, monkeypatch):
    both, original = threading.Barrier(2, timeout=30), loop.to_rgb

    def waiting_for_the_other(*arguments):
        both.wait()
        return original(*arguments)

    monkeypatch.setattr(loop, "to_rgb", waiting_for_the_other)
    encoder(n_jobs=2).transform(make_images(tmp_path, 20))


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("form", ["paths", "bytes", "arrays", "views"])
def test_copies_are_encoded_once_and_are_equal(tmp_path, digits, passes, form, n_jobs):
    """Wherever they are, so that a fold can keep them together."""
    images, parameters = digits[0][:20], {"n_jobs": n_jobs, "batch_size": 3}
    if form in ("paths", "bytes"):
        images = make_images(tmp_path, 20)
    if form == "bytes":
        images = [Path(path).read_bytes() for path in images]
    if form == "views":
        parameters |= {"n_views": 4, "random_state": 0}
    features = encoder(**parameters).transform([*images, *images[::-1], images[0]])
    np.testing.assert_array_equal(features[20:40], features[19::-1])
    np.testing.assert_array_equal(features[40], features[0])
    assert len(np.unique(features, axis=0)) == 20
    n_views = parameters.get("n_views", 1)
    assert sum(length for *_, length in passes) == 20 * n_views


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_few_features_are_kept_for_copies_of_endless_images(digits, monkeypatch, n_jobs):
    images = digits[0][:40]
    expected = encoder(n_jobs=1).transform(images)
    # Ten features of 128 numbers.
    monkeypatch.setattr("sktip._encoding.loop.MAX_KEPT", 10 * 4 * 128)
    features = encoder(n_jobs=n_jobs, batch_size=4).transform([*images, *images[::-1]] * 3)
    np.testing.assert_allclose(features, np.tile([*expected, *expected[::-1]], (3, 1)), atol=1e-5)


def test_answers_do_not_depend_on_threads_batches_and_order(digits):
    """With copies among the shots."""
    rows = np.r_[:50, 3:8]
    images, labels = ([part[row] for row in rows] for part in digits)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    queries = digits[0][100:140]
    answers = []
    for order, n_jobs, batch_size in [
        (range(len(rows)), 1, 64),
        (range(len(rows)), 2, 64),
        (range(len(rows)), 1, 5),
        (range(len(rows)), 2, 3),
        (shuffled, 1, 64),
        (shuffled, 2, 7),
    ]:
        clf = FewShotClassifier(encoder(n_jobs=n_jobs, batch_size=batch_size))
        clf.fit([images[row] for row in order], [labels[row] for row in order])
        answers.append(clf.predict_proba(queries))
    np.testing.assert_allclose(answers[1:], [answers[0]] * 5, rtol=0, atol=1e-4)


def test_one_image_is_encoded_here_by_all_of_torchs_threads(digits, passes):
    encoder(n_jobs=4).transform(digits[0][:1])
    encoder(n_jobs=4).transform(digits[0][:3])
    here = threading.current_thread()
    assert passes == [(here, torch.get_num_threads(), 1), (here, torch.get_num_threads(), 3)]


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr("sktip._utils.threads.cpu_count", lambda: 7)
    numbers = [
        count_threads(n, device) for n, device in ((None, "cpu"), (None, "cuda"), (3, "cpu"))
    ]
    assert numbers == [5, 7, 3]


def test_views_are_spread_over_threads_too(digits, passes):
    parameters = {"n_views": 10, "random_state": 0}
    expected = encoder(n_jobs=1, **parameters).transform(digits[0][:6])
    passes.clear()
    features = encoder(n_jobs=2, **parameters).transform(digits[0][:6])
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert {n for _, n, _ in passes} == {1}


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_failures_come_in_the_order_of_the_images(digits, n_jobs):
    images = [b"bad" if i % 5 == 3 else image for i, image in enumerate(digits[0][:60])]
    told = []
    features = open_encoder(encoder(n_jobs=n_jobs)).features(
        images, lambda index, error: told.append(index)
    )
    assert told == list(range(3, 60, 5))
    assert np.flatnonzero(np.isnan(features).any(axis=1)).tolist() == told


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_loses_nothing_before_it(tmp_path, n_jobs):
    paths, memory = make_images(tmp_path, 60), str(tmp_path / "features.sqlite")
    with pytest.raises(ImageReadError, match="image 53: not an image"):
        encoder(n_jobs=n_jobs, memory=memory).transform([*paths[:53], b"bad", *paths[53:]])
    assert len(read_rows(memory)) >= 53
    assert own_threads() == []


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: a shell that runs the tests in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupt_leaves_no_thread_and_keeps_what_was_encoded(tmp_path, monkeypatch, n_jobs):
    paths, memory = make_images(tmp_path, 60), str(tmp_path / "features.sqlite")
    n_passes, original = [], ClipModel.encode_images

    def interrupted(self, inputs):
        n_passes.append(len(inputs))
        if len(n_passes) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, inputs)

    monkeypatch.setattr(ClipModel, "encode_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder(n_jobs=n_jobs, memory=memory, batch_size=8).transform(paths)
    assert own_threads() == []
    kept = len(read_rows(memory))
    assert sum(n_passes[:3]) <= kept + 8 * n_jobs
    assert 0 < kept < 60
