"""Error messages about missing attributes."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.utils.validation import check_is_fitted

from sktip import CLIPFeatureTransformer, TipAdapterClassifier, TipAdapterClassifierCV
from sktip.utils import all_estimators

pytestmark = pytest.mark.filterwarnings("ignore:neither `encoder`")

X, y = np.eye(4), ["a", "b", "a", "b"]


def test_the_fitted_value_instead_of_the_parameter():
    clf = TipAdapterClassifierCV().fit(X, y)
    with pytest.raises(AttributeError) as caught:
        clf.alpha  # noqa: B018
    assert str(caught.value) == (
        "'TipAdapterClassifierCV' object has no attribute 'alpha'. Did you mean 'alpha_'?"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alpa", "Did you mean 'alpha'?"),
        (
            "class_",
            "Did you mean 'classes_'? The fitted attributes are cache_codes_, cache_keys_, ",
        ),
        ("alpha_", "Did you mean 'alpha'? The fitted attributes are "),
        ("predictt", "Did you mean 'predict'?"),
        ("zzz", "'TipAdapterClassifier' object has no attribute 'zzz'."),
    ],
)
def test_misspelt(name, message):
    with pytest.raises(AttributeError) as caught:
        getattr(TipAdapterClassifier().fit(X, y), name)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "cls"), all_estimators(type_filter="classifier"))
def test_unfitted(name, cls):
    clf = cls()
    with pytest.raises(AttributeError, match=f"This {name} is not fitted yet; call fit"):
        clf.classes_  # noqa: B018
    assert not hasattr(clf, "classes_")
    with pytest.raises(AttributeError):
        check_is_fitted(clf)


def test_encoder():
    with pytest.raises(AttributeError, match="Did you mean 'n_jobs'"):
        CLIPFeatureTransformer("tiny").n_job  # noqa: B018


def test_what_is_not_on_offer_says_so_itself():
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        TipAdapterClassifier(fine_tune=True).partial_fit  # noqa: B018
    assert "Did you mean" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert not hasattr(TipAdapterClassifier(fine_tune=True), "partial_fit")


def test_copies_and_pickles():
    clf = TipAdapterClassifier().fit(X, y)
    for twin in (copy.copy(clf), copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        assert twin.predict(X).tolist() == clf.predict(X).tolist()
    bare = object.__new__(TipAdapterClassifier)
    assert not hasattr(bare, "classes_")
