"""The images that lines of a listing stand for, read when they are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from transferkit.data.decoding import decode
from transferkit.data.image_files import Source
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
class ListedPictures:
    """Images that lines of a listing name, read and decoded when they are taken.

    Attributes:
        lines: Of the listing.
        side_px: Of the squares they become.
        reading: squash or crop, or how exactly files are read.
        skip_bad: Leave unreadable ones out instead of stopping.
        sources: What to decode for some lines: paths, or bytes; `threads` may fetch them.
        plural: What they are called in a message.
        at_once: How many are fetched and decoded side by side.
        unreadable: Reason by id, of those met so far.
    """

    lines: Sequence[ListedImage]
    side_px: int
    reading: str | Reading
    skip_bad: bool
    sources: Callable[[Sequence[ListedImage], ThreadPoolExecutor], Sequence[Source]]
    plural: str
    at_once: int
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def ids(self) -> Sequence[str]:
        """Paths, URLs, or shards and names."""
        return [line.id for line in self.lines]

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, side_px, side_px) uint8, black where an image is unreadable.

        Raises:
            TransferkitError: If one cannot be read and may not be skipped; names it.
        """
        lines = [self.lines[index] for index in indices]
        with ThreadPoolExecutor(self.at_once) as threads:
            return np.stack(list(threads.map(self._decoded, lines, self.sources(lines, threads))))

    def _decoded(self, line: ListedImage, source: Source) -> Pixels:
        try:
            return decode(source, self.side_px, self.reading)
        except TransferkitError as error:
            channels = as_reading(self.reading).channels
            reason = _with_advice(error, line.id, channels) if isinstance(source, str) else f"{line.id}: {error}"
            if not self.skip_bad:
                raise TransferkitError(
                    f"{reason} Finished chunks are kept; --skip-bad leaves such {self.plural} out."
                ) from error
            self.unreadable[line.id] = reason
            return np.zeros((channels, self.side_px, self.side_px), np.uint8)


def _with_advice(error: TransferkitError, path: str, channels: int) -> str:
    """Why a file is not read, and of one with other bands what to do with it."""
    if not isinstance(error.__cause__, OtherBands):
        return str(error)
    bands = error.__cause__.bands
    if channels != 3:
        return f"{path} has {bands} bands, and the run has learnt from {channels}. Give it files with as many."
    return (
        f"{path} has {bands} bands, and red, green and blue are read here: other bands are normalised by statistics of "
        "training images. Ask a run of such images (extract: --weights RUN), save three of the bands as a file of "
        "their own, or train on all (transferkit probe BACKBONE --data FOLDER), which keeps features in RUN/outputs."
    )


def decoded_files(lines: Sequence[ListedImage], side_px: int, settings: ExtractSettings) -> ListedPictures:
    """The files that some lines of a listing stand for."""
    reading = settings.reading or settings.resize
    return ListedPictures(lines, side_px, reading, settings.skip_bad, _paths, "files", usable_cores())


def _paths(lines: Sequence[ListedImage], _: ThreadPoolExecutor) -> list[str]:
    return [line.id for line in lines]
