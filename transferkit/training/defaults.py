"""The defaults of a method for a family of backbones and a budget; every one can be set in the recipe.

Anchored on the recipes of BiT (Kolesnikov et al. 2020), ssl-transfer (Ericsson et al. 2021), torchvision and fastai.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from transferkit.models import backbones
from transferkit.models.backbones import Backbone, lookup
from transferkit.models.backbones.cards import BackboneCard
from transferkit.models.input_sizes import input_size, resolved_backbone
from transferkit.models.receptive_fields import total_flops
from transferkit.recipe import MethodSettings, Recipe, TrainingSettings
from transferkit.recipe import budget as budgets
from transferkit.recipe.mirroring import reason_not_to_mirror
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.training.methods import stepping
from transferkit.training.methods.scratch_rates import TRIANGLE_PEAK
from transferkit.training.step_defaults import StepDefaults

MANY_IMAGES = 20_000
BUDGET_STEPS = 10  # in an epoch, at least, where a budget counts steps
OWN_STEPS = 64  # likewise, for networks of the user's own, which are small


def resolved(recipe: Recipe, num_images: int, native_px: int, class_names: Sequence[str] = ()) -> Recipe:
    """The recipe with every default written out, for this many training images of this side, of these classes."""
    recipe = recipe.model_copy(update={"method": in_epochs(recipe.method)})
    backbone = resolved_backbone(recipe.backbone, recipe.method, native_px)
    size = input_size(recipe.method, backbone, native_px).px
    method = recipe.method.model_copy(update={"size": size})
    if (training := method.training) is not None:
        known = lookup(backbone)
        mirrors = recipe.data.mirrors and not reason_not_to_mirror(class_names)
        training = in_steps(training, known, size, num_images)
        training = training.model_copy(update={"flip": mirrors} if training.flip is None else {})
        method = training_defaults(training, known.card, num_images).fill(training)
    return recipe.model_copy(update={"name": recipe.title, "backbone": backbone, "method": method})


def in_epochs(method: MethodSettings) -> MethodSettings:
    """The method with a budget of epochs written as its epochs; `converged` leaves them to the defaults."""
    training = method.training
    if training is None or training.budget is None:
        return method
    budget = budgets.read(training.budget)
    if budget.kind == "epochs":
        return method.model_copy(update={"epochs": int(budget.amount), "budget": None})
    return method.model_copy(update={"budget": None}) if budget.kind == "converged" else method


def in_steps(method: TrainingSettings, backbone: Backbone, size_px: int, num_images: int) -> TrainingSettings:
    """The method with a budget of operations written as the gradient steps that it buys, at three forward passes each.

    Raises:
        TransferkitError: If it buys no step; says what one costs.
    """
    budget = budgets.read(method.budget) if method.budget else None
    if budget is None or budget.kind != "flops":
        return method
    forward = total_flops(backbones.load_undrawn(backbone.settings, ("one", "two"), size_px).body, size_px)
    batch = min(method.step_images or default_batch(method, num_images, backbone.card), num_images)
    step = 3 * forward * batch
    if budget.amount < step:
        raise TransferkitError(
            f"The budget {method.budget!r} buys no step: one step of {backbone.card.name} takes {step:.3g} operations "
            f"(3 x forward x {counted(batch, 'image')} of {size_px} px). Give at least {step:.2g}flops."
        )
    return method.model_copy(update={"budget": f"{int(budget.amount // step)}steps"})


def default_epochs(method: TrainingSettings, num_images: int) -> int:
    """More passes where there are fewer images; a network from scratch needs more than a pretrained one."""
    return stepping(method).default_epochs(num_images)


def expected_epochs(method: TrainingSettings, num_images: int, batch_size: int) -> int:
    """The passes that a budget of steps makes, begun ones included; the default where the clock decides."""
    budget = budgets.read(method.budget) if method.budget else None
    if budget is None or budget.kind != "steps":
        return default_epochs(method, num_images)
    return math.ceil(budget.amount / max(1, num_images // batch_size))


def default_batch(method: TrainingSettings, num_images: int, backbone: BackboneCard) -> int:
    """128 images, fewer where an epoch would have too few steps, never below 16; speednet's 1,024 with many.

    Fine-tuning gains from more steps in an epoch; where a budget counts steps, all methods have the same batch.
    """
    if backbone.family == "speed" and num_images >= MANY_IMAGES:
        return 1024
    usual = OWN_STEPS if backbone.family == "own" else stepping(method).STEPS_OF_AN_EPOCH
    steps = BUDGET_STEPS if method.budget else usual
    return max(16, min(128, 1 << max(0, (num_images // steps).bit_length() - 1)))


def training_defaults(method: TrainingSettings, backbone: BackboneCard, num_images: int) -> StepDefaults:
    """Defaults of a method that trains, by family and budget: those of every training, and those of this method.

    Raises:
        TransferkitError: If the menu has no such method, or it trains by steps and says nothing of them.
    """
    batch = method.step_images or default_batch(method, num_images, backbone)
    epochs = method.epochs or expected_epochs(method, num_images, batch)
    long = epochs >= 10
    usual = StepDefaults(
        epochs=None if method.budget else epochs,
        batch_size=math.ceil(batch / method.accumulate),
        warmup=TRIANGLE_PEAK if method.schedule == "triangular" else 0.1 if epochs == 1 else 0.05,
        ema=epochs > 1 and not method.lookahead,
        shift=0.0 if "crop" in augmentations(method) else 0.125,
        mixup=0.1 if long and num_images >= MANY_IMAGES else 0.0,
        label_smoothing=0.05 if long else 0.0,
    )
    steps = epochs * max(1, num_images // batch)
    return stepping(method).defaults(method, usual, backbone.family, num_images, steps)


def augmentations(method: TrainingSettings) -> Mapping[str, float]:
    """Strengths by name; none where the user's own function stands in their place."""
    return method.augment if isinstance(method.augment, Mapping) else {}
