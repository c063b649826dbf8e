"""Fine-tuning: a good head first, then gradient steps through the stages that are not frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transferkit.classifier import Classifier
from transferkit.images import Splits
from transferkit.methods import probe
from transferkit.methods.fitted import Fitted
from transferkit.methods.table import show_groups
from transferkit.outputs import collect
from transferkit.recipe import FinetuneSettings
from transferkit.runtime import Runtime
from transferkit.screen import Screen
from transferkit.training import parameter_groups, train


def fit(
    classifier: Classifier,
    splits: Splits,
    settings: FinetuneSettings,
    runtime: Runtime,
    screen: Screen,
    seed: int,
    folder: Path | None = None,
) -> Fitted:
    """Train the classifier further from its pretrained weights."""
    notes = _notes(classifier)
    for note in notes:
        screen.line(note)
    facts: dict[str, Any] = {}
    if settings.head == "probe":
        facts["probe"] = probe.start_head(classifier, splits, runtime, screen, seed)
    classifier.batchnorm_frozen = settings.batchnorm == "eval"
    classifier.freeze(classifier.stages_up_to(settings.freeze_to) if settings.freeze_to else ())
    groups = parameter_groups(classifier, settings)
    show_groups(groups, screen)
    with classifier.frozen_verified():
        history = train(classifier, splits.train, splits.val, settings, groups, runtime, screen, seed, folder)
    val = collect(classifier, splits.val, runtime, screen, "val") if len(splits.val) else None
    return Fitted(val, groups, history, facts, notes)


def _notes(classifier: Classifier) -> list[str]:
    if classifier.weights.source != "none":
        return []
    return [
        "the backbone starts from random weights, so nothing is transferred; `transferkit scratch` has rates for that"
    ]
