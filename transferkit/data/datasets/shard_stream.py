"""Shards whose images stay in them: an index in memory and in the cache, pixels as training asks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transferkit.data.datasets.layout import LISTED
from transferkit.data.datasets.shard_index import INDEXED, IndexedRecord, ending_of, require_parts
from transferkit.data.datasets.shard_records import class_names_near
from transferkit.data.decoding import decode
from transferkit.data.image_files import reason
from transferkit.data.images import Pixels
from transferkit.data.reading import Reading
from transferkit.data.streamed_pixels import Rows, StreamedPixels
from transferkit.runtime.array_records import read_array_record, write_array_record
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.cached_files import will_write
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.runtime.processor import usable_cores

READ_TOGETHER = 512  # images; what a block of a tar file holds at most
CHECKED_PX = 8  # to which images are decoded to see that they can be: JPEGs at an eighth of their size
GAP_BYTES = 2**16  # between two images that are read in one request


@dataclass(frozen=True)
class ShardIndex:
    """Where the images of one shard lie, and what they are.

    Attributes:
        starts, ends: (N,), as the kind of shard counts: bytes of a tar file; row group and row of a Parquet file.
        digests: (N, 16), BLAKE2b of each image's encoded bytes.
        labels: N classes.
        names: N names.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    digests: Pixels
    labels: tuple[str, ...]
    names: tuple[str, ...]

    def blocks(self, counts_bytes: bool) -> npt.NDArray[np.int64]:
        """(N,), rising numbers of what is read together: so many neighbours of a tar file, or a row group."""
        return np.arange(len(self.starts)) // READ_TOGETHER if counts_bytes else self.starts


def indexed(path: Path, label_column: str | None, reading: Reading, console: Console) -> ShardIndex:
    """The index of a shard, from the cache where nothing has changed; else every image is read and decoded once.

    Raises:
        TransferkitError: If the shard cannot be read in parts, an image cannot be decoded, or has no class.
    """
    require_parts(str(path))
    facts = path.stat()
    names = class_names_near(path)
    known = (str(path.resolve()), facts.st_size, facts.st_mtime_ns, label_column, names, reading)
    key = hashlib.sha256(repr(known).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    place = cache_folder() / "images" / "shards" / f"{key}.safetensors"
    if place.exists():
        return read_array_record(place, ShardIndex, "index of a shard")
    index = _read_index(path, label_column, reading, console)
    will_write(place)
    write_array_record(place, index)
    return index


def _read_index(path: Path, label_column: str | None, reading: Reading, console: Console) -> ShardIndex:
    kind = INDEXED[ending_of(path.name)]
    records = list(kind.training_records(path, label_column))
    reader = kind.reader(str(path))
    digests: list[bytes] = []
    unreadable: list[str] = []
    fault = partial(fault_of, reading=reading)
    with console.progress(f"index {path.name}", len(records)) as progress, ThreadPoolExecutor(usable_cores()) as pool:
        for part in _parts(records):
            contents = reader([(record.start, record.end) for record in part])
            digests += [hashlib.blake2b(content, digest_size=16).digest() for content in contents]
            faults = pool.map(fault, contents)
            unreadable += [f"{record.name}: {why}" for record, why in zip(part, faults, strict=True) if why]
            progress.advance(len(part))
    if unreadable:
        lines = [*unreadable[:LISTED], *(["..."] if len(unreadable) > LISTED else [])]
        raise TransferkitError(
            "\n  ".join([f"{path}: {len(unreadable)} of {counted(len(records), 'image')} cannot be read:", *lines])
            + "\nTake them out of the shard; or leave stream out, and bad images with --skip-bad."
        )
    return ShardIndex(
        np.array([record.start for record in records], np.int64),
        np.array([record.end for record in records], np.int64),
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
        tuple(record.label for record in records),
        tuple(record.name for record in records),
    )


def _parts(records: Sequence[IndexedRecord]) -> Iterator[list[IndexedRecord]]:
    remaining = iter(records)
    while part := list(islice(remaining, READ_TOGETHER)):
        yield part


def fault_of(content: bytes, reading: Reading) -> str:
    """Why an image cannot be read; "" where it can. Decoding it all finds also what was cut off or damaged behind."""
    try:
        decode(BytesIO(content), CHECKED_PX, reading)
    except TransferkitError as error:
        return cause_of(error)
    return ""


def cause_of(error: TransferkitError) -> str:
    """What decoding failed with, without the name of a file that there is not."""
    return reason(error.__cause__) if isinstance(error.__cause__, Exception) else str(error)


class EncodedImage(NamedTuple):
    """An image as it lies in its shard, and its row among those of all shards."""

    row: int
    content: bytes


@dataclass(frozen=True)
class ShardRows:
    """Rows of several shards, one shard after the other.

    Attributes:
        files: The shards.
        ids: N names for people.
        digests: (N, 16), of the encoded bytes that were indexed.
        first_rows: (F,), the first row of each.
        starts, ends: (N,), as of `ShardIndex`.
    """

    files: tuple[str, ...]
    ids: Sequence[str]
    digests: Pixels
    first_rows: Rows
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def read(self, rows: Rows) -> list[EncodedImage]:
        """The encoded images of some rows, in their order; neighbours are read in one request.

        Raises:
            TransferkitError: If a shard is gone, or an image in it is another one than when it was indexed.
        """
        by_place = np.argsort(rows, kind="stable")
        images = [EncodedImage(row, b"") for row in rows.tolist()]
        files = np.searchsorted(self.first_rows, rows[by_place], side="right") - 1
        for file in np.unique(files).tolist():
            chosen = by_place[files == file]
            for position, content in zip(chosen.tolist(), self._of_file(file, rows[chosen]), strict=True):
                self._require_unchanged(file, images[position].row, content)
                images[position] = images[position]._replace(content=content)
        return images

    def _require_unchanged(self, file: int, row: int, content: bytes) -> None:
        if hashlib.blake2b(content, digest_size=16).digest() != self.digests[row].tobytes():
            raise TransferkitError(
                f"{self.files[file]} has changed since this run began: {self.ids[row]} is another image now. "
                "Put the shard back as it was and go on with --resume, or start again with --overwrite."
            )

    def decoded(self, image: EncodedImage, side: int, reading: Reading) -> Pixels:
        """The pixels (C, side, side) of an image.

        Raises:
            TransferkitError: If it cannot be read; names it.
        """
        try:
            return decode(BytesIO(image.content), side, reading)
        except TransferkitError as error:
            raise TransferkitError(
                f"{self.ids[image.row]} cannot be read: {cause_of(error)}. Take it out of its shard; or leave stream "
                "out, and bad images with --skip-bad."
            ) from error

    def _of_file(self, file: int, rows: Rows) -> Iterator[bytes]:
        """Of rising rows of one file."""
        name = self.files[file]
        kind = INDEXED[ending_of(name)]
        reader = kind.reader(name)
        starts, ends = self.starts[rows], self.ends[rows]
        cuts = np.flatnonzero(starts[1:] - ends[:-1] > GAP_BYTES) + 1 if kind.counts_bytes else np.zeros(0, np.int64)
        for part in np.split(np.arange(len(rows)), cuts):
            yield from reader(list(zip(starts[part].tolist(), ends[part].tolist(), strict=True)))


def streamed_pixels(
    files: Sequence[Path],
    indices: Sequence[ShardIndex],
    ids: Sequence[str],
    side: int,
    reading: Reading,
    window: int,
) -> StreamedPixels:
    """The images of all shards as an array that is read as it is needed; `ids` name them in messages."""
    counts = [len(index.names) for index in indices]
    rows = ShardRows(
        tuple(map(str, files)),
        ids,
        np.concatenate([index.digests for index in indices]),
        np.cumsum([0, *counts[:-1]]),
        np.concatenate([index.starts for index in indices]),
        np.concatenate([index.ends for index in indices]),
    )
    return StreamedPixels(
        (sum(counts), reading.channels, side, side),
        _blocks(files, indices),
        window,
        rows.read,
        partial(rows.decoded, side=side, reading=reading),
        usable_cores(),
    )


def _blocks(files: Sequence[Path], indices: Sequence[ShardIndex]) -> npt.NDArray[np.int32]:
    """(N,), blocks numbered through all shards."""
    numbered, first = [], 0
    for file, index in zip(files, indices, strict=True):
        blocks = index.blocks(INDEXED[ending_of(file.name)].counts_bytes) + first
        numbered.append(blocks)
        first = int(blocks[-1]) + 1 if len(blocks) else first
    return np.concatenate(numbered).astype(np.int32)
