"""One of each classifier, fast enough to be fitted many times; used by several test modules."""

from sktip import (
    CLIPAdapterClassifier,
    GDAClassifier,
    ProKeRClassifier,
    TipAdapterClassifier,
    TipAdapterClassifierCV,
    ZeroShotClassifier,
)

#: By name: the class, and parameters that make it deterministic and independent of the batches.
CLASSIFIERS = {
    "zero-shot": (ZeroShotClassifier, {}),
    "tip": (TipAdapterClassifier, {}),
    "tip-f": (
        TipAdapterClassifier,
        {"fine_tune": True, "n_epochs": 2, "batch_size": 1000, "random_state": 0},
    ),
    "tip-cv": (TipAdapterClassifierCV, {}),
    "clip-adapter": (
        CLIPAdapterClassifier,
        {"n_epochs": 3, "batch_size": 1000, "random_state": 0},
    ),
    "gda": (GDAClassifier, {"alpha": 0.5}),
    "gda-auto": (GDAClassifier, {}),
    "proker": (ProKeRClassifier, {"beta": 2.0, "lam": 0.05, "gamma": 0.1}),
    "proker-auto": (ProKeRClassifier, {}),
}
#: Those that take more shots later.
EXTENDABLE = ("tip", "gda", "gda-auto")


def make(name, *args, **parameters):
    """Make the classifier of that name, unfitted."""
    cls, defaults = CLASSIFIERS[name]
    return cls(*args, **{**defaults, **parameters})
