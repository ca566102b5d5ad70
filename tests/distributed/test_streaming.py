"""Far more images than fit into memory are streamed, and none is kept."""

import resource

import numpy as np
import pytest
import ray

from sktip.distributed import EncodeImages

N_IMAGES = 100_000
STORE = 200 * 2**20


class Measured(EncodeImages):
    """Says how much memory its process has had."""

    def __call__(self, batch):
        batch = super().__call__(batch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return batch | {"peak": np.full(len(batch["features"]), peak)}


def draw(batch):
    """Pictures of 64 x 64, each with its number."""
    pictures = np.random.default_rng(batch["id"][0]).integers(
        0, 256, (len(batch["id"]), 64, 64, 3), dtype=np.uint8
    )
    return {"id": batch["id"], "image": pictures}


@pytest.fixture
def spilled(tmp_path, one_machine):
    """Start Ray with a small store; the folder to which what has no room in it would go."""
    one_machine(num_cpus=3, object_store_memory=STORE, object_spilling_directory=str(tmp_path))
    return tmp_path


def test_a_hundred_thousand_images(clip, spilled):
    encoded = (
        ray.data.range(N_IMAGES, override_num_blocks=400)
        # With resources of its own, so that Ray does not draw within the worker, and the pictures
        # go through the store.
        .map_batches(draw, batch_size=250, num_cpus=0.5)
        .map_batches(
            Measured,
            fn_constructor_args=[clip, "image"],
            compute=ray.data.ActorPoolStrategy(size=2),
            batch_size=250,
        )
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    ids, peaks, n_spilled = [], [], 0
    for batch in encoded.iter_batches(batch_size=1000):
        ids.append(batch["id"])
        peaks.append(batch["peak"].max())
        n_spilled = max(n_spilled, sum(path.is_file() for path in spilled.rglob("*")))
        assert not any(batch["error"])
    assert (np.sort(np.concatenate(ids)) == np.arange(N_IMAGES)).all()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - before
    pictures = N_IMAGES * 64 * 64 * 3 // 2**20
    print(
        f"{pictures} MiB of pictures through {STORE // 2**20} MiB; a worker's peak after the first "
        f"tenth {max(peaks[:10])} MiB, in the end {max(peaks)} MiB; the driver grew by {grown} MiB, "
        f"files spilled {n_spilled}"
    )
    assert n_spilled == 0
    # What is in memory does not grow with what has passed.
    assert max(peaks) - max(peaks[:10]) < pictures / 10
    assert grown < pictures / 4
