"""A transformer that counts the inputs of its model, run in separate processes."""

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import sqlite3
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip._encoding.session import EncoderSession, open_encoder

if "forkserver" in multiprocessing.get_all_start_methods():
    # Torch is imported once, in a server that the processes are forked from.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sktip._encoder", "open_clip", "torchvision"])
else:
    context = multiprocessing.get_context("spawn")


class CountingTransformer(CLIPFeatureTransformer):
    """Writes a line for each image that goes through the model, whichever process it is in."""

    def __sktip_open__(self):
        (block,) = super().__sktip_open__().blocks
        counting = _Counting(block.model, f"{self.memory}.log")
        return EncoderSession((dataclasses.replace(block, model=counting),))


class _Counting:
    def __init__(self, clip, log):
        self._clip, self._log = clip, log

    def __getattr__(self, name):
        return getattr(self._clip, name)

    def encode(self, inputs):
        tensors = inputs.values()
        lines = [
            f"{os.getpid()} {hashlib.md5(tensor.numpy().tobytes()).hexdigest()}\n"
            for tensor in tensors
        ]
        with open(self._log, "a") as log:
            log.writelines(lines)
        return self._clip.encode(inputs)


def encoded(memory):
    """Count the images that went through the model: by process and image."""
    try:
        with open(f"{memory}.log") as log:
            return Counter(tuple(line.split()) for line in log)
    except FileNotFoundError:
        return Counter()


def make_images(folder, n):
    """Save n small images, all different, and give back their paths."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, 40, 40, 3), dtype=np.uint8)
    paths = [str(folder / f"{i}.png") for i in range(n)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


def file_hash(path):
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()


def encode(paths, memory, result=None, start=None, **parameters):
    """Encode in this process; a warning is an error."""
    transformer = CountingTransformer("tiny", device="cpu", memory=memory, **parameters)
    open_encoder(transformer)  # The model is loaded now.
    if start is not None:
        start.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = transformer.transform(paths)
    if result is not None:
        np.save(result, features)


def kill_at_a_random_moment(rng, seconds, *args, **parameters):
    """Encode in a separate process, kill it after some seconds, and return whether it was killed."""
    start = context.Barrier(2)
    process = context.Process(
        target=encode, args=args, kwargs={"start": start, **parameters}, daemon=True
    )
    process.start()
    start.wait()
    process.join(rng.uniform(0, seconds))
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def read_rows(memory):
    """Read a file of features without sktip, by its documented format, and check it."""
    if not os.path.exists(memory):
        return {}
    db = sqlite3.connect(memory)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not db.execute("SELECT * FROM sqlite_master").fetchall():
            return {}
        rows = db.execute("SELECT image, feature FROM features WHERE seed = -1").fetchall()
    finally:
        db.close()
    return {image: np.frombuffer(feature, "<f4") for image, feature in rows}


def check_killed_runs(folder, n_kills, n_images=300, batch_size=8):
    """Kill runs on one file at random moments, again and again, and check it after each kill.

    If a run finishes nevertheless, the next one starts a new file.
    """
    rng = np.random.default_rng(n_kills)
    paths = make_images(folder, n_images)
    hashes = list(map(file_hash, paths))
    whole = CLIPFeatureTransformer("tiny", device="cpu", batch_size=batch_size)
    expected = np.stack([views[0] for views in open_encoder(whole).views(paths, 1, None)])
    expected = dict(zip(hashes, expected, strict=True))
    seconds = _seconds(paths, folder / "timed.sqlite", batch_size)

    n_killed, n_files, kept_at_kills = 0, 0, []
    while n_killed < n_kills:
        memory = str(folder / f"{n_files}.sqlite")
        n_files += 1
        n_before, killed = 0, True
        while killed and n_killed < n_kills:
            seen = encoded(memory).total()
            killed = kill_at_a_random_moment(rng, seconds, paths, memory, batch_size=batch_size)
            rows = read_rows(memory)
            for image, feature in rows.items():
                np.testing.assert_allclose(feature, expected[image], rtol=1e-5, atol=1e-5)
            # Nothing that was kept is encoded again, and no more than one batch is lost.
            n_encoded, n_new = encoded(memory).total() - seen, len(rows) - n_before
            assert n_new <= n_encoded <= n_new + batch_size
            n_before = len(rows)
            n_killed += killed
            kept_at_kills += [n_before] * killed
        seen = encoded(memory).total()
        encode(paths, memory, folder / "features.npy", batch_size=batch_size)
        assert encoded(memory).total() - seen == n_images - n_before
        assert read_rows(memory).keys() == expected.keys()
        np.testing.assert_allclose(
            np.load(folder / "features.npy"), whole.transform(paths), atol=1e-5
        )
    return n_files, kept_at_kills


def _seconds(paths, memory, batch_size):
    """Time a whole run in a process like those to be killed."""
    start = context.Barrier(2)
    process = context.Process(
        target=encode, args=(paths, str(memory)), kwargs={"start": start, "batch_size": batch_size}
    )
    process.start()
    start.wait()
    begin = time.perf_counter()
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - begin
