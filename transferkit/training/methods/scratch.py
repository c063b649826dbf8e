"""From scratch: the same network from random weights, every stage trained at one rate."""

from __future__ import annotations

import torch

from transferkit.data.batches import to_device
from transferkit.data.images import Images, Splits
from transferkit.features.fast_classifier import collect
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, ScratchSettings
from transferkit.runtime.context import Context
from transferkit.runtime.plurals import counted
from transferkit.training import parameter_groups, require_choice, stop_in_words, train
from transferkit.training.methods.fitted import Fitted
from transferkit.training.methods.scratch_rates import scratch_defaults
from transferkit.training.methods.table import show_groups
from transferkit.training.resolved import resolved_training
from transferkit.training.step_defaults import StepDefaults

STEPS_OF_AN_EPOCH = 10  # at least, where the batch follows from the images
STARTED_FROM = 2_000  # images, evenly spread over the training set


def default_epochs(_train_images: int) -> int:
    """More than a pretrained network needs."""
    return 30


def defaults(
    settings: ScratchSettings, usual: StepDefaults, family: str, _train_images: int, _steps: int
) -> StepDefaults:
    """The rates of the backbone's family."""
    return scratch_defaults(settings, usual, family)


def require(_classifier: Classifier, settings: ScratchSettings, _train_images: int, val_images: int) -> None:
    """Refuse a choice of the epoch by too few val images."""
    require_choice(settings.keep, val_images, settings.patience)


def fit(
    classifier: Classifier, splits: Splits, settings: ScratchSettings, _backbone: BackboneSettings, context: Context
) -> Fitted:
    """Train every stage of the classifier, but one that is set from the images and frozen (speednet's whitening)."""
    start_from_images(classifier, splits.train, context)
    training = resolved_training(settings)
    groups = parameter_groups(classifier, training)
    show_groups(groups, context.console)
    with classifier.frozen_verified():
        history = train(classifier, splits.train, splits.val, training, groups, context)
    val = collect(classifier, splits.val, context.runtime, context.console, "val") if len(splits.val) else None
    notes = [note] if (note := stop_in_words(history, training)) else []
    return Fitted(val, groups, history, notes=notes)


@torch.no_grad()
def start_from_images(classifier: Classifier, images: Images, context: Context) -> None:
    """Let a body with `start_from(prepared images) -> stages` set itself from training images; freeze these stages."""
    start_from = getattr(classifier.body, "start_from", None)
    if start_from is None:
        return
    classifier.to(context.runtime.device)
    chosen = images.spread(STARTED_FROM)
    stages = start_from(classifier.prepare(to_device(chosen.pixels, context.runtime.device)))
    classifier.freeze(stages)
    context.console.line(f"{', '.join(stages)}: set from {counted(len(chosen), 'training image')}, and frozen")
