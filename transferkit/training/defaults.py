"""The defaults of a method for a family of backbones and a budget; every one can be set in the recipe.

Anchored on the recipes of BiT (Kolesnikov et al. 2020), ssl-transfer (Ericsson et al. 2021), torchvision and fastai.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from transferkit.models import backbones
from transferkit.models.backbones import family
from transferkit.models.input_sizes import input_size, resolved_backbone
from transferkit.models.receptive_fields import total_flops
from transferkit.recipe import (
    BackboneSettings,
    FinetuneSettings,
    Method,
    Recipe,
    ScratchSettings,
    TrainingSettings,
    of_method,
)
from transferkit.recipe import budget as budgets
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

MANY_IMAGES = 20_000
WARMUP_STEPS = 20
TUNING_STEPS, SCRATCH_STEPS = 64, 10  # in an epoch, at least, where the batch follows from the images
TRIANGLE_PEAK = 0.23  # share of the steps (airbench94, Jordan 2024)
NOT_MIRRORED = {"digits", "glyphs", "svhn"}  # a mirrored letter is another sign


@dataclass(frozen=True)
class ScratchRates:
    """What suits one family from random weights: rate at batch 128, decay, gradient limit (0 is off), optimiser."""

    lr: float
    weight_decay: float = 5e-4
    clip_norm: float = 0.0
    optimizer: Literal["sgd", "adamw"] = "sgd"


FAMILIES = {
    "resnet": ScratchRates(0.1),
    "resnet-deep": ScratchRates(0.1),
    "vgg_bn": ScratchRates(0.05, clip_norm=5.0),
    "vgg": ScratchRates(0.01, clip_norm=1.0),
    "alexnet": ScratchRates(0.01, clip_norm=1.0),
    "small": ScratchRates(0.1),
    "classical": ScratchRates(0.05, clip_norm=1.0),
    "speed": ScratchRates(0.1875, weight_decay=1.33e-3),  # training.rates.coupled(11.5, 0.0153, 0.85)
    "timm": ScratchRates(5e-4, weight_decay=0.05, clip_norm=1.0, optimizer="adamw"),
}


@dataclass(frozen=True)
class Length:
    """How long a method trains where nobody says: passes by the number of images, and steps of an epoch, at least."""

    epochs: Callable[[int], int]
    steps: int


Trained: TypeAlias = FinetuneSettings | ScratchSettings
LENGTHS = {
    "finetune": Length(lambda images: 3 if images >= MANY_IMAGES else 10 if images >= 2_000 else 30, TUNING_STEPS),
    "scratch": Length(lambda _images: 30, SCRATCH_STEPS),
}


def resolved(recipe: Recipe, num_images: int, native_px: int) -> Recipe:
    """The recipe with every default written out, for this many training images of this side."""
    recipe = recipe.model_copy(update={"method": in_epochs(recipe.method)})
    backbone = resolved_backbone(recipe.backbone, recipe.method, native_px)
    size = input_size(recipe.method, backbone, native_px).px
    method = recipe.method.model_copy(update={"size": size})
    if isinstance(method, TrainingSettings):
        method = in_steps(method, backbone, size, num_images)
        method = method.model_copy(update=missing(method, {"flip": recipe.data.name not in NOT_MIRRORED}))
        filled = training_defaults(method, backbone.name, num_images)
        method = method.model_copy(update=missing(method, filled))
    return recipe.model_copy(update={"name": recipe.title, "backbone": backbone, "method": method})


def in_epochs(method: Method) -> Method:
    """The method with a budget of epochs written as its epochs; `converged` leaves them to the defaults."""
    if not isinstance(method, TrainingSettings) or method.budget is None:
        return method
    budget = budgets.read(method.budget)
    if budget.kind == "epochs":
        return method.model_copy(update={"epochs": int(budget.amount), "budget": None})
    return method.model_copy(update={"budget": None}) if budget.kind == "converged" else method


def in_steps(method: Trained, backbone: BackboneSettings, size_px: int, num_images: int) -> Trained:
    """The method with a budget of operations written as the gradient steps that it buys, at three forward passes each.

    Raises:
        TransferkitError: If it buys no step; says what one costs.
    """
    budget = budgets.read(method.budget) if method.budget else None
    if budget is None or budget.kind != "flops":
        return method
    bare = backbone.model_copy(update={"weights": "none"})
    forward = total_flops(backbones.load(bare, ("one", "two"), size_px, SILENT).body, size_px)
    batch = min(method.batch_size or default_batch(method, num_images, backbone.name), num_images)
    step = 3 * forward * batch
    if budget.amount < step:
        raise TransferkitError(
            f"The budget {method.budget!r} buys no step: one step of {backbone.name} takes {step:.3g} operations "
            f"(3 x forward x {batch} images of {size_px} px). Give at least {step:.2g}flops."
        )
    return method.model_copy(update={"budget": f"{int(budget.amount // step)}steps"})


def default_epochs(method: Trained, num_images: int) -> int:
    """More passes where there are fewer images; a network from scratch needs more than a pretrained one."""
    return of_method(LENGTHS, method.name).epochs(num_images)


def expected_epochs(method: Trained, num_images: int, batch_size: int) -> int:
    """The passes that a budget of steps makes, begun ones included; the default where the clock decides."""
    budget = budgets.read(method.budget) if method.budget else None
    if budget is None or budget.kind != "steps":
        return default_epochs(method, num_images)
    return math.ceil(budget.amount / max(1, num_images // batch_size))


def default_batch(method: Trained, num_images: int, name: str) -> int:
    """128 images, fewer where an epoch would have too few steps, never below 16; speednet's 1,024 with many.

    Fine-tuning gains from more steps in an epoch; where a budget counts steps, all methods have the same batch.
    """
    if family(name) == "speed" and num_images >= MANY_IMAGES:
        return 1024
    steps = SCRATCH_STEPS if method.budget else of_method(LENGTHS, method.name).steps
    return max(16, min(128, 1 << max(0, (num_images // steps).bit_length() - 1)))


def training_defaults(method: Trained, name: str, num_images: int) -> dict[str, Any]:
    """Defaults of a method that trains, by family and budget: those of every training, and those of this method.

    Raises:
        TransferkitError: If the method has none here; names those that have.
    """
    own = of_method(DEFAULTS, method.name)
    batch = method.batch_size or default_batch(method, num_images, name)
    epochs = method.epochs or expected_epochs(method, num_images, batch)
    long = epochs >= 10
    usual: dict[str, Any] = {
        "epochs": None if method.budget else epochs,
        "batch_size": batch,
        "schedule": "cosine",
        "warmup": TRIANGLE_PEAK if method.schedule == "triangular" else 0.1 if epochs == 1 else 0.05,
        "momentum": 0.9,
        "ema": epochs > 1 and not method.lookahead,
        "lookahead": False,
        "norm_bias_lr": 1.0,
        "freeze_after": {},
        "alternating_flip": False,
        "test_flip": False,
        "test_shifts": False,
        "shift": 0.125,
        "mixup": 0.1 if long and num_images >= MANY_IMAGES else 0.0,
        "label_smoothing": 0.05 if long else 0.0,
    }
    return usual | own(method, name, num_images, epochs * max(1, num_images // batch))


def finetune_defaults(method: Trained, _name: str, num_images: int, steps: int) -> dict[str, Any]:
    """Of fine-tuning; rates are not among them: they depend on where it starts (`methods.finetune_rates`)."""
    refit = num_images < MANY_IMAGES and not method.budget and method.keep == "last"
    return {"warmup": warmup_share(steps), "refit": refit}


def scratch_defaults(method: Trained, name: str, _num_images: int, _steps: int) -> dict[str, Any]:
    """Of training from random weights: the rates of the backbone's family."""
    rates = FAMILIES[family(name)]
    optimizer = "sgd" if method.decoupled else rates.optimizer
    chosen = {"lr": rates.lr, "weight_decay": rates.weight_decay, "clip_norm": rates.clip_norm, "optimizer": optimizer}
    return {**chosen, **(speed_defaults(method) if family(name) == "speed" else {})}


def warmup_share(steps: int) -> float:
    """The share of the steps of a fine-tuning with a rising rate: 20 steps, at most a third.

    What warms up is the optimiser's idea of the gradients, which takes steps, not epochs.

    Example:
        >>> warmup_share(400), round(warmup_share(30), 2)
        (0.05, 0.33)
    """
    return min(WARMUP_STEPS, steps / 3) / steps


def speed_defaults(method: Trained) -> dict[str, Any]:
    """How speednet is trained, after Jordan 2024 (arXiv:2404.00498), sections 3.1 to 3.6 and the program airbench94."""
    mirrored = {} if method.flip is False else {"alternating_flip": True, "test_flip": True}
    return {
        "momentum": 0.85,
        "schedule": "triangular",
        "warmup": TRIANGLE_PEAK if method.schedule != "cosine" else 0.05,
        "norm_bias_lr": 64.0,
        "freeze_after": {"whitening_bias": 3},
        "lookahead": not method.ema,
        "ema": False,
        "label_smoothing": 0.2,
        "mixup": 0.0,
        "shift": 0.0625,  # 2 px of 32
        "test_shifts": True,
        **mirrored,
    }


def missing(settings: TrainingSettings, values: dict[str, Any]) -> dict[str, Any]:
    """The values for keys that the settings leave open."""
    return {key: value for key, value in values.items() if getattr(settings, key) is None}


DEFAULTS: dict[str, Callable[[Trained, str, int, int], dict[str, Any]]] = {
    "finetune": finetune_defaults,
    "scratch": scratch_defaults,
}
