"""scikit-learn's own checks: of the estimators in `all_estimators`, nothing is expected to fail."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from sktip import BackOff, FewShotTagger, RejectUnknown
from sktip.utils import all_estimators

NO_MATRIX = (
    "the check passes one label per photo, or numbers other than 0 and 1; y is an indicator matrix"
)
REJECTS = "it rejects images, whose largest logit is that of a class"
#: What is expected to fail, and why.
EXPECTED = {
    FewShotTagger: {
        **dict.fromkeys(
            [
                "check_estimators_dtypes",
                "check_sample_weights_pandas_series",
                "check_sample_weights_shape",
                "check_sample_weights_not_overwritten",
                "check_sample_weights_not_an_array",
                "check_complex_data",
                "check_classifier_data_not_an_array",
                "check_classifiers_one_label",
                "check_classifiers_one_label_sample_weights",
                "check_classifiers_classes",
                "check_classifiers_train",
                "check_classifiers_regression_target",
                "check_classifier_not_supporting_multiclass",
                "check_decision_proba_consistency",
                "check_fit2d_1feature",
            ],
            NO_MATRIX,
        ),
        "check_classifier_multioutput": "tags are predicted by thresholds of their own, not from a logit of 0",
    },
    RejectUnknown: dict.fromkeys(["check_classifiers_classes", "check_classifiers_train"], REJECTS),
    BackOff: {"check_classifiers_classes": "beside the labels -1 and 1, the root has no default"},
}


#: What takes long, with fewer passes over the shots.
QUICK = {"CLIPAdapterClassifier": {"n_epochs": 20}}


@parametrize_with_checks([cls(**QUICK.get(name, {})) for name, cls in all_estimators()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [FewShotTagger(), RejectUnknown(LogisticRegression()), BackOff(LogisticRegression(), {})],
    expected_failed_checks=lambda estimator: EXPECTED[type(estimator)],
)
@pytest.mark.filterwarnings(
    "ignore:neither `encoder`", "ignore:coverage=", "ignore::sklearn.exceptions.ConvergenceWarning"
)
def test_scikit_learn_checks_of_other_kinds(estimator, check):
    check(estimator)
