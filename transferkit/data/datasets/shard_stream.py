"""Shards whose images stay in them: an index in memory and in the cache, pixels as training asks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.data.datasets.shard_index import INDEXED, IndexedRecord, ending_of, require_parts
from transferkit.data.datasets.shard_records import class_names_beside
from transferkit.data.decoding import decode
from transferkit.data.images import Pixels
from transferkit.data.reading import Reading
from transferkit.data.streamed_pixels import Rows, StreamedPixels
from transferkit.runtime.array_records import read_array_record, write_array_record
from transferkit.runtime.cached_files import cache_folder, will_write
from transferkit.runtime.console import Console
from transferkit.runtime.processor import usable_cores

READ_TOGETHER = 512  # images; what a block of a tar file holds at most
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


def indexed(path: Path, label_column: str | None, console: Console) -> ShardIndex:
    """The index of a shard, from the cache where neither it nor its names have changed; else every image is read once.

    Raises:
        TransferkitError: If the shard cannot be read in parts, or an image has no class.
    """
    require_parts(str(path))
    facts = path.stat()
    known = (str(path.resolve()), facts.st_size, facts.st_mtime_ns, label_column, class_names_beside(path))
    key = hashlib.sha256(repr(known).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    place = cache_folder() / "images" / "shards" / f"{key}.safetensors"
    if place.exists():
        return read_array_record(place, ShardIndex, "index of a shard")
    index = _read_index(path, label_column, console)
    will_write(place)
    write_array_record(place, index)
    return index


def _read_index(path: Path, label_column: str | None, console: Console) -> ShardIndex:
    kind = INDEXED[ending_of(path.name)]
    records = list(kind.training_records(path, label_column))
    reader = kind.reader(str(path))
    digests: list[bytes] = []
    with console.progress(f"index {path.name}", len(records)) as progress:
        for part in _parts(records):
            contents = reader([(record.start, record.end) for record in part])
            digests += [hashlib.blake2b(content, digest_size=16).digest() for content in contents]
            progress.advance(len(part))
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


@dataclass(frozen=True)
class ShardRows:
    """Rows of several shards, one shard after the other.

    Attributes:
        files: The shards.
        first_rows: (F,), the first row of each.
        starts, ends: (N,), as of `ShardIndex`.
    """

    files: tuple[str, ...]
    first_rows: Rows
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def read(self, rows: Rows) -> list[bytes]:
        """The encoded images of some rows, in their order; neighbours are read in one request."""
        by_place = np.argsort(rows, kind="stable")
        contents: list[bytes] = [b""] * len(rows)
        files = np.searchsorted(self.first_rows, rows[by_place], side="right") - 1
        for file in np.unique(files).tolist():
            chosen = by_place[files == file]
            for position, content in zip(chosen.tolist(), self._of_file(file, rows[chosen]), strict=True):
                contents[position] = content
        return contents

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
    files: Sequence[Path], indices: Sequence[ShardIndex], side: int, reading: Reading, window: int
) -> StreamedPixels:
    """The images of all shards as an array that is read as it is needed."""
    counts = [len(index.names) for index in indices]
    rows = ShardRows(
        tuple(map(str, files)),
        np.cumsum([0, *counts[:-1]]),
        np.concatenate([index.starts for index in indices]),
        np.concatenate([index.ends for index in indices]),
    )
    return StreamedPixels(
        (sum(counts), reading.channels, side, side),
        _blocks(files, indices),
        window,
        rows.read,
        partial(_decoded, side=side, reading=reading),
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


def _decoded(content: bytes, side: int, reading: Reading) -> Pixels:
    return decode(BytesIO(content), side, reading)
