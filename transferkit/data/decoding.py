"""One image file becomes one square of uint8 pixels; the same way for training data and for prediction."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from transferkit.data.images import Pixels, image_digest
from transferkit.runtime.errors import TransferkitError

Source: TypeAlias = Path | str | IO[bytes] | Image.Image

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".apng", ".gif", ".webp", ".avif", ".tif", ".tiff", ".bmp")
) | {".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif"}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF")  # none starts a program
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # ISO/IEC 23008-12, annex B
NOT_FILES = {
    stat.S_IFIFO: "it is a FIFO (a named pipe), not a file",
    stat.S_IFSOCK: "it is a socket, not a file",
    stat.S_IFCHR: "it is a device, not a file",
    stat.S_IFBLK: "it is a device, not a file",
}
FITS = ("squash", "crop")
WHITE = (255, 255, 255, 255)

ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
PHOTOMETRIC_TAG, YCBCR, SUBSAMPLING_TAG = 262, 6, 530  # TIFF 6.0, sections 8 and 21
UPRIGHT = {  # EXIF 2.3, section 4.6.4: what undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: Source, size: int, fit: str) -> Pixels:
    """The pixels of an image, upright, in RGB, resized to a square.

    Transparent parts lie on white. Sixteen-bit grey is divided by 257, so that 65535 becomes 255. Of an animation the
    first frame counts. JPEGs are decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 that is no smaller than the square;
    the rest is one antialiased bilinear resize.

    Args:
        source: A path, an open binary file, or a Pillow image.
        size: Side of the square in px.
        fit: `squash` bends a rectangle into the square; `crop` takes the largest square in its middle.

    Returns:
        (3, size, size) uint8.

    Raises:
        TransferkitError: If the image cannot be read; says why.
    """
    if fit not in FITS:
        raise TransferkitError(f"Unknown fit {fit!r}. Expected squash or crop.")
    try:
        return _decoded(source, size, fit)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise errors of many kinds on damaged files
        raise TransferkitError(f"Cannot read {_name(source)}: {reason(error)}.") from error


def decode_whole(path: Path) -> Pixels:
    """The pixels (3, H, W) of an image file at its own size and proportions; otherwise as `decode`.

    Raises:
        TransferkitError: If the image cannot be read; says why.
    """
    try:
        with _opened(path) as image:
            return _upright(_rgb(image), image)
    except MemoryError:
        raise
    except Exception as error:  # as in decode
        raise TransferkitError(f"Cannot read {path}: {reason(error)}.") from error


def decode_many(paths: Sequence[str | Path], size: int, fit: str) -> tuple[Pixels, Pixels, list[tuple[int, str]]]:
    """Pixels and digests of several files, and what is wrong with those that cannot be read.

    Returns:
        (B, 3, size, size) pixels and (B, 16) digests, zero where a file is unreadable, and for each unreadable file its
        position and the reason.
    """
    pixels = np.zeros((len(paths), 3, size, size), dtype=np.uint8)
    digests = np.zeros((len(paths), 16), dtype=np.uint8)
    failures = []
    for position, path in enumerate(paths):
        try:
            pixels[position] = _decoded(path, size, fit)
        except MemoryError:
            raise
        except Exception as error:  # as in decode
            failures.append((position, reason(error)))
        else:
            digests[position] = np.frombuffer(image_digest(pixels[position]), dtype=np.uint8)
    return pixels, digests, failures


def short_side(source: Source) -> int | None:
    """The shorter side of an image in px, of a file from its header alone; None if it cannot be read."""
    if isinstance(source, Image.Image):
        return min(source.size)
    try:
        with _opened(source) as image:
            return min(image.size)
    except Exception:  # as in decode; the file is reported when it is decoded
        return None


def mode_of(path: str | Path) -> str:
    """Pillow's name for the kind of pixels in a file, as RGB or I;16, from its header; "" if it cannot be read."""
    try:
        with _opened(path) as image:
            return image.mode
    except Exception:  # as in short_side
        return ""


def brightest_value(path: str | Path) -> int | None:
    """The brightest value in a file of grey; None if it cannot be read."""
    try:
        with _opened(path) as image:
            return int(np.asarray(image).max())
    except Exception:  # as in short_side
        return None


def reason(error: Exception) -> str:
    """Why an image could not be read, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder; name the files in it"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, _Unreadable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or damaged, or of another kind than {', '.join(formats())}"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels, as in a decompression bomb; shrink it"
    text = (str(error) or type(error).__name__).splitlines()[0][:200]
    return f"truncated ({text})" if "truncated" in text.lower() else f"damaged ({text})"


@cache
def formats() -> tuple[str, ...]:
    """The kinds of files that are opened here: those of FORMATS that Pillow and, for HEIF, pillow-heif can read.

    Pillow knows more, and goes by what is in a file, not by its name: Ghostscript would run an EPS named `photo.jpg` as
    a program.
    """
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def require_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file before it is opened: reading a FIFO waits for ever, a device may never end.

    Raises:
        OSError: Says what it is; `reason` words it.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(str(path))
    if not stat.S_ISREG(mode):
        raise _Unreadable(NOT_FILES.get(stat.S_IFMT(mode), "it is no regular file"))


class _Unreadable(OSError):
    """A file that is not decoded, for the reason in the message."""


def _decoded(source: Source, size: int, fit: str) -> Pixels:
    if isinstance(source, Image.Image):
        return _square(source, size, fit)
    with _opened(source) as image:
        if isinstance(image, ImageFile.ImageFile):
            image.draft(None, (size, size))
        return _square(image, size, fit)


def _opened(source: Path | str | IO[bytes]) -> Image.Image:
    if isinstance(source, (str, Path)):
        require_regular(source)
    try:
        image = Image.open(source, formats=formats())
    except UnidentifiedImageError as error:
        if isinstance(source, (str, Path)) and (known := _known_kind(source)):
            raise _Unreadable(known) from error
        raise
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise Image.DecompressionBombError
    return image


def _known_kind(path: str | Path) -> str:
    """What a file is that was not opened, where its first bytes tell and something can be done."""
    with open(path, "rb") as file:
        begin = file.read(12)
    if not begin:
        return "the file is empty (0 bytes)"
    if begin[4:8] == b"ftyp" and begin[8:12] in HEIC_BRANDS:
        return "a HEIC photograph, as telephones take them; to read these, type: pip install pillow-heif"
    if begin.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "a PostScript program, not an image; save it as PNG"
    return ""


def _square(image: Image.Image, size: int, fit: str) -> Pixels:
    colour = _rgb(image)
    box = _centre_square(colour.size) if fit == "crop" else None
    if colour.size != (size, size):
        colour = colour.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    return _upright(colour, image)


def _upright(colour: Image.Image, image: Image.Image) -> Pixels:
    """(3, H, W), the colours of a loaded image turned as its orientation asks."""
    orientation = _orientation(image)  # after loading, in which Pillow turns TIFFs upright by itself
    if orientation in UPRIGHT:
        colour = colour.transpose(UPRIGHT[orientation])
    return np.ascontiguousarray(np.asarray(colour).transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)


def _orientation(image: Image.Image) -> int:
    if image.format == "JPEG" and not {"exif", "xmp"} & image.info.keys():
        return 1  # most small files; parsing nothing takes a tenth of their time
    with contextlib.suppress(Exception):  # damaged EXIF does not make an image unreadable
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    return 1


def _rgb(image: Image.Image) -> Image.Image:
    if isinstance(image, TiffImageFile) and _is_mistaken_for_rgb(image):
        return _uncompressed_ycbcr(image).convert("RGB")
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), transparent).convert("RGB")
    return image.convert("RGB")


def _is_mistaken_for_rgb(image: TiffImageFile) -> bool:
    """Whether this is an uncompressed YCbCr TIFF, which Pillow before 13 takes for RGB with a fourth byte."""
    is_ycbcr = image.tag_v2.get(PHOTOMETRIC_TAG) == YCBCR and tuple(image.tag_v2.get(SUBSAMPLING_TAG, ())) == (1, 1)
    return is_ycbcr and {_codec(tile) for tile in image.tile} == {("raw", "RGBX")}


def _codec(tile: Any) -> tuple[str, str]:
    """By what a part of an image is decoded, and into which mode."""
    return tile[0], str(tile[3][0])


def _uncompressed_ycbcr(image: TiffImageFile) -> Image.Image:
    """The strips of a TIFF, three bytes for each pixel."""
    whole, file = Image.new("YCbCr", image.size), cast(IO[bytes], image.fp)
    tiles: list[Any] = image.tile
    for _, (left, top, right, bottom), offset, _ in tiles:
        file.seek(offset)
        size = right - left, bottom - top
        whole.paste(Image.frombytes("YCbCr", size, file.read(3 * size[0] * size[1])), (left, top))
    return whole


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as grey of 8."""
    values: Any = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixels of mode {image.mode} beyond 16 bits; save it with 8 or 16 bits per channel")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _centre_square(size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _name(source: Source) -> str:
    if isinstance(source, Image.Image):
        return "the image"
    return str(source) if isinstance(source, (str, Path)) else str(getattr(source, "name", "the file"))
