"""The images that words on the command line mean: data sets, folders, globs, tables, single files, a list."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic, iglob
from io import BufferedReader
from itertools import chain
from pathlib import Path

from transferkit.data import datasets
from transferkit.data.datasets import path_table
from transferkit.data.image_files import EXTENSIONS, endings_among
from transferkit.data.images import Images
from transferkit.features.extraction.byte_sources import byte_lines, byte_pictures, shard_files
from transferkit.features.extraction.lazy_pictures import PartImages, decoded_files
from transferkit.features.extraction.listing import LISTING, ListedImage, Listing
from transferkit.features.extraction.settings import PARTS, ExtractSettings, Part
from transferkit.features.pictures import Pictures, image_paths
from transferkit.recipe import DATA_MODELS, Data, parse_data
from transferkit.runtime import folders
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, did_you_mean, is_plain, quoted
from transferkit.runtime.folders import ensure_folder
from transferkit.runtime.full_disk import naming
from transferkit.runtime.missing_paths import is_meant_as_path, missing_in_words
from transferkit.runtime.plurals import counted
from transferkit.runtime.remote import is_url

STANDARD_INPUT = "-"  # the word that stands for it
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")  # how their files begin


@dataclass(frozen=True)
class ImageSource:
    """Where images come from: their ids, classes and parts in a fixed order, and their pixels."""

    name: str
    lines: Callable[[], Iterator[tuple[str, ...]]]
    pictures: Callable[[Sequence[ListedImage], int, ExtractSettings], Pictures]
    class_names: tuple[str, ...] | None = None

    @property
    def is_files(self) -> bool:
        """Whether the images lie in files of their own, and their ids are the paths."""
        return self.pictures is decoded_files

    def some_lines(self) -> Iterator[tuple[str, ...]]:
        """The lines, at least one.

        Raises:
            TransferkitError: If there are no images.
        """
        lines = self.lines()
        first = next(lines, None)
        if first is None:
            raise TransferkitError(f"{self.name} holds no images ({', '.join(sorted(EXTENSIONS)[:6])} ...).")
        return chain([first], lines)

    def listed(self, folder: Path) -> Listing:
        """Write the listing into a folder.

        Raises:
            TransferkitError: If there are no images; the folder is then not made.
        """
        lines = self.some_lines()
        ensure_folder(folder, "Choose another place with --out.")
        file = folder / LISTING
        folders.record(file)
        total, names = 0, set[str]()
        with naming(file), file.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            for line in lines:
                writer.writerow(line)
                names.add(line[1])
                total += 1
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return Listing(file, total, self.class_names or tuple(sorted(names - {""})), digest)


def opened_sources(words: Sequence[str], settings: ExtractSettings, console: Console) -> ImageSource:
    """The images that several words mean, one after the other.

    Raises:
        TransferkitError: If a word is none of what is expected, means no images, or is a data set among others.
    """
    sources = [opened_source(word, settings, console) for word in words]
    if len(sources) == 1:
        return sources[0]
    alone = [source.name for word, source in zip(words, sources, strict=True) if is_alone(word, source)]
    if alone:
        raise TransferkitError(f"{alone[0]} is taken by itself. Leave the other sources out.")
    for source in sources:
        source.some_lines()
    return ImageSource(
        f"{counted(len(sources), 'source')}",
        lambda: (line for source in sources for line in source.some_lines()),
        decoded_files,
    )


def is_alone(word: str, source: ImageSource) -> bool:
    """Whether a source cannot go with others: a data set has pixels of its own, and standard input is read once."""
    return word == STANDARD_INPUT or not source.is_files


def opened_source(images: str, settings: ExtractSettings, console: Console) -> ImageSource:
    """The images that a word on the command line means; a data set's name comes before a folder of that name.

    Raises:
        TransferkitError: If it is none of what is expected.
    """
    if images in DATA_MODELS or images.startswith("folder:"):
        return from_data_set(images, settings.part, console)
    if is_url(images) or shard_files(images):
        return from_bytes(images)
    if images == STANDARD_INPUT:
        return ImageSource("standard input", lambda: paths_in(standard_input()), decoded_files)
    path = Path(images)
    if os.path.isdir(path):
        return from_files(images, lambda: image_paths(path), path)
    if path.suffix.lower() == ".csv" and os.path.isfile(path):
        return from_csv(path)
    if os.path.isfile(path):
        return ImageSource(images, lambda: paths_in([images]), decoded_files)
    if has_magic(images):
        return from_files(
            images, lambda: (Path(name) for name in sorted(iglob(images, recursive=True))), fixed_root(path)
        )
    if is_meant_as_path(images):
        raise TransferkitError(missing_in_words(path))
    raise TransferkitError(
        f"There are no images at {quoted(images)}. Expected a file, a folder, a glob, a CSV with columns "
        f"path[,label], - for a list on standard input, or a data set. {did_you_mean(images, DATA_MODELS)}"
    )


def standard_input() -> Iterable[str]:
    """The lines of standard input.

    Raises:
        TransferkitError: If it is a picture instead of a list of paths.
    """
    stream = getattr(sys.stdin, "buffer", None)
    start = stream.peek(64) if isinstance(stream, BufferedReader) else b""
    if b"\0" in start and (start.startswith(PICTURES) or start[4:8] == b"ftyp"):  # no path holds a zero byte
        raise TransferkitError(
            "Standard input is a list of paths, one per line, and this looks like a picture. "
            "Name its file in place of -."
        )
    return sys.stdin


def paths_in(texts: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """A list of paths, one per line, whatever their ending: who names a file means it; empty lines are passed over.

    Raises:
        TransferkitError: If a line is no path in UTF-8.
    """
    try:
        for text in texts:
            if path := text.rstrip("\r\n"):
                _require_plain(Path(path))
                yield path, "", ""
    except UnicodeDecodeError as error:
        raise TransferkitError(f"The list of paths is no text in UTF-8: {error}.") from error


def fixed_root(pattern: Path) -> Path:
    """The folder of a glob above its first wildcard."""
    return next(parent for parent in pattern.parents if not has_magic(str(parent)))


def from_files(name: str, paths: Callable[[], Iterator[Path]], root: Path) -> ImageSource:
    """Files below a folder; the class of an image is the name of its folder, if that is not the root itself."""

    def lines() -> Iterator[tuple[str, ...]]:
        endings = endings_among(paths())
        for path in paths():
            if path.suffix.lower() in endings:
                _require_plain(path)
                yield str(path), "" if path.parent == root else path.parent.name, ""

    return ImageSource(name, lines, decoded_files)


def _require_plain(path: Path) -> None:
    if not is_plain(str(path)):
        raise TransferkitError(
            f"{str(path)!a} has control characters or bytes that are no UTF-8 in its name, which no list of paths can "
            "hold. Rename it."
        )


def from_bytes(name: str) -> ImageSource:
    """Images in shards or behind a URL."""
    return ImageSource(name, lambda: byte_lines(name), byte_pictures)


def from_csv(file: Path) -> ImageSource:
    """A table with columns path and perhaps label; paths are relative to the table's folder.

    Raises:
        TransferkitError: If it is no CSV, or has no column `path`.
    """
    next(path_table.rows(file, ["path"]), None)  # what is wrong with its first lines is told at once

    def lines() -> Iterator[tuple[str, ...]]:
        for line, row in path_table.rows(file, ["path"]):
            if not row["path"]:
                raise TransferkitError(f"{file}, line {line}: the path is missing.")
            yield str(file.parent / row["path"]), row.get("label", ""), row.get("part", "")

    return ImageSource(str(file), lines, decoded_files)


def from_data_set(name: str, part: Part, console: Console) -> ImageSource:
    """The images of a data set, split as a recipe splits them by default; opening the test part is said aloud.

    Raises:
        TransferkitError: If the data set has no such part.
    """
    if part not in PARTS:
        raise TransferkitError(f"Unknown part {part!r}. {did_you_mean(part, PARTS)}")
    splits = datasets.load(data_settings(name), console)
    chosen: dict[str, Images] = {}
    if part == "test":
        chosen = {"test": splits.test.open()}
        console.line(
            f"opened the {counted(len(splits.test), 'test image')} of {name}: choose nothing by what they show."
        )
    else:
        parts = {"train": splits.train, "val": splits.val}
        chosen = parts if part == "trainval" else {part: parts[part]}

    def lines() -> Iterator[tuple[str, ...]]:
        for part_name, images in chosen.items():
            for identity, label in zip(images.ids, images.require_labels(), strict=True):
                yield identity, images.class_names[label], part_name

    return ImageSource(f"{name}, part {part},", lines, lambda rows, *_: PartImages(chosen, rows), splits.class_names)


def data_settings(name: str) -> Data:
    """The default settings of a data set."""
    return parse_data(name)
