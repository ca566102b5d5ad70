"""Zero-shot CLIP: the class names alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sktip._base import BaseCLIPClassifier, reads_images
from sktip._encoder import CLIPFeatureTransformer
from sktip._utils.fitting import fits


class ZeroShotClassifier(BaseCLIPClassifier):
    r"""Zero-shot CLIP, from class names alone: the baseline that shows what shots are worth.

    A query f gets the logits :math:`s f W^\top`, where s is CLIP's logit scale and W the text
    features of the classes ([1]_, section 3.1.2). The few-shot classifiers start from it, and are
    compared with it.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    encoder : CLIPFeatureTransformer, default=None
        Encodes images and class names. None makes X a feature matrix.

    input : {"image", "features"}, default="image"
        What X is when there is an `encoder`: images, or features that it has made. With
        features, the encoder is used in `fit` only, for the text and the logit scale.

    text_features : array-like of shape (C, d), default=None
        Text features of the classes, instead of an encoder's; normalised here. Rows follow the
        classes. Without `class_names`, integer labels index the rows and every row is a class.

    class_names : mapping or sequence of str, default=None
        What the classes are called. None: the labels are the names. A mapping goes from label to
        name; its keys are classes, with images or without. A sequence is indexed by integer
        labels, and every index is a class; labels of another type take it in sorted order.

    templates : str, sequence of str, or mapping, default="a photo of a {}."
        Sentences that the names are put into; several are averaged. A mapping goes from label to
        the templates of that class.

    logit_scale : float, default=None
        Scale s of CLIP's logits. None is the model's own, or 100 without an encoder.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The classes, sorted.

    class_features_ : ndarray of shape (C, d)
        What features are compared with: the text features or, without a text prior, the
        normalised means of the classes' shots.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes, None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

    n_features_in_ : int
        Width of X. Only when X is features.

    feature_names_in_ : ndarray of shape (d,)
        Column names of X. Only when X is a table of features with string column names.

    encoder_probe_ : ndarray of shape (d,) or None
        What the encoder made of a fixed picture, by which another model is noticed. None if no
        encoder was used.

    fitted_with_ : dict
        Versions of sktip, of its file format and of the libraries below it, and the encoder's
        model, at the time of `fit`.

    See Also
    --------
    TipAdapterClassifier : Adds a cache of labelled shots.

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

    _without_prior = "queries are compared with the mean of each class's shots"

    def __init__(
        self,
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        logit_scale: float | None = None,
    ):
        self.encoder = encoder
        self.input = input
        self.text_features = text_features
        self.class_names = class_names
        self.templates = templates
        self.logit_scale = logit_scale

    @fits
    def fit(self, X: Any = None, y: ArrayLike | None = None) -> Self:
        """Encode the class names.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d), default=None
            Shots. They are not looked at, unless there is no text prior.

        y : array-like of shape (m,), default=None
            Their labels, which say what classes there are. Without X and y, `class_names` or
            `text_features` say so.

        Returns
        -------
        self : ZeroShotClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If there is neither X nor text, or X, y and the parameters do not fit together.
        """
        if X is None and y is None:
            self._learn_named_classes()
            if not reads_images(self):
                self.n_features_in_ = self.text_features_.shape[1]
            self.class_features_ = self.text_features_
            return self
        X, labels = self._start_fit(X, y)
        self._learn_classes(np.unique(labels))
        if self.text_features_ is None:
            self.class_features_ = self._class_means(self._shot_features(X)[:, 0], labels)
        else:
            self._check_width(X)
            self.class_features_ = self.text_features_
        return self

    def _logit_function(self, dtype: np.dtype) -> Callable[[NDArray], NDArray]:
        weights = self.class_features_.astype(dtype, copy=False).T

        def logits_of(features: NDArray) -> NDArray:
            return self.logit_scale_ * features @ weights

        return logits_of

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "class_features_")
