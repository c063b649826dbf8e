"""Metrics: best on perfect outputs, NaN on none; accuracy and confusions by hand and against scikit-learn."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk
from small_outputs import EMPTY, outputs_of, random_outputs, two_class

from transferkit.metrics.calibration import ece, ece_equal_mass
from transferkit.metrics.classification import (
    _class_scores,
    accuracy,
    accuracy_with_interval,
    confusion_matrix,
    macro_recall,
    per_class,
)
from transferkit.metrics.mistakes import least_confident_hits, most_confident_mistakes, most_confused
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import brier, nll, signed_overconfidence
from transferkit.metrics.selective import augrc, aurc
from transferkit.metrics.statistics import wilson
from transferkit.runtime.errors import TransferkitError


def confusing() -> Outputs:
    """Labels a a a b b c against predictions a a b b c c: class d has no images and is never predicted."""
    return outputs_of(np.eye(4)[[0, 0, 1, 1, 2, 2]], [0, 0, 0, 1, 1, 2])


PERFECT = outputs_of(1e4 * np.eye(3)[[0, 1, 2, 2]], [0, 1, 2, 2])
BEST = {
    accuracy: 1.0,
    macro_recall: 1.0,
    nll: 0.0,
    brier: 0.0,
    ece: 0.0,
    ece_equal_mass: 0.0,
    signed_overconfidence: 0.0,
    aurc: 0.0,
    augrc: 0.0,
}


@pytest.mark.parametrize("metric", BEST, ids=lambda metric: metric.__name__)
def test_perfect_outputs_get_the_best_value(metric):
    assert metric(PERFECT) == BEST[metric]


@pytest.mark.parametrize("metric", BEST, ids=lambda metric: metric.__name__)
def test_no_images_give_nan(metric):
    assert math.isnan(metric(EMPTY))


# ---- accuracy and confusions ----


def test_accuracy_comes_with_n_and_the_wilson_interval():
    found = accuracy_with_interval(confusing())

    # right: a a . b . c = 4 of 6
    assert (found.hits, found.n, found.value, found.interval) == (4, 6, 4 / 6, wilson(4, 6))


def test_accuracy_of_no_images_allows_everything():
    interval = accuracy_with_interval(EMPTY).interval

    assert (interval.low, interval.high) == (0.0, 1.0)


def test_confusion_matrix_has_true_classes_in_rows():
    counts = confusion_matrix(confusing())

    assert counts.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_confusion_matrix_equals_scikit_learn():
    outputs = random_outputs()

    assert (confusion_matrix(outputs) == sk.confusion_matrix(outputs.labels, outputs.predictions)).all()


def test_macro_recall_leaves_out_classes_without_images():
    # recalls of a, b, c: 2/3, 1/2, 1; class d has no images
    assert macro_recall(confusing()) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_macro_recall_equals_scikit_learn():
    outputs = random_outputs()

    assert macro_recall(outputs) == pytest.approx(sk.balanced_accuracy_score(outputs.labels, outputs.predictions))


def test_per_class_table_equals_scikit_learn():
    outputs = random_outputs()
    table = per_class(outputs)

    expected = sk.precision_recall_fscore_support(outputs.labels, outputs.predictions)
    assert [[row.precision, row.recall, row.f1, row.n] for row in table] == [
        pytest.approx(list(column)) for column in zip(*expected, strict=True)
    ]


def test_per_class_intervals_are_wilson():
    row = per_class(confusing())[0]

    assert (row.precision_interval, row.recall_interval) == (wilson(2, 2), wilson(2, 3))


def test_f1_interval_is_that_of_the_share_it_rises_with():
    row = per_class(confusing())[0]

    # class a: TP 2, FP 0, FN 1, so J = 2/3 and F1 = 2J / (1 + J) = 0.8
    low, high = (2 * j / (1 + j) for j in (wilson(2, 3).low, wilson(2, 3).high))
    assert row.f1 == pytest.approx(0.8)
    assert (row.f1_interval.low, row.f1_interval.high) == pytest.approx((low, high))


def test_f1_interval_covers_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    cells = generator.multinomial(300, [0.2, 0.05, 0.08, 0.67], size=4_000)  # TP, FP, FN, TN
    truth = 0.4 / (0.4 + 0.05 + 0.08)

    covered = [
        row.f1_interval.low <= truth <= row.f1_interval.high
        for tp, fp, fn, _ in cells.tolist()
        for row in [_class_scores("a", tp, tp + fn, tp + fp)]
    ]

    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_a_class_without_images_or_predictions_has_no_scores():
    row = per_class(confusing())[3]

    assert (row.name, row.n, row.predicted) == ("d", 0, 0)
    assert (row.precision, row.recall, row.f1, row.f1_interval) == (None, None, None, None)


def test_a_class_that_is_never_found_has_f1_zero_and_no_precision():
    row = per_class(outputs_of(np.eye(2)[[0, 0]], [0, 1]))[1]

    assert (row.precision, row.recall, row.f1) == (None, 0.0, 0.0)


def test_most_confused_names_the_pair_with_its_share():
    found = most_confused(outputs_of(np.eye(3)[[1, 1, 0, 2, 0]], [0, 0, 0, 1, 1]))

    # a -> b twice of three; b -> a and b -> c once of two, in class order
    assert [(pair.true, pair.predicted, pair.count, pair.share.n) for pair in found] == [
        ("a", "b", 2, 3),
        ("b", "a", 1, 2),
        ("b", "c", 1, 2),
    ]


def test_most_confused_lists_no_pair_without_mistakes():
    assert most_confused(PERFECT) == ()


def test_mistakes_and_hits_are_listed_in_order_of_confidence():
    outputs = two_class([0.9, 0.6, 0.8, 0.7, 0.95], [False, True, False, True, True])

    assert most_confident_mistakes(outputs, 5).tolist() == [0, 2]
    assert least_confident_hits(outputs, 2).tolist() == [1, 3]


@pytest.mark.parametrize("metric", [accuracy, confusion_matrix, per_class])
def test_a_metric_of_outputs_without_labels_says_that_there_are_none(metric):
    unlabelled = replace(random_outputs(), labels=None)

    with pytest.raises(TransferkitError, match=r"outputs of 400 images have no labels.*among the 5 classes"):
        metric(unlabelled)


def test_outputs_without_labels_are_written_and_read_without_them(tmp_path):
    replace(random_outputs(), labels=None).save(tmp_path / "outputs.safetensors")

    read = Outputs.load(tmp_path / "outputs.safetensors")

    assert read.labels is None
    assert len(read) == 400
