"""A Tip-Adapter on few shots, for tests of its cache and of the displays."""

import numpy as np

from sktip import TipAdapterClassifier

ALPHA, BETA, SCALE = 1.7, 4.2, 9.0
NAMES = np.array(["bee", "cat", "dog", "emu"])


def classifier(text=None, **parameters):
    """Tip-Adapter on features, with the values above."""
    defaults = {"alpha": ALPHA, "beta": BETA, "logit_scale": SCALE}
    return TipAdapterClassifier(text_features=text, **{**defaults, **parameters})
