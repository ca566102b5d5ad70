"""How large the numbers behind logits may be, and the errors that name those that are too large."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: Classes, or shots, over which the squares of two numbers must not overflow.
MANY = 1e8


def check_magnitudes(dtype: DTypeLike, **values: Any) -> None:
    """Check that the numbers behind the logits can be computed with.

    Parameters
    ----------
    dtype : dtype
        Type of the computation.

    **values : float or array-like of float
        Values by the name of their parameter. None and strings pass.

    Raises
    ------
    ValueError
        If a value is so large that sums of squares overflow, a beta so large that the rounding of a
        cosine decides what it is multiplied with, or a value so small that it is 0 in that type.
    """
    limits = np.finfo(dtype)
    for name, value in values.items():
        if value is None or isinstance(value, str):
            continue
        sharp = name in ("beta", "betas")
        most = 1 / float(limits.eps) if sharp else float(limits.max / MANY) ** 0.5
        for number in (value,) if isinstance(value, float) else np.ravel(value).tolist():
            if number > most:
                why = "rounding would decide which shots are near" if sharp else "results overflow"
                raise ValueError(
                    f"{name}={number:g} is too large for {limits.dtype}: above {most:.2g}, {why}. Lower it."
                )
            if 0 < number < limits.tiny:
                raise ValueError(
                    f"{name}={number:g} is too small for {limits.dtype}, in which it is 0. Raise it, or set it to 0."
                )


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
    # A sum is one pass without a temporary; where it overflows, each number is looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()) or np.isfinite(array).all():
            return
    shown = ", ".join(f"{name}={value:g}" for name, value in values.items())
    raise ValueError(
        f"{what} are not finite: the numbers overflow {array.dtype}. Look at {shown}, at sample_weight, and at "
        "what was fitted."
    )
