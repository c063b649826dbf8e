"""Answers as rows of a file, and the journal in which they wait until all are there."""

from __future__ import annotations

import heapq
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transferkit.deploy.answers import Answer
from transferkit.runtime import folders
from transferkit.runtime.full_disk import naming
from transferkit.runtime.plurals import counted

UNKNOWN = "unknown"  # the answer to an image that is more unusual than the model accepts
DIGITS = 6  # of a probability


@dataclass(frozen=True)
class AnswerRow:
    """One image in a file of answers.

    Attributes:
        path: Of the file, or the id of an image of a data set.
        answer: A class, or "unknown"; empty where the image could not be read.
        probability: Of the likeliest class, with the temperature that val gave.
        unknown: Whether the answer is "unknown"; None if the run holds no threshold, or the image could not be read.
        unusual_percent: Per cent of the images that the threshold was learnt from that are no more unusual.
        top: The likeliest classes, each with its probability.
        error: Why the image could not be read; else empty.
    """

    path: str
    answer: str
    probability: float | None
    unknown: bool | None
    unusual_percent: int | None
    top: tuple[tuple[str, float], ...]
    error: str


def row(answer: Answer, top: int) -> AnswerRow:
    """An answer as a row with so many classes."""
    prediction = answer.prediction
    if prediction is None:
        return AnswerRow(answer.path, "", None, None, None, (), answer.error)
    likeliest = heapq.nlargest(top, prediction.probabilities.items(), key=lambda item: item[1])
    classes = tuple((name, round(probability, DIGITS)) for name, probability in likeliest)
    share = round(prediction.probability, DIGITS)
    return AnswerRow(answer.path, name_of(answer), share, prediction.unknown, prediction.percentile, classes, "")


def name_of(answer: Answer) -> str:
    """A class, or "unknown"; empty where the image could not be read."""
    if answer.prediction is None:
        return ""
    return UNKNOWN if answer.prediction.unknown else answer.prediction.name


@dataclass(frozen=True)
class Journal:
    """Rows in the order of their images, one line of JSON each; what a kill has cut off is not there."""

    path: Path

    def count(self) -> int:
        """How many rows are there; a last line without its end is removed."""
        if not self.path.exists():
            return 0
        complete, bytes_complete = 0, 0
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    complete, bytes_complete = complete + 1, bytes_complete + len(line)
        os.truncate(self.path, bytes_complete)
        return complete

    def append(self, rows: Iterable[AnswerRow]) -> None:
        """Add rows at the end."""
        folders.record(self.path)
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(vars(row)) + "\n" for row in rows))

    def read(self) -> Iterator[AnswerRow]:
        """All rows, one in memory at a time."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                values = json.loads(line)
                yield AnswerRow(**{**values, "top": tuple((name, share) for name, share in values["top"])})


@dataclass(frozen=True)
class Tally:
    """Answers counted.

    Attributes:
        images: All of them.
        unknown: Those that are unknown.
        unreadable: Those without an answer.
        answers: Images by answer, the commonest first.
    """

    images: int
    unknown: int
    unreadable: int
    answers: tuple[tuple[str, int], ...]

    def in_words(self) -> str:
        """The counts in one line.

        Example:
            >>> Tally(1200, 3, 0, (("cat", 1197), ("unknown", 3))).in_words()
            '1,200 images, 3 unknown'
        """
        unreadable = f", {self.unreadable:,} unreadable" if self.unreadable else ""
        return f"{counted(self.images, 'image')}, {self.unknown:,} unknown{unreadable}"


def tally(rows: Iterable[AnswerRow]) -> Tally:
    """The rows counted."""
    answers, unknown, unreadable = Counter[str](), 0, 0
    for entry in rows:
        unreadable += bool(entry.error)
        unknown += bool(entry.unknown)
        answers.update([] if entry.error else [entry.answer])
    return Tally(answers.total() + unreadable, unknown, unreadable, tuple(answers.most_common()))
