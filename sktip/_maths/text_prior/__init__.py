"""Class means with a prior predicted from text, and a correction: a linear few-shot classifier.

The model of a unit feature x of class c, with text feature w_c:

    x ~ N(mu_c, S / alpha)     mu_c ~ N(m_c, S / kappa)     m_c: predicted from the text (`means`)
    logits = a s x W' + alpha g(x) + (x - centre) B

g is the discriminant of the posterior means. B is a multinomial logistic regression on top of the
first two terms, computed for *held-out* shots: it learns what these terms miss. Held-out shots also
show which labels are wrong, by how much classes with few shots lose to the others, and how confident
the logits may be.
NumPy arrays only.
"""

from sktip._maths.text_prior.model import TextPriorModel, fit_text_prior
from sktip._maths.text_prior.pool import PoolAnswer, add_pool
from sktip._maths.text_prior.statistics import Statistics

__all__ = ["PoolAnswer", "Statistics", "TextPriorModel", "add_pool", "fit_text_prior"]
