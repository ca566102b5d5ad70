"""Fit and predict of the classifiers, on features."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import Problem, compare
from sklearn.linear_model import LogisticRegression

from sktip import (
    FewShotClassifier,
    GDAClassifier,
    ProKeRClassifier,
    TipAdapterClassifier,
    TipAdapterClassifierCV,
)

ALPHA, BETA, SCALE = 1.0, 5.5, 100.0
IMAGENET = "16,000 shots of 1,000 classes"


def plain_logits(f, K, W, L):
    return SCALE * f @ W.T + ALPHA * torch.exp(-BETA * (1 - f @ K.T)) @ L


def bench_import(row):
    ours, plain = compare(
        *(
            lambda code=code: subprocess.run([sys.executable, "-c", code], check=True)
            for code in (
                "from sktip import FewShotClassifier",
                "from sklearn.linear_model import LogisticRegression",
            )
        )
    )
    row(
        "import of FewShotClassifier",
        "of LogisticRegression",
        f"{ours - plain:+.2f} s",
        "+0.1 s at most",
    )


@pytest.mark.parametrize("shots", ["sorted", "shuffled and unequal"])
def bench_logits(row, shots):
    data = Problem(shuffled=shots != "sorted")
    f, K, W, L = data.tensors()
    clf = TipAdapterClassifier(text_features=data.text).fit(data.keys, data.y)
    ours, plain, products = compare(
        lambda: clf.decision_function(data.queries),
        lambda: plain_logits(f, K, W, L),
        lambda: (f @ K.T, f @ W.T),
        rounds=4,
    )
    what = f"Tip-Adapter, logits of 2,048 queries, {IMAGENET}, {shots}"
    row(what, "plain formula in torch", f"{plain / ours:.1f}x faster", "2.6x")
    row(what, "its two matrix products", f"{ours / products:.2f}x", "1.3x at most")


def bench_one_query(row):
    data = Problem(n=1, n_classes=100)
    f, K, W, L = data.tensors()
    clf = TipAdapterClassifier(text_features=data.text).fit(data.keys, data.y)
    ours, plain = compare(
        lambda: clf.decision_function(data.queries),
        lambda: plain_logits(f, K, W, L),
        rounds=20,
        calls=20,
    )
    row(
        "one query, 1,600 shots of 100 classes",
        "plain formula",
        f"{ours / plain:.1f}x",
        "2.5x at most",
    )


def bench_alpha_and_beta(row):
    data, n_betas = Problem(n=1, n_classes=100), 200
    _, K, W, L = data.tensors()
    target = torch.as_tensor(data.y)
    clf = TipAdapterClassifierCV(
        text_features=data.text, betas=np.geomspace(0.5, 50, n_betas), logit_scale=20.0
    )

    def grid_of_one_beta():
        for alpha in np.linspace(0.1, 5, 20):
            votes = torch.exp(-BETA * (1 - K @ K.T)) @ L
            ((20 * K @ W.T + float(alpha) * votes).argmax(1) == target).float().mean()

    ours, plain = compare(lambda: clf.fit(data.keys, data.y), grid_of_one_beta, rounds=3)
    row(
        f"alpha and beta, 1,600 shots of 100 classes, {n_betas} betas: {1e3 * ours:.0f} ms",
        "official grid of 200 x 20, point by point (from 20 points)",
        f"{n_betas * plain / ours:.0f}x faster",
        "90x, 250 ms",
    )


def growth(sizes, fit):
    times = []
    for size in sizes:
        data = Problem(n=1, n_shots=size)
        start = time.process_time()
        fit(data)
        times.append(time.process_time() - start)
    steps = ", ".join(f"{b / a:.1f}x" for a, b in itertools.pairwise(times))
    return f"{times[0]:.1f} s of CPU time, then {steps}"


def bench_growth_of_alpha_and_beta(row):
    grown = growth(
        (2, 4, 8, 16),
        lambda data: TipAdapterClassifierCV(text_features=data.text).fit(data.keys, data.y),
    )
    row("alpha and beta, 1,000 classes of 2, 4, 8 and 16 shots", "half as many", grown, "2.5x")
    grown = growth(
        (4, 8, 16),
        lambda data: TipAdapterClassifierCV(text_features=data.text, cv=2).fit(data.keys, data.y),
    )
    row("the same by cv=2, of 4, 8 and 16 shots", "half as many", grown, "2.5x")


def bench_few_shot(row):
    data = Problem(n=1)
    few, gda = (kind(text_features=data.text) for kind in (FewShotClassifier, GDAClassifier))
    ours, plain = compare(
        lambda: few.fit(data.keys, data.y), lambda: gda.fit(data.keys, data.y), rounds=1
    )
    row(
        f"fit of FewShotClassifier, {IMAGENET}: {ours:.1f} s",
        "GDAClassifier",
        f"{ours / plain:.1f}x",
        "10 s",
    )


def bench_small_fit(row):
    data = Problem(n=1, n_classes=20, n_shots=8)
    few = FewShotClassifier(text_features=data.text)
    probe = LogisticRegression(C=100, max_iter=300)
    ours, plain = compare(
        lambda: few.fit(data.keys, data.y), lambda: probe.fit(data.keys, data.y), rounds=5
    )
    row(
        f"the same, 160 shots of 20 classes: {ours:.2f} s",
        "LogisticRegression",
        f"{ours / plain:.1f}x",
        "0.06 s",
    )


def bench_pool(row):
    data = Problem(n=50_000, n_shots=4)
    clf = FewShotClassifier(text_features=data.text)
    ours, plain = compare(
        lambda: clf.fit(data.keys, data.y, X_unlabeled=data.queries),
        lambda: clf.fit(data.keys, data.y),
        rounds=1,
    )
    row(
        "its pool of 50,000 images, 4,000 shots of 1,000 classes",
        "fit without the pool",
        f"{ours / plain:.1f}x",
        "2x",
    )


def bench_kernel_ridge(row):
    data = Problem(n=1, n_shots=4)
    clf = ProKeRClassifier(text_features=data.text)

    def plain():
        keys, text = (torch.as_tensor(array).double() for array in (data.keys, data.text))
        kernel = torch.exp(-1.5 * (1 - keys @ keys.T))
        kernel.diagonal().add_(0.05)
        targets = -keys @ text.T
        targets[torch.arange(len(keys)), torch.as_tensor(data.y)] += 1
        return torch.cholesky_solve(targets, torch.linalg.cholesky(kernel))

    ours, baseline = compare(lambda: clf.fit(data.keys, data.y), plain, rounds=1)
    row(
        "fit of ProKeRClassifier, 4,000 shots of 1,000 classes",
        "kernel, Cholesky and solution in float64",
        f"{ours / baseline:.2f}x",
        "1.5x at most",
    )
