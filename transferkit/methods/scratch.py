"""From scratch: the same network from random weights, every stage trained at one rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from transferkit.batches import to_device
from transferkit.classifier import Classifier
from transferkit.images import Images, Splits
from transferkit.methods.fitted import Fitted
from transferkit.methods.table import show_groups
from transferkit.outputs import collect
from transferkit.recipe import ScratchSettings
from transferkit.runtime import Runtime
from transferkit.screen import Screen
from transferkit.training import parameter_groups, train

STARTED_FROM = 2_000  # images, evenly spread over the training set


def fit(
    classifier: Classifier,
    splits: Splits,
    settings: ScratchSettings,
    runtime: Runtime,
    screen: Screen,
    seed: int,
    folder: Path | None = None,
) -> Fitted:
    """Train every stage of the classifier, but one that is set from the images and frozen (speednet's whitening)."""
    start_from_images(classifier, splits.train, runtime, screen)
    groups = parameter_groups(classifier, settings)
    show_groups(groups, screen)
    with classifier.frozen_verified():
        history = train(classifier, splits.train, splits.val, settings, groups, runtime, screen, seed, folder)
    val = collect(classifier, splits.val, runtime, screen, "val") if len(splits.val) else None
    return Fitted(val, groups, history)


@torch.no_grad()
def start_from_images(classifier: Classifier, images: Images, runtime: Runtime, screen: Screen) -> None:
    """Let a body with `start_from(prepared images) -> stages` set itself from training images; freeze these stages."""
    start_from = getattr(classifier.body, "start_from", None)
    if start_from is None:
        return
    classifier.to(runtime.device)
    chosen = np.unique(np.linspace(0, len(images) - 1, STARTED_FROM).astype(np.int64))
    stages = start_from(classifier.prepare(to_device(images.take(chosen), runtime.device)))
    classifier.freeze(stages)
    screen.line(f"{', '.join(stages)}: set from {len(chosen):,} training images, and frozen")
