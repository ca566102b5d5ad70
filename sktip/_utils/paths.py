"""Paths of users: files are read if they are files, and written completely or not at all."""

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress


def write_file(path: str | os.PathLike[str], content: Iterable[bytes], *, overwrite: bool) -> None:
    """Write a file from its parts; if that fails, the file that was there stays as it was.

    It is never replaced without `overwrite`. Links are followed, and a file that is replaced keeps its mode. Devices
    and pipes, such as ``/dev/stdout``, are written to. An OSError names the file.
    """
    whole = check_output(path, overwrite=overwrite)
    status = _status(whole)
    try:
        if is_standard_output(whole):
            if sys.stdout is not None:
                sys.stdout.flush()
            with open(1, "wb", closefd=False) as file:
                file.writelines(content)
        elif status is not None and not stat.S_ISREG(status.st_mode):
            with open(whole, "wb") as file:
                file.writelines(content)
        else:
            _replace(os.path.realpath(whole), content, overwrite=overwrite)
    except OSError as error:
        if error.errno is not None:
            # Not the hidden file, or no name at all.
            error.filename = whole
        raise


def check_input(path: str, expected: str) -> None:
    """Refuse what is no file: reading a device or a pipe may never end."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file. Expected {expected}.")
    if not os.path.isfile(path):
        raise ValueError(
            f"{path} is not a file, but a folder, device or pipe. Expected {expected}."
        )


def check_output(
    path: str | os.PathLike[str], *, overwrite: bool, inputs: Iterable[object] = ()
) -> str:
    """Return the absolute path if it may be written to, or raise the errors of `write_file`.

    A file that is read as well, one of the paths in `inputs`, is not replaced.
    """
    whole = os.path.abspath(os.path.expanduser(path))
    status = _status(whole)
    if status is not None and not stat.S_ISREG(status.st_mode):
        if stat.S_ISDIR(status.st_mode):
            raise FileExistsError(f"{whole} is a folder; pass the path of a file.")
        return whole
    if is_standard_output(whole):
        return whole
    if status is not None and not overwrite:
        raise FileExistsError(
            f"{whole} already exists. Choose another name, or pass overwrite=True (--overwrite on the command "
            "line)."
        )
    if status is not None:
        for given in inputs:
            given_status = _status(given) if isinstance(given, str | os.PathLike) else None
            if given_status is not None and os.path.samestat(given_status, status):
                raise FileExistsError(
                    f"{whole} is an input too, and would be lost. Choose another name for the output."
                )
    folder = os.path.dirname(os.path.realpath(whole))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{whole}: the folder {folder} does not exist. Create it first.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{whole}: no file can be written to the folder {folder}.")
    return whole


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """Whether a path names the standard output of this process."""
    status = _status(path)
    try:
        # On Windows a pipe has no inode.
        return status is not None and status.st_ino > 0 and os.path.samestat(status, os.fstat(1))
    except OSError:  # It is closed.
        return False


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Status of the file that a path leads to. None if there is no such file."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _replace(path: str, content: Iterable[bytes], *, overwrite: bool) -> None:
    """Write a file under another name, and rename it at the end."""
    # Not from the name of the file, which may be as long as the system allows.
    beside = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as file:
            # Before anything is written: others may be able to read a new file.
            with suppress(FileNotFoundError):
                shutil.copymode(path, beside)
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        check_output(path, overwrite=overwrite)
        os.replace(beside, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(beside)
