"""What every step of a run is given beside the network and the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferkit.run_files import CHECKPOINT
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
        checkpoint: Name of the file with this state; a method that trains twice has two.
    """

    runtime: Runtime
    screen: Screen
    seed: int
    folder: Path | None = None
    checkpoint: str = CHECKPOINT

    @property
    def checkpoint_path(self) -> Path | None:
        """Where a training keeps its state; None for nowhere."""
        return None if self.folder is None else self.folder / self.checkpoint
