"""Handwritten digits as images with class names, for the examples and the guide."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from sktip._utils.bunch import ShortBunch

NAMES = "zero one two three four five six seven eight nine".split()
TEMPLATES = ("a picture of the number {}", "the digit {}")


def load_digit_images(*, return_X_y: bool = False) -> Any:
    """Load scikit-learn's handwritten digits as images, for examples and tests without a network.

    The labels are the names of the digits. The bundled model ``"tiny"`` recognises them. The
    digits are dark on white, and each of their 8 x 8 pixels is drawn as a square of 8 x 8.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        Dictionary-like object with the attributes:

        data : ndarray of shape (1797, 64, 64), uint8
            The images.
        target : ndarray of shape (1797,), str
            Name of each digit, ``"zero"`` to ``"nine"``.
        target_names : ndarray of shape (10,), str
            The names, from ``"zero"`` to ``"nine"``.
        templates : tuple of str
            Templates, for `templates` of a classifier.
        DESCR : str
            Description and source of the data.

    (data, target) : tuple, with ``return_X_y=True``
        The first two attributes.

    See Also
    --------
    load_image_folder : Load your own photos.
    sklearn.datasets.load_digits : Load the digits as feature vectors.

    Examples
    --------
    >>> from sktip.datasets import load_digit_images
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> images.shape, str(labels[0])
    ((1797, 64, 64), 'zero')
    """
    digits = load_digits()
    pixels = np.clip(255 - 16 * digits.images, 0, 255).astype(np.uint8)
    images = np.kron(pixels, np.ones((1, 8, 8), np.uint8))
    names = np.array(NAMES)
    labels = names[digits.target]
    if return_X_y:
        return images, labels
    return ShortBunch(
        data=images,
        target=labels,
        target_names=names,
        templates=TEMPLATES,
        DESCR=digits.DESCR,
    )
