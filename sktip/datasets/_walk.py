"""List the images below a folder, and count what is skipped and why."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sktip._images.files import IMAGE_SUFFIXES
from sktip._images.heif import unread_suffixes
from sktip._images.pictures import as_image_list
from sktip._utils.warn import warn

#: Device and inode of a folder: the same for every path or link to it.
Identity = tuple[int, int]
#: Characters that a terminal or a table obeys instead of showing them: controls, separators of lines and
#: marks that change the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass
class LeftOut:
    """What was skipped, by reason."""

    others: Counter[str] = field(default_factory=Counter)  # suffix -> files that are no images
    unread: Counter[str] = field(default_factory=Counter)  # suffix -> images in `commands`
    closed: list[str] = field(default_factory=list)  # folders that cannot be read, and why
    repeated: list[str] = field(default_factory=list)  # links to a folder that was listed
    dead: list[str] = field(default_factory=list)  # broken links
    #: For each suffix that needs a missing package, the command that installs it.
    commands: dict[str, str] = field(default_factory=unread_suffixes)

    def add(self, other: "LeftOut") -> None:
        """Add what was skipped in another folder."""
        self.others.update(other.others)
        self.unread.update(other.unread)
        self.closed += other.closed
        self.repeated += other.repeated
        self.dead += other.dead

    def __str__(self) -> str:
        """List what was skipped and why. Empty if nothing was skipped."""
        reasons = []
        for command in dict.fromkeys(self.commands.values()):
            own = Counter({s: n for s, n in self.unread.items() if self.commands[s] == command})
            if own:
                reasons.append(f"{_kinds(own)}, which need another package: {command}")
        if self.others:
            reasons.append(f"files that are not images: {_kinds(self.others)}")
        for paths, what in (
            (self.closed, "folders that cannot be read"),
            (self.repeated, "links to a folder that was listed already"),
            (self.dead, "broken links"),
        ):
            if paths:
                reasons.append(f"{len(paths):,} {what}: {some(sorted(map(printable, paths)))}")
        return "; ".join(reasons)


class Listing(NamedTuple):
    """Sorted names in one folder, without hidden ones."""

    folders: list[str]
    links: list[str]  # to folders
    images: list[str]


def images_of(X: Any) -> Sequence[Any]:
    """List images: those in a folder and in the folders below it, or the items of a sequence.

    One warning says how many files of a folder were skipped, and why.
    """
    if not isinstance(X, str | os.PathLike):
        return as_image_list(X)
    folder, left_out = os.path.abspath(os.path.expanduser(X)), LeftOut()
    shown = printable(folder)
    if not os.path.exists(folder):
        raise FileNotFoundError(f"{shown}: no such folder.")
    if not os.path.isdir(folder):
        raise NotADirectoryError(
            f"{shown} is not a folder; for a single image, pass a list: [path]."
        )
    paths = find_images(folder, left_out)
    reasons = str(left_out)
    if not paths:
        raise ValueError(f"{shown} contains no images{f' ({reasons})' if reasons else ''}.")
    if reasons:
        warn(f"Skipped in {shown}: {reasons}.")
    return paths


def find_images(folder: str, left_out: LeftOut) -> list[str]:
    """List the images in a folder and in all folders below it: `find_images_of` for one folder."""
    return find_images_of({folder: left_out})[folder]


def find_images_of(
    folders: Mapping[str, LeftOut], seen: Iterable[Identity] = ()
) -> dict[str, list[str]]:
    """List the images in folders and in all folders below them. No file is opened.

    Parameters
    ----------
    folders : mapping from str to LeftOut
        Absolute paths. What is skipped below each is added to its `LeftOut`.

    seen : iterable of Identity
        Folders to skip.

    Returns
    -------
    paths : dict from str to list of str
        Absolute paths, sorted by their parts. The order does not depend on the path separator.
    """
    seen = set(seen)
    found: dict[str, list[str]] = {folder: [] for folder in folders}
    links = [(folder, folder) for folder in folders if os.path.islink(folder)]
    waiting = [(folder, folder) for folder in folders if not os.path.islink(folder)]
    # Links come last, so that a folder is listed under its own path if that is below one of the folders.
    while waiting or links:
        folder, current = waiting.pop() if waiting else links.pop(0)
        left_out = folders[folder]
        try:
            identity = identity_of(current)
            if identity in seen:
                left_out.repeated.append(current)
                continue
            seen.add(identity)
            here = list_folder(current, left_out)
        except OSError as error:
            left_out.closed.append(f"{current} ({error.strerror or error})")
            continue
        found[folder] += [os.path.join(current, name) for name in here.images]
        waiting += [(folder, os.path.join(current, name)) for name in here.folders]
        links += [(folder, os.path.join(current, name)) for name in here.links]
    return {
        folder: sorted(paths, key=lambda path: path.split(os.sep))
        for folder, paths in found.items()
    }


def list_folder(folder: str, left_out: LeftOut) -> Listing:
    """List one folder, and count what is neither a folder nor an image."""
    listing = Listing([], [], [])
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                (listing.links if entry.is_symlink() else listing.folders).append(entry.name)
            elif suffix in left_out.commands:
                left_out.unread[suffix] += 1
            elif suffix in IMAGE_SUFFIXES:
                listing.images.append(entry.name)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                left_out.dead.append(entry.path)
            else:
                left_out.others[suffix] += 1
    for names in listing:
        names.sort()
    return listing


def identity_of(folder: str) -> Identity:
    """Return the identity of the folder at a path."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def printable(path: str | os.PathLike) -> str:
    """Return a path in which bytes that are not valid text, and control characters, are escaped."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return _CONTROLS.sub(lambda control: repr(control[0])[1:-1], text)


def some(names: Iterable[Any]) -> str:
    """Name the first few of many."""
    shown = [repr(name) for name in names]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _kinds(suffixes: Counter[str]) -> str:
    return ", ".join(
        f"{n:,} {printable(suffix) or 'without suffix'}" for suffix, n in sorted(suffixes.items())
    )
