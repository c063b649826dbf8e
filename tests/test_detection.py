"""AUROC, thresholds and open-world arithmetic: against scikit-learn, pytorch-ood, plain loops and analytic cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from transferkit.detection import (
    auroc,
    fpr95_id,
    share,
    threshold_at,
)
from transferkit.errors import TransferkitError


def normal_scores(n_id: int, n_ood: int, shift: float, seed: int, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Known scores around 0 and unknown ones around `shift`, spread 1; rounding makes ties."""
    generator = np.random.default_rng(seed)
    known, unknown = generator.standard_normal(n_id), shift + generator.standard_normal(n_ood)
    return known.round(decimals), unknown.round(decimals)


def pooled(known: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (1 = unknown) and scores, as scikit-learn takes them."""
    return np.r_[np.zeros(len(known)), np.ones(len(unknown))], np.r_[known, unknown]


# ---- AUROC ----


def test_auroc_counts_pairs_and_half_of_the_ties():
    # unknown 2 against 1, 2, 3: 1 + 1/2 + 0; unknown 3: 1 + 1 + 1/2; 4 of 6
    assert auroc(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0])).value == pytest.approx(4 / 6)


@pytest.mark.parametrize("decimals", [12, 1, 0])
def test_auroc_equals_scikit_learn(decimals):
    known, unknown = normal_scores(300, 70, 0.8, seed=0, decimals=decimals)

    assert auroc(known, unknown).value == pytest.approx(roc_auc_score(*pooled(known, unknown)), abs=1e-12)


def test_auroc_of_two_normals_is_phi_of_their_distance_over_root_two():
    known, unknown = normal_scores(200_000, 200_000, 1.2, seed=1)

    assert auroc(known, unknown).value == pytest.approx(stats.norm.cdf(1.2 / math.sqrt(2)), abs=0.002)


def test_turning_the_scores_round_turns_auroc_and_its_interval_round():
    known, unknown = normal_scores(40, 30, 1.0, seed=2)

    forth, back = auroc(known, unknown), auroc(-known, -unknown)

    assert back.value == pytest.approx(1 - forth.value)
    assert (back.interval.low, back.interval.high) == pytest.approx((1 - forth.interval.high, 1 - forth.interval.low))


def test_delong_variance_is_that_of_a_plain_loop():
    known, unknown = normal_scores(25, 18, 0.7, seed=3, decimals=1)

    result = auroc(known, unknown)

    pairs = np.array([[(u > k) + 0.5 * (u == k) for k in known] for u in unknown])
    variance = pairs.mean(axis=1).var(ddof=1) / 18 + pairs.mean(axis=0).var(ddof=1) / 25
    value = pairs.mean()
    centre, half = math.log(value / (1 - value)), 1.959964 * math.sqrt(variance) / (value * (1 - value))
    expected = [1 / (1 + math.exp(-x)) for x in (centre - half, centre + half)]
    assert [result.interval.low, result.interval.high] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "shift"), [(20, 2.5), (50, 2.5), (200, 1.0)])
def test_the_interval_covers_the_truth_about_95_percent_of_the_time(n, shift):
    truth = stats.norm.cdf(shift / math.sqrt(2))

    intervals = [auroc(*normal_scores(n, n, shift, seed)).interval for seed in range(2000)]

    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.94 <= covered <= 0.99  # OOD.md: .98 at n = 20 and AUROC .96, where Wald has .83


def test_sets_that_do_not_overlap_have_a_one_sided_bound():
    apart = auroc(np.zeros(30), np.arange(1.0, 11.0))
    reversed_sets = auroc(np.arange(1.0, 11.0), np.zeros(30))

    # ten of ten successes: .05^(1/10) = .7411
    assert (apart.value, apart.interval.low, apart.interval.high) == (1.0, pytest.approx(0.05**0.1), 1.0)
    assert (reversed_sets.interval.low, reversed_sets.interval.high) == (0.0, pytest.approx(1 - 0.05**0.1))
    assert apart.reason == "the sets do not overlap: one-sided bound"


def test_constant_scores_are_flagged():
    result = auroc(np.full(7, 3.0), np.full(9, 3.0))

    assert (result.value, result.constant, result.interval) == (0.5, True, None)
    assert result.reason == "constant: every image has the same score"


def test_an_empty_set_has_no_auroc():
    assert auroc(np.empty(0), np.ones(3)).value is None
    assert auroc(np.empty(0), np.ones(3)).reason == "no in-distribution images"
    assert auroc(np.ones(3), np.empty(0)).reason == "no out-of-distribution images"


def test_one_unknown_image_allows_every_auroc():
    result = auroc(np.array([0.0, 1.0, 2.0]), np.array([1.5]))

    assert (result.value, result.interval.low, result.interval.high) == (pytest.approx(2 / 3), 0.0, 1.0)
    assert result.reason == "one image has no spread: any value is possible"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_counted(bad):
    with pytest.raises(TransferkitError, match="2 of 4 out-of-distribution scores are NaN or infinite"):
        auroc(np.zeros(3), np.array([1.0, bad, bad, 2.0]))


def test_scores_of_several_detectors_at_once_are_refused():
    with pytest.raises(TransferkitError, match=r"in-distribution scores have shape \(3, 2\); expected one number per"):
        auroc(np.zeros((3, 2)), np.zeros(3))


# ---- FPR ----


def test_the_threshold_is_the_score_that_95_of_100_do_not_exceed():
    assert threshold_at(np.arange(100.0)) == 94.0
    assert threshold_at(np.arange(60.0)) == 56.0  # .95 * 60 = 57, whatever rounding makes of it
    assert threshold_at(np.arange(21.0)) == 19.0  # .95 * 21 = 19.95, so 20 images
    assert threshold_at(np.arange(100.0), acceptance=1.0) == 99.0


def test_no_threshold_below_twenty_validation_images():
    result = fpr95_id(np.arange(19.0), np.arange(5.0), np.arange(5.0))

    assert threshold_at(np.arange(19.0)) is None
    assert (result.threshold, result.ood_accepted) == (None, None)
    assert result.reason == "19 validation images; a threshold needs 20"


def test_an_impossible_acceptance_is_refused():
    with pytest.raises(TransferkitError, match="acceptance is 95; expected a share above 0 and up to 1"):
        threshold_at(np.arange(100.0), acceptance=95)


def test_fpr95_id_reports_what_test_images_really_do():
    result = fpr95_id(np.arange(100.0), np.array([0.0] * 30 + [99.0] * 20), np.array([50.0, 94.0, 94.5, 200.0]))

    # t = 94: 30 of 50 test images and 2 of 4 unknown ones are accepted
    assert (result.threshold, result.id_accepted.hits, result.ood_accepted.hits) == (94.0, 30, 2)


def test_fpr95_id_equals_scikit_learns_curve_with_known_images_positive():
    known, unknown = normal_scores(400, 150, 1.5, seed=4, decimals=1)

    labels, values = pooled(known, unknown)
    fpr, tpr, _ = roc_curve(1 - labels, -values, drop_intermediate=False)
    assert fpr95_id(known, known, unknown).ood_accepted.value == pytest.approx(fpr[tpr >= 0.95][0])


def test_ties_accept_more_than_95_percent_and_it_shows():
    result = fpr95_id(np.zeros(100), np.zeros(50), np.zeros(8))

    assert (result.id_accepted.value, result.ood_accepted.value) == (1.0, 1.0)


def test_shares_use_the_exact_interval_where_wilson_is_too_narrow():
    # Clopper-Pearson: 0 of 50 reaches up to 1 - .025^(1/50); 3 of 10 is .0667 to .6525 (scipy); Wilson for 30 of 100
    assert share(np.zeros(50, bool)).interval.high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert share(np.arange(10) < 3).interval.low == pytest.approx(0.0667, abs=1e-4)
    expected = stats.binomtest(30, 100).proportion_ci(method="wilson")
    assert share(np.arange(100) < 30).interval.low == pytest.approx(expected.low)
