"""What a fitted classifier says about how it was made, and what is checked when one is loaded."""

import functools
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from sktip import __version__

#: Layout of the fitted attributes. It grows when an older sktip could not use a newer file.
FORMAT = 1
#: Cosine, of what two encoders make of one picture, above which they are the same model in
#: another place or precision.
SAME_MODEL = 0.99


def record(encoder: Any, session: Any = None) -> dict[str, Any]:
    """Describe what fits now: the format, the versions that matter, and the encoder's model.

    If the model was in use, as the open `session`, its precision is the one that "auto" stands for.
    """
    entries = {"format": FORMAT, "sktip": __version__, **_versions()}
    if encoder is not None:
        entries |= {
            name: getattr(encoder, name) for name in ("model_name", "pretrained", "precision")
        }
    if session is not None:
        entries["precision"] = session.precision
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
        names = ("model_name", "pretrained")
        then, now = (
            ", ".join(f"{name}={source[name]!r}" for name in names)
            for source in (classifier.fitted_with_, record(classifier.encoder))
        )
        raise ValueError(
            f"the encoder is not the model that this {type(classifier).__name__} was fitted with: {then} "
            f"then, {now} now, and their features differ. Set the encoder back, or call fit."
        )
