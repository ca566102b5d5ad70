"""Timing of two ways to compute the same thing in one run, and a table of the ratios."""

import gc
import time

import numpy as np
import pytest
import torch
from torch.nn import functional

ROWS: list[tuple[str, str, str, str]] = []


@pytest.fixture
def report():
    """Add a row to the table at the end: what, against what, measured, target."""

    def add(what: str, against: str, measured: str, target: str = "") -> None:
        ROWS.append((what, against, measured, target))

    return add


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    header = [("what", "against", "measured", "target"), ("---",) * 4]
    terminalreporter.section(
        f"ratios, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    for row in header + ROWS:
        terminalreporter.write_line("| " + " | ".join(row) + " |")


@pytest.fixture
def compare(benchmark):
    """Time `candidate` by pytest-benchmark, and the baselines in turns with it: seconds each.

    The best round counts: whatever else the machine does can only make a round slower. A round
    of one call after another, all of them in turn, sees the same machine.
    """

    def run(candidate, *baselines, rounds: int, calls: int = 1) -> list[float]:
        best = [float("inf")] * len(baselines)

        def time_baselines() -> None:
            for i, baseline in enumerate(baselines):
                start = time.perf_counter()
                for _ in range(calls):
                    baseline()
                best[i] = min(best[i], (time.perf_counter() - start) / calls)

        # `setup` runs before each round, and its time does not count. It must not be given
        # together with several calls a round, so the calls are made here.
        def call() -> None:
            for _ in range(calls):
                candidate()

        gc.collect()
        benchmark.pedantic(call, setup=time_baselines, rounds=rounds, warmup_rounds=1)
        return [benchmark.stats.stats.min / calls, *best]

    return run


class Problem:
    """Unit features around class centres: shots, their classes, text, queries, one-hot values."""

    def __init__(self, n=2048, n_shots=16, n_classes=1000, d=512, *, shuffled=False):
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(n_classes, d))
        self.y = np.repeat(np.arange(n_classes), n_shots)
        if shuffled:
            # Every class keeps a shot; the others fall where they may.
            extra = rng.choice(n_classes, size=len(self.y) - n_classes)
            self.y = rng.permutation(np.concatenate([np.arange(n_classes), extra]))
        self.keys = _unit(centres[self.y] + 2 * rng.normal(size=(len(self.y), d)))
        self.text = _unit(centres + rng.normal(size=centres.shape))
        asked = rng.integers(n_classes, size=n)
        self.queries = _unit(centres[asked] + 2 * rng.normal(size=(n, d)))

    def tensors(self):
        """Queries, keys, text and one-hot values."""
        one_hot = functional.one_hot(torch.as_tensor(self.y), len(self.text)).float()
        return *map(torch.as_tensor, (self.queries, self.keys, self.text)), one_hot


def _unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def problem():
    """Make a `Problem`."""
    return Problem
