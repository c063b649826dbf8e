"""The images that lines of a listing stand for, read when they are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from transferkit.data.decoding import decode
from transferkit.data.images import Images, Labels, Pixels
from transferkit.data.reading import OtherBands, Reading, as_reading
from transferkit.features.extraction.listing import ListedImage
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.processor import usable_cores


@dataclass(frozen=True)
class PartImages:
    """Images that some lines of a listing stand for; the listing holds whole parts, one after the other."""

    parts: Mapping[str, Images]
    lines: Sequence[ListedImage]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""
        return [line.id for line in self.lines]

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, H, W) uint8.

        Raises:
            TransferkitError: If the parts differ in size.
        """
        chosen = groupby((self.lines[index] for index in indices), key=lambda line: line.part)
        pixels = [self.parts[part].take(np.array([self._row(line) for line in lines])) for part, lines in chosen]
        if len({array.shape[1:] for array in pixels}) > 1:
            raise TransferkitError("The parts of this data set differ in size. Extract them one by one, with --part.")
        return np.concatenate(pixels)

    def _row(self, line: ListedImage) -> int:
        names = list(self.parts)
        return line.number - sum(len(self.parts[name]) for name in names[: names.index(line.part)])


@dataclass(frozen=True)
class Files:
    """Image files, decoded when they are taken.

    Attributes:
        lines: Of the listing.
        side_px: Of the squares they become.
        resize: squash or crop.
        skip_bad: Leave unreadable files out instead of stopping.
        unreadable: Reason by id, of those met so far.
    """

    lines: Sequence[ListedImage]
    side_px: int
    resize: str | Reading
    skip_bad: bool
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def ids(self) -> Sequence[str]:
        """The paths."""
        return [line.id for line in self.lines]

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, side_px, side_px) uint8, black where a file is unreadable.

        Raises:
            TransferkitError: If one cannot be read and may not be skipped; names it.
        """
        with ThreadPoolExecutor(usable_cores()) as threads:
            return np.stack(list(threads.map(self._decoded, [self.lines[index].id for index in indices])))

    def _decoded(self, path: str) -> Pixels:
        try:
            return decode(path, self.side_px, self.resize)
        except TransferkitError as error:
            reason = _with_advice(error, path)
            if not self.skip_bad:
                raise TransferkitError(
                    f"{reason} Finished chunks are kept; --skip-bad leaves such files out."
                ) from error
            self.unreadable[path] = reason
            return np.zeros((as_reading(self.resize).channels, self.side_px, self.side_px), np.uint8)


def _with_advice(error: TransferkitError, path: str) -> str:
    """Why a file is not read, and of one with other bands what to do with it."""
    if not isinstance(error.__cause__, OtherBands):
        return str(error)
    return (
        f"{path} has {error.__cause__.bands} bands, and extract reads red, green and blue: other bands are normalised "
        "by statistics of training images, and it learns nothing. Save three of the bands as a file of their own, or "
        "train on all (transferkit probe BACKBONE --data FOLDER), which keeps features in RUN/outputs."
    )


def decoded_files(lines: Sequence[ListedImage], side_px: int, settings: ExtractSettings) -> Files:
    """The files that some lines of a listing stand for."""
    return Files(lines, side_px, settings.reading or settings.resize, settings.skip_bad)
