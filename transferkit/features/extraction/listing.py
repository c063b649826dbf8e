"""The images of an extraction as a file of lines, because a million paths are too many to hold."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

LISTING = "listing.csv"


@dataclass(frozen=True)
class ListedImage:
    """One image of a listing; `number` counts from the listing's beginning, `place` says where in a shard it lies."""

    number: int
    id: str
    class_name: str
    part: str
    place: str = ""


@dataclass(frozen=True)
class ListingPart:
    """Some consecutive lines of a listing on disk."""

    file: Path
    start: int
    count: int

    def batched(self, size: int) -> Iterator[list[ListedImage]]:
        """The lines, `size` at a time; only these are held."""
        with self.file.open(encoding="utf-8", newline="") as file:
            reader = enumerate(csv.reader(file))
            lines = (ListedImage(number, *row) for number, row in islice(reader, self.start, self.start + self.count))
            while batch := list(islice(lines, size)):
                yield batch


@dataclass(frozen=True)
class Listing:
    """All images of an extraction, as a file, because a million paths are too many to hold."""

    file: Path
    total: int
    class_names: tuple[str, ...]
    digest: str

    def lines_at(self, positions: Collection[int]) -> list[ListedImage]:
        """Some of the lines, in their order."""
        wanted = set(positions)
        whole = ListingPart(self.file, 0, self.total)
        return [line for lines in whole.batched(10_000) for line in lines if line.number in wanted]

    def shard(self, shard: tuple[int, int]) -> ListingPart:
        """The lines of one shard; shards differ by at most one image.

        Raises:
            TransferkitError: If the shard would be empty.
        """
        number, count = shard
        start, stop = (self.total * bound // count for bound in (number - 1, number))
        if start == stop:
            raise TransferkitError(
                f"Shard {number}/{count} is empty: its list has {counted(self.total, 'image')}. Use fewer shards."
            )
        return ListingPart(self.file, start, stop - start)
