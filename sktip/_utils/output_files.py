"""Files that are written whole or not at all, and never over another one unasked."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[str]:
    """Give a path to write to, and move what was written to `path` at the end.

    Parameters
    ----------
    path : str or path
        Where the file shall be. If the body of the ``with`` fails, nothing is there that was not
        there before.

    overwrite : bool
        Whether a file that is there may be replaced.

    Yields
    ------
    beside : str
        A path in the same folder, with the same suffix.

    Raises
    ------
    FileExistsError
        If there is a file and it may not be replaced.

    FileNotFoundError
        If the folder is not there.
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
    """Return an absolute path at which a file may be written, or raise an error as `replacing` does."""
    whole = os.path.abspath(os.path.expanduser(path))
    folder = os.path.dirname(whole)
    if os.path.isdir(whole):
        raise FileExistsError(f"{whole} is a folder; give the name of a file.")
    if os.path.lexists(whole) and not overwrite:
        raise FileExistsError(
            f"{whole} is there already. Choose another name, or pass overwrite=True (--overwrite on the "
            "command line)."
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{whole}: there is no folder {folder}. Make it first.")
    return whole
