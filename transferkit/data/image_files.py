"""Which files are images, how one is opened safely, and why one could not be read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import IO, TypeAlias

from PIL import Image, UnidentifiedImageError

from transferkit.data.reading import UnfitPixels
from transferkit.runtime.errors import TransferkitError

Source: TypeAlias = Path | str | IO[bytes] | Image.Image

PICTURES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".apng", ".gif", ".webp", ".avif", ".tif", ".tiff", ".bmp")
) | {".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif"}
EXTENSIONS = PICTURES | {".npy"}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF")  # none starts a program
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # ISO/IEC 23008-12, annex B
NOT_FILES = {
    stat.S_IFIFO: "it is a FIFO (a named pipe), not a file",
    stat.S_IFSOCK: "it is a socket, not a file",
    stat.S_IFCHR: "it is a device, not a file",
    stat.S_IFBLK: "it is a device, not a file",
}


def endings_among(paths: Iterable[str | Path]) -> frozenset[str]:
    """Endings of images in a folder of these files: arrays (`.npy`) count only where there is no picture.

    Beside pictures they are mostly features of them.

    Example:
        >>> ".npy" in endings_among(["cat.jpg", "features.npy"]), ".npy" in endings_among(["a.npy", "b.txt"])
        (False, True)
    """
    return PICTURES if any(Path(path).suffix.lower() in PICTURES for path in paths) else EXTENSIONS


def opened(source: Path | str | IO[bytes], max_megapixels: float | None = None) -> Image.Image:
    """An image whose header was read and whose pixels were not.

    Raises:
        OSError: If it is no regular file, or no image of a kind that is opened; `reason` words it, likewise:
        Image.DecompressionBombError: If it has more pixels than allowed.
    """
    if isinstance(source, (str, Path)):
        require_regular(source)
    most = _most_pixels(max_megapixels)
    try:
        image = Image.open(source, formats=formats())
    except UnidentifiedImageError as error:
        if isinstance(source, (str, Path)) and (known := _known_kind(source)):
            raise _Unreadable(known) from error
        raise
    if most and image.width * image.height > most:
        image.close()
        raise Image.DecompressionBombError(most)
    return image


def _most_pixels(max_megapixels: float | None) -> int | None:
    """How many pixels an image may have: as many as Pillow thinks safe unless more or fewer are asked for.

    Pillow's own bound, which counts for the whole process, is raised where it is lower, and never lowered again:
    threads read it, and here every image is held against what was asked for it.
    """
    if max_megapixels is None:
        return Image.MAX_IMAGE_PIXELS
    most = round(1e6 * max_megapixels)
    if Image.MAX_IMAGE_PIXELS is not None and most > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = most
    return most


def _known_kind(path: str | Path) -> str:
    """What a file is that was not opened, where its first bytes tell and something can be done."""
    with open(path, "rb") as file:
        begin = file.read(12)
    if not begin:
        return "the file is empty (0 bytes)"
    if begin[4:8] == b"ftyp" and begin[8:12] in HEIC_BRANDS:
        return "a HEIC photograph, as telephones take them; to read these, type: pip install pillow-heif"
    if begin.startswith((b"II*\0", b"MM\0*")):
        return (
            "a TIFF that Pillow does not know, or damaged; of one with many bands type their number, as in "
            'data.channels=13 (pip install "transferkit[bands]")'
        )
    if begin.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "a PostScript program, not an image; save it as PNG"
    return ""


def pixel_count(source: Path | str | IO[bytes]) -> int | None:
    """Width times height of an image, from its header alone; None if it cannot be read."""
    try:
        with Image.open(source, formats=formats()) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return 2 * (Image.MAX_IMAGE_PIXELS or 0)
    except Exception:  # as in opened; the file is reported when it is decoded
        return None


def reason(error: Exception) -> str:
    """Why an image could not be read, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder; name the files in it"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, (_Unreadable, UnfitPixels, TransferkitError)):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or damaged, or of another kind than {', '.join(formats())}"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        most = error.args[0] if error.args and isinstance(error.args[0], int) else Image.MAX_IMAGE_PIXELS or 0
        return (
            f"more than {most:,} pixels, as in a decompression bomb; shrink it, or allow more by "
            "data.max_megapixels=500 if it comes from a source you trust"
        )
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
