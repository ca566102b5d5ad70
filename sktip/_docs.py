"""The parts of docstrings that several classes share, each written once."""

import inspect
import re
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type[Any])

SHARED = {
    "encoder": """\
encoder : transformer, str or None, default=None
    Encoder of the images and the class names, such as `CLIPFeatureTransformer`. A string is the
    name of a model: ``"ViT-B-32"`` means ``CLIPFeatureTransformer("ViT-B-32")``, and
    ``"timm:NAME"`` means ``TimmFeatureTransformer("NAME")``. If None, X is a feature matrix.""",
    "names": """\
class_names : mapping or sequence of str, default=None
    Names of the classes. If None, the labels are the names. A mapping gives a name to each
    label; a label in it is a class even without images. A sequence contains the labels, or is
    indexed by integer labels; each of its entries is a class.

templates : str, sequence of str, or mapping, default="a photo of a {}."
    Prompt templates, with ``{}`` for the class name. The features of several templates are
    averaged. A mapping gives each label its own templates. None says that the names mean
    nothing: they are not encoded.""",
    "features": """\
input : {"image", "features"}, default="image"
    Whether X holds images or features of the `encoder`; not used without an `encoder`. With
    features, the encoder is only used in `fit`, for the text features and the logit scale.

text_features : array-like of shape (C, d), default=None
    Text features to use instead of the encoder's; `fit` normalises them. Rows follow the
    classes, or the names if `class_names` is a sequence. Without `class_names`, integer labels
    index the rows, and every row is a class.""",
    "class_weight": """\
class_weight : dict, "balanced" or None, default=None
    Weight of each class, by label, which multiplies `sample_weight`. ``"balanced"`` gives all
    classes with shots the same total weight.""",
    "logit_scale": """\
logit_scale : float, default=None
    Scale s of CLIP's logits. If None, the model's own, or 100 without an encoder.""",
    "fine_tuning": """\
n_epochs : int, default=20
    Number of passes over the shots in fine-tuning.

learning_rate : float, default=1e-3
    Initial learning rate of AdamW. It decreases to 0 along a cosine.

weight_decay : float, default=0.01
    Weight decay of AdamW.

batch_size : int, default=256
    Number of shots in each step of fine-tuning.""",
    "device": """\
device : str, default=None
    Torch device of the computation. If None, CUDA if available, else the CPU. The encoder has
    its own `device`.""",
    "verbose": """\
verbose : int, default=0
    If positive, show a progress bar.""",
    "classes_": """\
classes_ : ndarray of shape (C,)
    Class labels, sorted.""",
    "cache_": """\
cache_keys_ : ndarray of shape (m, d)
    Features of the shots, in the order given to `fit`, without shots of weight 0. Unit rows
    unless fine-tuned.

cache_codes_ : ndarray of shape (m,), int
    Class of each key, as an index into `classes_`.

cache_weights_ : ndarray of shape (m,) or None
    Weight of each key. None if the shots are not weighted.""",
    "shots_": """\
shot_features_ : ndarray of shape (m, d), or (m, n_views, d) in `GDAClassifier`
    Unit features of the shots, in the order given, without shots of weight 0. `explain` and
    `partial_fit` need them. `GDAClassifier` keeps the shots only with ``alpha="auto"``.

shot_codes_ : ndarray of shape (m,), int
    Class of each shot, as an index into `classes_`.

shot_weights_ : ndarray of shape (m,) or None
    Their `sample_weight`.

shot_groups_ : ndarray of shape (m,) or None
    Their `groups`.""",
    "linear_": """\
coef_ : ndarray of shape (C, d)
    Weights of the logits ``f @ coef_.T + intercept_``, including the text prior.

intercept_ : ndarray of shape (C,)
    Intercepts of the logits.""",
    "text_": """\
text_features_ : ndarray of shape (C, d) or None
    Unit-norm text features of the classes. None without a text prior.

logit_scale_ : float
    Scale s of CLIP's logits.""",
    "fine_tuned_": """\
loss_curve_ : list of float of length n_epochs
    Mean training loss of each epoch. Only after fine-tuning.

n_iter_ : int
    Number of epochs. Only after fine-tuning.""",
    "fitted_": """\
n_features_in_ : int
    Number of columns of X. Only if X is a feature matrix.

feature_names_in_ : ndarray of shape (d,)
    Column names of X. Only if X is a table of features with string column names.

fitted_with_ : dict
    Versions of sktip, its file format and its dependencies, and the encoder's model, at the
    time of `fit`.""",
    "encoding": """\
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
    with those of the full decoding. False gives exactly the pixels of the library's preprocessing.

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
    File that stores the features of images and class names, so that the same model encodes none of
    them twice: not in the folds of a cross-validation, and not in the next run. It is created at the
    first use. Put it on a local disk; several processes may use it at once. An image is recognised
    by its content, so a changed file is encoded again. Random views are stored if `random_state` is
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
    If positive, show a progress bar, and say if ``precision="auto"`` would be faster.""",
    "encoding_raises": """\
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
    call. The features are returned nevertheless.""",
    "images": """\
X : sequence of images of length n
    Paths, bytes, PIL images, uint8 arrays, or a `Crop` of one; see the notes of `CLIPFeatureTransformer`.""",
    "shots": """\
X : sequence of images of length m, or array-like of shape (m, d)
    The shots: images if there is an `encoder` and ``input="image"``, else features.

y : array-like of shape (m,)
    Labels of the shots. Classes may have different numbers of shots.""",
    "more_shots": """\
X : sequence of images of length m, or array-like of shape (m, d)
    More shots.

y : array-like of shape (m,)
    Labels of the shots, of known or new classes.

classes : array-like of shape (n,), default=None
    Further classes, which need not occur in `y`.""",
    "sample_weight": """\
sample_weight : array-like of shape (m,), default=None
    Non-negative weight of each shot: one of weight 2 counts like a shot that is given twice. Shots of
    weight 0 are ignored: they are not encoded, and add no class.""",
    "new_weight": """\
sample_weight : array-like of shape (m,), default=None
    Non-negative weight of each new shot. Shots of weight 0 are ignored.""",
    "rows": """\
X : sequence of images, or array-like of shape (n, d)
    Images, or feature rows, as in `fit`.""",
    "groups": """\
groups : array-like of shape (m,), default=None
    Group of each shot, for example the video that a frame is from. Shots of a group are
    held out together.""",
    "fit_raises": """\
ValueError
    If X, y or a parameter is not valid. Nothing has been encoded then.

ImageReadError
    If an image cannot be read. The estimator stays as it was before the call.""",
    "queries": """\
X : sequence of images, or array-like of shape (n, d)
    Images, or feature rows, as in `fit`. A row of zeros has a cosine of 0 with everything.""",
}
# The paper's methods have the paper's template, and the others an ensemble.
SHARED["general_names"] = (
    SHARED["names"].replace('default="a photo of a {}."', "default=GENERAL_TEMPLATES")
    + """ The default, `sktip.prompts.GENERAL_TEMPLATES`, is for
    photos of any kind; say what yours are, such as ``"a satellite photo of {}."``."""
)


def with_shared_docs(cls: Class) -> Class:
    """Replace lines of a class's docstrings that are the name of a part in braces by that part."""
    methods = (getattr(item, "fn", item) for item in vars(cls).values())  # Of `available_if`.
    for item in (cls, *filter(inspect.isfunction, methods)):
        if item.__doc__:
            item.__doc__ = re.sub(r"^( *)\{(\w+)\}$", _part, item.__doc__, flags=re.MULTILINE)
    return cls


def _part(found: re.Match[str]) -> str:
    indent, name = found.groups()
    return re.sub(r"^(?=.)", indent, SHARED[name], flags=re.MULTILINE)
