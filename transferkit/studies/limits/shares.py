"""Shares of images with n and interval, and the reason where nothing was measured, as limits.json holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Discriminator, Tag, computed_field

from transferkit.metrics.grouped import grouped_proportion
from transferkit.metrics.proportions import Proportion, share
from transferkit.metrics.statistics import Bounds, Interval
from transferkit.runtime.array_types import Bools


@dataclass(frozen=True)
class Share:
    """So many of so many images.

    Attributes:
        hits: How many.
        n: Of how many.
        interval: 95 %; 0 to 1 if n is 0.
    """

    hits: int
    n: int
    interval: Bounds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> float:
        """hits / n, for readers of the file too; NaN, there null, if n is 0."""
        return self.hits / self.n if self.n else float("nan")


@dataclass(frozen=True)
class NotMeasured:
    """Stands where a test was left out, and says why."""

    reason: str


def _which(value: Any) -> str:
    """Whether this, as read or to be written, is a reason or what was measured."""
    is_reason = "reason" in value if isinstance(value, dict) else isinstance(value, NotMeasured)
    return "reason" if is_reason else "measured"


Measured = TypeVar("Measured")
OrReason = Annotated[
    Annotated[Measured, Tag("measured")] | Annotated[NotMeasured, Tag("reason")], Discriminator(_which)
]


def share_of(members: Bools, groups: Sequence[str] | None = None, among: Bools | None = None) -> Share:
    """How many of a mask are true, of all or among some; the interval is by whole groups where images have some."""
    if groups:
        return as_share(grouped_proportion(members, groups, among))
    return as_share(share(members if among is None else members[among]))


def as_share(proportion: Proportion) -> Share:
    """A proportion as the report holds it."""
    return Share(proportion.hits, proportion.n, proportion.interval.bounds)


def bounds(interval: Interval | None) -> Bounds | None:
    """The two ends, where there is an interval."""
    return None if interval is None else interval.bounds
