"""The methods, each a module with `require(...)` and `fit(...)`; the menu is `recipe.METHOD_MODELS`, which names them.

One that trains by steps also says how long and at which rates where nobody else does: `StepsModule`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any, Protocol, cast

import torch

from transferkit.data.augmentation import BatchDraws, Wanted, augment
from transferkit.data.images import Images, Splits
from transferkit.models.classifier import Classifier
from transferkit.recipe import METHOD_MODELS, BackboneSettings, MethodSettings, TrainingSettings, of_method
from transferkit.recipe.mirroring import mirroring_in_words
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training.growth import require_growth
from transferkit.training.methods.fitted import Fitted
from transferkit.training.replicas import batchnorm_in_words
from transferkit.training.step_defaults import StepDefaults


class MethodModule(Protocol):
    """What a method consists of."""

    def require(self, classifier: Classifier, settings: Any, train_images: int, val_images: int, /) -> None:
        """Check what can be known before any work."""

    def fit(
        self, classifier: Classifier, splits: Splits, settings: Any, backbone: BackboneSettings, context: Context, /
    ) -> Fitted:
        """Change the classifier, from train and val alone."""


class StepsModule(MethodModule, Protocol):
    """What a method that trains by gradient steps says besides, for keys that are left open."""

    STEPS_OF_AN_EPOCH: int

    def default_epochs(self, train_images: int, /) -> int:
        """How often it sees every training image."""

    def defaults(
        self, settings: Any, usual: StepDefaults, family: str, train_images: int, steps: int, /
    ) -> StepDefaults:
        """Values of its keys for a backbone of this family: those of every training, with its own in place of some."""


def module_of(name: str) -> MethodModule:
    """The module that carries a method out.

    Raises:
        TransferkitError: If the menu has no such method; names those it has.
    """
    return cast(MethodModule, import_module(of_method(METHOD_MODELS, name).module))


def stepping(settings: TrainingSettings) -> StepsModule:
    """The module of a method that trains by steps.

    Raises:
        TransferkitError: If the menu has no such method, or its module says nothing of steps.
    """
    module = cast(StepsModule, module_of(settings.name))
    lacking = [name for name in ("STEPS_OF_AN_EPOCH", "default_epochs", "defaults") if not hasattr(module, name)]
    if lacking:
        raise TransferkitError(
            f"The method {settings.name} trains by steps, and {settings.module} has no {', '.join(lacking)}. Expected "
            "what transferkit.training.methods.StepsModule describes."
        )
    return module


def require(classifier: Classifier, settings: MethodSettings, train_images: int, val_images: int) -> None:
    """Check what can be known before any work.

    Raises:
        TransferkitError: If the menu has no such method, the backbone has no such stage or layer, or train or val is
            too small for what is asked.
    """
    if (training := settings.training) is not None:
        require_growth(classifier, training.start_size)
    module_of(settings.name).require(classifier, settings, train_images, val_images)


def try_augment(wanted: Wanted, train: Images) -> None:
    """Ask for augmented copies of two images, so that what cannot be is told before the training starts.

    Raises:
        TransferkitError: If it does not go with these images, or one's own function is not at hand.
    """
    pixels = torch.from_numpy(train.take(slice(0, 2)))
    augment(pixels, wanted, BatchDraws(0, 0, 0, len(pixels), pixels.device))


def fit(
    classifier: Classifier, splits: Splits, method: MethodSettings, backbone: BackboneSettings, context: Context
) -> Fitted:
    """Change the classifier as the method says, from train and val alone, and tell how it went.

    Args:
        classifier: As the backbone's settings made it.
        splits: Of which test stays closed.
        method: What to do.
        backbone: From which a probe of several layers makes its random copy.
        context: Where it computes, and from which seed.

    Raises:
        TransferkitError: If the menu has no such method; names those it has. If what `augment` asks for does not go
            with these images.
    """
    if (training := method.training) is not None:
        try_augment(training.augment, splits.train)
        if line := mirroring_in_words(bool(training.flip), splits.class_names):
            (context.console.detail if training.flip else context.console.line)(line)
    fitted = module_of(method.name).fit(classifier, splits, method, backbone, context)
    world = context.runtime.world
    if training is None or not world.is_shared:
        return fitted
    together = f"{world.size} processes trained together, each on its part of every step"
    images = min(training.step_images or 1, len(splits.train))
    words = batchnorm_in_words(fitted.groups, images, world, is_synchronised=training.sync_batchnorm)
    return replace(fitted, notes=(*fitted.notes, together, *([words] if words else [])))
