"""From scratch: the same network from random weights, every stage trained at one rate."""

from __future__ import annotations

from pathlib import Path

from transferkit.classifier import Classifier
from transferkit.images import Splits
from transferkit.methods.fitted import Fitted
from transferkit.methods.table import show_groups
from transferkit.outputs import collect
from transferkit.recipe import ScratchSettings
from transferkit.runtime import Runtime
from transferkit.screen import Screen
from transferkit.training import parameter_groups, train


def fit(
    classifier: Classifier,
    splits: Splits,
    settings: ScratchSettings,
    runtime: Runtime,
    screen: Screen,
    seed: int,
    folder: Path | None = None,
) -> Fitted:
    """Train every stage of the classifier."""
    groups = parameter_groups(classifier, settings)
    show_groups(groups, screen)
    history = train(classifier, splits.train, splits.val, settings, groups, runtime, screen, seed, folder)
    val = collect(classifier, splits.val, runtime, screen, "val") if len(splits.val) else None
    return Fitted(val, groups, history)
