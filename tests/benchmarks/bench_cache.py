"""The time of the cache compared with a plain implementation of the formula, in one run."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from sktip import TipAdapterClassifier
from sktip._maths.cache import Shots
from sktip._maths.fine_tune import fine_tune_keys

ALPHA, BETA, SCALE = 1.0, 5.5, 100.0


def plain_logits(f, K, W, L):
    return SCALE * f @ W.T + ALPHA * torch.exp(-BETA * (1 - f @ K.T)) @ L


@pytest.mark.parametrize(("shots", "target"), [("sorted", 2.6), ("shuffled and unequal", 2.4)])
def bench_decision_function(problem, compare, report, shots, target):
    data = problem(shuffled=shots != "sorted")
    f, K, W, L = data.tensors()
    model = TipAdapterClassifier(text_features=data.text).fit(data.keys, data.y)
    np.testing.assert_allclose(
        model.decision_function(data.queries), plain_logits(f, K, W, L), rtol=1e-4, atol=1e-3
    )
    ours, plain, products = compare(
        lambda: model.decision_function(data.queries),
        lambda: plain_logits(f, K, W, L),
        lambda: (f @ K.T, f @ W.T),
        rounds=6,
    )
    what = f"decision_function, shots {shots}"
    report(what, "plain formula", f"{plain / ours:.2f}x faster", f">= {target}x")
    bound = "<= 1.3x" if shots == "sorted" else ""
    report(what, "the two products alone", f"{ours / products:.2f}x", bound)


def bench_one_query(problem, compare, report):
    data = problem(n=1, n_classes=100)
    f, K, W, L = data.tensors()
    model = TipAdapterClassifier(text_features=data.text).fit(data.keys, data.y)
    np.testing.assert_allclose(
        model.decision_function(data.queries), plain_logits(f, K, W, L), rtol=1e-4, atol=1e-3
    )
    ours, plain = compare(
        lambda: model.decision_function(data.queries),
        lambda: plain_logits(f, K, W, L),
        rounds=60,
        calls=50,
    )
    report("one query, 16 x 100 cache", "plain formula", f"{ours / plain:.2f}x", "<= 2.5x")


def bench_nearest_shots(problem, compare, report):
    data = problem()
    f, K, _, _ = data.tensors()
    model = TipAdapterClassifier(text_features=data.text).fit(data.keys, data.y)

    def plain():
        return (ALPHA * torch.exp(-BETA * (1 - f @ K.T))).topk(5)

    np.testing.assert_allclose(model.nearest_shots(data.queries)[1], plain().values, rtol=1e-4)
    ours, baseline = compare(lambda: model.nearest_shots(data.queries), plain, rounds=6)
    report("nearest_shots, n = 5", "plain formula and topk", f"{baseline / ours:.2f}x faster")


def plain_epoch(views, codes, K, W, L):
    """One epoch of Tip-Adapter-F by autograd, in the order that `fine_tune_keys` draws."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.nn.Parameter(K.clone())
    optimizer = torch.optim.AdamW([keys], lr=1e-3, eps=1e-4, weight_decay=0.01)
    batches = torch.randperm(len(K), generator=generator).split(256)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for rows in batches:
        loss = functional.cross_entropy(plain_logits(views[rows], keys, W, L), codes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return keys.detach()


def bench_fine_tune_epoch(problem, compare, report):
    data = problem(n=1)
    _, K, W, L = data.tensors()
    codes = torch.as_tensor(data.y)

    def epoch():
        return fine_tune_keys(
            K[:, None],
            codes,
            K,
            Shots(codes, len(W)),
            W,
            logit_scale=SCALE,
            alpha=ALPHA,
            beta=BETA,
            n_epochs=1,
            learning_rate=1e-3,
            weight_decay=0.01,
            batch_size=256,
            generator=torch.Generator().manual_seed(0),
        )[0]

    torch.testing.assert_close(epoch(), plain_epoch(K, codes, K, W, L), rtol=0, atol=1e-5)
    ours, plain = compare(epoch, lambda: plain_epoch(K, codes, K, W, L), rounds=3)
    report("Tip-Adapter-F epoch", "autograd, one-hot product", f"{plain / ours:.2f}x", ">= 2.2x")


MEMORY = """
import numpy as np
from sktip import TipAdapterClassifier

def unit(*shape):
    rows = rng.standard_normal(shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

rng = np.random.default_rng(0)
model = TipAdapterClassifier(text_features=unit(1000, 512))
model.fit(unit(16000, 512), np.repeat(np.arange(1000), 16))
model.decision_function(unit(64, 512))  # What torch allocates once is not the call's.
X = rng.standard_normal((50000, 512), dtype=np.float32)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # The peak counts from here. (getrusage's would be that of the parent.)
before = status("VmRSS")
logits = model.decision_function(X)
print((status("VmHWM") - before - logits.nbytes) / 1e6)
"""


def bench_memory(report):
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    # In a separate process, since the peak memory of this one includes other benchmarks.
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    extra = float(done.stdout)
    report("peak memory, n = 50,000", "input and output", f"+{extra:.0f} MB", "<= 300 MB")


SIZES = {"n": 512, "n_shots": 16, "n_classes": 250, "d": 256}
NAMES = {"n": "n", "n_shots": "m, by shots", "n_classes": "m and C, by classes", "d": "d"}


@pytest.mark.parametrize("name", SIZES)
def bench_growth(problem, compare, report, name):
    def asking(factor):
        data = problem(**{**SIZES, name: SIZES[name] * factor})
        model = TipAdapterClassifier(text_features=data.text).fit(data.keys, data.y)
        return lambda: model.decision_function(data.queries)

    once, twice, four = compare(*map(asking, (1, 2, 4)), rounds=10, calls=3)
    report(
        f"decision_function, {NAMES[name]} grown 2x, 4x",
        "1x",
        f"{twice / once:.2f}x, {four / once:.2f}x",
    )
