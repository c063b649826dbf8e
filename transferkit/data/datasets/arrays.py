"""Your own images as arrays in one .npz file, as NumPy, Keras and MedMNIST write them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from transferkit.data.band_axis import band_axis, bands_first
from transferkit.data.datasets import array_labels
from transferkit.data.datasets.layout import LISTED, in_natural_order
from transferkit.data.datasets.npz_file import members_of, read_array
from transferkit.data.datasets.outline import Outline
from transferkit.data.datasets.parts import parted
from transferkit.data.images import Images, Pixels, Splits, aligned
from transferkit.data.levels import eight_bit
from transferkit.recipe import ArraysData
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import counted

IMAGE_NAMES = ("images", "image", "x", "X", "data")
LABEL_NAMES = ("labels", "label", "y", "Y", "targets")
GROUP_NAMES = ("groups", "group")
PARTS = ("train", "val", "test")
EXPECTED = (
    "Expected the arrays images (N, H, W), (N, H, W, bands) or (N, bands, H, W) in uint8 and labels (N,), or both for "
    "each part as train_images, train_labels, test_images, test_labels; perhaps class_names and groups"
)


def load(settings: ArraysData, console: Console) -> Splits:  # noqa: ARG001 - nothing here takes long
    """Splits of the arrays; what has no test or val part gets one.

    Raises:
        TransferkitError: If the file is no such archive, holds Python objects, or its arrays do not fit together.
    """
    parts, notes = _parts(settings.path)
    names = in_natural_order({name for part in parts.values() for name in part.class_names})
    parts = {part: aligned(images, names) for part, images in parts.items()}
    _require_same_bands(settings.path, parts)
    splits, _, more = parted(parts, settings)
    bands = f" and {splits.train.bands} bands" if splits.train.bands != 3 else ""
    shape = f"{' x '.join(map(str, splits.train.size_px))} px{bands}"
    counts = ", ".join(f"{len(images):,} in {part}" for part, images in parts.items())
    return replace(splits, notes=(f"{settings.path.name}: images of {shape}, {counts}", *notes, *more))


def _require_same_bands(path: Path, parts: Mapping[str, Images]) -> None:
    """Refuse parts that are not looked at alike.

    Raises:
        TransferkitError: If images of one part have other bands than those of another; says how many.
    """
    if len({images.bands for images in parts.values()}) > 1:
        counts = ", ".join(f"{images.bands} in {part}" for part, images in parts.items())
        raise TransferkitError(f"{path} has images of different bands: {counts}. Expected as many in every part.")


def outline(settings: ArraysData) -> Outline:
    """From the arrays, which have to be read for it."""
    parts, _ = _parts(settings.path)
    tested = len(parts.get("test", ()))
    labelled = sum(map(len, parts.values())) - tested
    classes, px = len(parts["train"].class_names), min(parts["train"].size_px)
    return (
        Outline(labelled, tested, classes, px)
        if tested
        else Outline.divided(labelled, settings.test_fraction, classes, px)
    )


def seen_in_words(settings: ArraysData) -> list[str]:
    """How many images and classes a dry run sees."""
    known = outline(settings)
    return [
        f"Data: {known.classes} classes, {counted(known.labelled + known.tested, 'image')} of {known.px} "
        "px in one file."
    ]


def _parts(path: Path) -> tuple[dict[str, Images], list[str]]:
    """Train, val and test as the names of arrays say, all is train where names say nothing; and notes."""
    members = members_of(path)
    named = {part: (_named(members, IMAGE_NAMES, part), _named(members, LABEL_NAMES, part)) for part in PARTS}
    notes = [
        f"{images} of {path.name} has no labels beside it and is not used"
        for images, labels in named.values()
        if images and not labels
    ]
    named = {part: names for part, names in named.items() if all(names)}
    if "train" not in named:
        named = {"train": (_named(members, IMAGE_NAMES), _named(members, LABEL_NAMES))}
    if not all(named["train"]):
        listed = ", ".join([*map(quoted, islice(members, LISTED)), *(["..."] if len(members) > LISTED else [])])
        raise TransferkitError(f"{path} has the arrays {listed or 'none'}. {EXPECTED}.")
    known = (
        array_labels.known_names(path, read_array(path, members["class_names"])) if "class_names" in members else None
    )
    parts = {}
    for part, (images, labels) in named.items():
        groups = _named(members, GROUP_NAMES, part if part in images else "")
        arrays = (read_array(path, members[name]) if name else None for name in (images, labels, groups))
        if len(part_images := _images(path, part, known, *arrays)):
            parts[part] = part_images
        elif part == "train":
            raise TransferkitError(f"{path}: {images} holds no images. {EXPECTED}.")
    return parts, notes


def _named(members: Collection[str], names: tuple[str, ...], part: str = "") -> str:
    """The array of one of these names: images, train_images, images_train; "" where there is none."""
    forms = [form for name in names for form in ((f"{part}_{name}", f"{name}_{part}") if part else (name,))]
    return next((form for form in forms if form in members), "")


def _images(path: Path, part: str, known: list[str] | None, images: Any, labels: Any, groups: Any) -> Images:
    where = f"{path}, {part}"
    pixels = as_pixels(images, where)
    if labels.size != len(pixels) or labels.shape[:1] != (len(pixels),):
        raise TransferkitError(
            f"{where}: labels of shape {labels.shape} for {counted(len(pixels), 'image')}. "
            "Expected one class per image, (N,); several classes in one image are not supported."
        )
    if groups is not None and groups.shape != (len(pixels),):
        raise TransferkitError(
            f"{where}: groups of shape {groups.shape} for {counted(len(pixels), 'image')}. Expected one each, (N,)."
        )
    numbers, names = array_labels.numbered(where, labels.reshape(-1), known)
    ids = [f"{part}/{index}" for index in range(len(pixels))]
    together = None if groups is None else [str(group) for group in groups]
    return Images.from_pixels(pixels, numbers, names, ids, groups=together)


def as_pixels(images: Any, where: str) -> Pixels:
    """(N, bands, H, W) uint8 of grey (N, H, W) or of (N, H, W, bands), (N, bands, H, W); grey is repeated three times.

    Raises:
        TransferkitError: If type, values or shape are others; says what to do.
    """
    planes = images[:, None] if images.ndim == 3 else images
    if 0 in images.shape[1:]:
        raise TransferkitError(
            f"{where}: images of shape {images.shape} have no pixels. Expected some along each side."
        )
    if (axis := band_axis(planes.shape)) is None:
        raise TransferkitError(
            f"{where}: images of shape {images.shape}. Expected (N, H, W), (N, H, W, 3) or (N, 3, H, W): grey or RGB, "
            "or other bands in the place of 3, fewer than there are pixels along a side."
        )
    planes = bands_first(eight_bit(planes, where), axis)
    return planes.repeat(3, axis=1) if planes.shape[1] == 1 else planes
