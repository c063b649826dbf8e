"""A study: several recipes on the same images, one after the other, ending in one comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit import report
from transferkit.checkpoint import write_json, write_text
from transferkit.comparison import compare
from transferkit.errors import MachineError, TransferkitError
from transferkit.recipe import Recipe, Study, dump, load
from transferkit.run import run
from transferkit.run_directory import Run
from transferkit.screen import Screen


def run_study(
    study: Study, out: Path | None = None, *, overwrite: bool = False, screen: Screen | None = None, command: str = ""
) -> dict[str, Any]:
    """Carry out every run that is not finished yet, compare, and leave comparison.json and report.html.

    A run that fails is reported and the others go on; starting the study again does only what is missing.

    Returns:
        The comparison, with the study's folder as `folder`.

    Raises:
        TransferkitError: If the folder holds another study, or fewer than two arms came to an end.
    """
    screen = screen or Screen()
    folder = claim(out or Path("runs") / f"{study.name}-{study.short_hash}", study, overwrite)
    sources = {
        name: str(finished(recipe, folder / "before" / name, overwrite, screen, f"{command} (before: {name})").path)
        for name, recipe in study.before.items()
    }
    arms: dict[str, list[Run]] = {}
    failures: list[str] = []
    for arm, seed, recipe in study.recipes():
        screen.line(f"{arm}, seed {seed}")
        try:
            place = folder / "runs" / f"{arm}-seed{seed}"
            arms.setdefault(arm, []).append(
                finished(with_source(recipe, sources), place, overwrite, screen, f"{command} ({arm}, seed {seed})")
            )
        except TransferkitError as error:
            failures.append(f"{arm}, seed {seed}: {error}")
            screen.line(f"failed: {failures[-1]}")
    return _conclude(folder, study, {arm: runs for arm, runs in arms.items() if runs}, failures, command)


def claim(folder: Path, study: Study, overwrite: bool) -> Path:
    """The study's folder, with the study written into it.

    Raises:
        TransferkitError: If it holds something else, or this study is finished.
    """
    path = folder / "study.yaml"
    if folder.exists() and any(folder.iterdir()) and not path.exists():
        raise TransferkitError(f"{folder} holds other files and is no study. Choose another folder with --out.")
    if path.exists() and not overwrite:
        if load(path) != study:
            raise TransferkitError(
                f"{folder} holds another study. Choose another folder with --out, or use --overwrite."
            )
        if (folder / "comparison.json").exists():
            raise TransferkitError(
                f"{folder} already holds this study. Look at {folder / 'report.html'}, choose another folder with "
                "--out, or replace it with --overwrite."
            )
    write_text(path, dump(study))
    (folder / "comparison.json").unlink(missing_ok=True)
    return folder


def finished(recipe: Recipe, place: Path, overwrite: bool, screen: Screen, command: str) -> Run:
    """The finished run of a recipe: as it is where there is one, else made now or continued."""
    existing = Run(place)
    if existing.is_finished and not overwrite:
        return existing
    return run(recipe, place, overwrite=overwrite, resume=not overwrite, screen=screen, command=command)


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


def _conclude(
    folder: Path, study: Study, arms: Mapping[str, list[Run]], failures: list[str], command: str
) -> dict[str, Any]:
    if study.reference not in arms or len(arms) < 2:
        raise MachineError("Too few arms came to an end to compare anything:\n" + "\n".join(failures))
    comparison = compare(arms, study.reference)
    comparison |= {"name": study.name, "failures": failures, "command": command, "folder": str(folder)}
    write_json(folder / "comparison.json", comparison)
    report.write_comparison(folder)
    return comparison
