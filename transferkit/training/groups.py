"""The optimiser's parameter groups: one per stage, with rates of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from transferkit.models.classifier import Classifier
from transferkit.recipe import FinetuneSettings, ScratchSettings
from transferkit.runtime.errors import TransferkitError
from transferkit.training import rates

MOMENTUM = 0.9  # where the settings leave it open


@dataclass(frozen=True)
class ParameterGroup:
    """One stage in the optimiser's eyes; a frozen stage is listed too, with rate 0.

    Attributes:
        stage: Name of the stage.
        parameters: How many numbers it holds.
        lr: Peak rate; 0 where frozen.
        weight_decay: Of its weights; norms and biases have none.
        batchnorm: `train`, `eval`, or `-` where the stage has none.
        wakes_at: Epoch from which it is trained (gradual unfreezing); 0 from the start.
        sleeps_at: Epoch from which it is frozen; None for never.
        is_solved: Whether it is found by convex optimisation, without rate or steps.
    """

    stage: str
    parameters: int
    lr: float
    weight_decay: float
    batchnorm: str
    wakes_at: int = 0
    is_solved: bool = False
    sleeps_at: int | None = None

    @property
    def is_trained(self) -> bool:
        """Whether the fit changes it."""
        return self.lr > 0 or self.is_solved

    @property
    def state(self) -> str:
        """In a word: frozen, trained, solved, or from which epoch it is trained."""
        if self.is_solved:
            return "solved"
        if not self.is_trained:
            return "frozen"
        if self.sleeps_at is not None:
            return f"to epoch {self.sleeps_at}"
        return f"from epoch {self.wakes_at + 1}" if self.wakes_at else "trained"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        decay = self.weight_decay if self.lr else None
        rate = self.lr or None
        counted = {"stage": self.stage, "parameters": self.parameters, "trainable": self.is_trained}
        awake = {"wakes_at": self.wakes_at, "sleeps_at": self.sleeps_at}
        return {**counted, "lr": rate, "weight_decay": decay, "batchnorm": self.batchnorm, **awake}


def parameter_groups(classifier: Classifier, settings: FinetuneSettings | ScratchSettings) -> list[ParameterGroup]:
    """One group per stage in the order of the forward pass, with the rates the settings give it.

    SGD's rate is proportional to the batch (Goyal et al. 2017), AdamW's to its square root (Malladi et al. 2022,
    arXiv:2205.10287); it falls by `layer_decay` per stage below the head.
    """
    assert settings.lr is not None
    assert settings.batch_size is not None
    assert settings.weight_decay is not None
    scale = (settings.batch_size / rates.RATE_IMAGES) ** (0.5 if settings.optimizer == "adamw" else 1.0)
    lr, weight_decay = settings.lr, settings.weight_decay
    if settings.decoupled:
        lr, weight_decay = rates.coupled(lr, weight_decay, momentum(settings))
    head_rate = settings.head_lr if isinstance(settings, FinetuneSettings) and settings.head_lr else lr
    sleeps = settings.freeze_after or {}
    for stage in sleeps:
        classifier.require_stage(stage)
    decay = (settings.layer_decay or 1.0) if isinstance(settings, FinetuneSettings) else 1.0
    names = [*classifier.stages, "head"]
    wakes = waking_epochs(classifier, settings)
    groups = []
    for depth, name in enumerate(reversed(names)):
        rate = scale * (head_rate if name == "head" else lr * decay ** (depth - 1))
        rate = 0.0 if name in classifier.frozen else rate
        count = sum(value.numel() for value in classifier.stage_parameters(name).values())
        state = _batchnorm_state(classifier, name)
        awake: dict[str, Any] = {"wakes_at": wakes.get(name, 0), "sleeps_at": sleeps.get(name)}
        groups.append(ParameterGroup(name, count, rate, weight_decay, state, **awake))
    return groups[::-1]


def waking_epochs(classifier: Classifier, settings: FinetuneSettings | ScratchSettings) -> dict[str, int]:
    """The epoch from which each stage is trained that is not frozen, with gradual unfreezing; else nothing.

    Raises:
        TransferkitError: If the length is no number of epochs, by which the stages are woken.
    """
    if not isinstance(settings, FinetuneSettings) or not settings.gradual_unfreezing:
        return {}
    if settings.epochs is None:
        raise TransferkitError(
            f"--gradual-unfreezing wakes one more stage each epoch, and a budget of {settings.budget} has no number of "
            "epochs. Use --epochs instead of --budget, or leave --gradual-unfreezing out."
        )
    awake = [stage for stage in ("head", *reversed(classifier.stages)) if stage not in classifier.frozen]
    return dict(zip(awake, spread(len(awake), settings.epochs), strict=True))


def spread(stages: int, epochs: int) -> list[int]:
    """When each stage wakes, from the head down: one each epoch, or several where there are fewer epochs than stages.

    Example:
        >>> spread(4, 10), spread(4, 2), spread(5, 3)
        ([0, 1, 2, 3], [0, 0, 1, 1], [0, 0, 1, 1, 2])
    """
    return [min(depth, depth * epochs // stages) for depth in range(stages)]


def require_batch(groups: Sequence[ParameterGroup], batch_size: int) -> None:
    """Refuse steps of one image where BatchNorm learns: it would normalise the image by itself.

    Raises:
        TransferkitError: Says what to type.
    """
    if batch_size == 1 and any(group.batchnorm == "train" for group in groups):
        raise TransferkitError(
            "One image per step is too few for BatchNorm, which normalises by the images of a step. Use --batch-size "
            "16 or more; finetune also takes --batchnorm eval."
        )


def momentum(settings: FinetuneSettings | ScratchSettings) -> float:
    """Nesterov's, of SGD."""
    return MOMENTUM if settings.momentum is None else settings.momentum


def _batchnorm_state(classifier: Classifier, stage: str) -> str:
    roots = [module for _, module in classifier.stage_modules(stage)]
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for root in roots for module in root.modules()):
        return "-"
    return "eval" if stage in classifier.frozen or classifier.batchnorm_frozen else "train"
