"""What a fitted classifier says about how it was made, and what is checked when one is loaded."""

import functools
import inspect
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from sktip import __version__

#: Layout of the fitted attributes. It grows when an older sktip could not use a newer file.
FORMAT = 1
#: Cosine, of what two encoders make of one picture, above which they may be the same model in
#: another place or precision. Fine-tunes of one model may lie above it too: their weights tell.
SAME_MODEL = 0.99


def record(encoder: Any, weights: dict[str, str] | None = None) -> dict[str, Any]:
    """Describe what fits now: the format, the versions that matter, and the encoder's model."""
    entries = {"format": FORMAT, "sktip": __version__, **_versions()}
    if encoder is not None:
        entries |= {
            name: getattr(encoder, name) for name in ("model_name", "pretrained", "precision")
        }
    if weights is not None:
        # What was used, where the parameter left the choice.
        entries |= {"weights": weights, "precision": weights["precision"]}
    return entries


@functools.cache
def _versions() -> dict[str, str]:
    # Of the installed packages, so that none needs to be imported.
    return {name: version(name) for name in ("numpy", "scikit-learn", "torch", "open_clip_torch")}


def check_format(name: str, state: dict[str, Any]) -> None:
    """Refuse the state of an estimator that a newer sktip has saved in another layout."""
    made = state.get("fitted_with_", {})
    if made.get("format", FORMAT) > FORMAT:
        raise ValueError(
            f"this {name} was saved by sktip {made['sktip']} in format {made['format']}; "
            f"sktip {__version__} reads formats up to {FORMAT}. Install sktip {made['sktip']} or newer."
        )


def check_same_model(classifier: Any, session: Any) -> None:
    """Refuse an open encoder of another model than that of `fit`: its features mean something else."""
    known: NDArray[Any] | None = getattr(classifier, "encoder_probe_", None)
    if known is None:
        return
    probe = session.probe
    if known.shape != probe.shape or known @ probe < SAME_MODEL:
        what = "features"
    elif _have_changed(classifier.fitted_with_.get("weights"), session.weights):
        what = "weights"
    else:
        return
    names = ("model_name", "pretrained")
    then, now = (
        ", ".join(f"{name}={source[name]!r}" for name in names)
        for source in (classifier.fitted_with_, record(classifier.encoder))
    )
    raise ValueError(
        f"the encoder is not the model that this {type(classifier).__name__} was fitted with: {then} "
        f"then, {now} now, and their {what} differ. Set the encoder back, or call fit."
    )


def _have_changed(then: dict[str, str] | None, now: dict[str, str]) -> bool:
    """Whether the hashes of weights tell that these are others.

    They tell nothing if one is not known, or was made of numbers in another precision or under
    another version of the library, which may name the same weights differently.
    """
    if then is None:
        return False
    return then["hash"] != now["hash"] and {**then, "hash": ""} == {**now, "hash": ""}


def with_defaults(cls: type, state: dict[str, Any]) -> dict[str, Any]:
    """State of an estimator, whose parameters have their defaults where it was saved before them."""
    given = inspect.signature(cls).parameters.values()
    defaults = {p.name: p.default for p in given if p.default is not inspect.Parameter.empty}
    return {**defaults, **state}
