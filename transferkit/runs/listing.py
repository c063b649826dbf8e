"""The runs in a folder as a list: how right each is, on what, how it was made, and when."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from transferkit.metrics.statistics import Bounds
from transferkit.recipe.references import HOME, by_end, ended_at, finished_folders, unfinished_folders
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.errors import TransferkitError


@dataclass(frozen=True)
class ListedRun:
    """One finished run; None where its files do not say.

    Attributes:
        number: `@number` names it; None of a run inside a study or a cross-validation.
        path: Its folder.
        accuracy: On its test images, in [0, 1], with the 95 % interval and their number `n`.
        data: The data set's name, or the folder of images.
        labels_per_class: Where the run was limited to so many.
        age_seconds: Since it ended.
        problem: Why its numbers are missing; empty where they are not.
    """

    number: int | None
    path: str
    accuracy: float | None = None
    interval: Bounds | None = None
    n: int | None = None
    method: str = ""
    backbone: str = ""
    data: str = ""
    labels_per_class: int | None = None
    seed: int | None = None
    age_seconds: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class RunList:
    """The runs below a folder, the one that ended last first.

    Attributes:
        home: The folder.
        runs: The finished ones.
        unfinished: Folders of runs that were begun.
    """

    home: str
    runs: tuple[ListedRun, ...]
    unfinished: tuple[str, ...]


def list_runs(home: Path = HOME, *, inside_results: bool = False) -> RunList:
    """Every run below a folder; a damaged one is listed with what is wrong.

    Args:
        home: Where to look.
        inside_results: Whether runs that belong to a study or a cross-validation are listed, too.

    Raises:
        TransferkitError: If there is no such folder.
    """
    if not home.is_dir():
        raise TransferkitError(
            f"There is no folder {home}. Runs are made there by `transferkit probe resnet18` and the like; "
            "--home names another folder."
        )
    numbers = {folder: number for number, folder in enumerate(by_end(finished_folders(home)), 1)}
    every = by_end(finished_folders(home, inside_results=inside_results))
    listed = tuple(listed_run(folder, numbers.get(folder)) for folder in every)
    return RunList(str(home), listed, tuple(map(str, unfinished_folders(home))))


def listed_run(folder: Path, number: int | None = None) -> ListedRun:
    """What the files of a finished run say of it."""
    try:
        return _listed(open_run(folder), number)
    except TransferkitError as error:
        return ListedRun(number, str(folder), problem=str(error))


def _listed(run: Run, number: int | None) -> ListedRun:
    recipe, test = run.recipe, run.evaluation.test
    return ListedRun(
        number,
        str(run.path),
        test.accuracy if test.n else None,
        test.interval if test.n else None,
        test.n,
        recipe.method.name,
        recipe.backbone.name,
        str(getattr(recipe.data, "path", "") or recipe.data.name),
        recipe.data.limit_per_class,
        recipe.seed,
        time.time() - ended if (ended := ended_at(run.path)) else None,
    )
