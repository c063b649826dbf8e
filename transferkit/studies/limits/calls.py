"""What images of unknown classes are called where they are accepted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.data.images import Images
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.array_types import Bools

ROWS = 40  # unknown classes listed in the matrix, largest first
FLOWS = 10  # put into words
FEWEST_IN_FLOW = 5  # images of an unknown class before it is put into words


@dataclass(frozen=True)
class Called:
    """How many images are called one of the run's classes, with which mean confidence."""

    n: int
    confidence: float | None


@dataclass(frozen=True)
class CallRow:
    """What the images of one unknown class are called, the commonest first."""

    name: str
    n: int
    accepted: int
    called: dict[str, Called]


@dataclass(frozen=True)
class Flow:
    """One unknown class (`name`) that is accepted as one of the run's: `hits` of `n` images, a share of `value`."""

    name: str
    called: str
    hits: int
    value: float
    n: int
    confidence: float | None


@dataclass(frozen=True)
class Calls:
    """What a set of unknown images is called.

    Attributes:
        rows: The largest classes.
        more_classes: That are not among them.
        flows: The largest.
        called: Accepted images by the run's classes.
    """

    rows: tuple[CallRow, ...]
    more_classes: int
    flows: tuple[Flow, ...]
    called: dict[str, int]


def calls(images: Images, outputs: Outputs, accepted: Bools) -> Calls:
    """What each unknown class is called where it is accepted, and the largest flows in words."""
    counts = np.bincount(images.require_labels(), minlength=len(images.class_names))
    shown = np.argsort(-counts, kind="stable")[:ROWS]
    table = [_call_row(images, outputs, accepted, int(index)) for index in shown if counts[index]]
    flows = sorted((flow for row in table for flow in _flows(row)), key=lambda flow: (-flow.hits, flow.name))
    called = np.bincount(outputs.predictions[accepted], minlength=len(outputs.class_names))
    return Calls(
        rows=tuple(table),
        more_classes=int((counts > 0).sum()) - len(table),
        flows=tuple(flows[:FLOWS]),
        called={name: int(n) for name, n in zip(outputs.class_names, called, strict=True)},
    )


def _call_row(images: Images, outputs: Outputs, accepted: Bools, label: int) -> CallRow:
    member = images.require_labels() == label
    answered = member & accepted
    counts = np.bincount(outputs.predictions[answered], minlength=len(outputs.class_names))
    confidence = [
        float(outputs.confidences[answered & (outputs.predictions == index)].mean()) if count else None
        for index, count in enumerate(counts)
    ]
    called = {
        outputs.class_names[index]: Called(int(counts[index]), confidence[index])
        for index in np.argsort(-counts, kind="stable")
        if counts[index]
    }
    return CallRow(images.class_names[label], int(member.sum()), int(answered.sum()), called)


def _flows(row: CallRow) -> list[Flow]:
    if row.n < FEWEST_IN_FLOW:
        return []
    return [
        Flow(row.name, name, called.n, called.n / row.n, row.n, called.confidence)
        for name, called in row.called.items()
    ]
