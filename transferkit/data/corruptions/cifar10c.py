"""Reads the authors' CIFAR-10-C: `<name>.npy`, uint8 (50000, 32, 32, 3), severity after severity, and `labels.npy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Images, Labels
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.plurals import counted

PER_SEVERITY = 10_000
SHAPE = (5 * PER_SEVERITY, 32, 32, 3)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # batches.meta
SOURCE = "https://zenodo.org/records/2535967 (CIFAR-10-C.tar)"


def load_cifar10c(folder: Path, name: str, severity: int, test: Images) -> Images:
    """The stored corrupted copies of CIFAR-10's test images; only the severity asked for is read into memory.

    The files keep the publisher's order. Where the test images stand in it too (ids test/00000 ...), they must carry
    the same labels, and the returned ids meet theirs; a test set in another order, such as a folder of class folders,
    is matched by its class names and counts alone, so that image by image the two cannot be paired.

    Args:
        folder: With `<name>.npy` and `labels.npy`.
        name: Of a corruption, as the file is named.
        severity: 1 to 5.
        test: The clean test images of the model.

    Returns:
        10,000 images with labels along `test.class_names`, ids test/00000 ... test/09999.

    Raises:
        TransferkitError: If a file is missing or damaged, holds pickled objects, or is not of CIFAR-10's test images.
    """
    if severity not in (1, 2, 3, 4, 5):
        raise TransferkitError(f"Severity is 1, 2, 3, 4 or 5; got {severity!r}.")
    labels = _labels(folder, test.class_names)
    _require_same_test(folder, labels, test)
    stored = _array(folder, name)
    if stored.shape != SHAPE or stored.dtype != np.uint8:
        raise TransferkitError(
            f"{folder / name}.npy holds {stored.dtype} {stored.shape}; expected uint8 {SHAPE}. "
            f"Get it anew from {SOURCE}."
        )
    pixels = np.ascontiguousarray(stored[(severity - 1) * PER_SEVERITY : severity * PER_SEVERITY].transpose(0, 3, 1, 2))
    return Images.from_pixels(pixels, labels, test.class_names, _ids())


def available(folder: Path) -> tuple[str, ...]:
    """The names of the corruptions in a folder.

    Raises:
        TransferkitError: If it is no folder, or holds none.
    """
    names = tuple(sorted(path.stem for path in folder.glob("*.npy") if path.stem != "labels"))
    if not names:
        problem = "is no folder" if not folder.is_dir() else "holds no .npy files"
        raise TransferkitError(f"{folder} {problem}. Expected the unpacked CIFAR-10-C, from {SOURCE}.")
    return names


def _array(folder: Path, name: str) -> npt.NDArray[Any]:
    """A file's array, memory-mapped; a file that would run code (pickle) is refused."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        raise TransferkitError(f"{folder} has no {name}.npy. {did_you_mean(name, available(folder), limit=20)}")
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise TransferkitError(f"Cannot read {path}: {error}. Get it anew from {SOURCE}.") from error
    return array


def _labels(folder: Path, class_names: tuple[str, ...]) -> Labels:
    """(10000,), the labels of one severity, counted along `class_names`."""
    stored = np.asarray(_array(folder, "labels"))
    if stored.shape != SHAPE[:1] or stored.dtype.kind not in "iu" or stored.min() < 0 or stored.max() > 9:
        raise TransferkitError(
            f"{folder / 'labels.npy'} holds {stored.dtype} {stored.shape}; "
            f"expected {SHAPE[0]} whole numbers from 0 to 9."
        )
    repeats = stored.reshape(5, PER_SEVERITY)
    if (repeats != repeats[0]).any():
        raise TransferkitError(f"{folder / 'labels.npy'} does not repeat the same labels for each severity.")
    if set(class_names) != set(CLASS_NAMES):
        raise TransferkitError(
            f"CIFAR-10-C has the classes {', '.join(CLASS_NAMES)}; the model was trained on {', '.join(class_names)}. "
            "It is of use for models of CIFAR-10 only."
        )
    mapping: Labels = np.array([class_names.index(name) for name in CLASS_NAMES], dtype=np.int64)
    labels: Labels = mapping[repeats[0]]
    return labels


def _require_same_test(folder: Path, labels: Labels, test: Images) -> None:
    counts, expected = (np.bincount(part, minlength=10) for part in (test.require_labels(), labels))
    if (counts != expected).any():
        raise TransferkitError(
            f"{folder} is of {counted(len(labels), 'test image')}, {expected.min()} to {expected.max()} per class; "
            f"the test set has {len(test)}, {counts.min()} to {counts.max()} per class. Use CIFAR-10's whole test set."
        )
    wrong = int((labels != test.require_labels()).sum()) if test.ids == _ids() else 0
    if wrong:
        raise TransferkitError(
            f"The labels of {folder} and of the test set differ for {wrong} of {counted(len(test), 'image')}. "
            f"One of the two is damaged or reordered; get CIFAR-10-C anew from {SOURCE}."
        )


def _ids() -> tuple[str, ...]:
    return tuple(f"test/{index:05d}" for index in range(PER_SEVERITY))
