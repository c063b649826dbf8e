"""Which files belong to train, val and test, and which class and group each shows."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ACTIVITIES = {"training": "train", "testing": "test"}  # parts, unless they are classes among others
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", **ACTIVITIES}
LISTED = 10


class File(NamedTuple):
    """An image file: its path relative to the root, its class, what tells that it has not changed, and its group."""

    path: str
    label: str
    size: int
    mtime_ns: int
    group: str = ""


@dataclass(frozen=True)
class Part:
    """The files of train, val or test with the classes that this part names, in natural order."""

    files: tuple[File, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """What lies where; val and test are None where the user did not set them apart.

    Attributes:
        root: What paths are relative to.
        train: Its files.
        val: Its files.
        test: Its files.
        notes: Lines for the screen and the report.
        has_groups: Whether groups were named; a file without one is a group of its own.
        by_folders: Whether folders say what the classes are, rather than a table.
    """

    root: Path
    train: Part
    val: Part | None
    test: Part | None
    notes: tuple[str, ...]
    has_groups: bool = False
    by_folders: bool = False

    @property
    def files(self) -> tuple[File, ...]:
        """All files: train, val, test."""
        return tuple(file for part in (self.train, self.val, self.test) if part for file in part.files)

    @property
    def parts(self) -> dict[str, Part]:
        """Train, and val and test where they are apart, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


def escaped(name: str) -> str:
    """A name of a file or folder as reports can hold it: bytes that are no UTF-8 become `\\xe9`.

    Example:
        >>> escaped("caf\\udce9")
        'caf\\\\xe9'
    """
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def class_name(name: str) -> str:
    """A class's name as it is compared and shown: Unicode's composed form (NFC), in which macOS does not write paths.

    Example:
        >>> class_name("Ba\\u0308ume") == "B\\u00e4ume"
        True
    """
    return unicodedata.normalize("NFC", escaped(name))


def in_natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted as people count: 2 before 10.

    Example:
        >>> in_natural_order(["10", "2", "1", "cat"])
        ('1', '2', '10', 'cat')
    """
    return tuple(sorted(names, key=natural_key))


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """What to sort a name by: digits by their value, before any text; the name itself where all else is equal."""
    pieces = [piece for piece in re.split("([0-9]+)", name) if piece]
    return [(0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece) for piece in pieces], name


def expected(path: Path) -> str:
    """What a person may type a path of."""
    return (
        f"Expected {path}/train/<class>/<image>.jpg and {path}/test/<class>/<image>.jpg, "
        f"{path}/<class>/<image>.jpg, or a CSV file with the columns path,label."
    )


def file_at(path: str, relative: str, label: str, group: str = "") -> File:
    """A file that is missing (a broken link, a wrong line of a CSV) is reported with the unreadable ones."""
    try:
        status = os.stat(path)
    except OSError:
        return File(relative, label, -1, -1, group)
    return File(relative, label, status.st_size, status.st_mtime_ns, group)
