"""Export fitted classifiers, to run them in another program: PyTorch modules and ONNX files.

PyTorch and ONNX are imported when they are used. The extra ``[onnx]`` has what `to_onnx` needs.
"""

import io
import json
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sktip import __version__
from sktip._base import BaseCLIPEstimator
from sktip._encoding.session import open_encoder
from sktip._split_encoder import split_encoder
from sktip._utils.fitted_with import check_same_model
from sktip._utils.labels import resolve_classes
from sktip._utils.optional import import_optional
from sktip._utils.paths import check_output, write_file

if TYPE_CHECKING:
    import torch

__all__ = ["to_module", "to_onnx"]

OPSET = 18
#: First version of torch whose new exporter supports all classifiers.
NEW_EXPORTER = (2, 9)
#: Largest difference between the logits of the file and of the module, relative to the largest logit.
TOLERANCE = 1e-4
#: Largest size of an ONNX file, which is one protobuf message.
MAX_BYTES = 2**31 - 1


def to_module(classifier: BaseEstimator, *, image: bool = False) -> "torch.nn.Module":
    """Convert a fitted classifier to a PyTorch module, to use it as part of another model.

    The module maps features of shape (n, d) to float32 logits of shape (n, C), with one column per
    class in the order of `classes_`. They are those of ``decision_function``, which for two classes is
    the second column minus the first. Their softmax is `predict_proba`; for a `~sktip.FewShotTagger`, whose
    columns are tags, it is their sigmoid. Rows are divided by their norm first, as in the classifier.

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
        ``state_dict`` and ``to`` include them. The attribute ``classes`` is the list of labels, or of
        tags. The attribute ``thresholds`` is None, or the probability from which each tag is predicted. The
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
    return _module_of(*_parts_of(classifier, image=image), image=image)


def to_onnx(
    classifier: BaseEstimator,
    path: str | os.PathLike,
    *,
    image: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a fitted classifier to an ONNX file, to use it without Python or without sktip.

    The model has one input: ``features`` of shape (n, d) or, with ``image=True``, ``pixels`` of shape
    (n, 3, height, width). Its output is ``logits`` of shape (n, C). All are float32, and n is any
    number of rows. The logits are those of `to_module`.

    The model is tested before the file is written: the logits of ONNX Runtime and of `to_module` may
    differ by at most 1e-4 of the largest logit.

    Read more in the :ref:`User Guide <guide_export>`.

    Parameters
    ----------
    classifier : classifier
        A fitted classifier of sktip, a Pipeline of an encoder and one of them, or a search over these.

    path : str or path-like
        Path of the file. It appears only when it is complete. A link is followed; a device or a pipe is
        written to.

    image : bool, default=False
        Whether the model takes preprocessed images instead of features.

    overwrite : bool, default=False
        Whether to replace the file if it exists.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite=False``.

    ImportError
        If the packages of the extra ``[onnx]`` are not installed.

    RuntimeError
        If the logits of ONNX Runtime differ from those of `to_module`.

    TypeError
        If `classifier` is not a classifier of sktip.

    ValueError
        If ``image=True`` and the classifier has no encoder, or one with another model than in `fit`;
        or if the model is larger than 2 GB, the limit of ONNX files.

    See Also
    --------
    to_module : Return a PyTorch module.

    Notes
    -----
    The metadata of the file (``custom_metadata_map`` in ONNX Runtime) has these entries, in JSON:

    - ``classes``: the labels, in the order of the columns, or the tags of a `~sktip.FewShotTagger`;
    - ``thresholds``, of a tagger only: the probability, the sigmoid of a logit, from which each tag is
      predicted;
    - ``class_names``: the names of the classes, if known;
    - ``fitted_with``: versions, and the encoder's model, at the time of `fit`;
    - ``preprocessing``, with ``image=True``: the ``size``, ``mean`` and ``std`` of the pixels, their
      ``interpolation`` and ``resize_mode``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sktip import TipAdapterClassifier
    >>> from sktip.export import to_onnx
    >>> clf = TipAdapterClassifier(text_features=np.eye(3)).fit(np.eye(3), [0, 1, 2])
    >>> with TemporaryDirectory() as folder:
    ...     to_onnx(clf, Path(folder, "classifier.onnx"))
    """
    import_optional("onnx", "onnxruntime", extra="sktip[onnx]", caller="to_onnx")
    check_output(path, overwrite=overwrite)
    encoder, classifier = _parts_of(classifier, image=image)
    module = _module_of(encoder, classifier, image=image)
    n_bytes = sum(tensor.nbytes for tensor in module.state_dict().values())
    if n_bytes > MAX_BYTES:
        raise ValueError(
            f"the model has {n_bytes / 1e9:.1f} GB of weights, but an ONNX file is limited to 2 GB. Export the "
            "classifier of features (image=False) and the CLIP model separately, or use to_module."
        )
    rows = _pixels(module) if image else _features(module)
    model = _converted(module, rows, "pixels" if image else "features")
    for key, value in _metadata(classifier, module).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    content = model.SerializeToString()
    _check_answers(content, module, rows)
    write_file(path, [content], overwrite=overwrite)


def _parts_of(estimator: BaseEstimator, *, image: bool) -> tuple[Any, BaseCLIPEstimator]:
    """Return the encoder, which may be None without `image`, and the fitted classifier to export."""
    check_is_fitted(estimator)
    encoder, classifier = split_encoder(estimator, optional=not image)
    if not isinstance(classifier, BaseCLIPEstimator):
        raise TypeError(
            f"a {type(classifier).__name__} cannot be exported; pass a classifier of sktip, or a Pipeline of an "
            "encoder and one of them."
        )
    return encoder, classifier


def _module_of(
    encoder: BaseEstimator | None, classifier: BaseCLIPEstimator, *, image: bool
) -> "torch.nn.Module":
    from sktip._maths.classifier_module import ClassifierModule

    head = classifier.__sktip_head__()
    classes = getattr(classifier, "tags_", classifier.classes_).tolist()
    thresholds = getattr(classifier, "thresholds_", None)
    thresholds = None if thresholds is None else thresholds.tolist()
    if not image:
        module = ClassifierModule(head, classes, thresholds)
    else:
        encoder = clone(encoder).set_params(device="cpu", precision="fp32")
        session = open_encoder(encoder)
        check_same_model(classifier, session)
        tower, preprocessing = session.image_tower(), session.preprocessing
        module = ClassifierModule(head, classes, thresholds, tower, preprocessing)
    return module.requires_grad_(False).eval()


def _features(module: Any) -> NDArray[np.float32]:
    """Rows to test a model of features with: random ones, and some of its own keys and class rows."""
    kept = [
        array.numpy()[:8]
        for name, array in module.named_buffers()
        if name in ("coef", "keys", "text", "class_features")
    ]
    random = check_random_state(0).normal(size=(8, kept[0].shape[1]))
    return np.concatenate([random, *kept]).astype(np.float32)


def _pixels(module: Any) -> NDArray[np.float32]:
    """Random pixels in the shape of the model's input."""
    size = module.preprocessing["size"]
    height, width = (size, size) if isinstance(size, int) else size
    noise: NDArray[np.float32] = check_random_state(0).normal(size=(2, 3, height, width))
    return noise.astype(np.float32)


def _converted(module: Any, rows: NDArray[np.float32], name: str) -> Any:
    """ONNX model of the module."""
    import onnx
    import torch

    options: dict[str, Any] = {
        "input_names": [name],
        "output_names": ["logits"],
        "opset_version": OPSET,
        "verbose": False,
    }
    example = (torch.from_numpy(rows[:2]),)
    version = tuple(map(int, torch.__version__.split(".")[:2]))
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter's warnings are for its developers.
        warnings.simplefilter("ignore")
        if version >= NEW_EXPORTER:
            batch = {"inputs": {0: torch.export.Dim("batch")}}
            program: Any = torch.onnx.export(
                module, example, dynamo=True, dynamic_shapes=batch, **options
            )
            return program.model_proto
        file: Any = io.BytesIO()
        axes = {name: {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(module, example, file, dynamic_axes=axes, **options)
        return onnx.load_from_string(file.getvalue())


def _metadata(classifier: BaseEstimator, module: Any) -> dict[str, Any]:
    entries = {
        "classes": module.classes,
        "fitted_with": classifier.fitted_with_,
        "exported_by": f"sktip {__version__}",
    }
    if module.thresholds is not None:
        entries["thresholds"] = module.thresholds
    elif names := resolve_classes(classifier.classes_, classifier.class_names).names:
        entries["class_names"] = names
    if module.preprocessing is not None:
        entries["preprocessing"] = module.preprocessing
    return entries


def _check_answers(content: bytes, module: Any, rows: NDArray[np.float32]) -> None:
    """Compare the logits of ONNX Runtime, also with another number of rows than in the export."""
    import onnxruntime
    import torch

    # The rounding of cosines is multiplied by beta.
    sharpness = module.numbers.get("beta", 0.0)
    tolerance = TOLERANCE + 16 * float(np.finfo(np.float32).eps) * sharpness
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (name,) = (put.name for put in session.get_inputs())
    for some in (rows, rows[:1]):
        (logits,) = session.run(["logits"], {name: some})
        with torch.no_grad():
            expected = module(torch.from_numpy(some)).numpy()
        difference, largest = np.abs(logits - expected).max(), np.abs(expected).max()
        # Without text, all logits of a row far from all shots are 0.
        if not difference <= tolerance * largest:
            raise RuntimeError(
                f"the logits of ONNX Runtime {onnxruntime.__version__} differ from PyTorch's by "
                f"{difference:.1e}, more than {tolerance:g} of the largest logit; no file was written. Please "
                "report this with the output of sktip.show_versions(). to_module still works."
            )
