"""Find the image files in a folder and in all folders below it. No file is opened."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sktip._images.files import IMAGE_SUFFIXES, unread_suffixes
from sktip._images.inputs import as_image_list
from sktip._utils.messages import some, warn

NOT_IMAGES = "files that are not images"


@dataclass
class Listing:
    """What is in a folder and in all folders below it, as absolute paths. Hidden names are left out."""

    root: str
    #: Sorted by the names of folders and file, so that the order does not depend on the path separator.
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by reason

    def parts(self, path: str) -> tuple[str, ...]:
        """Names of folders and file on the way from the root to a path below it."""
        return tuple(path[len(os.path.join(self.root, "")) :].split(os.sep))

    def reasons(self) -> str:
        """Say how many files and folders were skipped, and why. Empty if nothing was skipped."""
        return "; ".join(
            f"{len(paths):,} {reason}: {some('/'.join(self.parts(path)) for path in sorted(paths))}"
            for reason, paths in sorted(self.skipped.items())
            if paths
        )


def list_folder(root: str | os.PathLike[str]) -> Listing:
    """List the images below a folder. Links are followed, and each folder is listed once."""
    root = os.path.abspath(os.path.expanduser(root))
    if not os.path.exists(root):
        raise FileNotFoundError(f"{root}: no such folder.")
    if not os.path.isdir(root):
        raise NotADirectoryError(
            f"{root} is not a folder; for a single image, pass a list: [path]."
        )
    listing, commands, seen = Listing(root), unread_suffixes(), set()
    waiting: list[str] = [root]
    links: list[str] = []
    while waiting or links:
        # Links come last, so that a folder is listed under its own path if that is below the root.
        folder = waiting.pop() if waiting else links.pop(0)
        entries = []
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                listing.skipped["links to a folder that is listed already"].append(folder)
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"folders that cannot be read ({error.strerror or error})"
            listing.skipped[reason].append(folder)
        listing.folders.append(folder)
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            is_link = entry.is_symlink()
            # `is_dir` fails for a link to itself.
            if os.path.isdir(entry.path) if is_link else entry.is_dir():
                (links if is_link else waiting).append(entry.path)
            elif suffix in commands:
                reason = f"images that need another package ({commands[suffix]})"
                listing.skipped[reason].append(entry.path)
            elif suffix in IMAGE_SUFFIXES:
                listing.images.append(entry.path)
            else:
                reason = NOT_IMAGES if os.path.exists(entry.path) else "broken links"
                listing.skipped[reason].append(entry.path)
    listing.images.sort(key=lambda path: path.split(os.sep))
    return listing


def images_of(X: Any) -> Sequence[Any]:
    """List images: those below a folder, or the items of a sequence."""
    return list_images(X) if isinstance(X, str | os.PathLike) else as_image_list(X)


def list_images(folder: str | os.PathLike[str]) -> list[str]:
    """List the images below a folder, with one warning about what was skipped."""
    listing = list_folder(folder)
    reasons = listing.reasons()
    if not listing.images:
        raise ValueError(
            f"{listing.root} contains no images{f' (skipped: {reasons})' if reasons else ''}."
        )
    if reasons:
        warn(f"Skipped in {listing.root}: {reasons}.")
    return listing.images


def check_files(paths: Sequence[str], names: Sequence[str], source: str, folder: str) -> None:
    """Raise an error if images that a file lists do not exist; `names` are how it lists them."""
    missing = [name for path, name in zip(paths, names, strict=True) if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of {len(paths):,} images that {source} lists are not in {folder}: {some(missing)}."
        )
