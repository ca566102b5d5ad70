"""Every warning points at the user's line, whatever is in between."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import sktip
from sktip import CLIPFeatureTransformer, TipAdapterClassifier

PACKAGE = Path(sktip.__file__).parent
X, Y = np.eye(6, 4) + 0.1, [0, 1, 0, 1, 0, 1]
IMAGES, NAMES = [np.full((8, 8), 40 * i, np.uint8) for i in range(6)], list("ababab")


def warned_at(call):
    """Files of the warnings of sktip that a call leads to."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    wanted = ("neither `encoder`", "every class has one shot", "could not be read", "cut off")
    wanted += ("A column-vector", "not all of them are stored")
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


def test_in_a_thread_of_the_user():
    with ThreadPoolExecutor(1) as pool:
        call = lambda: TipAdapterClassifier().fit(X, Y)  # noqa: E731
        assert warned_at(lambda: pool.submit(call).result()) == [__file__]


def test_where_there_is_no_line_of_the_user():
    """In a thread that runs nothing else, the outermost line of the package is named."""

    def run():
        thread = threading.Thread(target=TipAdapterClassifier().fit, args=(X, Y))
        thread.start()
        thread.join()

    (file,) = warned_at(run)
    assert Path(file).is_relative_to(PACKAGE)


def test_a_users_folder_called_sktip(tmp_path):
    """The location of the package counts, not the name of a folder."""
    module = tmp_path / "sktip" / "sklearn" / "joblib" / "mine.py"
    module.parent.mkdir(parents=True)
    module.write_text("def run(clf, X, y):\n    clf.fit(X, y)\n")
    names = {}
    exec(compile(module.read_text(), str(module), "exec"), names)
    files = warned_at(lambda: names["run"](TipAdapterClassifier(), X, Y))
    assert files == [str(module)]
