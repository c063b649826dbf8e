"""The menu of methods: each is a module with `fit(classifier, splits, settings, ...) -> Fitted`."""

from __future__ import annotations

from pathlib import Path

from transferkit.classifier import Classifier
from transferkit.images import Splits
from transferkit.methods import finetune, probe, scratch
from transferkit.methods.fitted import Fitted
from transferkit.recipe import FinetuneSettings, Method, ProbeSettings
from transferkit.runtime import Runtime
from transferkit.screen import Screen

METHODS = {"scratch": scratch, "probe": probe, "finetune": finetune}


def require(classifier: Classifier, settings: Method) -> None:
    """Check what can be known before any work.

    Raises:
        TransferkitError: If the backbone has no such stage.
    """
    if isinstance(settings, FinetuneSettings) and settings.freeze_to is not None:
        classifier.require_stage(settings.freeze_to)


def fit(
    classifier: Classifier,
    splits: Splits,
    settings: Method,
    runtime: Runtime,
    screen: Screen,
    seed: int,
    folder: Path | None = None,
) -> Fitted:
    """Change the classifier as the settings say, from train and val alone, and tell how it went."""
    if isinstance(settings, ProbeSettings):
        return probe.fit(classifier, splits, settings, runtime, screen, seed)
    if isinstance(settings, FinetuneSettings):
        return finetune.fit(classifier, splits, settings, runtime, screen, seed, folder)
    return scratch.fit(classifier, splits, settings, runtime, screen, seed, folder)
