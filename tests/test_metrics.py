"""Metrics of stored outputs: best on perfect outputs, worked by hand, and equal to scikit-learn where it has one."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from transferkit.errors import TransferkitError
from transferkit.metrics.accuracy import (
    _class_scores,
    accuracy,
    accuracy_with_interval,
    confusion_matrix,
    macro_recall,
    per_class,
)
from transferkit.metrics.calibration import (
    classwise_ece,
    confidence_by_class,
    debiased_rms_calibration_error,
    ece,
    ece_equal_mass,
    ece_equal_mass_if_calibrated,
    ece_if_calibrated,
    reliability,
    reliability_equal_mass,
)
from transferkit.metrics.mistakes import least_confident_hits, most_confident_mistakes, most_confused
from transferkit.metrics.probabilities import brier, nll, signed_overconfidence
from transferkit.metrics.selective import augrc, aurc, error_auroc, guaranteed_point, risk_coverage
from transferkit.metrics.temperature import fit_temperature, temperature_interval, with_temperature
from transferkit.outputs import Outputs
from transferkit.statistics import wilson


def outputs_of(logits: object, labels: object) -> Outputs:
    rows = np.asarray(logits, dtype=np.float32)
    names = tuple("abcdefgh"[: rows.shape[1]])
    ids = tuple(map(str, range(len(rows))))
    return Outputs(np.zeros((len(rows), 1), np.float32), rows, np.asarray(labels, dtype=np.int64), ids, names)


def of_probabilities(probabilities: object, labels: object) -> Outputs:
    return outputs_of(np.log(np.asarray(probabilities)), labels)


def two_class(confidences: list[float], right: list[bool]) -> Outputs:
    """Predicts class a with these confidences; the label is a where right."""
    p = np.asarray(confidences)
    return of_probabilities(np.stack([p, 1 - p], axis=1), [0 if hit else 1 for hit in right])


def random_outputs(n: int = 400, classes: int = 5, seed: int = 0) -> Outputs:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    return outputs_of(generator.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], labels)


def confusing() -> Outputs:
    """Labels a a a b b c against predictions a a b b c c: class d has no images and is never predicted."""
    return outputs_of(np.eye(4)[[0, 0, 1, 1, 2, 2]], [0, 0, 0, 1, 1, 2])


EMPTY = outputs_of(np.zeros((0, 3)), [])
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


# ---- probabilities and calibration ----


def test_nll_and_brier_worked_by_hand():
    outputs = of_probabilities([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], [1, 1])

    # -(ln .25 + ln .8) / 2;  (.25 + .5625 + .0625 + .01 + .04 + .01) / 2
    assert nll(outputs) == pytest.approx(-(math.log(0.25) + math.log(0.8)) / 2)
    assert brier(outputs) == pytest.approx(0.4675)


def test_nll_and_brier_equal_scikit_learn():
    outputs = random_outputs()
    probabilities = np.exp(outputs.log_probabilities)

    assert nll(outputs) == pytest.approx(sk.log_loss(outputs.labels, probabilities))
    assert brier(outputs) == pytest.approx(
        sk.brier_score_loss(outputs.labels, probabilities, scale_by_half=False, labels=range(5))
    )


def test_signed_overconfidence_is_positive_when_promises_are_not_kept():
    # mean confidence 0.8, accuracy 0.5
    assert signed_overconfidence(two_class([0.9, 0.7], [True, False])) == pytest.approx(0.3)


def test_ece_worked_by_hand():
    outputs = two_class([0.61, 0.64, 0.9, 0.9], [True, False, True, True])

    # bin (.6, .667]: |1/2 - .625| = .125 of two; bin (.867, .933]: |1 - .9| = .1 of two
    assert ece(outputs) == pytest.approx((2 * 0.125 + 2 * 0.1) / 4, abs=1e-6)


def test_ece_puts_a_confidence_of_one_into_the_last_bin():
    outputs = outputs_of([[0.0, 1e4], [0.0, math.log(19.0)]], [0, 1])

    # torchmetrics #3510: two images, confidences 1 (wrong) and .95 (right), one bin: |.5 - .975| = .475, not .525
    assert ece(outputs) == pytest.approx(0.475)


def test_ece_equals_a_plain_loop_over_bins():
    outputs = random_outputs(n=1_000)
    hits, confidences = outputs.predictions == outputs.labels, outputs.confidences

    total = 0.0
    for b in range(15):
        inside = (confidences > b / 15) & (confidences <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(hits[inside].mean() - confidences[inside].mean())
    assert ece(outputs) == pytest.approx(total)


def test_equal_mass_bins_hold_equally_many_images():
    assert [b.n for b in reliability_equal_mass(random_outputs(n=100), bins=15)] == [7] * 10 + [6] * 5


def test_equal_confidences_stay_in_one_bin():
    outputs = two_class([0.6, 0.7, 0.7, 0.7, 0.7, 0.9], [True] * 6)

    # three bins of two would cut the four .7 in two places; they join the lower bin
    assert [b.n for b in reliability_equal_mass(outputs, bins=3)] == [5, 1]


def test_equal_mass_ece_worked_by_hand():
    outputs = two_class([0.6, 0.7, 0.8, 0.9], [False, True, True, True])

    # two bins: |1/2 - .65| and |1 - .85|, both .15
    assert ece_equal_mass(outputs, bins=2) == pytest.approx(0.15, abs=1e-6)


def test_reliability_bins_count_every_image_once():
    assert sum(b.n for b in reliability(random_outputs(n=333))) == 333


def test_chance_band_of_ece_agrees_with_the_simulated_floor():
    confidences = np.random.default_rng(0).beta(19, 1, 10_000).clip(0.5, 1)
    outputs = two_class(confidences.tolist(), [True] * 10_000)

    band = ece_if_calibrated(outputs, seed=0)

    # OOD.md, 5.2: 10,000 images, 95 % accurate: ECE averages .005 and rarely exceeds .007
    assert 0.001 < band.low < 0.005 < band.high < 0.009


def test_temperature_finds_the_factor_that_was_put_in():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 4)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (generator.random((20_000, 1)) > probabilities.cumsum(1)).sum(1).clip(0, 3)

    # OOD.md, 5.2: the standard deviation at n = 5,000 is .025
    assert fit_temperature(outputs_of(2.0 * logits, labels)) == pytest.approx(2.0, abs=0.06)


def test_temperature_is_the_best_of_a_fine_grid():
    outputs = random_outputs()

    fitted = fit_temperature(outputs)

    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4_000))
    losses = [nll(with_temperature(outputs, t)) for t in grid]
    assert fitted == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3)


def test_temperature_is_not_fitted_on_fewer_than_a_hundred_images():
    assert fit_temperature(random_outputs(n=99)) is None


def test_temperature_keeps_every_prediction():
    outputs = random_outputs()

    assert (with_temperature(outputs, 3.0).predictions == outputs.predictions).all()


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(TransferkitError, match=r"Temperature is 0\.0; expected a number above 0"):
        with_temperature(EMPTY, 0.0)


def test_equal_mass_band_lies_below_that_of_equal_width():
    outputs = two_class(np.random.default_rng(0).beta(19, 1, 2_000).clip(0.5, 1).tolist(), [True] * 2_000)

    by_mass = ece_equal_mass_if_calibrated(outputs, seed=0)

    plain = chance_gaps(outputs.confidences, bins=15)
    assert (by_mass.low, by_mass.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), rel=0.15)


def chance_gaps(confidences, bins):
    """ECE over equal-mass bins of hits drawn with the confidences, by a plain loop."""
    generator, ordered = np.random.default_rng(1), np.sort(confidences)
    return [
        sum(abs(part.sum()) for part in np.array_split((generator.random(len(ordered)) < ordered) - ordered, bins))
        / len(ordered)
        for _ in range(400)
    ]


def test_debiased_error_worked_by_hand():
    outputs = two_class([0.6, 0.6, 0.9, 0.9], [False, True, False, False])

    # bin of .6: (.6 - .5)^2 - .25 / 1 = -.24; bin of .9: (.9 - 0)^2 - 0 = .81; half of each: .285
    assert debiased_rms_calibration_error(outputs, bins=2) == pytest.approx(math.sqrt(0.285), abs=1e-6)


def test_debiased_error_is_zero_where_chance_explains_the_gap():
    # one bin of ten: (.75 - .8)^2 = .0025, less .8 * .2 / 9 = .018
    outputs = two_class([0.75] * 10, [True] * 8 + [False] * 2)

    assert debiased_rms_calibration_error(outputs) == 0.0


def test_classwise_error_worked_by_hand():
    outputs = two_class([0.6, 0.8], [True, False])

    # two images, one bin: mean p of class 1 is .7 (of class 0 .3), its share is .5: gaps .2 and .2
    assert classwise_ece(outputs, bins=1) == pytest.approx(0.2, abs=1e-6)


def test_confidence_by_class_counts_the_images_given_a_class():
    outputs = outputs_of([[0.0, math.log(9.0), -50], [0.0, math.log(4.0), -50], [math.log(3.0), 0.0, -50]], [1, 0, 0])

    rows = confidence_by_class(outputs)

    assert [(row.accuracy.hits, row.accuracy.n) for row in rows] == [(1, 1), (1, 2)]  # class 2 was never said
    assert [row.gap for row in rows] == pytest.approx([0.75 - 1, 0.85 - 0.5])


def test_temperature_interval_agrees_with_refitting_every_resample():
    outputs = random_outputs(n=300)
    generator = np.random.default_rng(1)

    interval = temperature_interval(outputs, seed=0)

    refitted = [fit_temperature(outputs_at(outputs, generator.integers(0, 300, 300))) for _ in range(60)]
    assert interval.low < fit_temperature(outputs) < interval.high
    assert interval.high - interval.low == pytest.approx(np.ptp(np.quantile(refitted, [0.025, 0.975])), rel=0.35)


def outputs_at(outputs, rows):
    return outputs_of(outputs.logits[rows], outputs.labels[rows])


def test_temperature_has_no_interval_below_a_hundred_images():
    assert temperature_interval(random_outputs(n=99), seed=0) is None


# ---- selective prediction ----


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
