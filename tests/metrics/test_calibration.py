"""Probabilities, calibration and temperature: by hand and against independent formulas."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as sk
from small_outputs import EMPTY, of_probabilities, outputs_of, random_outputs, two_class

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
from transferkit.metrics.grouped import share_interval
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import brier, nll, signed_overconfidence
from transferkit.metrics.temperature import fit_temperature, temperature_interval, with_temperature
from transferkit.runtime.errors import TransferkitError


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

    # 10,000 images, 95 % accurate: ECE averages .005 and rarely exceeds .007
    assert 0.001 < band.low < 0.005 < band.high < 0.009


def test_temperature_finds_the_factor_that_was_put_in():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 4)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (generator.random((20_000, 1)) > probabilities.cumsum(1)).sum(1).clip(0, 3)

    # the standard deviation at n = 5,000 is .025
    assert fit_temperature(outputs_of(2.0 * logits, labels)) == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize("n", [5, 50, 500])
def test_temperature_is_the_likeliest_of_a_fine_grid(n):
    outputs = random_outputs(n=n)

    fitted = fit_temperature(outputs)

    log_t = np.linspace(np.log(0.05), np.log(20), 4_000)
    likelihoods = [-n * nll(with_temperature(outputs, float(np.exp(value)))) for value in log_t]
    assert fitted == pytest.approx(np.exp(log_t[np.argmax(likelihoods + norm(0, 0.5).logpdf(log_t))]), rel=2e-3)


def test_few_images_move_the_temperature_little_and_none_do_not():
    def sure_and_wrong_of(n):
        return outputs_of(np.tile([5.0, 0.0], (n, 1)), np.ones(n, int))

    one, five, many = (fit_temperature(sure_and_wrong_of(n)) for n in (1, 5, 500))
    assert 1.5 < one < 2 < five < 4 < 19 < many
    assert fit_temperature(sure_and_wrong_of(0)) is None


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


# ---- images that belong together ----


def calibrated_patients(patients: int, per_patient: int, seed: int) -> Outputs:
    """Right about a patient as often as said, and then about all of their pictures."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.55, 0.95, patients)
    right = np.repeat(generator.random(patients) < confidence, per_patient)
    odds = np.repeat(np.log(confidence / (1 - confidence)), per_patient).astype(np.float32)
    n = len(odds)
    groups = tuple(f"patient {number}" for number in np.repeat(np.arange(patients), per_patient))
    logits = np.stack([odds, np.zeros(n, np.float32)], axis=1)
    names = tuple(map(str, range(n)))
    return Outputs(np.zeros((n, 1), np.float32), logits, (~right).astype(np.int64), names, ("a", "b"), groups)


def test_a_bin_of_grouped_images_has_the_interval_of_whole_groups() -> None:
    outputs = calibrated_patients(30, 8, seed=0)

    first = reliability(outputs)[0]

    among = (outputs.confidences > first.low) & (outputs.confidences <= first.high)
    assert first.accuracy.interval == share_interval(outputs.is_right, outputs.groups, among)


def test_classes_of_grouped_images_have_the_interval_of_whole_groups() -> None:
    outputs = calibrated_patients(30, 8, seed=0)

    assert confidence_by_class(outputs)[0].accuracy.interval == share_interval(outputs.is_right, outputs.groups)


@pytest.mark.parametrize("measure", [(ece, ece_if_calibrated), (ece_equal_mass, ece_equal_mass_if_calibrated)])
def test_calibrated_patients_are_not_taken_for_miscalibrated(measure: tuple[Any, Any]) -> None:
    value, range_by_chance = measure
    by_groups, by_images = [], []
    for seed in range(40):
        outputs = calibrated_patients(40, 8, seed)
        for asked, above in ((outputs, by_groups), (replace(outputs, groups=None), by_images)):
            above.append(value(asked) > range_by_chance(asked, seed=0).high)

    assert np.mean(by_groups) <= 0.1
    assert np.mean(by_images) > 0.8  # eight copies of a patient are not eight witnesses


def test_overconfident_patients_are_still_found() -> None:
    outputs = calibrated_patients(60, 8, seed=0)
    sure = replace(outputs, logits=6 * outputs.logits)

    assert ece(sure) > ece_if_calibrated(sure, seed=0).high
