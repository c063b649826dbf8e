"""What every export format is given: a finished run, its classifier, and what it answers "unknown" by."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.data.reading import Reading, reading_of
from transferkit.deploy.prediction import limits_of
from transferkit.models.classifier import Classifier
from transferkit.ood.rejection import Rejection
from transferkit.runs.run_directory import Run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime.console import SILENT, Console


@dataclass(frozen=True)
class ExportSource:
    """A finished run on its way to other programs.

    Attributes:
        run: The folder.
        classifier: In eval mode, on the CPU.
        rejection: What `predict` answers "unknown" by; None where the run holds no thresholds.
        allow_loss: Whether a format may cost more accuracy than it may by default.
        console: Hears of long work.
    """

    run: Run
    classifier: Classifier
    rejection: Rejection | None
    allow_loss: bool
    console: Console

    @property
    def name(self) -> str:
        """The backbone's."""
        return self.run.recipe.backbone.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return self.classifier.class_names

    @property
    def storage_px(self) -> int:
        """Side of the squares that files become before the classifier prepares them."""
        return int(min(self.run.facts.data.size_px))

    @property
    def reading(self) -> Reading:
        """How files become squares: as the run's own did."""
        return reading_of(self.run.recipe.data)


def source_of(run: Run, *, allow_loss: bool = False, console: Console = SILENT) -> ExportSource:
    """The classifier and the thresholds of a finished run.

    Raises:
        TransferkitError: If its files are damaged, or training images to compare with are gone.
    """
    return ExportSource(run, load_classifier(run).eval(), limits_of(run), allow_loss, console)
