"""Threads that prepare images and run the model: how many, and how many of torch's each may use."""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from joblib import cpu_count, effective_n_jobs


def count_threads(n_jobs: int | None, device: Any) -> int:
    """Threads to use: `n_jobs` by joblib's rules, or as many as there are CPUs to use.

    On the CPU that is what torch would use for one batch, which follows ``OMP_NUM_THREADS``, and what
    joblib and Ray set for their workers.
    """
    if n_jobs is not None:
        return effective_n_jobs(n_jobs)
    import torch

    return torch.get_num_threads() if device.type == "cpu" else cpu_count()


@contextmanager
def workers(n_threads: int) -> Iterator[Executor]:
    """Give an executor of so many threads, each with one of torch's; of one, the caller's own.

    However it is left, what has not begun is dropped, and no thread stays.
    """
    if n_threads == 1:
        yield _Here()
        return
    _controller()  # Loaded now: the threads must not wait for each other.
    pool = ThreadPoolExecutor(n_threads, "sktip", initializer=_use_one_thread)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _Here(Executor):
    """Does at once, in the calling thread, what it is given."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@functools.cache
def _controller() -> Any:
    import torch  # noqa: F401, since only libraries that are loaded are found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _use_one_thread() -> None:
    """Let torch use one thread for what the current thread computes, and for nothing else.

    OpenMP keeps that number for each thread, so that those of other threads stay. `torch.set_num_threads`
    would set it for threads that begin later, and for products of matrices everywhere.
    """
    import torch

    # At its first use in a thread torch sets the number, and would set it anew.
    torch.get_num_threads()
    _controller().limit(limits=1, user_api="openmp")
