"""The base class for a few-shot method of your own."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from sktip._base import BaseCLIPClassifier, Shots, Task
from sktip._docs import with_shared_docs
from sktip._maths.head import Head
from sktip._maths.unit import unit_norm
from sktip._utils.estimators import validated

__all__ = ["BaseFewShotClassifier"]


@with_shared_docs
class BaseFewShotClassifier(BaseCLIPClassifier):
    """Base class of a new method: write two functions of arrays, get an estimator of images and text.

    A subclass defines `learn` and `logits`. Images, class names, templates, labels of any kind, several
    encoders, damaged photos, probabilities, saving and export are as for all classifiers of sktip. A
    subclass with parameters of its own repeats those of this class in its ``__init__``, as
    scikit-learn demands.

    Read more in the :ref:`User Guide <guide_new_method>`.

    Parameters
    ----------
    encoder : transformer, str or None, default=None
        Encoder of the images and the class names, such as `~sktip.CLIPFeatureTransformer`, or the name
        of a CLIP. If None, X is a feature matrix.

    {names}

    {features}

    {logit_scale}

    Attributes
    ----------
    learned_ : dict of str to ndarray
        What `learn` returned.

    {classes_}

    {text_}

    {fitted_}

    See Also
    --------
    sktip.FewShotClassifier : The classifier to start with, and to compare with.

    Examples
    --------
    Class means, added to the logits of the class names:

    >>> import numpy as np
    >>> from sktip.base import BaseFewShotClassifier
    >>> class MeansAndNames(BaseFewShotClassifier):
    ...     def learn(self, features, codes, text, logit_scale):
    ...         means = [features[codes == code].mean(axis=0) for code in range(len(text))]
    ...         return {"coef": logit_scale * (text + np.array(means))}
    ...
    ...     @staticmethod
    ...     def logits(features, coef):
    ...         return features @ coef.T
    >>> text = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    >>> clf = MeansAndNames(text_features=text, class_names=["cat", "dog"])
    >>> X = [[0.9, 0.1, 0.3], [0.8, 0.0, 0.5], [0.1, 0.9, 0.5]]
    >>> clf.fit(X, ["cat", "cat", "dog"]).predict([[0.7, 0.2, 0.2]])
    array(['cat'], dtype='<U3')
    """

    learned_: dict[str, NDArray | None]

    _without_prior = "`learn` gets None as text"

    def __init__(
        self,
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        logit_scale: float | None = None,
    ):
        self.encoder = encoder
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
        self.logit_scale = logit_scale

    def learn(
        self, features: NDArray, codes: NDArray[np.intp], text: NDArray | None, logit_scale: float
    ) -> dict[str, NDArray]:
        """Learn from the shots: the method itself.

        Parameters
        ----------
        features : ndarray of shape (m, d)
            Features of the shots, of length 1.

        codes : ndarray of shape (m,), int
            Class of each shot, as an index into the sorted classes. A class may have no shots.

        text : ndarray of shape (C, d) or None
            Text features of the classes, of length 1. None without a text prior.

        logit_scale : float
            Scale of CLIP's logits.

        Returns
        -------
        learned : dict of str to ndarray
            Arrays, which `logits` gets by their names.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `learn`: see sktip.base.")

    @staticmethod
    def logits(features: Any, **learned: Any) -> Any:
        """Compute the logits of the classes, with operators or functions of torch.

        Parameters
        ----------
        features : Tensor of shape (n, d)
            Features of the queries, of length 1.

        **learned : Tensor
            The arrays that `learn` returned.

        Returns
        -------
        logits : Tensor of shape (n, C)
            Columns follow the sorted classes.
        """
        raise NotImplementedError("the method has no `logits`: see sktip.base.")

    @validated
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Encode shots and class names, and learn from them.

        Parameters
        ----------
        {shots}

        Returns
        -------
        self : BaseFewShotClassifier
            The fitted classifier.

        Raises
        ------
        {fit_raises}
        """
        return self._fit(X, y)

    def _learn(self, shots: Shots, task: Task) -> dict[str, Any]:
        features = unit_norm(shots.features[:, 0])
        learned = self.learn(features, shots.codes, task.text_features, task.logit_scale)
        return {"learned_": {name: np.asarray(array) for name, array in learned.items()}}

    def __sktip_head__(self) -> Head:
        return Head(self.logits, self.learned_)


def __dir__() -> list[str]:
    return __all__
