"""What a tuning takes before it starts: one training at full length, and the whole search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from transferkit.models import backbones
from transferkit.recipe import Recipe, TuningRecipe
from transferkit.recipe.budget import Budget
from transferkit.studies.tune.halving import Rung, rungs
from transferkit.studies.tune.space import Space, points
from transferkit.studies.tune.trials import length_keys
from transferkit.studies.tune.tune import plan_in_words, space_around
from transferkit.training import estimates
from transferkit.training.resolved import length_of

NAMES = ("one", "two")  # of the head of a network whose stages alone are asked for


def of_tuning(tuning: TuningRecipe) -> dict[str, str]:
    """What one setting takes at full length, how the search divides the others, and what all of it takes.

    Raises:
        TransferkitError: If the tuning would be refused, too.
    """
    full = estimates.resolved_as_run(tuning.base)
    assert full.method.training is not None  # `parse_tuning` refuses methods that are solved
    space, length = _space(tuning, full), length_of(full.method.training)
    settings = points(tuning, space)
    planned = rungs(len(settings), length, tuning.eta)
    times = stages(tuning, settings, planned)
    return {
        "one setting at full length": estimates.estimate(tuning.base),
        "search": plan_in_words(planned, length, space),
        **estimates.in_all(times, tuning.executor, tuning.workers, tuning.base),
    }


def _space(tuning: TuningRecipe, full: Recipe) -> Space:
    """The space of a tuning, without its images and weights."""
    if tuning.space:
        return dict(tuning.space)
    return space_around(tuning.base, backbones.load_undrawn(full.backbone, NAMES, full.input_px))


def stages(tuning: TuningRecipe, settings: Sequence[Mapping[str, Any]], planned: Sequence[Rung]) -> list[list[float]]:
    """Seconds of every training: those of each rung, then the one at full length.

    Which settings go on is not known before, so the later ones are taken to last as long as all do on average.
    """
    whole = [tuning.recipe(values) for values in settings]
    of_rungs = [estimates.fit_seconds([_shortened(recipe, rung.length) for recipe in whole]) for rung in planned]
    means = [[fmean(seconds)] * rung.settings for rung, seconds in zip(planned, of_rungs, strict=True)]
    return [of_rungs[0], *means[1:], [fmean(estimates.fit_seconds(whole))]]


def _shortened(recipe: Recipe, length: Budget) -> Recipe:
    changes = {**length_keys(length), **({"refit": False} if hasattr(recipe.method, "refit") else {})}
    return recipe.model_copy(update={"method": recipe.method.model_copy(update=changes)})
