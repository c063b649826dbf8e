"""The records of a shard one after the other: an image's bytes, its class and its name."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol, cast

from transferkit.data.image_files import EXTENSIONS
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted
from transferkit.runtime.optional_libraries import pyarrow

IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png")
LABEL_COLUMNS = ("label", "labels", "class", "target", "fine_label", "cls")
LARGEST_RECORD = 512 * 2**20  # bytes; no image is larger, and memory holds it
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
        image, label = _columns(path, file.schema_arrow.names, label_column)
        names = class_names_of(file.schema_arrow.metadata or {}, label)
        row = 0
        for batch in file.iter_batches(ROWS, columns=[image, label] if with_images else [label]):
            values = batch.column(label).to_pylist()
            cells = batch.column(image).to_pylist() if with_images else [b""] * len(values)
            for cell, value in zip(cells, values, strict=True):
                yield Record(f"{path.stem}/{row}", image_bytes(path, row, cell), label_text(path, row, value, names))
                row += 1
    except (library.ArrowInvalid, OSError) as error:
        raise TransferkitError(f"{path} is no Parquet file, or damaged: {str(error).splitlines()[0]}.") from error


def _columns(path: Path, present: list[str], label_column: str | None) -> tuple[str, str]:
    image = next((name for name in IMAGE_COLUMNS if name in present), None)
    label = label_column or next((name for name in LABEL_COLUMNS if name in present), None)
    if image is None or label is None:
        raise TransferkitError(
            f"{path} has the columns {', '.join(present)}. Expected image (bytes) and label, or another that "
            "--label-column names."
        )
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
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TransferkitError(
            f"{path}, row {row}: label {quoted(value)}. Expected one class, as text or a whole number."
        )
    if isinstance(value, int) and names:
        if not 0 <= value < len(names):
            raise TransferkitError(f"{path}, row {row}: label {value}, but the schema names {len(names)} classes.")
        return names[value]
    return str(value)


def tar_records(path: Path, label_column: str | None, *, with_images: bool) -> Iterator[Record]:
    """The samples of a tar file in WebDataset's layout: neighbours NAME.jpg and NAME.cls (or NAME.txt, NAME.json).

    Nothing is unpacked; numbered classes take their names from a file classnames.txt beside the shards.

    Raises:
        TransferkitError: If the file is damaged, or a sample has no image or no class.
    """
    beside = path.parent / "classnames.txt"
    names = beside.read_text(encoding="utf-8").splitlines() if beside.is_file() else []
    try:
        with tarfile.open(path, "r|*") as archive:
            for key, sample in _samples(archive, path, with_images=with_images):
                yield _sample_record(path, key, sample, names, label_column)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise TransferkitError(f"{path} is no tar file, or damaged: {error}.") from error


def _samples(archive: tarfile.TarFile, path: Path, *, with_images: bool) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Members in a row that share a name up to its first dot, by what follows the dot."""
    key, sample = "", cast("dict[str, bytes]", {})
    for member in archive:
        if not member.isfile():
            continue
        if member.size > LARGEST_RECORD:
            raise TransferkitError(
                f"{path}: {quoted(member.name)} has {member.size:,} bytes; at most {LARGEST_RECORD:,}."
            )
        whole = PurePosixPath(member.name)
        stem, _, ending = whole.name.partition(".")
        name = str(whole.parent / stem)
        if sample and name != key:
            yield key, sample
            sample = {}
        key, ending = name, f".{ending.lower()}"
        opened = archive.extractfile(member) if with_images or ending not in EXTENSIONS else None
        sample[ending] = opened.read() if opened else b""
    if sample:
        yield key, sample


def _sample_record(
    path: Path, key: str, sample: dict[str, bytes], names: list[str], label_column: str | None
) -> Record:
    image = next((content for ending, content in sample.items() if ending in EXTENSIONS), None)
    label = sample_label(sample, label_column)
    if image is None or label is None:
        raise TransferkitError(
            f"{path}: {quoted(key)} has {', '.join(sample)}. Expected an image, and its class in .cls, .txt or .json."
        )
    if label.isdigit() and int(label) < len(names):
        label = names[int(label)]
    return Record(f"{path.name.partition('.')[0]}/{key}", image, label)


def sample_label(sample: dict[str, bytes], label_column: str | None) -> str | None:
    """The class of a WebDataset sample from the members beside its image; None where they tell none."""
    for ending in (".cls", ".txt"):
        if ending in sample and label_column is None:
            return sample[ending].decode("utf-8", "replace").strip()
    try:
        facts = json.loads(sample.get(".json", b"null"))
    except ValueError:
        return None
    keys = (label_column,) if label_column else LABEL_COLUMNS
    label = next((facts[key] for key in keys if key in facts), None) if isinstance(facts, dict) else None
    return str(label) if isinstance(label, (int, str)) and not isinstance(label, bool) else None


class Reader(Protocol):
    """What reads one kind of shard."""

    def __call__(self, path: Path, label_column: str | None, *, with_images: bool) -> Iterator[Record]:
        """The records of a file, in its order."""
        ...


READERS: dict[str, Reader] = {
    ".parquet": parquet_records,
    ".tar": tar_records,
    ".tar.gz": tar_records,
    ".tgz": tar_records,
}
