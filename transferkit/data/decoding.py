"""One image file becomes one square of uint8 pixels; the same way for training data and for prediction."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from transferkit.data import band_files, fast_jpeg
from transferkit.data.image_files import Source, formats, opened, reason, require_regular
from transferkit.data.images import Pixels, image_digest
from transferkit.data.orientation import upright
from transferkit.data.reading import OtherBands, Reading, as_reading, eight_bits
from transferkit.data.resizing import Resizer, bands_first, by_torch
from transferkit.data.ycbcr_tiff import PHOTOMETRIC_TAG, is_mistaken_for_rgb, uncompressed_ycbcr
from transferkit.runtime.errors import TransferkitError

FITS = ("squash", "crop")
WHITE = (255, 255, 255, 255)

RGB_TIFF, BANDS_TAG, EXTRA_TAG = 2, 277, 338  # TIFF 6.0, sections 6, 8 and 18


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


@dataclass(frozen=True)
class DecodedFiles:
    """Several files as pixels.

    Attributes:
        pixels: (B, C, size, size), zero where a file is unreadable; likewise the others.
        digests: (B, 16), of the pixels.
        contents: (B, 16), of the files and of how they are read: independent of the program that decodes them.
        failures: For each unreadable file its position and the reason.
    """

    pixels: Pixels
    digests: Pixels
    contents: Pixels
    failures: list[tuple[int, str]]


def decode(source: Source, size: int, fit: str | Reading) -> Pixels:
    """The pixels of an image, upright, in RGB or as many bands as asked for, resized to a square.

    Transparent parts lie on white. Sixteen-bit grey goes from 0 to 65535 unless the reading says otherwise. Of an
    animation the first frame counts. JPEGs are decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 that is no smaller
    than the square; the rest is one antialiased bilinear resize (`resizing`).

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
        return _decoded(source, size, reading)[0]
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
        with opened(path) as image:
            return upright(bands_first(np.asarray(_rgb(image, Reading()))), image)
    except MemoryError:
        raise
    except Exception as error:  # as in decode
        raise TransferkitError(f"Cannot read {path}: {reason(error)}.") from error


def decode_many(
    paths: Sequence[str | Path], size: int, fit: str | Reading, resizer: Resizer = by_torch
) -> DecodedFiles:
    """Pixels and digests of several files, and what is wrong with those that cannot be read."""
    reading = as_reading(fit)
    pixels = np.zeros((len(paths), reading.channels, size, size), np.uint8)
    digests, contents, failures = [bytes(16)] * len(paths), [bytes(16)] * len(paths), []
    way = hashlib.blake2b(f"{size} {reading}\n".encode(), digest_size=16)
    for position, path in enumerate(paths):
        try:
            pixels[position], content = _decoded(path, size, reading, resizer)
        except MemoryError:
            raise
        except Exception as error:  # as in decode
            failures.append((position, reason(error)))
        else:
            digests[position], contents[position] = image_digest(pixels[position]), _continued(way, content)
    return DecodedFiles(pixels, _rows(digests), _rows(contents), failures)


def _continued(digest: hashlib.blake2b, content: bytes) -> bytes:
    longer = digest.copy()
    longer.update(content)
    return longer.digest()


def _rows(digests: Sequence[bytes]) -> Pixels:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def short_side(source: Source, max_megapixels: float | None = None) -> int | None:
    """The shorter side of an image in px, of a file from its header alone; None if it cannot be read."""
    if isinstance(source, Image.Image):
        return min(source.size)
    try:
        if band_files.are_bands(source):
            return min(band_files.shape_of(source)[:2])
        with opened(source, max_megapixels) as image:
            return min(image.size)
    except Exception:  # as in decode; the file is reported when it is decoded
        return None


def kind_of(path: Path | str | IO[bytes], max_megapixels: float | None = None) -> PixelKind | None:
    """What kind of pixels a file holds; None if it cannot be read."""
    try:
        if band_files.are_bands(path) or _is_foreign_tiff(path):
            values = band_files.values_of(path)
            return PixelKind(values.shape[2], values.shape[2], _deep_maximum(values))
        with opened(path, max_megapixels) as image:
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


def _decoded(source: Source, size: int, reading: Reading, resizer: Resizer = by_torch) -> tuple[Pixels, bytes]:
    """The square, and what the file holds; nothing of an image that is in memory already."""
    if isinstance(source, Image.Image):
        return _square(source, None, size, reading, resizer), b""
    if isinstance(source, (str, Path)):
        require_regular(source)
        if band_files.are_bands(source, reading.channels):
            return band_files.square(source, size, reading), Path(source).read_bytes()
    with opened(source, reading.max_megapixels) as image:
        content = _content(image)
        return _square(image, content, size, reading, resizer), content


def _content(image: Image.Image) -> bytes:
    file = cast(IO[bytes], image.fp)  # type: ignore[attr-defined]
    file.seek(0)
    return file.read()


def _square(image: Image.Image, content: bytes | None, size: int, reading: Reading, resizer: Resizer) -> Pixels:
    return upright(resizer(_colours(image, content, size, reading), size, reading.fit), image)


def _colours(image: Image.Image, content: bytes | None, size: int, reading: Reading) -> Image.Image | Pixels:
    """In RGB or grey; of JPEG files at a fraction of their size."""
    if content is not None and reading.channels == 3:
        pixels = fast_jpeg.decoded(image, content, size)
        if pixels is not None:
            return pixels
    if content is not None and isinstance(image, ImageFile.ImageFile):
        image.draft(None, (size, size))
    colour = _rgb(image, reading)
    if reading.channels not in (1, 3):
        raise OtherBands(3, reading.channels)
    return colour.convert("L") if reading.channels == 1 else colour


def _rgb(image: Image.Image, reading: Reading) -> Image.Image:
    if isinstance(image, TiffImageFile) and is_mistaken_for_rgb(image):
        return uncompressed_ycbcr(image).convert("RGB")
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image, reading).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), transparent).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, reading: Reading) -> Image.Image:
    """Grey of 16 bits, or of any depth where the reading names a window, as grey of 8."""
    return Image.fromarray(eight_bits(np.asarray(image), reading))


def _name(source: Source) -> str:
    if isinstance(source, Image.Image):
        return "the image"
    return str(source) if isinstance(source, (str, Path)) else str(getattr(source, "name", "the file"))
