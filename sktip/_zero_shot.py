"""Zero-shot CLIP: a classifier from class names alone."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from sktip._base import BaseCLIPClassifier, Shots, Task
from sktip._docs import with_shared_docs
from sktip._input import GivenShots, reads_images
from sktip._maths.head import Head, linear_logits
from sktip._maths.unit import class_means
from sktip._utils.estimators import validated
from sktip.prompts import GENERAL_TEMPLATES


@with_shared_docs
class ZeroShotClassifier(BaseCLIPClassifier):
    r"""Zero-shot CLIP: classify without shots, or measure how much the shots help.

    The class names are the only training data. A query f gets the logits :math:`s f W^\top`, where s
    is CLIP's logit scale and W the text features of the classes ([1]_, section 3.1.2).

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    {encoder}

    {general_names}

    {features}

    {logit_scale}

    Attributes
    ----------
    {classes_}

    class_features_ : ndarray of shape (C, d)
        Features that queries are compared with: the text features or, without a text prior, the
        normalised mean of the shots of each class.

    {text_}

    {fitted_}

    See Also
    --------
    FewShotClassifier : Learns from shots and unlabelled images too.
    TipAdapterClassifier : Adds a cache of shots to the zero-shot logits.

    References
    ----------
    .. [1] A. Radford et al., "Learning transferable visual models from natural language
       supervision", ICML 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, ZeroShotClassifier
    >>> names = ["circle", "square"]
    >>> clf = ZeroShotClassifier(CLIPFeatureTransformer("tiny"), class_names=names).fit()
    >>> clf.classes_
    array(['circle', 'square'], dtype='<U6')
    >>> clf.predict_proba([np.zeros((32, 32), np.uint8)]).shape
    (1, 2)
    """

    _needs_shots = False
    _without_prior = "queries are compared with the mean of each class's shots"

    def __init__(
        self,
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = GENERAL_TEMPLATES,
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

    @validated
    def fit(self, X: Any = None, y: ArrayLike | None = None) -> Self:
        """Encode the class names.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d), default=None
            Shots. They are only used if there is no text prior.

        y : array-like of shape (m,), default=None
            Labels of the shots, which define the classes. Without X and y, `class_names` or
            `text_features` define them.

        Returns
        -------
        self : ZeroShotClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If there is neither X nor text, or if X, y or a parameter is not valid.
        """
        return self._fit(X, y)

    def _encode_shots(self, given: GivenShots | None, task: Task) -> Shots:
        if task.text_features is None:
            return super()._encode_shots(given, task)
        # With text, shots define the classes alone.
        if given is not None and not reads_images(self):
            self._check_width(given.X, task.text_features)
        return super()._encode_shots(None, task)

    def _learn(self, shots: Shots, task: Task) -> dict[str, Any]:
        class_features = task.text_features
        if class_features is None:
            class_features = class_means(shots.features[:, 0], shots.codes, len(task.classes))
        return {"class_features_": class_features}

    def __sktip_head__(self) -> Head:
        arrays = {"coef": self.class_features_, "intercept": None}
        return Head(linear_logits, arrays, {"scale": self.logit_scale_})
