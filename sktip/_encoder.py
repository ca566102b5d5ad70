"""The CLIP feature transformer: images in, unit-norm features out."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._encoding.clip import ClipModel
from sktip._encoding.loop import OnFailure, ViewEncoder
from sktip._encoding.memory import PLAIN, FeatureMemory, FeatureStore, Space
from sktip._encoding.model import load_clip
from sktip._encoding.paths import PathsMixin
from sktip._images.pictures import PIXELS_VERSION, as_image_list
from sktip._utils.doc_links import DocumentedMixin
from sktip._utils.progress import progress
from sktip._utils.warn import warn
from sktip.exceptions import ImageReadError
from sktip.prompts import fill_prompts


class CLIPFeatureTransformer(PathsMixin, DocumentedMixin, TransformerMixin, BaseEstimator):
    """Encode images, and class names, with a pretrained CLIP.

    A stateless transformer: it learns nothing, needs no `fit`, and holds nothing but its
    parameters, so that it costs nothing to clone or pickle. The CLIP model is loaded at first
    use and shared by the whole process. A relative path among the parameters keeps the meaning
    that it has at the first use, or when the transformer is pickled, whatever the working
    directory is later; `set_params` starts afresh.

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
        the processor, decided anew at each use.

    precision : {"fp32", "fp16", "bf16"}, default="fp32"
        Numbers that the model computes in. The features are float32 in any case.

    batch_size : int, default=64
        Images, or views of images, in one forward pass.

    n_jobs : int, default=None
        Threads that read and prepare images while the model works on earlier ones. None means
        1, without threads; -1 means one a processor.

    n_views : int, default=1
        1 encodes an image once, with the model's own evaluation preprocessing. A larger number
        encodes as many random crops (50 to 100 % of the area, mirrored half of the time) and
        averages their features before normalising, as Tip-Adapter does for its cache keys.

    memory : str, path-like or FeatureMemory, default=None
        A file in which the features of images are kept, so that no image is encoded twice by
        the same model: not in the folds of a cross-validation, nor in the next run. It is made
        at the first use, on a local disk; several processes may use it at once. An image is
        known by its content, a changed file is encoded again. Random views are kept if
        `random_state` is given. `FeatureMemory` adds a limit on the size.

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
        If `memory` cannot be read or written: once a call, with the file and the cause. The
        features are returned all the same.

    See Also
    --------
    FeatureMemory : A limit on the size of the file, and its clearing.
    TipAdapterClassifier : Few-shot classifier on these features.

    Notes
    -----
    Images may be paths, the bytes of image files, PIL images or uint8 arrays of shape (h, w),
    (h, w, 3) or (h, w, 4), in a list, a 1-D object array, a pandas Series, or a 4-D array. Before
    the model's own preprocessing, each is made an upright RGB picture: the EXIF orientation is
    applied, transparency is laid on white, and 16-bit greys are scaled to 8 bits.

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
        "precision": [StrOptions({"fp32", "fp16", "bf16"})],
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
        precision: str = "fp32",
        batch_size: int = 64,
        n_jobs: int | None = None,
        n_views: int = 1,
        memory: str | os.PathLike | FeatureMemory | None = None,
        on_error: str = "raise",
        max_pixels: int = 89_478_485,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.model_name = model_name
        self.pretrained = pretrained
        self.device = device
        self.precision = precision
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
        self._locate()
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
        return self._features(as_image_list(X))

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

        Examples
        --------
        >>> from sktip import CLIPFeatureTransformer
        >>> clip = CLIPFeatureTransformer("tiny")
        >>> clip.encode_text(["zero", "one"], ["the digit {}", "a picture of a {}"]).shape
        (2, 128)
        """
        # An iterator can be read only once.
        names = list(class_names) if isinstance(class_names, Iterator) else class_names
        prompts = fill_prompts(names, templates)
        if not prompts:
            raise ValueError("class_names is empty; give at least one class name.")
        return self._encode_prompts(prompts, names)

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
        return np.array([f"{prefix}{i}" for i in range(self._clip().embed_dim)], dtype=object)

    def _clip(self) -> ClipModel:
        """Model of these parameters; everything that this class does begins here."""
        self._validate_params()
        self._locate()
        model_name, pretrained = self._path("model_name"), self._path("pretrained")
        return load_clip(model_name, pretrained, self.device, self.precision)

    def _encode_prompts(
        self, prompts: Sequence[Sequence[str]], labels: Iterable[Any]
    ) -> NDArray[np.float32]:
        clip = self._clip()
        cut = [
            f"{prompt!r} (class {label!r})"
            for label, own in zip(labels, prompts, strict=True)
            for prompt in own
            if clip.is_cut_off(prompt)
        ]
        if cut:
            warn(
                f"Prompts longer than the context of {self.model_name!r} were cut off ({len(cut)} in all): "
                f"{'; '.join(cut[:3])}{'; ...' if len(cut) > 3 else ''}. Shorten class name or template.",
            )
        return clip.encode_classes(prompts)

    def _features(
        self, images: Sequence[Any], on_failure: OnFailure | None = None
    ) -> NDArray[np.float32]:
        """Unit-norm features of images; those that `on_failure` was told of are rows of NaN."""
        features = np.empty((len(images), self._clip().embed_dim), np.float32)
        encoded = self._encode(images, self.n_views, self.random_state, on_failure)
        for row, views in enumerate(encoded):
            features[row] = unit_norm(views.mean(axis=0))
        return features

    def _encode(
        self,
        images: Sequence[Any],
        n_views: int,
        random_state: Any,
        on_failure: OnFailure | None = None,
    ) -> Iterator[NDArray]:
        """Yield the un-normalised features of each image's views, (n_views, d), in order.

        Without `on_failure`, `on_error` says what to do about an image that cannot be read.
        """
        clip = self._clip()
        seed = int(check_random_state(random_state).randint(2**31)) if n_views > 1 else PLAIN
        fresh = n_views > 1 and random_state is None
        store = None if fresh else self._open_memory(clip)
        failures: list[str] = []

        def remember(index: int, error: ImageReadError) -> None:
            failures.append(str(error))

        if on_failure is None and self.on_error == "nan":
            on_failure = remember
        encoder = ViewEncoder(
            clip,
            n_views=n_views,
            seed=seed,
            batch_size=self.batch_size,
            n_threads=effective_n_jobs(self.n_jobs),
            max_pixels=self.max_pixels,
            store=store,
            on_failure=on_failure,
        )
        warned = False
        try:
            with progress("Encoding", "image", len(images), verbose=self.verbose) as step:
                for views in encoder.encode(images):
                    if store is not None and store.problem and not warned:
                        # At once: a long run that keeps nothing is better known about early.
                        warned = True
                        warn(
                            f"{store.problem}. The features are returned all the same, but not all of "
                            "them are kept.",
                        )
                    yield views
                    step()
        finally:
            if store is not None:
                store.close()
        if failures:
            warn(
                f"{len(failures)} of {len(images)} images could not be read and are rows of NaN. "
                f"The first: {failures[0]}",
            )

    def _open_memory(self, clip: ClipModel) -> FeatureStore | None:
        if self.memory is None:
            return None
        memory = self._path("memory")
        if not isinstance(memory, FeatureMemory):
            memory = FeatureMemory(memory)
        preprocessing = json.dumps({**clip.preprocessing, "pixels": PIXELS_VERSION}, sort_keys=True)
        space = Space(clip.architecture, clip.weights_hash, preprocessing, self.precision)
        return FeatureStore(memory, space)

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


def unit_norm(features: NDArray) -> NDArray:
    """Divide rows by their norm; rows of zeros stay zero."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms = np.linalg.norm(features, axis=-1, keepdims=True)
    # Of very short and very long rows the squares lose digits, or are 0 or infinite: those are
    # divided by their largest number first.
    limits = np.finfo(norms.dtype)
    odd = ~((norms > np.sqrt(limits.tiny / limits.eps)) & (norms < np.inf))[..., 0]
    if odd.any():
        features = features.copy()
        largest = np.abs(features[odd]).max(axis=-1, keepdims=True)
        features[odd] /= np.where(largest == 0, 1, largest)
        norms[odd] = np.linalg.norm(features[odd], axis=-1, keepdims=True)
    return features / np.where(norms == 0, 1, norms)
