"""Images a second: Ray Data beside the plain transformer, with one process and with two.

    python tests/distributed/rates.py

The same files, the same batches and as many processes, in turn, several times. A rate is that of
the time in which all processes work: their start is not in it. Beside it, the images per second of
CPU time, of all processes and Ray's own together: where others use the machine, time says more
about what share of it one gets.
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
import psutil
import ray
from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip.distributed import EncodeImages

N_IMAGES, BATCH, BLOCK, ROUNDS = 4_000, 200, 400, 3
CLIP = CLIPFeatureTransformer("tiny", device="cpu")


class Known(EncodeImages):
    """Says which process made a batch, when, and what time of a CPU it had used by then."""

    def __call__(self, batch):
        batch = super().__call__(batch)
        now = [os.getpid(), time.time(), time.process_time()]
        return batch | {"now": np.tile(now, (len(batch["features"]), 1))}


def encode(paths):
    CLIP.transform(paths)
    return os.getpid(), time.time(), time.process_time()


def used_by_others(workers):
    """Processor time of this process and all below it but the workers: Ray's own, above all."""
    me = psutil.Process()
    return sum(
        sum(one.cpu_times()[:2])
        for one in [me, *me.children(recursive=True)]
        if one.pid not in workers and one.is_running()
    )


def measured(batches, n_processes):
    """Images a second, and a second of CPU time, from when all processes have begun."""
    rows, n_first = [], 0
    for now in batches:
        rows.append(now)
        workers = {int(row[0]) for row in rows}
        if len(workers) == n_processes and not n_first:
            first, n_first = used_by_others(workers), len(rows)
    others = (used_by_others(workers) - first) / (len(rows) - n_first)
    own = [np.array(sorted(row for row in rows if row[0] == worker)) for worker in workers]
    start, end = max(one[0, 1] for one in own), min(one[-1, 1] for one in own)
    n_between = sum(((one[:, 1] > start) & (one[:, 1] <= end)).sum() for one in own)
    used = sum(one[-1, 2] - one[0, 2] for one in own) / sum(len(one) - 1 for one in own)
    return BATCH * n_between / (end - start), BATCH / (used + others)


def plain(paths, n):
    pieces = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
    with multiprocessing.get_context("spawn").Pool(n) as pool:
        return measured(pool.imap_unordered(encode, pieces), n)


def on_ray(paths, n):
    # Room for the workers, and for reading.
    ray.init(num_cpus=n + 1, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        listed = ray.data.from_pandas(pd.DataFrame({"path": paths}))
        encoded = listed.repartition(len(paths) // BLOCK).map_batches(
            Known,
            fn_constructor_args=[CLIP],
            compute=ray.data.ActorPoolStrategy(size=n),
            batch_size=BATCH,
        )
        batches = encoded.iter_batches(batch_size=BATCH)
        return measured((tuple(batch["now"][0]) for batch in batches), n)
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
                    own = measure(paths, n)
                    rates.setdefault((name, n), []).append(own)
                    print(
                        f"round {number + 1}, {name:5} {n}: {own[0]:5.0f} images/s, {own[1]:5.0f} a "
                        f"CPU second, load {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )
    for place, unit in enumerate(("by time", "by CPU time")):
        for title, one, other in (
            ("Ray / plain, 1 process", ("Ray", 1), ("plain", 1)),
            ("Ray / plain, 2 processes", ("Ray", 2), ("plain", 2)),
            ("2 processes / 1, plain", ("plain", 2), ("plain", 1)),
            ("2 processes / 1, Ray", ("Ray", 2), ("Ray", 1)),
        ):
            ratios = np.array(rates[one])[:, place] / np.array(rates[other])[:, place]
            print(
                f"{unit}: {title:26} {np.median(ratios):.2f} "
                f"({ratios.min():.2f} to {ratios.max():.2f})"
            )


if __name__ == "__main__":
    main()
