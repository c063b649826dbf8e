"""A training with nothing left open: what the loop reads, made from settings whose defaults are all written out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from transferkit.data.augmentation import Wanted
from transferkit.recipe import MethodSettings, TrainingSettings
from transferkit.recipe.budget import Budget
from transferkit.recipe.budget import read as read_budget
from transferkit.runs.facts import SettledRates
from transferkit.runtime.errors import TransferkitError
from transferkit.training.balance import Balance
from transferkit.training.rates import coupled

Optimizer = Literal["sgd", "adamw"]
Average = Literal["none", "ema", "lookahead"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Mixing:
    """What becomes of a batch's images and labels.

    Attributes:
        mixup: alpha of the Beta distribution; 0 is off.
        cutmix: Likewise.
        label_smoothing: In [0, 1).
    """

    mixup: float
    cutmix: float
    label_smoothing: float

    @classmethod
    def of(cls, settings: TrainingSettings) -> Mixing:
        """As the settings of a run say.

        Raises:
            TransferkitError: If they leave it open.
        """
        return cls(
            mixup=written_out(settings, "mixup", settings.mixup),
            cutmix=settings.cutmix,
            label_smoothing=written_out(settings, "label_smoothing", settings.label_smoothing),
        )


@dataclass(frozen=True)
class ResolvedTraining:
    """How a classifier is trained by gradient steps, every value settled.

    Attributes:
        length: In epochs, steps or seconds.
        keep: Which epoch's weights are the result.
        patience: Epochs without a better one on val after which it stops; 0 is off.
        batch_size: Images per pass; fewer where there are fewer.
        accumulate: Passes per step.
        optimizer: SGD has Nesterov momentum.
        lr: Peak rate of the body at batch 128.
        head_lr: That of the head.
        weight_decay: Of weights; norms and biases have none.
        layer_decay: Rate of a stage relative to the next one; 1 is off.
        momentum: Of SGD.
        norm_bias_lr: Rate of BatchNorm's biases, as a multiple of lr.
        clip_norm: Largest gradient norm; 0 is off.
        schedule: Of the rate.
        warmup: Share of the steps with a rising rate.
        average: Weights that are kept beside those in training.
        l2_sp: Pull towards the starting weights; 0 is off.
        gradual_unfreezing: Whether stages wake one after the other, from the head down.
        freeze_after: Epochs after which stages are frozen.
        mixing: Of the images and labels of a batch.
        balance: What is done about classes with few images.
        flip: Whether images are mirrored at random.
        alternating_flip: In every second epoch instead.
        shift: Random crop after padding by this share of the side.
        augment: What else becomes of images: strengths by name, or a function of the user's own.
        test_flip: Whether the mirror image is predicted from too.
        test_shifts: Whether moved images are.
        has_random_head: Whether the head is one that knows nothing yet.
        start_px: Input side of the first epochs; 0 where it is the same in all.
        stop_after: Epochs after which it stops, at rates that are those of its whole length; 0 is off.
        sync_batchnorm: Whether BatchNorm normalises by the images of all processes.
    """

    length: Budget
    keep: Literal["last", "best"]
    patience: int
    batch_size: int
    accumulate: int
    optimizer: Optimizer
    lr: float
    head_lr: float
    weight_decay: float
    layer_decay: float
    momentum: float
    norm_bias_lr: float
    clip_norm: float
    schedule: str
    warmup: float
    average: Average
    l2_sp: float
    gradual_unfreezing: bool
    freeze_after: Mapping[str, int]
    mixing: Mixing
    balance: Balance
    flip: bool
    alternating_flip: bool
    shift: float
    augment: Wanted
    test_flip: bool
    test_shifts: bool
    has_random_head: bool
    start_px: int = 0
    stop_after: int = 0
    sync_batchnorm: bool = False

    @property
    def step_images(self) -> int:
        """Images of one step; fewer where there are fewer."""
        return self.batch_size * self.accumulate


def resolved_training(settings: MethodSettings, settled: SettledRates | None = None) -> ResolvedTraining:
    """The training that the settings of a resolved recipe mean; keys that a method lacks are off.

    Args:
        settings: As `training.defaults` completes them.
        settled: Keys that were left open until the fit, with their values.

    Raises:
        TransferkitError: If a key is still open; names it.
    """
    training, start = steps_of(settings), steps_of(settings).start
    rates = _in_one_unit(training, settled or _rates_of(training))
    return ResolvedTraining(
        optimizer=rates.optimizer,
        lr=rates.lr,
        head_lr=rates.head_lr,
        weight_decay=rates.weight_decay,
        layer_decay=rates.layer_decay,
        clip_norm=rates.clip_norm,
        length=length_of(training),
        keep="best" if training.patience else training.keep,
        patience=training.patience or 0,
        batch_size=written_out(training, "batch_size", training.batch_size),
        accumulate=training.accumulate,
        momentum=written_out(training, "momentum", training.momentum),
        norm_bias_lr=written_out(training, "norm_bias_lr", training.norm_bias_lr),
        schedule=written_out(training, "schedule", training.schedule),
        warmup=written_out(training, "warmup", training.warmup),
        average=average_of(training),
        l2_sp=start.l2_sp,
        gradual_unfreezing=start.gradual_unfreezing,
        freeze_after=written_out(training, "freeze_after", training.freeze_after),
        mixing=Mixing.of(training),
        balance=balance_of(training),
        flip=written_out(training, "flip", training.flip),
        alternating_flip=written_out(training, "alternating_flip", training.alternating_flip),
        shift=written_out(training, "shift", training.shift),
        augment=training.augment,
        test_flip=written_out(training, "test_flip", training.test_flip),
        test_shifts=written_out(training, "test_shifts", training.test_shifts),
        has_random_head=start.has_random_head,
        start_px=training.start_size or 0,
        sync_batchnorm=training.sync_batchnorm,
    )


def steps_of(settings: MethodSettings) -> TrainingSettings:
    """The keys of the gradient steps of a method.

    Raises:
        TransferkitError: If it takes none.
    """
    if (training := settings.training) is None:
        raise TransferkitError(
            f"The method {settings.name} takes no gradient steps. Expected one that trains by steps."
        )
    return training


def balance_of(settings: TrainingSettings) -> Balance:
    """What the settings of a run do about uneven classes."""
    return Balance(settings.class_weight, settings.sampler, settings.logit_adjustment)


def length_of(settings: TrainingSettings) -> Budget:
    """The epochs, or the budget, of settings that are complete.

    Raises:
        TransferkitError: If neither is given.
    """
    if settings.budget is not None:
        return read_budget(settings.budget)
    return Budget("epochs", written_out(settings, "epochs", settings.epochs))


def _rates_of(settings: TrainingSettings) -> SettledRates:
    """The rates that the settings themselves give, in their unit."""
    return SettledRates(
        batchnorm="train",
        lr=written_out(settings, "lr", settings.lr),
        head_lr=written_out(settings, "head_lr", settings.start.head_lr),
        weight_decay=written_out(settings, "weight_decay", settings.weight_decay),
        optimizer=written_out(settings, "optimizer", settings.optimizer),
        clip_norm=written_out(settings, "clip_norm", settings.clip_norm),
        layer_decay=written_out(settings, "layer_decay", settings.start.layer_decay),
    )


def _in_one_unit(settings: TrainingSettings, rates: SettledRates) -> SettledRates:
    """Rates and decay as SGD and AdamW take them; those of body and head were given in one unit."""
    if not settings.decoupled:
        return rates
    momentum = written_out(settings, "momentum", settings.momentum)
    lr, weight_decay = coupled(rates.lr, rates.weight_decay, momentum)
    head_lr, _ = coupled(rates.head_lr, rates.weight_decay, momentum)
    return replace(rates, lr=lr, head_lr=head_lr, weight_decay=weight_decay)


def average_of(settings: TrainingSettings) -> Average:
    """Which weights are kept beside those in training; Lookahead's are an average too."""
    if written_out(settings, "lookahead", settings.lookahead):
        return "lookahead"
    return "ema" if written_out(settings, "ema", settings.ema) else "none"


def written_out(settings: MethodSettings, key: str, value: Value | None) -> Value:
    """The value of a key that a training needs.

    Raises:
        TransferkitError: If it is left open.
    """
    if value is None:
        raise TransferkitError(
            f"The settings of {settings.name} leave method.{key} open. Complete them by "
            "training.defaults.resolved(recipe, images, side), as a run does."
        )
    return value
