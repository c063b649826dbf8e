"""Plain and residual networks of two depths, trained side by side: error on train and on unseen images, by epoch.

He et al. 2016 (CVPR, figures 1 and 6): the deeper plain network has the larger error on its own training images, so it
is not overfitting; the deeper residual network has not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transferkit.data import datasets
from transferkit.data.images import Images, Splits
from transferkit.recipe import Recipe, from_options
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.machine import Runtime
from transferkit.runtime.plurals import counted
from transferkit.studies.lab.answers import is_right
from transferkit.studies.lab.gradient_flow import BACKBONES, started
from transferkit.studies.lab.named_networks import require_backbone
from transferkit.training import parameter_groups, train

DATA_KEYS = ("data.val_fraction=0.5", "method.ema=false", "method.mixup=0")
MOST_JUDGED = 512  # train images whose error is measured after each epoch
KINDS = ("plain", "resnet")  # without shortcuts and with them: how the names begin


@dataclass(frozen=True)
class DepthSettings:
    """What is trained.

    Attributes:
        backbones: Names of networks, each trained from random weights.
        data: Name of a data set, or folder:PATH.
        epochs: Of each training.
        seeds: Repetitions: other weights and another order.
        size: Side of the input in px; None takes that of the images.
        threads: None for all usable cores.
    """

    backbones: Sequence[str] = BACKBONES
    data: str = "digits"
    epochs: int = 15
    seeds: int = 2
    size: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Curves:
    """The errors of one network, by seed and epoch, in [0, 1]; the first is that of the start.

    Attributes:
        train: On train images, in evaluation mode.
        unseen: On val images.
    """

    train: tuple[tuple[float, ...], ...]
    unseen: tuple[tuple[float, ...], ...]

    @property
    def last_train(self) -> float:
        """Mean over seeds, after the last epoch."""
        return statistics.fmean(curve[-1] for curve in self.train)

    @property
    def last_unseen(self) -> float:
        """Mean over seeds, after the last epoch."""
        return statistics.fmean(curve[-1] for curve in self.unseen)


@dataclass(frozen=True)
class DepthCurves:
    """All networks, on the same images.

    Attributes:
        data: Name of the data set.
        train_images: From which each network learns.
        train_judged: Train images whose error is measured.
        n: Unseen images; test stays sealed.
        epochs: Of each training.
        seeds: Trainings per network.
        device: Where, with threads.
        networks: By name.
    """

    data: str
    train_images: int
    train_judged: int
    n: int
    epochs: int
    seeds: int
    device: str
    networks: dict[str, Curves]

    @property
    def notes(self) -> str:
        """What the numbers rest on."""
        length = f"{counted(self.epochs, 'epoch')}, {counted(self.seeds, 'seed')}"
        judged = (
            f"errors on {self.train_judged:,} of {counted(self.train_images, 'train image')} and n = "
            f"{counted(self.n, 'val image')}"
        )
        return f"{self.data}, {length}; {judged}; {self.device}."

    @property
    def sentences(self) -> tuple[str, ...]:
        """Of each pair of depths, what all seeds agree on."""
        pairs = [pair for kind in KINDS if (pair := depths(self.networks, kind)) is not None]
        return tuple(in_words(shallow, deep, self.networks) for shallow, deep in pairs)


def depths(networks: dict[str, Curves], kind: str) -> tuple[str, str] | None:
    """The shallowest and the deepest network of a kind; None where there are not two.

    Example:
        >>> depths(dict.fromkeys(("plain56", "resnet20", "plain20")), "plain")
        ('plain20', 'plain56')
    """
    of_kind = sorted((name for name in networks if name.startswith(kind)), key=depth)
    return (of_kind[0], of_kind[-1]) if len(of_kind) > 1 else None


def depth(name: str) -> int:
    """Layers, by the name.

    Example:
        >>> depth("plain56"), depth("resnet-mini")
        (56, 0)
    """
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz-")
    return int(digits) if digits.isdigit() else 0


def in_words(shallow: str, deep: str, networks: dict[str, Curves]) -> str:
    """Whether the deeper network learns its own training images less well.

    Example:
        >>> shallow, deep = Curves(((0.9, 0.1),), ((0.9, 0.2),)), Curves(((0.9, 0.4),), ((0.9, 0.5),))
        >>> in_words("plain20", "plain56", {"plain20": shallow, "plain56": deep})
        'plain56 has the larger error on its own training images in 1 of 1 seed: 40.0 % against 10.0 % of plain20.'
    """
    pairs = list(zip(networks[shallow].train, networks[deep].train, strict=True))
    worse = sum(of_deep[-1] > of_shallow[-1] for of_shallow, of_deep in pairs)
    errors = f"{100 * networks[deep].last_train:.1f} % against {100 * networks[shallow].last_train:.1f} % of {shallow}"
    return (
        f"{deep} has the larger error on its own training images in {worse} of {counted(len(pairs), 'seed')}: {errors}."
    )


def recipe_of(name: str, settings: DepthSettings, seed: int) -> Recipe:
    """The training from scratch of one network.

    Raises:
        TransferkitError: For an unknown network or data set.
    """
    require_backbone(name)
    options = {"epochs": settings.epochs, "seed": seed, "size": settings.size}
    return from_options("scratch", name, settings.data, options, DATA_KEYS, "transferkit lab depth")


def measure(settings: DepthSettings, console: Console) -> DepthCurves:
    """Train every network with every seed; val judges, and test stays sealed.

    Raises:
        TransferkitError: For an unknown network or data set, before any training.
    """
    names = tuple(dict.fromkeys(settings.backbones))
    recipes = {name: [recipe_of(name, settings, seed) for seed in range(settings.seeds)] for name in names}
    runtime = machine.start("cpu", "fp32", settings.threads)
    splits = datasets.load(recipes[names[0]][0].data, console)
    for first, *_ in recipes.values():
        started(first, splits.train, runtime)  # refuses a size that does not suit before any training
    judged = splits.train.subset(np.unique(np.linspace(0, len(splits.train) - 1, MOST_JUDGED).astype(int)))
    networks = {}
    with console.progress("training", settings.seeds * len(names), "networks") as progress:
        for name, of_seeds in recipes.items():
            curves = []
            for recipe in of_seeds:
                curves.append(trained(recipe, splits, judged, runtime))
                progress.advance(1)
            networks[name] = Curves(*zip(*curves, strict=True))
    size = len(splits.train), len(judged), len(splits.val)
    return DepthCurves(settings.data, *size, settings.epochs, settings.seeds, runtime.notes[0], networks)


def trained(
    recipe: Recipe, splits: Splits, judged: Images, runtime: Runtime
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Errors on train and on unseen images at the start and after each epoch of one training."""
    classifier, training = started(recipe, splits.train, runtime)
    errors: list[tuple[float, float]] = []

    def note_epoch(_: Any) -> None:
        rights = [is_right(classifier, images, runtime.device) for images in (judged, splits.val)]
        errors.append((1 - float(rights[0].mean()), 1 - float(rights[1].mean())))

    context = replace(Context(runtime, SILENT, recipe.seed), note_epoch=note_epoch)
    groups = parameter_groups(classifier, training)
    train(classifier, splits.train, splits.train.subset([]), training, groups, context)
    on_train, on_unseen = zip(*errors, strict=True)
    return on_train, on_unseen
