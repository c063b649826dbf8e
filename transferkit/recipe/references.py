"""Which folder a user means by a RUN: a path, or @last, @1, @2 ... as `transferkit runs` numbers them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path

from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.json_files import read_json

HOME = Path("runs")  # where runs go unless --out says another place
REFERENCE = re.compile(r"@(last|\d{1,6})")


def run_folder(reference: os.PathLike[str] | str, home: Path = HOME) -> Path:
    """The folder that a RUN stands for; a path stands for itself.

    Args:
        reference: A path, `@last` for the run that ended last, or `@2` for the one before it.
        home: The folder in which runs are numbered.

    Raises:
        TransferkitError: If there is no run of this number.
    """
    text = os.fspath(reference)
    if not is_reference(text):
        return Path(text)
    number = 1 if text == "@last" else int(text[1:])
    numbered = by_end(finished_folders(home))
    if not numbered:
        raise TransferkitError(f"{text} names a finished run in {home}/, and there is none. Name a run's folder.")
    if not 1 <= number <= len(numbered):
        raise TransferkitError(
            f"{text} names no run: {home}/ holds {len(numbered):,} finished runs, @1 (or @last) to @{len(numbered)}. "
            "`transferkit runs` lists them."
        )
    return numbered[number - 1]


def nearest_run(reference: os.PathLike[str] | str, home: Path = HOME) -> str:
    """Which finished run was likely meant by a folder that is none: a question, or nothing.

    Args:
        reference: What was typed; runs beside it are proposed, and those of `home`, by their names.
        home: The folder in which runs are numbered.
    """
    place = Path(reference)
    runs = {str(folder): folder.name for folder in (*_runs_beside(place), *finished_folders(home))}
    names = get_close_matches(place.name, runs.values(), n=1)
    return f"Did you mean {next(path for path, name in runs.items() if name == names[0])}?" if names else ""


def _runs_beside(place: Path) -> list[Path]:
    """Finished runs in the folder in which a path would lie."""
    try:
        beside = sorted(place.parent.iterdir())
    except OSError:
        return []
    return [folder for folder in beside if (folder / "recipe.yaml").exists() and _is_finished(folder)]


def weights_source(text: str) -> str:
    """Where weights lie: of `@last` or `@2`, in that run's folder; anything else stands for itself.

    Raises:
        TransferkitError: If there is no run of this number.
    """
    return str(run_folder(text)) if is_reference(text) else text


def is_reference(text: str) -> bool:
    """Whether it is `@last` or `@` with a number, and no file of that name lies here."""
    return REFERENCE.fullmatch(text) is not None and not os.path.lexists(text)


def finished_folders(home: Path, *, inside_results: bool = False) -> list[Path]:
    """The folders of finished runs at any depth below `home`.

    Args:
        home: Where to look.
        inside_results: Whether runs that belong to a study or a cross-validation count as well.
    """
    return [folder for folder in _run_folders(home, inside_results) if _is_finished(folder)]


def unfinished_folders(home: Path) -> list[Path]:
    """The folders of runs that were begun and did not end."""
    return [folder for folder in _run_folders(home, False) if not _is_finished(folder)]


def _is_finished(run: Path) -> bool:
    return (run / "evaluation.json").exists()


def _run_folders(home: Path, inside_results: bool) -> Iterator[Path]:
    for place, names, files in os.walk(home):
        folder = Path(place)
        is_run = "recipe.yaml" in files
        is_result = not is_run and folders.kind_of(folder) is not None
        if is_run or (is_result and not inside_results):
            names.clear()  # nothing else of ours lies deeper
        names.sort()
        if is_run:
            yield folder


def by_end(runs: list[Path]) -> list[Path]:
    """Runs in order, the one that ended last first."""
    return sorted(runs, key=lambda folder: (ended_at(folder), str(folder)), reverse=True)


def ended_at(folder: Path) -> float:
    """When a run ended, in seconds of the epoch; a copied folder keeps it. 0 where its facts are damaged."""
    try:
        facts = read_json(folder / "facts.json")
        return (
            datetime.fromisoformat(facts["started"]) + timedelta(seconds=sum(facts["seconds"].values()))
        ).timestamp()
    except (TransferkitError, ValueError, OverflowError, TypeError, KeyError, AttributeError):
        return 0.0
