"""A tuning: short trainings of many settings on val, then one of the best at full length, for which test is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transferkit import executors
from transferkit import run as story
from transferkit.data import datasets
from transferkit.data.images import Splits
from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.models.backbones import require_known
from transferkit.models.classifier import Classifier
from transferkit.recipe import Recipe, TuningRecipe, anywhere, points_of
from transferkit.recipe.budget import Budget
from transferkit.report.number_words import percent, rounded_percent
from transferkit.runs import result_folders, run_directory
from transferkit.runs.result_folders import TUNING
from transferkit.runs.run_directory import Run
from transferkit.runtime import folders
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.tune.halving import Rung, rungs
from transferkit.studies.tune.report import write_pages
from transferkit.studies.tune.results import ChosenRun, Trial, Tuning
from transferkit.studies.tune.searches import SEARCHES
from transferkit.studies.tune.space import Space, default_space, in_words, points
from transferkit.studies.tune.trials import Workshop
from transferkit.training.resolved import length_of

CHOSEN = "chosen"


def tune(
    tuning: TuningRecipe,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    command: str = "",
) -> Tuning:
    """Try settings by successive halving on val, train the best, and leave tuning.json and a report.

    Trials that finished are not run again, and a finished tuning is returned as it is there; test is opened once, for
    the chosen training.

    Raises:
        TransferkitError: If the folder holds something else, the backbone is unknown, or there are no val images.
        MachineError: If no trial came to an end.
    """
    console = console or Console()
    folder = out or Path("runs") / f"{tuning.title}-{tuning.short_hash}"
    content = anywhere(tuning)
    if result_folders.is_done(folder, TUNING, content, overwrite=overwrite, console=console):
        return replace(Tuning.read(folder), folder=str(folder))
    result_folders.require_free(folder, TUNING, overwrite=overwrite, content=content)
    executors.require(tuning.executor)
    if not tuning.base.starting_backbone.weights.startswith("run:"):
        require_known(tuning.base.starting_backbone)
    with result_folders.claim(folder, TUNING, overwrite=overwrite, content=content):
        prepare_tuning_folder(folder, content, overwrite)
        splits = datasets.load(tuning.base.data, console)
        require_val(splits)
        space = space_of(tuning, splits)
        full = full_length(tuning.base, splits)
        planned = rungs(len(points(tuning, space)), full, tuning.eta)
        console.line(plan_in_words(planned, full, space))
        trials = try_settings(tuning, splits, space, planned, folder, console)
        openings = splits.test.openings
        chosen = chosen_trial(trials)
        console.line(f"chosen on val: {in_words(chosen.values)}")
        finished = train_chosen(tuning, chosen, folder, console, command)
        tuned = summed_up(tuning, splits, space, trials, chosen, finished, openings, command, folder)
        tuned.write(folder)
        write_pages(folder)
    return tuned


def prepare_tuning_folder(folder: Path, tuning: TuningRecipe, overwrite: bool) -> None:
    """Write the tuning into its folder; finished trials stay unless overwritten."""
    if overwrite:
        if folders.kind_of(folder / CHOSEN) == run_directory.KIND:
            run_directory.remove_run(Run(folder / CHOSEN))
        folders.remove(folder)
    result_folders.write_asked(folder, TUNING, tuning)
    folders.remove(folder, [TUNING.result, TUNING.page])


def require_val(splits: Splits) -> None:
    """Refuse to choose by nothing.

    Raises:
        TransferkitError: If there are no val images.
    """
    if not len(splits.val):
        raise TransferkitError("tune chooses on val, and there are no val images. Use --val-fraction 0.2.")


def space_of(tuning: TuningRecipe, splits: Splits) -> Space:
    """The space as asked for, or the one that suits network and images."""
    if tuning.space:
        return dict(tuning.space)
    complete, size = story.resolved(tuning.base, splits)
    return space_around(tuning.base, story.load_network(complete, splits, size, SILENT))


def space_around(base: Recipe, classifier: Classifier) -> Space:
    """The space that suits a network.

    Raises:
        TransferkitError: If every key of it was given.
    """
    space = default_space(base, classifier)
    if not space:
        raise TransferkitError("Every key that tune would try was given. Leave one out, or name values by --try.")
    return space


def full_length(base: Recipe, splits: Splits) -> Budget:
    """The length of the chosen training."""
    training = story.resolved(base, splits)[0].method.training
    assert training is not None  # `parse_tuning` refuses methods that are solved
    return length_of(training)


def plan_in_words(planned: Sequence[Rung], full: Budget, space: Mapping[str, Sequence[Any]]) -> str:
    """What will be trained, and for what share of the epochs or steps of all settings at full length."""
    grid = len(list(points_of(space))) * full.amount
    spent = sum(rung.settings * rung.length.amount for rung in planned) + full.amount
    parts = ", ".join(f"{counted(rung.settings, 'setting')} at {rung.length.amount_in_words}" for rung in planned)
    share = f"{rounded_percent(spent / grid)} of the {full.kind} of the whole grid"
    return f"{parts}, the best at {full.amount_in_words}: {share}"


def try_settings(
    tuning: TuningRecipe, splits: Splits, space: Space, planned: Sequence[Rung], folder: Path, console: Console
) -> list[Trial]:
    """Every trial of a tuning, shortest first."""
    runtime = story.start_machine(tuning.base)
    work = Workshop(tuning, splits, runtime, folder, console)
    trials = SEARCHES[tuning.search](tuning, space, planned, work.trials)
    return sorted(trials, key=lambda trial: (trial.rung, trial.badness))


def chosen_trial(trials: Sequence[Trial]) -> Trial:
    """The best of the longest trainings.

    Raises:
        MachineError: If none came to an end.
    """
    finished = [trial for trial in trials if trial.accuracy is not None]
    if not finished:
        failures = dict.fromkeys(trial.failure for trial in trials)
        raise MachineError("No setting finished:\n" + "\n".join(failures))
    return min(finished, key=lambda trial: (-trial.rung, trial.badness))


def train_chosen(tuning: TuningRecipe, chosen: Trial, folder: Path, console: Console, command: str) -> Run:
    """The run of the chosen setting at full length, as it is where there is one."""
    place = folder / CHOSEN
    if Run(place).is_finished and Run(place).has_page:
        return run_directory.open_run(place)
    folders.record(place)
    recipe = tuning.recipe(chosen.values).model_copy(update={"name": f"{tuning.title}-{CHOSEN}"})
    run = story.run(recipe, place, resume=True, console=console, command=f"{command} (chosen)")
    return run_directory.open_run(run.path)


def summed_up(
    tuning: TuningRecipe,
    splits: Splits,
    space: Space,
    trials: Sequence[Trial],
    chosen: Trial,
    run: Run,
    openings: int,
    command: str,
    folder: Path,
) -> Tuning:
    """Everything that tuning.json holds."""
    scores = run.evaluation.test
    result = ChosenRun(str(run.path), run.history.steps, scores.n, scores.accuracy, scores.interval)
    of = len(list(points_of(space)))
    spent = sum(trial.steps for trial in trials) + result.steps
    tried = len({in_words(trial.values) for trial in trials})
    grid = (of - 1) * judged_steps(run) + result.steps
    verdict = (
        f"Of {tried} settings of {tuning.base.backbone.name}, val prefers {in_words(chosen.values)}: trained at full "
        f"length it gets {percent(result.accuracy)} of {counted(result.n, 'test image')} right. The search took "
        f"{rounded_percent(spent / grid)} of the gradient steps of the whole grid."
    )
    return Tuning(
        name=tuning.title,
        backbone=tuning.base.backbone.name,
        data=tuning.base.data.name,
        space=space,
        search=tuning.search,
        eta=tuning.eta,
        points=tried,
        of=of,
        trials=tuple(trials),
        chosen=chosen.values,
        result=result,
        steps=spent,
        grid_steps=grid,
        train=len(splits.train),
        val=len(splits.val),
        test_openings=openings,
        verdict=verdict,
        notes=notes(splits),
        command=command,
        folder=str(folder),
    )


def judged_steps(run: Run) -> int:
    """Steps of the training that was judged on val, without the second one on train and val."""
    return max((epoch.step or 0 for epoch in run.history.judged), default=run.history.steps)


def notes(splits: Splits) -> tuple[str, ...]:
    """What a reader should know of the choice."""
    few = (
        (
            f"Fewer than {FEWEST_TO_CHOOSE} val images tell settings apart by chance as much as by merit: with n = "
            f"{len(splits.val):,}, the chosen one may be no better than the defaults."
        ),
    )
    known = (
        "Every accuracy here is on val, on which the setting was chosen, so the best of them flatters; the one of the "
        "test images, opened after the choice, does not.",
        "Each trial runs its whole schedule at its own length. What wins short trainings need not win long ones: rates "
        "tend to be smaller, and augmentation stronger, where training is long.",
    )
    return (*(few if len(splits.val) < FEWEST_TO_CHOOSE else ()), *known, *splits.notes)
