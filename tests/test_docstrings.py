"""Parameters and attributes that mean the same are described in the same words, and link to the guide."""

import inspect
from collections import defaultdict

import pytest
from numpydoc.docscrape import NumpyDocString

from sktip.utils import all_estimators

CLASSIFIERS = dict(all_estimators(type_filter="classifier"))
#: What is described in other words, and why.
EXCEPTIONS = {}


def descriptions(section):
    """Type and text of each name, by the classes that have it."""
    found = defaultdict(dict)
    for class_name, cls in CLASSIFIERS.items():
        for entry in NumpyDocString(inspect.getdoc(cls))[section]:
            if class_name not in EXCEPTIONS.get(entry.name, ()):
                found[entry.name][class_name] = (entry.type, " ".join(entry.desc).split())
    return found


@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
def test_the_same_is_said_in_the_same_words(section):
    differ = {
        name: texts
        for name, texts in descriptions(section).items()
        if len({(kind, *words) for kind, words in texts.values()}) > 1
    }
    assert not differ, "\n".join(
        f"{name} of {cls}: {kind}: {' '.join(words)}"
        for name, texts in differ.items()
        for cls, (kind, words) in texts.items()
    )


def test_exceptions_are_needed():
    for name, classes in EXCEPTIONS.items():
        assert classes <= CLASSIFIERS.keys(), name
