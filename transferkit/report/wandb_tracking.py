"""A run for Weights & Biases through its own client, which decides where to: WANDB_MODE, its login."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.runs.run_directory import Run
from transferkit.runtime import folders

PACKAGE, EXTRA = "wandb", "wandb"
FOLDER = "wandb"  # in the run's own folder; the name is the client's choice
PROJECT = "transferkit"  # unless WANDB_PROJECT says otherwise


def begin(run: Run, settings: Mapping[str, str]) -> WandbTracker:
    """A run in Weights & Biases, with its settings; code and what a terminal shows stay here."""
    import wandb

    quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True)
    tracked = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=run.path.resolve().name,
        dir=str(run.path),
        config=dict(settings),
        settings=quiet,
    )
    return WandbTracker(tracked, run.path / FOLDER)


class WandbTracker:
    """Numbers of one run, sent as they come."""

    def __init__(self, tracked: Any, folder: Path) -> None:
        self.tracked, self.folder = tracked, folder

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Numbers of one epoch."""
        self.tracked.log(dict(numbers), step=epoch)

    def finish(self, _run: Run, verdict: str) -> None:
        """The verdict, in the run's summary."""
        self.tracked.summary["verdict"] = verdict

    def close(self, *, is_complete: bool) -> None:
        """Say how it ended, and note what the client left in the run's folder."""
        self.tracked.finish(exit_code=0 if is_complete else 1)
        folders.record_written(path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
