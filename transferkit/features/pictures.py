"""Images of many kinds as one: arrays, paths, folders, PIL images, tables; those in files still undecoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.data.band_axis import band_axis, bands_first
from transferkit.data.decoding import decode
from transferkit.data.image_files import EXTENSIONS, endings_among, reason, require_regular
from transferkit.data.images import Images, Labels, Pixels, image_digest
from transferkit.data.levels import eight_bit
from transferkit.data.reading import Reading, as_reading
from transferkit.models.preparation import as_unit_range
from transferkit.runtime import environment, processor
from transferkit.runtime.errors import TransferkitError, quoted


class Pictures(Protocol):
    """What features are computed of: `Images`, or files that are decoded when they are taken."""

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, H, W) uint8."""

    def __len__(self) -> int: ...


class StorablePictures(Pictures, Protocol):
    """Pictures that the feature store can tell apart."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width in px."""

    @property
    def digests(self) -> Pixels:
        """(N, 16), one digest per image."""


@dataclass(frozen=True)
class ImageFiles:
    """Files or PIL images, decoded to squares when they are taken.

    Attributes:
        sources: Paths or PIL images.
        ids: One per image.
        side_px: Of the squares.
        resize: squash or crop.
    """

    sources: Sequence[Any]
    ids: Sequence[str]
    side_px: int
    resize: str | Reading

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.side_px, self.side_px

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, side_px, side_px) uint8, decoded by threads.

        Raises:
            TransferkitError: If one cannot be read; names it.
        """
        chosen = [self.sources[index] for index in indices]
        with ThreadPoolExecutor(processor.usable_cores()) as threads:
            return np.stack(list(threads.map(lambda source: decode(source, self.side_px, self.resize), chosen)))

    @cached_property
    def digests(self) -> Pixels:
        """(N, 16), of the files as they lie on disk, so that stored features need no decoding; else of the pixels."""
        with ThreadPoolExecutor(processor.usable_cores()) as threads:
            digests = b"".join(threads.map(self._digest, self.sources))
        return np.frombuffer(digests, np.uint8).reshape(len(self), 16)

    def _digest(self, source: Any) -> bytes:
        if not isinstance(source, (str, os.PathLike)):
            return image_digest(decode(source, self.side_px, self.resize))
        decoder = f"{self.resize}, pillow {environment.package_version('pillow')}, resized by torch\n"
        try:
            require_regular(source)
            return hashlib.blake2b(decoder.encode() + Path(source).read_bytes(), digest_size=16).digest()
        except OSError as error:
            raise TransferkitError(f"Cannot read {source}: {reason(error)}.") from error


@dataclass(frozen=True)
class Taken:
    """Some of other pictures."""

    pictures: Pictures
    indices: Labels

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""
        return [self.pictures.ids[index] for index in self.indices]

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, H, W) uint8."""
        return self.pictures.take(self.indices[indices])


def taken(pictures: Pictures, indices: Labels) -> Pictures:
    """Some of the pictures; the pictures themselves if it is all of them."""
    return pictures if len(indices) == len(pictures) else Taken(pictures, indices)


def as_pictures(images: Any, side_px: int, resize: str | Reading) -> StorablePictures:
    """Images of many kinds, those in files still undecoded; of as many bands as are to be read.

    Raises:
        TransferkitError: If there are none, their sizes differ, or their kind is unknown.
    """
    pictures = found_pictures(images, side_px, resize)
    if not len(pictures):
        raise TransferkitError("No images. Expected a uint8 array, paths, PIL images, Images or a folder.")
    return pictures


def found_pictures(images: Any, side_px: int, resize: str | Reading) -> StorablePictures:
    """Images of many kinds, perhaps none."""
    if isinstance(images, Images):
        return images
    if isinstance(images, (str, os.PathLike)):
        return from_path(Path(images), side_px, resize)
    if isinstance(images, Tensor) or (isinstance(images, np.ndarray) and images.dtype.kind not in "OUS"):
        return from_array(np.asarray(images), as_reading(resize).channels)
    if hasattr(images, "columns"):  # a table with one column of paths
        images = np.ravel(images)
    return from_items(list(images) if isinstance(images, Iterable) else [images], side_px, resize)


def from_path(path: Path, side_px: int, resize: str | Reading) -> ImageFiles:
    """One image file, or all images of a folder."""
    if os.path.isdir(path):
        paths = list(image_paths(path))
        endings = endings_among(paths)
        files = [str(file) for file in paths if file.suffix.lower() in endings]
        if not files:
            raise TransferkitError(f"{path} holds no images ({', '.join(sorted(EXTENSIONS)[:6])} ...).")
        return ImageFiles(files, files, side_px, resize)
    if not os.path.exists(path):
        raise TransferkitError(f"There is no file or folder {quoted(str(path))[1:-1]}.")
    return ImageFiles([str(path)], [str(path)], side_px, resize)


def image_paths(folder: Path) -> Iterator[Path]:
    """The image files in a folder and the folders in it, in the order of their paths; hidden ones are left out."""
    children = sorted((entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda e: e.name)
    for entry in children:
        if entry.is_dir():
            yield from image_paths(Path(entry.path))
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield Path(entry.path)


def from_items(items: Sequence[Any], side_px: int, resize: str | Reading) -> StorablePictures:
    """Pictures from a list of paths, PIL images or arrays."""
    from PIL import Image

    if items and all(isinstance(item, np.ndarray | Tensor) for item in items):
        return from_array(stacked([np.asarray(item) for item in items]), as_reading(resize).channels)
    strange = [item for item in items if not isinstance(item, (str, os.PathLike, Image.Image))]
    if strange:
        raise TransferkitError(
            f"An object of type {type(strange[0]).__name__} is no image. Expected paths, PIL images or uint8 arrays."
        )
    ids = [str(item) if isinstance(item, (str, os.PathLike)) else str(number) for number, item in enumerate(items)]
    return ImageFiles(items, ids, side_px, resize)


def stacked(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """One array from images of one size.

    Raises:
        TransferkitError: If their sizes differ.
    """
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise TransferkitError(
            f"Arrays of mixed sizes: {', '.join(map(str, shapes[:4]))}. Give PIL images or paths, which are resized "
            "one by one, or arrays of one size."
        )
    return np.stack(arrays)


def from_array(array: npt.NDArray[Any], bands: int = 3) -> Images:
    """Images from (N, H, W, bands) or (N, bands, H, W) as `eight_bit` takes them, grey for colours and the reverse.

    Raises:
        TransferkitError: If type, values or shape are others.
    """
    usual = (1, 3) if bands in (1, 3) else (bands,)
    axis = next((axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in (bands, *usual)), None)
    if axis is None:
        hint = " Of one image write image[None], of grey ones images[..., None]." if array.ndim == 3 else ""
        raise TransferkitError(
            f"Expected images (N, H, W, {bands}) or (N, {bands}, H, W); found {array.dtype} {array.shape}.{hint}"
        )
    planes = bands_first(eight_bit(array), axis)
    if planes.shape[1] > bands:
        planes = (255 * as_unit_range(torch.from_numpy(planes), bands)).round().to(torch.uint8).numpy()
    return Images.from_pixels(planes.repeat(bands // planes.shape[1], axis=1), None, ())


def bands_in(images: Any) -> int:
    """How many bands an array of images has, or a list of them; three of everything else.

    Example:
        >>> bands_in(np.zeros((2, 8, 8, 5), np.uint8)), bands_in([np.zeros((8, 8, 3), np.uint8)]), bands_in("photo.jpg")
        (5, 3, 3)
    """
    first = images[0] if isinstance(images, list | tuple) and images else images
    shape = tuple(getattr(first, "shape", ()))
    shape = (1, *shape) if first is not images else shape
    axis = band_axis(shape)
    return 3 if axis is None else shape[axis]
