"""The loss of a training whose rate rises step by step, and the rates that it suggests; nothing is kept of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from transferkit import run as story
from transferkit.data import datasets
from transferkit.data.batches import ShiftAndFlip, TrainingBatches
from transferkit.data.images import Images
from transferkit.models.classifier import Classifier
from transferkit.recipe import FinetuneSettings, Recipe
from transferkit.runtime.console import Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.runtime.torch_compiler import take_step
from transferkit.training import ParameterGroup, ResolvedTraining, parameter_groups, resolved_training
from transferkit.training.loop import begun
from transferkit.training.methods import finetune_rates, starting_point
from transferkit.training.optimizers import clipped_norm, set_rates
from transferkit.training.step_loss import StepLoss

LOWEST, HIGHEST = 1e-7, 10.0  # rates tried; fastai's lr_find
STEPS = 100  # likewise
SMOOTHING = 0.98  # of the moving average of the loss; likewise
DIVERGED = 4.0  # times the best loss after which it stops; likewise
FEWEST = 12  # steps below which no rate can be read off


@dataclass(frozen=True, repr=False)
class RateRange:
    """What rising rates did to the loss.

    Attributes:
        backbone: Its name.
        rates: Of each step, as `lr` in a recipe.
        losses: Smoothed training loss after each.
        valley: The suggested rate, see `valley`.
        steepest: The rate at which the loss falls fastest, see `steepest`.
        default: What `finetune` would take.
    """

    backbone: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    valley: float
    steepest: float
    default: float

    def __repr__(self) -> str:
        """The suggestion."""
        return f"RateRange: {self.lines[0]}"

    def _repr_html_(self) -> str:
        """The page, for notebooks."""
        from transferkit.report.page import framed
        from transferkit.studies.lr_find.page import rate_page

        return framed(rate_page(self, "transferkit.lr_find(...)"))

    @property
    def lines(self) -> list[str]:
        """The finding in sentences."""
        return [
            f"Suggested rate of {self.backbone}: {self.valley:.2g} (valley, fastai's default rule). The loss falls "
            f"fastest at {self.steepest:.2g}; finetune would take {self.default:.2g}.",
            f"Read off {counted(len(self.rates), 'step')} on train at rates from {self.rates[0]:.2g} to "
            f"{self.rates[-1]:.2g} "
            "(Smith 2015, arXiv:1506.01186); no weights were kept. A hint, not a measurement: compare rates on val "
            "with transferkit tune.",
        ]


def find_rate(recipe: Recipe, console: Console, *, steps: int = STEPS) -> RateRange:
    """Train from the start of a fine-tuning at rates that rise from step to step; nothing of it is kept.

    Raises:
        TransferkitError: If the recipe, the data or the backbone do not allow it, or the loss diverges at once.
    """
    runtime = story.start_machine(recipe)
    splits = datasets.load(recipe.data, console)
    recipe, size = story.resolved(recipe, splits)
    settings = cast(FinetuneSettings, recipe.method)
    classifier = story.load_network(recipe, splits, size, console)
    context = Context(runtime, console, recipe.seed)
    classifier.freeze(classifier.stages_up_to(settings.freeze_to) if settings.freeze_to else ())
    start = starting_point.choose(classifier, splits, settings, context)
    rates = finetune_rates.settled_rates(settings, classifier, start.statistics, is_untrained=start.is_untrained)
    training = resolved_training(settings, rates)
    if training.has_random_head:
        start.put_random_head(classifier)
    else:
        start.put_probe(classifier, rates.head_scale, val_too=False)
    classifier.batchnorm_frozen = rates.batchnorm == "eval"
    groups = parameter_groups(classifier, training)
    tried, losses = range_test(classifier, splits.train, training, groups, context, steps)
    return RateRange(
        recipe.backbone.name, tuple(tried), tuple(losses), valley(tried, losses), steepest(tried, losses), rates.lr
    )


def range_test(
    classifier: Classifier,
    images: Images,
    settings: ResolvedTraining,
    groups: Sequence[ParameterGroup],
    context: Context,
    steps: int = STEPS,
) -> tuple[list[float], list[float]]:
    """Rates and smoothed losses of a training at rising rates; the classifier is as it was afterwards.

    Smith 2015 (arXiv:1506.01186), section 3.3, with rates in equal ratios as in fastai.

    Raises:
        TransferkitError: If it diverges within the first steps.
    """
    before = copy.deepcopy(classifier.state_dict())
    try:
        tried, losses = _rising(classifier, images, settings, groups, context, steps)
    finally:
        classifier.load_state_dict(before)
        classifier.eval()
    if len(losses) < FEWEST:
        raise TransferkitError(
            f"The loss diverged after {counted(len(losses), 'step')}, at a rate of "
            f"{tried[-1] if tried else LOWEST:.2g}: too few "
            "to read a rate off. Try --head probe, or --precision fp32."
        )
    return tried, losses


def _rising(
    classifier: Classifier,
    images: Images,
    settings: ResolvedTraining,
    groups: Sequence[ParameterGroup],
    context: Context,
    steps: int,
) -> tuple[list[float], list[float]]:
    training = begun(classifier, settings, groups, context.runtime)
    step_loss = StepLoss(settings.mixing, settings.batch_size, context.runtime, None)
    shares = np.geomspace(LOWEST, HIGHEST, steps) / settings.lr
    tried: list[float] = []
    losses: list[float] = []
    average = 0.0
    classifier.train()
    for number, (share, batch) in enumerate(zip(shares.tolist(), endless(images, settings, context), strict=False), 1):
        set_rates(training, share)
        loss = step_loss.backward(classifier, *batch)()
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth = average / (1 - SMOOTHING**number)
        if not math.isfinite(loss) or (losses and smooth > DIVERGED * min(losses)):
            break
        tried.append(share * settings.lr)
        losses.append(smooth)
        clipped_norm(training, settings.clip_norm or math.inf)
        take_step(training.optimizer)
    return tried, losses


def endless(images: Images, settings: ResolvedTraining, context: Context) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches, epoch after epoch."""
    moves = ShiftAndFlip(settings.shift, settings.flip, settings.alternating_flip)
    size, device = min(settings.step_images, len(images)), torch.device(context.runtime.device)
    batches = TrainingBatches(images, size, device, moves, context.seed, None, settings.augment)
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate in the middle third of the longest falling stretch of the loss, as fastai's `valley` takes it.

    fastai suggests by this rule unless asked otherwise.

    Example:
        >>> valley([1e-4, 1e-3, 1e-2, 1e-1, 1, 10], [5.0, 4.0, 3.0, 2.0, 1.0, 9.0])
        0.001
    """
    start, end = falling_stretch(losses)
    section = (end - start) / 3
    return rates[start + int(section) + int(section / 2)]


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the loss falls fastest over the logarithm of the rate (fastai's `steep`) in that stretch.

    Before it the average of few losses falls and rises by chance.

    Example:
        >>> steepest([1e-3, 1e-2, 1e-1, 1.0], [3.0, 2.9, 1.0, 0.9])
        0.01
    """
    start, end = falling_stretch(losses)
    slopes = np.gradient(np.asarray(losses), np.log10(np.asarray(rates)))
    return rates[start + int(slopes[start : end + 1].argmin())]


def falling_stretch(losses: Sequence[float]) -> tuple[int, int]:
    """Where the longest falling subsequence begins, by its length before its end, and where it ends.

    Example:
        >>> falling_stretch([5.0, 4.0, 3.0, 2.0, 1.0, 9.0]), falling_stretch([2.0, 1.0, 3.0, 2.9, 2.8, 2.7])
        ((0, 4), (1, 5))
    """
    longest = [1] * len(losses)
    for later in range(1, len(losses)):
        falls = (longest[earlier] + 1 for earlier in range(later) if losses[later] < losses[earlier])
        longest[later] = max(falls, default=1)
    end = max(range(len(losses)), key=longest.__getitem__)
    return max(0, end - longest[end]), end
