"""The CLIP feature transformer: images in, unit-norm features out."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._encoding.memory import FeatureMemory
from sktip._encoding.model import load_clip
from sktip._encoding.paths import Located, locate
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.pictures import as_image_list
from sktip._utils.attributes import NamedAttributesMixin
from sktip._utils.doc_links import DocumentedMixin
from sktip.prompts import fill_prompts

#: What the session takes as it is.
SESSION_PARAMETERS = (
    "model_name", "reduced_decoding", "batch_size", "n_jobs", "n_views", "on_error", "max_pixels",
    "random_state", "verbose",
)  # fmt: skip


class CLIPFeatureTransformer(
    NamedAttributesMixin, DocumentedMixin, TransformerMixin, BaseEstimator
):
    """Encode images, and class names, with a pretrained CLIP.

    A stateless transformer: it needs no `fit`, and holds nothing but its parameters. The CLIP model is loaded at first
    use and shared by the whole process. A relative path among the parameters keeps the meaning
    that it has at the first use, or when the transformer is pickled, whatever the working
    directory is later; `set_params` starts afresh.

    Read more in the :ref:`User Guide <guide_encoding_once>`.

    Parameters
    ----------
    model_name : str, default="ViT-B-32"
        Which CLIP. ``"tiny"`` is the small model that comes with sktip, for examples and tests
        without a network; any name of ``open_clip.list_models()``, ``"hf-hub:ORG/REPO"`` or
        ``"local-dir:FOLDER"`` is loaded by open_clip.

    pretrained : str, default=None
        Which weights: a tag of open_clip, or the path of a local checkpoint. None means the
        weights that ``"tiny"``, a hub repository or a local folder carries, and
        ``"laion2b_s34b_b79k"`` for ``"ViT-B-32"``; every other model needs a tag. For weights
        that were trained with QuickGELU, as OpenAI's, the matching activation is used. A local
        checkpoint says nothing about its activation: choose a ``-quickgelu`` model name for it.

    device : str, default=None
        Torch device, such as ``"cpu"`` or ``"cuda:0"``. None is CUDA where there is one, else
        the CPU, decided anew at each use.

    precision : {"auto", "fp32", "fp16", "bf16"}, default="auto"
        Numbers that the model of images computes in. ``"auto"`` is bf16 where the device multiplies it
        natively and a short measurement finds that faster, else fp32. Features in bf16 have a cosine of
        at least 0.999 to those in fp32. They are float32 in any case; class names are encoded in fp32.

    reduced_decoding : bool, default=True
        Decode large JPEG files at 1/2, 1/4 or 1/8, where that leaves three times the model's input.
        Features have a cosine of at least 0.9999 to those of the full decoding. False decodes all as
        a whole and preprocesses them as open_clip does, to the bit.

    batch_size : int, default=64
        Images, or views of images, in one forward pass. On a CPU the threads share them, 4 to 8 each.

    n_jobs : int, default=None
        Threads that read and prepare images, and on a CPU run the model, each on images of its own.
        None means as many as torch would use; with a GPU, one per CPU. 1 means none.

    n_views : int, default=1
        1 encodes an image once, with the model's own evaluation preprocessing. A larger number
        encodes as many random crops (50 to 100 % of the area, mirrored half of the time) and
        averages their features before normalising, as Tip-Adapter does for its cache keys.

    memory : str, path-like or FeatureMemory, default=None
        A file in which the features of images are kept, so that no image is encoded twice by
        the same model: not in the folds of a cross-validation, nor in the next run. It is made
        at the first use, on a local disk; several processes may use it at once. An image is
        known by its content, a changed file is encoded again. Random views are kept if
        `random_state` is given. `FeatureMemory` adds a limit on the size. A fitted classifier is
        saved and copied without the `memory` and the `verbose` of its encoder.

    on_error : {"raise", "nan"}, default="raise"
        What to do about an image that cannot be read: raise an error that names it, or give it
        a row of NaN, with one warning for the whole call.

    max_pixels : int, default=89_478_485
        Images with more pixels are refused, against decompression bombs, as are files of more
        than 8 bytes for each of them and 64 MiB. Pillow's own limit,
        ``PIL.Image.MAX_IMAGE_PIXELS``, is not touched and applies besides.

    random_state : int, RandomState instance or None, default=None
        Seed of the random views. A view depends on the seed, the content of the image and the
        number of the view, never on the images around it. None gives fresh views at each call.

    verbose : int, default=0
        Above 0, show a progress bar.

    Raises
    ------
    ImageReadError
        By `transform`, for an image that cannot be read (with ``on_error="raise"``).

    ModelLoadError
        At first use, if the weights cannot be had, without a network for example.

    ValueError
        By `transform`, if `memory` is not a file of features, or one of a newer version.

    Warns
    -----
    UserWarning
        If `memory` cannot be read or written, or its file is removed meanwhile: once a call, with
        the file and the cause. The features are returned all the same.

    See Also
    --------
    FeatureMemory : A limit on the size of the file, and its clearing.
    TipAdapterClassifier : Few-shot classifier on these features.

    Notes
    -----
    Images may be paths, the bytes of image files, PIL images or uint8 arrays of shape (h, w),
    (h, w, 3) or (h, w, 4), in a list, a 1-D array of objects or text, a pandas Series, an Arrow
    column, or a 4-D array. Before the model's own preprocessing, each is made an upright RGB
    picture: the EXIF orientation is applied, transparency is laid on white, and 16-bit greys are
    scaled to 8 bits.

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

    _parameter_constraints: dict = {
        "model_name": [str],
        "pretrained": [str, None],
        "device": [str, None],
        "precision": [StrOptions({"auto", "fp32", "fp16", "bf16"})],
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

    # Only of an encoder that has a relative path among its parameters.
    _absolute: Located

    def __init__(
        self,
        model_name: str = "ViT-B-32",
        pretrained: str | None = None,
        *,
        device: str | None = None,
        precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto",
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

    def fit(self, X: Any = None, y: Any = None) -> "CLIPFeatureTransformer":
        """Check the parameters; there is nothing to learn.

        Parameters
        ----------
        X : Ignored
            Not used, present for API consistency.

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : CLIPFeatureTransformer
            This transformer, unchanged.
        """
        self._validate_params()
        located = self._located()
        if located != vars(self).get("_absolute", {}):
            self._absolute = located
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode images.

        Parameters
        ----------
        X : sequence of images of length n
            Paths, bytes, PIL images or uint8 arrays; see the notes of the class.

        Returns
        -------
        features : ndarray of shape (n, d), float32
            Unit-norm rows. With ``on_error="nan"``, rows of NaN for images that cannot be read.

        Raises
        ------
        ImageReadError
            If an image cannot be read and ``on_error="raise"``; index and path are named.

        TypeError
            If X is a single image, path or string instead of a collection.
        """
        return open_encoder(self).features(as_image_list(X))

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Encode images; the same as `transform`.

        Parameters
        ----------
        X : sequence of images of length n
            Paths, bytes, PIL images or uint8 arrays; see the notes of the class.

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        features : ndarray of shape (n, d), float32
            Unit-norm rows.
        """
        return self.transform(X)

    def encode_text(
        self,
        class_names: Iterable[str],
        templates: str | Sequence[str] | Mapping[str, Sequence[str]] = "a photo of a {}.",
    ) -> NDArray[np.float32]:
        """Encode class names.

        Each prompt is encoded and normalised; the prompts of a class are averaged and the
        average is normalised again.

        Parameters
        ----------
        class_names : iterable of str of length C
            Names of the classes; an underscore stands for a space.

        templates : str, sequence of str, or mapping, default="a photo of a {}."
            One template, several, or a mapping from class name to its own templates.

        Returns
        -------
        text_features : ndarray of shape (C, d), float32
            Unit-norm rows.

        Warns
        -----
        UserWarning
            If a prompt is longer than the model's context and is cut off.
        """
        # An iterator can be read only once.
        names = list(class_names) if isinstance(class_names, Iterator) else class_names
        prompts = fill_prompts(names, templates)
        if not prompts:
            raise ValueError("class_names is empty; give at least one class name.")
        return open_encoder(self).class_features(prompts, names)

    def warm_up(self) -> Self:
        """Load the model and run it once, so that the first images wait for nothing.

        A server calls it before it takes requests.

        Returns
        -------
        self : CLIPFeatureTransformer
            This transformer.
        """
        open_encoder(self).warm_up()
        return self

    # Not by scikit-learn's mixin: that reads the width from an attribute, and an attribute that loads
    # the model would do so whenever a notebook lists or shows the transformer.
    def get_feature_names_out(self, input_features: Any = None) -> NDArray:
        """Name the features.

        Parameters
        ----------
        input_features : Ignored
            Not used, present for API consistency.

        Returns
        -------
        names : ndarray of shape (d,), str objects
            ``clipfeaturetransformer0`` and so on.
        """
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(open_encoder(self).width)], dtype=object)

    def set_params(self, **params: Any) -> Self:
        """Set parameters; a relative path is resolved anew at the next use.

        Parameters
        ----------
        **params : dict
            Parameters and their values.

        Returns
        -------
        self : estimator instance
            This transformer.
        """
        super().set_params(**params)
        known = vars(self).get("_absolute", {})
        if known.keys() & params.keys():
            self._absolute = {name: own for name, own in known.items() if name not in params}
        return self

    def _located(self) -> Located:
        params = {name: getattr(self, name) for name in ("model_name", "pretrained", "memory")}
        return locate(params, vars(self).get("_absolute", {}))

    def _path(self, name: str) -> Any:
        """Value of a parameter, with an absolute path in place of a relative one."""
        return vars(self).get("_absolute", {}).get(name, (None, getattr(self, name)))[1]

    def __sktip_open__(self) -> EncoderSession:
        """Open this encoder for one call: what classifiers, displays and Ray's workers use of it."""
        self.fit()
        clip = load_clip(
            self._path("model_name"), self._path("pretrained"), self.device, self.precision
        )
        params = {name: getattr(self, name) for name in SESSION_PARAMETERS}
        return EncoderSession(clip, memory=self._path("memory"), **params)

    def __getstate__(self) -> dict[str, Any]:
        # Now, since another process may have another working directory.
        located = self._located()
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_absolute": located} if located else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Those that were saved before the parameter existed decoded images as a whole.
        super().__setstate__(state)
        self.__dict__.setdefault("reduced_decoding", False)

    def __sklearn_clone__(self) -> Self:
        twin = super().__sklearn_clone__()
        vars(twin).update({k: v for k, v in vars(self).items() if k == "_absolute"})
        return twin

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
