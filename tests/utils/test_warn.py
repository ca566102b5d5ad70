"""Every warning points at the user's line, whatever is in between."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sktip import CLIPFeatureTransformer, TipAdapterClassifier

X, Y = np.eye(6, 4) + 0.1, [0, 1, 0, 1, 0, 1]
IMAGES, NAMES = [np.full((8, 8), 40 * i, np.uint8) for i in range(6)], list("ababab")


def warned_at(call):
    """Files of the warnings of sktip that a call leads to."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    wanted = ("neither `encoder`", "every class has one shot", "could not be read", "cut off")
    wanted += ("not all of them are stored",)
    return [w.filename for w in caught if any(words in str(w.message) for words in wanted)]


def on_long_prompts():
    return TipAdapterClassifier(
        CLIPFeatureTransformer("tiny", device="cpu"), templates="a {} " + 90 * "very "
    )


def lenient(**parameters):
    return CLIPFeatureTransformer("tiny", device="cpu", on_error="nan", **parameters)


ROADS = {
    "fit": lambda: TipAdapterClassifier().fit(X, Y),
    "fit on images": lambda: on_long_prompts().fit(IMAGES, NAMES),
    "partial_fit": lambda: TipAdapterClassifier().partial_fit(X, Y),
    "Pipeline": lambda: make_pipeline(TipAdapterClassifier()).fit(X, Y),
    "GridSearchCV": lambda: GridSearchCV(TipAdapterClassifier(), {"beta": [1.0, 5.5]}, cv=2).fit(
        X, Y
    ),
    "search in a Pipeline": lambda: make_pipeline(
        GridSearchCV(TipAdapterClassifier(), {"beta": [5.5]}, cv=2)
    ).fit(X, Y),
    "transform": lambda: lenient().transform(["missing.png"]),
    "transform with set_output": lambda: (
        lenient().set_output(transform="pandas").transform(["missing.png"])
    ),
    "memory": lambda: lenient(memory="/proc/no/such.sqlite").transform(IMAGES),
    "encode_text": lambda: lenient().encode_text(["cat"], "a {} " + 90 * "very "),
}


@pytest.mark.parametrize("road", ROADS)
def test_at_the_users_line(road):
    files = warned_at(ROADS[road])
    assert files
    assert set(files) == {__file__}
