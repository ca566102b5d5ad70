"""Made-up photos on which the intervals, rates and coverages of docstrings are simulated.

Each draw has classes of its own. `CASES` are what users have: few classes and few shots, names that say little
or nothing, photos in groups, heavy tails, other class shares among the new photos.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from sktip import BackOff, FewShotClassifier, RejectUnknown
from sktip.model_selection import estimate_accuracy, forecast_accuracy


class Case(NamedTuple):
    """`text` is the noise of the names, None without; `frames` photos are in a group."""

    n_classes: int = 4
    n_shots: int = 8
    n_new: int = 200
    distance: float = 0.5
    text: float | None = 0.3
    heavy: bool = False
    frames: int = 1
    uneven: bool = False
    n_features: int = 24


CASES = {
    "four classes": Case(),
    "two classes without names": Case(n_classes=2, n_new=100, text=None),
    "five classes of two photos": Case(n_classes=5, n_shots=2, text=None, n_features=48),
    "videos": Case(n_shots=32, n_new=400, frames=4),
    "heavy tails, other shares": Case(n_classes=3, heavy=True, uneven=True),
    "twelve new photos": Case(n_classes=5, n_new=12),
}


class Draw:
    """Shots, new photos and their labels, of classes that are drawn anew."""

    def __init__(self, case, seed):
        self.case, self.rng = case, np.random.default_rng(seed)
        shape = case.n_classes, case.n_features
        self.centres = case.distance * self.rng.normal(size=shape)
        self.common = 0.5 * self.rng.normal(size=case.n_features)
        self.names = np.array([f"class {i}" for i in range(case.n_classes)])
        self.text = None
        if case.text is not None:
            self.text = self.common + self.centres + case.text * self.rng.normal(size=shape)
        self.X, self.y, self.groups = self.photos(case.n_classes * case.n_shots)
        shares = self.rng.dirichlet(np.ones(case.n_classes)) if case.uneven else None
        self.new, self.truth, _ = self.photos(case.n_new, shares)

    def photos(self, n, shares=None):
        """Features, labels and groups of n photos."""
        case, rng = self.case, self.rng
        scenes = n // case.frames
        codes = np.arange(scenes) % case.n_classes
        if shares is not None:
            codes = rng.choice(case.n_classes, scenes, p=shares)
        noise = rng.normal(size=(scenes, case.n_features))
        if case.heavy:
            noise /= np.sqrt(rng.chisquare(4, (scenes, 1)) / 4)
        groups = np.repeat(np.arange(scenes), case.frames)
        if case.frames > 1:
            own = rng.normal(size=(n, case.n_features))
            noise = np.sqrt(0.7) * noise[groups] + np.sqrt(0.3) * own
        X = self.common + self.centres[codes[groups]] + noise
        return X, self.names[codes[groups]], groups if case.frames > 1 else None

    def classifier(self):
        names = None if self.text is None else self.names.tolist()
        return FewShotClassifier(templates=None, text_features=self.text, class_names=names)

    def fitted(self):
        return self.classifier().fit(self.X, self.y, groups=self.groups)


def estimates(case, seeds):
    """How often the interval of `estimate_accuracy` holds the truth, and raises an alarm."""
    held = alarms = 0
    for seed in seeds:
        draw = Draw(case, seed)
        clf = draw.fitted()
        estimate = estimate_accuracy(clf, draw.new)
        held += estimate.lower <= clf.score(draw.new, draw.truth) <= estimate.upper
        alarms += estimate.drift
    return held, alarms


def forecasts(case, seeds):
    """How often the intervals of `forecast_accuracy` hold the truth: now, and with four times the shots."""
    now = then = 0
    for seed in seeds:
        draw = Draw(case, seed)
        forecast = forecast_accuracy(
            draw.classifier(), draw.X, draw.y, [4 * case.n_shots], groups=draw.groups
        )
        new, truth, _ = draw.photos(2000)
        now += forecast.now[1] <= draw.fitted().score(new, truth) <= forecast.now[2]
        X, y, groups = draw.photos(3 * len(draw.X))
        if groups is not None:
            groups = np.concatenate([draw.groups, groups + len(draw.X)])
        more = draw.classifier().fit(np.vstack([draw.X, X]), np.append(draw.y, y), groups=groups)
        then += forecast.lower[0] <= more.score(new, truth) <= forecast.upper[0]
    return now, then


def back_offs(case, seeds, coverage):
    """How many answers of `BackOff` hold, for one new photo per draw."""
    held = 0
    for seed in seeds:
        draw = Draw(case, seed)
        groups = {name: "some" if i < 2 else "others" for i, name in enumerate(draw.names)}
        tree = {**groups, "some": "all", "others": "all"}
        model = BackOff(draw.classifier(), tree, coverage=coverage).fit(draw.X, draw.y)
        held += int(model.holds(model.predict(draw.new[:1]), draw.truth[:1])[0])
    return held


def rejections(case, seeds, quantile):
    """How many known photos `RejectUnknown` rejects, for one new photo per draw."""
    rejected = 0
    for seed in seeds:
        draw = Draw(case, seed)
        model = RejectUnknown(draw.classifier(), quantile=quantile).fit(draw.X, draw.y)
        rejected += int(model.predict(draw.new[:1])[0] == model.unknown_label_)
    return rejected


def at_least(found, n, rate, error=1e-3):
    """Whether so few of n are possible if the rate is at least this."""
    return binom.cdf(found, n, rate) > error


def at_most(found, n, rate, error=1e-3):
    """Whether so many of n are possible if the rate is at most this."""
    return binom.sf(found - 1, n, rate) > error
