"""Where independent work runs: here in turn, in processes of this machine, as jobs of Slurm, as tasks of Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from transferkit.executors import here, processes, ray, slurm
from transferkit.executors.board import Board, Lines
from transferkit.executors.tasks import Task
from transferkit.executors.turns import Team, work_through
from transferkit.executors.workers import usual_workers
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError

__all__ = ["EXECUTORS", "Task", "carry_out", "is_apart", "put_away_logs", "require"]

EXECUTORS: dict[str, ModuleType] = {"here": here, "processes": processes, "slurm": slurm, "ray": ray}


def is_apart(executor: str | None) -> bool:
    """Whether work leaves this process, so that it has to load for itself what it needs."""
    return bool(EXECUTORS[executor or "here"].IS_APART)


def require(executor: str | None) -> None:
    """Refuse an executor that cannot work here, before any work.

    Raises:
        TransferkitError: If a package or a command is missing, or torchrun has started other processes to help this
            one; says what to type.
    """
    chosen = EXECUTORS[executor or "here"]
    if chosen.IS_APART and os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise TransferkitError(
            f"Under torchrun all processes carry out one run together, and --executor {executor} gives each run "
            "a process of its own. Leave one of the two out."
        )
    chosen.require()


def carry_out(
    tasks: Sequence[Task], executor: str | None, workers: int | None, folder: Path, console: Console
) -> dict[str, str]:
    """Do all tasks that are not finished; one that fails costs the others nothing, a lost worker's is done again.

    Args:
        tasks: Each with a name and a place of its own.
        executor: One of `EXECUTORS`; None for here.
        workers: How many tasks at once; None for one per GPU, else one per core.
        folder: This process works in it, and the tasks' places lie in it; logs of those that failed stay there.
        console: Shows one table of all tasks.

    Returns:
        Why each that failed did, by name.

    Raises:
        TransferkitError: If the executor cannot work here.
    """
    chosen = EXECUTORS[executor or "here"]
    count = max(1, min(workers or usual_workers(), len(tasks))) if chosen.IS_APART else 1
    team = Team(chosen, count, folder / "logs", console)
    if not chosen.IS_APART:
        return work_through(tasks, team, Lines(console, len(tasks)))
    with Board(console, tasks, team.log_of) as board:
        return work_through(tasks, team, board)


def put_away_logs(tasks: Sequence[Task], folder: Path) -> None:
    """Remove what earlier commands that were killed left of tasks which are done without an executor now."""
    team = Team(here, 1, folder / "logs", SILENT)
    for task in tasks:
        team.put_away(task, "")
    team.remove_empty_folder()
