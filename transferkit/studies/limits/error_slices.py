"""Groups of alike test images on which the network is shown to be worse, as the report holds them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from transferkit.metrics.error_slices import FEWEST_IMAGES, ErrorSlice, error_slices
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.array_types import Bools, Integers
from transferkit.runtime.records import Measure
from transferkit.studies.limits.gallery import Album, GalleryItem, own_items
from transferkit.studies.limits.out_of_distribution import accepted_of
from transferkit.studies.limits.shares import NotMeasured, Share, share_of
from transferkit.studies.limits.subject import LimitsSubject

PICTURED = 6  # slices
PICTURES = 12  # of a slice
NAMED = 3  # classes


@dataclass(frozen=True)
class SliceRow:
    """A slice: how well the network does on it and on all other images, and what is in it.

    Attributes:
        accuracy: On its images; `rest` on all others.
        p: That it is no worse than the rest, after Holm's correction.
        by_class: The accuracy that its mix of classes has outside it; NaN where a class is nowhere else.
        confidence: Mean, on its images.
        rejected: By the shipped threshold; None without one.
        labels: Images by their class, the commonest first; `predicted` by the predicted one.
        ids: Of its images, the most typical first.
        pictures: Of the first of them; empty for slices further down the list.
    """

    accuracy: Share
    rest: Share
    p: float
    by_class: Measure
    confidence: float
    rejected: Share | None
    labels: dict[str, int]
    predicted: dict[str, int]
    ids: tuple[str, ...]
    pictures: tuple[GalleryItem, ...] = ()

    @property
    def gap(self) -> float:
        """Accuracy on the rest less that on the slice."""
        return self.rest.value - self.accuracy.value


@dataclass(frozen=True)
class SlicesReport:
    """What was looked at and found.

    Attributes:
        tested: Clusters of test images.
        by_groups: Whether groups of images, such as patients, counted as a whole.
        rows: Those that are shown to be worse, those first that lose the most images.
    """

    tested: int
    by_groups: bool
    rows: tuple[SliceRow, ...]


def measure_slices(subject: LimitsSubject, seed: int) -> SlicesReport | NotMeasured:
    """The slices of the run's test images, without pictures."""
    if (n := len(subject.test)) < FEWEST_IMAGES:
        return NotMeasured(f"{n} test images; it takes {FEWEST_IMAGES}")
    slices = error_slices(subject.test, seed)
    accepted = accepted_of(subject, subject.test)[0] if subject.limits.percentiles else None
    rows = tuple(slice_row(worse, subject.test, accepted) for worse in slices.slices)
    return SlicesReport(slices.tested, subject.test.groups is not None, rows)


def slice_row(worse: ErrorSlice, outputs: Outputs, accepted: Bools | None) -> SliceRow:
    """A slice with its intervals, classes and ids."""
    inside = np.zeros(len(outputs), dtype=bool)
    inside[worse.members] = True
    return SliceRow(
        accuracy=share_of(outputs.is_right, outputs.groups, inside),
        rest=share_of(outputs.is_right, outputs.groups, ~inside),
        p=worse.p,
        by_class=accuracy_by_class(outputs, inside),
        confidence=float(outputs.confidences[inside].mean()),
        rejected=None if accepted is None else share_of(~accepted, outputs.groups, inside),
        labels=counts(outputs.require_labels()[inside], outputs.class_names),
        predicted=counts(outputs.predictions[inside], outputs.class_names),
        ids=tuple(outputs.ids[index] for index in worse.members),
    )


def accuracy_by_class(outputs: Outputs, inside: Bools) -> float:
    """The accuracy of other images, in the mix of classes that these have; NaN where there are no others of a class."""
    labels, size = outputs.require_labels(), len(outputs.class_names)
    mix = np.bincount(labels[inside], minlength=size)
    others = np.bincount(labels[~inside], minlength=size)
    right = np.bincount(labels[~inside & outputs.is_right], minlength=size)
    if (others[mix > 0] == 0).any():
        return float("nan")
    return float((mix * right / np.maximum(others, 1)).sum() / mix.sum())


def counts(classes: Integers, names: tuple[str, ...]) -> dict[str, int]:
    """Images by class, the commonest first."""
    of_class = np.bincount(classes, minlength=len(names))
    return {names[index]: int(of_class[index]) for index in np.argsort(-of_class, kind="stable") if of_class[index]}


def with_pictures(
    report: SlicesReport | NotMeasured, subject: LimitsSubject, album: Album
) -> SlicesReport | NotMeasured:
    """The report with pictures of the first slices, which the album takes in."""
    if isinstance(report, NotMeasured):
        return report
    position = {name: index for index, name in enumerate(subject.test.ids)}
    rows = [
        replace(row, pictures=own_items(subject, [position[name] for name in row.ids[:PICTURES]], album))
        for row in report.rows[:PICTURED]
    ]
    return replace(report, rows=(*rows, *report.rows[PICTURED:]))


def in_words(row: SliceRow) -> str:
    """The classes that make up most of a slice.

    Example:
        >>> half = Share(1, 2, (0.1, 0.9))
        >>> in_words(SliceRow(half, half, 0.01, 0.5, 0.5, None, {"cat": 6, "dog": 3, "owl": 1}, {}, ()))
        'cat (6), dog (3), owl (1)'
    """
    named = [f"{name.replace('_', ' ')} ({count})" for name, count in list(row.labels.items())[:NAMED]]
    more = len(row.labels) - NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
