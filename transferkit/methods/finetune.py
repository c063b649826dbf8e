"""Fine-tuning: a good head first, then gradient steps through the stages that are not frozen."""

from __future__ import annotations

from typing import Any

from transferkit.classifier import Classifier
from transferkit.features.fast_classifier import collect
from transferkit.images import Splits
from transferkit.job import Job
from transferkit.methods import probe
from transferkit.methods.fitted import Fitted
from transferkit.methods.table import show_groups
from transferkit.recipe import FinetuneSettings
from transferkit.training import parameter_groups, train


def fit(classifier: Classifier, splits: Splits, settings: FinetuneSettings, job: Job) -> Fitted:
    """Train the classifier further from its pretrained weights."""
    notes = _notes(classifier)
    for note in notes:
        job.screen.line(note)
    facts: dict[str, Any] = {}
    if settings.head == "probe":
        facts["probe"] = probe.start_head(classifier, splits, job)
    classifier.batchnorm_frozen = settings.batchnorm == "eval"
    classifier.freeze(classifier.stages_up_to(settings.freeze_to) if settings.freeze_to else ())
    groups = parameter_groups(classifier, settings)
    show_groups(groups, job.screen)
    with classifier.frozen_verified():
        history = train(classifier, splits.train, splits.val, settings, groups, job)
    val = collect(classifier, splits.val, job.runtime, job.screen, "val") if len(splits.val) else None
    return Fitted(val, groups, history, facts, notes)


def _notes(classifier: Classifier) -> list[str]:
    if classifier.weights.source != "none":
        return []
    return [
        "the backbone starts from random weights, so nothing is transferred; `transferkit scratch` has rates for that"
    ]
