"""Export a fitted classifier as a PyTorch module."""

from typing import TYPE_CHECKING, Any

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sktip._base import BaseCLIPClassifier
from sktip._encoding.session import open_encoder
from sktip._split_encoder import parts_of, split_encoder, without_search
from sktip._utils.fitted_with import check_same_model

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
    from sktip._maths.classifier_module import ClassifierModule

    encoder, classifier = encoder_and_classifier(classifier, image=image)
    head, classes = classifier._head(), classifier.classes_.tolist()  # noqa: SLF001  of our base class
    if image:
        encoder = clone(encoder).set_params(device="cpu", precision="fp32")
        session = open_encoder(encoder)
        check_same_model(classifier, session, encoder)
        module = ClassifierModule(head, classes, session.image_tower(), session.preprocessing)
    else:
        module = ClassifierModule(head, classes)
    return module.requires_grad_(False).eval()


def encoder_and_classifier(estimator: Any, *, image: bool) -> tuple[Any, BaseCLIPClassifier]:
    """Return the encoder, which may be None without `image`, and the fitted classifier to export."""
    check_is_fitted(estimator)
    encoder, classifier = split_encoder(estimator) if image else parts_of(without_search(estimator))
    if not isinstance(classifier, BaseCLIPClassifier):
        raise TypeError(
            f"a {type(classifier).__name__} cannot be exported; pass a classifier of sktip, or a Pipeline of an "
            "encoder and one of them."
        )
    return encoder, classifier
