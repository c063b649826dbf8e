"""What every step of a run is given beside the network and the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transferkit.runtime.console import Console
from transferkit.runtime.files import CHECKPOINT
from transferkit.runtime.machine import Runtime


def nobody(_facts: Any) -> None:
    """Nobody asks for it."""


@dataclass(frozen=True)
class Context:
    """Where a fit computes, who watches it, and what it begins from.

    Attributes:
        runtime: Device, precision and threads.
        console: Progress and prose go there.
        seed: Of the order of images, augmentation, random weights and folds.
        folder: A training keeps its state there and goes on from the one it finds; None keeps nothing.
        note_epoch: Is told each epoch of a training as it ends, a resumed one's earlier ones first.
        checkpoint: Name of the file with this state; a method that trains twice has two.
        data: Settings of the data set whose train images, and val, a training gets: other processes load them by these.
            None where they could not; then this process trains alone.
        observe: Given what is seen of a training's start, `runs.facts.StartFacts`, at once: before its first step.
    """

    runtime: Runtime
    console: Console
    seed: int
    folder: Path | None = None
    checkpoint: str = CHECKPOINT
    data: Any = None
    observe: Callable[[Any], None] = nobody
    note_epoch: Callable[[Any], None] = nobody

    def watched(self, observe: Callable[[Any], None], note_epoch: Callable[[Any], None]) -> Context:
        """The same, and these are told what happens."""
        return replace(self, observe=observe, note_epoch=note_epoch)

    @property
    def checkpoint_path(self) -> Path | None:
        """Where a training keeps its state; None for nowhere."""
        return None if self.folder is None else self.folder / self.checkpoint
