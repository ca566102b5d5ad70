"""scikit-learn's own checks, on default-constructed estimators, with nothing expected to fail."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sktip import CLIPFeatureTransformer
from sktip.utils import all_estimators


@parametrize_with_checks([cls() for _, cls in all_estimators()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# The encoder takes no numbers, so scikit-learn skips nearly every check of it: these need no X.
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_tags_renamed,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_of_the_encoder(check):
    check("CLIPFeatureTransformer", CLIPFeatureTransformer("tiny"))
