"""Prompts: templates filled with names, which are text and nothing else."""

import numpy as np
import pytest

from sktip import TipAdapterClassifier
from sktip.prompts import fill_prompts

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
