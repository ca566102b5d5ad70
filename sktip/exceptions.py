"""Exceptions of sktip."""

__all__ = ["ImageReadError", "ModelLoadError"]


class ImageReadError(ValueError):
    """An image cannot be used: it is missing, unreadable, not an image, or too large.

    The message is ``"{where}: {reason}"``.

    Read more in the :ref:`User Guide <guide_errors>`.

    Parameters
    ----------
    where : str
        The image: its index, and its path if it has one.

    reason : str
        Why it cannot be used, and what to do. Both are attributes of the error.
    """

    def __init__(self, where: str, reason: str):
        super().__init__(where, reason)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class ModelLoadError(RuntimeError):
    """The weights of a CLIP model cannot be loaded: no network, no file, or a damaged file.

    Read more in the :ref:`User Guide <guide_other_clips>`.
    """
