"""Images from elsewhere, brought to the size of the run's own images: data sets by name, and folders of any shape."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data import datasets
from transferkit.data.datasets.folder_cache import automatic_size, decoded
from transferkit.data.datasets.layout import PARTS, File, class_name, escaped
from transferkit.data.image_files import EXTENSIONS
from transferkit.data.images import Images, Pixels
from transferkit.data.reading import Reading
from transferkit.models.preparation import resize
from transferkit.recipe import DATA_MODELS, parse_data
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted
from transferkit.runtime.files import read_text
from transferkit.runtime.missing_paths import missing_in_words
from transferkit.runtime.plurals import counted

NATIVE_IMAGES = 1_000  # looked at in their own size too
ALIKE = 1.1  # sizes within this factor count as the same
LISTED = 5
CLASS_NAMES_FILE = "classes.tsv"


@dataclass(frozen=True)
class ImageSet:
    """Images of one kind, at the size of the run's own images.

    Attributes:
        name: As the report calls it.
        source: Where it came from.
        images: Labels count along its own classes.
        native: Some of the images in their own size, or None where that is the run's size.
        native_px: Side of the images as they came; of folders the median short side, at most 256.
        notes: Lines that the report must show.
    """

    name: str
    source: str
    images: Images
    native: Images | None
    native_px: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, chosen: npt.NDArray[np.bool_], note: str) -> ImageSet:
        """The images where `chosen`; those in their own size likewise."""
        ids = {name for name, keep in zip(self.images.ids, chosen, strict=True) if keep}
        native = self.native
        if native is not None:
            native = native.subset([index for index, name in enumerate(native.ids) if name in ids])
        images = self.images.subset(np.flatnonzero(chosen))
        return replace(self, images=images, native=native, notes=(*self.notes, note))


def load(source: str, side_px: int, limit: int, seed: int, console: Console, fit: str | Reading = "crop") -> ImageSet:
    """A data set's test part, or the images of a folder, as squares of `side_px`.

    Args:
        source: A data set's name (`svhn`, `svhn:FOLDER`), a folder, or NAME=FOLDER.
        side_px: Side of the run's own images.
        limit: Most images; of more, a sample is drawn.
        seed: Of the sample.
        console: Where progress is told.
        fit: How rectangular files become square: as those of the run did, so that its own images are recognised.

    Raises:
        TransferkitError: If there is no such data set or folder, or it holds no image that can be read.
    """
    place = require(source)
    if isinstance(place.what, Path):
        return load_folder(place.what, place.name, side_px, limit, seed, console, fit)
    return _load_dataset(place.what, place.root, side_px, limit, seed, console)


@dataclass(frozen=True)
class Place:
    """Where images are to come from: a folder, or the name of a data set with its root (or none)."""

    name: str
    what: Path | str
    root: str = ""


def require(source: str) -> Place:
    """What a source means, checked without reading an image.

    Raises:
        TransferkitError: If there is no such data set or folder.
    """
    name, _, path = source.partition("=")
    if path and not Path(source).exists():
        return Place(name, existing(Path(path)))
    dataset, _, root = source.partition(":")
    if dataset in DATA_MODELS and dataset != "folder" and not (Path(source).is_dir() and os.sep in source):
        return Place(dataset, dataset, root)
    folder = Path(root if dataset == "folder" else source)
    if not folder.exists() and os.sep not in source:
        raise TransferkitError(f"{source} is neither a folder nor a data set. {did_you_mean(source, DATA_MODELS)}")
    return Place(folder.resolve().name, existing(folder))


def existing(folder: Path) -> Path:
    """The folder.

    Raises:
        TransferkitError: If it is none.
    """
    if not folder.is_dir():
        what = f"{folder} is a file." if folder.exists() else missing_in_words(folder)
        raise TransferkitError(f"{what} Expected a folder with images, in class folders or not.")
    return folder


def require_bands(image_set: ImageSet, bands: int) -> None:
    """Refuse images that the network cannot take.

    Raises:
        TransferkitError: If they have other bands than the run's own.
    """
    if image_set.images.bands != bands:
        raise TransferkitError(
            f"{image_set.name} has images of {image_set.images.bands} bands, and the run takes {bands}. Leave it out, "
            "or give a folder of images with as many."
        )


def _load_dataset(name: str, root: str, side_px: int, limit: int, seed: int, console: Console) -> ImageSet:
    settings = parse_data({"name": name, "root": root} if root else name)
    splits = datasets.load(settings, console)
    images = sample(splits.test.open(), limit, seed)
    native_px = min(images.size_px)
    native = None if native_px == side_px else sample(images, NATIVE_IMAGES, seed)
    notes = (f"{name}: the test part of the data set",)
    return ImageSet(name, source_words(name, root), resized(images, side_px), native, native_px, notes)


def source_words(name: str, root: str) -> str:
    """How a data set was asked for."""
    return f"{name} in {root}" if root else name


def load_folder(
    folder: Path, name: str, side_px: int, limit: int, seed: int, console: Console, fit: str | Reading = "crop"
) -> ImageSet:
    """All images below a folder; a class is the folder directly below it, else the folder itself.

    Where train and test lie side by side, test is taken. A file `classes.tsv` in the folder (or FOLDER.classes.tsv
    beside it) with lines folder<TAB>name gives the classes readable names.

    Raises:
        TransferkitError: If there is no such folder, or no image in it can be read.
    """
    root, notes = _part_of(existing(folder))
    files = image_files(root)
    chosen = _sampled(len(files), limit, seed)
    files = [files[index] for index in chosen]
    images, unreadable = _decoded(root, files, side_px, fit, console)
    native_px = automatic_size([str(root / file.path) for file in files])
    native = None
    if not side_px / ALIKE <= native_px <= side_px * ALIKE:
        some = [files[index] for index in _sampled(len(files), NATIVE_IMAGES, seed)]
        native, _ = _decoded(root, some, native_px, fit, console)
    titles = class_titles(folder)
    return ImageSet(name, str(folder), _titled(images, titles), native, native_px, (*notes, *unreadable))


def _part_of(folder: Path) -> tuple[Path, tuple[str, ...]]:
    below = {entry.name: Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()}
    if {"train", "test"} <= set(below) and set(below) <= set(PARTS):
        return below["test"], (f"{folder}: its test folder was taken",)
    return folder, ()


def image_files(root: Path) -> list[File]:
    """Every image file below a folder with its class, in the order of their paths; hidden ones are passed over.

    Raises:
        TransferkitError: If there is none.
    """
    files = sorted(_walk(root))
    if not files:
        kinds = " ".join(sorted(EXTENSIONS))
        raise TransferkitError(f"{root} holds no image. Expected files that end in {kinds}, in class folders or not.")
    return files


def _walk(root: Path) -> Iterator[File]:
    for folder, below, names in os.walk(root, followlinks=False):
        below[:] = [name for name in below if not name.startswith(".") and name != "__MACOSX"]
        relative = Path(folder).relative_to(root)
        label = class_name(relative.parts[0] if relative.parts else root.resolve().name)
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                status = os.stat(os.path.join(folder, name))
                yield File((relative / name).as_posix(), label, status.st_size, status.st_mtime_ns)


def _decoded(
    root: Path, files: Sequence[File], side_px: int, fit: str | Reading, console: Console
) -> tuple[Images, tuple[str, ...]]:
    """Readable files at one size, and a line about the others.

    Raises:
        TransferkitError: If no file can be read.
    """
    pixels = decoded(root, files, side_px, fit, console)
    readable = [row for row in range(len(files)) if row not in pixels.unreadable]
    problems = [f"{files[row].path}: {reason}" for row, reason in sorted(pixels.unreadable.items())]
    shown = "; ".join(problems[:LISTED]) + (f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else "")
    if not readable:
        raise TransferkitError(f"0 of {counted(len(files), 'image')} in {root} can be read: {shown}.")
    names = sorted({file.label for file in files})
    labels = np.array([names.index(files[row].label) for row in readable], dtype=np.int64)
    ids = tuple(escaped(str(root / files[row].path)) for row in readable)
    rows, known = np.array(readable, dtype=np.int64), (pixels.digests, "", None, pixels.contents)
    images = Images(pixels.pixels, rows, labels, tuple(names), ids, *known)
    return images, (
        f"{len(problems)} of {counted(len(files), 'file')} in {root} cannot be read: {shown}",
    ) if problems else ()


def class_titles(folder: Path) -> dict[str, str]:
    """Readable names of class folders, from classes.tsv; {} where there is none.

    Raises:
        TransferkitError: If a line is not folder<TAB>name.
    """
    beside = folder.resolve()
    places = [folder / CLASS_NAMES_FILE, beside.parent / f"{beside.name}.{CLASS_NAMES_FILE}"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return {}
    titles: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        label, tab, title = line.partition("\t")
        if line.strip() and not tab:
            raise TransferkitError(f"{path}, line {number}: expected folder<TAB>name; found {quoted(line)}.")
        titles[label.strip()] = title.strip()
    return titles


def _titled(images: Images, titles: dict[str, str]) -> Images:
    names = tuple(titles.get(name) or name for name in images.class_names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        names = tuple(
            f"{title} ({name})" if title in twice and title != name else title
            for name, title in zip(images.class_names, names, strict=True)
        )
    return replace(images, class_names=names)


def sample(images: Images, limit: int, seed: int) -> Images:
    """At most `limit` of the images, drawn at random, in their order."""
    return images if len(images) <= limit else images.subset(_sampled(len(images), limit, seed))


def _sampled(n: int, limit: int, seed: int) -> npt.NDArray[np.int64]:
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def resized(images: Images, side_px: int) -> Images:
    """Square images of another size, antialiased, rounded back to uint8."""
    if images.size_px == (side_px, side_px):
        return images
    parts = [_resized(chunk, side_px) for chunk in images.chunks(256)]
    return Images.from_pixels(np.concatenate(parts), images.labels, images.class_names, images.ids)


def _resized(pixels: Pixels, side_px: int) -> Pixels:
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(pixels[:, :, top : top + side, left : left + side].copy()).float()
    small: Pixels = resize(square, side_px).round().clamp(0, 255).to(torch.uint8).numpy()
    return small


def without_classes(image_set: ImageSet, dropped: Sequence[str]) -> ImageSet:
    """The set without some classes, named by folder, by title, or by one of the names in a title with commas.

    Raises:
        TransferkitError: If nothing would be left.
    """
    wanted = {name.strip().lower() for name in dropped}
    gone = [index for index, title in enumerate(image_set.images.class_names) if _names_of(title) & wanted]
    if not gone:
        return image_set
    remaining = ~np.isin(image_set.images.require_labels(), gone)
    if not remaining.any():
        raise TransferkitError(f"{image_set.name}: every class is dropped, so that no image is left.")
    listed = ", ".join(image_set.images.class_names[index].partition(",")[0] for index in gone)
    return image_set.subset(
        remaining,
        f"{image_set.name}: {counted(int((~remaining).sum()), 'image')} of {counted(len(gone), 'class', 'classes')} "
        f"dropped: {listed}",
    )


def _names_of(title: str) -> set[str]:
    return {title.lower(), *(part.strip().lower() for part in title.split(","))}


def dropped_classes(values: Sequence[str]) -> list[str]:
    """Class names as typed, and those in files with one name per line; `#` starts a comment."""
    names: list[str] = []
    for value in values:
        path = Path(value)
        if os.path.isfile(path):
            lines = (line.partition("#")[0].strip() for line in read_text(path).splitlines())
            names += [line for line in lines if line]
        else:
            names += [name.strip() for name in value.split(",") if name.strip()]
    return names


def require_dropped(image_sets: Sequence[ImageSet], dropped: Sequence[str]) -> None:
    """Refuse a class to drop that is in none of the sets: a slip of the pen would leave known classes in.

    Raises:
        TransferkitError: Names it and the nearest class; or there is no set at all.
    """
    if dropped and not image_sets:
        raise TransferkitError(
            "--drop-classes takes classes out of the sets of --ood, and none was given. Add --ood FOLDER."
        )
    titles = {name for image_set in image_sets for title in image_set.images.class_names for name in _names_of(title)}
    for name in dropped:
        if name.lower() not in titles:
            raise TransferkitError(
                f"--drop-classes: no set has a class {quoted(name)}. {did_you_mean(name.lower(), titles)}"
            )
