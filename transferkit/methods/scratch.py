"""From scratch: the same network from random weights, every stage trained at one rate."""

from __future__ import annotations

import torch

from transferkit.batches import to_device
from transferkit.classifier import Classifier
from transferkit.features.fast_classifier import collect
from transferkit.images import Images, Splits
from transferkit.job import Job
from transferkit.methods.fitted import Fitted
from transferkit.methods.table import show_groups
from transferkit.recipe import BackboneSettings, ScratchSettings
from transferkit.training import parameter_groups, require_choice, train

STARTED_FROM = 2_000  # images, evenly spread over the training set


def require(_classifier: Classifier, settings: ScratchSettings, _train_images: int, val_images: int) -> None:
    """Refuse a choice of the epoch by too few val images."""
    require_choice(settings, val_images)


def fit(
    classifier: Classifier, splits: Splits, settings: ScratchSettings, _backbone: BackboneSettings, job: Job
) -> Fitted:
    """Train every stage of the classifier, but one that is set from the images and frozen (speednet's whitening)."""
    start_from_images(classifier, splits.train, job)
    groups = parameter_groups(classifier, settings)
    show_groups(groups, job.screen)
    with classifier.frozen_verified():
        history = train(classifier, splits.train, splits.val, settings, groups, job)
    val = collect(classifier, splits.val, job.runtime, job.screen, "val") if len(splits.val) else None
    return Fitted(val, groups, history)


@torch.no_grad()
def start_from_images(classifier: Classifier, images: Images, job: Job) -> None:
    """Let a body with `start_from(prepared images) -> stages` set itself from training images; freeze these stages."""
    start_from = getattr(classifier.body, "start_from", None)
    if start_from is None:
        return
    classifier.to(job.runtime.device)
    chosen = images.spread(STARTED_FROM)
    stages = start_from(classifier.prepare(to_device(chosen.pixels, job.runtime.device)))
    classifier.freeze(stages)
    job.screen.line(f"{', '.join(stages)}: set from {len(chosen):,} training images, and frozen")
