"""Open HEIF files, such as iPhone photos, with pillow-heif, without registering it in Pillow."""

import io
from importlib.util import find_spec

from PIL import Image

from sktip.exceptions import ImageReadError

#: Brands of HEIF files with HEVC images or videos, and brands of files that may contain them.
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_ANY = {b"mif1", b"msf1"}
#: Suffixes of such files, and of AVIF files, which contain AV1 images.
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
AVIF_SUFFIXES = frozenset({".avif"})


def unread_suffixes() -> dict[str, str]:
    """Suffixes of images that need a missing package, and the command that installs it."""
    commands: dict[str, str] = {}
    if find_spec("pillow_heif") is None:
        commands |= dict.fromkeys(HEIF_SUFFIXES, 'pip install "sktip[heif]"')
    if not _reads_avif():
        commands |= dict.fromkeys(AVIF_SUFFIXES, 'pip install "pillow>=11.3"')
    return commands


def is_heif(content: bytes) -> bool:
    """Whether a file is HEIF, by its brands. Pillow itself reads AVIF."""
    if content[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(content[:4]), 1024)
    # The major brand, its version, and the brands that the file is compatible with.
    brands = {content[8:12], *(content[at : at + 4] for at in range(16, end, 4))}
    return bool(brands & _HEVC) or (bool(brands & _ANY) and b"avif" not in brands)


def open_heif(content: bytes, where: str) -> Image.Image:
    """Open a HEIF file, as `PIL.Image.open` does for other files. `load` decodes its pixels."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageReadError(
            f'{where}: a HEIC (HEIF) photo, which needs pillow-heif. Run: pip install "sktip[heif]"'
        ) from None
    return HeifImageFile(io.BytesIO(content))


def _reads_avif() -> bool:
    try:
        from PIL.AvifImagePlugin import SUPPORTED
    except ImportError:
        return False
    return bool(SUPPORTED)
