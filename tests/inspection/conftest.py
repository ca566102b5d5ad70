"""Figures are closed after each test."""

import pytest


@pytest.fixture(autouse=True)
def _closed_figures():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield
    pyplot.close("all")
