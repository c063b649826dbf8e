"""What a person is told before work starts, on the command line and in Python alike; a quiet screen times nothing."""

from __future__ import annotations

from collections.abc import Mapping

from transferkit.estimates.work import of_long_run, of_ranking, of_study
from transferkit.recipe import Ranking, Recipe, Study
from transferkit.screen import Screen


def before_run(recipe: Recipe, screen: Screen) -> None:
    """Tell what a run of more than a minute will cost."""
    if not screen.quiet and (text := of_long_run(recipe)):
        screen.line(text)


def before_study(study: Study, screen: Screen) -> None:
    """Tell what each arm of a study will cost."""
    if not screen.quiet:
        announce(of_study(study), screen)


def before_ranking(ranking: Ranking, screen: Screen) -> None:
    """Tell what each backbone of a ranking will cost."""
    if not screen.quiet:
        announce(of_ranking(ranking), screen)


def announce(arms: Mapping[str, str], screen: Screen) -> None:
    """One line for each arm."""
    for arm, text in arms.items():
        screen.line(f"{arm}: {text}")
