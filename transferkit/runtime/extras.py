"""What a run can do without: a fault in its costs, explanations or pages is told, and the run stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from transferkit.runtime.console import Console
from transferkit.runtime.errors import reason

Result = TypeVar("Result")


@dataclass(frozen=True)
class Extras:
    """Work beside the results, done as far as it can be.

    Attributes:
        console: Says at once what failed.
        notes: What failed, one line each, for the report.
    """

    console: Console
    notes: list[str] = field(default_factory=list)

    def attempt(self, what: str, make: Callable[[], Result]) -> Result | None:
        """What `make` gives; None, a line and a note where it fails.

        Example:
            >>> from transferkit.runtime.console import SILENT
            >>> extras = Extras(SILENT)
            >>> extras.attempt("costs", lambda: 1 / 0)
            >>> extras.notes
            ['no costs: ZeroDivisionError: division by zero. Model, outputs and scores are complete.']
        """
        try:
            return make()
        except Exception as error:  # whatever a network of another library makes of it, the training is not lost
            self.notes.append(f"no {what}: {reason(error).rstrip('.')}. Model, outputs and scores are complete.")
            self.console.line(self.notes[-1])
            return None
