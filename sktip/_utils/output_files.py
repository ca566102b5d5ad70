"""Write files completely or not at all, and never replace a file without being asked to."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[str]:
    """Yield a path to write to, and move the file to `path` at the end.

    Parameters
    ----------
    path : str or path
        Path of the final file. If the body of the ``with`` statement fails, it is not changed.

    overwrite : bool
        Whether to replace the file if it exists.

    Yields
    ------
    beside : str
        Path in the same folder, with the same suffix.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.

    FileNotFoundError
        If the folder does not exist.
    """
    whole = check_free(path, overwrite=overwrite)
    folder, name = os.path.split(whole)
    beside = os.path.join(folder, f".{secrets.token_hex(4)}-{name}")
    try:
        yield beside
        check_free(whole, overwrite=overwrite)
        os.replace(beside, whole)
    finally:
        with suppress(FileNotFoundError):
            os.remove(beside)


def check_free(path: str | os.PathLike[str], *, overwrite: bool) -> str:
    """Return the absolute path if a file may be written there, or raise the errors of `replacing`."""
    whole = os.path.abspath(os.path.expanduser(path))
    folder = os.path.dirname(whole)
    if os.path.isdir(whole):
        raise FileExistsError(f"{whole} is a folder; pass the path of a file.")
    if os.path.lexists(whole) and not overwrite:
        raise FileExistsError(
            f"{whole} already exists. Choose another name, or pass overwrite=True (--overwrite on the command "
            "line)."
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{whole}: the folder {folder} does not exist. Create it first.")
    return whole
