"""Where each image of a shard lies, so that any part of it can be read without the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from transferkit.data.datasets.shard_records import (
    COMPRESSED_TARS,
    IMAGE_COLUMNS,
    class_names_near,
    class_names_of,
    image_and_label,
    image_bytes,
    label_text,
    named_class,
    optional_label_text,
    whole_sample,
)
from transferkit.data.datasets.tar_samples import LABEL_KEYS, TarSample, tar_archive, tar_samples
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.optional_libraries import pyarrow
from transferkit.runtime.remote import opened, read_span

Place: TypeAlias = tuple[int, int]
ReadImages: TypeAlias = Callable[[Sequence[Place]], list[bytes]]


class IndexedRecord(NamedTuple):
    """An image of a shard: its name, its class ("" for none), and where it lies, as its kind of shard counts."""

    name: str
    label: str
    start: int
    end: int


def tar_index(name: str) -> Iterator[IndexedRecord]:
    """The images of a tar file in WebDataset's layout; start and end are bytes of the file.

    Raises:
        TransferkitError: If the file is damaged, or compressed, or a class has a number without a name.
    """
    names = class_names_near(name)
    for sample in _samples(name):
        if image := sample.image():
            label = named_class(_label_if_clear(sample), names, sample)
            yield IndexedRecord(sample.key, label, image.start, image.end)


def _label_if_clear(sample: TarSample) -> str:
    """The class; "" where there is none, or something else, as a caption of several lines."""
    try:
        return sample.label() or ""
    except TransferkitError:
        return ""


def tar_training_index(path: Path, label_key: str | None) -> Iterator[IndexedRecord]:
    """The same to learn from: each sample has an image and a class, as `tar_records` reads them.

    Raises:
        TransferkitError: If one has not, or as `tar_index`.
    """
    names = class_names_near(path)
    for sample in _samples(str(path)):
        image, label = whole_sample(sample, label_key)
        yield IndexedRecord(sample.key, named_class(label, names, sample), image.start, image.end)


def _samples(name: str) -> Iterator[TarSample]:
    with opened(name) as file, tar_archive(name, "r:", file) as archive:
        yield from tar_samples(archive, name, with_images=False)


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
        label = next((column for column in LABEL_KEYS if column in columns), None)
        yield from _rows(name, file, label, optional_label_text)


def parquet_training_index(path: Path, label_column: str | None) -> Iterator[IndexedRecord]:
    """The same to learn from: each row has a class, as `parquet_records` reads it.

    Raises:
        TransferkitError: If one has none, or as `parquet_index`.
    """
    with opened_parquet(str(path)) as file:
        _, label = image_and_label(path, file.schema_arrow.names, label_column)
        yield from _rows(str(path), file, label, label_text)


def _rows(
    name: str, file: Any, label: str | None, text: Callable[[str, int, Any, list[str]], str]
) -> Iterator[IndexedRecord]:
    names, row = class_names_of(file.schema_arrow.metadata or {}, label or ""), 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        values = file.read_row_group(group, columns=[label]).column(0).to_pylist() if label else [None] * count
        for inside, value in enumerate(values):
            yield IndexedRecord(str(row), text(name, row, value, names), group, inside)
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
    """How one kind of shard is listed, for its images or to learn from, and read in parts; whether places are bytes."""

    records: Callable[[str], Iterator[IndexedRecord]]
    training_records: Callable[[Path, str | None], Iterator[IndexedRecord]]
    reader: Callable[[str], ReadImages]
    counts_bytes: bool


INDEXED: dict[str, IndexedKind] = {
    ".tar": IndexedKind(tar_index, tar_training_index, tar_reader, True),
    ".parquet": IndexedKind(parquet_index, parquet_training_index, parquet_reader, False),
}


def require_parts(name: str) -> None:
    """Refuse a tar file that is compressed.

    Raises:
        TransferkitError: If its name says so.
    """
    if name.lower().endswith(COMPRESSED_TARS):
        raise TransferkitError(f"{name}: parts of a compressed tar cannot be read. Unpack it to a .tar first.")


def is_shard(name: str) -> bool:
    """Whether a file is a shard by its name, compressed or not, and not hidden, as what macOS leaves beside files is.

    Example:
        >>> is_shard("a.tar"), is_shard("s3://b/a.tar.gz"), is_shard("x/._a.tar"), is_shard("a.jpg")
        (True, True, False, False)
    """
    return name.lower().endswith((*INDEXED, *COMPRESSED_TARS)) and not name.rpartition("/")[2].startswith(".")


def ending_of(name: str) -> str:
    """The ending by which a file is known as a shard; "" where it is none.

    Example:
        >>> ending_of("s3://bucket/train-0001.tar"), ending_of("a.jpg")
        ('.tar', '')
    """
    return next((ending for ending in INDEXED if name.lower().endswith(ending)), "")
