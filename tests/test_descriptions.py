"""Descriptions of classes from files: both forms in circulation, and everything that can be wrong."""

import json

import numpy as np
import pandas as pd
import pytest

from sktip import FewShotClassifier, ZeroShotClassifier
from sktip.prompts import fill_prompts, read_descriptions

SENTENCES = {
    "maine coon": [
        "A maine coon is a large cat with a bushy tail.",
        "It has tufts on its ears!",
        'People say "what a tail."',
    ],
    "Pug": ["A pug is a small dog (with a wrinkled face).", "Short muzzle and curled tail."],
}
PHRASES = {
    "maine coon": [
        "long fur",
        "which is large.",
        "may have tufts on its ears",
        "with a bushy tail",
    ],
    "Pug": ["a wrinkled face", "has a curled tail", "a pug on a sofa", "one {} alone"],
}


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "descriptions.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def test_sentences_are_prompts_as_they_are(file):
    templates = read_descriptions(file(SENTENCES))
    assert templates == {name: tuple(texts) for name, texts in SENTENCES.items()}
    names = list(SENTENCES)
    assert fill_prompts(names, templates) == list(SENTENCES.values())


def test_phrases_are_put_behind_the_name(file):
    templates = read_descriptions(file(PHRASES))
    assert fill_prompts(["maine coon", "Pug"], templates) == [
        [
            "a photo of a maine coon, which has long fur.",
            "a photo of a maine coon, which is large.",
            "a photo of a maine coon, which may have tufts on its ears.",
            "a photo of a maine coon, with a bushy tail.",
        ],
        [
            "a photo of a Pug, which has a wrinkled face.",
            "a photo of a Pug, which has a curled tail.",
            "a pug on a sofa",
            "one Pug alone",
        ],
    ]
    assert read_descriptions(file(PHRASES), template="{}")["Pug"][0] == (
        "{}, which has a wrinkled face."
    )


@pytest.mark.parametrize(
    ("name", "phrase", "is_named"),
    [
        ("ant", "long antennae", False),
        ("ant", "an elephant beside an ANT", True),
        ("737", "a 7370 on the ground", False),
        ("737", "a Boeing 737-800", True),
        ("St. Bernard", "a large st._bernard, asleep", True),
        ("C++", "a book on C++", True),
        ("cafe", "a caf\u00e9 at night", False),
        ("caf\u00e9", "a cafe\u0301 at night", True),
        ("\u732b", "\u4e00\u53ea\u732b\u5728\u6c99\u53d1\u4e0a", True),
    ],
)
def test_a_name_is_found_as_whole_words(file, name, phrase, is_named):
    content = {name: [phrase, "has a colour", "of some size"]}
    found = read_descriptions(file(content))[name]
    assert found[0] == (phrase if is_named else f"a photo of a {{}}, which has {phrase}.")


@pytest.mark.parametrize(
    "class_names",
    [
        ["Maine_Coon", "pug"],
        np.array(["Maine_Coon", "pug"]),
        pd.Index(["Maine_Coon", "pug"]),
        {"Maine_Coon": "maine  coon", "pug": "PUG"},
        pd.Series({"Maine_Coon": "maine coon", "pug": "Pug"}),
    ],
)
def test_labels_are_those_of_class_names(file, class_names):
    templates = read_descriptions(file(SENTENCES), class_names)
    assert templates == {
        "Maine_Coon": tuple(SENTENCES["maine coon"]),
        "pug": tuple(SENTENCES["Pug"]),
    }
    assert {type(label) for label in templates} == {str}


def test_in_classifiers(file, clip, digits):
    images, labels = digits
    names = sorted(set(labels))
    path = file({name: [f"the digit {name}.", f"A handwritten {name}."] for name in names})
    templates = read_descriptions(path, names)
    own = ZeroShotClassifier(clip, templates=templates, class_names=names).fit()
    usual = ZeroShotClassifier(
        clip, templates=["the digit {}.", "A handwritten {}."], class_names=names
    ).fit()
    np.testing.assert_allclose(own.text_features_, usual.text_features_, atol=1e-6)

    codes = np.searchsorted(names, labels)
    templates = read_descriptions(path, dict(enumerate(names)))
    clf = FewShotClassifier(clip, class_names=names, templates=templates)
    assert clf.fit(images[:50], codes[:50]).score(images[50:], codes[50:]) > 0.5


def test_missing_classes(file):
    with pytest.raises(
        ValueError,
        match=r"describes 1 of 3 classes; missing are 'main coon' \(there is 'maine coon'\), 'beagle'\. Add",
    ):
        read_descriptions(file(SENTENCES), ["main coon", "beagle", "pug"])


def test_unknown_classes_are_one_warning(file):
    with pytest.warns(UserWarning, match=r"describes 1 classes .*not used: 'maine coon'") as caught:
        assert list(read_descriptions(file(SENTENCES), ["pug"])) == ["pug"]
    assert [warning.filename for warning in caught] == [__file__]


def test_sentences_that_were_cut_off_are_one_warning(file):
    cut = {**SENTENCES, "hen": ["A hen is a bird.", "A hen has a", "A hen is often seen in a"]}
    with pytest.warns(
        UserWarning,
        match=r"2 of 8 sentences .*descriptions.json have no full stop.*A hen has a \(class 'hen'\).*A hen is",
    ) as caught:
        templates = read_descriptions(file(cut))
    assert len(caught) == 1
    assert templates["hen"] == tuple(cut["hen"])


@pytest.mark.filterwarnings("error")
def test_prompts_that_were_written_without_full_stops(file):
    own = {"hen": ["a photo of a hen", "a hen on a farm"], "pug": ["a photo of a pug"]}
    assert read_descriptions(file(own)) == {name: tuple(texts) for name, texts in own.items()}
    # Nor is anything said of a class that is not used.
    assert len(read_descriptions(file({**SENTENCES}), None)) == 2


def test_a_sentence_that_is_longer_than_the_context(file, clip):
    path = file({"hen": ["A hen is a bird" + 90 * " and more" + "."], "pug": ["A pug is a dog."]})
    with pytest.warns(
        UserWarning, match=r"1 of \d+ prompts were cut off.*: 'A hen .*\(class 'hen'\)"
    ):
        ZeroShotClassifier(
            clip, templates=read_descriptions(path), class_names=["hen", "pug"]
        ).fit()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a JSON file of descriptions"),
        ("{'pug': []}", "is not a JSON file of descriptions"),
        ('{"pug": ["a"], "pug": ["b"]}', "it has 'pug' twice"),
        ("[" * 100_000, "is not a JSON file of descriptions"),
        (b"\xff\xfe\x00", "is not a JSON file of descriptions"),
        ("[1]", "holds .*; expected an object with a list of texts for"),
        ("{}", "holds .{}.; expected an object"),
        ('{"pug": "A pug."}', "the entry of 'pug' is not a list of texts, but 'A pug.'"),
        ('{"pug": ["A pug.", 3]}', "the entry of 'pug' is not a list of texts"),
        ('{"pug": ["A pug."], "hen": [" "]}', "the class 'hen' has no text. Add one, or remove"),
        ('{"pug": ["A pug."], "hen": []}', "the class 'hen' has no text"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, content, message):
    path = tmp_path / "descriptions.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"descriptions\.json.*{message}"):
        read_descriptions(path)


def test_what_is_wrong_with_a_call(tmp_path, file):
    with pytest.raises(FileNotFoundError, match="none.json: no such file. Expected"):
        read_descriptions(tmp_path / "none.json")
    with pytest.raises(ValueError, match="template='a photo' has no {}"):
        read_descriptions(file(PHRASES), template="a photo")
    with pytest.raises(TypeError, match="class_names is one string, 'pug'"):
        read_descriptions(file(PHRASES), "pug")
