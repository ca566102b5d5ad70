"""Ratios of the time and memory of sktip and of plain code, in one run, and one table of them."""

import csv
import os
import platform
import time
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch

FIELDS = ("topic", "what", "against", "measured", "asked")
ROWS: list[tuple[str, ...]] = []
#: The last one is used.
CLOCKS = [time.perf_counter]


def pytest_addoption(parser):
    parser.addoption("--csv", help="file for the table, for docs/benchmarks.py")
    parser.addoption(
        "--cpu", action="store_true", help="compare CPU time, on a machine that others use"
    )


def pytest_configure(config):
    if config.getoption("cpu"):
        # Of this process, and of those that have ended.
        CLOCKS.append(lambda: time.process_time() + sum(os.times()[2:4]))


@pytest.fixture
def row(request):
    """Add a row to the table; the topic is the name of the module."""
    topic = request.module.__name__.removeprefix("bench_")
    return lambda what, against, measured, asked="": ROWS.append(
        (topic, what, against, measured, asked)
    )


def machine():
    """Name the machine, the versions and the number of threads."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), cpu)
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    names = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "sve")
    return (
        f"{cpu} ({', '.join(name for name in names if has.get(name)) or torch.backends.cpu.get_cpu_capability()}), "
        f"{os.cpu_count()} CPUs, {'CPU time' if len(CLOCKS) > 1 else 'time'}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.0f} at the end; "
        f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}"
    )


def pytest_terminal_summary(terminalreporter, config):
    if not ROWS:
        return
    terminalreporter.section("benchmarks")
    terminalreporter.write_line(machine())
    for row in [FIELDS, ("---",) * len(FIELDS), *ROWS]:
        terminalreporter.write_line("| " + " | ".join(row) + " |")
    if config.getoption("csv"):
        with open(config.getoption("csv"), "w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *ROWS, ("machine", machine(), "", "", "")])


def compare(*ways, rounds=5, calls=1):
    """Best seconds of a call of each way, in turns: other load only makes a round slower."""
    best = [float("inf")] * len(ways)
    for number in range(rounds + 1):
        for i, way in enumerate(ways):
            start = CLOCKS[-1]()
            for _ in range(calls):
                way()
            # The first round is for what is computed or allocated once.
            if number or rounds == 1:
                best[i] = min(best[i], (CLOCKS[-1]() - start) / calls)
        if rounds == 1:
            break
    return best


class Problem:
    """Unit features around class centres: shots, their classes, text and queries."""

    def __init__(self, n=2048, n_shots=16, n_classes=1000, d=512, *, shuffled=False):
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(n_classes, d))
        self.y = np.repeat(np.arange(n_classes), n_shots)
        if shuffled:
            # Every class keeps a shot; the others fall where they may.
            extra = rng.choice(n_classes, size=len(self.y) - n_classes)
            self.y = rng.permutation(np.concatenate([np.arange(n_classes), extra]))
        self.keys = unit(centres[self.y] + 2 * rng.normal(size=(len(self.y), d)))
        self.text = unit(centres + rng.normal(size=centres.shape))
        asked = rng.integers(n_classes, size=n)
        self.queries = unit(centres[asked] + 2 * rng.normal(size=(n, d)))

    def tensors(self):
        """Queries, keys, text and one-hot values."""
        one_hot = torch.nn.functional.one_hot(torch.as_tensor(self.y), len(self.text)).float()
        return *map(torch.as_tensor, (self.queries, self.keys, self.text)), one_hot


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
