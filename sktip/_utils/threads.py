"""Threads: those that prepare images and run a model, and how many a matrix product uses."""

import ctypes
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from joblib import cpu_count, effective_n_jobs
from threadpoolctl import ThreadpoolController, threadpool_limits

#: Products of matrices with fewer multiplications are faster in one thread than in several.
LARGE = 2**30


def threads_for(n_products: int) -> AbstractContextManager[object]:
    """Limit BLAS to one thread, unless a matrix product has so many multiplications that more are faster."""
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if n_products < LARGE else None, user_api="blas"
    )
    return limits


def count_threads(n_jobs: int | None, device: str) -> int:
    """Return the number of threads: `n_jobs` by joblib's rules, or if it is None, that of the CPUs.

    On the CPU, None means the number of threads that torch would use. It respects ``OMP_NUM_THREADS``,
    and the limits that joblib and Ray set for their workers.
    """
    if n_jobs is not None:
        return effective_n_jobs(n_jobs)
    return torch_threads() if device == "cpu" else cpu_count()


def torch_threads() -> int:
    """Return the number of threads that torch uses in the calling thread."""
    import torch

    return torch.get_num_threads()


@contextmanager
def workers(n_threads: int) -> Iterator[Executor]:
    """Yield an executor whose threads each use one torch thread; for one, use the calling thread.

    At the end, tasks that have not started are cancelled, and all threads are closed.
    """
    if n_threads == 1:
        yield _Here()
        return
    _controller()  # Loaded now, so that the threads do not wait for each other.
    pool = ThreadPoolExecutor(n_threads, "sktip", initializer=_use_one_thread)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _Here(Executor):
    """Runs each task immediately, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@functools.cache
def _limit_of_mkl() -> Callable[[int], Any] | None:
    """Return MKL's own function for the number of threads of the calling thread; None without MKL in torch.

    MKL is a part of torch's library, where threadpoolctl does not see it. After ``torch.set_num_threads``, its
    products would use that number of threads in each thread.
    """
    import torch

    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not library.exists():
        return None
    return getattr(ctypes.CDLL(str(library)), "MKL_Set_Num_Threads_Local", None)


@functools.cache
def _controller() -> Any:
    import torch  # noqa: F401, since only libraries that are loaded are found

    return ThreadpoolController()


def _use_one_thread() -> None:
    """Limit torch to one thread for computations of the current thread only.

    OpenMP keeps this limit per thread. `torch.set_num_threads` would also change it for threads that
    start later, and for matrix products in all threads.
    """
    import torch

    # At its first use in a thread, torch sets the number itself; it must not do so after the limit.
    torch.get_num_threads()
    _controller().limit(limits=1, user_api="openmp")
    if (limit := _limit_of_mkl()) is not None:
        limit(1)
