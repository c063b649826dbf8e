"""One image through the severities of each corruption: what the numbers look like, and where it is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Images, Pixels
from transferkit.metrics.outputs import Outputs

GOLDEN = 0.618  # spreads the images chosen over the set, and so over its classes
Version = tuple[str, int]  # a corruption and its severity


@dataclass(frozen=True)
class StripStep:
    """An image at one severity (0: as it is): what it is called, and whether that is right.

    Attributes:
        picture: Its number among the report's pictures, once it is among them.
    """

    severity: int
    called: str
    right: bool
    picture: int | None = None


@dataclass(frozen=True)
class StripRow:
    """One image through a corruption, as the report holds it."""

    corruption: str
    id: str
    label: str
    steps: tuple[StripStep, ...]


@dataclass(frozen=True)
class Strip:
    """An image as it is and at each severity.

    Attributes:
        corruption: Its name.
        id: Of the image.
        label: Its class.
        steps: What it is called.
        pictures: One per step.
    """

    corruption: str
    id: str
    label: str
    steps: tuple[StripStep, ...]
    pictures: Images


def strips(
    images: Images,
    clean: Outputs,
    answers: Mapping[Version, Outputs],
    breaking: Mapping[str, int | None],
    pixels_of: Callable[[Version, int], Pixels],
) -> list[Strip]:
    """One strip per corruption, of an image that is first called wrong where the mean accuracy breaks.

    Args:
        images: All clean images.
        clean: What they are called.
        answers: What they are called under each corruption and severity.
        breaking: Breaking point by corruption.
        pixels_of: (3, H, W), one image (by its index) under one corruption.
    """
    severities = sorted({severity for _, severity in answers})
    made = []
    for number, (name, breaks_at) in enumerate(breaking.items()):
        right = np.stack(
            [answers[name, severity].predictions == clean.require_labels() for severity in severities]
        )  # (S, N)
        index = typical(clean.is_right, right, severities, breaks_at, number)
        if index is None:
            continue
        versions = [(name, severity) for severity in severities]
        by_severity = [(0, clean), *((severity, answers[name, severity]) for _, severity in versions)]
        steps = tuple(_step(severity, outputs, clean, index) for severity, outputs in by_severity)
        pixels = np.stack(
            [images.take(slice(index, index + 1))[0], *(pixels_of(version, index) for version in versions)]
        )
        label = clean.class_names[clean.require_labels()[index]]
        pictures = Images.from_pixels(pixels, np.zeros(len(pixels)), (label,))
        made.append(Strip(name, clean.ids[index], label, steps, pictures))
    return made


def _step(severity: int, outputs: Outputs, clean: Outputs, index: int) -> StripStep:
    called = int(outputs.predictions[index])
    return StripStep(severity, outputs.class_names[called], called == int(clean.require_labels()[index]))


def typical(
    clean_right: npt.NDArray[np.bool_],
    right: npt.NDArray[np.bool_],
    severities: Sequence[int],
    breaks_at: int | None,
    number: int,
) -> int | None:
    """An image right as it is and up to the breaking point, wrong from there; another for each number.

    Where no image fails just there, one that fails anywhere, else one that is right as it is; None if there is none.
    """
    before = [severity for severity in severities if breaks_at is None or severity < breaks_at]
    until = right[: len(before)].all(axis=0)
    lost = ~right[len(before) :].any(axis=0) if len(before) < len(severities) else np.ones_like(until)
    for wanted in (until & lost, ~right.all(axis=0), np.ones_like(until)):
        candidates = np.flatnonzero(clean_right & wanted)
        if len(candidates):
            return int(candidates[int(len(candidates) * (number * GOLDEN % 1))])
    return None
