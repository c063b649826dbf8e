"""Files of features: .npy, .safetensors, .parquet and .csv, written and read some rows at a time."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from transferkit.runtime.array_types import Features
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.optional_libraries import pyarrow
from transferkit.runtime.records import from_json

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

DType: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True)
class NumberKind:
    """How a kind of number is called: by numpy, in the header of a .safetensors file, by Arrow; and its bytes."""

    numpy: str
    safetensors: str
    arrow: str
    bytes: int


NUMBER_KINDS: dict[str, NumberKind] = {
    "float32": NumberKind("<f4", "F32", "float32", 4),
    "float16": NumberKind("<f2", "F16", "float16", 2),
}


@dataclass(frozen=True)
class Rows:
    """Some images in order: ids, class names and parts (empty where there are none), features by layer."""

    ids: Sequence[str]
    classes: Sequence[str]
    parts: Sequence[str]
    features: Mapping[str, Features]


@dataclass(frozen=True)
class FeatureTable:
    """What a file is to hold.

    Attributes:
        count: Rows in all.
        shapes: Of the features of one image, by layer.
        read: The rows from the beginning, some at a time; may be called again.
        dtype: Of the numbers in the file.
    """

    count: int
    shapes: Shapes
    read: Callable[[], Iterable[Rows]]
    dtype: DType = "float32"

    @property
    def numbers(self) -> NumberKind:
        """How they are called."""
        return NUMBER_KINDS[self.dtype]


def require_known_file(path: Path, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse a file that cannot hold features of these shapes, one per layer.

    Raises:
        TransferkitError: Says which file can.
    """
    if path.suffix not in WRITERS:
        raise TransferkitError(
            f"Unknown kind of file {path.suffix or path.name!r}. {did_you_mean(path.suffix, WRITERS)}"
        )
    if path.suffix == ".npy" and len(shapes) > 1:
        raise TransferkitError("A .npy file holds one layer. Use a .safetensors or .parquet file for several.")
    if path.suffix in (".csv", ".parquet") and any(len(shape) > 1 for shape in shapes):
        raise TransferkitError(
            f"A {path.suffix} file cannot hold maps, which pool none gives. Use --pool avg or flatten, or a .npy or "
            ".safetensors file."
        )
    if path.suffix == ".parquet":
        pyarrow()


# ------------------------------------------------------------------------------------------------------------ write


def write_npy(path: Path, content: FeatureTable) -> None:
    """One array (N, ...) of the only layer."""
    (layer, shape), *_ = content.shapes.items()
    header = {"descr": content.numbers.numpy, "fortran_order": False, "shape": (content.count, *shape)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for rows in content.read():
            file.write(little_endian(rows.features[layer], content.numbers))


@dataclass(frozen=True)
class StoredTensor:
    """What the header of a .safetensors file says of one tensor: number type, shape, first byte and end."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def write_safetensors(path: Path, content: FeatureTable) -> None:
    """One tensor (N, ...) per layer.

    The format: eight bytes with the header's length, the header in JSON, the tensors one after the other
    (github.com/huggingface/safetensors, "Format"). Written by hand, because the library wants all in memory.
    """
    header: dict[str, StoredTensor] = {}
    end = 0
    for layer, shape in content.shapes.items():
        start, end = end, end + content.count * row_bytes(shape, content.numbers)
        header[layer] = StoredTensor(content.numbers.safetensors, (content.count, *shape), (start, end))
    text = json.dumps({layer: vars(place) for layer, place in header.items()}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for layer in content.shapes:
            for rows in content.read():
                file.write(little_endian(rows.features[layer], content.numbers))


def write_csv(path: Path, content: FeatureTable) -> None:
    """One line per image: id, class, part, and a column per feature (`layer4_0`), with nine digits, which is exact."""
    columns = [f"{layer}_{number}" for layer, shape in content.shapes.items() for number in range(shape[0])]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "class", "part", *columns])
        for rows in content.read():
            values = np.concatenate([rows.features[layer] for layer in content.shapes], axis=1)
            for *words, numbers in zip(rows.ids, rows.classes, rows.parts, values, strict=True):
                writer.writerow([*words, *(f"{number:.9g}" for number in numbers)])


def write_parquet(path: Path, content: FeatureTable) -> None:
    """One row per image: id, class, part, and a list of floats per layer."""
    arrow = pyarrow()
    texts = [(name, arrow.string()) for name in ("id", "class", "part")]
    lists = [
        (layer, arrow.list_(getattr(arrow, content.numbers.arrow)(), shape[0]))
        for layer, shape in content.shapes.items()
    ]
    schema = arrow.schema([*texts, *lists])
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in content.read():
            columns = [arrow.array(words, arrow.string()) for words in (rows.ids, rows.classes, rows.parts)]
            for layer, shape in content.shapes.items():
                values = np.asarray(rows.features[layer], content.numbers.numpy).reshape(-1)
                columns.append(arrow.FixedSizeListArray.from_arrays(values, shape[0]))
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def little_endian(array: Features, numbers: NumberKind) -> bytes:
    """The bytes of numbers, as every file but a .csv holds them."""
    return np.ascontiguousarray(array, dtype=numbers.numpy).tobytes()


def row_bytes(shape: Sequence[int], numbers: NumberKind) -> int:
    """Of the features of one image."""
    return numbers.bytes * int(np.prod(shape))


def row_digest(content: FeatureTable) -> str:
    """SHA-256 of the rows' bytes, layer after layer: of a .npy file, of all that follows its header."""
    digest = hashlib.sha256()
    for layer in content.shapes:
        for rows in content.read():
            digest.update(little_endian(rows.features[layer], content.numbers))
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------- read


def read_npy(path: Path, shapes: Shapes, size: int) -> Iterator[dict[str, Features]]:
    """What `write_npy` wrote, `size` rows at a time."""
    ((layer, shape),) = shapes.items()
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        (count, *_), _, dtype = np.lib.format.read_array_header_1_0(file)
        numbers = NUMBER_KINDS[dtype.name]
        while count > 0:
            yield {layer: floats(file.read(min(size, count) * row_bytes(shape, numbers)), shape, numbers)}
            count -= size


def read_safetensors(path: Path, shapes: Shapes, size: int) -> Iterator[dict[str, Features]]:
    """What `write_safetensors` wrote, `size` rows at a time."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        places = {layer: from_json(header.get(layer), StoredTensor, f"{path}, {layer},") for layer in shapes}
        count = places[next(iter(shapes))].shape[0]
        kinds = {numbers.safetensors: numbers for numbers in NUMBER_KINDS.values()}
        for row in range(0, count, size):
            chunk = {}
            for layer, shape in shapes.items():
                numbers = kinds[places[layer].dtype]
                one_row = row_bytes(shape, numbers)
                file.seek(8 + length + places[layer].data_offsets[0] + row * one_row)
                chunk[layer] = floats(file.read(min(size, count - row) * one_row), shape, numbers)
            yield chunk


def read_csv(path: Path, shapes: Shapes, size: int) -> Iterator[dict[str, Features]]:
    """What `write_csv` wrote, `size` rows at a time."""
    bounds = np.cumsum([shape[0] for shape in shapes.values()])[:-1]
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        numbers: list[list[str]] = []
        for line in lines:
            numbers.append(line[3:])
            if len(numbers) == size:
                yield dict(zip(shapes, np.split(np.array(numbers, np.float32), bounds, axis=1), strict=True))
                numbers = []
        if numbers:
            yield dict(zip(shapes, np.split(np.array(numbers, np.float32), bounds, axis=1), strict=True))


def read_parquet(path: Path, shapes: Shapes, size: int) -> Iterator[dict[str, Features]]:
    """What `write_parquet` wrote, `size` rows at a time."""
    for batch in pyarrow().parquet.ParquetFile(path).iter_batches(size, columns=list(shapes)):
        yield {layer: np.asarray(batch.column(layer).flatten()).reshape(-1, *shape) for layer, shape in shapes.items()}


def floats(content: bytes, shape: Sequence[int], numbers: NumberKind) -> Features:
    """(B, ...) from bytes."""
    return np.frombuffer(content, numbers.numpy).reshape(-1, *shape)


WRITERS: dict[str, Callable[[Path, FeatureTable], None]] = {
    ".npy": write_npy,
    ".safetensors": write_safetensors,
    ".parquet": write_parquet,
    ".csv": write_csv,
}
READERS: dict[str, Callable[[Path, Shapes, int], Iterator[dict[str, Features]]]] = {
    ".npy": read_npy,
    ".safetensors": read_safetensors,
    ".parquet": read_parquet,
    ".csv": read_csv,
}
