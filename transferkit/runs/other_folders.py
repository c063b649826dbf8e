"""What to say where a run is expected and a folder holds something else: what that is, and which run to name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from transferkit.recipe.references import finished_folders, nearest_run
from transferkit.runs.result_folders import COMPARISON
from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.plurals import with_article
from transferkit.runtime.records import read_record

NAMED = 6  # runs in a message


@dataclass(frozen=True)
class _ArmRuns:
    runs: tuple[str, ...]


@dataclass(frozen=True)
class _ComparedRuns:
    arms: tuple[_ArmRuns, ...]


def no_run_words(folder: Path) -> str:
    """A sentence on what a folder is that is no run, and one on what to name instead."""
    name = quoted(str(folder))[1:-1]
    kind = folders.kind_of(folder) if os.path.isdir(folder) else None  # False for what can be no path, too
    if kind is None:
        expected = "Expected a folder that a transferkit command made."
        why = "it has no recipe.yaml" if os.path.lexists(folder) else "there is no such folder"
        return f"{name} is no run: {why}. {expected} {nearest_run(folder)}".rstrip()
    return f"{name} holds {with_article(kind)} and is no run. {_advice(folder)}"


def _advice(folder: Path) -> str:
    outer = Path(os.path.normpath(folder / ".."))
    if (outer / "recipe.yaml").exists():
        return f"Name the folder of its run: {_listed([outer])}"
    inner = finished_folders(folder / "runs") or finished_folders(folder, inside_results=True) or _compared(folder)
    if not inner:
        return "Name the folder of a run, which has a recipe.yaml."
    return f"Name one of its runs: {_listed(inner)}"


def _compared(folder: Path) -> list[Path]:
    """The runs that a comparison found elsewhere, as far as they are still there."""
    try:
        arms = read_record(folder / COMPARISON.result, _ComparedRuns).arms
    except TransferkitError:  # there is none, or it is damaged: nothing to name
        return []
    paths = [Path(run) for arm in arms for run in arm.runs]
    return [path for path in paths if (path / "recipe.yaml").exists()]


def _listed(runs: list[Path]) -> str:
    more = f" and {len(runs) - NAMED:,} more" if len(runs) > NAMED else ""
    return ", ".join(quoted(str(run))[1:-1] for run in runs[:NAMED]) + more
