"""A disk without room: how the system says it, and what a person is told."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.errors import FullDisk


def says_full(error: Exception) -> bool:
    """Whether an error of the system means that a disk, or one's share of it, is full."""
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def full_disk(path: Path | str | None) -> FullDisk:
    """That a file finds no room, and where else it could lie; without a path, that the system names none."""
    what = f"Cannot write {path}: the disk is full." if path else "A disk is full; the system does not say which."
    return FullDisk(f"{what} Free some space, or {_elsewhere(Path(path or '.').absolute())}.")


def _elsewhere(path: Path) -> str:
    if path.is_relative_to(cache_folder().absolute()):
        return "set TRANSFERKIT_CACHE to a folder on another disk"
    temporary = Path(tempfile.gettempdir()).absolute()
    if path.is_relative_to(temporary) and path.relative_to(temporary).parts[0].startswith("transferkit-"):
        return "set TMPDIR to a folder on another disk"
    return "choose another folder with --out"
