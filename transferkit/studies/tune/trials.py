"""One trial: a setting trained for one length on train and judged on val, once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from transferkit import executors
from transferkit import run as story
from transferkit.data import datasets
from transferkit.data.images import Splits
from transferkit.executors import Task
from transferkit.metrics.classification import accuracy_with_interval
from transferkit.metrics.probabilities import nll
from transferkit.recipe import Recipe, TuningRecipe, parse_any, parse_yaml
from transferkit.recipe.budget import Budget
from transferkit.recipe.settings import hash_of
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import MachineError
from transferkit.runtime.machine import Runtime
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import read_record, write_record
from transferkit.studies.tune.halving import Rung
from transferkit.studies.tune.results import Trial
from transferkit.studies.tune.space import in_words
from transferkit.training import methods
from transferkit.training.methods.fitted import Fitted


@dataclass(frozen=True)
class Workshop:
    """What every trial of a tuning is given.

    Attributes:
        tuning: With the base that settings change.
        splits: Of which test stays closed.
        folder: Finished trials are kept there.
    """

    tuning: TuningRecipe
    splits: Splits
    runtime: Runtime
    folder: Path
    console: Console

    def trials(self, settings: Sequence[Mapping[str, Any]], rung: Rung) -> list[Trial]:
        """The finished trial of each setting as it is where there is one, else made now.

        Raises:
            TransferkitError: If a setting does not go with network or images.
            MachineError: If workers were lost at one, again and again.
        """
        tasks = [self._task(values, rung) for values in settings]
        if executors.is_apart(self.tuning.executor):
            self._try_apart(tasks)
        else:
            executors.put_away_logs(tasks, self.folder)
        return [self.trial(values, rung) for values in settings]

    def _task(self, values: Mapping[str, Any], rung: Rung) -> Task:
        path, arguments = self.path(values, rung), (self.tuning, self.folder, dict(values), rung)
        return Task(
            f"{in_words(values)}, {rung.length.amount_in_words}", try_apart, arguments, path, is_finished=path.exists()
        )

    def _try_apart(self, tasks: Sequence[Task]) -> None:
        asked = self.tuning
        failures = executors.carry_out(tasks, asked.executor, asked.workers, self.folder, self.console)
        if failures:
            raise MachineError("\n".join(f"{name}: {why}" for name, why in failures.items()))

    def path(self, values: Mapping[str, Any], rung: Rung) -> Path:
        """The file of a finished trial."""
        return self.folder / "trials" / f"{rung.length.text}-{hash_of(dict(values))}.json"

    def trial(self, values: Mapping[str, Any], rung: Rung) -> Trial:
        """The finished trial as it is where there is one, else made now.

        Raises:
            TransferkitError: If the setting does not go with network or images.
        """
        path = self.path(values, rung)
        if path.exists():
            return read_record(path, Trial)
        trial = train_trial(self, values, rung)
        write_record(path, trial)
        self.console.line(f"{in_words(values)}, {rung.length.amount_in_words}: {trial_in_words(trial)}")
        return trial


def try_apart(tuning: TuningRecipe, folder: Path, values: Mapping[str, Any], rung: Rung, console: Console) -> None:
    """Leave the file of one trial, in a process that has to load the images first."""
    runtime = story.start_machine(tuning.base)
    Workshop(tuning, images_of(tuning.base.to_yaml()), runtime, folder, console).trial(values, rung)


@lru_cache(maxsize=1)
def images_of(recipe_text: str) -> Splits:
    """The images of a recipe; a worker keeps them for its next trial."""
    recipe = parse_any(parse_yaml(recipe_text, "recipe"), "recipe")
    assert isinstance(recipe, Recipe)
    return datasets.load(recipe.data, SILENT)


def trial_in_words(trial: Trial) -> str:
    """What the terminal says of a trial."""
    if trial.accuracy is None:
        return f"failed: {trial.failure}"
    return f"val {100 * trial.accuracy:.1f} %, {counted(trial.steps, 'step')}, {trial.seconds:.0f} s"


def train_trial(work: Workshop, values: Mapping[str, Any], rung: Rung) -> Trial:
    """Train a setting for so long on train, and judge it on val; a training that diverges is a trial too."""
    recipe = shortened(work.tuning.recipe(values), work.splits, rung)
    started = time.perf_counter()
    fitted, failure = _fit(recipe, work)
    seconds = round(time.perf_counter() - started, 3)
    length, unit = int(rung.length.amount), rung.length.kind
    if fitted is None:
        return Trial(dict(values), rung.number, length, unit, 0, seconds, recipe.input_px, failure=failure)
    outputs = fitted.val
    assert outputs is not None  # val is there, and was not learnt from
    share = accuracy_with_interval(outputs)
    return Trial(
        dict(values),
        rung.number,
        length,
        unit,
        fitted.history.steps,
        seconds,
        recipe.input_px,
        lr=_rate(recipe, fitted),
        n=share.n,
        accuracy=share.value,
        interval=share.interval.bounds,
        loss=nll(outputs),
    )


def _rate(recipe: Recipe, fitted: Fitted) -> float | None:
    """The peak rate of the body, as the fit settled it or as the recipe says."""
    return fitted.rates.lr if fitted.rates else getattr(recipe.method, "lr", None)


def _fit(recipe: Recipe, work: Workshop) -> tuple[Fitted | None, str]:
    machine.seed_everything(recipe.seed)
    _, size = story.resolved(recipe, work.splits)
    classifier = story.load_network(recipe, work.splits, size, SILENT)
    context = Context(work.runtime, SILENT, recipe.seed)
    try:
        return methods.fit(classifier, work.splits, recipe.method, recipe.backbone, context), ""
    except MachineError as error:  # no finite loss, or no memory: another setting may do
        return None, str(error).splitlines()[0]


def shortened(recipe: Recipe, splits: Splits, rung: Rung) -> Recipe:
    """The complete recipe at a rung's length, everything but length and warmup as at full length, val not learnt from.

    Defaults that follow from the length (label smoothing, averaging) are those of the full training, which is what the
    trial stands for.
    """
    full, _ = story.resolved(recipe, splits)
    length = length_keys(rung.length)
    short, _ = story.resolved(recipe.model_copy(update={"method": recipe.method.model_copy(update=length)}), splits)
    changes = {**length, "warmup": getattr(short.method, "warmup", None)}
    if hasattr(full.method, "refit"):
        changes["refit"] = False
    return full.model_copy(update={"method": full.method.model_copy(update=changes)})


def length_keys(length: Budget) -> dict[str, int | str | None]:
    """The keys of a method that give a training this length.

    Example:
        >>> length_keys(Budget("steps", 40))
        {'epochs': None, 'budget': '40steps'}
    """
    amount = int(length.amount)
    return (
        {"epochs": amount, "budget": None} if length.kind == "epochs" else {"epochs": None, "budget": f"{amount}steps"}
    )
