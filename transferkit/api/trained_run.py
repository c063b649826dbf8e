"""A finished run in Python and in notebooks: its headline, its numbers, its page and its model."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit import report
from transferkit.api.arguments import as_path
from transferkit.deploy.prediction import Model, load
from transferkit.deploy.prediction_table import PredictionTable, picture_names
from transferkit.metrics.history import History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import Evaluation
from transferkit.metrics.statistics import Bounds
from transferkit.recipe import Recipe
from transferkit.runs.checks.finding import Finding
from transferkit.runs.facts import RunFacts
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import Console
from transferkit.studies.next_images.results import NextImages


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """What `finetune`, `probe` and `scratch` return; whatever takes a run's folder takes it as well.

    Attributes:
        folder: Its folder, with all that is stored in it.
    """

    folder: Run

    @property
    def path(self) -> Path:
        """Of the folder."""
        return self.folder.path

    @property
    def recipe(self) -> Recipe:
        """With every default written out."""
        return self.folder.recipe

    @property
    def facts(self) -> RunFacts:
        """How the run was made."""
        return self.folder.facts

    @property
    def evaluation(self) -> Evaluation:
        """Every number of the report."""
        return self.folder.evaluation

    @property
    def history(self) -> History:
        """Every finished epoch, after the start as epoch 0; empty for a probe."""
        return self.folder.history

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the numbered checks find in it, the most serious first; docs/checks.md explains each."""
        return report.findings(self.folder)

    def outputs(self, image_set: str) -> Outputs:
        """The stored outputs of `val`, of `test`, or of some train images: `bank`."""
        return self.folder.outputs(image_set)

    @property
    def accuracy(self) -> float:
        """Share of the test images that it gets right, in [0, 1]."""
        return self.evaluation.test.accuracy

    @property
    def interval(self) -> Bounds:
        """Of the accuracy, 95 %."""
        return self.evaluation.test.interval

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of `confusion`."""
        return tuple(row.name for row in self.evaluation.test.per_class)

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(C, C) counts of test images: rows true classes, columns predicted ones."""
        return np.asarray(self.evaluation.test.confusion, dtype=np.int64)

    @cached_property
    def model(self) -> Model:
        """The trained classifier, ready to look at images; loaded once."""
        return load(self.folder)

    def predict(self, images: Any) -> PredictionTable:
        """What the model says of each image, as a table.

        Args:
            images: A path, a folder, a list of paths, PIL images, a uint8 array or tensor, or `Images`.

        Raises:
            TransferkitError: If the images cannot be read.
        """
        return PredictionTable(tuple(picture_names(images)), tuple(self.model.predict(images)))

    def next(
        self,
        images: Path | str | Sequence[Path | str],
        n: int = 50,
        *,
        out: Path | str | None = None,
        quiet: bool = False,
    ) -> NextImages:
        """Which of some unlabelled images to label next, best first, each with its reason.

        Args:
            images: A folder, a glob, a CSV with a column path, or several of these.
            n: How many.
            out: A CSV to write them to, with a page of thumbnails beside it; replaced where it exists.
            quiet: Print nothing.

        Raises:
            TransferkitError: If there are no such images, none is new, or the run's own images have changed.
        """
        from transferkit.studies.next_images.next_images import NextFiles, next_images

        sources = [images] if isinstance(images, (str, Path)) else images
        files = None if out is None else NextFiles(Path(out), overwrite=True)
        return next_images(self.folder, [str(source) for source in sources], n, Console(quiet=quiet), files=files)

    def card(self, out: Path | str | None = None, *, overwrite: bool = False) -> Path:
        """Write a model card with the weights beside it, as `transferkit card RUN` does.

        Args:
            out: The folder; default RUN/card.
            overwrite: Replace an earlier card in that folder.

        Returns:
            The folder, with README.md, model.safetensors and config.json.

        Raises:
            TransferkitError: If the folder holds something else, or an earlier card.
            MachineError: If the weights do not answer as the model does.
        """
        from transferkit.deploy.hub_repository import write_repository

        return write_repository(self.folder, as_path(out), overwrite=overwrite)

    def open(self) -> None:
        """Show the page in the browser."""
        webbrowser.open((self.path / "report.html").resolve().as_uri())

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        """The accuracy on test, and where to read more."""
        return f"{report.result_sentence(self.folder)}\nReport: {self.path / 'report.html'}"

    def _repr_html_(self) -> str:
        """Tiles, the confusion matrix and a link to the page, for notebooks."""
        return report.summary(self.folder)
