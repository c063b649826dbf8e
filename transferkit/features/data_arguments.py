"""Data given in Python instead of by name: kept as a file in the cache, so that a run's recipe can read them again."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferkit.data.datasets.folder_cache import automatic_size
from transferkit.data.datasets.table_layout import LABEL_NAMES, PATH_NAMES
from transferkit.data.images import Images, Pixels
from transferkit.data.levels import eight_bit
from transferkit.data.reading import Reading, as_reading
from transferkit.features.pictures import ImageFiles, as_pictures, bands_in
from transferkit.recipe.data import own_data
from transferkit.runtime import cached_files
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.files import write_atomically
from transferkit.runtime.plurals import counted

EXPECTED = (
    "Expected a data set's name, folder:PATH, (images, labels), Images, a torch Dataset of (image, label), or a table "
    "with the columns path and label"
)
ASKED_AGAIN = 8  # items of a data set, to see whether its transform draws at random


def as_named(data: Any) -> str:
    """What `--data` would be called: a name as it is, everything else as the file in the cache that now holds it.

    The file is named by its content, so the same images give the same recipe.

    Raises:
        TransferkitError: If this is no data, or images and labels do not go together; in one sentence.
    """
    if isinstance(data, str):
        return data
    if isinstance(data, os.PathLike):
        path = str(os.fspath(data))
        return f"{own_data(path) or 'folder'}:{path}"
    if isinstance(data, Images):
        return _store_arrays(data.pixels, np.array(data.class_names)[data.require_labels()], data.groups)
    if hasattr(data, "columns"):
        return _store_table(data)
    if isinstance(data, tuple | list) and len(data) == 2:
        return _store_pair(*data)
    if hasattr(data, "batch_size") and hasattr(data, "dataset"):
        raise TransferkitError(
            "data is a DataLoader, which mixes and batches. Give what it draws from: loader.dataset."
        )
    is_plain = isinstance(data, np.ndarray | Tensor | tuple | list | Mapping)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not is_plain:
        return _store_pair(*_items(data))
    raise TransferkitError(f"data is {_in_words(data)}. {EXPECTED}.")


def reading_for(images: Any, resize: str) -> Reading:
    """How images of one's own program are read: with as many bands as their arrays have."""
    return replace(as_reading(resize), channels=bands_in(images))


def storage_px(images: Any, resize: str | Reading) -> int:
    """At which side files and PIL images are kept: their median short side, at most 256 px, as of a folder."""
    pictures = as_pictures(images, 8, resize)
    return automatic_size(pictures.sources) if isinstance(pictures, ImageFiles) else min(pictures.size_px)


def pixels_of(images: Any, side_px: int, resize: str | Reading) -> Pixels:
    """(N, 3, H, W) uint8 of images of many kinds; files and PIL images become squares of this side."""
    pictures = as_pictures(images, side_px, resize)
    return pictures.pixels if isinstance(pictures, Images) else pictures.take(np.arange(len(pictures)))


# ---------------------------------------------------------------------------------------------------------- the kinds


def _store_pair(images: Any, labels: Any) -> str:
    """Images and their labels: paths as a table, everything else as arrays."""
    count = _count(images)
    classes = _one_per_image(labels, count)
    if _are_paths(images):
        return _store_rows(
            [{"path": _absolute(path), "label": str(label)} for path, label in zip(images, classes, strict=True)]
        )
    if getattr(images, "ndim", 0) == 3:  # grey, since there is a label for each
        images = images[..., None]
    reading = reading_for(images, "squash")
    return _store_arrays(pixels_of(images, storage_px(images, reading), reading), classes, None)


def _one_per_image(labels: Any, count: int) -> npt.NDArray[Any]:
    """(N,) of labels, a column of them included.

    Raises:
        TransferkitError: If they are no classes of so many images; says what to write.
    """
    try:
        named = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    except ValueError:  # lists of different lengths
        raise TransferkitError(
            f"data is a pair whose second part is {_in_words(labels)} and no list of classes. Expected (images, "
            "labels): a test part of its own stands in an .npz file (x_train, y_train, x_test, y_test) or in a table "
            "with a column split."
        ) from None
    if named.shape == (count, 1):
        named = named[:, 0]
    if named.shape != (count,):
        one_hot = named.ndim == 2 and len(named) == count and named.dtype.kind in "biuf" and (named.sum(1) == 1).all()
        hint = " Of one-hot rows give labels.argmax(1)." if one_hot else ""
        raise TransferkitError(
            f"data holds {counted(count, 'image')} and labels of shape {named.shape}. Expected one label per image, "
            f"({count},).{hint}"
        )
    require_labelled(labels if isinstance(labels, list | tuple) else named)
    return named


def require_labelled(labels: Iterable[Any]) -> None:
    """Refuse images without a label: None, or no number, as pandas leaves empty cells.

    Raises:
        TransferkitError: Names the first.
    """
    empty = [(row, label) for row, label in enumerate(labels) if label is None or label != label]
    if empty:
        row, label = empty[0]
        raise TransferkitError(
            f"data holds {counted(len(empty), 'image')} without a label ({label}), the first at row {row}. "
            "Give each a class, or leave these rows out."
        )


def _count(images: Any) -> int:
    if not hasattr(images, "__len__"):
        raise TransferkitError(f"The images of data are {_in_words(images)}. {EXPECTED}.")
    return len(images)


def _are_paths(images: Any) -> bool:
    is_array = isinstance(images, np.ndarray) and images.dtype.kind not in "OU"
    return not is_array and len(images) > 0 and all(isinstance(image, str | os.PathLike) for image in images)


def _items(data: Any) -> tuple[list[Any], list[Any]]:
    """The images and labels of a torch Dataset, in order; labels by the names in its `classes` where it has them."""
    items = [data[index] for index in range(len(data))]
    if not items or not all(isinstance(item, tuple | list) and len(item) == 2 for item in items):
        raise TransferkitError(f"data is {_in_words(data)} whose items are no (image, label). {EXPECTED}.")
    _require_repeatable(data, items[:ASKED_AGAIN])
    names = getattr(data, "classes", None)
    labels = [label.item() if isinstance(label, Tensor) else label for _, label in items]
    return [_as_image(image) for image, _ in items], [names[label] for label in labels] if names else labels


def _require_repeatable(data: Any, items: Sequence[Any]) -> None:
    """Refuse a data set that gives other pixels when it is asked again: one draw of its augmentation would be kept.

    Raises:
        TransferkitError: Says where augmentation belongs.
    """
    for row, (image, _) in enumerate(items):
        if not np.array_equal(np.asarray(image), np.asarray(data[row][0])):
            raise TransferkitError(
                f"data gives other pixels for its item {row} when it is asked again. Leave random augmentation out of "
                "its transform: images are kept once, and transferkit augments them anew in every epoch (augment, "
                "flip, shift)."
            )


def _as_image(image: Any) -> Any:
    """A PIL image or a path as it is; (3, H, W) or (H, W, 3) as uint8, also where `ToTensor` made floats of it."""
    return eight_bit(np.asarray(image)) if isinstance(image, Tensor | np.ndarray) else image


def _store_table(table: Any) -> str:
    """A table of pandas or polars with a path and a label for each image, and perhaps split and group."""
    columns = [str(name) for name in table.columns]
    path, label = (next((name for name in names if name in columns), "") for names in (PATH_NAMES, LABEL_NAMES))
    if not path or not label:
        raise TransferkitError(f"data is a table with the columns {quoted(', '.join(columns))}. {EXPECTED}.")
    require_labelled(list(table[label]))
    values = {"path": [_absolute(str(value)) for value in table[path]], "label": [str(name) for name in table[label]]}
    values |= {name: [str(value) for value in table[name]] for name in ("split", "group") if name in columns}
    return _store_rows([dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)])


def _absolute(path: Any) -> str:
    return str(Path(os.fspath(path)).expanduser().absolute())


def _in_words(value: Any) -> str:
    """What came: a number or a text as it is, of everything else the kind; an array is never printed."""
    if isinstance(value, int | float | str):
        return quoted(value)
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {tuple(shape)} without labels" if shape is not None else "")


# ---------------------------------------------------------------------------------------------------------- the files


def _store_arrays(pixels: Pixels, labels: npt.NDArray[Any], groups: Sequence[str] | None) -> str:
    arrays: dict[str, npt.NDArray[Any]] = {
        "images": pixels,
        "labels": labels.astype(str) if labels.dtype.kind in "OU" else labels,
    }
    if groups is not None:
        arrays["groups"] = np.array(groups)
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    path = _place(digest.hexdigest(), ".npz")
    if not path.exists():
        cached_files.will_write(path)
        write_atomically(path, lambda temporary: _save(temporary, arrays))
    return f"arrays:{path}"


def _save(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    with path.open("wb") as file:  # given a name, NumPy would add its ending
        np.savez(file, allow_pickle=False, **arrays)


def _store_rows(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode()
    path = _place(hashlib.sha256(content).hexdigest(), ".csv")
    if not path.exists():
        cached_files.will_write(path)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return f"folder:{path}"


def _place(digest: str, ending: str) -> Path:
    return cache_folder() / "given" / f"from-python-{digest[:16]}{ending}"
