"""Handwritten digits as pictures with class names: what examples and guide are run on."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

NAMES = "zero one two three four five six seven eight nine".split()
TEMPLATES = ("a picture of the number {}", "the digit {}")


def load_digit_images(*, return_X_y: bool = False) -> Any:
    """Load scikit-learn's handwritten digits as pictures, labelled by their names.

    For examples and tests without a network: the bundled model ``"tiny"`` knows digits. They are
    drawn dark on white, each of their 8 x 8 pixels as a square.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` alone.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : ndarray of shape (1797, 64, 64), uint8
            The pictures.
        target : ndarray of shape (1797,), str
            Name of each digit, ``"zero"`` to ``"nine"``.
        target_names : ndarray of shape (10,), str
            The names, in the order of the digits.
        templates : tuple of str
            Templates for `templates` of a classifier.
        DESCR : str
            What the data are and where they come from.

    (data, target) : tuple, with ``return_X_y=True``
        The first two of these.

    See Also
    --------
    load_image_folder : Your own photos.
    sklearn.datasets.load_digits : The digits as numbers.

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
    return Bunch(
        data=images,
        target=labels,
        target_names=names,
        templates=TEMPLATES,
        DESCR=digits.DESCR,
    )
