"""Answers as a page of thumbnails: what a person should look at first comes first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.deploy.answer_rows import AnswerRow, Journal, Tally
from transferkit.deploy.answers import PredictionTask
from transferkit.features.extraction.listing import Listing, ListingPart
from transferkit.report.inline_images import data_uri
from transferkit.report.page import rendered

FOLDER = Path(__file__).parent
MOST_PICTURES = 600  # about 2 MB
MOST_UNREADABLE = 100  # files that are named
SIDE_PX = 96
BATCH = 64  # pictures decoded at a time


@dataclass(frozen=True)
class ShownAnswer:
    """An answer with its picture, as a data URI."""

    row: AnswerRow
    picture: str

    @property
    def likeliest(self) -> str:
        """The class that it is, or would be."""
        return self.row.top[0][0] if self.row.top else self.row.answer


def answer_page(task: PredictionTask, listing: Listing, journal: Journal, counts: Tally) -> str:
    """One HTML file that loads nothing: unknown images first, the most unusual foremost; then the least certain."""
    chosen = most_doubtful(journal.read())
    pictures = thumbnails_of(task, listing, sorted(chosen))
    shown = [ShownAnswer(row, pictures[number]) for number, row in chosen.items()]
    limits = task.model.rejection
    unreadable = (row for row in journal.read() if row.error)
    return rendered(
        FOLDER / "answer_page.html.jinja",
        extra_style=FOLDER / "answer_page.css",
        run=str(task.model.folder),
        source=task.source.name,
        counts=counts,
        acceptance=task.settings.acceptance,
        reason=limits.reason if limits else "the run holds no threshold",
        unknown=[entry for entry in shown if entry.row.unknown],
        answered=[entry for entry in shown if not entry.row.unknown],
        unreadable=[row for _, row in zip(range(MOST_UNREADABLE), unreadable, strict=False)],
    )


def most_doubtful(rows: Iterator[AnswerRow], most: int = MOST_PICTURES) -> dict[int, AnswerRow]:
    """The rows to look at first, by their number: unknown ones, the most unusual foremost, then the least certain."""
    answered = ((number, row) for number, row in enumerate(rows) if not row.error)
    return dict(heapq.nsmallest(most, answered, key=lambda item: _certainty(item[1])))


def _certainty(row: AnswerRow) -> tuple[bool, float, float]:
    unusual = row.unusual_percent or 0
    return not row.unknown, -unusual if row.unknown else 0, row.probability or 0.0


def thumbnails_of(task: PredictionTask, listing: Listing, numbers: Sequence[int]) -> Mapping[int, str]:
    """The pictures of these lines, as data URIs, cut as the model sees them."""
    wanted = set(numbers)
    uris: dict[int, str] = {}
    for batch in ListingPart(listing.file, 0, listing.total).batched(BATCH):
        if lines := [line for line in batch if line.number in wanted]:
            pixels = task.pictures(lines, SIDE_PX).take(np.arange(len(lines)))
            uris |= {line.number: data_uri(picture) for line, picture in zip(lines, pixels, strict=True)}
    return uris
