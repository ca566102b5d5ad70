"""When photos were taken."""

import io
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from sktip._images.crop import Crop
from sktip._images.inputs import as_image_list


def photo_times(images: Any) -> NDArray[np.datetime64]:
    """Read when photos were taken, from their EXIF data.

    The pixels are not decoded.

    Read more in the :ref:`User Guide <guide_near_duplicates>`.

    Parameters
    ----------
    images : sequence of images of length n
        Paths, bytes of files, PIL images, or crops of them.

    Returns
    -------
    times : ndarray of shape (n,), datetime64[us]
        The local time of the camera, with fractions of a second if they are known. NaT for a photo without a time, or
        one that cannot be read.

    See Also
    --------
    sktip.model_selection.near_duplicate_groups : Finds bursts by these times.

    Examples
    --------
    >>> from PIL import Image
    >>> from sktip.utils import photo_times
    >>> photo = Image.new("RGB", (8, 8))
    >>> photo.getexif()[306] = "2026:05:01 06:30:15"
    >>> photo_times([photo])
    array(['2026-05-01T06:30:15.000000'], dtype='datetime64[us]')
    """
    return np.array([_taken(image) for image in as_image_list(images)], "datetime64[us]")


def _taken(image: Any) -> datetime | None:
    if isinstance(image, Crop):
        image = image.image
    try:
        exif = image.getexif() if isinstance(image, Image.Image) else _exif_of(image)
        details = exif.get_ifd(ExifTags.IFD.Exif)
        taken = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        part = str(details.get(ExifTags.Base.SubsecTimeOriginal, "")).strip() or "0"
        return datetime.strptime(f"{str(taken).strip()}.{part[:6]}", "%Y:%m:%d %H:%M:%S.%f")
    except (
        Exception
    ):  # Damaged data has no time. An image that cannot be read is noticed when it is encoded.
        return None


def _exif_of(image: Any) -> Image.Exif:
    with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
        return opened.getexif()
