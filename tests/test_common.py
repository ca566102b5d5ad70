"""scikit-learn's own checks, on default-constructed estimators, with nothing expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sktip.utils import all_estimators


@parametrize_with_checks([cls() for _, cls in all_estimators()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
