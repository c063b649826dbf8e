"""What every step of a run is given beside the network and the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferkit.runtime import Runtime
from transferkit.screen import Screen


@dataclass(frozen=True)
class Job:
    """Where a fit computes, who watches it, and what it begins from.

    Attributes:
        runtime: Device, precision and threads.
        screen: Progress and prose go there.
        seed: Of the order of images, augmentation, random weights and folds.
        folder: A training keeps its state there and goes on from the one it finds; None keeps nothing.
    """

    runtime: Runtime
    screen: Screen
    seed: int
    folder: Path | None = None
