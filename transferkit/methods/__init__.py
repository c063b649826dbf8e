"""The menu of methods: each is a module with `fit(classifier, splits, settings, ...) -> Fitted`."""

from __future__ import annotations

from pathlib import Path

from transferkit.classifier import Classifier
from transferkit.images import Splits
from transferkit.methods import finetune, layer_probes, probe, scratch
from transferkit.methods.fitted import Fitted
from transferkit.recipe import FinetuneSettings, Method, ProbeSettings, Recipe
from transferkit.runtime import Runtime
from transferkit.screen import Screen
from transferkit.solvers import require_neighbours

METHODS = {"scratch": scratch, "probe": probe, "finetune": finetune}


def require(classifier: Classifier, settings: Method, train_images: int) -> None:
    """Check what can be known before any work.

    Raises:
        TransferkitError: If the backbone has no such stage or layer, or train is too small for what is asked.
    """
    if isinstance(settings, FinetuneSettings) and settings.freeze_to is not None:
        classifier.require_stage(settings.freeze_to)
    if isinstance(settings, ProbeSettings) and settings.layers:
        layer_probes.probed_layers(classifier, settings.layers)
    if isinstance(settings, ProbeSettings) and settings.k is not None:
        require_neighbours(settings.k, train_images)


def fit(
    classifier: Classifier,
    splits: Splits,
    recipe: Recipe,
    runtime: Runtime,
    screen: Screen,
    folder: Path | None = None,
) -> Fitted:
    """Change the classifier as the recipe says, from train and val alone, and tell how it went."""
    method, seed = recipe.method, recipe.seed
    if isinstance(method, ProbeSettings) and method.layers:
        return layer_probes.fit(classifier, splits, method, recipe.backbone, runtime, screen, seed)
    if isinstance(method, ProbeSettings):
        return probe.fit(classifier, splits, method, runtime, screen, seed)
    if isinstance(method, FinetuneSettings):
        return finetune.fit(classifier, splits, method, runtime, screen, seed, folder)
    return scratch.fit(classifier, splits, method, runtime, screen, seed, folder)
