"""matplotlib is optional and only imported to draw; names are drawn literally."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from sktip.inspection import AlphaBetaDisplay, CacheEvidenceDisplay, ShotsCurveDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")


def test_is_imported_when_drawing():
    code = (
        "import sys, sktip; sktip.inspection.ShotsCurveDisplay([1], {'a': [[1]]}); "
        "assert not {'matplotlib', 'torch', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "display",
    [
        CacheEvidenceDisplay(
            classes=["a", "b"], prior=None, cache=[1, 2], indices=[0], weights=[1], labels=["a"]
        ),
        AlphaBetaDisplay(alphas=[1], betas=[1], scores=[[1]], alpha=1, beta=1),
        ShotsCurveDisplay([1], {"a": [[1]]}),
    ],
    ids=lambda display: type(display).__name__,
)
def test_missing(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    name = type(display).__name__
    with pytest.raises(ImportError, match=rf'{name}.plot requires .*pip install "sktip\[plot\]"'):
        display.plot()
    arguments = (None,) * {"AlphaBetaDisplay": 1, "ShotsCurveDisplay": 3}.get(name, 2)
    with pytest.raises(ImportError, match=rf'{name}.from_estimator .*pip install "sktip\[plot\]"'):
        display.from_estimator(*arguments)


#: Mathtext that is valid, that is not, what other templates fill, other scripts, and no text at all.
ODD = [
    "$a$ or $b$", r"$x_{\frac", "_a_b\\c{}", "{0} %s {}%", "שלום עולם", "\U0001f600 نعم", "a\0b", "\udcff.png",
]  # fmt: skip
#: What of them is drawn.
DRAWN = [*ODD[:-2], r"a\x00b", r"\udcff.png"]


def check_literal(texts):
    """They are not parsed as mathtext or LaTeX, whatever the user's settings."""
    for text in texts:
        assert not text.get_parse_math()
        assert not text.get_usetex()


def draw(figure):
    """Write the figure; fonts that lack a character only warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support")
        content = io.BytesIO()
        figure.savefig(content, format="png")
    assert Image.open(content).size[0] > 100


def test_class_names_are_literal(digits):
    display = CacheEvidenceDisplay(
        classes=ODD, prior=np.zeros(len(ODD)), cache=-np.arange(len(ODD)), indices=range(len(ODD)),
        weights=np.ones(len(ODD)), labels=ODD, query_picture=digits[0][0],
        shot_pictures=digits[0][: len(ODD)],
    ).plot(n_classes=len(ODD))  # fmt: skip
    ticks = display.ax_.get_yticklabels()
    assert [tick.get_text() for tick in ticks] == DRAWN
    assert display.ax_.get_title().startswith(f"prediction: {ODD[0]} (")
    titles = [ax.title for ax in display.image_axes_[1:]]
    assert [title.get_text().split("\n+")[0] for title in titles] == DRAWN
    check_literal([*ticks, display.ax_.title, *titles, *display.ax_.texts])
    draw(display.figure_)


@pytest.mark.parametrize("name", ODD)
def test_the_name_of_a_score_is_literal(name):
    drawn = DRAWN[ODD.index(name)]
    surface = AlphaBetaDisplay(
        alphas=[1, 2], betas=[1, 2], scores=np.eye(2), alpha=1, beta=1, score_name=name
    ).plot()
    curve = ShotsCurveDisplay([1], {"a": [[1]]}, score_name=name).plot()
    labels = [surface.colorbar_.ax.yaxis.label, curve.ax_.yaxis.label]
    assert [label.get_text() for label in labels] == [drawn] * 2
    check_literal(labels)
    draw(surface.figure_)
    draw(curve.figure_)


def test_names_of_methods_are_literal():
    scores = {name: [[1, 2], [3, 4]] for name in ODD}
    display = ShotsCurveDisplay([1, 2], scores, published={"_$x_{": 2}).plot()
    texts = display.ax_.get_legend().get_texts()
    assert [text.get_text() for text in texts] == [*DRAWN, "_$x_{, published"]
    check_literal(texts)
    draw(display.figure_)


def test_names_are_literal_with_latex_as_the_users_setting():
    with pyplot.rc_context({"text.usetex": True}):
        display = CacheEvidenceDisplay(
            classes=ODD, prior=None, cache=np.ones(len(ODD)), indices=[], weights=[], labels=[]
        ).plot()
        check_literal([*display.ax_.get_yticklabels(), display.ax_.title, *display.ax_.texts])
        curve = ShotsCurveDisplay([1], {name: [[1]] for name in ODD}).plot()
        check_literal(curve.ax_.get_legend().get_texts())
