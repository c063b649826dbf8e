"""When a training ends: after so many steps, or when the clock says so."""

from __future__ import annotations

import math
from dataclasses import dataclass

from transferkit.recipe.budget import Budget

UNKNOWN_STEPS = 1_000_000  # of a training by the clock, before its first step


@dataclass(frozen=True)
class Pace:
    """When a training ends; the schedule follows it.

    Attributes:
        steps: After so many steps; None where the clock decides.
        seconds: After so many seconds of steps, validation and saving not counted; None where steps decide.
    """

    steps: int | None
    seconds: float | None = None

    @classmethod
    def of(cls, length: Budget, steps_per_epoch: int) -> Pace:
        """Of a length in epochs, steps or seconds."""
        if length.kind == "seconds":
            return cls(None, length.amount)
        return cls(int(length.amount) * (steps_per_epoch if length.kind == "epochs" else 1))

    def total_steps(self, step: int, seconds: float) -> int:
        """Steps of the whole training, as far as known after `step` of them in `seconds`; `step` itself at the end.

        Example:
            >>> Pace(steps=None, seconds=60.0).total_steps(step=100, seconds=15.0)
            400
        """
        if self.seconds is None:
            assert self.steps is not None
            return self.steps
        if not step or seconds <= 0:
            return UNKNOWN_STEPS
        return step if seconds >= self.seconds else max(step + 1, round(step * self.seconds / seconds))

    def is_over(self, step: int, seconds: float) -> bool:
        """Whether nothing is left; a training takes at least one step."""
        return step >= self.total_steps(step, seconds)

    def words(self, epoch: int, steps_per_epoch: int, seconds: float) -> str:
        """Where a training stands at the beginning of an epoch."""
        if self.steps is not None:
            return f"epoch {epoch + 1}/{math.ceil(self.steps / steps_per_epoch)}"
        return f"epoch {epoch + 1}, {seconds:.0f} of {self.seconds:.0f} s"
