"""What a run's evaluation found, as `run.evaluation` gives it and evaluation.json holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from transferkit.metrics.statistics import Bounds
from transferkit.runtime.json_files import SCHEMAS
from transferkit.runtime.records import Measure, read_result_record, write_record

FILE = "evaluation.json"


@dataclass(frozen=True)
class Accuracy:
    """A share of images that is right, in [0, 1], with n and its 95 % interval."""

    n: int
    accuracy: float
    interval: Bounds


# ---- the test set, class by class and image by image ----


@dataclass(frozen=True)
class Commonest:
    """The model against always answering the commonest class of the test images.

    Attributes:
        class_name: That class.
        accuracy: Of that answer, in [0, 1].
        only_model: Images that the model alone gets right.
        only_answer: Images that the one answer alone gets right.
        p: McNemar's, mid-p.
        is_beaten: Whether the model is shown to be better.
    """

    class_name: Annotated[str, Field(alias="class")]
    accuracy: float
    only_model: int
    only_answer: int
    p: float
    is_beaten: bool


@dataclass(frozen=True)
class TopConfusion:
    """The other class that a class was given most often, and for how many images."""

    name: str
    n: int


@dataclass(frozen=True)
class ClassResult:
    """One class of the test set; None where a number is not defined.

    Attributes:
        n: Test images of the class.
        precision: Share of the images given this class that is right, with Wilson's interval.
        recall: Share of the class's images that is found, likewise.
        f1: Harmonic mean of the two.
        top_confusion: None where no image of the class was given another.
    """

    name: str
    n: int
    precision: float | None
    precision_interval: Bounds | None
    recall: float | None
    recall_interval: Bounds | None
    f1: float | None
    f1_interval: Bounds | None
    top_confusion: TopConfusion | None

    @property
    def shares(self) -> tuple[tuple[float | None, Bounds | None], ...]:
        """Recall, precision and F1, each with its interval."""
        recall, precision = (self.recall, self.recall_interval), (self.precision, self.precision_interval)
        return recall, precision, (self.f1, self.f1_interval)


@dataclass(frozen=True)
class ConfusedPair:
    """How many images of class `true` were given class `predicted`, and which share of `true` that is."""

    true: str
    predicted: str
    n: int
    share: float


@dataclass(frozen=True)
class ScoredImage:
    """One test image: its position in the outputs, its id, label, answer and confidence."""

    index: int
    id: str
    true: str
    predicted: str
    confidence: float


# ---- confidence ----


@dataclass(frozen=True)
class CalibrationBin:
    """Images whose confidence lies in (low, high]: their mean confidence, and their accuracy with its interval."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: Bounds


@dataclass(frozen=True)
class ClassCalibration:
    """The images given one class.

    Attributes:
        confidence: Their mean confidence.
        accuracy: Share of them that is right, with its interval.
        gap: confidence - accuracy; above 0 the answers are overconfident.
    """

    name: str
    n: int
    confidence: float
    accuracy: float
    interval: Bounds
    gap: float

    @property
    def gap_interval(self) -> Bounds:
        """Of the gap, from that of the accuracy."""
        low, high = self.interval
        return self.confidence - high, self.confidence - low


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be believed, before and after the temperature that val asks for.

    Attributes:
        debiased_rms: None where every bin has a single image.
        ece_if_calibrated: The 95 % of values that chance gives a calibrated classifier; None without images.
        temperature: None without val images.
        nll_with_temperature: The same number with it, as all that end so; None without one.
    """

    nll: Measure
    brier: Measure
    ece: Measure
    ece_equal_mass: Measure
    debiased_rms: float | None
    classwise_ece: Measure
    signed_overconfidence: Measure
    ece_if_calibrated: Bounds | None
    ece_equal_mass_if_calibrated: Bounds | None
    temperature: float | None
    temperature_interval: Bounds | None
    reliability: tuple[CalibrationBin, ...]
    by_class: tuple[ClassCalibration, ...]
    nll_with_temperature: float | None = None
    brier_with_temperature: float | None = None
    ece_with_temperature: float | None = None
    ece_equal_mass_with_temperature: float | None = None
    debiased_rms_with_temperature: float | None = None
    classwise_ece_with_temperature: float | None = None
    signed_overconfidence_with_temperature: float | None = None


@dataclass(frozen=True)
class Guarantee:
    """The largest coverage that guarantees an error rate of at most `target`; the rest is None where none does.

    Attributes:
        coverage: Share of images answered: those of at least confidence `threshold`.
        n: Test images answered, `errors` of them wrong.
        bound: Upper bound of the error rate.
    """

    target: float
    coverage: float | None
    n: int | None = None
    errors: int | None = None
    bound: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class SelectiveResult:
    """What answering only the most confident images gives.

    Attributes:
        aurc: Mean error rate over all coverages.
        augrc: Mean share answered and wrong.
        error_auroc: The chance that a hit is more confident than a mistake; None without either.
        coverage: Points of the risk-coverage curve, with `risk` the error rate there.
    """

    aurc: Measure
    augrc: Measure
    error_auroc: float | None
    guaranteed: tuple[Guarantee, ...]
    coverage: tuple[float, ...]
    risk: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """Everything about the test set; shares in [0, 1], 95 % intervals, NaN where there is no image.

    Attributes:
        confusion: (C, C) counts, rows true and columns predicted.
        commonest: None where all images are of one class, and for runs of earlier versions.
        groups: How many groups the images come in, by which intervals are; None where each stands for itself.
    """

    n: int
    accuracy: Measure
    interval: Bounds
    macro_recall: Measure
    nll: Measure
    brier: Measure
    ece: Measure
    per_class: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    most_confused: tuple[ConfusedPair, ...]
    most_confident_mistakes: tuple[ScoredImage, ...]
    least_confident_hits: tuple[ScoredImage, ...]
    calibration: Calibration
    selective: SelectiveResult
    commonest: Commonest | None = None
    groups: int | None = None


# ---- what became of the start ----


@dataclass(frozen=True)
class JudgedEpoch:
    """One epoch on the val images; 0 is the start."""

    epoch: int
    accuracy: float
    loss: float | None = None


@dataclass(frozen=True)
class SinceStart:
    """How the result stands to the weights that training began with, on the same val images.

    Attributes:
        n: Val images.
        end: The result, or the last epoch that can be judged on val; see `is_result`.
        best: The epoch with the highest accuracy.
        gained: Images that the end alone gets right.
        lost: Images that the start alone gets right.
        p: McNemar's, mid-p, from these two.
        is_shown: Whether p is at most 5 %.
    """

    n: int
    start: JudgedEpoch
    end: JudgedEpoch
    best: JudgedEpoch
    gained: int
    lost: int
    p: float
    is_result: bool
    is_worse: bool
    is_shown: bool


# ---- what else was fitted ----


@dataclass(frozen=True)
class NeighboursAccuracy:
    """The test accuracy of a vote of k neighbours; `is_result` where it is that of the run."""

    k: int
    is_result: bool
    n: int
    accuracy: float
    interval: Bounds


@dataclass(frozen=True)
class ProbeAccuracy:
    """The test accuracy of a linear probe of one layer, and how its C was chosen."""

    n: int
    accuracy: float
    interval: Bounds
    C: float
    chosen_by: str = ""
    converged: bool = True


@dataclass(frozen=True)
class ProbedLayer:
    """One layer with the accuracy of its probes.

    Attributes:
        shape: Of its output for one image, channels first.
        receptive_field: In px; `global` where it looks everywhere, None where it is not known.
        stride: Input px between neighbouring values; None where there are none.
        given: With the weights asked for.
        random: In a copy with random weights; None where the given ones are random themselves.
    """

    layer: str
    shape: tuple[int, ...]
    receptive_field: int | Literal["global"] | None
    stride: int | None
    given: ProbeAccuracy
    random: ProbeAccuracy | None = None


@dataclass(frozen=True)
class ProbedLayers:
    """Probes of several layers, from the images to the head.

    Attributes:
        seed: Of the random copy.
        pool: How maps become vectors.
    """

    seed: int
    pool: str
    rows: tuple[ProbedLayer, ...]


@dataclass(frozen=True)
class OtherResults:
    """What else a method fitted, judged on the test images; None where it does not fit such things."""

    neighbours: tuple[NeighboursAccuracy, ...] | None = None
    layers: ProbedLayers | None = None


# ---- the whole ----


@dataclass(frozen=True)
class Evaluation:
    """Every number of a run's report.

    Attributes:
        schema: Of evaluation.json.
        test: The test set.
        val: Of a network that has not learnt from val; None without val images.
        since_start: None where there was no start to judge: a probe, no val images, a run of an earlier version.
        neighbours: A row for each number of neighbours; None where no neighbours answered.
        layers: Probes of single layers; None where none were asked for.
    """

    test: Scores
    val: Accuracy | None = None
    since_start: SinceStart | None = None
    neighbours: tuple[NeighboursAccuracy, ...] | None = None
    layers: ProbedLayers | None = None
    schema: int = SCHEMAS[FILE]


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation in a run's folder.

    Raises:
        TransferkitError: If there is none, it is damaged, or another version computed its numbers in another way.
    """
    return read_result_record(folder / FILE, Evaluation)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Leave an evaluation in a run's folder as evaluation.json."""
    write_record(folder / FILE, evaluation)
