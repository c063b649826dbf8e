"""What a ranking found, as `transferkit.rank` returns it and ranking.json holds it."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.metrics.statistics import Bounds
from transferkit.models.stored_model import WeightsRecord
from transferkit.report.study_result import StudyResult
from transferkit.runs.result_folders import RANKING
from transferkit.runtime.json_files import SCHEMAS


@dataclass(frozen=True)
class BackboneFacts:
    """What a backbone is and costs, and how its probe went.

    Attributes:
        name: As in a recipe.
        weights: Where they came from.
        size: Side of the input in px.
        width: Of its features.
        logme: LogME; higher = the features explain the labels better.
        top1: ImageNet accuracy that the publisher of the weights states, in [0, 1].
        flops: Operations per image, without the head.
        parameters: How many numbers its body has.
        images_per_second: Measured throughput of feature extraction.
        C: Of the probe in each fold.
        neighbours: How many voted.
        converged: Whether the probe's solver did in every fold.
        seconds: The time that all this took.
    """

    name: str
    weights: WeightsRecord
    size: int
    width: int
    logme: float
    top1: float | None
    flops: int
    parameters: int
    images_per_second: float
    C: tuple[float, ...]
    neighbours: int
    converged: bool
    seconds: float | None = None


@dataclass(frozen=True)
class RankedBackbone:
    """One backbone's line of the table; accuracies in [0, 1], each with its 95 % interval.

    Attributes:
        label: What tells it from the others: its name, with the weights where they are not the usual ones.
        ranks: First and last rank that the tests leave to it.
        accuracy: Of a linear probe, cross-validated.
        knn_accuracy: Of a vote of the nearest neighbours, likewise.

    The others are those of `BackboneFacts`.
    """

    label: str
    ranks: tuple[int, int]
    accuracy: float
    interval: Bounds
    knn_accuracy: float
    knn_interval: Bounds
    name: str
    weights: WeightsRecord
    size: int
    width: int
    logme: float
    top1: float | None
    flops: int
    parameters: int
    images_per_second: float
    C: tuple[float, ...]
    neighbours: int
    converged: bool
    seconds: float | None = None


@dataclass(frozen=True)
class RankedPair:
    """How much better backbone `a` is than `b` on the same images.

    Attributes:
        mean: Difference of their accuracies, in [-1, 1].
        interval: Of this pair alone, 95 %.
        p: Of this pair alone.
        p_holm: Adjusted over all pairs.
        shown: Whether that is at most 5 %.
    """

    a: str
    b: str
    mean: float
    interval: Bounds
    p: float
    p_holm: float
    shown: bool


@dataclass(frozen=True)
class RankedData:
    """The images that a ranking was made on.

    Attributes:
        name: Of the data set, or its folder.
        n: How many training images were used.
        of: Of how many there are.
        guessing: Accuracy of always answering the commonest class.
        test_openings: How often the test set was opened.
    """

    name: str
    n: int
    of: int
    classes: int
    size_px: tuple[int, ...]
    fingerprint: str
    guessing: float
    test_openings: int


@dataclass(frozen=True)
class ImagenetOrder:
    """How far a list by published ImageNet accuracy agrees with the order by probe.

    Attributes:
        n: Backbones with a published accuracy of their very weights.
        tau: Kendall's, in [-1, 1]; None where all accuracies are equal.
        weighted_tau: Likewise, where the top counts more.
        first: Label of the first on the list.
        lost: Probe accuracy of the best of them minus that of `first`, in [0, 1].
    """

    n: int
    tau: float | None
    weighted_tau: float | None
    first: str
    lost: float


@dataclass(frozen=True)
class Standings:
    """What the statistics make of the answers of all backbones.

    Attributes:
        n: How many images each backbone answered.
        rows: The backbones, best accuracy first.
        pairs: Every two of them, the better one as `a`.
        verdict: What to choose, in a sentence or two.
        groups: How many groups the images come in, which then take the place of images; None where they have none.
        imagenet: What a list by ImageNet accuracy would have done; None where fewer than three have one.
    """

    n: int
    rows: tuple[RankedBackbone, ...]
    pairs: tuple[RankedPair, ...]
    verdict: str
    groups: int | None = None
    imagenet: ImagenetOrder | None = None


@dataclass(frozen=True, repr=False)
class Ranking(StudyResult):
    """Several backbones compared by a cross-validated linear probe on training images.

    Attributes:
        schema: Of ranking.json.
        n: How many images each backbone answered.
        folds: Of the cross-validation.
        rows: The backbones, best accuracy first.
        pairs: Every two of them, the better one as `a`.
        verdict: What to choose, in a sentence or two.
        data: The images.
        notes: What the data set had to say.
        failures: A sentence for each backbone that came to no end.
        folder: Where it and its page are.
        groups: As of `Standings`; likewise `imagenet`.
    """

    KIND = RANKING

    n: int
    folds: int
    rows: tuple[RankedBackbone, ...]
    pairs: tuple[RankedPair, ...]
    verdict: str
    name: str
    data: RankedData
    device: str
    precision: str
    threads: int
    seed: int
    notes: tuple[str, ...]
    failures: tuple[str, ...]
    command: str
    folder: str
    groups: int | None = None
    imagenet: ImagenetOrder | None = None
    schema: int = SCHEMAS[RANKING.result]

    def _headline(self) -> str:
        return f"Ranking: {self.verdict}"

    def _notebook_page(self) -> str:
        from transferkit.studies.rank.page import ranking_page

        return ranking_page(self)
