"""Rates of training from random weights: they depend on the family of the backbone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from transferkit.recipe import TrainingSettings
from transferkit.training.step_defaults import StepDefaults

TRIANGLE_PEAK = 0.23  # share of the steps (airbench94, Jordan 2024)


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
    "own": ScratchRates(2.8e-3, weight_decay=0.05, clip_norm=1.0, optimizer="adamw"),  # 1e-3 at 16 images a step
    "timm": ScratchRates(5e-4, weight_decay=0.05, clip_norm=1.0, optimizer="adamw"),
}


def scratch_defaults(method: TrainingSettings, usual: StepDefaults, family: str) -> StepDefaults:
    """With the rates of the backbone's family; of speednet, everything that its program sets."""
    rates = FAMILIES[family]
    defaults = replace(
        usual,
        lr=rates.lr,
        weight_decay=rates.weight_decay,
        clip_norm=rates.clip_norm,
        optimizer="sgd" if method.decoupled else rates.optimizer,
    )
    return speed_defaults(method, defaults) if family == "speed" else defaults


def speed_defaults(method: TrainingSettings, usual: StepDefaults) -> StepDefaults:
    """How speednet is trained, after Jordan 2024 (arXiv:2404.00498), sections 3.1 to 3.6 and the program airbench94."""
    mirrors = method.flip is not False
    return replace(
        usual,
        momentum=0.85,
        schedule="triangular",
        warmup=TRIANGLE_PEAK if method.schedule != "cosine" else 0.05,
        norm_bias_lr=64.0,
        freeze_after={"whitening_bias": 3},
        lookahead=not method.ema,
        ema=False,
        label_smoothing=0.2,
        mixup=0.0,
        shift=0.0625,  # 2 px of 32
        test_shifts=True,
        alternating_flip=mirrors,
        test_flip=mirrors,
    )
