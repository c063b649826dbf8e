"""The images to label next, as a typed result that shows itself, and as a CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from transferkit.runtime.files import write_atomically
from transferkit.runtime.plurals import counted
from transferkit.runtime.shares import percent

COLUMNS = ("rank", "path", "class_1", "probability_1", "class_2", "probability_2", "nearest_to_share", "reason")
DIGITS = 6
SHOWN = 20  # rows of a table on a screen


@dataclass(frozen=True)
class NextImage:
    """An image that is worth a label.

    Attributes:
        rank: From 1, the most useful one.
        number: Of the image among all that were looked at.
        path: Of the file.
        classes: The likeliest class and the second one.
        probabilities: Of these, as the network states them.
        share: Of the images that picks are to stand for: how many are nearer to this one than to any labelled image and
            any other pick.
    """

    rank: int
    number: int
    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    share: float

    @property
    def reason(self) -> str:
        """Why a person should label it."""
        first, second = zip(self.classes[:2], self.probabilities[:2], strict=True)
        return f"nearest to {percent(self.share)} of the images; {first[0]} {percent(first[1])} or {second[0]} " + (
            f"{percent(second[1])}"
        )

    def cells(self) -> tuple[str | int | float, ...]:
        """Its row in a file, in the order of `COLUMNS`."""
        (first, second), (likeliest, runner_up) = self.classes, (round(share, DIGITS) for share in self.probabilities)
        return self.rank, self.path, first, likeliest, second, runner_up, round(self.share, DIGITS), self.reason


@dataclass(frozen=True, repr=False)
class NextImages:
    """Which images to label next.

    Attributes:
        run: The folder of the run that was asked.
        source: Where the images are.
        images: The chosen ones, best first.
        looked_at: How many readable images there are.
        unreadable: How many others could not be read.
        in_run: How many were left out as copies of train, val or test images of the run.
        near_copies: How many were left out as copies of a chosen one.
        labelled: How many images the run has already.
    """

    run: str
    source: str
    images: tuple[NextImage, ...]
    looked_at: int
    unreadable: int
    in_run: int
    near_copies: int
    labelled: int

    def lines(self) -> list[str]:
        """What was chosen from what, in a few sentences."""
        unreadable = f" {counted(self.unreadable, 'file')} could not be read." if self.unreadable else ""
        return [
            f"{counted(len(self.images), 'image')} to label next, of {self.looked_at:,} in {self.source}.{unreadable}",
            f"Left out: {self.in_run:,} that the run has already, in train, val or test; {self.near_copies:,} near "
            f"cop{'y' if self.near_copies == 1 else 'ies'} of chosen ones.",
        ]

    def write_csv(self, path: Path) -> None:
        """One line per image, best first."""
        write_atomically(path, self._write)

    def _write(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *(image.cells() for image in self.images)])

    def _cells(self) -> Iterator[tuple[str, str, str]]:
        for image in self.images[:SHOWN]:
            yield str(image.rank), image.path, image.reason

    @property
    def _rest(self) -> str:
        return f"and {len(self.images) - SHOWN:,} more" if len(self.images) > SHOWN else ""

    def __repr__(self) -> str:
        """The first sentence, and the first images with the reason of each."""
        rows = (f"{rank:>3}  {path}\n     {reason}" for rank, path, reason in self._cells())
        return "\n".join([*self.lines(), *rows, self._rest]).rstrip()

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        body = Markup("").join(
            Markup("<tr><td>{}</td><td>{}</td><td>{}</td></tr>").format(*cells) for cells in self._cells()
        )
        head = Markup("<tr><th></th><th>image</th><th>reason</th></tr>")
        return Markup("<p>{}</p><table>{}{}</table>{}").format(" ".join(self.lines()), head, body, self._rest)
