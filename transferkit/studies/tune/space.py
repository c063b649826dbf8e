"""Which settings are tried: the space that suits a network and its images, and how many of its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transferkit.models.backbones import lookup
from transferkit.models.classifier import Classifier
from transferkit.recipe import DEFAULT, Recipe, TuningRecipe, points_of

FACTORS = (1.0, 0.3, 3.0)  # of the default rate: half a power of ten either way
LARGER = 1.25  # times the default side of the input, for train and test alike
STEP_PX = 32  # what sides are multiples of, the stride of most networks
SMALL_PX, SMALL_STEP_PX = 64, 8  # below this side, by smaller steps

Space = dict[str, tuple[Any, ...]]


def default_space(recipe: Recipe, classifier: Classifier) -> Space:
    """Rate, size, freezing and augmentation around a complete recipe, the defaults first; what was asked for stays.

    Args:
        recipe: As it was asked for.
        classifier: Its network; no weights are looked at.
    """
    asked = recipe.method.model_fields_set
    keys = type(recipe.method).model_fields
    space: Space = {
        "lr_factor": FACTORS if "lr" not in asked else (),
        "size": (DEFAULT, *_larger(recipe, classifier)),
        "freeze_to": (DEFAULT, *_lower_half(classifier)),
        "augment": (DEFAULT, "trivial"),
    }
    return {key: values for key, values in space.items() if key in keys and key not in asked and len(values) > 1}


def _larger(recipe: Recipe, classifier: Classifier) -> tuple[int, ...]:
    """A larger side that the network takes, if there is one."""
    px = classifier.input_spec.size
    step = STEP_PX if px >= SMALL_PX else SMALL_STEP_PX
    wanted = max(px + step, round(px * LARGER / step) * step)
    fitting = lookup(recipe.backbone).fitting_px(wanted)
    return (fitting,) if fitting > px else ()


def _lower_half(classifier: Classifier) -> tuple[str, ...]:
    """The stage up to which the half next to the images is frozen."""
    stages = list(classifier.stages)
    return (stages[len(stages) // 2 - 1],) if len(stages) > 1 else ()


def points(tuning: TuningRecipe, space: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The settings to try: all, or so many as asked for, drawn at random; the first of the space is among them."""
    everything = list(points_of(space))
    if tuning.points is None or tuning.points >= len(everything):
        return everything
    drawn = np.random.default_rng(tuning.base.seed).permutation(np.arange(1, len(everything)))[: tuning.points - 1]
    return [everything[index] for index in (0, *sorted(drawn.tolist()))]


def in_words(values: Mapping[str, Any]) -> str:
    """A setting as it is typed.

    Example:
        >>> in_words({"lr_factor": 3.0, "augment": "trivial"}), in_words({})
        ('lr_factor=3, augment=trivial', 'the defaults')
    """
    written = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]
    return ", ".join(written) or "the defaults"
