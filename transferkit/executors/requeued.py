"""Work that a cluster may interrupt: it is queued again as it is, because it goes on from what it has written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transferkit.executors.workers import Answer, Work
from transferkit.runtime import optional_libraries


@dataclass(frozen=True)
class Requeued:
    """What submitit calls, and what it asks for when Slurm announces the end of a job."""

    work: Work

    def __call__(self) -> Answer:
        """The work itself."""
        return self.work()

    def checkpoint(self) -> Any:
        """The same again; submitit looks for this name."""
        return optional_libraries.submitit("local").helpers.DelayedSubmission(self)
