"""Prompts: templates filled with names, which are text and nothing else."""

import inspect
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sktip import FewShotClassifier, FewShotTagger, TipAdapterClassifier, ZeroShotClassifier
from sktip.prompts import GENERAL_TEMPLATES, fill_prompts
from sktip.utils import all_estimators

#: What templates of other languages would fill, what matplotlib would read, other scripts.
ODD = [
    "{}",
    "{0}",
    "{name!r}",
    "{{}}",
    "%s",
    "100 %",
    "$x$",
    r"\n\frac{",
    "a\nb",
    "שלום",
    "\U0001f600",
]


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_taken_as_it_is_written(name):
    assert fill_prompts([name], "a photo of a {}.") == [[f"a photo of a {name}."]]
    templates = ["{}", "{} or {}", "{0} % {} %s {{}}", "$x_{}$"]
    expected = [name, f"{name} or {name}", f"{{0}} % {name} %s {{{name}}}", f"$x_{name}$"]
    assert fill_prompts([name], templates) == [expected]
    assert fill_prompts([name], {name: ["{}", "no place"]}) == [[name, "no place"]]


def test_an_underscore_is_a_space_in_the_name_alone():
    assert fill_prompts(["a_{}_b"], "my_photo of {}") == [["my_photo of a {} b"]]


def test_names_that_are_no_unicode():
    with pytest.raises(
        ValueError, match=r"class name 1 is 'caf\\udce9', which is not valid Unicode"
    ):
        fill_prompts(["tea", "caf\udce9"])
    with pytest.raises(
        ValueError, match=r"templates: template 0 is '\\udce9 {}', which is not valid"
    ):
        fill_prompts(["tea"], "\udce9 {}")


def test_a_classifier_of_such_names(clip, digit_features):
    F = digit_features[0][: 2 * len(ODD)]
    labels = np.array(ODD * 2)
    clf = TipAdapterClassifier(clip, input="features", alpha=1e6, beta=1e4).fit(F, labels)
    assert sorted(clf.classes_.tolist()) == sorted(ODD)
    assert clf.predict(F).tolist() == labels.tolist()
    own = clip.encode_text(clf.classes_)
    np.testing.assert_allclose(clf.text_features_, own, atol=1e-6)
    assert len(np.unique(own.round(4), axis=0)) == len(ODD)


GENERAL = [FewShotClassifier, FewShotTagger, ZeroShotClassifier]


@pytest.mark.parametrize("cls", GENERAL)
def test_the_default_is_an_ensemble(clip, digit_features, cls):
    F, labels = digit_features
    names = sorted(set(labels))
    y = labels[:, None] == names if cls is FewShotTagger else labels
    clf = cls(clip, class_names=names, input="features").fit(F[:60], y[:60])
    expected = clip.encode_text(names, GENERAL_TEMPLATES)
    np.testing.assert_allclose(clf.text_features_, expected, atol=1e-6)
    assert "templates" not in repr(clf)
    skops = pytest.importorskip("skops.io")
    content = skops.dumps(clf)
    loaded = skops.loads(content, trusted=skops.get_untrusted_types(data=content))
    for other in (clone(clf), pickle.loads(pickle.dumps(clf)), loaded):
        assert other.templates == GENERAL_TEMPLATES
        assert "templates" not in repr(other)


def test_other_methods_have_the_template_of_the_paper():
    defaults = {cls: inspect.signature(cls).parameters for _, cls in all_estimators()}
    others = {cls for cls, own in defaults.items() if "templates" in own and cls not in GENERAL}
    assert TipAdapterClassifier in others
    assert {defaults[cls]["templates"].default for cls in others} == {"a photo of a {}."}


def test_a_search_over_ensembles(clip, digit_features):
    F, labels = digit_features
    given = [GENERAL_TEMPLATES, "a photo of a {}.", GENERAL_TEMPLATES[:2]]
    clf = ZeroShotClassifier(clip, input="features", class_names=sorted(set(labels)))
    search = GridSearchCV(clf, {"templates": given}, cv=2).fit(F, labels)
    assert list(search.cv_results_["param_templates"]) == given
    assert search.best_params_["templates"] != GENERAL_TEMPLATES  # "tiny" does not know these words
