"""The arrays of an .npz file, each read when it is asked for: nothing in it is executed, and no claim is believed."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import counted
from transferkit.runtime.processor import memory_bytes

MAGIC = b"\x93NUMPY"  # how a single array begins
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
CHUNK_BYTES = 2**22


def members_of(path: Path) -> dict[str, str]:
    """What each array is called inside the file, by its name.

    Raises:
        TransferkitError: If there is no such file, it is no archive, or two arrays have one name.
    """
    if not path.is_file():
        raise TransferkitError(f"{path} is no file. Expected an .npz file, as numpy.savez writes it.")
    with _worded(path), path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            raise TransferkitError(
                f"{path} holds one array without labels. Expected an .npz file, as numpy.savez(FILE, images=..., "
                "labels=...) writes it."
            )
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
    count = Counter(member.removesuffix(".npy") for member in members)
    if twice := next((name for name in count if count[name] > 1), None):
        raise TransferkitError(f"{path} has {count[twice]} arrays {quoted(twice)}. Expected one.")
    return {member.removesuffix(".npy"): member for member in members}


def read_array(path: Path, member: str) -> npt.NDArray[Any]:
    """One array.

    Raises:
        TransferkitError: If it holds Python objects, is damaged, claims more than is there, or is larger than memory.
    """
    with _worded(path), zipfile.ZipFile(path) as archive, archive.open(member) as file:
        shape, order, dtype = _header(file, path, member)
        size, there = math.prod(shape) * dtype.itemsize, archive.getinfo(member).file_size - file.tell()
        if size != there or min(shape, default=0) < 0:
            raise TransferkitError(
                f"{path}: {quoted(member)} says that it has shape {quoted(shape)} in {dtype}, "
                f"{counted(size, 'byte')}, and {there:,} are there. Save it again."
            )
        if size > (most := memory_bytes()):
            raise TransferkitError(
                f"{path}: {quoted(member)} unpacks to {size / 1e9:,.1f} GB, and this machine has {most / 1e9:,.1f} GB "
                "of memory. Save fewer or smaller images, or image files in shards (--data shards:FOLDER)."
            )
        content = np.empty(size, np.uint8)
        filled = 0
        while piece := file.read(CHUNK_BYTES):
            content[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
        if filled < size:
            raise EOFError(f"{member} ends after {counted(filled, 'byte')}")
    return content.view(dtype).reshape(shape, order=order) if size else np.empty(shape, dtype)


def _header(file: IO[bytes], path: Path, member: str) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Shape, order in memory and type."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"{member} has a header of version {version}")
    shape, is_fortran, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise TransferkitError(
            f"{path}: {quoted(member)} holds Python objects, which could run any program, and is not read. Save plain "
            "arrays of numbers and of fixed-length text (labels.astype(str))."
        )
    return shape, "F" if is_fortran else "C", dtype


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    """Words what is wrong with an archive."""
    try:
        yield
    except (TransferkitError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and Python's own reader of headers raise errors of many kinds
        why = quoted((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))
        raise TransferkitError(f"{path} is no .npz file, or damaged: {why}.") from error
