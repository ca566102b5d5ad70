"""The time of FewShotClassifier compared with GDAClassifier, and of unlabelled images."""

import tracemalloc

import numpy as np
import pytest

from sktip import FewShotClassifier, GDAClassifier


@pytest.mark.parametrize("n_classes", [500, 1000])
def bench_fit(problem, compare, report, n_classes):
    data = problem(n=1, n_classes=n_classes)
    few, gda = (kind(text_features=data.text) for kind in (FewShotClassifier, GDAClassifier))
    ours, plain = compare(
        lambda: few.fit(data.keys, data.y), lambda: gda.fit(data.keys, data.y), rounds=2
    )
    report(
        f"fit of FewShotClassifier, m = {len(data.y):,}, {n_classes} classes",
        "GDAClassifier(alpha='auto')",
        f"{ours / plain:.1f}x",
        "at most 10x",
    )
    tracemalloc.start()
    few.fit(data.keys, data.y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    report("its memory above the inputs", "", f"{peak / 1e9:.2f} GB", "at most 2 GB")


def bench_predict(problem, compare, report):
    data = problem(n=20_000, n_shots=2)
    few, gda = (
        kind(text_features=data.text).fit(data.keys, data.y)
        for kind in (FewShotClassifier, GDAClassifier)
    )
    ours, plain = compare(
        lambda: few.predict(data.queries), lambda: gda.predict(data.queries), rounds=10
    )
    report(
        "predict of FewShotClassifier, 20,000 queries, 1,000 classes",
        "GDAClassifier",
        f"{ours / plain:.2f}x",
        "at most 1.1x",
    )


def bench_pool(problem, compare, report):
    data = problem(n=50_000, n_shots=4)
    clf = FewShotClassifier(text_features=data.text)
    ours, plain = compare(
        lambda: clf.fit(data.keys, data.y, X_unlabeled=data.queries),
        lambda: clf.fit(data.keys, data.y),
        rounds=2,
    )
    assert clf.fit(data.keys, data.y, X_unlabeled=data.queries).trust_ > 0
    report(
        "fit with 50,000 unlabelled images, m = 4,000, 1,000 classes",
        "fit without",
        f"{ours / plain:.1f}x",
        "at most 5x",
    )
    assert np.isfinite(clf.coef_).all()
