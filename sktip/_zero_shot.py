"""Zero-shot CLIP: a classifier from class names alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sktip._base import BaseCLIPClassifier, reads_images
from sktip._encoder import CLIPFeatureTransformer
from sktip._utils.fitting import fits


class ZeroShotClassifier(BaseCLIPClassifier):
    r"""Zero-shot CLIP: classify without shots, or measure how much the shots help.

    The class names are the only training data. A query f gets the logits :math:`s f W^\top`, where s
    is CLIP's logit scale and W the text features of the classes ([1]_, section 3.1.2).

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    encoder : CLIPFeatureTransformer, default=None
        Encoder of the images and the class names. If None, X is a feature matrix.

    input : {"image", "features"}, default="image"
        Whether X holds images or features of the `encoder`; not used without an `encoder`. With
        features, the encoder is only used in `fit`, for the text features and the logit scale.

    text_features : array-like of shape (C, d), default=None
        Text features to use instead of the encoder's; `fit` normalises them. Rows follow the
        classes, or the names if `class_names` is a sequence. Without `class_names`, integer labels
        index the rows, and every row is a class.

    class_names : mapping or sequence of str, default=None
        Names of the classes. If None, the labels are the names. A mapping gives a name to each
        label; a label in it is a class even without images. A sequence is indexed by integer
        labels, and every index is a class. If it contains all labels, it is matched by value, and
        every name is a class. Otherwise it follows the sorted labels.

    templates : str, sequence of str, or mapping, default="a photo of a {}."
        Prompt templates, with ``{}`` for the class name. The features of several templates are
        averaged. A mapping gives each label its own templates.

    logit_scale : float, default=None
        Scale s of CLIP's logits. If None, the model's own, or 100 without an encoder.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Class labels, sorted.

    class_features_ : ndarray of shape (C, d)
        Features that queries are compared with: the text features or, without a text prior, the
        normalised mean of the shots of each class.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes. None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

    n_features_in_ : int
        Number of columns of X. Only if X is a feature matrix.

    feature_names_in_ : ndarray of shape (d,)
        Column names of X. Only if X is a table of features with string column names.

    encoder_probe_ : ndarray of shape (d,) or None
        The encoder's feature of a fixed image. It is compared later, to detect an encoder with
        another model. None if no encoder was used.

    fitted_with_ : dict
        Versions of sktip, its file format and its dependencies, and the encoder's model, at the
        time of `fit`.

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
        if X is None and y is None:
            self._learn_classes(None)
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
