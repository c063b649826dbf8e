"""What a training by steps does where its recipe leaves a key open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from transferkit.recipe import TrainingSettings


@dataclass(frozen=True)
class StepDefaults:
    """Values of the keys of `TrainingSettings` and of a method's own; None leaves a key open, as it is in the recipe.

    What stands here is what suits most; `training.defaults` and the method's module replace some of it.
    """

    epochs: int | None
    batch_size: int
    warmup: float
    ema: bool
    shift: float
    mixup: float = 0.0
    label_smoothing: float = 0.0
    schedule: Literal["cosine", "triangular"] = "cosine"
    momentum: float = 0.9
    lookahead: bool = False
    norm_bias_lr: float = 1.0
    freeze_after: Mapping[str, int] = field(default_factory=dict)
    alternating_flip: bool = False
    test_flip: bool = False
    test_shifts: bool = False
    optimizer: Literal["sgd", "adamw"] | None = None
    lr: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    refit: bool | None = None

    def fill(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with these values for keys that they leave open."""
        values = {key: value for key, value in vars(self).items() if value is not None}
        missing = {key: value for key, value in values.items() if getattr(settings, key) is None}
        return settings.model_copy(update=missing)
