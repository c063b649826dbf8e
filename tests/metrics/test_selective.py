"""Selective prediction: risk, coverage and guarantees, by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk
from small_outputs import random_outputs, two_class

from transferkit.metrics.selective import augrc, aurc, error_auroc, guaranteed_point, risk_coverage


def test_risk_coverage_worked_by_hand():
    curve = risk_coverage(two_class([0.6, 0.9, 0.8, 0.7], [True, True, False, True]))

    # by falling confidence: right, wrong, right, right
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.generalized_risk.tolist() == pytest.approx([0, 0.25, 0.25, 0.25])


def test_equal_confidences_count_as_if_in_random_order():
    outputs = two_class([0.9, 0.9, 0.6], [True, False, True])

    # right-wrong and wrong-right are equally likely: risks (0 + 1)/2, 1/2, 1/3
    assert risk_coverage(outputs).risk.tolist() == pytest.approx([0.5, 0.5, 1 / 3])


def test_areas_equal_a_plain_loop():
    outputs = random_outputs(n=300)
    errors = (outputs.predictions != outputs.labels)[np.argsort(-outputs.confidences)]

    risks = [errors[:k].mean() for k in range(1, 301)]
    generalized = [errors[:k].sum() / 300 for k in range(1, 301)]
    assert aurc(outputs) == pytest.approx(np.mean(risks))
    assert augrc(outputs) == pytest.approx(np.mean(generalized))


@pytest.mark.parametrize(("wrong_first", "expected"), [(False, 0.2**2 / 2), (True, 0.2 - 0.2**2 / 2)])
def test_augrc_of_the_best_and_the_worst_order(wrong_first, expected):
    confidences = np.linspace(0.99, 0.51, 1_000)
    right = np.arange(1_000) >= 200 if wrong_first else np.arange(1_000) < 800

    # Traub 2024: e^2 / 2 for the best order of e = 0.2; mirrored, e - e^2 / 2 for the worst; 1/n for the steps
    assert augrc(two_class(confidences.tolist(), right.tolist())) == pytest.approx(expected, abs=1e-3)


def test_error_auroc_equals_scikit_learn_with_ties():
    confidences = np.random.default_rng(0).integers(55, 99, 200) / 100
    right = np.random.default_rng(1).random(200) < confidences
    outputs = two_class(confidences.tolist(), right.tolist())

    assert error_auroc(outputs) == pytest.approx(sk.roc_auc_score(right, confidences), abs=1e-6)


@pytest.mark.parametrize("right", [True, False])
def test_error_auroc_is_not_defined_without_hits_or_mistakes(right):
    assert math.isnan(error_auroc(two_class([0.6, 0.9], [right, right])))


def test_guaranteed_point_is_the_largest_coverage_below_the_target():
    confidences = np.linspace(0.99, 0.51, 1_000)
    outputs = two_class(confidences.tolist(), (np.arange(1_000) < 900).tolist())

    point = guaranteed_point(outputs, 0.05)

    # upper bounds at .05 / 20: of 0 in 900 errors .0066, of 50 in 950 .075: 90 % is the largest coverage that holds
    assert (point.answered.hits, point.answered.n, point.coverage) == (0, 900, 0.9)
    assert point.bound == pytest.approx(1 - (0.05 / 20) ** (1 / 900))
    assert point.threshold == pytest.approx(confidences[899])


def test_no_coverage_may_be_the_answer():
    assert guaranteed_point(two_class([0.9] * 20, [True] * 20), 0.01) is None  # 20 images show too little


def test_images_as_confident_as_the_last_one_are_answered_too():
    outputs = two_class([0.9] * 600 + [0.6] * 400, [True] * 600 + [False] * 400)

    point = guaranteed_point(outputs, 0.1)

    assert (point.answered.n, point.threshold) == (600, pytest.approx(0.9))


def test_a_guarantee_is_kept():
    """Of 100 samples of a classifier with a known error rate at every coverage, at most 5 % break the promise."""
    generator = np.random.default_rng(0)
    broken = 0
    for _ in range(100):
        confidences = generator.uniform(0.5, 1, 500)
        outputs = two_class(confidences.tolist(), (generator.random(500) < confidences).tolist())
        point = guaranteed_point(outputs, 0.15)
        broken += point is not None and 1 - (point.threshold + 1) / 2 > 0.15  # error = 1 - mean confidence above it
    assert broken <= 5
