"""The time of `fit` and `predict` of every classifier compared with logistic regression."""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sktip import ProKeRClassifier
from sktip.utils import all_estimators

#: Fits one classifier in a separate process, to measure its peak memory.
CHILD = r"""
import json, re, sys, time
from conftest import Problem
from sklearn.linear_model import LogisticRegression
from sktip.utils import all_estimators

name, n_classes, n_shots = sys.argv[1], *map(int, sys.argv[2:])
known = dict(all_estimators(type_filter="classifier"))

def make(data):
    if name == "LogisticRegression":
        return LogisticRegression(C=100, max_iter=300)
    return known[name](text_features=data.text)

small = Problem(n=10, n_classes=5, n_shots=4)
make(small).fit(small.keys, small.y).predict(small.queries)
data = Problem(n=2048, n_classes=n_classes, n_shots=n_shots)
# The peak that `resource` tells of is inherited from the process that started this one.
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1e3
before, start = peak(), time.perf_counter()
fitted = make(data).fit(data.keys, data.y)
middle = time.perf_counter()
fitted.predict(data.queries)
print(json.dumps([middle - start, time.perf_counter() - middle, peak() - before]))
"""
#: Classes and shots per class: two usual sizes, and the first with twice as many of either.
SIZES = [(196, 16), (1000, 16), (196, 32), (392, 16)]
#: Shots per class of 1,000 classes, each twice as many as before. No step may be steeper than the square.
GROWTH = (2, 4, 8, 16, 32)


def cost(name: str, n_classes: int, n_shots: int) -> list[float]:
    """Seconds of `fit`, seconds of `predict` for 2,048 queries, and MB of peak memory beyond X."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, name, str(n_classes), str(n_shots)],
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("n_classes", "n_shots"), SIZES)
def bench_every_classifier(report, n_classes, n_shots):
    names = ["LogisticRegression", *(name for name, _ in all_estimators(type_filter="classifier"))]
    probe = None
    for name in names:
        fit, predict, memory = cost(name, n_classes, n_shots)
        probe = fit if probe is None else probe
        report(
            f"{name}, {n_classes:,} classes of {n_shots} shots",
            "fit of LogisticRegression",
            f"fit {fit:.2f} s ({fit / probe:.2f}x), predict {predict:.2f} s, +{memory:.0f} MB",
            "<= 10x",
        )


@pytest.mark.parametrize("name", [name for name, _ in all_estimators(type_filter="classifier")])
def bench_growth(report, name):
    steps = GROWTH[:-1] if name == "ProKeRClassifier" else GROWTH
    times = [cost(name, 1000, n_shots)[0] for n_shots in steps]
    report(
        f"fit of {name}, 1,000 classes of {', '.join(map(str, steps))} shots",
        "half as many shots",
        ", ".join(f"{after / before:.1f}x" for before, after in pairwise(times)),
        "<= 8x" if name == "ProKeRClassifier" else "<= 4x",
    )


@pytest.mark.parametrize(("n_shots", "wanted"), [(4, 1.5), (16, 1.5)])
def bench_kernel_ridge(problem, report, n_shots, wanted):
    data = problem(n=1, n_shots=n_shots)
    clf = ProKeRClassifier(text_features=data.text)

    def plain():
        keys, text = (torch.as_tensor(array).double() for array in (data.keys, data.text))
        kernel = torch.exp(-1.5 * (1 - keys @ keys.T))
        kernel.diagonal().add_(0.05)
        targets = -keys @ text.T
        targets[torch.arange(len(keys)), torch.as_tensor(data.y)] += 1
        return torch.cholesky_solve(targets, torch.linalg.cholesky(kernel))

    best = {}
    for _ in range(3 if n_shots == 4 else 1):
        for name, call in (("plain", plain), ("ours", lambda: clf.fit(data.keys, data.y))):
            start = time.perf_counter()
            call()
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - start)
    memory = cost("ProKeRClassifier", 1000, n_shots)[2] / (8 * len(data.keys) ** 2 / 1e6)
    report(
        f"fit of ProKeRClassifier, {len(data.keys):,} shots of 1,000 classes",
        "kernel, Cholesky factorisation and solution in float64",
        f"{best['ours'] / best['plain']:.2f}x, {memory:.2f} kernel matrices",
        f"<= {wanted:g}x, 1.3 kernel matrices",
    )
