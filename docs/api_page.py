"""The page of the API reference, made from what is public: ``conf.py`` writes it before a build."""

from importlib import import_module
from types import ModuleType

import sktip
from sktip.utils import all_estimators

HEAD = """API reference
=============

All public objects, in the groups of the :doc:`user guide <guide/index>`. Import estimators from ``sktip`` itself. Names that begin
with an underscore are not public and may change at any time.
"""
#: Groups with what they are for, and what comes first in each.
GROUPS = {
    "Start": (
        "Train a first classifier on your own photos (:doc:`getting_started`, :doc:`guide/own_photos`).",
        "FewShotClassifier CLIPFeatureTransformer TimmFeatureTransformer JointEncoder datasets.load_image_folder datasets.load_image_table "
        "model_selection.FewShotSplit model_selection.suggest_shots model_selection.forecast_accuracy datasets.load_digit_images datasets.load_drawings",
    ),
    "Better answers": (
        "Choose another classifier (:doc:`guide/which_classifier`), and improve prompts (:doc:`guide/class_names`).",
        "TipAdapterClassifier TipAdapterClassifierCV GDAClassifier ProKeRClassifier ZeroShotClassifier "
        "CLIPAdapterClassifier",
    ),
    "Trust": (
        "See answers and why they were given (:doc:`guide/evidence`) and how scores depend on parameters (:ref:`guide_alpha_beta`), "
        "reject unknown classes (:doc:`guide/unknown`), find wrong labels (:ref:`guide_wrong_labels`).",
        "inspection.PredictionsDisplay inspection.EvidenceDisplay RejectUnknown model_selection.held_out_proba "
        "model_selection.estimate_accuracy model_selection.check_class_names inspection.ForecastDisplay",
    ),
    "Work": (
        "Encode once (:doc:`guide/encoding_once`), predict many images (:doc:`guide/many_images`), export (:doc:`guide/export`).",
        "FeatureMemory clear_model_cache",
    ),
    "Reference": (
        "Find errors (:doc:`guide/faq`), load the paper's data sets and write a new method (:doc:`guide/paper_table`).",
        "exceptions.ImageReadError exceptions.ModelLoadError show_versions utils.all_estimators datasets.load_dataset",
    ),
}
#: Where an object goes that no group names: by its module; classifiers are "Better answers".
GROUP_OF = {
    "prompts": "Better answers",
    "inspection": "Trust",
    "base": "Reference",
    "datasets": "Reference",
    "exceptions": "Reference",
    "utils": "Reference",
}


def public_names():
    """Names below ``sktip`` of all public objects, and the public modules."""
    values = {name: getattr(sktip, name) for name in dir(sktip) if name != "__version__"}
    modules = [name for name, value in values.items() if isinstance(value, ModuleType)]
    inside = [f"{name}.{item}" for name in modules for item in values[name].__all__]
    return [name for name in values if name not in modules] + inside, modules


def grouped(names):
    """Give each name to a group, those that a group names first."""
    groups = {title: first.split() for title, (_, first) in GROUPS.items()}
    gone = [name for listed in groups.values() for name in listed if name not in names]
    if gone:
        raise ValueError(f"docs/api_page.py names what is not public: {', '.join(gone)}.")
    classifiers = dict(all_estimators(type_filter="classifier"))
    for name in names:
        if not any(name in listed for listed in groups.values()):
            default = "Better answers" if name in classifiers else "Work"
            groups[GROUP_OF.get(name.partition(".")[0], default)].append(name)
    return groups


def section(title, names):
    """One group: a line on it, a table of classes and functions, then its data."""
    lines = [title, "-" * len(title), "", GROUPS[title][0], "", ".. currentmodule:: sktip", ""]
    lines += [".. autosummary::", "   :toctree: api", ""]
    data = [name for name in names if not is_callable(name)]
    lines += [f"   {name}" for name in names if name not in data]
    for name in data:
        lines += ["", f".. autodata:: sktip.{name}", "   :no-value:"]
    return "\n".join(lines) + "\n"


def is_callable(name):
    module, _, item = f"sktip.{name}".rpartition(".")
    return callable(getattr(import_module(module), item))


def text():
    """The page: the groups, then what the modules say of themselves."""
    names, modules = public_names()
    sections = [section(title, listed) for title, listed in grouped(names).items()]
    described = ["Modules", "-------", ""]
    for name in sorted(modules):
        described += [
            f".. rubric:: sktip.{name}",
            "",
            f".. automodule:: sktip.{name}",
            "   :no-members:",
            "",
        ]
    return "\n".join([HEAD, *sections, "\n".join(described)])
