"""What a check looks at: the typed facts of a run, as far as they are there."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from transferkit.data.split_facts import SplitFacts
from transferkit.metrics.history import History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import Calibration, Evaluation, Scores, SinceStart
from transferkit.models.stored_model import StoredModel
from transferkit.recipe import MethodSettings, Recipe, TrainingSettings
from transferkit.runs.facts import ProbeFacts, RunFacts


@dataclass(frozen=True)
class CheckedRun:
    """A run as checks see it; what is not there, or not yet, is None or empty.

    Attributes:
        place: Its folder, as it is typed.
        recipe: Resolved.
        test: The stored outputs of the test set.
        limits_page: Of its limits report, from its folder; empty where there is none.
    """

    place: str = "RUN"
    recipe: Recipe | None = None
    facts: RunFacts | None = None
    evaluation: Evaluation | None = None
    history: History = field(default_factory=History)
    model: StoredModel | None = None
    test: Outputs | None = None
    limits_page: str = ""

    @property
    def scores(self) -> Scores | None:
        """Of the test set; None without test images."""
        scores = self.evaluation.test if self.evaluation else None
        return scores if scores and scores.n else None

    @property
    def calibration(self) -> Calibration | None:
        """Of the test set."""
        return self.scores.calibration if self.scores else None

    @property
    def since_start(self) -> SinceStart | None:
        """How the result stands to the weights that training began with."""
        return self.evaluation.since_start if self.evaluation else None

    @property
    def parts(self) -> SplitFacts | None:
        """What train, val and test say of each other."""
        return self.facts.data.parts if self.facts else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """From the data, or else from the evaluation."""
        if self.parts:
            return self.parts.class_names
        return tuple(row.name for row in self.scores.per_class) if self.scores else ()

    @property
    def probe(self) -> ProbeFacts | None:
        """What was solved."""
        return self.facts.probe if self.facts else None

    @property
    def method(self) -> type[MethodSettings]:
        """What the method declares of itself."""
        return type(self.recipe.method) if self.recipe else MethodSettings

    @property
    def training(self) -> TrainingSettings | None:
        """The keys of its gradient steps; None where it took none."""
        return self.recipe.method.training if self.recipe else None

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self.recipe.backbone.name if self.recipe else "the network"

    def again(self, *changes: str) -> str:
        """The command that makes the run again beside itself, with some keys changed.

        Example:
            >>> CheckedRun("runs/a").again("method.lr=0.01")
            'transferkit run runs/a/recipe.yaml method.lr=0.01 --out runs/a-again'
        """
        return shlex.join(["transferkit", "run", f"{self.place}/recipe.yaml", *changes, "--out", f"{self.place}-again"])

    def ask(self, command: str) -> str:
        """A command about this run.

        Example:
            >>> CheckedRun("runs/a").ask("limits")
            'transferkit limits runs/a'
        """
        return shlex.join(["transferkit", command, self.place])
