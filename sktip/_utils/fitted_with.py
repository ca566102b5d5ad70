"""`fitted_with_`: the versions and the model that a classifier was fitted with, and their checks."""

import functools
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from sktip import __version__

#: Version of the fitted attributes. It is raised when older versions of sktip cannot use new files.
FORMAT = 1
#: Two encoders may be the same model, on another machine or in another precision, if their features of
#: one image have at least this cosine. Fine-tuned versions of a model can exceed it; their weights differ.
SAME_MODEL = 0.99


def record(session: Any = None) -> dict[str, Any]:
    """Record the format, the versions and the model of the encoder, if it is used, at the time of `fit`."""
    entries = {"format": FORMAT, "sktip": __version__, **_versions()}
    return entries if session is None else {**entries, **session.names, "weights": session.weights}


@functools.cache
def _versions() -> dict[str, str]:
    # From the metadata of the packages, so that none is imported.
    return {name: version(name) for name in ("numpy", "scikit-learn", "torch", "open_clip_torch")}


def check_format(name: str, state: dict[str, Any]) -> None:
    """Refuse the state of an estimator that was saved in a newer format."""
    made = state.get("fitted_with_", {})
    if made.get("format", FORMAT) > FORMAT:
        raise ValueError(
            f"this {name} was saved by sktip {made['sktip']} in format {made['format']}, but "
            f"sktip {__version__} reads formats up to {FORMAT}. Install sktip {made['sktip']} or newer."
        )


def check_same_model(classifier: Any, session: Any) -> None:
    """Refuse an open encoder with another model than in `fit`, whose features are not comparable.

    The classifier is fitted; one that saw no encoder of sktip passes, and so does one in `RejectUnknown`
    with such a classifier.
    """
    classifier = getattr(classifier, "estimator_", classifier)
    known: NDArray[Any] | None = getattr(classifier, "_encoder_probe", None)
    if known is None:
        return
    probe, made = session.probe, classifier.fitted_with_
    if probe is None or known.shape != probe.shape or known @ probe < SAME_MODEL:
        what = "features"
    elif _have_changed(made.get("weights"), session.weights):
        what = "weights"
    else:
        return
    raise ValueError(
        f"the encoder is not the model that this {type(classifier).__name__} was fitted with: it was {_named(made)}, "
        f"now it is {_named(session.names)}, and their {what} differ. Set the old encoder again, or call fit."
    )


def _named(names: dict[str, Any]) -> str:
    """Name a model and its weights, for a message."""
    return f"model_name={names['model_name']!r}, pretrained={names['pretrained']!r}"


def _have_changed(then: dict[str, str] | None, now: dict[str, str] | None) -> bool:
    """Whether the weights have different hashes.

    Hashes are not compared if one is unknown, or if the precision or the version of the library
    differs: it may name the same weights differently.
    """
    if then is None or now is None:
        return False
    return then["hash"] != now["hash"] and {**then, "hash": ""} == {**now, "hash": ""}
