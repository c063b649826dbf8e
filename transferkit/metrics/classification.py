"""How right: accuracy, recall, precision and F1 of every class, and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.metrics.proportions import Proportion, proportion
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
    """Accuracy with n and Wilson's 95 % interval."""
    return proportion(int(outputs.is_right.sum()), len(outputs))


def macro_recall(outputs: Outputs) -> float:
    """Mean recall of the classes that have test images, in [0, 1]; NaN without images."""
    counts = confusion_matrix(outputs)
    seen = counts.sum(axis=1) > 0
    return float(np.mean(np.diag(counts)[seen] / counts.sum(axis=1)[seen])) if seen.any() else float("nan")


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
    takes the number of predictions as given.
    """
    counts = confusion_matrix(outputs)
    right, of_class, given = np.diag(counts).tolist(), counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()
    return tuple(_class_scores(*row) for row in zip(outputs.class_names, right, of_class, given, strict=True))


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
