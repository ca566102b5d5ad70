"""Workers and machines that disappear in the middle of a job: every row comes exactly once."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import ray

from sktip.distributed import EncodeImages

RUN = {"batch_size": 20}


class KilledOnce(EncodeImages):
    """The first worker to come to its third batch is killed there, as by the system."""

    def __init__(self, encoder, marker):
        super().__init__(encoder)
        self.marker, self.n_batches = Path(marker), 0

    def __call__(self, batch):
        self.n_batches += 1
        if self.n_batches == 3:
            try:
                self.marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


class Slow(EncodeImages):
    """Slow enough for something to happen meanwhile; says on which node it is."""

    def __call__(self, batch):
        time.sleep(0.5)
        node = ray.get_runtime_context().get_node_id()
        batch = super().__call__(batch)
        return batch | {"node": np.full(len(batch["features"]), node, object)}


def dataset(paths):
    return ray.data.from_pandas(pd.DataFrame({"path": paths})).repartition(50)


def check(rows, paths, damaged, features):
    assert sorted(rows["path"]) == sorted(paths)
    rows = rows.set_index("path").loc[paths]
    assert rows["error"].notna().tolist() == damaged.tolist()
    own = np.stack(rows["features"])
    np.testing.assert_allclose(own[~damaged], features[~damaged], atol=1e-5)


def test_a_killed_worker(new_cluster, broken, clip, expected, tmp_path):
    new_cluster(1, 1, 1)
    paths, damaged = broken
    marker = tmp_path / "killed"
    encoded = dataset(paths).map_batches(
        KilledOnce,
        fn_constructor_args=[clip, str(marker)],
        compute=ray.data.ActorPoolStrategy(size=2),
        **RUN,
    )
    rows = encoded.to_pandas()
    assert marker.exists()
    check(rows, paths, damaged, expected[0])


def test_a_removed_node(new_cluster, broken, clip, expected):
    cluster, (first, second) = new_cluster(1, 1, 1)
    paths, damaged = broken
    encoded = dataset(paths).map_batches(
        Slow,
        fn_constructor_args=[clip],
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=2),
        **RUN,
    )
    batches = []
    for batch in encoded.iter_batches(batch_size=20, batch_format="pandas"):
        batches.append(batch)
        nodes = {node for own in batches for node in own["node"]}
        if first is not None and len(nodes) == 2:
            lost = next(node for node in (first, second) if node.node_id in nodes)
            cluster.remove_node(lost, allow_graceful=False)
            first, n_before = None, len(batches)
    assert first is None, "rows came from one node only"
    assert n_before < len(batches) / 2
    check(pd.concat(batches), paths, damaged, expected[0])
