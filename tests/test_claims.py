"""What docstrings claim of intervals, alarms and coverages, simulated; `tox -e stress` has more draws and cases."""

import pytest
from claims import CASES, at_least, at_most, back_offs, estimates, forecasts, rejections

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", ["four classes", "two classes without names", "videos"])
def test_the_interval_of_an_accuracy_and_its_alarm(name):
    held, alarms = estimates(CASES[name], range(24))
    assert at_least(held, 24, 0.8)
    assert at_most(alarms, 24, 0.05)


def test_the_interval_of_a_forecast():
    for held in forecasts(CASES["four classes"], range(16)):
        assert at_least(held, 16, 0.8)


def test_the_coverage_of_larger_classes():
    assert at_least(back_offs(CASES["four classes"], range(40), 0.8), 40, 0.8)


def test_the_share_of_known_photos_that_is_rejected():
    rejected = rejections(CASES["four classes"], range(40), 0.2)
    assert at_least(rejected, 40, 0.1)
    assert at_most(rejected, 40, 0.3)
