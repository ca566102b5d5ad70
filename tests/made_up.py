"""Made-up features of images and texts, for the tests of the maths."""

import numpy as np

from sktip._maths.text_prior import fit_text_prior

WIDTH, SCALE = 32, 30.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class World:
    """Classes whose images and texts share directions, but not places.

    `noise` is that of images, `text_noise` that of texts.
    """

    def __init__(self, n_classes=12, *, noise=1.0, text_noise=0.7, seed=0):
        self.rng = np.random.default_rng(seed)
        self.n_classes, self.noise = n_classes, noise
        self.truth = self.rng.normal(size=(n_classes, WIDTH))
        self.offset = 2 * self.rng.normal(size=WIDTH)
        self.text = unit(2 + self.truth + text_noise * self.rng.normal(size=self.truth.shape))
        self.queries, self.asked = self.images(np.full(n_classes, 60))

    def images(self, counts):
        codes = np.repeat(np.arange(self.n_classes), counts)
        noise = self.noise * self.rng.normal(size=(len(codes), WIDTH))
        return unit(self.offset + self.truth[codes] + 1.5 * noise), codes

    def fit(self, shots, codes, weights=None, *, text=True, groups=None, widths=None):
        zeros = np.zeros((self.n_classes, shots.shape[1] - WIDTH))
        return fit_text_prior(
            shots,
            codes,
            weights,
            groups=groups,
            text=np.hstack([self.text, zeros]) if text else None,
            logit_scale=SCALE,
            n_classes=self.n_classes,
            widths=widths,
        )

    def second(self, codes):
        """The same images through another encoder, which has its own directions and noise."""
        turned = np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)))[0]
        noise = self.noise * self.rng.normal(size=(len(codes), WIDTH))
        return unit((self.offset + self.truth[codes]) @ turned + 1.5 * noise)

    def score(self, model):
        return (self.logits(model).argmax(axis=1) == self.asked).mean()

    def logits(self, model):
        return self.queries @ model.coef.T + model.intercept

    @property
    def zero_shot(self):
        return ((self.queries @ self.text.T).argmax(axis=1) == self.asked).mean()
