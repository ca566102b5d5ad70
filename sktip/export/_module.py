"""Export a fitted classifier as a PyTorch module."""

from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sktip._base import BaseCLIPClassifier, LinearPredictionMixin
from sktip._clip_adapter import CLIPAdapterClassifier
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._proker import ProKeRClassifier
from sktip._split_encoder import parts_of, split_encoder, without_search
from sktip._tip_adapter import TipAdapterClassifier
from sktip._tip_adapter_cv import TipAdapterClassifierCV
from sktip._utils.fitted_with import check_same_model
from sktip._zero_shot import ZeroShotClassifier

if TYPE_CHECKING:
    import torch


def to_module(classifier: Any, *, image: bool = False) -> "torch.nn.Module":
    """Convert a fitted classifier to a PyTorch module, to use it as part of another model.

    The module maps features of shape (n, d) to float32 logits of shape (n, C), with one column per
    class in the order of `classes_`. They are those of ``decision_function``, which for two classes is
    the second column minus the first. Their softmax is `predict_proba`. Rows are divided by their norm
    first, as in the classifier.

    Read more in the :ref:`User Guide <guide_export>`.

    Parameters
    ----------
    classifier : classifier
        A fitted classifier of sktip, a Pipeline of an encoder and one of them, or a search over these.

    image : bool, default=False
        Whether the module takes images: preprocessed pixels of shape (n, 3, height, width), which a
        float32 copy of the encoder's image tower encodes. Needs a classifier with an `encoder`.

    Returns
    -------
    module : torch.nn.Module
        Module on the CPU, in evaluation mode. All arrays are buffers or parameters without gradient, so
        ``state_dict`` and ``to`` include them. The attribute ``classes`` is the list of labels. The
        attribute ``preprocessing`` is None, or with ``image=True`` a dict: the ``size``, ``mean`` and
        ``std`` of the pixels, their ``interpolation`` and ``resize_mode``.

    Raises
    ------
    NotFittedError
        If the classifier is not fitted.

    TypeError
        If `classifier` is not a classifier of sktip.

    ValueError
        If ``image=True`` and the classifier has no encoder, or one with another model than in `fit`.

    See Also
    --------
    to_onnx : Write a file for other runtimes.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sktip import TipAdapterClassifier
    >>> from sktip.export import to_module
    >>> clf = TipAdapterClassifier(text_features=np.eye(3)).fit(np.eye(3), [0, 1, 2])
    >>> module = to_module(clf)
    >>> module(torch.eye(3)).shape
    torch.Size([3, 3])
    """
    from sktip._maths.modules import ClassifierModule

    encoder, classifier = encoder_and_head(classifier, image=image)
    head, classes = _head(classifier), classifier.classes_.tolist()
    if image:
        session = _open_in_full_precision(encoder, classifier)
        module = ClassifierModule(head, classes, session.image_tower(), session.preprocessing)
    else:
        module = ClassifierModule(head, classes)
    return module.float().requires_grad_(False).eval()


def encoder_and_head(estimator: Any, *, image: bool) -> tuple[Any, BaseCLIPClassifier]:
    """Return the encoder, which may be None without `image`, and the fitted classifier to export."""
    check_is_fitted(estimator)
    encoder, head = split_encoder(estimator) if image else parts_of(without_search(estimator))
    if not isinstance(head, BaseCLIPClassifier):
        raise TypeError(
            f"a {type(head).__name__} cannot be exported; pass a classifier of sktip, or a Pipeline of an encoder "
            "and one of them."
        )
    return encoder, head


def _open_in_full_precision(encoder: Any, classifier: Any) -> EncoderSession:
    """Open the encoder of a fitted classifier on the CPU, in full precision."""
    encoder = clone(encoder).set_params(device="cpu", precision="fp32")
    session = open_encoder(encoder)
    check_same_model(classifier, session, encoder)
    return session


@singledispatch
def _head(classifier: Any) -> Any:
    raise TypeError(f"a {type(classifier).__name__} cannot be exported; its logits are not known.")


@_head.register
def _(classifier: LinearPredictionMixin) -> Any:
    from sktip._maths.modules import LinearLogits

    return LinearLogits(_tensor(classifier.coef_), _tensor(classifier.intercept_))


@_head.register
def _(classifier: ZeroShotClassifier) -> Any:
    from sktip._maths.modules import LinearLogits

    weights = classifier.logit_scale_ * classifier.class_features_
    return LinearLogits(_tensor(weights), _tensor(np.zeros(len(weights))))


@_head.register
def _(classifier: CLIPAdapterClassifier) -> Any:
    from sktip._maths.modules import AdapterLogits

    down, up = map(_tensor, classifier.coefs_)
    classes = _tensor(classifier.logit_scale_ * classifier.class_features_)
    return AdapterLogits(down, up, classes, ratio=float(classifier.ratio))


@_head.register
def _(classifier: TipAdapterClassifier) -> Any:
    return _cache_head(classifier, classifier.alpha, classifier.beta)


@_head.register
def _(classifier: TipAdapterClassifierCV) -> Any:
    return _cache_head(classifier, classifier.alpha_, classifier.beta_)


@_head.register
def _(classifier: ProKeRClassifier) -> Any:
    from sktip._maths.modules import RidgeLogits

    keys, temperature = classifier.cache_keys_, classifier.temperature_
    duals = classifier.gamma_ / temperature * classifier.dual_coef_
    text = _text_of(classifier, keys) / temperature
    return RidgeLogits(_tensor(keys), _tensor(duals), _tensor(text), beta=classifier.beta_)


def _cache_head(classifier: Any, alpha: float, beta: float) -> Any:
    import torch

    from sktip._maths.modules import CacheLogits

    keys, weights = classifier.cache_keys_, classifier.cache_weights_
    return CacheLogits(
        _tensor(keys),
        torch.tensor(classifier.cache_codes_, dtype=torch.int64),
        _tensor(alpha * (np.ones(len(keys)) if weights is None else weights)),
        _tensor(classifier.logit_scale_ * _text_of(classifier, keys)),
        beta=float(beta),
    )


def _text_of(classifier: Any, keys: NDArray) -> NDArray:
    """Text features, or zeros without a text prior."""
    if classifier.text_features_ is None:
        return np.zeros((len(classifier.classes_), keys.shape[1]))
    text: NDArray = classifier.text_features_
    return text


def _tensor(array: NDArray) -> Any:
    """Copy of an array as a float32 tensor."""
    import torch

    return torch.tensor(array, dtype=torch.float32)
