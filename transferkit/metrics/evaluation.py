"""The numbers of a report: every one a pure function of stored outputs, gathered as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Images
from transferkit.metrics.calibration import (
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
from transferkit.metrics.mistakes import least_confident_hits, most_confident_mistakes, most_confused
from transferkit.metrics.outcome import against_commonest, since_start
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import brier, nll, signed_overconfidence
from transferkit.metrics.selective import augrc, aurc, error_auroc, guaranteed_point, risk_coverage
from transferkit.metrics.statistics import Interval
from transferkit.metrics.temperature import (
    FEWEST_FOR_TEMPERATURE,
    fit_temperature,
    temperature_interval,
    with_temperature,
)

SCHEMA = 1  # of evaluation.json
SHOWN = 24  # mistakes and hits listed one by one
PAIRS = 10  # confused pairs put into words
CURVE_POINTS = 60  # of the risk-coverage curve
TARGETS = (0.01, 0.02, 0.05, 0.1)  # error rates somebody may have to promise
THUMBNAILS = 2_000  # pictures kept of a test set, at most
MISTAKES_SHARE = 0.75  # of the pictures, at most, so that hits are seen too
PICTURES_IN_A_TURN = 12  # of a cell of the confusion matrix, before any cell gets more
THUMBNAIL_PX = 64  # longer side of a picture, at most


def evaluate(test: Outputs, val: Outputs | None = None, history: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The content of evaluation.json: shares in [0, 1], 95 % intervals, None where a number is not defined.

    The temperature is fitted on val; everything else of the test part sees the test outputs alone. What became of the
    weights that training started with is read off its history.
    """
    val = val if val is not None and len(val) else None
    parts = {"calibration": _calibration(test, val), "selective": _selective(test)}
    measured = {"test": _scores(test) | parts, "val": _accuracy(val) if val else None}
    evaluation = {"schema": SCHEMA, **measured, "since_start": since_start(history)}
    return {name: without_nan(part) for name, part in evaluation.items()}


def _accuracy(outputs: Outputs) -> dict[str, Any]:
    share = accuracy_with_interval(outputs)
    return {"n": share.n, "accuracy": share.value, "interval": _bounds(share.interval)}


def _scores(test: Outputs) -> dict[str, Any]:
    confusion = confusion_matrix(test)
    return {
        **_accuracy(test),
        "commonest": against_commonest(test),
        "macro_recall": macro_recall(test),
        "nll": nll(test),
        "brier": brier(test),
        "ece": ece(test),
        "per_class": [
            _class_row(row, test.class_names, counts) for row, counts in zip(per_class(test), confusion, strict=True)
        ],
        "confusion": confusion.tolist(),
        "most_confused": [
            {"true": pair.true, "predicted": pair.predicted, "n": pair.count, "share": pair.share.value}
            for pair in most_confused(test, PAIRS)
        ],
        "most_confident_mistakes": _image_rows(test, most_confident_mistakes(test, SHOWN)),
        "least_confident_hits": _image_rows(test, least_confident_hits(test, SHOWN)),
    }


def _class_row(row: ClassScores, names: Sequence[str], counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {
        "name": row.name,
        "n": row.n,
        "precision": row.precision,
        "precision_interval": _bounds(row.precision_interval),
        "recall": row.recall,
        "recall_interval": _bounds(row.recall_interval),
        "f1": row.f1,
        "f1_interval": _bounds(row.f1_interval),
        "top_confusion": _top_confusion(row.name, names, counts),
    }


def _top_confusion(name: str, names: Sequence[str], counts: npt.NDArray[np.int64]) -> dict[str, Any] | None:
    """The other class that this one was given most often."""
    others = [(int(count), other) for other, count in zip(names, counts, strict=True) if other != name]
    most, other = max(others, key=lambda pair: pair[0], default=(0, ""))
    return {"name": other, "n": most} if most else None


def _image_rows(test: Outputs, indices: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    names, predictions, confidences = test.class_names, test.predictions, test.confidences
    return [
        {
            "index": index,
            "id": test.ids[index],
            "true": names[test.require_labels()[index]],
            "predicted": names[predictions[index]],
            "confidence": float(confidences[index]),
        }
        for index in indices.tolist()
    ]


def _calibration(test: Outputs, val: Outputs | None) -> dict[str, Any]:
    """How far confidence can be believed, before and after the temperature that val asks for."""
    temperature = fit_temperature(val) if val is not None else None
    scaled = with_temperature(test, temperature) if temperature else None
    return {
        **_gaps(test),
        "ece_if_calibrated": _bounds(ece_if_calibrated(test, seed=0)),
        "ece_equal_mass_if_calibrated": _bounds(ece_equal_mass_if_calibrated(test, seed=0)),
        "temperature": temperature,
        "temperature_interval": _bounds(temperature_interval(val, seed=0) if val is not None else None),
        "temperature_needs": FEWEST_FOR_TEMPERATURE,
        **({f"{name}_with_temperature": value for name, value in _gaps(scaled).items()} if scaled else {}),
        "reliability": [
            {
                "low": group.low,
                "high": group.high,
                "n": group.n,
                "confidence": group.confidence,
                "accuracy": group.accuracy.value,
                "interval": _bounds(group.accuracy.interval),
            }
            for group in reliability(test)
        ],
        "by_class": [
            {
                "name": row.name,
                "n": row.accuracy.n,
                "confidence": row.confidence,
                "accuracy": row.accuracy.value,
                "interval": _bounds(row.accuracy.interval),
                "gap": row.gap,
            }
            for row in confidence_by_class(test)
        ],
    }


def _gaps(outputs: Outputs) -> dict[str, float]:
    """The numbers that a temperature can change."""
    return {
        "nll": nll(outputs),
        "brier": brier(outputs),
        "ece": ece(outputs),
        "ece_equal_mass": ece_equal_mass(outputs),
        "debiased_rms": debiased_rms_calibration_error(outputs),
        "classwise_ece": classwise_ece(outputs),
        "signed_overconfidence": signed_overconfidence(outputs),
    }


def _selective(test: Outputs) -> dict[str, Any]:
    """What answering only the most confident images would give."""
    curve = risk_coverage(test)
    at = np.unique(np.linspace(0, max(len(test) - 1, 0), CURVE_POINTS).round().astype(int))[: len(test)]
    points = {"coverage": curve.coverage[at].tolist(), "risk": curve.risk[at].tolist()}
    areas = {"aurc": aurc(test), "augrc": augrc(test), "error_auroc": error_auroc(test)}
    return {**areas, "guaranteed": [_guaranteed(test, target) for target in TARGETS], **points}


def _guaranteed(test: Outputs, target: float) -> dict[str, Any]:
    """The largest coverage that guarantees an error rate, or only the target where none does."""
    point = guaranteed_point(test, target)
    if point is None:
        return {"target": target, "coverage": None}
    return {
        "target": target,
        "coverage": point.coverage,
        "n": point.answered.n,
        "errors": point.answered.hits,
        "bound": point.bound,
        "threshold": point.threshold,
    }


def _bounds(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [float(interval.low), float(interval.high)]


def without_nan(value: Any) -> Any:
    """The same with None for numbers that are not defined, because JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def thumbnails(images: Images, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """(M, 3, h, w), small pictures of some images; the longer side is at most 64 px, small images stay as they are."""
    from PIL import Image

    height, width = images.size_px
    scale = min(1.0, THUMBNAIL_PX / max(height, width))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = np.empty((len(indices), 3, small[1], small[0]), np.uint8)
    for position, index in enumerate(indices):
        pixels = images.take(slice(index, index + 1))[0].transpose(1, 2, 0)  # (H, W, 3)
        picture = Image.fromarray(pixels)
        resized = picture if picture.size == small else picture.resize(small, Image.Resampling.BILINEAR)
        pictures[position] = np.asarray(resized).transpose(2, 0, 1)
    return pictures
