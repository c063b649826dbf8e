"""Your own images: a folder of class folders, with or without train, val and test, or a CSV of path,label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from transferkit.data.datasets.folder_cache import Decoded, decoded
from transferkit.data.datasets.folder_layout import LISTED, Layout, Part, escaped, find
from transferkit.data.images import Images, Splits, aligned, hold_out, require_known_classes, split
from transferkit.recipe import FolderData
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError


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
    layout = find(settings.path)
    _require_known_classes(layout)
    pixels = decoded(layout.root, layout.files, settings.storage, settings.fit, console)
    notes = [_size_note(pixels, settings), *layout.notes, *_unreadable_notes(settings, layout, pixels)]
    parts = _parts(layout, pixels)
    train, test, test_notes = _train_and_test(parts, settings)
    splits = _with_val(train, test, parts.get("val"), settings)
    notes += [*test_notes, *_absence_notes(parts), *_duplicate_notes(splits.train, splits.val, test)]
    return replace(splits, notes=tuple(notes))


def _parts(layout: Layout, pixels: Decoded) -> dict[str, Images]:
    """Train, val and test as images along the class names of train, without the unreadable files."""
    found: dict[str, Images] = {}
    start = 0
    for name, part in (("train", layout.train), ("val", layout.val), ("test", layout.test)):
        if part is not None:
            images = _images(part, start, pixels)
            found[name] = aligned(images, layout.train.class_names)
            start += len(part.files)
    return found


def _images(part: Part, start: int, pixels: Decoded) -> Images:
    number = {name: index for index, name in enumerate(part.class_names)}
    readable = [index for index in range(len(part.files)) if start + index not in pixels.unreadable]
    rows = np.array(readable, dtype=np.int64) + start
    labels = np.array([number[part.files[index].label] for index in readable], dtype=np.int64)
    ids = tuple(escaped(part.files[index].path) for index in readable)
    return Images(pixels.pixels, rows, labels, part.class_names, ids, pixels.digests)


def _require_known_classes(layout: Layout) -> None:
    """Check the names before hours of decoding."""
    for name, part in (("val", layout.val), ("test", layout.test)):
        try:
            require_known_classes(part.class_names if part else (), layout.train.class_names)
        except TransferkitError as error:
            raise TransferkitError(f"{layout.root}, {name}: {error}") from error


def _train_and_test(parts: dict[str, Images], settings: FolderData) -> tuple[Images, Images, list[str]]:
    if "test" in parts:
        return parts["train"], parts["test"], []
    train, test = hold_out(parts["train"], settings.test_fraction, settings.split_seed)
    if not len(test):
        raise TransferkitError(
            f"{settings.path} has no test part, and a share of {settings.test_fraction:g} of its {len(train)} images "
            "is less than one per class. Add images, or raise data.test_fraction."
        )
    share = f"{settings.test_fraction:.0%} of every class ({len(test):,} images) is sealed as test"
    return train, test, [f"no test part in {settings.path}: {share}"]


def _with_val(train: Images, test: Images, val: Images | None, settings: FolderData) -> Splits:
    splits = split(
        train,
        test,
        val_fraction=settings.val_fraction if val is None else 0.0,
        limit_per_class=settings.limit_per_class,
        seed=settings.carving_seed,
    )
    return splits if val is None else replace(splits, val=limited(val, settings.limit_per_class, settings.carving_seed))


def limited(images: Images, limit_per_class: int | None, seed: int) -> Images:
    """At most so many images of each class; smaller limits are subsets of larger ones."""
    generator = np.random.default_rng(seed)
    orders = [
        generator.permutation(np.flatnonzero(images.require_labels() == label))
        for label in range(len(images.class_names))
    ]
    return images.subset(np.sort(np.concatenate([order[:limit_per_class] for order in orders])))


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
    files = layout.files
    told = [f"{Path(layout.root) / files[row].path}: {reason}" for row, reason in sorted(pixels.unreadable.items())]
    if told and not settings.skip_bad:
        more = [f"and {len(told) - LISTED} more"] if len(told) > LISTED else []
        raise TransferkitError(
            "\n  ".join([f"{len(told)} of {len(files)} images cannot be read:", *told[:LISTED], *more])
            + "\nMend or remove them, or leave them out with --skip-bad."
        )
    return [f"skipped, unreadable: {line}" for line in told]


def _absence_notes(parts: dict[str, Images]) -> list[str]:
    notes = []
    for name in ("val", "test"):
        if name in parts:
            counts = np.bincount(parts[name].require_labels(), minlength=len(parts[name].class_names))
            absent = [parts[name].class_names[label] for label in np.flatnonzero(counts == 0)]
            notes += [f"{name} has no image of {len(absent)} classes: {', '.join(absent[:LISTED])}"] if absent else []
    return notes


def _duplicate_notes(train: Images, val: Images, test: Images) -> list[str]:
    """A test image that was learned from says nothing about new images."""
    learned = {digest.tobytes() for images in (train, val) for digest in images.digests}
    leaked = [name for name, digest in zip(test.ids, test.digests, strict=True) if digest.tobytes() in learned]
    if not leaked:
        return []
    shown = ", ".join(leaked[:LISTED]) + (" ..." if len(leaked) > LISTED else "")
    return [f"{len(leaked)} of {len(test)} test images have the very pixels of an image in train or val: {shown}"]
