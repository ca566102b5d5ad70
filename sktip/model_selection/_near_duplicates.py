"""Which photos are copies of each other, or of one burst."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.utils import check_array

from sktip._images.files import MAX_PIXELS
from sktip._images.inputs import as_image_list, describe, looks_like_images
from sktip._images.rgb import open_rgb
from sktip._maths.copies import (
    distance_of_copies,
    in_order,
    joined,
    mean_squared_distance,
    near_groups,
)
from sktip._maths.unit import unit_norm

#: Largest number of seconds between two photos of a burst, and largest squared distance, as a fraction of the mean
#: squared distance between photos: other cameras take photos at the same time.
BURST_SECONDS, BURST = 60, 0.5
#: Largest number of photos of other cameras between two photos of a burst.
MOST_BETWEEN = 15
#: Width and height of a tiny picture. In larger ones, a crop differs more; in smaller ones, all photos are alike.
TINY_SIZE = 12
#: Standard deviation of a picture that counts as much as its mean colour, of 1. Below it, there is nothing else to see.
FLAT = 0.02
#: Smallest side at which a JPEG is decoded, a multiple of `TINY_SIZE`.
MIN_SIDE = 96


def near_duplicate_groups(
    X: Any, *, threshold: float | str = "auto", times: ArrayLike | None = None
) -> NDArray[np.intp]:
    """Find photos that are copies of each other, or of one burst, to hold them out together.

    If a copy of a test photo is in the training set, a score is too good. Pass the result as `groups` to
    the functions of this module, or to `sklearn.model_selection.GroupKFold`.

    Read more in the :ref:`User Guide <guide_near_duplicates>`.

    Parameters
    ----------
    X : array-like of shape (n, d), or sequence of images of length n
        Features of an encoder, or the photos themselves, which need no encoder: they are compared as
        tiny pictures.

    threshold : float or "auto", default="auto"
        Smallest cosine similarity of two copies, from 0 to 1. With "auto", it is chosen
        from the distances of all photos, see the notes.

    times : array-like of shape (n,), default=None
        When the photos were taken: datetimes, or numbers of seconds; NaT or NaN if not known.
        `sktip.utils.photo_times` reads them. Photos that were taken at most 60 seconds apart, and are more similar
        than two random photos, are a burst and share a group too.

    Returns
    -------
    groups : ndarray of shape (n,), int
        Group of each photo, numbered from 0 in the order of their first photos. A photo without a copy is
        a group of its own. Copies of copies share a group.

    Raises
    ------
    ImageReadError
        If a photo cannot be read.

    ValueError
        If `threshold` or `times` are not valid, or if X has NaN.

    See Also
    --------
    held_out_proba : Takes groups.
    sktip.utils.photo_times : Read when photos were taken.

    Notes
    -----
    With ``threshold="auto"``, two photos are copies if the squared distance of their features or tiny pictures is at
    most a fifth of the median one from a photo to its tenth nearest photo. Where that is small, since there are many
    more copies, it is 2 % of the mean squared distance between two photos.

    All pairs are compared, in blocks and in few dimensions first. Memory grows with the number of photos, not of
    pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.model_selection import near_duplicate_groups
    >>> images = list(load_digit_images().data[:100])
    >>> images.append(images[7] // 2)  # a darker copy
    >>> groups = near_duplicate_groups(images)
    >>> np.flatnonzero(groups == groups[7]).tolist()
    [7, 100]
    """
    if threshold != "auto" and not (isinstance(threshold, Real) and 0 < threshold <= 1):
        raise ValueError(
            f"threshold={threshold!r} must be 'auto' or a cosine similarity, above 0 and at most 1."
        )
    if looks_like_images(X):
        rows = _fingerprints(as_image_list(X))
    else:
        rows = unit_norm(check_array(X, dtype=np.float32, input_name="X"))
    seconds = None if times is None else _seconds(times, len(rows))
    auto = threshold == "auto"
    groups = near_groups(rows, distance_of_copies(rows) if auto else 2 - 2 * float(threshold))
    if seconds is None:
        return groups
    # Photos of several cameras may lie between those of a burst.
    limit = BURST * mean_squared_distance(rows)
    order = np.argsort(seconds, kind="stable")[: np.isfinite(seconds).sum()]
    for step in range(1, min(MOST_BETWEEN + 2, len(order))):
        first, second = order[:-step], order[step:]
        soon = seconds[second] - seconds[first] <= BURST_SECONDS
        first, second = first[soon], second[soon]
        alike = ((rows[first] - rows[second]) ** 2).sum(axis=1) <= limit
        groups = joined(groups, groups[first[alike]], groups[second[alike]])
    return in_order(groups)


def _fingerprints(images: Sequence[Any]) -> NDArray[np.float32]:
    """Compute unit rows that are similar for copies of a photo, whatever its size, brightness and contrast."""
    read = joblib.Parallel(n_jobs=-1, prefer="threads")
    return np.stack(read(joblib.delayed(_fingerprint)(*item) for item in enumerate(images)))


def _fingerprint(index: int, image: Any) -> NDArray[np.float32]:
    """Return the pixels of a tiny picture less their mean colour, at unit norm."""
    picture = open_rgb(image, describe(image, index), MAX_PIXELS, MIN_SIDE)
    pixels = (
        np.asarray(picture.resize((TINY_SIZE, TINY_SIZE), Image.Resampling.BOX), np.float32) / 255
    )
    mean = pixels.mean(axis=(0, 1))
    row = np.concatenate([(pixels - mean).ravel() / TINY_SIZE, FLAT * (2 * mean - 1), [FLAT]])
    return row / np.linalg.norm(row)


def _seconds(times: Any, n: int) -> NDArray[np.float64]:
    """Convert times to seconds, NaN where they are not known."""
    try:
        values = np.asarray(times)
        if values.dtype.kind in "OM":
            values = values.astype("datetime64[us]")
            seconds = np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)
        else:
            seconds = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"times must be datetimes without a time zone, or numbers of seconds: {error}"
        ) from error
    if seconds.shape != (n,):
        raise ValueError(
            f"times has the shape {seconds.shape} for {n} photos; pass one time per photo."
        )
    return seconds
