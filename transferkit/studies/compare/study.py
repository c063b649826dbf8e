"""A study: several recipes on the same images, ending in one comparison or one label curve."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transferkit import executors
from transferkit.executors import Task
from transferkit.metrics.statistics import Over
from transferkit.models.backbones import require_known
from transferkit.recipe import Labels, Recipe, Study, anywhere
from transferkit.recipe import budget as budgets
from transferkit.run import run
from transferkit.runs import result_folders, run_directory
from transferkit.runs.result_folders import COMPARISON, STUDY
from transferkit.runs.run_directory import Run
from transferkit.runs.same_work import mark_of
from transferkit.runtime import folders
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.studies.compare.label_curve import label_curve
from transferkit.studies.compare.measure import compare
from transferkit.studies.compare.report import write_pages
from transferkit.studies.compare.results import Comparison, LabelCurve, read_comparison
from transferkit.studies.compare.same_data import arms_of, chosen_reference, finished_runs, require_same_data
from transferkit.training import estimates


def run_study(
    study: Study, out: Path | None = None, *, overwrite: bool = False, console: Console | None = None, command: str = ""
) -> Comparison | LabelCurve:
    """Carry out every run that is not finished yet, compare, and leave comparison.json, report.html and report.md.

    A run that fails is reported and the others go on; starting the study again does only what is missing, and where
    nothing is, returns the comparison that is there.

    Returns:
        The comparison, or the label curve of a study with `labels`.

    Raises:
        TransferkitError: Before any work, if the folder holds another study, a backbone is unknown or an arm cannot
            run.
        MachineError: If too few arms came to an end.
    """
    console = console or Console()
    folder = out or Path("runs") / f"{study.name}-{study.short_hash}"
    content = anywhere(study)
    if result_folders.is_done(folder, STUDY, content, overwrite=overwrite, console=console):
        return replace(read_comparison(folder), folder=str(folder))
    result_folders.require_free(folder, STUDY, overwrite=overwrite, content=content)
    require_backbones(study)
    estimates.require_runnable(first_recipes(study))
    estimates.before_study(study, console)
    with result_folders.claim(folder, STUDY, overwrite=overwrite, content=content):
        prepare_study_folder(folder, content, overwrite)
        sources = train_before(study, folder, console, command)
        cells, failures = train_all(study, folder, sources, console, command)
        comparison = compare_cells(study, cells, failures)
        named = replace(
            comparison,
            name=study.name,
            failures=tuple(failures),
            command=command,
            budget=study.budget,
            budget_in_words=budget_in_words(study),
        )
        return write(folder, named)


def require_backbones(study: Study) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        TransferkitError: If a backbone or its weights do not exist, or the executor cannot work here.
    """
    executors.require(study.executor)
    for _, _, recipe in study.recipes():
        if not recipe.starting_backbone.weights.startswith("run:"):
            require_known(recipe.starting_backbone)


def first_recipes(study: Study) -> dict[str, Recipe]:
    """A recipe of what is done before and of each arm, as far as one that starts from a run of the study is known."""
    arms: dict[str, Recipe] = {}
    for cell, _, recipe in study.recipes(seeds=1):
        arms.setdefault(study.cells()[cell][0], estimates.as_after(recipe, study.before))
    return {**study.before, **arms}


def train_before(study: Study, folder: Path, console: Console, command: str) -> dict[str, str]:
    """The folders of the runs that arms start from.

    Raises:
        MachineError: If one did not come to an end.
    """
    tasks = [
        training(f"before: {name}", recipe, folder / "before" / name, {}, command)
        for name, recipe in study.before.items()
    ]
    failures = executors.carry_out(tasks, study.executor, study.workers, folder, console) if tasks else {}
    if failures:
        raise MachineError("\n".join(f"{name}: {why}" for name, why in failures.items()))
    return dict(zip(study.before, (str(task.place) for task in tasks), strict=True))


def train_all(
    study: Study, folder: Path, sources: Mapping[str, str], console: Console, command: str
) -> tuple[dict[str, list[Run]], list[str]]:
    """The finished runs of each arm (in a label curve: at each number of labels), and a sentence per failed run."""
    tasks = {
        (cell, seed): training(f"{cell}, seed {seed}", recipe, folder / "runs" / f"{cell}-seed{seed}", sources, command)
        for cell, seed, recipe in study.recipes()
    }
    failures = executors.carry_out(list(tasks.values()), study.executor, study.workers, folder, console)
    cells: dict[str, list[Run]] = {}
    for (cell, _), task in tasks.items():
        if task.name not in failures:
            cells.setdefault(cell, []).append(run_directory.open_run(task.place))
    return cells, [f"{task.name}: {failures[task.name]}" for task in tasks.values() if task.name in failures]


def training(name: str, recipe: Recipe, place: Path, sources: Mapping[str, str], command: str) -> Task:
    """The task of making one run."""
    existing = Run(place)
    arguments = (recipe, sources, place, f"{command} ({name})")
    return Task(name, train, arguments, place, is_finished=existing.is_finished and existing.has_page)


def train(recipe: Recipe, sources: Mapping[str, str], place: Path, command: str, console: Console) -> None:
    """Make the run, or go on with it."""
    run(with_source(recipe, sources), place, resume=True, console=console, command=command)


def prepare_study_folder(folder: Path, study: Study, overwrite: bool) -> None:
    """Write the study into its folder; with `overwrite`, remove the results and runs of an earlier one first."""
    if overwrite:
        for name in folders.files_of(folder):
            if folders.kind_of(folder / name) == run_directory.KIND:
                run_directory.remove_run(Run(folder / name))
        folders.remove(folder)
    result_folders.write_asked(folder, STUDY, study)
    folders.remove(folder, [STUDY.result, STUDY.page])


def with_source(recipe: Recipe, sources: Mapping[str, str]) -> Recipe:
    """The recipe with `run:NAME` replaced by the folder of that run."""
    kind, _, name = recipe.backbone.weights.partition(":")
    if kind != "run":
        return recipe
    if name not in sources:
        raise TransferkitError(
            f"weights {recipe.backbone.weights!r}: `before` has no {name!r}; it has {sorted(sources)}."
        )
    backbone = recipe.backbone.model_copy(update={"weights": sources[name]})
    return recipe.model_copy(update={"backbone": backbone})


# ------------------------------------------------------------------------------------------------- the end of it


def compare_cells(study: Study, cells: Mapping[str, list[Run]], failures: list[str]) -> Comparison | LabelCurve:
    """The comparison of the runs there are, or their label curve; what had to be changed for it joins the failures.

    Raises:
        MachineError: If too few arms came to an end.
        TransferkitError: If the images have changed between the runs.
    """
    for seed in range(study.seeds):
        for group in _of_one_subset(study, cells, seed):
            require_same_data(group)
    arms = {arm: None for cell, (arm, _) in study.cells().items() if cell in cells}
    if not arms or (len(arms) < 2 and not study.labels):
        reasons = "\n".join(failures)
        raise MachineError(f"Too few arms finished to compare anything:\n{reasons}\nThe same command tries them again.")
    reference = study.reference if study.reference in arms else next(iter(arms))
    if reference != study.reference:
        failures.append(f"The reference {study.reference} did not finish; {reference} takes its place.")
    over = _possible(study.over, cells, failures)
    if study.labels:
        return label_curve(study, cells, reference, over)
    comparison = compare(cells, reference, over)
    rows = tuple(replace(arm, own_length=study.own_length(arm.name)) for arm in comparison.arms)
    return replace(comparison, arms=rows)


def _of_one_subset(study: Study, cells: Mapping[str, list[Run]], seed: int) -> list[list[Run]]:
    """Groups of runs that must have seen the same images: those of one seed and one number of labels."""
    groups: dict[Labels | None, list[Run]] = {}
    for cell, (_, count) in study.cells().items():
        of_seed = [run for run in cells.get(cell, []) if run.recipe.seed == seed]
        groups.setdefault(count, []).extend(of_seed)
    return [runs for runs in groups.values() if runs]


def _possible(over: Over | None, cells: Mapping[str, Sequence[Run]], failures: list[str]) -> Over | None:
    alone = [cell for cell, runs in cells.items() if len(runs) < 2]
    if over == "seeds" and alone:
        failures.append(f"Differences are over images alone: {alone[0]} has one seed that finished.")
        return "images"
    return over


def budget_in_words(study: Study) -> str:
    """What every arm was given, and which arms have a length of their own."""
    if study.budget is None:
        return "Each arm has the length that its recipe says; arms need not cost the same."
    budget = budgets.read(study.budget)
    own = [arm for arm in study.arms if study.own_length(arm)]
    outside = f" Not bound by it, as asked: {', '.join(own)}." if own else ""
    return f"Budget {study.budget}: {budget.in_words}{outside}"


def write(folder: Path, comparison: Comparison | LabelCurve) -> Comparison | LabelCurve:
    """Leave comparison.json and the report in the folder."""
    placed = replace(comparison, folder=str(folder))
    placed.write(folder)
    write_pages(folder)
    return placed


# ---------------------------------------------------------------------------------------------- finished runs


def compare_runs(
    paths: Sequence[Path],
    out: Path | None = None,
    *,
    reference: str | None = None,
    over: Over | None = None,
    overwrite: bool = False,
    console: Console | None = None,
    command: str = "",
) -> Comparison | LabelCurve:
    """Compare finished runs, grouped into arms by their recipes apart from the seed; nothing is run.

    Raises:
        TransferkitError: If the runs cannot be compared, or the folder holds something else.
    """
    runs = finished_runs(paths)
    arms, asked = arms_of(runs), {"runs": [mark_of(run) for run in runs], "reference": reference, "over": over}
    digest = hashlib.sha256("\n".join(sorted(str(path.resolve()) for path in paths)).encode()).hexdigest()[:8]
    folder = out or Path("runs") / f"compare-{digest}"
    if result_folders.is_done(folder, COMPARISON, asked, overwrite=overwrite, console=console or Console()):
        return replace(read_comparison(folder), folder=str(folder))
    comparison = compare(arms, chosen_reference(arms, reference), over)
    words = "Each run has the length that its recipe says; runs need not cost the same."
    named = replace(comparison, name="compare", command=command, budget_in_words=words)
    with result_folders.claim(folder, COMPARISON, overwrite=overwrite, content=asked):
        folders.remove(folder)
        placed = write(folder, named)
        result_folders.write_asked(folder, COMPARISON, asked)
        return placed
