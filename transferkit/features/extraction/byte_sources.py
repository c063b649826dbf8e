"""Images that are read as bytes: out of tar and Parquet shards, and through URLs; a part at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from glob import has_magic, iglob
from io import BytesIO
from itertools import groupby

from transferkit.data.datasets.shard_index import INDEXED, ReadImages, ending_of, is_shard, require_parts
from transferkit.data.image_files import EXTENSIONS
from transferkit.features.extraction.lazy_pictures import ListedPictures
from transferkit.features.extraction.listing import ListedImage
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.runtime.processor import usable_cores
from transferkit.runtime.remote import files_at, is_url, read_span

AT_ONCE = 16  # requests; a store far away answers many together
SEPARATOR = "|"  # in a place: file, start, end


def shard_files(name: str) -> list[str]:
    """The tar or Parquet files that a path means: itself, those directly in a folder, or those of a pattern."""
    if os.path.isdir(name):
        return sorted(entry.path for entry in os.scandir(name) if is_shard(entry.name) and entry.is_file())
    names = sorted(iglob(name, recursive=True)) if has_magic(name) else [name]
    return [path for path in names if is_shard(path) and os.path.isfile(path)]


def byte_lines(name: str) -> Iterator[tuple[str, ...]]:
    """Id, class, part and place of each image, file after file; several files are looked at together.

    Raises:
        TransferkitError: If one cannot be read.
    """
    files = files_at(name) if is_url(name) else shard_files(name)
    shards = [file for file in files if is_shard(file)]
    if not shards:
        yield from (image_line(file, name) for file in files if os.path.splitext(file)[1].lower() in EXTENSIONS)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(shards), AT_ONCE):
            for lines in pool.map(shard_lines, shards[start : start + AT_ONCE]):
                yield from lines


def image_line(file: str, root: str) -> tuple[str, ...]:
    """An image that is a file of its own; its class is the name of its folder, if that is not the root itself."""
    folder = file.rpartition("/")[0]
    return file, "" if folder.rstrip("/") == root.rstrip("/") else folder.rpartition("/")[2], "", ""


def shard_lines(file: str) -> list[tuple[str, ...]]:
    """The images of one shard."""
    require_parts(file)
    return [
        (f"{file}/{record.name}", record.label, "", SEPARATOR.join((file, str(record.start), str(record.end))))
        for record in INDEXED[ending_of(file)].records(file)
    ]


@dataclass(frozen=True)
class ByteReader:
    """Reads the bytes of images that lie in shards, or in files of their own.

    Attributes:
        readers: Of the shard that images are taken from.
    """

    readers: dict[str, ReadImages] = field(default_factory=dict)

    def __call__(self, lines: Sequence[ListedImage], threads: ThreadPoolExecutor) -> list[BytesIO]:
        """What each line stands for."""
        runs = (self._contents(list(run), threads) for _, run in groupby(lines, _file_of))
        return [BytesIO(content) for contents in runs for content in contents]

    def _contents(self, lines: Sequence[ListedImage], threads: ThreadPoolExecutor) -> list[bytes]:
        """The bytes of images that lie in one shard, or in files of their own."""
        file = _file_of(lines[0])
        if not file:
            return list(threads.map(read_span, [line.id for line in lines]))
        if file not in self.readers:
            self.readers.clear()  # images come in order, so that no earlier shard is asked for again
            self.readers[file] = INDEXED[ending_of(file)].reader(file)
        places = [line.place.rsplit(SEPARATOR, 2)[1:] for line in lines]
        return self.readers[file]([(int(start), int(end)) for start, end in places])


def byte_pictures(lines: Sequence[ListedImage], side_px: int, settings: ExtractSettings) -> ListedPictures:
    """The images that some lines of a listing stand for."""
    reading, at_once = settings.reading or settings.resize, max(AT_ONCE, usable_cores())
    return ListedPictures(lines, side_px, reading, settings.skip_bad, ByteReader(), "images", at_once)


def _file_of(line: ListedImage) -> str:
    return line.place.rsplit(SEPARATOR, 2)[0]
