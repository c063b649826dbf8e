"""Where each image of a shard lies, so that any part of it can be read without the rest."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple, TypeAlias

from transferkit.data.datasets.shard_records import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    class_names_of,
    image_bytes,
    label_text,
    sample_label,
)
from transferkit.data.image_files import EXTENSIONS
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.optional_libraries import pyarrow
from transferkit.runtime.remote import opened, read_span

Place: TypeAlias = tuple[int, int]
ReadImages: TypeAlias = Callable[[Sequence[Place]], list[bytes]]
LABEL_ENDINGS = (".cls", ".txt", ".json")
LARGEST_LABEL = 2**20  # bytes


class IndexedRecord(NamedTuple):
    """An image of a shard: its name, its class ("" for none), and where it lies, as its kind of shard counts."""

    name: str
    label: str
    start: int
    end: int


def tar_index(name: str) -> Iterator[IndexedRecord]:
    """The samples of a tar file in WebDataset's layout; start and end are bytes of the file.

    Raises:
        TransferkitError: If the file is damaged, or compressed.
    """
    with opened(name) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                yield from _samples(archive, file)
        except tarfile.TarError as error:
            raise TransferkitError(
                f"{name} is no tar file, or damaged or compressed: {error}. Parts of a compressed one cannot be read."
            ) from error


def _samples(archive: tarfile.TarFile, file: IO[bytes]) -> Iterator[IndexedRecord]:
    """One record for each image; its class is in the members beside it that share its name up to the first dot."""
    key, image, labels = "", (0, 0), dict[str, bytes]()
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
        if not member.isfile():
            continue
        whole = PurePosixPath(member.name)
        stem, _, ending = whole.name.partition(".")
        sample, ending = str(whole.parent / stem), f".{ending.lower()}"
        if sample != key:
            if image[1]:
                yield IndexedRecord(key, sample_label(labels, None) or "", *image)
            key, image, labels = sample, (0, 0), {}
        if ending in EXTENSIONS:
            image = (member.offset_data, member.offset_data + member.size)
        elif ending in LABEL_ENDINGS and member.size <= LARGEST_LABEL:
            here = file.tell()
            file.seek(member.offset_data)
            labels[ending] = file.read(member.size)
            file.seek(here)
    if image[1]:
        yield IndexedRecord(key, sample_label(labels, None) or "", *image)


def tar_reader(name: str) -> ReadImages:
    """Gives the bytes of neighbouring images of a tar file, by start and end, in one request."""

    def read(places: Sequence[Place]) -> list[bytes]:
        first, last = min(start for start, _ in places), max(end for _, end in places)
        span = read_span(name, first, last)
        return [span[start - first : end - first] for start, end in places]

    return read


def parquet_index(name: str) -> Iterator[IndexedRecord]:
    """The rows of a Parquet file; start is the row group, end the row in it. The label is read where there is one.

    Raises:
        TransferkitError: If pyarrow is missing, the file is damaged, or it has no column of images.
    """
    with opened_parquet(name) as file:
        columns = file.schema_arrow.names
        image_column(name, columns)
        label = next((column for column in LABEL_COLUMNS if column in columns), None)
        names = class_names_of(file.schema_arrow.metadata or {}, label or "")
        row = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            values = file.read_row_group(group, columns=[label]).column(0).to_pylist() if label else [""] * count
            for inside, value in enumerate(values):
                yield IndexedRecord(str(row), label_text(name, row, value, names) if label else "", group, inside)
                row += 1


def parquet_reader(name: str) -> ReadImages:
    """Gives the bytes of images of a Parquet file, by row group and row in it; the last group read is kept."""
    last: dict[int, Any] = {}

    def group_of(number: int) -> Any:
        if number not in last:
            last.clear()
            with opened_parquet(name) as file:
                column = image_column(name, file.schema_arrow.names)
                last[number] = file.read_row_group(number, columns=[column]).column(0)
        return last[number]

    return lambda places: [image_bytes(name, row, group_of(group)[row].as_py()) for group, row in places]


@contextmanager
def opened_parquet(name: str) -> Iterator[Any]:
    """A Parquet file by path or URL.

    Raises:
        TransferkitError: If it is none, or pyarrow is missing.
    """
    library = pyarrow()
    with opened(name) as source:
        try:
            yield library.parquet.ParquetFile(source)
        except library.ArrowInvalid as error:
            raise TransferkitError(f"{name} is no Parquet file, or damaged: {str(error).splitlines()[0]}.") from error


def image_column(name: str, columns: list[str]) -> str:
    """The column of images.

    Raises:
        TransferkitError: If there is none.
    """
    column = next((column for column in IMAGE_COLUMNS if column in columns), None)
    if column is None:
        raise TransferkitError(f"{name} has the columns {', '.join(columns)}. Expected image (bytes).")
    return column


class IndexedKind(NamedTuple):
    """How one kind of shard is listed, and read in parts; whether places are bytes of the file."""

    records: Callable[[str], Iterator[IndexedRecord]]
    reader: Callable[[str], ReadImages]
    counts_bytes: bool


INDEXED: dict[str, IndexedKind] = {
    ".tar": IndexedKind(tar_index, tar_reader, True),
    ".parquet": IndexedKind(parquet_index, parquet_reader, False),
}


def ending_of(name: str) -> str:
    """The ending by which a file is known as a shard; "" where it is none.

    Example:
        >>> ending_of("s3://bucket/train-0001.tar"), ending_of("a.jpg")
        ('.tar', '')
    """
    return next((ending for ending in INDEXED if name.lower().endswith(ending)), "")
