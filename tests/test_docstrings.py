"""Docstrings: shared parameters have the same text, and each object links to the guide and back."""

import inspect
import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

import sktip
from sktip.utils import all_estimators

docscrape = pytest.importorskip("numpydoc.docscrape")

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
CLASSIFIERS = dict(all_estimators(type_filter="classifier"))
#: Parameters and attributes that a class describes differently, because they have another meaning there.
EXCEPTIONS = {
    # A weight, a sharpness and views play another part in each method.
    "alpha": {"GDAClassifier"},
    "beta": {"ProKeRClassifier"},
    "n_views": {"CLIPAdapterClassifier", "GDAClassifier", "ProKeRClassifier"},
    "logit_scale": {"ProKeRClassifier"},
    "logit_scale_": {"ProKeRClassifier"},
    "alpha_": {"GDAClassifier"},
    "beta_": {"ProKeRClassifier"},
    # The published training of CLIP-Adapter, and its own adapter.
    "n_epochs": {"CLIPAdapterClassifier"},
    "learning_rate": {"CLIPAdapterClassifier"},
    "weight_decay": {"CLIPAdapterClassifier"},
    "batch_size": {"CLIPAdapterClassifier"},
    "loss_curve_": {"CLIPAdapterClassifier"},
    "n_iter_": {"CLIPAdapterClassifier"},
    # The paper's template, or an ensemble.
    "templates": {"FewShotClassifier", "ZeroShotClassifier"},
    # What is drawn at random.
    "random_state": {"CLIPAdapterClassifier", "GDAClassifier", "ProKeRClassifier"},
    # Rows are views, not shots.
    "cache_keys_": {"ProKeRClassifier"},
    "cache_codes_": {"ProKeRClassifier"},
    # How alpha and beta are chosen for learned keys.
    "fine_tune": {"TipAdapterClassifierCV"},
}


def descriptions(section):
    """Type and text of each name, by the classes that have it."""
    found = defaultdict(dict)
    for class_name, cls in CLASSIFIERS.items():
        for entry in docscrape.NumpyDocString(inspect.getdoc(cls))[section]:
            if class_name not in EXCEPTIONS.get(entry.name, ()):
                found[entry.name][class_name] = (entry.type, " ".join(entry.desc).split())
    return found


def test_the_same_is_said_in_the_same_words():
    differ = {
        name: texts
        for section in ("Parameters", "Attributes")
        for name, texts in descriptions(section).items()
        if len({(kind, *words) for kind, words in texts.values()}) > 1
    }
    assert not differ, "\n".join(
        f"{name} of {cls}: {kind}: {' '.join(words)}"
        for name, texts in differ.items()
        for cls, (kind, words) in texts.items()
    )


def public_objects():
    """Classes and functions that the API page lists, by their full names."""
    public = [getattr(sktip, name) for name in dir(sktip)]
    modules = [sktip, *(value for value in public if isinstance(value, ModuleType))]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name in module.__all__
        if callable(value := getattr(module, name))
    }


def test_each_links_to_a_page_of_the_guide_and_back():
    pages = [page.read_text(encoding="utf-8") for page in GUIDE.glob("*.rst")]
    page_of = {label: page for page in pages for label in re.findall(r"^\.\. _(\w+):$", page, re.M)}
    unlinked = []
    for name, value in public_objects().items():
        link = re.search(r":ref:`User Guide <(\w+)>`", inspect.getdoc(value))
        page = page_of.get(link[1], "") if link else ""
        # Pages write a name as code, of which the build makes a link.
        if f"``{name.rpartition('.')[2]}``" not in page:
            unlinked.append(f"{name}: {link[1] + ' does not name it' if link else 'no link'}")
    assert not unlinked
