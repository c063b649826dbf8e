"""What kernel, stride, padding, pooling and features of a small CNN are good for, and what each costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from transferkit.data import datasets
from transferkit.data.images import Splits
from transferkit.metrics.statistics import holm, paired_difference, wilson
from transferkit.models.classifier import Classifier
from transferkit.models.receptive_fields import total_flops
from transferkit.recipe import Recipe, from_options
from transferkit.runtime import machine
from transferkit.runtime.array_types import Bools
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.machine import Runtime
from transferkit.runtime.plurals import counted
from transferkit.studies.lab.answers import is_right
from transferkit.studies.lab.gradient_flow import started
from transferkit.training import parameter_groups, train

REFERENCE = ("blocks=2", "features=8", "dense=32")  # kernel 3, stride 1, zeros around, max pooling
ONE_AT_A_TIME: tuple[tuple[str, ...], ...] = (
    *((), ("kernel=1",), ("kernel=5",)),
    *(("padding=0",), ("padding_mode=constant",), ("padding_mode=reflect",), ("padding_mode=replicate",)),
    *(("pool=average",), ("pool=none",), ("pool=none", "stride=2")),
    *(("features=4",), ("features=16",)),
)
DRAWN = ("data.plain=true", "data.size=16", "data.per_class=300", "data.test_fraction=0.05", "data.val_fraction=0.4")
OTHERS = ("data.val_fraction=0.5",)
TRAINING = ("method.batch_size=32", "method.lr=0.2", "method.ema=false", "method.mixup=0", "method.shift=0")
MOST_NETWORKS = 200
ALPHA = 0.05


@dataclass(frozen=True)
class GridSettings:
    """What is trained.

    Attributes:
        keys: `key=value,value` of simple-cnn, all of whose combinations are trained; none: one change at a time.
        data: Name of a data set, or folder:PATH; None: shapes, white on black, 16 px.
        epochs: Of each training.
        seeds: Repetitions: other weights and another order.
        threads: None for all usable cores.
    """

    keys: Sequence[str] = ()
    data: str | None = None
    epochs: int = 8
    seeds: int = 3
    threads: int | None = None


@dataclass(frozen=True)
class GridRow:
    """One network of the grid.

    Attributes:
        name: Its keys, or `reference`.
        accuracies: On val, one per seed, in [0, 1].
        difference: Mean accuracy minus that of the first row; None for the first row itself, and for one seed.
        interval: Its 95 % interval over seeds and images.
        differs: Whether the difference is beyond chance: Holm's p over all rows is below 0.05.
        macs: Multiply-adds for one image.
        parameters: Weights and biases.
        seconds: Of one training, median over seeds.
    """

    name: str
    accuracies: tuple[float, ...]
    difference: float | None
    interval: tuple[float, float] | None
    differs: bool
    macs: int
    parameters: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.accuracies)


@dataclass(frozen=True)
class ConvolutionGrid:
    """All networks of the grid, on the same images.

    Attributes:
        data: The data set in words.
        train_images: From which each network learns.
        n: Val images, by which it is judged; test stays sealed.
        epochs: Of each training.
        seeds: Trainings per network.
        device: Where, with threads.
        rows: In the order asked for, the reference first.
        refused: Networks that cannot be built, with the reason.
    """

    data: str
    train_images: int
    n: int
    epochs: int
    seeds: int
    device: str
    rows: tuple[GridRow, ...]
    refused: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the table rests on, and what could not be built."""
        length = f"{counted(self.epochs, 'epoch')}, {counted(self.seeds, 'seed')}"
        what = f"{counted(self.train_images, 'image')} of {self.data}, {length}"
        judged = f"Accuracy: mean over seeds, n = {counted(self.n, 'val image')}; s: of one training"
        points = f"points: against {self.rows[0].name}, over seeds and images"
        return (
            f"{what}; {self.device}. {judged}; {points}.",
            *(f"{name} cannot be built: {why}" for name, why in self.refused.items()),
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, and nothing more."""
        first = self.rows[0]
        low, high = wilson(round(first.accuracy * self.n), self.n).bounds
        lead = (
            f"{first.name}: {percent(first.accuracy)} ({percent(low)} to {percent(high)} on other images like these)."
        )
        differing = [row for row in self.rows[1:] if row.differs]
        changes = [f"{row.name}: {change(row)}." for row in differing] or ["No change is beyond chance."]
        equal = [row.name for row in self.rows[1:] if not row.differs]
        together = f"all {len(self.rows) - 1} changes taken together (Holm), while ± in the table is of its row alone"
        rest = [f"Not told apart from {first.name}: {'; '.join(equal)}; {together}."] if differing and equal else []
        return (
            (lead, *changes, *rest)
            if self.seeds > 1
            else (lead, "One seed tells no difference: use --seeds 2 or more.")
        )


def percent(share: float) -> str:
    """A share for reading.

    Example:
        >>> percent(0.6125)
        '61.3 %'
    """
    return f"{100 * share:.1f} %"


def change(row: GridRow) -> str:
    """How a row differs from the first one, in points."""
    assert row.difference is not None
    assert row.interval is not None
    low, high = sorted(abs(100 * bound) for bound in row.interval)
    return (
        f"{abs(100 * row.difference):.1f} points {'more' if row.difference > 0 else 'less'} ({low:.1f} to {high:.1f})"
    )


def variants(keys: Sequence[str]) -> list[tuple[str, ...]]:
    """The networks of a grid, as keys of simple-cnn: all combinations, or one change at a time.

    Example:
        >>> variants(["kernel=3,5", "pool=max,none"])
        [('kernel=3', 'pool=max'), ('kernel=3', 'pool=none'), ('kernel=5', 'pool=max'), ('kernel=5', 'pool=none')]

    Raises:
        TransferkitError: If a key has no value, or there are too many combinations.
    """
    if not keys:
        return list(ONE_AT_A_TIME)
    grid = list(product(*(values_of(key) for key in keys)))
    if len(grid) > MOST_NETWORKS:
        raise TransferkitError(
            f"The grid has {counted(len(grid), 'network')}. Give fewer values: at most {MOST_NETWORKS}."
        )
    return grid


def values_of(text: str) -> list[str]:
    """`kernel=3,5` as its two settings.

    Raises:
        TransferkitError: If it is not a key with values.
    """
    key, equals, values = text.removeprefix("backbone.").partition("=")
    if not equals or not key or not all(value.strip() for value in values.split(",")):
        raise TransferkitError(f"Cannot read {quoted(text)}. Expected KEY=VALUE,VALUE, as in kernel=1,3,5 or pool=max.")
    return [f"{key}={value.strip()}" for value in values.split(",")]


def recipe_of(keys: Sequence[str], settings: GridSettings, seed: int) -> Recipe:
    """The training of one network.

    Raises:
        TransferkitError: If simple-cnn has no such key or value.
    """
    data_keys = DRAWN if settings.data is None else OTHERS
    network = [f"backbone.{key}" for key in (*REFERENCE, *keys)]
    options = {"epochs": settings.epochs, "seed": seed, "precision": "fp32"}
    overrides = (*data_keys, *TRAINING, *network)
    return from_options(
        "scratch", "simple-cnn", settings.data or "shapes", options, overrides, "transferkit lab convolution"
    )


@dataclass(frozen=True)
class GridTraining:
    """One network trained with one seed: which val images it gets right, and the seconds of its steps."""

    is_right: Bools
    seconds: float


def measure(settings: GridSettings, console: Console) -> ConvolutionGrid:
    """Train every network of the grid with every seed; val judges, and test stays sealed.

    Raises:
        TransferkitError: For an unknown key, value or data set, before any training; if no network can be built.
    """
    grid = [
        (keys, [recipe_of(keys, settings, seed) for seed in range(settings.seeds)]) for keys in variants(settings.keys)
    ]
    runtime = machine.start("cpu", "fp32", settings.threads)
    splits = datasets.load(grid[0][1][0].data, console)
    named = {title(keys): recipes for keys, recipes in grid}
    networks, refused = built(named, splits, runtime)
    trainings: dict[str, list[GridTraining]] = {name: [] for name in networks}
    with console.progress("training", settings.seeds * len(networks), "networks") as progress:
        for seed in range(settings.seeds):  # seed by seed, so that a busy minute falls on all networks
            for name in networks:
                trainings[name].append(trained(named[name][seed], splits, runtime))
                progress.advance(1)
    description = "shapes, white on black, 16 px" if settings.data is None else settings.data
    return ConvolutionGrid(
        description,
        len(splits.train),
        len(splits.val),
        settings.epochs,
        settings.seeds,
        runtime.notes[0],
        tuple(rows(networks, trainings, min(splits.train.size_px))),
        refused,
    )


def title(keys: Sequence[str]) -> str:
    """The name of a network.

    Example:
        >>> title(()), title(("pool=none", "stride=2"))
        ('reference', 'pool=none stride=2')
    """
    return " ".join(keys) or "reference"


def built(
    named: dict[str, list[Recipe]], splits: Splits, runtime: Runtime
) -> tuple[dict[str, Classifier], dict[str, str]]:
    """The networks that can be built, and why the others cannot.

    Raises:
        TransferkitError: If none can; the reason of the first.
    """
    networks, refused = {}, {}
    for name, recipes in named.items():
        try:
            networks[name] = started(recipes[0], splits.train, runtime)[0]
        except TransferkitError as error:
            refused[name] = str(error)
    if not networks:
        raise TransferkitError(next(iter(refused.values())))
    return networks, refused


def trained(recipe: Recipe, splits: Splits, runtime: Runtime) -> GridTraining:
    """One network with one seed."""
    classifier, training = started(recipe, splits.train, runtime)
    groups = parameter_groups(classifier, training)
    nothing = splits.train.subset([])
    history = train(classifier, splits.train, nothing, training, groups, Context(runtime, SILENT, recipe.seed))
    return GridTraining(
        is_right(classifier, splits.val, runtime.device), sum(epoch.seconds or 0.0 for epoch in history)
    )


def rows(networks: dict[str, Classifier], trainings: dict[str, list[GridTraining]], size_px: int) -> Iterator[GridRow]:
    """A row per network; each but the first is compared with the first."""
    right = {name: np.stack([training.is_right for training in made]) for name, made in trainings.items()}  # (S, N)
    first, *others = right
    has_seeds = len(right[first]) > 1
    pairs = {name: paired_difference(right[name], right[first], "seeds") for name in others} if has_seeds else {}
    adjusted = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    for name, network in networks.items():
        pair = pairs.get(name)
        yield GridRow(
            name,
            tuple(right[name].mean(1).tolist()),
            pair.difference if pair else None,
            (pair.interval.low, pair.interval.high) if pair else None,
            differs=adjusted.get(name, 1.0) < ALPHA,
            macs=multiply_adds(network, size_px),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            seconds=statistics.median(training.seconds for training in trainings[name]),
        )


def multiply_adds(network: Classifier, size_px: int) -> int:
    """Of one image, of convolutions and dense layers, the head among them."""
    return total_flops(network.body, size_px) // 2 + network.num_features * len(network.class_names)
