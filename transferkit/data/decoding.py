"""One image file becomes one square of uint8 pixels; the same way for training data and for prediction."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeGuard, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from transferkit.data import band_files
from transferkit.data.images import Pixels, image_digest
from transferkit.data.reading import Reading, UnfitPixels, as_reading, eight_bits
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
FITS = ("squash", "crop")
WHITE = (255, 255, 255, 255)

ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
PHOTOMETRIC_TAG, YCBCR, SUBSAMPLING_TAG = 262, 6, 530  # TIFF 6.0, sections 8 and 21
RGB_TIFF, BANDS_TAG, EXTRA_TAG = 2, 277, 338  # ditto, sections 6, 8 and 18
UPRIGHT = {  # EXIF 2.3, section 4.6.4: what undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class PixelKind:
    """What one file holds.

    Attributes:
        channels: Bands that it is read as where nobody says how many.
        bands: Bands in the file, alpha left out.
        brightest: Of values deeper than 8 bits; None where there are none.
    """

    channels: int
    bands: int
    brightest: float | None


def endings_among(paths: Iterable[str | Path]) -> frozenset[str]:
    """Endings of images in a folder of these files: arrays (`.npy`) count only where there is no picture.

    Beside pictures they are mostly features of them.

    Example:
        >>> ".npy" in endings_among(["cat.jpg", "features.npy"]), ".npy" in endings_among(["a.npy", "b.txt"])
        (False, True)
    """
    return PICTURES if any(Path(path).suffix.lower() in PICTURES for path in paths) else EXTENSIONS


def decode(source: Source, size: int, fit: str | Reading) -> Pixels:
    """The pixels of an image, upright, in RGB or as many bands as asked for, resized to a square.

    Transparent parts lie on white. Sixteen-bit grey goes from 0 to 65535 unless the reading says otherwise. Of an
    animation the first frame counts. JPEGs are decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 that is no smaller
    than the square; the rest is one antialiased bilinear resize.

    Args:
        source: A path, an open binary file, or a Pillow image; arrays and images of many bands by their path.
        size: Side of the square in px.
        fit: `squash` bends a rectangle into the square; `crop` takes the largest square in its middle. Or a `Reading`.

    Returns:
        (channels, size, size) uint8.

    Raises:
        TransferkitError: If the image cannot be read; says why.
    """
    reading = as_reading(fit)
    if reading.fit not in FITS:
        raise TransferkitError(f"Unknown fit {fit!r}. Expected squash or crop.")
    try:
        return _decoded(source, size, reading)
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
            return _upright(_rgb(image, Reading()), image)
    except MemoryError:
        raise
    except Exception as error:  # as in decode
        raise TransferkitError(f"Cannot read {path}: {reason(error)}.") from error


def decode_many(
    paths: Sequence[str | Path], size: int, fit: str | Reading
) -> tuple[Pixels, Pixels, list[tuple[int, str]]]:
    """Pixels and digests of several files, and what is wrong with those that cannot be read.

    Returns:
        (B, C, size, size) pixels and (B, 16) digests, zero where a file is unreadable, and for each unreadable file its
        position and the reason.
    """
    reading = as_reading(fit)
    pixels = np.zeros((len(paths), reading.channels, size, size), dtype=np.uint8)
    digests = np.zeros((len(paths), 16), dtype=np.uint8)
    failures = []
    for position, path in enumerate(paths):
        try:
            pixels[position] = _decoded(path, size, reading)
        except MemoryError:
            raise
        except Exception as error:  # as in decode
            failures.append((position, reason(error)))
        else:
            digests[position] = np.frombuffer(image_digest(pixels[position]), dtype=np.uint8)
    return pixels, digests, failures


def short_side(source: Source, max_megapixels: float | None = None) -> int | None:
    """The shorter side of an image in px, of a file from its header alone; None if it cannot be read."""
    if isinstance(source, Image.Image):
        return min(source.size)
    try:
        if band_files.are_bands(source):
            return min(band_files.shape_of(source)[:2])
        with _opened(source, max_megapixels) as image:
            return min(image.size)
    except Exception:  # as in decode; the file is reported when it is decoded
        return None


def pixel_count(source: Path | str | IO[bytes]) -> int | None:
    """Width times height of an image, from its header alone; None if it cannot be read."""
    try:
        with Image.open(source, formats=formats()) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return 2 * (Image.MAX_IMAGE_PIXELS or 0)
    except Exception:  # as in short_side
        return None


def kind_of(path: Path | str | IO[bytes], max_megapixels: float | None = None) -> PixelKind | None:
    """What kind of pixels a file holds; None if it cannot be read."""
    try:
        if band_files.are_bands(path) or _is_foreign_tiff(path):
            values = band_files.values_of(path)
            return PixelKind(values.shape[2], values.shape[2], _deep_maximum(values))
        with _opened(path, max_megapixels) as image:
            is_deep = image.mode.startswith("I")
            return PixelKind(3, _bands_in(image), float(np.asarray(image).max()) if is_deep else None)
    except Exception:  # as in short_side
        return None


def _deep_maximum(values: Any) -> float | None:
    return None if values.dtype == np.uint8 else float(values.max())


def _is_foreign_tiff(path: Path | str | IO[bytes]) -> TypeGuard[Path | str]:
    """Whether a file is a TIFF that Pillow does not know, as of thirteen bands."""
    if not isinstance(path, (str, Path)) or os.path.splitext(path)[1].lower() not in band_files.TIFF:
        return False
    try:
        Image.open(path, formats=formats()).close()
    except UnidentifiedImageError:
        return True
    return False


def _bands_in(image: Image.Image) -> int:
    """Bands of a colour image that are no alpha; 3 where nothing is left out by reading it as RGB."""
    if not isinstance(image, TiffImageFile) or image.tag_v2.get(PHOTOMETRIC_TAG) != RGB_TIFF:
        return 3
    alphas = sum(kind in (1, 2) for kind in image.tag_v2.get(EXTRA_TAG, ()))
    is_alpha_by_default = "A" in image.mode and not alphas
    return max(3, int(image.tag_v2.get(BANDS_TAG, 3)) - alphas - is_alpha_by_default)


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


def _decoded(source: Source, size: int, reading: Reading) -> Pixels:
    if isinstance(source, Image.Image):
        return _square(source, size, reading)
    if isinstance(source, (str, Path)):
        require_regular(source)
        if band_files.are_bands(source, reading.channels):
            return band_files.square(source, size, reading)
    with _opened(source, reading.max_megapixels) as image:
        if isinstance(image, ImageFile.ImageFile):
            image.draft(None, (size, size))
        return _square(image, size, reading)


def _opened(source: Path | str | IO[bytes], max_megapixels: float | None = None) -> Image.Image:
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


def _square(image: Image.Image, size: int, reading: Reading) -> Pixels:
    colour = _rgb(image, reading)
    if reading.channels == 1:
        colour = colour.convert("L")
    elif reading.channels != 3:
        raise UnfitPixels(f"3 bands, and data.channels is {reading.channels}")
    return _upright(band_files.squared(colour, size, reading.fit), image)


def _upright(colour: Image.Image, image: Image.Image) -> Pixels:
    """(3, H, W), the colours of a loaded image turned as its orientation asks."""
    orientation = _orientation(image)  # after loading, in which Pillow turns TIFFs upright by itself
    if orientation in UPRIGHT:
        colour = colour.transpose(UPRIGHT[orientation])
    values = np.asarray(colour)
    return np.ascontiguousarray(values.reshape(*values.shape[:2], -1).transpose(2, 0, 1))  # (H, W[, 3]) -> (C, H, W)


def _orientation(image: Image.Image) -> int:
    if image.format == "JPEG" and not {"exif", "xmp"} & image.info.keys():
        return 1  # most small files; parsing nothing takes a tenth of their time
    with contextlib.suppress(Exception):  # damaged EXIF does not make an image unreadable
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    return 1


def _rgb(image: Image.Image, reading: Reading) -> Image.Image:
    if isinstance(image, TiffImageFile) and _is_mistaken_for_rgb(image):
        return _uncompressed_ycbcr(image).convert("RGB")
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image, reading).convert("RGB")
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


def _eight_bits(image: Image.Image, reading: Reading) -> Image.Image:
    """Grey of 16 bits, or of any depth where the reading names a window, as grey of 8."""
    values: Any = np.asarray(image)
    if values.dtype.kind == "f" and not reading.clips:
        raise UnfitPixels(
            f"pixels of mode {image.mode} beyond 16 bits; save it with 8 or 16 bits per channel, or name the values of "
            "black and white, as in data.range=[0,1]"
        )
    return Image.fromarray(eight_bits(values, reading))


def _name(source: Source) -> str:
    if isinstance(source, Image.Image):
        return "the image"
    return str(source) if isinstance(source, (str, Path)) else str(getattr(source, "name", "the file"))
