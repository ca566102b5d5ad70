"""Files of fitted classifiers: skops, which runs nothing, and joblib for those who ask for it."""

import os
from typing import Any

import joblib

import sktip
from sktip._utils.output_files import replacing
from sktip._utils.warn import warn

SUFFIXES = (".skops", ".joblib")
_RUNS = (
    "{path} is a file of joblib: loading it runs what is in it. Load such files only from people you trust; "
    "a file that ends in .skops runs nothing."
)
_NO_SKOPS = (
    'files that end in .skops need the package skops. Run: pip install "sktip[skops]", or name a file that ends '
    "in .joblib, if all who load it trust whoever wrote it."
)


def check_suffix(path: str) -> str:
    """Return how a model's file ends; raise an error that says how it may."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: the name of a model's file ends in {' or '.join(SUFFIXES)}.")
    if suffix == ".skops":
        _skops()
    return suffix


def save_model(estimator: Any, path: str, *, overwrite: bool) -> None:
    """Write a fitted classifier to a file, whole or not at all."""
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
            f"{path} holds types that are not sktip's: {', '.join(strange)}. Nothing was loaded. If you trust "
            "them, load it in Python: skops.io.load(path, trusted=[...])."
        )
    return _skops().load(path, trusted=own)


def _own_types() -> list[type]:
    """Public classes of sktip, which are all that a classifier is made of."""
    public = (getattr(sktip, name) for name in dir(sktip))
    return [value for value in public if isinstance(value, type)]


def _skops() -> Any:
    try:
        from skops import io  # noqa: TID251  it runs nothing but the types that are named to it
    except ImportError:
        raise ImportError(_NO_SKOPS) from None
    return io
