"""The list of estimators, from which tests, tables and the API page derive."""

import pytest

import sktip
from sktip.utils import all_estimators


def test_all_estimators_are_public_and_constructible():
    estimators = all_estimators()
    assert [name for name, _ in estimators] == sorted(name for name, _ in estimators)
    assert ("TipAdapterClassifier", sktip.TipAdapterClassifier) in estimators
    for name, cls in estimators:
        assert cls.__name__ == name
        assert cls().get_params() is not None


def test_filter():
    kinds = [all_estimators(type_filter=kind) for kind in ("classifier", "transformer")]
    assert sorted([*kinds[0], *kinds[1]]) == all_estimators()
    assert [name for name, _ in kinds[1]] == ["CLIPFeatureTransformer"]
    with pytest.raises(ValueError, match="type_filter='regressor' is unknown; pass 'classifier'"):
        all_estimators(type_filter="regressor")
