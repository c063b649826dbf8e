"""The folders of the cache: each lists in a manifest what transferkit put there, which alone it removes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from transferkit.runtime import folders
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.locks import LOCK

SCRATCH = re.compile(r"\..+-[a-z0-9_]{8}")  # a folder that `tempfile` made beside the place of what it was to become


def will_write(*paths: Path) -> None:
    """List files that are about to be put into a folder of the cache; of files elsewhere no list is kept.

    Several processes may fill one folder, so they take turns at its manifest instead of holding the folder.
    """
    cache = cache_folder()
    for path in paths:
        if path.is_relative_to(cache) and path.parent != cache:
            top = cache / path.relative_to(cache).parts[0]
            _append(top, path.relative_to(top).as_posix())


def _append(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / LOCK):
        folders.add_to_manifest(folder, f"cache of {folder.name}", [name])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Inside, nobody else has the lock.

    Raises:
        OSError: If the file system refuses it; the system's own error does not say where.
    """
    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield
    finally:
        lock.release()


def is_listed(path: Path) -> bool:
    """Whether a file in the cache was put there by transferkit."""
    cache = cache_folder()
    if not path.is_relative_to(cache) or path.parent == cache:
        return False
    top = cache / path.relative_to(cache).parts[0]
    return path.relative_to(top).as_posix() in folders.files_of(top)


def clear_folder(folder: Path, older: Iterable[Path] = ()) -> int:
    """Remove what transferkit put into a folder of the cache, and the folder if nothing else is in it.

    Args:
        folder: Such as `<cache>/images`.
        older: Files that a version without manifests put there.

    Returns:
        Bytes freed.
    """
    if not folder.is_dir():
        return 0
    before = num_bytes(folder)
    with FileLock(folder / LOCK):
        for path in [*(folder / name for name in folders.files_of(folder)), *older]:
            folders.remove_file(path, folder)
        for scratch in filter(_is_scratch, folder.rglob(".*")):
            shutil.rmtree(scratch, ignore_errors=True)
        for name in (folders.MANIFEST, LOCK):
            (folder / name).unlink(missing_ok=True)
    _remove_empty_folders(folder)
    folders.forget(folder)
    return before - num_bytes(folder)


def left(folder: Path) -> int:
    """How many files in a folder of the cache are not on its list; they stay when it is cleared."""
    listed = {folder / name for name in folders.files_of(folder)}
    own = {folder / name for name in (folders.MANIFEST, LOCK)}
    return sum(path.is_file() and path not in listed | own for path in folder.rglob("*"))


def num_bytes(folder: Path) -> int:
    """Bytes of everything in a folder; 0 where it is missing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # removed meanwhile
            total += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    return total


def _is_scratch(path: Path) -> bool:
    return path.is_dir() and SCRATCH.fullmatch(path.name) is not None


def _remove_empty_folders(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # it holds something
            if Path(path) != folder:
                Path(path).rmdir()
