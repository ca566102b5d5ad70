"""Errors and warnings that have a name of their own."""

__all__ = ["ImageReadError", "ModelLoadError"]


class ImageReadError(ValueError):
    """An image cannot be used: missing, unreadable, not an image, or too large.

    The message names the image by its index, and by its path where it has one.

    Read more in the :ref:`User Guide <guide_errors>`.
    """


class ModelLoadError(RuntimeError):
    """The weights of a CLIP model cannot be loaded: no network, no file, or a broken one.

    Read more in the :ref:`User Guide <guide_other_clips>`.
    """
