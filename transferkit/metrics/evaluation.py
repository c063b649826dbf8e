"""The evaluation of a run: every number a pure function of stored outputs and of the training's history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.metrics.calibration import (
    ClassConfidence,
    ReliabilityBin,
    classwise_ece,
    confidence_by_class,
    debiased_rms_calibration_error,
    ece,
    ece_equal_mass,
    ece_equal_mass_if_calibrated,
    ece_if_calibrated,
    reliability,
)
from transferkit.metrics.classification import (
    ClassScores,
    accuracy_with_interval,
    confusion_matrix,
    macro_recall,
    per_class,
)
from transferkit.metrics.history import History
from transferkit.metrics.mistakes import least_confident_hits, most_confident_mistakes, most_confused
from transferkit.metrics.outcome import against_commonest, since_start
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import brier, nll, signed_overconfidence
from transferkit.metrics.results import (
    Accuracy,
    Calibration,
    CalibrationBin,
    ClassCalibration,
    ClassResult,
    ConfusedPair,
    Evaluation,
    Guarantee,
    OtherResults,
    ScoredImage,
    Scores,
    SelectiveResult,
    TopConfusion,
)
from transferkit.metrics.selective import augrc, aurc, error_auroc, guaranteed_point, risk_coverage
from transferkit.metrics.statistics import Bounds, Interval
from transferkit.metrics.temperature import (
    fit_temperature,
    temperature_interval,
    with_temperature,
)

SHOWN = 24  # mistakes and hits listed one by one
PAIRS = 10  # confused pairs put into words
CURVE_POINTS = 60  # of the risk-coverage curve
TARGETS = (0.01, 0.02, 0.05, 0.1)  # error rates somebody may have to promise
THUMBNAILS = 2_000  # pictures kept of a test set, at most
MISTAKES_SHARE = 0.75  # of the pictures, at most, so that hits are seen too
PICTURES_IN_A_TURN = 12  # of a cell of the confusion matrix, before any cell gets more


def evaluate(
    test: Outputs,
    val: Outputs | None = None,
    history: History = History(),
    others: OtherResults = OtherResults(),
) -> Evaluation:
    """Everything that evaluation.json holds.

    The temperature is fitted on val; everything else of the test part sees the test outputs alone. What became of the
    weights that training started with is read off its history.

    Args:
        test: Of the test images.
        val: Of the val images, where there are any.
        history: Of the training, where there was one.
        others: What else was fitted, judged on the test images.
    """
    val = val if val is not None and len(val) else None
    return Evaluation(
        test=scores_on_test(test, val),
        val=_accuracy(val) if val else None,
        since_start=since_start(history),
        neighbours=others.neighbours,
        layers=others.layers,
    )


def _accuracy(outputs: Outputs) -> Accuracy:
    share = accuracy_with_interval(outputs)
    return Accuracy(share.n, share.value, share.interval.bounds)


def scores_on_test(test: Outputs, val: Outputs | None) -> Scores:
    """The numbers of the test set; its temperature is fitted on val."""
    confusion, accuracy = confusion_matrix(test), accuracy_with_interval(test)
    return Scores(
        n=accuracy.n,
        accuracy=accuracy.value,
        interval=accuracy.interval.bounds,
        commonest=against_commonest(test),
        macro_recall=macro_recall(test),
        nll=nll(test),
        brier=brier(test),
        ece=ece(test),
        per_class=tuple(
            _class_result(row, test.class_names, counts) for row, counts in zip(per_class(test), confusion, strict=True)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        most_confused=tuple(
            ConfusedPair(pair.true, pair.predicted, pair.count, pair.share.value) for pair in most_confused(test, PAIRS)
        ),
        most_confident_mistakes=_scored_images(test, most_confident_mistakes(test, SHOWN)),
        least_confident_hits=_scored_images(test, least_confident_hits(test, SHOWN)),
        calibration=_calibration(test, val),
        selective=_selective(test),
        groups=len(set(test.groups)) if test.groups else None,
    )


def _class_result(row: ClassScores, names: Sequence[str], counts: npt.NDArray[np.int64]) -> ClassResult:
    return ClassResult(
        name=row.name,
        n=row.n,
        precision=row.precision,
        precision_interval=_bounds(row.precision_interval),
        recall=row.recall,
        recall_interval=_bounds(row.recall_interval),
        f1=row.f1,
        f1_interval=_bounds(row.f1_interval),
        top_confusion=_top_confusion(row.name, names, counts),
    )


def _top_confusion(name: str, names: Sequence[str], counts: npt.NDArray[np.int64]) -> TopConfusion | None:
    """The other class that this one was given most often."""
    others = [(int(count), other) for other, count in zip(names, counts, strict=True) if other != name]
    most, other = max(others, key=lambda pair: pair[0], default=(0, ""))
    return TopConfusion(other, most) if most else None


def _scored_images(test: Outputs, indices: npt.NDArray[np.int64]) -> tuple[ScoredImage, ...]:
    names, predictions, confidences = test.class_names, test.predictions, test.confidences
    return tuple(
        ScoredImage(
            index=index,
            id=test.ids[index],
            true=names[test.require_labels()[index]],
            predicted=names[predictions[index]],
            confidence=float(confidences[index]),
        )
        for index in indices.tolist()
    )


def _calibration(test: Outputs, val: Outputs | None) -> Calibration:
    """How far confidence can be believed, before and after the temperature that val asks for."""
    temperature = fit_temperature(val) if val is not None else None
    scaled = vars(_confidence(with_temperature(test, temperature))) if temperature else {}
    return Calibration(
        **vars(_confidence(test)),
        **{f"{name}_with_temperature": value for name, value in scaled.items()},
        ece_if_calibrated=_bounds(ece_if_calibrated(test, seed=0)),
        ece_equal_mass_if_calibrated=_bounds(ece_equal_mass_if_calibrated(test, seed=0)),
        temperature=temperature,
        temperature_interval=_bounds(temperature_interval(val, seed=0) if val is not None else None),
        reliability=tuple(_calibration_bin(group) for group in reliability(test)),
        by_class=tuple(_class_calibration(row) for row in confidence_by_class(test)),
    )


def _calibration_bin(group: ReliabilityBin) -> CalibrationBin:
    accuracy = group.accuracy
    return CalibrationBin(group.low, group.high, group.n, group.confidence, accuracy.value, accuracy.interval.bounds)


def _class_calibration(row: ClassConfidence) -> ClassCalibration:
    accuracy = row.accuracy
    return ClassCalibration(row.name, accuracy.n, row.confidence, accuracy.value, accuracy.interval.bounds, row.gap)


@dataclass(frozen=True)
class _Confidence:
    """The numbers that a temperature can change; fields of `Calibration`."""

    nll: float
    brier: float
    ece: float
    ece_equal_mass: float
    debiased_rms: float | None
    classwise_ece: float
    signed_overconfidence: float


def _confidence(outputs: Outputs) -> _Confidence:
    return _Confidence(
        nll=nll(outputs),
        brier=brier(outputs),
        ece=ece(outputs),
        ece_equal_mass=ece_equal_mass(outputs),
        debiased_rms=_defined(debiased_rms_calibration_error(outputs)),
        classwise_ece=classwise_ece(outputs),
        signed_overconfidence=signed_overconfidence(outputs),
    )


def _selective(test: Outputs) -> SelectiveResult:
    """What answering only the most confident images would give."""
    curve = risk_coverage(test)
    at = np.unique(np.linspace(0, max(len(test) - 1, 0), CURVE_POINTS).round().astype(int))[: len(test)]
    return SelectiveResult(
        aurc=aurc(test),
        augrc=augrc(test),
        error_auroc=_defined(error_auroc(test)),
        guaranteed=tuple(_guarantee(test, target) for target in TARGETS),
        coverage=tuple(curve.coverage[at].tolist()),
        risk=tuple(curve.risk[at].tolist()),
    )


def _guarantee(test: Outputs, target: float) -> Guarantee:
    """The largest coverage that guarantees an error rate, or only the target where none does."""
    point = guaranteed_point(test, target)
    if point is None:
        return Guarantee(target, None)
    answered = point.answered
    return Guarantee(target, point.coverage, answered.n, answered.hits, point.bound, point.threshold)


def _bounds(interval: Interval | None) -> Bounds | None:
    return None if interval is None or math.isnan(interval.low) else interval.bounds


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def thumbnail_choice(test: Outputs, limit: int = THUMBNAILS, seed: int = 0) -> npt.NDArray[np.int64]:
    """Which test images to keep pictures of, most wanted first.

    First the images that the report lists one by one. Then mistakes and hits side by side, three to one where there
    are many of both: of mistakes the largest cells of the confusion matrix first, a dozen pictures of each before any
    cell gets more; of hits as many of each class, in a seeded order.

    Returns:
        (M,), M <= limit, positions in the test outputs, each once.
    """
    listed = listed_one_by_one(test)
    rest = max(0, limit - len(listed))
    wrong = _without(most_confident_mistakes(test, len(test)), listed)
    cells = test.require_labels()[wrong] * len(test.class_names) + test.predictions[wrong]
    right = np.random.default_rng(seed).permutation(np.flatnonzero(test.is_right))
    right = _without(right, listed)
    hits = _in_turns(right, test.require_labels()[right], 1)
    most = max(round(MISTAKES_SHARE * rest), rest - len(hits))
    mistakes = _in_turns(wrong, cells, PICTURES_IN_A_TURN)[:most]
    return np.concatenate([listed, _side_by_side(mistakes, hits[: rest - len(mistakes)])])[:limit]


def listed_one_by_one(test: Outputs) -> npt.NDArray[np.int64]:
    """(M,), positions of the images the report lists: the most confident mistakes, then the least confident hits."""
    return np.concatenate([most_confident_mistakes(test, SHOWN), least_confident_hits(test, SHOWN)])


def _without(indices: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return indices[~np.isin(indices, others)]


def _in_turns(members: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], per_turn: int) -> npt.NDArray[np.int64]:
    """`per_turn` members of every group, largest group first, then as many again; order inside a group is kept."""
    if not len(members):
        return members
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    rank = np.empty(len(members), np.int64)  # of each member inside its group
    rank[by_group] = np.arange(len(members)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return members[np.lexsort((rank, group, -sizes[group], rank // per_turn))]


def _side_by_side(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Both, each in its order, so mixed that every beginning holds them in the same proportion."""
    position = np.concatenate([(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in (first, second)])
    return np.concatenate([first, second])[np.argsort(position, kind="stable")]
