"""Your own images as arrays in one .npz file, as NumPy, Keras and MedMNIST write them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.band_axis import band_axis, bands_first
from transferkit.data.datasets.layout import class_name, in_natural_order
from transferkit.data.datasets.outline import Outline
from transferkit.data.datasets.parts import parted
from transferkit.data.images import Images, Labels, Pixels, Splits, aligned
from transferkit.recipe import ArraysData
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, quoted

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
    arrays = _arrays(settings.path)
    parts = dict(_parts(settings.path, arrays))
    names = in_natural_order({name for part in parts.values() for name in part.class_names})
    parts = {part: aligned(images, names) for part, images in parts.items()}
    _require_same_bands(settings.path, parts)
    splits, _, notes = parted(parts, settings)
    bands = f" and {splits.train.bands} bands" if splits.train.bands != 3 else ""
    shape = f"{' x '.join(map(str, splits.train.size_px))} px{bands}"
    counts = ", ".join(f"{len(images):,} in {part}" for part, images in parts.items())
    return replace(splits, notes=(f"{settings.path.name}: images of {shape}, {counts}", *notes))


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
    parts = dict(_parts(settings.path, _arrays(settings.path)))
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
    return [f"Data: {known.classes} classes, {known.labelled + known.tested:,} images of {known.px} px in one file."]


def _arrays(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    """The arrays by name; nothing in the file is executed."""
    if not path.is_file():
        raise TransferkitError(f"{path} is no file. Expected an .npz file, as numpy.savez writes it.")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise TransferkitError(f"{path} holds one array without labels. {EXPECTED}.")
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if "Object arrays" in str(error):
            raise TransferkitError(
                f"{path} holds Python objects, which could run any program, and is not read. Save plain arrays of "
                "numbers and of fixed-length text (labels.astype(str))."
            ) from error
        raise TransferkitError(f"{path} is no .npz file, or damaged: {error}.") from error


def _parts(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, Images]]:
    """Train, val and test as the names of arrays say; all is train where names say nothing."""
    named = {part: (_named(arrays, IMAGE_NAMES, part), _named(arrays, LABEL_NAMES, part)) for part in PARTS}
    named = {part: names for part, names in named.items() if all(names)}
    if "train" not in named:
        named = {"train": (_named(arrays, IMAGE_NAMES), _named(arrays, LABEL_NAMES))}
    if not all(named["train"]):
        raise TransferkitError(f"{path} has the arrays {', '.join(arrays) or 'none'}. {EXPECTED}.")
    known = arrays.get("class_names")
    for part, (images, labels) in named.items():
        groups = _named(arrays, GROUP_NAMES, part if images and part in images else "")
        yield part, _images(path, part, arrays[images], arrays[labels], known, arrays[groups] if groups else None)


def _named(arrays: Mapping[str, npt.NDArray[Any]], names: tuple[str, ...], part: str = "") -> str:
    """The array of one of these names: images, train_images, images_train; "" where there is none."""
    forms = [form for name in names for form in ((f"{part}_{name}", f"{name}_{part}") if part else (name,))]
    return next((form for form in forms if form in arrays), "")


def _images(path: Path, part: str, images: Any, labels: Any, known: Any, groups: Any) -> Images:
    pixels = as_pixels(images, f"{path}, {part}")
    if len(labels := labels.reshape(len(labels), -1)) != len(pixels) or labels.shape[1] != 1:
        raise TransferkitError(
            f"{path}, {part}: labels of shape {labels.shape} for {len(pixels):,} images. Expected one class per image, "
            "(N,); several classes in one image are not supported."
        )
    numbers, names = _numbered(path, labels[:, 0], known)
    if groups is not None and len(groups) != len(pixels):
        raise TransferkitError(f"{path}, {part}: {len(groups):,} groups for {len(pixels):,} images. Expected one each.")
    ids = [f"{part}/{index}" for index in range(len(pixels))]
    together = None if groups is None else [str(group) for group in groups]
    return Images.from_pixels(pixels, numbers, names, ids, groups=together)


def _numbered(path: Path, labels: Any, known: Any) -> tuple[Labels, tuple[str, ...]]:
    """Labels in 0..C-1 along names in natural order; `known` names the classes 0..C-1 of whole numbers."""
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise TransferkitError(
            f"{path}: labels such as {quoted(float(labels[labels != np.round(labels)][0]))} are no classes; predicting "
            "a number is regression, which transferkit does not do."
        )
    values = labels.astype(np.int64) if labels.dtype.kind in "bf" else labels
    if known is not None and values.dtype.kind in "iu":
        if not 0 <= values.min(initial=0) <= values.max(initial=0) < len(known):
            raise TransferkitError(f"{path}: labels go to {values.max()}, but class_names has {len(known)} names.")
        values = np.asarray(known).astype(str)[values]
    texts = np.array([class_name(str(value)) for value in values])
    names = in_natural_order(set(texts.tolist()))
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[text] for text in texts.tolist()], dtype=np.int64), names


def as_pixels(images: Any, where: str) -> Pixels:
    """(N, bands, H, W) uint8 of grey (N, H, W) or of (N, H, W, bands), (N, bands, H, W); grey is repeated three times.

    Raises:
        TransferkitError: If it is of another type or shape; says what to do.
    """
    if images.dtype != np.uint8:
        raise TransferkitError(
            f"{where}: images of type {images.dtype}. Expected uint8, 0 to 255: of values in 0..1 save "
            "(images * 255).round().astype('uint8')."
        )
    planes = images[:, None] if images.ndim == 3 else images
    if (axis := band_axis(planes.shape)) is None:
        raise TransferkitError(
            f"{where}: images of shape {images.shape}. Expected (N, H, W), (N, H, W, 3) or (N, 3, H, W): grey or RGB, "
            "or other bands in the place of 3, fewer than there are pixels along a side."
        )
    planes = bands_first(planes, axis)
    return planes.repeat(3, axis=1) if planes.shape[1] == 1 else planes
