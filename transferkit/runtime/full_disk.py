"""A disk without room, or a file that may not grow: how the system says it, and what a person is told."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.errors import FullDisk

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or one's share of it


def says_full(error: Exception) -> bool:
    """Whether an error of the system means that there is no room: on the disk, or for so large a file."""
    return any(os.strerror(number) in str(error) for number in (*FULL, errno.EFBIG))


def full_disk(path: Path | str | None, error: Exception | None = None) -> FullDisk:
    """That a file finds no room, and where else it could lie; without a path, that the system names none."""
    elsewhere = _elsewhere(Path(path or ".").absolute())
    if error and os.strerror(errno.EFBIG) in str(error):
        what = f"Cannot write {path or 'a file'}: it would be larger than a file may be here."
        return FullDisk(f"{what} Raise the limit (`ulimit -f` shows it), or {elsewhere}.")
    what = f"Cannot write {path}: the disk is full." if path else "A disk is full; the system does not say which."
    return FullDisk(f"{what} Free some space, or {elsewhere}.")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, an error of the system that names no file names this one: only opening a file names it by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _elsewhere(path: Path) -> str:
    if path.is_relative_to(cache_folder().absolute()):
        return "set TRANSFERKIT_CACHE to a folder on another disk"
    temporary = Path(tempfile.gettempdir()).absolute()
    if path.is_relative_to(temporary) and path.relative_to(temporary).parts[0].startswith("transferkit-"):
        return "set TMPDIR to a folder on another disk"
    return "choose another folder with --out"
