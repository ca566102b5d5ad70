"""One of each classifier, fast enough to be fitted many times; used by several test modules."""

from sktip.utils import all_estimators

#: By class: name and parameters of one or several, deterministic and independent of the batches. The
#: names are those of the saved models. What is not listed is there with its defaults.
VARIANTS = {
    "ZeroShotClassifier": {"zero-shot": {}},
    "TipAdapterClassifier": {
        "tip": {},
        "tip-f": {"fine_tune": True, "n_epochs": 2, "batch_size": 10_000, "random_state": 0},
    },
    "TipAdapterClassifierCV": {"tip-cv": {}},
    "CLIPAdapterClassifier": {
        "clip-adapter": {"n_epochs": 3, "batch_size": 10_000, "random_state": 0}
    },
    "GDAClassifier": {"gda": {"alpha": 0.5}, "gda-auto": {}},
    "ProKeRClassifier": {
        "proker": {"beta": 2.0, "lam": 0.05, "gamma": 0.1},
        "proker-auto": {},
    },
}

#: By name: the class and its parameters.
CLASSIFIERS = {
    name: (cls, parameters)
    for class_name, cls in all_estimators(type_filter="classifier")
    for name, parameters in VARIANTS.get(class_name, {class_name: {}}).items()
}


def make(name, *args, **parameters):
    """Make the classifier of that name, unfitted."""
    cls, defaults = CLASSIFIERS[name]
    return cls(*args, **{**defaults, **parameters})


#: Those that take more shots later.
EXTENDABLE = tuple(
    name
    for name, (cls, parameters) in CLASSIFIERS.items()
    if hasattr(cls, "partial_fit") and not parameters.get("fine_tune")
)
