"""How many threads matrix products use."""

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits

#: Products of matrices with fewer multiplications are faster in one thread than in several.
LARGE = 2**30


def threads_for(n_products: int) -> AbstractContextManager[object]:
    """Limit BLAS to one thread, unless a matrix product has so many multiplications that more are faster."""
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if n_products < LARGE else None, user_api="blas"
    )
    return limits
