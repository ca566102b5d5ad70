"""Exceptions of sktip."""

__all__ = ["ImageReadError", "ModelLoadError"]


class ImageReadError(ValueError):
    """An image cannot be used: it is missing, unreadable, not an image, or too large.

    The message gives the index of the image, and its path if it has one.

    Read more in the :ref:`User Guide <guide_errors>`.
    """


class ModelLoadError(RuntimeError):
    """The weights of a CLIP model cannot be loaded: no network, no file, or a damaged file.

    Read more in the :ref:`User Guide <guide_other_clips>`.
    """
