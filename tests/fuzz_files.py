"""Mutated image files, each decoded twice: by plain Pillow here, and by sktip.

Run as a program, since a decoder may crash, hang or run out of memory, in a process of its own:
`fuzz_files.py FOLDER START STOP`. It prints the number of each case before it is tried, then a
summary as JSON. A case is its number: the same number is the same file.
"""

import contextlib
import faulthandler
import io
import json
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
from image_files import whole_files
from PIL import Image, ImageFile, PngImagePlugin

from sktip._encoding.preprocessing import random_view, view_generator
from sktip._images.files import read_bytes
from sktip._images.inputs import describe
from sktip._images.rgb import content_hash, to_rgb
from sktip.exceptions import ImageReadError

Image.init()
FORMATS = [
    name
    for name in "JPEG JPEG2000 PNG WEBP AVIF GIF BMP DIB TIFF PPM TGA".split()
    if name in Image.OPEN
]
#: The documented bound of memory: bytes per pixel, bytes per byte of the file, and a constant.
PIXEL_BYTES, FILE_BYTES, REST = 32, 256, 32 * 2**20
SECONDS = 30
EXTREME = [0, 1, 2, 3, 127, 128, 255, 256, 4000, 30_000, 60_000, 65_535, 2**24 - 1, 2**31 - 1]
EXTREME += [2**31, 2**32 - 1]
GLOBALS = [(Image, "MAX_IMAGE_PIXELS"), (ImageFile, "LOAD_TRUNCATED_IMAGES")]
GLOBALS += [(PngImagePlugin, "MAX_TEXT_CHUNK"), (PngImagePlugin, "MAX_TEXT_MEMORY")]
UPRIGHT = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def plain_pillow(content, max_pixels):
    """Size that a file declares, and its upright RGB pixels: None where Pillow does not get there."""
    size = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            size = image.size
            if size[0] * size[1] > max_pixels:
                return size, None
            image.load()
            return size, _upright(image, _rgb(image))
    except Exception:
        return size, None


def _rgb(image):
    if image.mode[0] in "IF":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 257 if image.mode.startswith("I;16") or values.max() > 255 else 1
        return np.stack([np.rint(np.clip(values / scale, 0, 255)).astype(np.uint8)] * 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA")).astype(np.uint16)
        colour, alpha = rgba[:, :, :3], rgba[:, :, 3:]
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.asarray(image.convert("RGB"))


def _upright(image, pixels):
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:
        return pixels
    return UPRIGHT.get(orientation, lambda same: same)(pixels)


def mutated(files, case):
    """Format and content of a case."""
    rng = np.random.default_rng([2021, case])
    file_format = list(files)[case % len(files)]
    content = bytearray(_any_of(rng, files[file_format]))
    for _ in range(_any_of(rng, [1, 1, 1, 2, 3])):
        mutate = _any_of(rng, MUTATIONS)
        content = bytearray(mutate(content, rng, files))
        if not content:
            break
    # Without right checksums, no mutation of a PNG would get past its first chunk.
    if content.startswith(b"\x89PNG") and rng.random() < 0.7:
        _mend_checksums(content)
    return file_format, bytes(content)


def _any_of(rng, choices):
    return choices[rng.integers(len(choices))]


def _flip(content, rng, files):
    for _ in range(_any_of(rng, [1, 1, 2, 4, 16])):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return content


def _flip_head(content, rng, files):
    content[rng.integers(min(len(content), 100))] = rng.integers(256)
    return content


def _cut(content, rng, files):
    return content[: rng.integers(len(content))]


def _number(content, rng, files):
    number = struct.pack(_any_of(rng, ["<I", ">I"]), _any_of(rng, EXTREME))
    number = number[: _any_of(rng, [1, 2, 4])] if rng.random() < 0.5 else number[-2:]
    at = rng.integers(len(content))
    content[at : at + len(number)] = number
    return content


def _insert(content, rng, files):
    at, start, n = (int(rng.integers(len(content))) for _ in range(3))
    piece = content[start : start + n] if rng.random() < 0.5 else rng.bytes(1 + n % 64)
    return content[:at] + piece + content[at:]


def _remove(content, rng, files):
    at = rng.integers(len(content))
    return content[:at] + content[at + rng.integers(1, 64) :]


def _head(content, rng, files):
    """Begin as another file does: its magic bytes, or half of it."""
    other = _any_of(rng, _any_of(rng, list(files.values())))
    n = _any_of(rng, [2, 4, 8, 12, 16, 32, len(other) // 2])
    return bytearray(other[:n]) + content[n if rng.random() < 0.5 else len(content) // 2 :]


def _sizes(content, rng, files):
    """Another width or height, at the place where the format keeps it."""
    places = []
    if content.startswith(b"\x89PNG"):
        places = [(16, ">I"), (20, ">I")]
    elif content.startswith(b"\xff\xd8"):
        start = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        places = [(start + 5, ">H"), (start + 7, ">H")]
    elif content.startswith(b"GIF"):
        frame = content.find(b",")
        places = [(6, "<H"), (8, "<H"), *((frame + at, "<H") for at in (1, 3, 5, 7))]
    elif content.startswith(b"BM"):
        places = [(18, "<I"), (22, "<I")]
    elif content.startswith(b"RIFF"):
        at = {b"VP8X": 24, b"VP8L": 21}.get(bytes(content[12:16]), 26)
        places = [(at, "<H"), (at + 2, "<H"), (at + 3, "<H")]
    elif content.startswith(b"II"):
        tags = (struct.pack("<H", tag) for tag in (256, 257, 277, 278, 322, 323))
        places = [(content.find(tag, 8) + 8, "<I") for tag in tags if tag in content]
    for at, kind in places:
        if rng.random() < 0.6 and at + struct.calcsize(kind) <= len(content):
            struct.pack_into(
                kind, content, at, _any_of(rng, EXTREME) % 256 ** struct.calcsize(kind)
            )
    return content


MUTATIONS = [_flip, _flip, _flip, _flip_head, _number, _number, _sizes, _sizes, _insert, _remove]
MUTATIONS += [_cut, _head]


def _mend_checksums(content):
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[at + 4 : end]))
        at = end + 4


def check(case, content, path, max_pixels):
    """Decode a case both ways: what became of it, the memory it took, and what was wrong."""
    limits = [getattr(*limit) for limit in GLOBALS]
    size, expected = plain_pillow(content, max_pixels)
    path.write_bytes(content)
    where = describe(path, case)
    area = size[0] * size[1] if size is not None else 0
    bound = FILE_BYTES * len(content) + REST + (PIXEL_BYTES * area if area <= max_pixels else 0)
    error = picture = None
    # Room for what is reserved and never touched, such as the stacks of threads.
    with _limited(bound + PIXEL_BYTES * max_pixels + 2**30), peak_memory() as used:
        try:
            picture = to_rgb(path, read_bytes(path, where, max_pixels), where, max_pixels)
        except ImageReadError as refused:
            error = str(refused)
    wrong = [f"{used[0] / 2**20:.0f} MB"] if used[0] > bound else []
    if limits != [getattr(*limit) for limit in GLOBALS]:
        wrong.append("a limit of Pillow's was changed")
    if error is not None:
        if not error.startswith(f"image {case} ({str(path)!r}): ") or "\n" in error:
            wrong.append(f"the message: {error}")
        if expected is not None and "is not decoded" not in error:
            wrong.append(f"Pillow decodes it, sktip does not: {error}")
    elif expected is None:
        wrong.append("Pillow does not decode it, sktip does")
    elif not np.array_equal(np.asarray(picture), expected):
        wrong.append("other pixels than Pillow's")
    if picture is not None and case % 5 == 0:
        rng = view_generator(0, content_hash(content, None), case)
        if random_view(picture, (8, 10), rng).size != (10, 8):
            wrong.append("a view of another size")
    return "refused" if picture is None else "decoded", used[0], wrong


@contextlib.contextmanager
def peak_memory():
    """Bytes that were used at the most inside; on Linux only."""
    used = [0]
    if not sys.platform.startswith("linux"):
        yield used
        return
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    try:
        yield used
    finally:
        used[0] = _status("VmHWM") - before


@contextlib.contextmanager
def _limited(n_bytes):
    """Make it an error to ask for more; on Linux only, the others count differently."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def run(folder, start, stop):
    """Try the cases in a process of its own: its summary, once it came through."""
    command = [sys.executable, __file__, str(folder), str(start), str(stop)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    printed = done.stdout.splitlines() or ["none"]
    assert done.returncode == 0, (
        f"case {printed[-1]} of {start} to {stop} ended the process ({done.returncode}):\n{done.stderr[-5000:]}"
    )
    return json.loads(printed[-1])


def main(folder, start, stop):
    files = whole_files()
    summary = {"outcomes": {name: {"decoded": 0, "refused": 0} for name in files}, "wrong": []}
    peak = slowest = 0.0
    for case in range(int(start), int(stop)):
        print(case, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        file_format, content = mutated(files, case)
        began = time.perf_counter()
        path = Path(folder) / f"case-{case}.jpg"
        max_pixels = 89_478_485 if case % 10 == 0 else 2_000_000
        outcome, used, wrong = check(case, content, path, max_pixels)
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
        slowest, peak = max(slowest, time.perf_counter() - began), max(peak, used)
        summary["outcomes"][file_format][outcome] += 1
        summary["wrong"] += [f"case {case} ({file_format}): {what}" for what in wrong]
    print(json.dumps(summary | {"peak": peak, "slowest": slowest}))


if __name__ == "__main__":
    faulthandler.enable()
    main(*sys.argv[1:])
