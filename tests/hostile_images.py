"""Image files as nobody should make them, from a seed: files of every format, cut and with other bytes."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image, features

SAVED: tuple[tuple[str, str, dict[str, object]], ...] = (  # format, mode, options
    ("JPEG", "RGB", {"quality": 80}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("GIF", "P", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "L", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "F", {}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("PPM", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("AVIF", "RGB", {}),
)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) (w) file { } loop\n%%EOF\n"
OTHERS = (
    EPS,
    b"",
    b"\0" * 64,
    b"GIF89a",
    b"\x89PNG\r\n\x1a\n",
    b"%PDF-1.7\n",
    b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    b"P6 9 9 65536 ",
)
NUMBERS = (0, 1, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


@cache
def originals() -> tuple[bytes, ...]:
    """One small picture in each format and mode that this Pillow writes."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 33, 3), dtype=np.uint8)
    pixels[:12] = pixels[:1, :1]
    files = []
    for name, mode, options in SAVED:
        if name == "AVIF" and not features.check("avif"):
            continue
        image = Image.fromarray(pixels)
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
        file = io.BytesIO()
        image.save(file, name, **options)  # type: ignore[arg-type]
        files.append(file.getvalue())
    return tuple(files)


def images(seed: int, count: int) -> Iterator[bytes]:
    """So many damaged files; the same for the same seed and the same Pillow."""
    draw = random.Random(seed)
    for _ in range(count):
        content = draw.choice((*originals(), *originals(), draw.choice(OTHERS)))
        for _ in range(draw.choice((1, 1, 2, 3, 6))):
            content = draw.choice((_other_bytes, _other_bytes, _other_number, _cut, _doubled, _spliced, _grown))(
                content, draw
            )
        yield content


def _other_bytes(content: bytes, draw: random.Random) -> bytes:
    """Up to eight bytes changed, most of them in the header."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 8) if data else 0):
        reach = len(data) if draw.random() < 0.4 else min(len(data), 64)
        data[draw.randrange(reach)] = draw.choice((0, 255, 128, draw.randrange(256)))
    return bytes(data)


def _other_number(content: bytes, draw: random.Random) -> bytes:
    """Two or four bytes replaced by a number that often breaks readers: sizes, offsets and counts stand there."""
    kind = draw.choice(("<H", ">H", "<I", ">I"))
    packed = struct.pack(kind, draw.choice(NUMBERS) & (0xFFFF if kind[1] == "H" else 0xFFFFFFFF))
    at = draw.randrange(max(1, min(len(content), draw.choice((64, 200, len(content) or 1)))))
    return content[:at] + packed + content[at + len(packed) :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _doubled(content: bytes, draw: random.Random) -> bytes:
    """A piece that is there twice."""
    start = draw.randrange(len(content) + 1)
    piece = content[start : start + draw.choice((1, 12, 100))]
    return content[:start] + piece * draw.choice((2, 2, 50)) + content[start + len(piece) :]


def _spliced(content: bytes, draw: random.Random) -> bytes:
    """The beginning of one file and the end of another."""
    other = draw.choice(originals())
    return content[: draw.randrange(len(content) + 1)] + other[draw.randrange(len(other)) :]


def _grown(content: bytes, _: random.Random) -> bytes:
    """A PNG whose header says 9,400 x 9,400 px, with the right checksum; anything else as it is."""
    if content[12:16] != b"IHDR" or len(content) < 33:
        return content
    header = b"IHDR" + struct.pack(">II", 9400, 9400) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
