"""How large the numbers behind logits may be, and the errors that name those that are too large."""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Classes, or shots, over which the squares of two numbers must not overflow.
MANY = 1e8


def check_magnitudes(dtype: Any, **values: Any) -> None:
    """Check that the numbers behind the logits can be computed with.

    Parameters
    ----------
    dtype : dtype or type
        Type of the computation.

    **values : float or array-like of float
        Values by the name of their parameter. None and strings pass.

    Raises
    ------
    ValueError
        If a value is so large that sums of squares overflow, a beta so large that the rounding of a
        cosine decides what it is multiplied with, or a value so small that it is 0 in that type.
    """
    largest, sharpest, tiny = _limits(dtype)
    for name, value in values.items():
        if value is None or isinstance(value, str):
            continue
        sharp = name in ("beta", "betas")
        most = sharpest if sharp else largest
        for number in (value,) if isinstance(value, float) else np.ravel(value).tolist():
            if number > most:
                why = "rounding would decide which shots are near" if sharp else "results overflow"
                raise ValueError(
                    f"{name}={number:g} is too large for {np.dtype(dtype)}: above {most:.2g}, {why}. "
                    "Lower it."
                )
            if 0 < number < tiny:
                raise ValueError(
                    f"{name}={number:g} is too small for {np.dtype(dtype)}, in which it is 0. Raise it, or "
                    "set it to 0."
                )


@functools.cache
def _limits(dtype: Any) -> tuple[float, float, float]:
    """Largest scale, largest sharpness and smallest number: Python's, which compare fast."""
    limits = np.finfo(dtype)
    return float(limits.max / MANY) ** 0.5, 1 / float(limits.eps), float(limits.tiny)


def check_finite(what: str, array: NDArray[Any], **values: Any) -> None:
    """Check that a result is finite; the error says by which parameters it may have become so.

    Parameters
    ----------
    what : str
        What the array is, in the plural.

    array : ndarray
        The result.

    **values : float
        Values that it was computed with, by the name of their parameter.

    Raises
    ------
    ValueError
        If there is an infinity or a NaN in the array.
    """
    flat = array.reshape(-1)
    # The sum of squares is fast; where it overflows, each number is looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(flat.dot(flat)) or np.isfinite(flat).all():
            return
    raise ValueError(
        f"{what} are not finite: the numbers overflow {array.dtype}. {_where_to_look(values)}"
    )


@contextmanager
def naming_overflow(what: str, **values: float) -> Iterator[None]:
    """Make an error of numbers that overflow within; it says by which parameters they may have.

    Parameters
    ----------
    what : str
        What is computed, in the plural.

    **values : float
        Values that it is computed with, by the name of their parameter.

    Raises
    ------
    ValueError
        If numbers overflow.
    """
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError:
        raise ValueError(
            f"{what} overflow while they are fitted. {_where_to_look(values)}"
        ) from None


def _where_to_look(values: dict[str, float]) -> str:
    shown = ", ".join(f"{name}={value:g}" for name, value in values.items())
    return f"Look at {shown}, at sample_weight, and at what was fitted."
