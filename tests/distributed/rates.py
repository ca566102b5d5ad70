"""Images a second: Ray Data beside the plain transformer, with one process and with two.

    python tests/distributed/rates.py

The same files, the same batches and as many processes, in turn, several times. A rate is that of
the time in which all processes work: their start is not in it. Prints each, and the medians.
"""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)

import numpy as np
import pandas as pd
import ray
from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip.distributed import EncodeImages

N_IMAGES, BATCH, ROUNDS = 8_000, 250, 3
CLIP = CLIPFeatureTransformer("tiny", device="cpu")


class Timed(EncodeImages):
    """Says which process made a batch, and when."""

    def __call__(self, batch):
        batch = super().__call__(batch)
        n = len(batch["features"])
        return batch | {"process": np.full(n, os.getpid()), "time": np.full(n, time.time())}


def encode(paths):
    features = CLIP.transform(paths)
    return features, os.getpid(), time.time()


def rate(process, times):
    """Images a second from when all processes have begun until the first of them ends."""
    own = [times[process == one] for one in np.unique(process)]
    start, end = max(one.min() for one in own), min(one.max() for one in own)
    return ((times > start) & (times <= end)).sum() / (end - start)


def plain(paths, n):
    batches = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
    begin = time.time()
    with multiprocessing.get_context("spawn").Pool(n) as pool:
        done = pool.map(encode, batches, chunksize=1)
    assert sum(len(features) for features, _, _ in done) == len(paths)
    process, times = (np.repeat([one[i] for one in done], BATCH) for i in (1, 2))
    assert len(np.unique(process)) == n
    return rate(process, times), time.time() - begin


def on_ray(paths, n):
    # Room for the workers, and for reading and what is not ours.
    ray.init(num_cpus=n + 1, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        begin = time.time()
        listed = ray.data.from_pandas(pd.DataFrame({"path": paths}))
        encoded = listed.repartition(len(paths) // BATCH).map_batches(
            Timed,
            fn_constructor_args=[CLIP],
            compute=ray.data.ActorPoolStrategy(size=n),
            batch_size=BATCH,
        )
        rows = encoded.to_pandas()
        assert len(rows) == len(paths)
        assert rows["process"].nunique() == n
        return rate(rows["process"].to_numpy(), rows["time"].to_numpy()), time.time() - begin
    finally:
        ray.shutdown()


def main():
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.jpg" for number in range(N_IMAGES)]
        for path in paths:
            coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(path)
        rates = {}
        for number in range(ROUNDS):
            for n in (1, 2):
                for name, measure in (("plain", plain), ("Ray", on_ray)):
                    own, whole = measure(paths, n)
                    rates.setdefault((name, n), []).append(own)
                    print(
                        f"round {number + 1}, {name:5} {n}: {own:6.0f} images/s, {whole:5.1f} s "
                        f"with the start, load {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )
    for title, one, other in (
        ("Ray / plain, 1 process", ("Ray", 1), ("plain", 1)),
        ("Ray / plain, 2 processes", ("Ray", 2), ("plain", 2)),
        ("2 processes / 1, plain", ("plain", 2), ("plain", 1)),
        ("2 processes / 1, Ray", ("Ray", 2), ("Ray", 1)),
    ):
        ratios = np.array(rates[one]) / np.array(rates[other])
        print(f"{title:26} {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")
    for key, own in rates.items():
        print(f"{key[0]:5} {key[1]}: {np.median(own):.0f} images/s")


if __name__ == "__main__":
    main()
