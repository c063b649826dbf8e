"""One recipe run once per fold of its labelled images, and one verdict over all of them; test stays closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from transferkit.metrics.classification import accuracy_with_interval, macro_recall
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import Bounds
from transferkit.recipe import Recipe
from transferkit.report.markdown import escaped, table
from transferkit.report.number_words import percent, percent_interval
from transferkit.report.study_result import StudyResult
from transferkit.run import run
from transferkit.runs import result_folders, run_directory
from transferkit.runs.result_folders import FOLDS
from transferkit.runs.run_directory import Run
from transferkit.runtime import folders
from transferkit.runtime.console import Console
from transferkit.runtime.files import write_text
from transferkit.runtime.plurals import counted
from transferkit.training import estimates


@dataclass(frozen=True)
class Fold:
    """One run: which images it held out, and how many of them it got right."""

    number: int
    run: str
    n: int
    accuracy: float
    interval: Bounds


@dataclass(frozen=True, repr=False)
class CrossValidation(StudyResult):
    """Every labelled image predicted once, by a model that has not learnt from it.

    Attributes:
        subject: The beginning of a sentence about the models.
        n: All labelled images.
        accuracy: Of all of them, in [0, 1].
        interval: At 95 %, over images, or over groups where they have some.
        groups: How many; None where every image stands for itself.
        balanced_accuracy: Mean recall of the classes.
        folds: One run each.
        command: As typed.
        folder: Where it and its page are.
    """

    KIND = FOLDS

    subject: str
    n: int
    accuracy: float
    interval: Bounds
    groups: int | None
    balanced_accuracy: float
    folds: tuple[Fold, ...]
    command: str
    folder: str = ""

    def _headline(self) -> str:
        return f"CrossValidation: {' '.join(self.lines()[:2])}"

    def _notebook_page(self) -> str:
        from transferkit.studies.folds.page import folds_page

        return folds_page(self)

    def lines(self) -> list[str]:
        """The verdict in sentences."""
        low, high = self.interval
        over = "" if self.groups is None else f", by {counted(self.groups, 'whole group')}"
        shares = [fold.accuracy for fold in self.folds]
        return [
            f"{self.subject} gets {percent(self.accuracy)} of {counted(self.n, 'labelled image')} right, each "
            "predicted once by "
            f"the one of {counted(len(self.folds), 'model')} that had not seen it.",
            f"The 95 % interval goes from {100 * low:.1f} to {percent(high)}{over}; single folds from "
            f"{100 * min(shares):.1f} to {percent(max(shares))}. Balanced accuracy: {percent(self.balanced_accuracy)}.",
            "The models have training images in common, which the interval does not know of, so it is rather too "
            "narrow (Bates et al. 2024, arXiv:2104.00673).",
            "The sealed test part stayed closed. The same command without --folds trains one model and opens it.",
        ]


def cross_validate(
    recipe: Recipe,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    command: str = "",
) -> CrossValidation:
    """Carry out a recipe once per fold, and leave folds.json and its pages; finished folds are not done again.

    Raises:
        TransferkitError: If the folder holds something else, or a fold cannot be made.
    """
    console = console or Console()
    folder = out or recipe.default_folder
    if result_folders.is_done(folder, FOLDS, recipe, overwrite=overwrite, console=console):
        return replace(CrossValidation.read(folder), folder=str(folder))
    result_folders.require_free(folder, FOLDS, overwrite=overwrite, content=recipe)
    estimates.before_run(recipe, console)
    count = recipe.data.folds or 0
    with result_folders.claim(folder, FOLDS, overwrite=overwrite, content=recipe):
        if overwrite:
            _remove_earlier(folder)
        result_folders.write_asked(folder, FOLDS, recipe)
        runs = [_run_fold(recipe, number, folder, console, command) for number in range(1, count + 1)]
        result = replace(pooled(runs, command), folder=str(folder))
        result.write(folder)
        write_folds_page(folder)
    return result


def write_folds_page(folder: Path) -> CrossValidation:
    """The pages of stored results.

    Raises:
        TransferkitError: If they are damaged.
    """
    result = CrossValidation.read(folder)
    from transferkit.studies.folds.page import folds_page

    write_text(folder / "report.md", as_markdown(result))
    write_text(folder / FOLDS.page, folds_page(result))
    return result


def _remove_earlier(folder: Path) -> None:
    for name in folders.files_of(folder):
        if folders.kind_of(folder / name) == run_directory.KIND:
            run_directory.remove_run(Run(folder / name))
    folders.remove(folder)


def _run_fold(recipe: Recipe, number: int, folder: Path, console: Console, command: str) -> Run:
    """The finished run of a fold: as it is where there is one, else made now or continued."""
    place = folder / f"fold{number}"
    console.line(f"fold {number} of {recipe.data.folds}")
    if Run(place).is_finished and Run(place).has_page:
        console.line("finished earlier, not done again")
        return run_directory.open_run(place)
    data = recipe.data.model_copy(update={"fold": number})
    named = recipe.model_copy(update={"data": data, "name": f"fold{number}"})
    folders.record(place)
    return run(named, place, resume=True, console=console, command=f"{command} (fold {number})")


def pooled(runs: Sequence[Run], command: str = "") -> CrossValidation:
    """One verdict over the held-out images of all folds."""
    parts = [run.outputs("test") for run in runs]
    everything = _joined(parts)
    share = accuracy_with_interval(everything)
    first = runs[0].recipe
    return CrossValidation(
        subject=first.method.subject.format(first.backbone.name),
        n=share.n,
        accuracy=share.value,
        interval=share.interval.bounds,
        groups=len(set(everything.groups)) if everything.groups else None,
        balanced_accuracy=macro_recall(everything),
        folds=tuple(_fold(number, run, part) for number, (run, part) in enumerate(zip(runs, parts, strict=True), 1)),
        command=command,
    )


def _fold(number: int, run: Run, held_out: Outputs) -> Fold:
    share = accuracy_with_interval(held_out)
    return Fold(number, run.path.name, share.n, share.value, share.interval.bounds)


def _joined(parts: Sequence[Outputs]) -> Outputs:
    """Logits and labels of all folds; features of different networks mean different things, so none are kept."""
    ids = tuple(name for part in parts for name in part.ids)
    groups = tuple(name for part in parts for name in part.groups or ()) or None
    logits = np.concatenate([part.logits for part in parts])
    labels = np.concatenate([part.require_labels() for part in parts])
    return Outputs(np.zeros((len(ids), 0), np.float32), logits, labels, ids, parts[0].class_names, groups)


def as_markdown(result: CrossValidation) -> str:
    """The verdict and a table of the folds."""
    shares: list[tuple[str, Fold | CrossValidation]] = [
        *((str(fold.number), fold) for fold in result.folds),
        ("all", result),
    ]
    rows = [[name, row.n, percent(row.accuracy), percent_interval(row.interval)] for name, row in shares]
    title, *rest = result.lines()
    text = table(["fold", "images", "accuracy", "95 % interval"], rows)
    return "\n\n".join([f"# {escaped(title)}", *map(escaped, rest), text]) + "\n"
