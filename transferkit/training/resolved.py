"""A training with nothing left open: what the loop reads, made from settings whose defaults are all written out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from transferkit.data.augmentation import Wanted
from transferkit.recipe import MethodSettings
from transferkit.recipe.budget import Budget
from transferkit.recipe.budget import read as read_budget
from transferkit.runtime.errors import TransferkitError
from transferkit.training.balance import Balance
from transferkit.training.rates import coupled

Optimizer = Literal["sgd", "adamw"]
Average = Literal["none", "ema", "lookahead"]
WITHOUT_THE_KEY = {"layer_decay": 1.0, "l2_sp": 0.0, "gradual_unfreezing": False, "head": "random"}
NOTHING_OPEN: Mapping[str, Any] = MappingProxyType({})


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
    def of(cls, settings: MethodSettings) -> Mixing:
        """As the settings of a run say.

        Raises:
            TransferkitError: If they leave it open, or the method takes no steps.
        """
        return cls(**{field.name: written_out(dict(settings), field.name) for field in fields(cls)})


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
        stop_after: Epochs after which it stops, at rates that are those of its whole length; 0 is off.
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
    stop_after: int = 0

    @property
    def step_images(self) -> int:
        """Images of one step; fewer where there are fewer."""
        return self.batch_size * self.accumulate


def resolved_training(settings: MethodSettings, settled: Mapping[str, Any] = NOTHING_OPEN) -> ResolvedTraining:
    """The training that the settings of a resolved recipe mean; keys that a method lacks are off.

    Args:
        settings: As `training.defaults` completes them.
        settled: Keys that were left open until the fit, with their values.

    Raises:
        TransferkitError: If a key is still open; names it.
    """
    values = {**WITHOUT_THE_KEY, "head_lr": dict(settings).get("lr"), **dict(settings), **settled}
    special = {
        **rates_and_decay(values),
        "length": length_of(settings),
        "average": average_of(values),
        "mixing": Mixing.of(settings),
        "balance": balance_of(settings),
        "has_random_head": values["head"] == "random",
        "keep": "best" if values["patience"] else values["keep"],
        "patience": values["patience"] or 0,
        "stop_after": 0,
    }
    return ResolvedTraining(
        **{field.name: written_out(values | special, field.name) for field in fields(ResolvedTraining)}
    )


def balance_of(settings: MethodSettings) -> Balance:
    """What the settings of a run do about uneven classes."""
    return Balance(**{field.name: written_out(dict(settings), field.name) for field in fields(Balance)})


def length_of(settings: MethodSettings) -> Budget:
    """The epochs, or the budget, of settings that are complete.

    Raises:
        TransferkitError: If neither is given.
    """
    values = dict(settings)
    if values.get("budget") is not None:
        return read_budget(values["budget"])
    return Budget("epochs", written_out(values, "epochs"))


def rates_and_decay(values: Mapping[str, Any]) -> dict[str, float]:
    """Rates and decay as SGD and AdamW take them; those of body and head were given in one unit."""
    given = {key: float(written_out(values, key)) for key in ("lr", "head_lr", "weight_decay")}
    if not values["decoupled"]:
        return given
    momentum = written_out(values, "momentum")
    lr, weight_decay = coupled(given["lr"], given["weight_decay"], momentum)
    head_lr, _ = coupled(given["head_lr"], given["weight_decay"], momentum)
    return {"lr": lr, "head_lr": head_lr, "weight_decay": weight_decay}


def average_of(values: Mapping[str, Any]) -> Average:
    """Which weights are kept beside those in training; Lookahead's are an average too."""
    if written_out(values, "lookahead"):
        return "lookahead"
    return "ema" if written_out(values, "ema") else "none"


def written_out(values: Mapping[str, Any], key: str) -> Any:
    """The value of a key that a training needs.

    Raises:
        TransferkitError: If it is left open.
    """
    if values.get(key) is None:
        raise TransferkitError(
            f"The settings of {values.get('name', 'a training')} leave method.{key} open. Complete them by "
            "training.defaults.resolved(recipe, images, side), as a run does."
        )
    return values[key]
