"""How right: accuracy, recall, precision and F1 of every class, and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from transferkit.metrics.grouped import grouped_proportion, share_interval
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.proportions import Proportion
from transferkit.metrics.statistics import Interval, wilson
from transferkit.runtime.array_types import Integers


@dataclass(frozen=True)
class ClassScores:
    """One row of the per-class table; None where a number is not defined.

    Attributes:
        name: Class name.
        n: Test images of the class.
        predicted: Images given this class.
        precision: Share of `predicted` that is right; None if the class is never predicted.
        precision_interval: Wilson.
        recall: Share of `n` that is found; None if the class has no test images.
        recall_interval: Wilson.
        f1: Harmonic mean of precision and recall; 0 if no image is right, None if n and predicted are 0.
        f1_interval: From Wilson's interval of TP / (TP + FP + FN), see `per_class`.
    """

    name: str
    n: int
    predicted: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    f1_interval: Interval | None


def accuracy(outputs: Outputs) -> float:
    """Share of images whose largest logit is that of their label, in [0, 1]; NaN without images."""
    return accuracy_with_interval(outputs).value


def accuracy_with_interval(outputs: Outputs) -> Proportion:
    """Accuracy with n and its 95 % interval: Wilson's, or by the bootstrap over groups where images have groups."""
    return grouped_proportion(outputs.is_right, outputs.groups)


def macro_recall(outputs: Outputs) -> float:
    """Mean recall of the classes that have test images, in [0, 1]; NaN without images."""
    counts = confusion_matrix(outputs)
    has_images = counts.sum(axis=1) > 0
    return (
        float(np.mean(np.diag(counts)[has_images] / counts.sum(axis=1)[has_images]))
        if has_images.any()
        else float("nan")
    )


def confusion_matrix(outputs: Outputs) -> Integers:
    """(C, C) counts, row = true class, column = predicted class."""
    classes = len(outputs.class_names)
    cells = outputs.require_labels() * classes + outputs.predictions
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def per_class(outputs: Outputs) -> tuple[ClassScores, ...]:
    """Precision, recall and F1 of every class with 95 % intervals, in class order.

    F1 = 2 J / (1 + J) rises with J = TP / (TP + FP + FN), which is a share of the images that are of the class or
    given the class. Its Wilson interval, put through the same function, is the interval of F1 (the "Wilson
    indirect" method of Lam et al., arXiv:2309.14621). It takes TP + FP + FN as given, as the interval of precision
    takes the number of predictions as given. Where images have groups, intervals are by the bootstrap over groups.
    """
    counts = confusion_matrix(outputs)
    right, of_class, given = np.diag(counts).tolist(), counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()
    rows = tuple(_class_scores(*row) for row in zip(outputs.class_names, right, of_class, given, strict=True))
    return tuple(_by_groups(row, label, outputs) for label, row in enumerate(rows)) if outputs.groups else rows


def _by_groups(row: ClassScores, label: int, outputs: Outputs) -> ClassScores:
    """The same shares with intervals that whole groups give."""
    groups = outputs.groups or ()
    is_of_class, is_given = outputs.require_labels() == label, outputs.predictions == label
    precision, recall, jaccard = (
        share_interval(is_of_class & is_given, groups, among)
        for among in (is_given, is_of_class, is_of_class | is_given)
    )
    return replace(
        row,
        precision_interval=row.precision_interval and precision,
        recall_interval=row.recall_interval and recall,
        f1_interval=row.f1_interval and _f1_interval(jaccard),
    )


def _class_scores(name: str, right: int, of_class: int, given: int) -> ClassScores:
    either = of_class + given - right  # TP + FP + FN
    return ClassScores(
        name=name,
        n=of_class,
        predicted=given,
        precision=right / given if given else None,
        precision_interval=wilson(right, given) if given else None,
        recall=right / of_class if of_class else None,
        recall_interval=wilson(right, of_class) if of_class else None,
        f1=_f1(right / either) if either else None,
        f1_interval=_f1_interval(wilson(right, either)) if either else None,
    )


def _f1(jaccard: float) -> float:
    return 2 * jaccard / (1 + jaccard)


def _f1_interval(jaccard: Interval) -> Interval:
    return Interval(_f1(jaccard.low), _f1(jaccard.high))
