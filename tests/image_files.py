"""Generated image files of every kind, which are the sources of mutated files."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 48, 32


def picture() -> Image.Image:
    """Gradients, an edge and a transparent corner, RGBA."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    channels = [x * 5, y * 7, (x * y) % 256, np.where(x + y < 20, (x + y) * 12, 255)]
    pixels = np.stack(channels, axis=2).astype(np.uint8)
    pixels[10:20, 30:40, :3] = (250, 20, 20)
    return Image.fromarray(pixels)


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    """Content of the file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "camera"
    return tags


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    bits: int,
    colour: int,
    rows: bytes,
    interlaced: int = 0,
    key: bytes | None = None,
) -> bytes:
    """PNG of scan lines that are ready to be compressed; Pillow writes no interlaced ones."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if key is not None:
        chunks.insert(1, (b"tRNS", key))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def interlaced_png(pixels: np.ndarray) -> bytes:
    """Adam7: seven coarser pictures, one after another."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    rows = [
        b"\0" + row.tobytes()
        for left, top, right, down in [*passes, (0, 1, 1, 2)]
        for row in pixels[top::down, left::right]
    ]
    return png(pixels.shape[1], pixels.shape[0], 8, 2, b"".join(rows), interlaced=1)


def tiff(tags: dict[int, tuple[int, int]], data: bytes, data_tag: int) -> bytes:
    """One-page TIFF of {tag: (type, value)}; `data_tag` points at the data, behind byte 512."""
    tags = {**tags, data_tag: (4, 512), {273: 279, 324: 325}[data_tag]: (4, len(data))}
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<H2x" if kind == 3 else "<I", value)
        for tag, (kind, value) in sorted(tags.items())
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(512, b"\0") + data


def tiled_tiff(width: int, height: int, tile: int, data: bytes, compression: int = 8) -> bytes:
    """Grey TIFF of one square tile, compressed by default."""
    sizes = {256: (4, width), 257: (4, height), 322: (4, tile), 323: (4, tile)}
    layout = {258: (3, 8), 259: (3, compression), 262: (3, 1), 277: (3, 1)}
    return tiff(sizes | layout, data, 324)


def bmp(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
    """BMP with a palette of 256 colours, in the encodings that Pillow does not write."""
    palette = b"".join(bytes((i, 255 - i, i // 2, 0)) for i in range(256))
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 256, 0
    )
    start = 14 + len(info) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + info + palette + data


def run_lengths(pixels: np.ndarray) -> bytes:
    """RLE8 of a BMP: runs of one, each row closed."""
    rows = [b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in pixels[::-1]]
    return b"".join(rows) + b"\0\1"


def whole_files() -> dict[str, list[bytes]]:
    """Valid files by format, small and of every kind that changes how they are read."""
    rgba = picture()
    rgb, grey, palette = rgba.convert("RGB"), rgba.convert("L"), rgba.convert("RGB").quantize(40)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    floats = Image.fromarray(np.asarray(grey).astype(np.float32))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    text = b"".join(png_chunk(b"zTXt", b"note\0\0" + zlib.compress(b"words " * 50)) for _ in "ab")
    plain_png = saved(rgb, "PNG")
    return {
        "JPEG": [
            saved(rgb, "JPEG"),
            saved(rgb, "JPEG", progressive=True, exif=exif(6)),
            saved(rgb, "JPEG", restart_marker_rows=1, subsampling=0, comment="remark"),
            saved(grey, "JPEG", dpi=(72, 72)),
            saved(rgb.convert("CMYK"), "JPEG", icc_profile=profile),
            saved(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)]),
        ],
        "PNG": [
            plain_png,
            saved(rgba, "PNG", exif=exif(8)),
            saved(rgba.convert("LA"), "PNG", icc_profile=profile),
            saved(palette, "PNG", transparency=bytes(range(0, 160, 4))),
            saved(grey, "PNG", transparency=80),
            saved(rgb.convert("1"), "PNG"),
            saved(deep, "PNG"),
            saved(rgb, "PNG", **frames),
            interlaced_png(np.asarray(rgb)),
            plain_png[:33] + text + plain_png[33:],
            png(WIDTH, HEIGHT, 16, 6, (b"\0" + bytes(range(128)) * 3) * HEIGHT),
        ],
        "WEBP": [
            saved(rgb, "WEBP"),
            saved(rgba, "WEBP", exif=exif(3), icc_profile=profile),
            saved(rgba, "WEBP", lossless=True),
            saved(rgba, "WEBP", **frames),
        ],
        "GIF": [
            saved(palette, "GIF", interlace=True),
            saved(palette, "GIF", transparency=3, comment="remark"),
            saved(grey, "GIF", interlace=False),
            saved(palette, "GIF", **frames, disposal=2),
        ],
        "BMP": [
            saved(rgb, "BMP"),
            saved(rgba, "BMP"),
            saved(palette, "BMP"),
            saved(rgb.convert("1"), "BMP"),
            bmp(WIDTH, HEIGHT, 8, 1, run_lengths(np.asarray(grey))),
            bmp(WIDTH, HEIGHT, 4, 2, run_lengths(np.asarray(grey))),
        ],
        "TIFF": [
            *(
                saved(rgb, "TIFF", compression=name)
                for name in ("raw", "tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate")
            ),
            saved(rgba, "TIFF", compression="tiff_lzw", exif=exif(5)),
            saved(palette, "TIFF", icc_profile=profile),
            saved(rgb.convert("1"), "TIFF", compression="group4"),
            saved(rgb.convert("CMYK"), "TIFF", big_tiff=True),
            saved(rgb.convert("YCbCr"), "TIFF", compression="tiff_lzw"),
            saved(deep, "TIFF"),
            saved(deep, "TIFF", compression="tiff_lzw"),
            saved(floats, "TIFF"),
            saved(rgb, "TIFF", **frames, compression="tiff_lzw"),
            tiled_tiff(40, 30, 48, zlib.compress(bytes(range(256)) * 9)),
            tiled_tiff(40, 30, 48, bytes(range(256)) * 9, compression=1),
        ],
        "others": [
            *(saved(rgb, "PPM"), saved(rgb.convert("1"), "PPM")),
            b"P5 %d %d 65535\n" % deep.size + np.asarray(deep, ">u2").tobytes(),
            b"P3 # text\n8 6\n99\n" + b" ".join(b"%d" % (i % 100) for i in range(144)),
            b"P6\n8 6\n100\n" + bytes(range(100)) + bytes(44),
            *(saved(rgb, "TGA", compression="tga_rle"), saved(rgba, "TGA"), saved(palette, "TGA")),
            *(saved(rgb, "JPEG2000"), saved(rgba, "JPEG2000", no_jp2=True)),
            *(saved(rgba, "AVIF", exif=exif(6)) for _ in range("AVIF" in Image.SAVE)),
        ],
    }
