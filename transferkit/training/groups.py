"""The optimiser's parameter groups: one per stage, with rates of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from transferkit.models.classifier import Classifier
from transferkit.recipe.budget import Budget
from transferkit.runs.facts import GroupFacts
from transferkit.runtime.errors import TransferkitError
from transferkit.training import rates
from transferkit.training.resolved import ResolvedTraining


@dataclass(frozen=True)
class ParameterGroup:
    """One stage in the optimiser's eyes; a frozen stage is listed too, with rate 0.

    Attributes:
        stage: Name of the stage.
        parameters: How many numbers it holds.
        lr: Peak rate of its last layer; 0 where frozen.
        weight_decay: Of its weights; norms and biases have none.
        batchnorm: `train`, `eval`, or `-` where the stage has none.
        wakes_at: Epoch from which it is trained (gradual unfreezing); 0 from the start.
        sleeps_at: Epoch from which it is frozen; None for never.
        is_solved: Whether it is found by convex optimisation, without rate or steps.
        sleeps_at: Epoch from which it is frozen; None for never.
        layers: In how many steps its rate falls from its last layer to its first.
        layer_decay: Rate of a layer relative to the next one.
        trained: How many numbers an adapter trains of it; None where it is all or none.
    """

    stage: str
    parameters: int
    lr: float
    weight_decay: float
    batchnorm: str
    wakes_at: int = 0
    is_solved: bool = False
    sleeps_at: int | None = None
    layers: int = 1
    layer_decay: float = 1.0
    trained: int | None = None

    @property
    def first_lr(self) -> float:
        """Peak rate of its first layer."""
        return float(self.lr * self.layer_decay ** (self.layers - 1))

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
        if self.trained is not None:
            return f"{self.trained:,} trained"
        return f"from epoch {self.wakes_at + 1}" if self.wakes_at else "trained"

    @property
    def facts(self) -> GroupFacts:
        """What the report says of it."""
        return GroupFacts(
            stage=self.stage,
            parameters=self.parameters,
            trainable=self.is_trained,
            lr=self.lr or None,
            first_lr=self.first_lr or None,
            weight_decay=self.weight_decay if self.lr else None,
            batchnorm=self.batchnorm,
            trained=self.trained,
            wakes_at=self.wakes_at,
            sleeps_at=self.sleeps_at,
        )


def parameter_groups(classifier: Classifier, settings: ResolvedTraining) -> list[ParameterGroup]:
    """One group per stage in the order of the forward pass, with the rates the settings give it.

    SGD's rate is proportional to the images of a step (Goyal et al. 2017), AdamW's to their square root (Malladi et al.
    2022, arXiv:2205.10287); it falls by `layer_decay` per layer below the head (Clark et al. 2020, arXiv:2003.10555).
    """
    for stage in settings.freeze_after:
        classifier.require_stage(stage)
    wakes = waking_epochs(classifier, settings.length) if settings.gradual_unfreezing else {}
    return [_group(classifier, stage, settings, wakes.get(stage, 0)) for stage in (*classifier.stages, "head")]


def _group(classifier: Classifier, stage: str, settings: ResolvedTraining, wakes_at: int) -> ParameterGroup:
    parameters = classifier.stage_parameters(stage)
    trained = {name: value for name, value in parameters.items() if classifier.is_trained(name)}
    depths = set(classifier.layers_above(trained).values())
    return ParameterGroup(
        stage=stage,
        parameters=sum(value.numel() for value in parameters.values()),
        lr=0.0 if not depths else peak_rate(settings, min(depths)),
        weight_decay=settings.weight_decay,
        batchnorm=_batchnorm_state(classifier, stage),
        wakes_at=wakes_at,
        sleeps_at=settings.freeze_after.get(stage),
        layers=len(depths),
        layer_decay=settings.layer_decay,
        trained=sum(value.numel() for value in trained.values())
        if classifier.adapted is not None and stage != "head"
        else None,
    )


def peak_rate(settings: ResolvedTraining, depth: int) -> float:
    """The largest rate of a layer so far below the head, which is at depth 0."""
    scale: float = (settings.step_images / rates.RATE_IMAGES) ** (0.5 if settings.optimizer == "adamw" else 1.0)
    lr: float = settings.lr * settings.layer_decay ** (depth - 1) if depth else settings.head_lr
    return scale * lr


def waking_epochs(classifier: Classifier, length: Budget) -> dict[str, int]:
    """With gradual unfreezing, the epoch from which each stage is trained that is not frozen.

    Raises:
        TransferkitError: If the length is no number of epochs, by which the stages are woken.
    """
    if length.kind != "epochs":
        raise TransferkitError(
            f"--gradual-unfreezing wakes one more stage each epoch, and a budget of {length.text} has no number of "
            "epochs. Use --epochs instead of --budget, or leave --gradual-unfreezing out."
        )
    awake = [stage for stage in ("head", *reversed(classifier.stages)) if stage not in classifier.frozen]
    return dict(zip(awake, spread(len(awake), int(length.amount)), strict=True))


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


def _batchnorm_state(classifier: Classifier, stage: str) -> str:
    roots = [module for _, module in classifier.stage_modules(stage)]
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for root in roots for module in root.modules()):
        return "-"
    return "eval" if stage in classifier.frozen or classifier.batchnorm_frozen else "train"
