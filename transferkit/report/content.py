"""What a report says, gathered once from a run's files, for the page, the Markdown and the terminal alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from transferkit import recipe as recipes
from transferkit.metrics.explanations import Explanations
from transferkit.metrics.feature_map import FeatureMap
from transferkit.metrics.history import History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import Evaluation, Scores
from transferkit.models.stored_model import StoredModel
from transferkit.report.published import Published, published
from transferkit.runs import checks
from transferkit.runs.checks.finding import Finding
from transferkit.runs.checks.next_steps import NextStep, next_steps
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runs.facts import RunFacts
from transferkit.runs.label_check import LabelCheck
from transferkit.runs.limits_findings import limits_page
from transferkit.runs.run_directory import Run
from transferkit.runs.small_pictures import NO_LABEL_PICTURES, ByIndex, LabelPictures
from transferkit.runtime.environment import Environment
from transferkit.runtime.errors import TransferkitError

_Value = TypeVar("_Value")

PROBES_IN_WORDS = {
    "knn": "A vote of nearest neighbours in features of {}",
    "ncm": "The nearest class mean in features of {}",
    "raw-pixels": "A linear probe on raw pixels",
}


@dataclass(frozen=True)
class Content:
    """The parts of a run that were there, and one sentence for each part that was not.

    Attributes:
        name: Of the run's folder.
        place: The folder, as it is typed in commands.
        recipe: As resolved; None where missing.
        model: None where missing; likewise `facts`, `environment` and `evaluation`.
        recipe_yaml: The recipe as text.
        history: Every epoch, the start as epoch 0; empty where missing.
        test: The stored outputs of the test set.
        thumbnails: Pictures (3, h, w) by position in the test outputs.
        augmented: Training images and augmented copies as one picture (3, h, w); None where there are none.
        explanations: Nearest training images and class-activation maps of the images listed one by one.
        feature_map: Places of some test images in the plane.
        labels: Likely label errors and duplicates; None where nobody looked for them.
        label_pictures: Pictures of these.
        missing: What is not there and how to make it, by the name of the part.
        limits_page: Of the run's limits report, from its folder; empty where there is none.
    """

    name: str
    place: str
    recipe: recipes.Recipe | None
    recipe_yaml: str
    model: StoredModel | None
    facts: RunFacts | None
    environment: Environment | None
    evaluation: Evaluation | None
    history: History
    test: Outputs | None
    thumbnails: ByIndex
    augmented: npt.NDArray[np.uint8] | None
    explanations: Explanations | None
    feature_map: FeatureMap | None
    labels: LabelCheck | None
    label_pictures: LabelPictures
    missing: dict[str, str]
    limits_page: str = ""

    @property
    def scores(self) -> Scores | None:
        """The test set's part of the evaluation; None where it is missing or there was no test image."""
        scores = self.evaluation.test if self.evaluation else None
        return scores if scores and scores.n else None

    @cached_property
    def checked(self) -> CheckedRun:
        """The run as checks see it."""
        return CheckedRun(
            self.place,
            self.recipe,
            self.facts,
            self.evaluation,
            self.history,
            self.model,
            self.test,
            self.limits_page,
        )

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the checks find, the most serious first, without those that the recipe mutes."""
        return checks.findings(self.checked, self.muted)

    @property
    def muted(self) -> tuple[str, ...]:
        """The checks that the recipe mutes."""
        return self.recipe.ignore if self.recipe else ()

    @property
    def next_steps(self) -> tuple[NextStep, ...]:
        """What to do next."""
        return next_steps(self.checked, self.findings)

    def finding(self, code: str) -> Finding | None:
        """What one check finds."""
        return next((finding for finding in self.findings if finding.code == code), None)

    @property
    def class_names(self) -> list[str]:
        """The classes, from the evaluation."""
        return [row.name for row in self.scores.per_class] if self.scores else []

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(C, C), rows true and columns predicted; (0, 0) without an evaluation."""
        return np.asarray(self.scores.confusion if self.scores else np.zeros((0, 0)), dtype=np.int64)

    @property
    def published(self) -> Published | str:
        """Published figures for the same backbone, or why there are none."""
        return published(self.recipe, self.model.weights if self.model else None)

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self.recipe.backbone.name if self.recipe else "the network"

    @property
    def data_name(self) -> str:
        """The data set's name; of a folder, its path."""
        if self.recipe is None:
            return self.facts.data.name if self.facts else "its data"
        return str(getattr(self.recipe.data, "path", "") or self.recipe.data.name)

    @property
    def method(self) -> type[recipes.MethodSettings]:
        """What the run's method declares of itself; what all have in common where the recipe is lost."""
        return type(self.recipe.method) if self.recipe else recipes.MethodSettings

    @property
    def training(self) -> recipes.TrainingSettings | None:
        """The keys of its gradient steps; None where it took none, or the recipe is lost."""
        return self.recipe.method.training if self.recipe else None

    @property
    def subject(self) -> str:
        """The method and the backbone in words."""
        classifier = getattr(self.recipe.method, "classifier", "") if self.recipe else ""
        words = PROBES_IN_WORDS.get(classifier, self.method.subject)
        subject = words.format(self.backbone)
        return subject[0].upper() + subject[1:] if subject.startswith("the ") else subject


def gather(run: Run, place: str = "") -> Content:
    """Everything a report needs, from the stored files alone; a missing or damaged file becomes a sentence.

    Args:
        run: Its folder.
        place: The folder as commands should name it; else its bare name.
    """
    missing: dict[str, str] = {}
    again = f"Run the recipe again to make it: transferkit run {run.path / 'recipe.yaml'} --out ANOTHER_FOLDER"

    def read(part: str, reader: Callable[[], _Value], empty: _Value) -> _Value:
        try:
            return reader()
        except TransferkitError as error:
            missing[part] = f"{error} {again}" if str(error) else again
            return empty

    nothing: ByIndex = {}
    thumbnails = read("pictures", run.thumbnails, nothing)
    if not thumbnails:
        missing.setdefault("pictures", f"No pictures were kept with this run (outputs/thumbnails.safetensors). {again}")
    history = read("history", lambda: run.history, History())
    if not history:
        missing.setdefault("history", again)
    labels = read("labels", lambda: run.labels, None)
    return Content(
        name=run.path.resolve().name,
        place=place or run.path.resolve().name,
        recipe=read("recipe", lambda: run.recipe, None),
        recipe_yaml=read("recipe", lambda: run.recipe.to_yaml(), ""),
        model=read("model", lambda: run.model, None),
        facts=read("facts", lambda: run.facts, None),
        environment=read("environment", lambda: run.environment, None),
        evaluation=read("evaluation", lambda: run.evaluation, None),
        history=history,
        test=read("outputs", lambda: run.outputs("test"), None),
        thumbnails=thumbnails,
        augmented=read("augmented examples", run.augmented, None),
        explanations=read("explanations", lambda: Explanations.load(run.explanations_path), None),
        labels=labels,
        label_pictures=read("label pictures", run.label_pictures, NO_LABEL_PICTURES) if labels else NO_LABEL_PICTURES,
        feature_map=read("map", lambda: FeatureMap.load(run.map_path), None),
        missing=missing,
        limits_page=limits_page(run),
    )
