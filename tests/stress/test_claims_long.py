"""The claims of tests/test_claims.py, on more draws and all cases."""

import pytest
from claims import CASES, at_least, at_most, back_offs, estimates, forecasts, rejections

N = 200
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", CASES)
def test_intervals_and_alarms(name):
    held, alarms = estimates(CASES[name], range(N))
    print(f"{name}: an interval of 80 % holds {held} of {N}; {alarms} alarms")
    assert at_least(held, N, 0.8)
    assert at_most(alarms, N, 0.05)


@pytest.mark.parametrize("name", [name for name in CASES if name != "heavy tails, other shares"])
def test_forecasts(name):
    now, then = forecasts(CASES[name], range(N))
    print(f"{name}: intervals of 80 % hold {now} of {N} now, {then} with four times the shots")
    assert at_least(now, N, 0.8)
    assert at_least(then, N, 0.8)


@pytest.mark.parametrize("name", ["four classes", "five classes of two photos"])
def test_coverages(name):
    held, rejected = (f(CASES[name], range(N), q) for f, q in ((back_offs, 0.8), (rejections, 0.2)))
    print(f"{name}: BackOff holds {held} of {N}, RejectUnknown rejects {rejected}")
    assert at_least(held, N, 0.8)
    assert at_least(rejected, N, 0.15)
    assert at_most(rejected, N, 0.25)
