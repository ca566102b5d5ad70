"""The encoders: images in, features out."""

import inspect
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._docs import with_shared_docs
from sktip._encoding.clip import load_clip
from sktip._encoding.memory import FeatureMemory
from sktip._encoding.model import ImageModel
from sktip._encoding.session import Block, EncoderSession, open_encoder
from sktip._encoding.timm import load_timm
from sktip._images.inputs import as_image_list
from sktip._utils.estimators import EstimatorMixin, available_if
from sktip.prompts import fill_prompts

#: Parameters of a single encoder that belong to the machine, and change no feature by more than rounding.
OF_THE_MACHINE = ("batch_size", "n_jobs", "memory", "max_pixels", "verbose")


@with_shared_docs
class BaseEncoder(EstimatorMixin, TransformerMixin, BaseEstimator):
    """What all encoders share: they learn nothing, and are used through ``__sktip_open__``."""

    #: Whether `fit` was called. Then a pickle is a model that is saved, not one that is sent to a worker to be
    #: fitted: as for classifiers, it leaves out the settings of the machine.
    _is_fitted = False

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Check the parameters. Nothing is learned.

        Parameters
        ----------
        X : Ignored
            Not used, present for API consistency.

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : encoder
            This encoder, unchanged.
        """
        self._validate_params()
        self._is_fitted = True
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode images.

        Parameters
        ----------
        {images}

        Returns
        -------
        features : ndarray of shape (n, d), float32
            Unit-norm rows; of several encoders, each block of columns has unit norm. With
            ``on_error="nan"``, rows of NaN for images that cannot be read.

        Raises
        ------
        ImageReadError
            If an image cannot be read and ``on_error="raise"``. The message gives its index and path.

        TypeError
            If X is a single image, path or string instead of a sequence.
        """
        return open_encoder(self).features(as_image_list(X))

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Encode images, as `transform` does.

        Parameters
        ----------
        {images}

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        features : ndarray of shape (n, d), float32
            As in `transform`.
        """
        return self.fit().transform(X)

    def warm_up(self) -> Self:
        """Load the model and run it once, so that the first images are encoded without delay.

        Call it in a server before the first request.

        Returns
        -------
        self : encoder
            This encoder.
        """
        open_encoder(self).warm_up()
        return self

    # scikit-learn's mixin reads the width from an attribute. An attribute that loads the model would
    # load it whenever a notebook shows the encoder.
    def get_feature_names_out(self, input_features: Any = None) -> NDArray:
        """Name the features.

        Parameters
        ----------
        input_features : Ignored
            Not used, present for API consistency.

        Returns
        -------
        names : ndarray of shape (d,), str objects
            The name of the class in small letters and the number of the column, such as
            ``clipfeaturetransformer0``.
        """
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(open_encoder(self).width)], dtype=object)

    def __sktip_open__(self) -> EncoderSession:
        """Open this encoder for one call. The rest of the package uses encoders only through this."""
        raise NotImplementedError

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _has_text(encoder: BaseEstimator) -> bool:
    children = getattr(encoder, "encoders", None)
    return children is None or any(hasattr(child, "encode_text") for child in children)


class TextMixin:
    """The text side of an encoder."""

    @available_if(_has_text)
    def encode_text(
        self,
        class_names: Iterable[str],
        templates: str | Sequence[str] | Mapping[str, Sequence[str]] = "a photo of a {}.",
    ) -> NDArray[np.float32]:
        """Encode class names.

        The unit-norm features of the prompts of a class are averaged, and the average is normalised.

        Parameters
        ----------
        class_names : iterable of str of length C
            Names of the classes. An underscore is read as a space.

        templates : str, sequence of str, or mapping, default="a photo of a {}."
            One template, several templates, or a mapping from class name to templates.

        Returns
        -------
        text_features : ndarray of shape (C, d), float32
            Unit-norm rows.

        Warns
        -----
        UserWarning
            If a prompt is longer than the model's context, and is cut off.
        """
        # An iterator can be read only once.
        names = list(class_names) if isinstance(class_names, Iterator) else class_names
        prompts = fill_prompts(names, templates)
        if not prompts:
            raise ValueError("class_names is empty; give at least one class name.")
        return open_encoder(self).class_features(prompts, names)


class ModelEncoder(BaseEncoder):
    """An encoder with one model. A subclass defines `_load`."""

    _parameter_constraints: dict = {
        "model_name": [str],
        "pretrained": [str, None],
        "device": [str, None],
        "precision": [StrOptions({"fp32", "fp16", "bf16", "auto"})],
        "reduced_decoding": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "memory": [str, os.PathLike, FeatureMemory, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "max_pixels": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model_name: str = "ViT-B-32",
        pretrained: str | None = None,
        *,
        device: str | None = None,
        precision: Literal["fp32", "fp16", "bf16", "auto"] = "fp32",
        reduced_decoding: bool = True,
        batch_size: int = 64,
        n_jobs: int | None = None,
        n_views: int = 1,
        memory: str | os.PathLike | FeatureMemory | None = None,
        on_error: Literal["raise", "nan"] = "raise",
        max_pixels: int = 89_478_485,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.model_name = model_name
        self.pretrained = pretrained
        self.device = device
        self.precision = precision
        self.reduced_decoding = reduced_decoding
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.n_views = n_views
        self.memory = memory
        self.on_error = on_error
        self.max_pixels = max_pixels
        self.random_state = random_state
        self.verbose = verbose

    def _load(self) -> ImageModel:
        raise NotImplementedError

    def __sktip_open__(self) -> EncoderSession:
        self._validate_params()
        settings = self.get_params(deep=False)
        del settings["device"], settings["precision"]
        return EncoderSession((Block(self._load(), **settings),))

    def _state(self) -> dict[str, Any]:
        from sktip._maths.device import precision_here

        # Resolved now, since another process may have another device.
        precision = precision_here(self.precision, self.device)
        return {**super().__getstate__(), "precision": precision}

    def __reduce__(self) -> tuple:
        # Of one that is not fitted, for workers, which need all parameters.
        return _unpickled, (type(self), self.__getstate__() if self._is_fitted else self._state())

    def __getstate__(self) -> dict[str, Any]:
        # For files, which are for other machines too.
        return {**self._state(), **_machine_defaults()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Of files that run no code, such as those of skops. They may come from anyone, so they neither
        # choose where features are written nor change the limits of this machine.
        super().__setstate__({**state, **_machine_defaults()})


@with_shared_docs
class CLIPFeatureTransformer(TextMixin, ModelEncoder):
    """Encode images and class names as features, with a pretrained CLIP model.

    The transformer is stateless: it needs no `fit`, and holds only its parameters. The CLIP model is
    loaded at first use and shared by the whole process. Relative paths start at the working directory at
    the time of use.

    Read more in the :ref:`User Guide <guide_encoding_once>`.

    Parameters
    ----------
    model_name : str, default="ViT-B-32"
        Name of the CLIP model. ``"tiny"`` is a small model that comes with sktip, for examples and
        tests without a network. A name in ``open_clip.list_models()``, ``"hf-hub:ORG/REPO"`` or
        ``"local-dir:FOLDER"`` is loaded by open_clip.

    pretrained : str, default=None
        Weights of the model: a tag of open_clip, or the path of a local checkpoint. ``"tiny"``, hub
        repositories and local folders contain their weights, and take None. For ``"ViT-B-32"``, None
        means ``"laion2b_s34b_b79k"``. Every other model needs a tag. Weights that were trained with
        QuickGELU, such as OpenAI's, get that activation. For a local checkpoint trained with it,
        choose a model name that ends in ``-quickgelu``.

    {encoding}

    {encoding_raises}

    See Also
    --------
    TimmFeatureTransformer : Image models without text, such as DINOv2.
    JointEncoder : Several encoders side by side.
    FeatureMemory : Limits the size of the file of features, and clears it.
    FewShotClassifier : Few-shot classifier on these features.

    Notes
    -----
    Images may be paths, the bytes of image files, PIL images or uint8 arrays of shape (h, w),
    (h, w, 3) or (h, w, 4), or a `Crop` of one of them, in a list, a 1-D array of objects or text, a pandas Series, an
    Arrow column, or a 4-D array. Before the model's preprocessing, each is converted to an upright RGB image: the
    EXIF orientation is applied, transparent parts become white, and 16-bit grey values are scaled to 8 bits.

    Features are those of open_clip's ``encode_image``, divided by their norm.

    References
    ----------
    .. [1] A. Radford et al., "Learning transferable visual models from natural language
       supervision", ICML 2021.

    .. [2] R. Zhang et al., "Tip-Adapter: Training-free CLIP-Adapter for better
       vision-language modeling", arXiv:2111.03930, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer
    >>> images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    >>> images[1] = 255
    >>> clip = CLIPFeatureTransformer("tiny")
    >>> clip.transform(images).shape
    (2, 128)
    >>> clip.encode_text(["cat", "dog"], templates="a picture of a {}").shape
    (2, 128)
    """

    def _load(self) -> ImageModel:
        return load_clip(self.model_name, self.pretrained, self.device, self.precision)


@with_shared_docs
class TimmFeatureTransformer(ModelEncoder):
    """Encode images as features, with a pretrained image model of timm, such as DINOv2.

    These models have no text. Every image model of timm can be used: DINOv2 and DINOv3, ConvNeXt, EVA, ViT
    and others. Size, normalisation and interpolation are those of the weights. As
    `CLIPFeatureTransformer`, it needs no `fit`, and its model is loaded at first use.

    Read more in the :ref:`User Guide <guide_any_encoder>`.

    Parameters
    ----------
    model_name : str, default="vit_small_patch14_dinov2.lvd142m"
        A name in ``timm.list_models(pretrained=True)``: an architecture, and after a point the tag of
        its weights. ``"hf-hub:ORG/REPO"`` and ``"local-dir:FOLDER"`` are a repository or a folder with
        ``config.json`` and weights.

    pretrained : str, default=None
        Weights of an architecture without a tag: a tag of timm, or the path of a local checkpoint. If
        None, those of the name, or timm's default for the architecture.

    {encoding}

    {encoding_raises}

    See Also
    --------
    CLIPFeatureTransformer : Models with text.
    JointEncoder : Several encoders side by side.

    Notes
    -----
    Images are read as by `CLIPFeatureTransformer`. Features are those of timm's model without its
    classes, ``timm.create_model(model_name, pretrained=True, num_classes=0)``, divided by their norm.

    References
    ----------
    .. [1] M. Oquab et al., "DINOv2: Learning robust visual features without supervision",
       TMLR 2024.

    Examples
    --------
    >>> from sktip import TimmFeatureTransformer
    >>> dino = TimmFeatureTransformer("vit_small_patch14_dinov2.lvd142m")
    >>> features = dino.transform(photos)  # doctest: +SKIP
    >>> dino.get_params()["n_views"]
    1
    """

    def __init__(
        self,
        model_name: str = "vit_small_patch14_dinov2.lvd142m",
        pretrained: str | None = None,
        *,
        device: str | None = None,
        precision: Literal["fp32", "fp16", "bf16", "auto"] = "fp32",
        reduced_decoding: bool = True,
        batch_size: int = 64,
        n_jobs: int | None = None,
        n_views: int = 1,
        memory: str | os.PathLike | FeatureMemory | None = None,
        on_error: Literal["raise", "nan"] = "raise",
        max_pixels: int = 89_478_485,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        super().__init__(
            model_name,
            pretrained,
            device=device,
            precision=precision,
            reduced_decoding=reduced_decoding,
            batch_size=batch_size,
            n_jobs=n_jobs,
            n_views=n_views,
            memory=memory,
            on_error=on_error,
            max_pixels=max_pixels,
            random_state=random_state,
            verbose=verbose,
        )

    def _load(self) -> ImageModel:
        return load_timm(self.model_name, self.pretrained, self.device, self.precision)


@with_shared_docs
class JointEncoder(TextMixin, MetaEstimatorMixin, BaseEncoder):
    """Encode each image with several encoders, and put their features side by side.

    Each image is opened once. Each encoder makes one block of columns, of unit norm, and uses its own
    `memory`. Class names are encoded by the first encoder that has text; its block is the only one that
    they can be compared with.

    Read more in the :ref:`User Guide <guide_any_encoder>`.

    Parameters
    ----------
    encoders : list of transformers
        The encoders, in the order of their blocks. Besides those of sktip, a transformer from images to
        features can be one; it opens the images itself.

    See Also
    --------
    CLIPFeatureTransformer : Models with text.
    TimmFeatureTransformer : Image models without text, such as DINOv2.

    Notes
    -----
    `transform` raises an error for an image that cannot be read, unless ``on_error="nan"`` is set on all
    encoders. The smallest `max_pixels` and the largest `n_jobs` of the encoders apply.

    A large JPEG file is decoded once, at the scale that the largest model needs. If the models need
    different scales, features differ from those of the encoders alone as `reduced_decoding` allows: their
    cosine is at least 0.9999.

    References
    ----------
    .. [1] Y. Tang et al., "AMU-Tuning: Effective logit bias for CLIP-based few-shot learning",
       CVPR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, JointEncoder
    >>> clip = CLIPFeatureTransformer("tiny")
    >>> half = CLIPFeatureTransformer("tiny", precision="bf16")
    >>> joint = JointEncoder([clip, half])
    >>> images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    >>> joint.transform(images).shape
    (2, 256)
    >>> joint.encode_text(["cat", "dog"]).shape
    (2, 128)
    """

    _parameter_constraints: dict = {"encoders": [list, tuple]}

    def __init__(self, encoders: Sequence[Any]):
        self.encoders = encoders

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, **vars(without_settings(self))} if self._is_fitted else state

    @property
    def n_views(self) -> int:
        """Largest number of views of an encoder."""
        return max(getattr(encoder, "n_views", 1) for encoder in self.encoders)

    def __sktip_open__(self) -> EncoderSession:
        self._validate_params()
        if not self.encoders:
            raise ValueError("encoders is empty; pass a list of at least one encoder.")
        sessions = [open_encoder(as_encoder(encoder)) for encoder in self.encoders]
        return EncoderSession(tuple(block for session in sessions for block in session.blocks))


#: Encoders by the prefix of their models' names; a name without a prefix is that of a CLIP.
ENCODERS: dict[str, type[ModelEncoder]] = {
    "": CLIPFeatureTransformer,
    "timm:": TimmFeatureTransformer,
}


def encoder_of(name: str, pretrained: str | None = None, **parameters: Any) -> ModelEncoder:
    """Make the encoder of a model by its name, such as ``"ViT-B-32"`` or ``"timm:resnet18"``."""
    prefix = max((one for one in ENCODERS if name.startswith(one)), key=len)
    return ENCODERS[prefix](name.removeprefix(prefix), pretrained, **parameters)


def as_encoder(encoder: BaseEstimator | str | None) -> BaseEstimator | None:
    """Return the encoder; a string is the name of its model."""
    return encoder_of(encoder) if isinstance(encoder, str) else encoder


def set_of_the_machine(encoder: BaseEstimator, **parameters: Any) -> None:
    """Set parameters of our encoders that belong to a machine; all others of them get their defaults."""
    for one in getattr(encoder, "encoders", [encoder]):
        if isinstance(one, ModelEncoder):
            one.set_params(**(_machine_defaults() | parameters))


def without_settings(estimator: BaseEstimator) -> BaseEstimator:
    """Return an estimator, or a copy in which all encoders have the default settings of the machine."""
    if isinstance(estimator, JointEncoder):
        changed = {"encoders": list(map(without_settings, estimator.encoders))}
        is_same = all(map(operator.is_, changed["encoders"], estimator.encoders))
    elif isinstance(estimator, ModelEncoder):
        changed = _machine_defaults()
        is_same = {**estimator.get_params(), **changed} == estimator.get_params()
    else:
        given = estimator.get_params() if hasattr(estimator, "get_params") else {}
        encoders = {k: without_settings(v) for k, v in given.items() if isinstance(v, BaseEncoder)}
        changed = {
            name: encoder for name, encoder in encoders.items() if encoder is not given[name]
        }
        is_same = not changed
    return estimator if is_same else clone(estimator).set_params(**changed)


def _machine_defaults() -> dict[str, Any]:
    defaults = inspect.signature(ModelEncoder).parameters
    return {name: defaults[name].default for name in OF_THE_MACHINE}


def _unpickled(cls: type[ModelEncoder], state: dict[str, Any]) -> ModelEncoder:
    encoder = cls.__new__(cls)
    encoder.__dict__.update(state)
    return encoder
