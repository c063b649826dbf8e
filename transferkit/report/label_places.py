"""Where names stand beside the points of a chart, so that none lies on another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHARACTER_PX = 6.4  # the mean width of a character at 11.5 px, somewhat wide
LINE_PX = 12.0
MARK_PX = 5.0  # half the side of a point's mark
RINGS = (9.0, 15.0, 24.0, 36.0, 50.0, 68.0, 90.0, 115.0)
ANGLES = 16
CROSSED_PX = 25.0  # as bad as this much distance: lying on an interval's line
LEADER_FROM_PX = 16.0  # a name farther from its point than this has a line to it


@dataclass(frozen=True)
class Box:
    """A rectangle in px, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def lies_within(self, other: Box) -> bool:
        """Whether all of it is inside the other."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class PlacedLabel:
    """A name's place: where its text is anchored, and the box that it fills."""

    x: float
    baseline: float
    anchor: str
    box: Box
    distance: float

    @property
    def has_leader(self) -> bool:
        """Whether a line to its point is needed to see whose name it is."""
        return self.distance > LEADER_FROM_PX


def place_labels(
    points: Sequence[tuple[float, float]], names: Sequence[str], area: Box, avoided: Sequence[Box] = ()
) -> list[PlacedLabel | None]:
    """A place near its point for each name, on no mark and no other name; None where the area has no room for it.

    Args:
        points: In px, of the marks.
        names: As they are written.
        area: Where names may stand.
        avoided: Lines that a name had better not lie on.
    """
    marks = [Box(x - MARK_PX, y - MARK_PX, x + MARK_PX, y + MARK_PX) for x, y in points]
    placed: dict[int, PlacedLabel] = {}
    for index in sorted(range(len(points)), key=lambda index: points[index][1]):
        taken = [*marks, *(label.box for label in placed.values())]
        free = [
            label
            for label in _candidates(points[index], names[index])
            if label.box.lies_within(area) and not any(label.box.overlaps(box) for box in taken)
        ]
        if free:
            placed[index] = min(free, key=lambda label: _cost(label, avoided))
    return [placed.get(index) for index in range(len(points))]


def _candidates(point: tuple[float, float], name: str) -> Iterator[PlacedLabel]:
    width = CHARACTER_PX * len(name)
    for ring in RINGS:
        for step in range(ANGLES):
            angle = 2 * math.pi * step / ANGLES
            x, y = point[0] + ring * math.cos(angle), point[1] + ring * math.sin(angle)
            anchor = "start" if math.cos(angle) > 0.3 else "end" if math.cos(angle) < -0.3 else "middle"
            left = {"start": x, "end": x - width, "middle": x - width / 2}[anchor]
            box = Box(left, y - LINE_PX / 2, left + width, y + LINE_PX / 2)
            yield PlacedLabel(round(x, 1), round(y + 4, 1), anchor, box, ring)


def _cost(label: PlacedLabel, avoided: Sequence[Box]) -> float:
    return label.distance + CROSSED_PX * sum(label.box.overlaps(box) for box in avoided)
