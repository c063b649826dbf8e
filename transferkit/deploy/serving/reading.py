"""Uploaded files become pixels: never more of them at once than memory holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import IO

from transferkit.data.decoding import decode
from transferkit.data.image_files import pixel_count, reason
from transferkit.data.images import Pixels
from transferkit.data.reading import Reading
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.processor import usable_cores

LARGE = 12_000_000  # pixels; of larger images one is decoded at a time, as one may take 15 bytes per pixel


class UnreadableImage(Exception):
    """Says why."""


class ImageReader:
    """Decodes files as the run's own images were, in as many threads as there are cores.

    Attributes:
        most_pixels: Of one image.
        threads: For `decoded`.
    """

    def __init__(self, side_px: int, reading: Reading, most_pixels: int) -> None:
        self.side_px, self.reading, self.most_pixels = side_px, reading, most_pixels
        self.threads = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
        self._large = Lock()

    def decoded(self, file: IO[bytes]) -> Pixels:
        """(3, side_px, side_px) uint8.

        Raises:
            UnreadableImage: If it has too many pixels, or is damaged or no image.
        """
        try:
            count = pixel_count(file)
            if count is not None and count > self.most_pixels:
                raise UnreadableImage(f"more than {self.most_pixels:,} pixels; shrink it")
            file.seek(0)
            if count is None or count <= LARGE:
                return decode(file, self.side_px, self.reading)
            with self._large:
                return decode(file, self.side_px, self.reading)
        except TransferkitError as error:
            raise UnreadableImage(
                reason(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            ) from None
        except MemoryError:
            raise UnreadableImage("there is no memory to decode it; shrink it") from None
