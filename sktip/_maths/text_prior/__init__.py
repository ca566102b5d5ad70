"""Class means with a prior predicted from text, and a correction: a linear few-shot classifier.

The model of a unit feature x of class c, with text feature w_c:

    x ~ N(mu_c, S / alpha)     mu_c ~ N(m_c, S / kappa)     m_c: what the text predicts (`means`)
    logits = a s x W' + alpha g(x) + (x - centre) B

g is the discriminant of the posterior means. B is a multinomial logistic regression whose offset
are the first two terms of *held-out* shots: it learns what they do not know. Held-out shots also say
which labels are wrong, how far classes of few shots fall behind, and how confident the whole may be.
NumPy arrays only.
"""

from sktip._maths.text_prior.model import TextPriorModel, fit_text_prior
from sktip._maths.text_prior.pool import PoolAnswer, add_pool
from sktip._maths.text_prior.statistics import Statistics

__all__ = ["PoolAnswer", "Statistics", "TextPriorModel", "add_pool", "fit_text_prior"]
