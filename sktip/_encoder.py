"""CLIPFeatureTransformer: images in, unit-norm features out."""

import inspect
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
from sktip._encoding.precision import precision_here
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.inputs import as_image_list
from sktip._utils.doc_links import DocumentedMixin
from sktip.prompts import fill_prompts

#: Parameters that are passed to the session unchanged.
SESSION_PARAMETERS = (
    "model_name", "reduced_decoding", "batch_size", "n_jobs", "n_views", "memory", "on_error",
    "max_pixels", "random_state", "verbose",
)  # fmt: skip
#: Parameters that belong to the machine, and change no feature by more than rounding.
OF_THE_MACHINE = ("batch_size", "n_jobs", "memory", "max_pixels", "verbose")


class CLIPFeatureTransformer(DocumentedMixin, TransformerMixin, BaseEstimator):
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

    device : str, default=None
        Torch device, such as ``"cpu"`` or ``"cuda:0"``. If None, CUDA if available, else the CPU;
        this is decided at each use.

    precision : {"fp32", "fp16", "bf16", "auto"}, default="fp32"
        Precision of the image model. ``"auto"`` is bf16 if the device lists that it has it in hardware:
        NVIDIA GPUs from compute capability 8.0, CPUs with AMX-BF16, AMD's CPUs with AVX512-BF16, and
        MPS from macOS 14. Else it is fp32. Features in bf16 have a cosine of at least 0.999 with those in fp32. A
        pickle holds the precision that ``"auto"`` means where it is made, so that all workers of a
        cluster use the same. The output is always float32, and class names are encoded in fp32.

    reduced_decoding : bool, default=True
        Whether to decode large JPEG files at 1/2, 1/4 or 1/8 of their size, as long as they stay at
        least three times as large as the model's input. The features have a cosine of at least 0.9999
        with those of the full decoding. False gives exactly the pixels of open_clip's preprocessing.

    batch_size : int, default=64
        Number of images, or views of images, in one forward pass. On a CPU, each thread takes 4 to 8
        of them at a time.

    n_jobs : int, default=None
        Number of threads that read and preprocess images, and on a CPU also run the model. None means
        as many as torch would use, or one per CPU with a GPU. 1 means no additional thread.

    n_views : int, default=1
        1 encodes each image once, with the model's evaluation preprocessing. A larger number encodes
        that many random crops (50 to 100 % of the area, mirrored half of the time), and averages
        their features before normalising, as Tip-Adapter does for its cache keys.

    memory : str, path-like or FeatureMemory, default=None
        File that stores the features of images, so that the same model encodes no image twice: not in
        the folds of a cross-validation, and not in the next run. It is created at the first use.
        Put it on a local disk; several processes may use it at once. An image is recognised by its
        content, so a changed file is encoded again. Random views are stored if `random_state` is
        given. Pass a `FeatureMemory` to limit the size of the file. Pickles and copies of a fitted
        classifier do not keep the `memory` and the `verbose` of its encoder.

    on_error : {"raise", "nan"}, default="raise"
        What to do if an image cannot be read: raise an error that names it, or return a row of NaN
        for it, with one warning per call.

    max_pixels : int, default=89_478_485
        Largest number of pixels of an image, as a protection against decompression bombs. Files of
        more than 64 MiB plus 8 bytes per allowed pixel are refused too. Pillow's own limit,
        ``PIL.Image.MAX_IMAGE_PIXELS``, is not changed, and applies as well.

    random_state : int, RandomState instance or None, default=None
        Seed of the random views. A view depends on the seed, the content of the image and the number
        of the view, and not on the other images. None draws new views at each call.

    verbose : int, default=0
        If positive, show a progress bar, and say if ``precision="auto"`` would be faster.

    Raises
    ------
    ImageReadError
        In `transform`, if an image cannot be read and ``on_error="raise"``.

    ModelLoadError
        At first use, if the weights cannot be loaded, for example without a network.

    ValueError
        In `transform`, if `memory` is not a file of features, or was written by a newer version.

    Warns
    -----
    UserWarning
        Once per call, if `memory` cannot be read or written, or if its file is removed during the
        call. The features are returned nevertheless.

    See Also
    --------
    FeatureMemory : Limits the size of the file of features, and clears it.
    FewShotClassifier : Few-shot classifier on these features.

    Notes
    -----
    Images may be paths, the bytes of image files, PIL images or uint8 arrays of shape (h, w),
    (h, w, 3) or (h, w, 4), in a list, a 1-D array of objects or text, a pandas Series, an Arrow
    column, or a 4-D array. Before the model's preprocessing, each is converted to an upright RGB
    image: the EXIF orientation is applied, transparent parts become white, and 16-bit grey values
    are scaled to 8 bits.

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

    def fit(self, X: Any = None, y: Any = None) -> "CLIPFeatureTransformer":
        """Check the parameters. Nothing is learned.

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
            If an image cannot be read and ``on_error="raise"``. The message gives its index and path.

        TypeError
            If X is a single image, path or string instead of a sequence.
        """
        return open_encoder(self).features(as_image_list(X))

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Encode images, as `transform` does.

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

    def warm_up(self) -> Self:
        """Load the model and run it once, so that the first images are encoded without delay.

        Call it in a server before the first request.

        Returns
        -------
        self : CLIPFeatureTransformer
            This transformer.
        """
        open_encoder(self).warm_up()
        return self

    # scikit-learn's mixin reads the width from an attribute. An attribute that loads the model would
    # load it whenever a notebook shows the transformer.
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

    def __sktip_open__(self) -> EncoderSession:
        """Open this encoder for one call. The rest of the package uses encoders only through this."""
        self.fit()
        clip = load_clip(self.model_name, self.pretrained, self.device, self.precision)
        params = {name: getattr(self, name) for name in SESSION_PARAMETERS}
        return EncoderSession(clip, **params)

    def _state(self) -> dict[str, Any]:
        # Resolved now, since another process may have another device.
        precision = precision_here(self.precision, self.device)
        return {**super().__getstate__(), "precision": precision}

    def __reduce__(self) -> tuple:
        # Pickles are for workers too, which need all parameters, and are only loaded from trusted people.
        return _unpickled, (type(self), self._state())

    def __getstate__(self) -> dict[str, Any]:
        # For files that run no code, such as those of skops: another machine has other settings.
        return {**self._state(), **defaults_of_the_machine()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Of files that run no code, such as those of skops. They may come from anyone, so they neither
        # choose where features are written nor change the limits of this machine.
        super().__setstate__({**state, **defaults_of_the_machine()})
        # Transformers saved before this parameter existed decoded images in full.
        self.__dict__.setdefault("reduced_decoding", False)

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


def as_encoder(encoder: Any) -> Any:
    """Return the encoder; a string is the name of a CLIP."""
    return CLIPFeatureTransformer(encoder) if isinstance(encoder, str) else encoder


def defaults_of_the_machine() -> dict[str, Any]:
    """Parameters of an encoder that belong to a machine and are not loaded with a model: their defaults."""
    defaults = inspect.signature(CLIPFeatureTransformer).parameters
    return {name: defaults[name].default for name in OF_THE_MACHINE}


def _unpickled(cls: type[CLIPFeatureTransformer], state: dict[str, Any]) -> CLIPFeatureTransformer:
    encoder = cls.__new__(cls)
    encoder.__dict__.update(state)
    return encoder
