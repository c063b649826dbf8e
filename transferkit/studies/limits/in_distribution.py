"""What the run's own images say: what it can answer, how well, and how honestly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.metrics.calibration import debiased_rms_calibration_error, ece, ece_equal_mass, ece_if_calibrated
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import brier, nll, signed_overconfidence
from transferkit.metrics.results import CalibrationBin, ClassCalibration, ClassResult, Scores
from transferkit.metrics.statistics import Bounds
from transferkit.metrics.temperature import with_temperature
from transferkit.models.stored_model import WeightsRecord
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import Measure
from transferkit.studies.limits.shares import Share, share_of
from transferkit.studies.limits.subject import LimitsSubject


@dataclass(frozen=True)
class Contract:
    """What was promised: network, weights, classes and images, from the run's files.

    Attributes:
        run: Its folder's name.
        weights: Those that training started with; None in runs that do not say.
        input_px: Side of what the network sees.
        native_px: Height and width of the run's images.
        n: Images by part, as of the run; likewise `fingerprint`.
        n_of_class: Test images of each class.
        made: When, ISO 8601.
        score: The score that `predict` uses.
        threshold: Beyond it `predict` answers unknown; None where there is none, for `threshold_reason`.
        n_thresholds: Images that it was learnt on.
        learnt_from: Which: `validation`, or `training` where each was left out in turn.
    """

    run: str
    backbone: str
    weights: WeightsRecord | None
    method: str
    input_px: int
    native_px: tuple[int, ...]
    data: str
    limit_per_class: int | None
    classes: tuple[str, ...]
    n: dict[str, int]
    n_of_class: tuple[int, ...]
    seed: int
    made: str | None
    fingerprint: dict[str, str]
    model_digest: str
    sentence: str
    score: str
    threshold: float | None
    threshold_reason: str
    n_thresholds: int
    learnt_from: str = "validation"

    @property
    def threshold_images(self) -> str:
        """What the shipped threshold was learnt on."""
        kind = "training images, each left out in turn" if self.learnt_from == "training" else "val images"
        return f"{self.n_thresholds:,} {kind}"


@dataclass(frozen=True)
class Duplicates:
    """Test images whose very pixels are in train, and the accuracy without them, if there are any."""

    exact: int
    n: int
    accuracy_without: Share | None


@dataclass(frozen=True)
class OwnTest:
    """Accuracy and classes on the test images; shares in [0, 1].

    Attributes:
        per_class: As in evaluation.json.
        confusion: (C, C), rows true and columns predicted.
        worst: The class with the lowest recall; None without a test image.
    """

    n: int
    accuracy: Measure
    interval: Bounds
    macro_recall: Measure
    per_class: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    worst: ClassResult | None
    duplicates: Duplicates


@dataclass(frozen=True)
class CalibrationRow:
    """How far confidence is from accuracy; `ece_if_calibrated` is what chance gives, the middle 95 %."""

    nll: Measure
    brier: Measure
    ece: Measure
    ece_if_calibrated: Bounds
    ece_equal_mass: Measure
    debiased_rms: Measure
    overconfidence: Measure
    n: int


@dataclass(frozen=True)
class CalibrationReport:
    """Whether confidence can be believed.

    Attributes:
        temperature: That val asks for; None where val is too small, for `temperature_reason`.
        rows: `raw`, and `with temperature` where there is one.
        reliability: Bins of confidence, as in evaluation.json; likewise `by_class`.
        verdict: In words.
    """

    temperature: float | None
    temperature_interval: Bounds | None
    temperature_reason: str
    rows: dict[str, CalibrationRow]
    reliability: tuple[CalibrationBin, ...]
    verdict: str
    by_class: tuple[ClassCalibration, ...]


def contract(subject: LimitsSubject) -> Contract:
    """What was promised: network, weights, classes and images, from the run's files."""
    run, names = subject.run, subject.test.class_names
    return Contract(
        run=run.path.resolve().name,
        backbone=run.recipe.backbone.name,
        weights=run.model.weights,
        method=run.recipe.method.in_words,
        input_px=run.model.input.size,
        native_px=tuple(run.facts.data.size_px),
        data=run.recipe.data.name,
        limit_per_class=run.recipe.data.limit_per_class,
        classes=names,
        n=vars(run.facts.data.n),
        n_of_class=tuple(np.bincount(subject.test.require_labels(), minlength=len(names)).tolist()),
        seed=run.recipe.seed,
        made=run.facts.started or None,
        fingerprint=vars(run.facts.data.fingerprint),
        model_digest=subject.classifier.digest([*subject.classifier.stages, "head"]),
        sentence=(
            f"It can answer only one of these {counted(len(names), 'class', 'classes')}; on its own it has "
            "no “none of these”."
        ),
        score=subject.limits.score,
        threshold=subject.limits.threshold(),
        threshold_reason=subject.limits.reason,
        n_thresholds=subject.limits.n,
        learnt_from=subject.limits.learnt_from,
    )


def own_test(subject: LimitsSubject, scores: Scores) -> OwnTest:
    """Accuracy and classes on the test images, the worst class, and what remains without duplicates of train."""
    known = [(row.recall, row) for row in scores.per_class if row.recall is not None]
    return OwnTest(
        n=scores.n,
        accuracy=scores.accuracy,
        interval=scores.interval,
        macro_recall=scores.macro_recall,
        per_class=scores.per_class,
        confusion=scores.confusion,
        worst=min(known, key=lambda pair: pair[0])[1] if known else None,
        duplicates=duplicates(subject),
    )


def duplicates(subject: LimitsSubject) -> Duplicates:
    """Test images whose very pixels are in train, and the accuracy without them."""
    same = np.array([digest.tobytes() in subject.learnt for digest in subject.images.test.digests], dtype=bool)
    right = subject.test.is_right
    without_them = share_of(right, subject.test.groups, ~same) if same.any() else None
    return Duplicates(int(same.sum()), len(same), without_them)


def calibration(subject: LimitsSubject, scores: Scores) -> CalibrationReport:
    """Whether confidence can be believed, raw and with the temperature that val asks for."""
    measured = scores.calibration
    temperature = subject.limits.temperature
    rows = {"raw": _calibration_row(subject.test)}
    if temperature is not None:
        rows["with temperature"] = _calibration_row(with_temperature(subject.test, temperature))
    return CalibrationReport(
        temperature=temperature,
        temperature_interval=measured.temperature_interval,
        temperature_reason="" if temperature else f"{counted(len(subject.val), 'val image')}; a temperature needs 100",
        rows=rows,
        reliability=measured.reliability,
        verdict=calibration_verdict(rows["raw"]),
        by_class=measured.by_class,
    )


def _calibration_row(outputs: Outputs) -> CalibrationRow:
    return CalibrationRow(
        nll=nll(outputs),
        brier=brier(outputs),
        ece=ece(outputs),
        ece_if_calibrated=ece_if_calibrated(outputs, seed=0).bounds,
        ece_equal_mass=ece_equal_mass(outputs),
        debiased_rms=debiased_rms_calibration_error(outputs),
        overconfidence=signed_overconfidence(outputs),
        n=len(outputs),
    )


def calibration_verdict(row: CalibrationRow) -> str:
    """Calibrated within noise, or over- or underconfident by so many points."""
    if row.ece <= row.ece_if_calibrated[1]:
        return "not distinguishable from calibrated"
    kind = "overconfident" if row.overconfidence > 0 else "underconfident"
    return f"{kind} by {100 * abs(row.overconfidence):.1f} points"
