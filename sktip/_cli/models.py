"""Files of fitted classifiers: skops, which runs no code, or joblib on request."""

import io
import os
from typing import Any

import joblib
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import sktip
from sktip._utils.output_files import write_file
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
    content = io.BytesIO()
    if suffix == ".skops":
        _skops().dump(estimator, content)
    else:
        warn(_RUNS.format(path=path))
        joblib.dump(estimator, content)
    write_file(path, [content.getvalue()], overwrite=overwrite)


def load_model(path: str) -> Any:
    """Read a fitted classifier from a file; all errors name the file."""
    suffix = check_suffix(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file. `python -m sktip fit` writes one.")
    if not os.path.isfile(path):
        raise ValueError(f"{path} is not a file; pass the path of a saved classifier.")
    if suffix == ".joblib":
        warn(_RUNS.format(path=path))
    try:
        estimator = _load_skops(path) if suffix == ".skops" else _load_joblib(path)
        if not hasattr(estimator, "predict"):
            raise ValueError(f"it contains a {type(estimator).__name__}, not a classifier.")
        check_is_fitted(estimator)
    except (PermissionError, FileNotFoundError):
        raise
    except Exception as error:
        # Reading a damaged file can raise anything.
        reason = " ".join(str(error).split())
        if type(error) is not ValueError and not isinstance(error, NotFittedError | ImportError):
            reason = (
                f"it is damaged, or not a saved classifier ({type(error).__name__}: {reason}). Copy it again, or "
                "fit again."
            )
        raise ValueError(f"{path} cannot be loaded: {reason}") from error
    return estimator


def _load_joblib(path: str) -> Any:
    return joblib.load(path)  # noqa: TID251  whoever calls names such a file, and is warned


def _load_skops(path: str) -> Any:
    own = [f"{cls.__module__}.{cls.__qualname__}" for cls in _own_types()]
    found = _skops().get_untrusted_types(file=path)
    strange = sorted(set(found) - set(own))
    if strange:
        raise ValueError(
            f"it contains types that are not from sktip: {', '.join(strange)}. Nothing was loaded. If you trust "
            "them, load the file in Python: skops.io.load(path, trusted=[...])."
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
