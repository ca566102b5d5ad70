"""The page of the API reference, made from what is public: ``conf.py`` writes it before a build."""

from importlib import import_module
from types import ModuleType

from sklearn.base import MetaEstimatorMixin

import sktip
from sktip.utils import all_estimators

HEAD = """API reference
=============

Estimators and what belongs to them are imported from ``sktip`` itself. Nothing else is public: names that begin with
an underscore may change at any time.
"""
#: Titles of the public modules, in the order of the page.
MODULES = {
    "model_selection": "Model selection",
    "inspection": "Inspection",
    "distributed": "Distributed",
    "datasets": "Data sets",
    "prompts": "Prompts",
    "exceptions": "Exceptions",
    "utils": "Utilities",
}


def section(title, module, names, *, described):
    """One section: the module's own words, its classes and functions, then its data."""
    objects = [name for name in names if callable(getattr(import_module(module), name))]
    lines = [title, "-" * len(title), ""]
    if described:
        lines += [f".. automodule:: {module}", "   :no-members:", ""]
    lines += [f".. currentmodule:: {module}", "", ".. autosummary::", "   :toctree: api", ""]
    lines += [f"   {name}" for name in objects]
    for name in sorted(set(names) - set(objects)):
        lines += ["", f".. autodata:: {name}", "   :no-value:"]
    return "\n".join(lines) + "\n"


def _is_meta(value):
    return isinstance(value, type) and issubclass(value, MetaEstimatorMixin)


def text():
    """The page: features, classifiers, then each public module."""
    public = {name: getattr(sktip, name) for name in dir(sktip) if name != "__version__"}
    modules = {name for name, value in public.items() if isinstance(value, ModuleType)}
    if modules != set(MODULES):
        raise ValueError(f"docs/api_page.py lacks a title for {modules ^ set(MODULES)}.")
    classifiers = [name for name, _ in all_estimators(type_filter="classifier")]
    classifiers += [name for name in public if _is_meta(public[name])]
    rest = [name for name in public if name not in modules and name not in classifiers]
    sections = [
        section("Features and models", "sktip", rest, described=False),
        section("Classifiers", "sktip", classifiers, described=False),
    ]
    for name, title in MODULES.items():
        names = public[name].__all__
        sections.append(section(title, f"sktip.{name}", names, described=True))
    return "\n".join([HEAD, *sections])
