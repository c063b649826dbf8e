"""What files and folders tell of images that pixels no longer do: bands, depth of values, folders inside classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

SHOWN = 3  # names


@dataclass(frozen=True)
class Names:
    """How many of something there are, of how many, and the first few by name."""

    count: int
    of: int
    first: tuple[str, ...]

    @classmethod
    def some(cls, names: Collection[str], of: int) -> Names | None:
        """The first few of names in their order; None where there are none.

        Example:
            >>> Names.some(["a", "b", "c", "d"], 9)
            Names(count=4, of=9, first=('a', 'b', 'c'))
        """
        return cls(len(names), of, tuple(names)[:SHOWN]) if names else None

    def __str__(self) -> str:
        return ", ".join(f"“{name}”" for name in self.first) + (", ..." if self.count > len(self.first) else "")


@dataclass(frozen=True)
class Depth:
    """Of values deeper than 8 bits, which become black and white, and the brightest in the files looked at."""

    black: float
    white: float
    brightest: float


@dataclass(frozen=True)
class DroppedBands:
    """Bands beyond red, green and blue, which are not read: in how many of the files looked at, and of how many."""

    files: int
    looked_at: int
    bands: int


@dataclass(frozen=True)
class FileFacts:
    """What was seen of files; None where there is nothing to tell.

    Attributes:
        parted_folders: Folders inside class folders, whose images chance puts into several parts.
        repeated_folders: Folders inside class folders that have the same name in train and in test.
        outer_folders: Folders taken for classes that may be patients, videos or places.
        inner_folders: Folders inside them that may be the classes; None where none has a class's name.
        inner_depth: How many levels below the outer ones these lie.
        depth: Of values that are not clipped.
        dropped_bands: Beyond the first three.
    """

    parted_folders: Names | None = None
    repeated_folders: Names | None = None
    outer_folders: Names | None = None
    inner_folders: Names | None = None
    inner_depth: int = 1
    depth: Depth | None = None
    dropped_bands: DroppedBands | None = None
