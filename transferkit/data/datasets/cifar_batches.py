"""Reads the archives of CIFAR-10 and CIFAR-100: Python 2 pickles, from which nothing but arrays is admitted."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.images import Images, Splits
from transferkit.data.splitting import carved
from transferkit.recipe import Cifar10Data, Cifar100Data
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.console import Console
from transferkit.runtime.download import fetch, unpack
from transferkit.runtime.errors import TransferkitError

OFFLINE = (
    "Without a network, --data digits, --data glyphs and --data folder:PATH work, and `transferkit quickstart`, "
    "a whole study that downloads nothing."
)

ADMITTED = {  # what an array in a pickle needs, with numpy's old and new module names
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Archive:
    """Where one of the two archives is found and what it holds.

    Attributes:
        title: Its name for people.
        urls: The official address, then mirrors of the same bytes.
        sha256: Of the .tar.gz, in hex.
        megabytes: Of the .tar.gz.
        folder: The folder inside.
        train: Batches with training images.
        test: Batches with test images.
        names: File with the class names, and their key.
        labels: Key of the labels in a batch.
    """

    title: str
    urls: tuple[str, ...]
    sha256: str
    megabytes: int
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: tuple[str, bytes]
    labels: bytes

    @property
    def file_name(self) -> str:
        """Of the .tar.gz."""
        return self.urls[0].rpartition("/")[2]


def load_archive(archive: Archive, settings: Cifar10Data | Cifar100Data, console: Console) -> Splits:
    """Splits from the archive, which is downloaded and unpacked where the settings name no folder.

    Raises:
        TransferkitError: If the folder holds no such archive, or a batch is no batch of arrays.
        MachineError: If the archive cannot be downloaded.
    """
    read = _reader(archive, settings.root) if settings.root else _reader(archive, _downloaded(archive, console))
    names = tuple(_text(name) for name in _value(_unpickled(read, archive.names[0]), *archive.names))
    train, test = (
        _images(archive, read, batches, names, part)
        for part, batches in (("train", archive.train), ("test", archive.test))
    )
    return carved(train, test, settings)


def download_mb(archive: Archive, root: Path | None) -> int:
    """Megabytes that have to be downloaded; 0 where the archive is here.

    Raises:
        TransferkitError: If there is none in the folder that was named.
    """
    if root:
        _reader(archive, root)
    is_here = root or _unpacked(archive).is_dir() or _packed(archive).is_file()
    return 0 if is_here else archive.megabytes


def _unpacked(archive: Archive) -> Path:
    return cache_folder() / "datasets" / archive.folder


def _packed(archive: Archive) -> Path:
    return cache_folder() / "downloads" / archive.file_name


def _downloaded(archive: Archive, console: Console) -> Path:
    """The folder with the batches, in the cache."""
    unpacked = _unpacked(archive)
    if not unpacked.is_dir():
        place = _packed(archive)
        fetch(archive.urls, place, sha256=archive.sha256, title=archive.title, console=console, offline=OFFLINE)
        unpack(place, unpacked)
    return unpacked


def _reader(archive: Archive, root: Path) -> Read:
    """Reads a batch by name from a folder of batches, the folder above it, or a folder with the .tar.gz."""
    for folder in (root, root / archive.folder):
        if (folder / archive.names[0]).is_file():
            return partial(_file, folder)
    packed = root if root.is_file() else root / archive.file_name
    if packed.is_file():
        return partial(_member, packed, archive.folder)
    raise TransferkitError(
        f"{root} holds no {archive.title}. Expected {archive.file_name} or the folder {archive.folder} in it; "
        f"get it from {archive.urls[0]}, or leave data.root out to download it."
    )


def _file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise TransferkitError(f"Cannot read {folder / name}: {error.strerror}. Unpack the archive anew.") from error


def _member(packed: Path, folder: str, name: str) -> bytes:
    try:
        with tarfile.open(packed) as tar:
            file = tar.extractfile(f"{folder}/{name}")
            if file is None:
                raise KeyError(f"{name} is no file")
            return file.read()
    except (tarfile.TarError, zlib.error, OSError, EOFError, KeyError) as error:
        raise TransferkitError(
            f"Cannot read {folder}/{name} from {packed}: {error}. Delete the archive and get it anew."
        ) from error


def _images(archive: Archive, read: Read, batches: tuple[str, ...], names: tuple[str, ...], part: str) -> Images:
    contents = [(batch, _unpickled(read, batch)) for batch in batches]
    pixels = np.concatenate([_pixels(batch, _value(content, batch, b"data")) for batch, content in contents])
    labels = [label for batch, content in contents for label in _value(content, batch, archive.labels)]
    ids = [f"{part}/{index:05d}" for index in range(len(pixels))]
    return Images.from_pixels(pixels, labels, names, ids)


def _pixels(batch: str, rows: Any) -> Any:
    """(N, 3, 32, 32) uint8; a row holds the red, green and blue planes one after another."""
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
        kind = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise TransferkitError(f"The data of {batch} must be a uint8 array (N, 3072); found {kind}.")
    return rows.reshape(-1, 3, 32, 32)


def _value(content: dict[bytes, Any], batch: str, key: bytes) -> Any:
    if key not in content:
        present = ", ".join(_text(name) for name in content)
        raise TransferkitError(f"{batch} has no {key.decode()}; found {present}. It is no batch of this data set.")
    return content[key]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# ------------------------------------------------------------------------------------------------- pickles


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays, numbers, bytes, lists and dicts; refuses to look up anything else, before it can run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise TransferkitError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module, name)


def _unpickled(read: Read, batch: str) -> dict[bytes, Any]:
    packed = read(batch)
    try:
        content = _ArrayUnpickler(io.BytesIO(packed), encoding="bytes").load()
    except TransferkitError as error:
        raise TransferkitError(
            f"Refused to read {batch}: {error}. The file may carry code; delete it and get the official archive."
        ) from error
    except Exception as error:  # damaged pickles raise errors of many kinds
        raise TransferkitError(f"{batch} is damaged: {error}. Delete it and get the official archive.") from error
    if not isinstance(content, dict):
        raise TransferkitError(f"{batch} must hold a dict; found {type(content).__name__}.")
    return content
