"""scikit-learn's searches with the backends of Dask and Ray, on clusters of two processes."""

import os

import joblib
import numpy as np
import pytest
from ray.util.joblib import register_ray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from sktip import CLIPFeatureTransformer, GDAClassifier, TipAdapterClassifier

GRID = {"alpha": [0.5, 1, 2, 4], "beta": [1.0, 5.5]}


@pytest.fixture(params=["dask", "ray"])
def backend(request, one_machine):
    """Start two worker processes, and name their joblib backend."""
    if request.param == "dask":
        distributed = pytest.importorskip("distributed")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
        ):
            yield "dask"
    else:
        one_machine(num_cpus=2)
        register_ray()
        yield "ray"


def process(estimator, X, y):
    """Say by a score in which process it is computed."""
    return os.getpid()


def test_grid_search_and_cross_validation(backend, clip, digits, digit_features):
    images, labels = digits
    F, _ = digit_features
    search = GridSearchCV(TipAdapterClassifier(clip, input="features"), GRID, cv=3, n_jobs=2)
    plain = clone(search).set_params(n_jobs=None).fit(F, labels)
    # From images, so that the workers load a model each.
    pipeline = make_pipeline(CLIPFeatureTransformer("tiny", device="cpu"), GDAClassifier())
    scores = cross_validate(pipeline, images[:90], labels[:90], cv=3)["test_score"]
    with joblib.parallel_config(backend):
        search.fit(F, labels)
        own = cross_validate(pipeline, images[:90], labels[:90], cv=3, n_jobs=2)["test_score"]
        places = cross_validate(
            clone(search.estimator), F, labels, cv=10, scoring=process, n_jobs=2
        )["test_score"]
    assert search.best_params_ == plain.best_params_
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-6
    )
    np.testing.assert_allclose(own, scores, atol=1e-6)
    np.testing.assert_array_equal(search.predict(F), plain.predict(F))
    assert len(set(places)) == 2
    assert os.getpid() not in places
