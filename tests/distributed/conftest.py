"""A Ray cluster of three node processes on this machine, and files of digits."""

import os
from pathlib import Path

os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Workers are no nicer than what else runs here, so that rates can be compared.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112

import numpy as np
import pytest
import ray
from PIL import Image
from ray.cluster_utils import Cluster

import sktip
from sktip import TipAdapterClassifier

# The classes of the tests are found by the workers.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)
QUIET = {"logging_level": "error", "log_to_driver": False}


@pytest.fixture
def one_machine():
    """Start Ray on this machine alone, and stop it at the end."""

    def start(**options):
        ray.init(include_dashboard=False, **QUIET, **options)

    yield start
    ray.shutdown()


@pytest.fixture
def new_cluster():
    """Start nodes with the given numbers of CPUs, connect, and stop them at the end."""
    clusters = []

    def start(*n_cpus):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": n_cpus[0]})
        clusters.append(cluster)
        nodes = [cluster.add_node(num_cpus=n) for n in n_cpus[1:]]
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, **QUIET)
        return cluster, nodes

    yield start
    ray.shutdown()
    for cluster in clusters:
        cluster.shutdown()


@pytest.fixture(scope="module")
def cluster():
    """The driver's node reads; each of two others has room for one worker."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, **QUIET)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def clf(clip, digits):
    images, labels = digits
    return TipAdapterClassifier(clip, templates="the digit {}").fit(images, labels)


@pytest.fixture(scope="session")
def paths(tmp_path_factory, digits):
    """1,000 files, of 200 digits five times in other colours."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for colour in range(5):
        for number, image in enumerate(digits[0]):
            paths.append(str(folder / f"{colour}_{number:03}.png"))
            rgb = np.stack([image, image // (colour + 1), image], axis=2)
            Image.fromarray(rgb).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def broken(paths, tmp_path_factory):
    """The same with a damaged file in every hundred; which they are."""
    folder = tmp_path_factory.mktemp("broken")
    damaged = np.arange(len(paths)) % 100 == 37
    own = []
    for path, bad in zip(paths, damaged, strict=True):
        own.append(path)
        if bad:
            with open(path, "rb") as file:
                content = file.read()
            own[-1] = str(folder / os.path.basename(path))
            with open(own[-1], "wb") as file:
                file.write(content[: len(content) // 2])
    return own, damaged


@pytest.fixture(scope="session")
def expected(clf, clip, paths):
    """Features and probabilities of the files, computed in one process."""
    features = clip.transform(paths)
    sktip.clear_model_cache()
    return features, clf.predict_proba(paths)
