"""ForecastDisplay draws what was measured and what is forecast."""

import numpy as np
from matplotlib import pyplot

from sktip import FewShotClassifier
from sktip.inspection import ForecastDisplay


def test_drawing(clip, digit_features):
    X, y = digit_features
    clf = FewShotClassifier(clip, input="features", templates="the digit {}")
    ax = pyplot.subplots()[1]
    display = ForecastDisplay.from_estimator(clf, X[:60], y[:60], [12, 24], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    forecast, measured = ax.lines
    known = display.forecast
    np.testing.assert_allclose(forecast.get_xdata()[1:], [12, 24])
    np.testing.assert_allclose(forecast.get_ydata()[1:], 100 * known.accuracy)
    np.testing.assert_allclose(measured.get_ydata(), 100 * known.measured_accuracy)
    display.figure_.canvas.draw()
    assert ForecastDisplay(known).plot().ax_ is not ax
