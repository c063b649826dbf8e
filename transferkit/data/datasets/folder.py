"""Your own images: a folder of class folders, with or without train, val and test, or a CSV of path,label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from transferkit.data.datasets.folder_cache import DIGEST_BYTES, Decoded, automatic_size, decoded
from transferkit.data.datasets.folder_depth import seen_reading
from transferkit.data.datasets.folder_groups import group_notes, with_folders
from transferkit.data.datasets.folder_outline import outline as outline
from transferkit.data.datasets.folder_outline import seen_files as seen_files
from transferkit.data.datasets.folder_outline import seen_in_words as seen_in_words
from transferkit.data.datasets.layout import LISTED, Layout, Part, escaped
from transferkit.data.datasets.layouts import find
from transferkit.data.datasets.parts import parted
from transferkit.data.decoding import decode
from transferkit.data.images import Images, Splits, aligned, require_known_classes
from transferkit.data.reading import read_as
from transferkit.recipe import FolderData
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted


def load(settings: FolderData, console: Console) -> Splits:
    """Splits of a folder or CSV, decoded once into the cache.

    Train, val (or valid, validation) and test folders are taken as they are. Without a test folder a stratified share
    of every class is sealed as test; without a val folder val is carved from train. `limit_per_class` counts train and
    val together; where val has its own folder it limits each of the two.

    Raises:
        TransferkitError: If there are no classes to tell apart, parts name different classes, or files are unreadable
            and not to be skipped.
        MachineError: If the disk has too little space.
    """
    layout = find(settings)
    _require_known_classes(layout)
    reading, reading_notes, files = seen_reading([str(layout.root / file.path) for file in layout.files], settings)
    pixels = decoded(layout.root, layout.files, settings.storage, reading, console)
    notes = [_size_note(pixels, settings), *layout.notes, *_unreadable_notes(settings, layout, pixels)]
    notes += reading_notes
    parts = _parts(layout, pixels)
    splits, test, test_notes = parted(parts, settings)
    used = {"train": splits.train, "val": splits.val, "test": test}
    notes += [*test_notes, *group_notes(layout, used)]
    files = with_folders(files, layout, settings.val_fraction)
    return replace(splits, notes=tuple(notes), read_as=read_as(reading), files=files)


def few(settings: FolderData, count: int) -> Images:
    """Some of the training images that `load` would give, evenly spread; no others are decoded.

    Raises:
        TransferkitError: If there are no classes to tell apart, or one of these files is unreadable.
    """
    layout = find(settings)
    paths = [str(layout.root / file.path) for file in layout.files]
    blank = np.broadcast_to(np.zeros((1, 3, 1, 1), np.uint8), (len(paths), 3, 1, 1))
    digests = np.zeros((len(paths), DIGEST_BYTES), np.uint8)
    parts = _parts(layout, Decoded(blank, digests, digests, {}))
    chosen = parted(parts, settings)[0].train.spread(count)
    reading, _, _ = seen_reading(paths, settings)
    side = settings.storage if isinstance(settings.storage, int) else automatic_size(paths, settings.max_megapixels)
    pixels = np.stack([decode(paths[row], side, reading) for row in chosen.rows])
    return chosen.with_pixels(pixels)


def _parts(layout: Layout, pixels: Decoded) -> dict[str, Images]:
    """Train, val and test as images along the class names of train, without the unreadable files."""
    parts: dict[str, Images] = {}
    start = 0
    for name, part in layout.parts.items():
        images = _images(part, start, pixels, layout.has_groups)
        parts[name] = aligned(images, layout.train.class_names)
        start += len(part.files)
    return parts


def _images(part: Part, start: int, pixels: Decoded, has_groups: bool) -> Images:
    number = {name: index for index, name in enumerate(part.class_names)}
    readable = [index for index in range(len(part.files)) if start + index not in pixels.unreadable]
    rows = np.array(readable, dtype=np.int64) + start
    labels = np.array([number[part.files[index].label] for index in readable], dtype=np.int64)
    ids = tuple(escaped(part.files[index].path) for index in readable)
    groups = tuple(part.files[index].group or part.files[index].path for index in readable) if has_groups else None
    known = pixels.digests, "", groups, pixels.contents
    return Images(pixels.pixels, rows, labels, part.class_names, ids, *known)


def _require_known_classes(layout: Layout) -> None:
    """Check the names before hours of decoding."""
    for name, part in (("val", layout.val), ("test", layout.test)):
        try:
            require_known_classes(part.class_names if part else (), layout.train.class_names)
        except TransferkitError as error:
            raise TransferkitError(f"{layout.root}, {name}: {error}") from error


# --------------------------------------------------------------------------------------------------- notes


def _size_note(pixels: Decoded, settings: FolderData) -> str:
    size = pixels.pixels.shape[-1]
    how = "the median short side, at most 256" if settings.storage == "auto" else "as asked"
    return f"images kept at {size} x {size} px ({how}; {settings.fit})"


def _unreadable_notes(settings: FolderData, layout: Layout, pixels: Decoded) -> list[str]:
    """The lines about skipped files.

    Raises:
        TransferkitError: If there are unreadable files and they are not to be skipped.
    """
    reasons = {
        str(Path(layout.root) / layout.files[row].path): reason for row, reason in sorted(pixels.unreadable.items())
    }
    if reasons and not settings.skip_bad:
        raise TransferkitError(_unreadable_in_words(reasons, len(layout.files)))
    return [f"skipped, unreadable: {path}: {reason}" for path, reason in reasons.items()]


def _unreadable_in_words(reasons: Mapping[str, str], files: int) -> str:
    """The first of the files with their reasons; one that all share is said once."""
    shared = next(iter(reasons.values())) if len(reasons) > LISTED and len(set(reasons.values())) == 1 else ""
    lines = [path if shared else f"{path}: {reason}" for path, reason in reasons.items()][:LISTED]
    more = [f"and {len(reasons) - LISTED} more"] if len(reasons) > LISTED else []
    heading = f"{len(reasons)} of {counted(files, 'image')} cannot be read: {shared}".rstrip()
    others = ", or leave them out with --skip-bad" * (len(reasons) < files)
    return "\n  ".join([heading, *lines, *more]) + f"\nFix or delete them{others}."
