"""What a person is told before work starts, on the command line and in Python alike; a quiet console times nothing."""

from __future__ import annotations

from collections.abc import Mapping

from transferkit.recipe import RankingRecipe, Recipe, Study
from transferkit.runtime.console import Console
from transferkit.training.estimates.work import of_long_run, of_ranking, of_study


def before_run(recipe: Recipe, console: Console) -> None:
    """Tell what a run of more than a minute will cost."""
    if not console.quiet and (text := of_long_run(recipe)):
        console.line(text)


def before_study(study: Study, console: Console) -> None:
    """Tell what each arm of a study will cost."""
    if not console.quiet:
        announce(of_study(study), console)


def before_ranking(ranking: RankingRecipe, console: Console) -> None:
    """Tell what each backbone of a ranking will cost."""
    if not console.quiet:
        announce(of_ranking(ranking), console)


def announce(arms: Mapping[str, str], console: Console) -> None:
    """One line for each arm."""
    for arm, text in arms.items():
        console.line(f"{arm}: {text}")
