"""What every step of a run is given beside the network and the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferkit.runtime.console import Console
from transferkit.runtime.files import CHECKPOINT
from transferkit.runtime.machine import Runtime


@dataclass(frozen=True)
class Context:
    """Where a fit computes, who watches it, and what it begins from.

    Attributes:
        runtime: Device, precision and threads.
        console: Progress and prose go there.
        seed: Of the order of images, augmentation, random weights and folds.
        folder: A training keeps its state there and goes on from the one it finds; None keeps nothing.
        checkpoint: Name of the file with this state; a method that trains twice has two.
    """

    runtime: Runtime
    console: Console
    seed: int
    folder: Path | None = None
    checkpoint: str = CHECKPOINT

    @property
    def checkpoint_path(self) -> Path | None:
        """Where a training keeps its state; None for nowhere."""
        return None if self.folder is None else self.folder / self.checkpoint
