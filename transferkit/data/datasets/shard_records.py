"""The records of a shard one after the other: an image's bytes, its class and its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from transferkit.data.datasets.tar_samples import LABEL_KEYS, Member, TarSample, tar_archive, tar_samples
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted
from transferkit.runtime.optional_libraries import pyarrow
from transferkit.runtime.plurals import counted
from transferkit.runtime.remote import folder_of, is_file, read_span

IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png")
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
CLASS_NAMES = "classnames.txt"  # of numbered classes, one per line, from 0 on
ROWS = 64  # of a Parquet file, read together


class Record(NamedTuple):
    """One image of a shard, still encoded; without its bytes where labels alone were asked for."""

    name: str
    image: bytes
    label: str


def parquet_records(path: Path, label_column: str | None, *, with_images: bool) -> Iterator[Record]:
    """The rows of a Parquet file: `image` as bytes or as {bytes, path}, `label` as text or as a number.

    Names of numbered classes stand in the schema where the `datasets` library wrote it.

    Raises:
        TransferkitError: If pyarrow is missing, the file is damaged, or it has no such columns.
    """
    library = pyarrow()
    try:
        file = library.parquet.ParquetFile(path)
        image, label = image_and_label(path, file.schema_arrow.names, label_column)
        names = class_names_of(file.schema_arrow.metadata or {}, label)
        row = 0
        for batch in file.iter_batches(ROWS, columns=[image, label] if with_images else [label]):
            values = batch.column(label).to_pylist()
            cells = batch.column(image).to_pylist() if with_images else [b""] * len(values)
            for cell, value in zip(cells, values, strict=True):
                yield Record(str(row), image_bytes(path, row, cell), label_text(path, row, value, names))
                row += 1
    except (library.ArrowInvalid, OSError) as error:
        raise TransferkitError(f"{path} is no Parquet file, or damaged: {str(error).splitlines()[0]}.") from error


def image_and_label(path: Path, present: list[str], label_column: str | None) -> tuple[str, str]:
    """The columns of images and of classes.

    Raises:
        TransferkitError: If there is none, or several of one name.
    """
    image = next((name for name in IMAGE_COLUMNS if name in present), None)
    label = label_column or next((name for name in LABEL_KEYS if name in present), None)
    if image is None or label is None:
        raise TransferkitError(
            f"{path} has the columns {', '.join(present)}. Expected image (bytes) and label, or another that "
            "--label-column names."
        )
    if twice := next((name for name in (image, label) if present.count(name) > 1), None):
        raise TransferkitError(f"{path} has {present.count(twice)} columns {quoted(twice)}. Expected one.")
    if label not in present:
        raise TransferkitError(f"{path} has no column {quoted(label)}. {did_you_mean(label, present)}")
    return image, label


def class_names_of(metadata: dict[bytes, bytes], label: str) -> list[str]:
    """The names of a ClassLabel that the `datasets` library left in the schema; none where it did not."""
    try:
        feature = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"][label]
        return [str(name) for name in feature["names"]]
    except (ValueError, KeyError, TypeError):
        return []


def image_bytes(path: Path | str, row: int, cell: Any) -> bytes:
    """The bytes of an image in a cell.

    Raises:
        TransferkitError: If it holds none.
    """
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise TransferkitError(
            f"{path}, row {row}: the image has no bytes, perhaps only the path of another file. Save the data set with "
            "its images embedded."
        )
    return content


def label_text(path: Path | str, row: int, value: Any, names: list[str]) -> str:
    """The class in a cell, by name where the schema has names.

    Raises:
        TransferkitError: If it is no class.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).strip():
        raise TransferkitError(
            f"{path}, row {row}: label {quoted(value)}. Expected one class, as text or a whole number."
        )
    if isinstance(value, int) and names:
        if not 0 <= value < len(names):
            raise TransferkitError(
                f"{path}, row {row}: label {value}, but the schema names {counted(len(names), 'class', 'classes')}."
            )
        return names[value]
    return str(value).strip()


def optional_label_text(path: Path | str, row: int, value: Any, names: list[str]) -> str:
    """The class in a cell; "" where it is left open, as the hub's test parts have it (-1 among numbered names).

    Raises:
        TransferkitError: If it is something else than a class.
    """
    is_open = value is None or (isinstance(value, str) and not value.strip()) or (names and value == -1)
    return "" if is_open else label_text(path, row, value, names)


def tar_records(path: Path, label_column: str | None, *, with_images: bool) -> Iterator[Record]:
    """The samples of a tar file in WebDataset's layout: neighbours NAME.jpg and NAME.cls (or NAME.txt, NAME.json).

    Nothing is unpacked; numbered classes take their names from a file classnames.txt (`class_names_near`).

    Raises:
        TransferkitError: If the file is damaged, or a sample has no image or no class.
    """
    names = class_names_near(path)
    with tar_archive(str(path), "r:*") as archive:
        for sample in tar_samples(archive, str(path), with_images=with_images):
            image, label = whole_sample(sample, label_column)
            yield Record(sample.key, image.content, named_class(label, names, sample))


def whole_sample(sample: TarSample, label_key: str | None) -> tuple[Member, str]:
    """The image and the class of a sample to learn from.

    Raises:
        TransferkitError: If it lacks one.
    """
    image, label = sample.image(), sample.label(label_key)
    if image is None or label is None:
        where = f"under {quoted(label_key)} in .json" if label_key else "in .cls, .txt or .json"
        raise sample.fault(f"Expected an image, and its class {where} directly before or after it")
    return image, label


def class_names_near(shard: Path | str) -> list[str]:
    """The names of numbered classes: classnames.txt beside a shard, else in the folder above; none without either.

    Raises:
        TransferkitError: If it is not in UTF-8.
    """
    folder = folder_of(str(shard))
    places = [f"{place}/{CLASS_NAMES}" for place in (folder, folder and folder_of(folder)) if place]
    place = next((place for place in places if is_file(place)), "")
    try:
        return read_span(place).decode("utf-8").splitlines() if place else []
    except UnicodeDecodeError as error:
        raise TransferkitError(f"{place} is not in UTF-8, from byte {error.start} on. Save it as UTF-8.") from error


def named_class(label: str, names: list[str], sample: TarSample) -> str:
    """The name of a numbered class where there are names.

    Raises:
        TransferkitError: If there are fewer names than that.
    """
    if not names or not label.isdecimal():
        return label
    if int(label) >= len(names):
        raise sample.fault(f"Its class is {label}, and {CLASS_NAMES} names {len(names)}, from 0 on")
    return names[int(label)]


class Reader(Protocol):
    """What reads one kind of shard."""

    def __call__(self, path: Path, label_column: str | None, *, with_images: bool) -> Iterator[Record]:
        """The records of a file, in its order."""
        ...


READERS: dict[str, Reader] = {
    ".parquet": parquet_records,
    ".tar": tar_records,
} | dict.fromkeys(COMPRESSED_TARS, tar_records)
