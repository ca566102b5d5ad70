"""The images below a folder, and what else lies there: counted, with the reason why it is left out."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sktip._images.files import IMAGE_SUFFIXES
from sktip._images.heif import unread_suffixes

#: Device and number of a folder: the same by whatever path or link it is reached.
Identity = tuple[int, int]


@dataclass
class LeftOut:
    """What was left out, by the reason."""

    others: Counter[str] = field(default_factory=Counter)  # suffix -> files that are no images
    unread: Counter[str] = field(default_factory=Counter)  # suffix -> images in `commands`
    closed: list[str] = field(default_factory=list)  # folders that cannot be read, and why
    repeated: list[str] = field(default_factory=list)  # links to a folder that was listed
    dead: list[str] = field(default_factory=list)  # links that lead nowhere
    #: What installs the package that a suffix needs and that is not here.
    commands: dict[str, str] = field(default_factory=unread_suffixes)

    def add(self, other: "LeftOut") -> None:
        """Add what was left out elsewhere."""
        self.others.update(other.others)
        self.unread.update(other.unread)
        self.closed += other.closed
        self.repeated += other.repeated
        self.dead += other.dead

    def __str__(self) -> str:
        """Say what it was, and why; empty if it was nothing."""
        reasons = []
        for command in dict.fromkeys(self.commands.values()):
            own = Counter({s: n for s, n in self.unread.items() if self.commands[s] == command})
            if own:
                reasons.append(f"{_kinds(own)}, which this installation does not read: {command}")
        if self.others:
            reasons.append(f"files that are no images: {_kinds(self.others)}")
        for paths, what in (
            (self.closed, "folders that cannot be read"),
            (self.repeated, "links to a folder that is listed already"),
            (self.dead, "links that lead nowhere"),
        ):
            if paths:
                reasons.append(f"{len(paths):,} {what}: {some(sorted(map(printable, paths)))}")
        return "; ".join(reasons)


class Listing(NamedTuple):
    """What lies in one folder: names, sorted; nothing hidden."""

    folders: list[str]
    links: list[str]  # to folders
    images: list[str]


def find_images(folder: str, left_out: LeftOut, seen: Iterable[Identity] = ()) -> list[str]:
    """List the images in a folder and in all below it: each folder is read once, a file never.

    Parameters
    ----------
    folder : str
        Absolute path.

    left_out : LeftOut
        Where to note what is left out.

    seen : iterable of Identity
        Folders that are not to be entered.

    Returns
    -------
    paths : list of str
        Absolute paths, sorted by the names on the way to them, so that the order is the same
        whatever stands between these names.
    """
    seen = set(seen)
    found: list[str] = []
    links: list[str] = []
    # Links come last, so that a folder is known by its own path if it has one below `folder`.
    waiting = [folder]
    while waiting or links:
        current = waiting.pop() if waiting else links.pop(0)
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
        found += [os.path.join(current, name) for name in here.images]
        waiting += [os.path.join(current, name) for name in here.folders]
        links += [os.path.join(current, name) for name in here.links]
    return sorted(found, key=lambda path: path.split(os.sep))


def list_folder(folder: str, left_out: LeftOut) -> Listing:
    """List one folder; what is neither a folder nor an image is noted as left out."""
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
    """Tell which folder a path leads to."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def printable(path: str | os.PathLike) -> str:
    """Return a path with the bytes escaped that are not text: they cannot be printed."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def some(names: Iterable[Any]) -> str:
    """Name the first few of many."""
    shown = [repr(name) for name in names]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads back to itself.
        return False


def _kinds(suffixes: Counter[str]) -> str:
    return ", ".join(
        f"{n:,} {printable(suffix) or 'without suffix'}" for suffix, n in sorted(suffixes.items())
    )
