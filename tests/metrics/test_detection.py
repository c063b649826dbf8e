"""AUROC, thresholds and open-world arithmetic: against scikit-learn, pytorch-ood, plain loops and analytic cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import auc as area
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from transferkit.metrics.bootstrap import stratified_bootstrap
from transferkit.metrics.open_set import error_among_accepted, largest_safe_prevalence, open_world
from transferkit.metrics.openood import aupr_out, fpr95_openood
from transferkit.metrics.proportions import share
from transferkit.metrics.roc import auroc, auroc_difference
from transferkit.metrics.thresholds import fpr95_id, threshold_at
from transferkit.runtime.errors import TransferkitError


def normal_scores(n_id: int, n_ood: int, shift: float, seed: int, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Known scores around 0 and unknown ones around `shift`, spread 1; rounding makes ties."""
    generator = np.random.default_rng(seed)
    known, unknown = generator.standard_normal(n_id), shift + generator.standard_normal(n_ood)
    return known.round(decimals), unknown.round(decimals)


def pooled(known: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (1 = unknown) and scores, as scikit-learn takes them."""
    return np.r_[np.zeros(len(known)), np.ones(len(unknown))], np.r_[known, unknown]


def pairs_won(known: np.ndarray, unknown: np.ndarray) -> float:
    return float((np.sign(unknown[:, None] - known) / 2 + 0.5).mean())


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
    assert 0.94 <= covered <= 0.99  # a Wald interval has .83 at n = 20 and AUROC .96


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


def test_fpr95_openood_worked_by_hand():
    # the 19th largest of 20 unknown scores 1..20 is 2; of the known scores 0, 1, 2, 3 two are at least 2
    assert fpr95_openood(np.arange(4.0), np.arange(1.0, 21.0)).value == 0.5


@pytest.mark.parametrize("decimals", [12, 1])
def test_fpr95_openood_equals_scikit_learn_and_pytorch_ood(decimals):
    known, unknown = normal_scores(400, 150, 1.5, seed=5, decimals=decimals)
    labels, values = pooled(known, unknown)
    functional = pytest.importorskip("pytorch_ood.metrics.functional")

    result = fpr95_openood(known, unknown)

    fpr, tpr, _ = roc_curve(labels, values, drop_intermediate=False)
    assert result.value == pytest.approx(fpr[tpr >= 0.95][0])
    theirs = functional.fpr_at_tpr(torch.from_numpy(values), torch.from_numpy(-labels), 0.95)
    assert result.value == pytest.approx(float(theirs))


def test_fpr95_openood_interval_agrees_with_resampling_images():
    known, unknown = normal_scores(120, 90, 1.5, seed=6)
    generator = np.random.default_rng(1)

    interval = fpr95_openood(known, unknown).interval

    def one() -> float:
        k, u = generator.choice(known, len(known)), np.sort(generator.choice(unknown, len(unknown)))[::-1]
        return float((k >= u[math.ceil(0.95 * 90) - 1]).mean())

    low, high = np.quantile([one() for _ in range(4000)], [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.03)


def test_fpr95_openood_of_nothing_flagged_is_not_certain():
    result = fpr95_openood(np.zeros(50), np.ones(60))

    assert (result.value, result.interval.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 50)))


def test_constant_scores_flag_every_known_image():
    result = fpr95_openood(np.zeros(50), np.zeros(60))

    assert (result.value, result.interval.low, result.interval.high) == (1.0, pytest.approx(0.025 ** (1 / 50)), 1.0)


# ---- AUPR ----


@pytest.mark.parametrize("decimals", [12, 1, 0])
def test_aupr_at_the_share_in_the_sets_equals_scikit_learn(decimals):
    known, unknown = normal_scores(300, 100, 1.0, seed=7, decimals=decimals)

    precision, recall, _ = precision_recall_curve(*pooled(known, unknown))
    assert aupr_out(known, unknown, prevalence=0.25).value == pytest.approx(area(recall, precision), abs=1e-12)


def test_aupr_at_a_stated_share_is_that_of_repeated_images():
    known, unknown = normal_scores(60, 40, 1.0, seed=8)

    # nine times as many known images: 540 to 40, where the share of unknown ones is 40 / 580
    repeated = aupr_out(np.tile(known, 9), unknown, prevalence=40 / 580).value
    assert aupr_out(known, unknown, prevalence=40 / 580).value == pytest.approx(repeated)


def test_aupr_of_a_constant_score_is_the_prevalence():
    result = aupr_out(np.zeros(9), np.zeros(9), prevalence=0.1)

    assert (result.value, result.interval, result.reason) == (0.1, None, "constant: every image has the same score")


def test_aupr_interval_holds_the_value_and_perfect_sets_have_none():
    known, unknown = normal_scores(100, 80, 1.0, seed=9)

    result, perfect = aupr_out(known, unknown), aupr_out(known, unknown + 99)

    assert result.interval.low < result.value < result.interval.high
    assert (perfect.value, perfect.interval) == (pytest.approx(1.0), None)
    assert perfect.reason == "the sets do not overlap; see the bound of the AUROC"


@pytest.mark.parametrize("prevalence", [0.0, 1.0, 5.0])
def test_an_impossible_prevalence_is_refused(prevalence):
    with pytest.raises(TransferkitError, match=r"expected a share between 0 and 1, such as 0\.1"):
        aupr_out(np.arange(3.0), np.arange(3.0), prevalence)


@pytest.mark.parametrize("measure", [fpr95_openood, aupr_out])
def test_an_estimate_of_empty_sets_is_missing_with_a_reason(measure):
    assert measure(np.empty(0), np.ones(2)).reason == "no in-distribution images"
    assert measure(np.ones(2), np.empty(0)).reason == "no out-of-distribution images"
    assert measure(np.zeros(2), np.ones(1)).reason == "one image has no spread"


@pytest.mark.parametrize("measure", [fpr95_openood, aupr_out])
def test_an_estimate_without_resamples_has_the_same_value_and_no_interval(measure):
    sets = normal_scores(40, 30, 1.0, seed=13)

    assert measure(*sets, resamples=0).value == measure(*sets).value
    assert measure(*sets, resamples=0).interval is None


# ---- differences and bootstraps ----


def test_weighted_auroc_of_every_image_once_is_auroc_and_the_pairs_agree_with_a_loop():
    known, unknown = normal_scores(80, 60, 1.0, seed=10, decimals=1)
    worse = known + np.random.default_rng(0).standard_normal(80), unknown + np.random.default_rng(1).standard_normal(60)
    generator = np.random.default_rng(2)

    result = auroc_difference(known, unknown, *worse)

    def one() -> float:
        i, o = generator.integers(0, 80, 80), generator.integers(0, 60, 60)
        return pairs_won(known[i], unknown[o]) - pairs_won(worse[0][i], worse[1][o])

    low, high = np.quantile([one() for _ in range(2000)], [0.025, 0.975])
    assert result.difference == pytest.approx(auroc(known, unknown).value - auroc(*worse).value)
    assert (result.interval.low, result.interval.high) == pytest.approx((low, high), abs=0.02)


def test_a_model_does_not_differ_from_itself():
    known, unknown = normal_scores(50, 50, 1.0, seed=11)

    result = auroc_difference(known, unknown, known, unknown)

    assert (result.difference, result.interval.low, result.interval.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_clear_difference_has_the_smallest_p_value():
    known, unknown = normal_scores(200, 200, 3.0, seed=12)

    # none of 999 resamples at or below 0: 2 * 1 / 1000
    assert auroc_difference(known, unknown, unknown, known, resamples=999).p_value == pytest.approx(0.002)


def test_a_difference_on_other_images_is_refused():
    with pytest.raises(TransferkitError, match="a has 3 known and 4 unknown ones, b 3 and 5"):
        auroc_difference(np.arange(3.0), np.arange(4.0), np.arange(3.0), np.arange(5.0))


def test_a_bootstrap_draws_each_set_within_itself():
    def unknown_drawn(known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        assert (known.sum(axis=1) == 15).all()
        return unknown.sum(axis=1)

    assert set(stratified_bootstrap(unknown_drawn, 15, 7, seed=0)) == {7.0}


# ---- the open world ----


def test_error_among_accepted_worked_by_hand():
    # of 1,000 images 100 are unknown; 855 known are accepted, 5 % of them wrong (42.75); 40 unknown are accepted
    assert error_among_accepted(0.1, 0.95, 0.05, 0.4) == pytest.approx((42.75 + 40) / (855 + 40))
    assert error_among_accepted(0.5, 0.0, 0.0, 0.0) is None


def test_at_the_largest_safe_prevalence_the_error_is_the_target():
    safe = largest_safe_prevalence(0.05, 0.95, 0.02, 0.4)

    assert safe == pytest.approx(0.95 * 0.03 / (0.95 * 0.03 + 0.4 * 0.95))
    assert error_among_accepted(safe, 0.95, 0.02, 0.4) == pytest.approx(0.05)


def test_safe_prevalence_at_its_edges():
    assert largest_safe_prevalence(0.02, 0.95, 0.03, 0.4) == 0.0  # more error than the target without any unknown
    assert largest_safe_prevalence(0.02, 0.95, 0.02, 0.0) == 0.0  # e >= r
    assert largest_safe_prevalence(0.05, 0.95, 0.02, 0.0) == 1.0  # none of the unknown is accepted
    assert largest_safe_prevalence(0.05, 0.0, 0.0, 0.4) == 0.0  # only unknown ones are


def test_shares_above_one_are_refused_by_name():
    with pytest.raises(TransferkitError, match="prevalence is 5; expected a share from 0 to 1"):
        error_among_accepted(5, 0.9, 0.1, 0.2)


def test_the_open_world_of_two_sets():
    accepted_known, right = np.arange(1000) < 950, np.arange(1000) % 20 > 0
    accepted_unknown = np.arange(400) < 100

    world = open_world(accepted_known, right, accepted_unknown, [0.0, 0.1], target=0.1)

    # 48 of the first 950 are multiples of 20
    assert (world.id_error.hits, world.id_error.n) == (48, 950)
    assert world.error[0.0][0] == pytest.approx(48 / 950)
    value, interval = world.error[0.1]
    assert value == pytest.approx(error_among_accepted(0.1, 0.95, 48 / 950, 0.25))
    assert interval.low < value < interval.high
    assert world.safe_interval.low < world.safe_prevalence < world.safe_interval.high


def test_the_open_world_interval_has_the_width_of_the_delta_method():
    # at prevalence 1/2 and no known error, error = a / (1 + a) for a accepted unknown; derivative 1 / (1 + a)^2
    everything = np.ones(10**6, bool)
    world = open_world(everything, everything, np.arange(400) < 100, [0.5], target=0.1, resamples=20_000)

    half = 1.96 * math.sqrt(0.25 * 0.75 / 400) / 1.25**2
    interval = world.error[0.5][1]
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.03)


def test_no_unknown_image_accepted_is_no_certainty():
    world = open_world(np.ones(100, bool), np.ones(100, bool), np.zeros(50, bool), [0.5], target=0.02)

    assert (world.safe_prevalence, world.safe_interval.high) == (1.0, 1.0)
    assert world.safe_interval.low < 0.5
    assert world.error[0.5][1].high > 0.01


def test_a_world_without_unknown_images_is_refused():
    with pytest.raises(
        TransferkitError, match="needs known and unknown images; found 3 known accepted or not, 3 right"
    ):
        open_world(np.ones(3, bool), np.ones(3, bool), np.empty(0, bool), [0.1], 0.02)
