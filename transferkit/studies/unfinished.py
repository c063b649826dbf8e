"""How far a study, a cross-validation, a ranking or a tuning has come that was stopped before its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.recipe import parse, parse_ranking, parse_study, parse_yaml
from transferkit.recipe.references import finished_folders
from transferkit.runs.result_folders import FOLDS, RANKING, STUDY, Kind
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_text


@dataclass(frozen=True)
class StudyProgress:
    """How many parts of something are done.

    Attributes:
        whole: What it will be, such as "label curve".
        parts: What it is made of, such as "runs".
    """

    whole: str
    done: int
    total: int
    parts: str


def require_result(folder: Path, kind: Kind) -> None:
    """Refuse a folder without its result where the command that began it can go on.

    Raises:
        TransferkitError: Says how much is done, and how to go on.
    """
    if kind.article != "this" or (folder / kind.result).exists():
        return
    again = "Where it was stopped, the same command again goes on."
    measure, asked = PROGRESS.get(kind.name), folder / f"{kind.name}.yaml"
    if measure is None or not asked.exists():
        raise TransferkitError(f"The {kind.name} in {folder} is unfinished. {again}")
    progress = measure(folder, parse_yaml(read_text(asked), str(asked)))
    raise TransferkitError(
        f"The {progress.whole} in {folder} is unfinished: {progress.done:,} of its {progress.total:,} "
        f"{progress.parts} are done. {again}"
    )


def _of_study(folder: Path, content: Any) -> StudyProgress:
    study = parse_study(content)
    before = [folder / "before" / name for name in study.before]
    places = [*before, *(folder / "runs" / f"{cell}-seed{seed}" for cell, seed, _ in study.recipes())]
    whole = "label curve" if study.labels else "comparison"
    return StudyProgress(whole, sum(Run(place).is_finished for place in places), len(places), "runs")


def _of_folds(folder: Path, content: Any) -> StudyProgress:
    done = len(finished_folders(folder, inside_results=True))
    return StudyProgress(FOLDS.name, done, parse(content).data.folds or 0, "folds")


def _of_ranking(folder: Path, content: Any) -> StudyProgress:
    done = len(list((folder / "backbones").glob("*.safetensors")))
    return StudyProgress(RANKING.name, done, len(parse_ranking(content).backbones), "backbones")


PROGRESS: dict[str, Callable[[Path, Any], StudyProgress]] = {
    STUDY.name: _of_study,
    FOLDS.name: _of_folds,
    RANKING.name: _of_ranking,
}
