"""How a run was made, as `run.facts` gives it and facts.json holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from transferkit.data.split_facts import SplitFacts
from transferkit.runtime.records import Measure, read_record, write_record

FORMAT = 1  # of a run's files; readers refuse a newer one
FILE = "facts.json"

Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Fingerprints:
    """Of the images of each part, with their labels."""

    train: str
    val: str
    test: str


@dataclass(frozen=True)
class ImageCounts:
    """How many images each part has."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class RunData:
    """The images of a run.

    Attributes:
        terms: Under which they may be used, where that is known.
        size_px: Height and width before they are prepared.
        parts: What train, val and test say of each other; None in runs of earlier versions.
    """

    name: str
    fingerprint: Fingerprints
    n: ImageCounts
    size_px: tuple[Positive, ...]
    terms: str | None = None
    parts: SplitFacts | None = None


@dataclass(frozen=True)
class GroupFacts:
    """One stage in the optimiser's eyes; see `ParameterGroup`. None where there is no rate."""

    stage: str
    parameters: int
    trainable: bool
    lr: float | None = None
    first_lr: float | None = None
    weight_decay: float | None = None
    batchnorm: str | None = None
    wakes_at: int | None = None
    sleeps_at: int | None = None
    trained: int | None = None


@dataclass(frozen=True)
class RunCosts:
    """What a run cost; None where it was not measured.

    Attributes:
        flops_per_image: Operations of one forward pass, two per multiply-add, without the head.
        steps: Gradient steps.
        training_flops: Operations of the whole fit.
        predicted_images_per_second: As `predict` asks the network.
        peak_memory_bytes: Of the GPU, or else of the process.
    """

    flops_per_image: float | None = None
    steps: int | None = None
    images_trained_on: int | None = None
    training_flops: float | None = None
    predicted_images_per_second: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class ProbeFacts:
    """A classifier on features: the probe itself, or the head that fine-tuning starts from.

    Attributes:
        classifier: Its kind, as in a recipe.
        C: Of a linear one, as `chosen_by` says, from the `grid`.
        on_boundary: Whether C lies at the grid's end.
        k: Of neighbours, with the `temperature` of their vote.
        images: How many it remembers or averages.
        distance: Of class means.
        statistics: Of the BatchNorm layers of a fine-tuning's start, with the `statistics_loss` of each that was tried.
    """

    classifier: str = "linear"
    C: float | None = None
    grid: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()
    validation_loss: tuple[Measure, ...] = ()
    on_boundary: bool = False
    chosen_by: str = "val"
    converged: bool | None = None
    k: int | None = None
    temperature: float | None = None
    images: int | None = None
    distance: str | None = None
    statistics: str | None = None
    statistics_loss: dict[str, Measure] | None = None


@dataclass(frozen=True)
class SettledRates:
    """The keys of a fine-tuning's recipe that its start decides about where they are left open."""

    batchnorm: Literal["train", "eval"]
    optimizer: Literal["sgd", "adamw"]
    lr: float
    clip_norm: float
    head_lr: float
    weight_decay: float
    head_scale: float = 1.0
    layer_decay: float = 1.0


@dataclass(frozen=True)
class FirstLoss:
    """Cross-entropy before the first step, of a random head of so many classes."""

    loss: Measure
    classes: Positive


@dataclass(frozen=True)
class MirrorLoss:
    """The share of val images that are no longer right when mirrored, with its interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class StartFacts:
    """What was seen when a training started; None where it was not asked."""

    first_loss: FirstLoss | None = None
    mirroring: MirrorLoss | None = None


@dataclass(frozen=True)
class RunFacts:
    """How a run was made.

    Attributes:
        seconds: Of each part of the work, by name.
        started: ISO 8601, UTC.
        notes: What a reader should know, one line each.
        test_openings: How often the test set was opened; None where that is not recorded.
        label_openings: How often more to check its labels.
        images_per_second: In training; None for a probe.
        frozen_verified: Whether stages were frozen, and hashed before and after.
        probe: None where nothing was solved.
        rates: Of a fine-tuning.
        input_reason: Why the input has its size, `input_px`.
        weights_px: The size that pretrained weights were made for, where that is known.
        start: Of a training by steps.
        chosen_from: How many runs val chose among, for a soup.
        asked: The keys of the recipe that were asked for, with their values, before every default was written out; None
            in runs of earlier versions.
    """

    seconds: dict[str, float]
    data: RunData
    format: int = 0
    command: str = ""
    started: str = ""
    notes: tuple[str, ...] = ()
    test_openings: int | None = None
    label_openings: int | None = None
    parameter_groups: tuple[GroupFacts, ...] = ()
    images_per_second: float | None = None
    frozen_verified: bool = False
    trained_parameters: int | None = None
    probe: ProbeFacts | None = None
    rates: SettledRates | None = None
    costs: RunCosts = RunCosts()
    input_reason: str = ""
    input_px: int | None = None
    weights_px: int | None = None
    start: StartFacts = StartFacts()
    chosen_from: int = 0
    asked: dict[str, str] | None = None

    @property
    def total_seconds(self) -> float:
        """Of the whole run."""
        return sum(self.seconds.values())

    @property
    def fit_seconds(self) -> float:
        """Of the fit alone."""
        return self.seconds["fit"]


def read_facts(folder: Path) -> RunFacts:
    """The facts in a run's folder.

    Raises:
        TransferkitError: If they are missing or damaged; says where.
    """
    return read_record(folder / FILE, RunFacts)


def write_facts(folder: Path, facts: RunFacts) -> None:
    """Leave facts in a run's folder as facts.json."""
    write_record(folder / FILE, facts)
