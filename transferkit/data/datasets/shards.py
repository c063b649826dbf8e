"""Your own images inside shards: Parquet files as on the Hugging Face hub, tar files as WebDataset writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np

from transferkit.data.datasets.folder_cache import SAMPLED_FILES, automatic_size
from transferkit.data.datasets.folder_depth import LOOKED_AT, seen_reading
from transferkit.data.datasets.layout import LISTED, PARTS, class_name, in_natural_order
from transferkit.data.datasets.outline import Outline
from transferkit.data.datasets.parts import parted
from transferkit.data.datasets.shard_index import ending_of
from transferkit.data.datasets.shard_records import READERS, Record
from transferkit.data.datasets.shard_stream import ShardIndex, cause_of, indexed, streamed_pixels
from transferkit.data.decoding import decode
from transferkit.data.images import Images, Pixels, Splits, aligned
from transferkit.data.reading import Reading, read_as, reading_of
from transferkit.recipe import ShardsData
from transferkit.runtime.console import Console, Progress
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.runtime.processor import usable_cores

CHUNK = 256  # records decoded together
EXPECTED = (
    "Expected .parquet files with the columns image and label, or .tar files with NAME.jpg beside NAME.cls or "
    "NAME.json; train, val and test stand in the files' names"
)


def load(settings: ShardsData, console: Console) -> Splits:
    """Splits of the shards; what has no test or val part gets one.

    Labels are read first, then images; nothing is unpacked to disk.

    Raises:
        TransferkitError: If there are no shards, they cannot be read, or name fewer than two classes.
    """
    files = shards_of(settings.path)
    require_sense(settings)
    first = next(iter(files.values()))
    side = _side(first, settings)
    sample = [BytesIO(record.image) for record in islice(_records(first, settings), LOOKED_AT)]
    reading, reading_notes, seen_files = seen_reading(sample, settings)
    settings = settings.model_copy(update=read_as(reading))
    indices = _indices(files, settings, console) if settings.stream else {}
    labels = {part: _labels(paths, settings, indices.get(part, ())) for part, paths in files.items()}
    names = in_natural_order({label for of_part in labels.values() for label in of_part})
    if "train" not in files or len(names) < 2:
        classes = f"{counted(len(names), 'class', 'classes')}: {', '.join(names[:LISTED])}"
        raise TransferkitError(f"{settings.path} has {', '.join(files)} with {classes}. {EXPECTED}.")
    if settings.stream:
        parts, notes = _streamed(files, indices, names, side, settings)
    else:
        parts, notes = _held(files, labels, names, side, settings, console)
    splits, _, more = parted(parts, settings)
    sizes = ", ".join(f"{len(images):,} in {part}" for part, images in parts.items())
    count = sum(map(len, files.values()))
    return replace(
        splits,
        notes=(f"{settings.path.name}: {counted(count, 'shard')}, {sizes}", *notes, *reading_notes, *more),
        read_as=read_as(reading),
        files=seen_files,
    )


def require_sense(settings: ShardsData) -> None:
    """Refuse keys that do not go together.

    Raises:
        TransferkitError: If bad images are to be left out of what is read as training goes.
    """
    if settings.stream and settings.skip_bad:
        raise TransferkitError(
            "stream reads images as training goes, so it cannot leave bad ones out beforehand. Take bad images out of "
            "the shards, or leave stream or skip_bad out."
        )


def _held(
    files: dict[str, list[Path]],
    labels: dict[str, list[str]],
    names: tuple[str, ...],
    side: int,
    settings: ShardsData,
    console: Console,
) -> tuple[dict[str, Images], list[str]]:
    """All images, decoded; and notes."""
    parts, notes = {}, [f"images kept at {side} x {side} px ({settings.fit})"]
    with console.progress("decode", sum(map(len, labels.values()))) as progress:
        for part, paths in files.items():
            images, unreadable = _decoded(part, paths, labels[part], side, settings, progress)
            parts[part] = aligned(images, names)
            notes += [f"skipped, unreadable: {line}" for line in unreadable]
    return parts, notes


def _streamed(
    files: dict[str, list[Path]],
    indices: dict[str, list[ShardIndex]],
    names: tuple[str, ...],
    side: int,
    settings: ShardsData,
) -> tuple[dict[str, Images], list[str]]:
    """All images, still in their shards; and notes. All parts share one storage."""
    paths = [path for of_part in files.values() for path in of_part]
    every = [index for of_part in indices.values() for index in of_part]
    ids = [f"{part}/{name}" for part in indices for name in _names(files[part], indices[part])]
    storage = streamed_pixels(paths, every, ids, side, reading_of(settings), settings.stream_window)
    digests, number = np.concatenate([index.digests for index in every]), {name: row for row, name in enumerate(names)}
    parts, first = {}, 0
    for part, of_part in indices.items():
        known = [number[class_name(label)] for index in of_part for label in index.labels]
        rows = np.arange(first, first + len(known))
        own_ids = tuple(ids[first : first + len(known)])
        parts[part] = Images(storage, rows, np.array(known, np.int64), names, own_ids, digests)
        first += len(known)
    return parts, [f"images streamed from their shards at {side} x {side} px ({settings.fit})"]


def _names(paths: list[Path], indices: list[ShardIndex]) -> Iterator[str]:
    """Of the images of one part, as `_records` calls them."""
    for shard, index in zip(shard_names(paths), indices, strict=True):
        yield from (f"{shard}/{name}" for name in index.names)


def _indices(files: dict[str, list[Path]], settings: ShardsData, console: Console) -> dict[str, list[ShardIndex]]:
    reading = reading_of(settings)
    return {
        part: [indexed(path, settings.label_column, reading, console) for path in paths]
        for part, paths in files.items()
    }


def outline(settings: ShardsData) -> Outline:
    """From the labels, which have to be read for it."""
    files = shards_of(settings.path)
    labels = {part: _labels(paths, settings) for part, paths in files.items()}
    tested = len(labels.get("test", ()))
    labelled, classes = (
        sum(map(len, labels.values())) - tested,
        len({name for part in labels.values() for name in part}),
    )
    side = _side(next(iter(files.values())), settings)
    if tested:
        return Outline(labelled, tested, classes, side)
    return Outline.divided(labelled, settings.test_fraction, classes, side)


def seen_in_words(settings: ShardsData) -> list[str]:
    """How many images and classes a dry run sees."""
    known, count = outline(settings), sum(map(len, shards_of(settings.path).values()))
    return [
        f"Data: {counted(known.classes, 'class', 'classes')}, {counted(known.labelled + known.tested, 'image')} in "
        f"{counted(count, 'shard')}."
    ]


def shards_of(path: Path) -> dict[str, list[Path]]:
    """The files of train, val and test, in the order of their names.

    Raises:
        TransferkitError: If there are none.
    """
    candidates = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    files: dict[str, list[Path]] = {}
    for file in candidates:
        if reader_of(file) and file.is_file() and not file.name.startswith("."):
            files.setdefault(part_of(file), []).append(file)
    if not files:
        what = "holds no shards" if path.is_dir() else "is no shard" if path.exists() else "does not exist"
        raise TransferkitError(f"{path} {what}. {EXPECTED}.")
    return {part: files[part] for part in ("train", "val", "test") if part in files}


def reader_of(file: Path) -> str:
    """The end of the file's name by which its reader is found; "" where it is no shard."""
    return next((ending for ending in READERS if file.name.lower().endswith(ending)), "")


def part_of(file: Path) -> str:
    """Train, val or test by a word of the file's name, or else by its folder's; train where neither says.

    Example:
        >>> part_of(Path("data/validation-00000-of-00001.parquet")), part_of(Path("test/shard-3.tar"))
        ('val', 'test')
    """
    words = [*re.split(r"[^a-z]+", file.name.lower()), file.parent.name.lower()]
    return next((PARTS[word] for word in words if word in PARTS), "train")


def shard_names(paths: Sequence[Path]) -> list[str]:
    """What ids call each shard: its name up to the ending, after its folders where another one has that name.

    Example:
        >>> shard_names([Path("data/a.tar"), Path("data/b.tar.gz")])
        ['a', 'b']
        >>> shard_names([Path("data/day-1/a.tar"), Path("data/day-2/a.tar")])
        ['day-1/a', 'day-2/a']
    """
    stems = [path.stem if ending_of(path.name) == ".parquet" else path.name.partition(".")[0] for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    root = Path(os.path.commonpath([path.parent for path in paths]))
    folders = [path.parent.relative_to(root) for path in paths]
    named = [(folder / stem).as_posix() for folder, stem in zip(folders, stems, strict=True)]
    if len(set(named)) == len(named):
        return named
    return [(folder / path.name).as_posix() for folder, path in zip(folders, paths, strict=True)]


def _records(paths: list[Path], settings: ShardsData, *, with_images: bool = True) -> Iterator[Record]:
    for path, shard in zip(paths, shard_names(paths), strict=True):
        for record in READERS[reader_of(path)](path, settings.label_column, with_images=with_images):
            yield record._replace(name=f"{shard}/{record.name}")


def _labels(paths: list[Path], settings: ShardsData, indices: Sequence[ShardIndex] = ()) -> list[str]:
    if indices:
        return [class_name(label) for index in indices for label in index.labels]
    return [class_name(record.label) for record in _records(paths, settings, with_images=False)]


def _side(paths: list[Path], settings: ShardsData) -> int:
    """As asked for, or as the first thousand images suggest."""
    if isinstance(settings.storage, int):
        return settings.storage
    sample = [BytesIO(record.image) for record in islice(_records(paths, settings), SAMPLED_FILES)]
    return automatic_size(sample, settings.max_megapixels)


def _decoded(
    part: str, paths: list[Path], labels: list[str], side: int, settings: ShardsData, progress: Progress
) -> tuple[Images, list[str]]:
    """The readable images of one part, and what is wrong with the others.

    Raises:
        TransferkitError: If some are unreadable and not to be skipped.
    """
    pixels = np.zeros((len(labels), reading_of(settings).channels, side, side), dtype=np.uint8)
    ids: list[str] = []
    unreadable: dict[int, str] = {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for records in batched(_records(paths, settings), CHUNK):
            squares = pool.map(lambda record: _square(record, side, reading_of(settings)), records)
            for record, square in zip(records, squares, strict=True):
                if isinstance(square, str):
                    unreadable[len(ids)] = f"{part}/{record.name}: {square}"
                else:
                    pixels[len(ids)] = square
                ids.append(f"{part}/{record.name}")
            progress.advance(len(records))
    if unreadable and not settings.skip_bad:
        lines = [*islice(unreadable.values(), LISTED), *(["..."] if len(unreadable) > LISTED else [])]
        raise TransferkitError(
            "\n  ".join([f"{len(unreadable)} of {counted(len(ids), 'image')} cannot be read:", *lines])
            + "\nLeave them out with --skip-bad."
        )
    rows = np.array([row for row in range(len(ids)) if row not in unreadable], dtype=np.int64)
    names = in_natural_order(set(labels))
    number = {name: index for index, name in enumerate(names)}
    known = np.array([number[labels[row]] for row in rows.tolist()], dtype=np.int64)
    return Images(pixels, rows, known, names, tuple(ids[row] for row in rows.tolist())), list(unreadable.values())


def _square(record: Record, side: int, reading: Reading) -> Pixels | str:
    """The pixels (3, side, side) of an image, or why it cannot be read."""
    try:
        return decode(BytesIO(record.image), side, reading)
    except TransferkitError as error:
        return cause_of(error)


def batched(records: Iterator[Record], count: int) -> Iterator[list[Record]]:
    """Lists of so many records; the last one may be shorter."""
    while chunk := list(islice(records, count)):
        yield chunk
