"""Checks that the values behind logits do not overflow, with errors that name the parameters."""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Number of classes, or shots, over which sums of squares must not overflow.
MANY = 1e8


def check_magnitudes(dtype: Any, **values: Any) -> None:
    """Check that the logits can be computed from these values.

    Parameters
    ----------
    dtype : dtype or type
        Type of the computation.

    **values : float or array-like of float
        Values by the name of their parameter. None and strings are ignored.

    Raises
    ------
    ValueError
        If a value is so large that sums of squares overflow, if a beta is so large that it amplifies
        the rounding of cosines, or if a value is so small that it is 0 in that type.
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
    """Largest scale, largest sharpness and smallest number, as Python floats for fast comparisons."""
    limits = np.finfo(dtype)
    return float(limits.max / MANY) ** 0.5, 1 / float(limits.eps), float(limits.tiny)


def check_finite(what: str, array: NDArray[Any], **values: Any) -> None:
    """Check that a result is finite; the error names the parameters that may be the cause.

    Parameters
    ----------
    what : str
        Name of the array, in the plural.

    array : ndarray
        The result.

    **values : float
        Values that were used to compute it, by the name of their parameter.

    Raises
    ------
    ValueError
        If the array contains infinity or NaN.
    """
    flat = array.reshape(-1)
    # The sum of squares is fast. If it overflows, each number is checked.
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(flat.dot(flat)) or np.isfinite(flat).all():
            return
    raise ValueError(
        f"{what} are not finite: the numbers overflow {array.dtype}. {_where_to_look(values)}"
    )


@contextmanager
def naming_overflow(what: str, **values: float) -> Iterator[None]:
    """Raise an error if numbers overflow in the body; it names the parameters that may be the cause.

    Parameters
    ----------
    what : str
        Name of the result, in the plural.

    **values : float
        Values that are used to compute it, by the name of their parameter.

    Raises
    ------
    ValueError
        If numbers overflow.
    """
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError:
        raise ValueError(f"{what} overflow in fit. {_where_to_look(values)}") from None


def _where_to_look(values: dict[str, float]) -> str:
    shown = ", ".join(f"{name}={value:g}" for name, value in values.items())
    return f"Check {shown}, sample_weight, and the data passed to fit."
