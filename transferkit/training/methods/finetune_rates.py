"""Rates of fine-tuning: they depend on what is normalised how, which is known when the start is chosen."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from transferkit.models.classifier import Classifier
from transferkit.recipe import FinetuneSettings
from transferkit.runs.facts import SettledRates
from transferkit.training.methods.starting_point import Statistics, trained_batchnorms
from transferkit.training.rates import decoupled_rate
from transferkit.training.resolved import Optimizer, written_out


@dataclass(frozen=True)
class Rates:
    """What one optimiser needs.

    Attributes:
        lr: Peak rate of the body at batch 128.
        random_head_lr: Of a head with random weights; a probe's head has the body's.
        weight_decay: Of weights; norms and biases have none.
        clip_norm: Largest gradient norm; 0 is off.
        head_scale: What a probe's head is multiplied by.
        layer_decay: Rate of a stage relative to the next one; 1 is off.
        probe_head_lr: Of a probe's head, where it is not the body's.
    """

    lr: float
    random_head_lr: float
    weight_decay: float
    clip_norm: float
    head_scale: float = 1.0
    layer_decay: float = 1.0
    probe_head_lr: float | None = None


TRAINED_STATISTICS = {
    "sgd": Rates(lr=0.03, random_head_lr=0.1, weight_decay=5e-4, clip_norm=0.0, head_scale=0.3),
    "adamw": Rates(lr=2e-4, random_head_lr=2e-3, weight_decay=0.05, clip_norm=1.0, head_scale=0.3),
}
FIXED_STATISTICS = {
    "sgd": Rates(lr=0.01, random_head_lr=0.1, weight_decay=5e-4, clip_norm=1.0, head_scale=0.3),
    "adamw": Rates(lr=4e-4, random_head_lr=4e-3, weight_decay=0.05, clip_norm=1.0, head_scale=0.3),
}
TRANSFORMER = {
    "sgd": Rates(lr=0.01, random_head_lr=0.1, weight_decay=5e-4, clip_norm=1.0),
    "adamw": Rates(lr=5e-5, random_head_lr=5e-4, weight_decay=0.05, clip_norm=1.0, layer_decay=0.75),
}
UNTRAINED = {  # weights of one's own that know no more than random ones, without BatchNorm
    "sgd": Rates(lr=0.1, random_head_lr=0.1, weight_decay=5e-4, clip_norm=1.0, head_scale=0.3),
    "adamw": Rates(lr=2.8e-3, random_head_lr=2.8e-3, weight_decay=0.05, clip_norm=1.0),  # 1e-3 at 16 images a step
}
ADAPTED = {  # few numbers take larger steps; the head's are those of full tuning
    "bias": Rates(lr=2e-3, random_head_lr=4e-3, weight_decay=0.05, clip_norm=1.0, head_scale=0.3, probe_head_lr=4e-4),
    "norm": Rates(lr=2e-3, random_head_lr=4e-3, weight_decay=0.05, clip_norm=1.0, head_scale=0.3, probe_head_lr=4e-4),
}


def settled_rates(
    settings: FinetuneSettings, classifier: Classifier, statistics: Statistics, *, is_untrained: bool = False
) -> SettledRates:
    """Every rate, in the recipe's unit, as asked for or else as suits the start, and BatchNorm as the start has it."""
    trains = statistics == "re-estimated"
    without = UNTRAINED if is_untrained else TRANSFORMER
    by_optimizer = TRAINED_STATISTICS if trains else FIXED_STATISTICS if has_batchnorm(classifier) else without
    adapted = ADAPTED.get(settings.train)
    optimizer: Optimizer = settings.optimizer or ("sgd" if settings.decoupled or (trains and not adapted) else "adamw")
    rates = adapted if adapted and optimizer == "adamw" else by_optimizer[optimizer]
    lr = settings.lr or rates.lr
    defaults = SettledRates(
        batchnorm="train" if trains else "eval",
        optimizer=optimizer,
        lr=lr,
        head_lr=random_head_lr(settings, rates) if settings.head == "random" else rates.probe_head_lr or lr,
        weight_decay=rates.weight_decay,
        clip_norm=rates.clip_norm,
        head_scale=rates.head_scale if settings.head == "probe" else 1.0,
        layer_decay=rates.layer_decay,
    )
    keys = [field.name for field in fields(SettledRates) if field.name != "batchnorm"]
    asked = {key: getattr(settings, key) for key in keys if getattr(settings, key) is not None}
    settled = replace(defaults, **asked)
    return replace(settled, lr=settled.lr * settings.lr_factor, head_lr=settled.head_lr * settings.lr_factor)


def random_head_lr(settings: FinetuneSettings, rates: Rates) -> float:
    """What suits a head with random weights, in the unit in which the settings give the body's rate."""
    if not settings.decoupled:
        return rates.random_head_lr
    return decoupled_rate(rates.random_head_lr, written_out(settings, "momentum", settings.momentum))


def has_batchnorm(classifier: Classifier) -> bool:
    """Whether a stage that is trained has a BatchNorm layer."""
    return any(True for _ in trained_batchnorms(classifier))
