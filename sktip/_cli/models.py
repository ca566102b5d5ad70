"""Files of fitted classifiers: skops, which runs no code, or joblib on request."""

import os
from typing import Any

import joblib

import sktip
from sktip._utils.output_files import replacing
from sktip._utils.warn import warn

SUFFIXES = (".skops", ".joblib")
_RUNS = (
    "{path} is a joblib file: loading it runs the code in it. Load joblib files only from people you trust, or "
    "use a .skops file, which runs no code."
)
_NO_SKOPS = (
    '.skops files need the package skops. Run: pip install "sktip[skops]", or use a .joblib file if everyone '
    "who loads it trusts its author."
)


def check_suffix(path: str) -> str:
    """Return the suffix of a model file; raise an error if it is not supported."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: the name of a model file must end in {' or '.join(SUFFIXES)}.")
    if suffix == ".skops":
        _skops()
    return suffix


def save_model(estimator: Any, path: str, *, overwrite: bool) -> None:
    """Write a fitted classifier to a file, completely or not at all."""
    suffix = check_suffix(path)
    with replacing(path, overwrite=overwrite) as beside:
        if suffix == ".skops":
            _skops().dump(estimator, beside)
        else:
            warn(_RUNS.format(path=path))
            joblib.dump(estimator, beside)


def load_model(path: str) -> Any:
    """Read a fitted classifier from a file."""
    suffix = check_suffix(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file. `python -m sktip fit` writes one.")
    if suffix == ".joblib":
        warn(_RUNS.format(path=path))
        return joblib.load(path)  # noqa: TID251  whoever calls names such a file, and is warned
    own = [f"{cls.__module__}.{cls.__qualname__}" for cls in _own_types()]
    found = _skops().get_untrusted_types(file=path)
    strange = sorted(set(found) - set(own))
    if strange:
        raise ValueError(
            f"{path} contains types that are not from sktip: {', '.join(strange)}. Nothing was loaded. If you "
            "trust them, load the file in Python: skops.io.load(path, trusted=[...])."
        )
    return _skops().load(path, trusted=own)


def _own_types() -> list[type]:
    """Public classes of sktip; fitted classifiers contain no others of the package."""
    public = (getattr(sktip, name) for name in dir(sktip))
    return [value for value in public if isinstance(value, type)]


def _skops() -> Any:
    try:
        from skops import io  # noqa: TID251  it runs nothing but the types that are named to it
    except ImportError:
        raise ImportError(_NO_SKOPS) from None
    return io
