"""Intervals and tests for accuracies: against published examples, scipy, statsmodels and plain loops."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from transferkit.errors import TransferkitError
from transferkit.statistics import (
    clopper_pearson,
    hierarchical_bootstrap,
    holm,
    image_bootstrap,
    mcnemar_exact,
    mcnemar_mid_p,
    mean_accuracy_interval,
    mean_and_sd,
    newcombe,
    paired_bootstrap,
    wilson,
)

COUNTS = [(0, 7), (7, 7), (1, 30), (81, 263), (15, 148), (9_500, 10_000)]


def pair(only_a: int, only_b: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers of two models with these counts."""
    a = np.repeat([True, False, True, False], [only_a, only_b, both, neither])
    b = np.repeat([False, True, True, False], [only_a, only_b, both, neither])
    return a, b


# ---- one proportion ----


def test_wilson_equals_newcombe_1998_table_one():
    interval = wilson(81, 263)

    # Newcombe 1998, Stat. Med. 17, p. 857, table I, method 3: 81/263 gives .2553 to .3662
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


def test_clopper_pearson_equals_newcombe_1998_table_one():
    interval = clopper_pearson(81, 263)

    # the same table, method 5: .2527 to .3676
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2527, 0.3676)


def test_wilson_gives_the_figures_of_our_facts_sheet():
    interval = wilson(9_500, 10_000)

    # 95 % at n = 10,000 is 94.56 to 95.41
    assert (round(100 * interval.low, 2), round(100 * interval.high, 2)) == (94.56, 95.41)


@pytest.mark.parametrize(("successes", "n"), COUNTS)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_equals_scipy(successes, n, confidence):
    interval = wilson(successes, n, confidence)

    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), COUNTS)
def test_clopper_pearson_equals_statsmodels(successes, n):
    interval = clopper_pearson(successes, n)

    assert (interval.low, interval.high) == pytest.approx(proportion_confint(successes, n, method="beta"), abs=1e-12)


def test_wilson_touches_zero_and_one_exactly():
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0


def test_nothing_seen_allows_every_proportion():
    assert [(f(0, 0).low, f(0, 0).high) for f in (wilson, clopper_pearson)] == [(0.0, 1.0)] * 2


def test_impossible_counts_are_refused_with_both_numbers():
    with pytest.raises(TransferkitError, match="8 successes of 7 trials is impossible; expected 0 <= successes <= n"):
        wilson(8, 7)


# ---- two independent proportions ----


def test_newcombe_equals_the_published_worked_example():
    result = newcombe(56, 70, 48, 80)

    # Newcombe 1998, Stat. Med. 17, p. 873, table II, example (a), method 10: .2 with .0524 to .3339
    assert (round(result.interval.low, 4), round(result.interval.high, 4)) == (0.0524, 0.3339)
    assert result.difference == pytest.approx(0.2)


@pytest.mark.parametrize("counts", [(9, 10, 3, 10), (10, 10, 0, 20), (5, 56, 0, 29), (9_400, 10_000, 1_700, 2_000)])
def test_newcombe_equals_statsmodels(counts):
    result = newcombe(*counts)

    expected = confint_proportions_2indep(*counts, method="newcomb", compare="diff")
    assert (result.interval.low, result.interval.high) == pytest.approx(expected, abs=1e-10)


def test_newcombe_refuses_an_empty_sample():
    with pytest.raises(TransferkitError, match="two samples with images; found n = 5 and n = 0"):
        newcombe(3, 5, 0, 0)


# ---- two models on the same images ----


def test_paired_bootstrap_agrees_with_resampling_image_by_image():
    a, b = pair(only_a=30, only_b=12, both=140, neither=18)
    generator = np.random.default_rng(1)

    interval = paired_bootstrap(a, b, seed=0, resamples=20_000).interval

    drawn = generator.integers(0, len(a), size=(20_000, len(a)))
    low, high = np.quantile((a[drawn].astype(float) - b[drawn]).mean(axis=1), [0.025, 0.975])
    # the grid of possible differences has steps of 1/200 = 0.005: allow one step
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.0051)


def test_paired_bootstrap_has_the_analytic_width_for_many_images():
    a, b = pair(only_a=300, only_b=250, both=9_000, neither=450)

    result = paired_bootstrap(a, b, seed=0, resamples=100_000)

    # variance of one image's +1/-1/0 is (300 + 250)/n - (50/n)^2; at n = 10,000 the normal limit is close
    sd = math.sqrt((0.055 - 0.005**2) / 10_000)
    assert result.difference == pytest.approx(0.005)
    assert result.interval.high - result.interval.low == pytest.approx(2 * 1.959964 * sd, rel=0.02)


def test_models_with_the_same_answers_differ_by_exactly_nothing():
    a, _ = pair(0, 0, 8, 2)

    result = paired_bootstrap(a, a, seed=0)

    assert (result.difference, result.interval.low, result.interval.high) == (0.0, 0.0, 0.0)


def test_same_seed_gives_the_same_interval_and_another_seed_another():
    a, b = pair(300, 250, 9_000, 450)

    intervals = [paired_bootstrap(a, b, seed=seed, resamples=999).interval for seed in (0, 0, 1)]

    assert intervals[0] == intervals[1]
    assert intervals[0] != intervals[2]


def test_models_on_different_images_are_not_paired():
    with pytest.raises(TransferkitError, match=r"same images; found \(4,\) and \(5,\)"):
        paired_bootstrap(np.ones(4, bool), np.ones(5, bool), seed=0)


def test_hierarchical_bootstrap_agrees_with_a_plain_loop():
    generator = np.random.default_rng(3)
    a = generator.random((3, 60)) < np.linspace(0.6, 0.95, 60)
    b = generator.random((4, 60)) < np.linspace(0.4, 0.95, 60)

    result = hierarchical_bootstrap(a, b, seed=0, resamples=20_000)

    def one() -> float:
        images = generator.integers(0, 60, 60)
        of_a, of_b = a[generator.integers(0, 3, 3)], b[generator.integers(0, 4, 4)]
        return float(of_a[:, images].mean() - of_b[:, images].mean())

    low, high = np.quantile([one() for _ in range(5_000)], [0.025, 0.975])
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert (result.interval.low, result.interval.high) == pytest.approx((low, high), abs=0.01)


def test_with_one_seed_per_arm_it_is_the_paired_bootstrap():
    a, b = pair(300, 250, 9_000, 450)

    nested = hierarchical_bootstrap(a[None], b[None], seed=0, resamples=50_000).interval
    paired = paired_bootstrap(a, b, seed=0, resamples=50_000).interval

    assert (nested.low, nested.high) == pytest.approx((paired.low, paired.high), abs=2e-4)


def test_seeds_that_differ_widen_the_interval():
    images = np.arange(1_000)
    steady = np.stack([images < 900] * 4)
    spread = np.stack([images < 900 + shift for shift in (-60, -20, 20, 60)])
    other = np.stack([images < 880] * 4)

    narrow = hierarchical_bootstrap(steady, other, seed=0).interval
    wide = hierarchical_bootstrap(spread, other, seed=0).interval

    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_arms_on_different_images_are_refused_with_their_shapes():
    with pytest.raises(TransferkitError, match=r"found shapes \(2, 4\) and \(2, 5\)"):
        hierarchical_bootstrap(np.ones((2, 4), bool), np.ones((2, 5), bool), seed=0)


def test_with_the_models_kept_only_the_images_are_drawn() -> None:
    generator = np.random.default_rng(5)
    a = generator.random((3, 80)) < np.linspace(0.6, 0.95, 80)
    b = generator.random((2, 80)) < np.linspace(0.5, 0.95, 80)

    result = image_bootstrap(a, b, seed=0, resamples=20_000)

    differences = a.mean(0) - b.mean(0)
    expected = stats.bootstrap((differences,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert result.difference == pytest.approx(differences.mean())
    low, high = expected.confidence_interval
    assert (result.interval.low, result.interval.high) == pytest.approx((low, high), abs=0.006)


def test_models_kept_leave_a_narrower_interval_than_models_drawn_again() -> None:
    images = np.arange(1_000)
    spread = np.stack([images < 900 + shift for shift in (-60, -20, 20, 60)])
    other = np.stack([images < 880] * 4)

    kept, drawn = (
        image_bootstrap(spread, other, seed=0).interval,
        hierarchical_bootstrap(spread, other, seed=0).interval,
    )

    assert kept.high - kept.low < 0.7 * (drawn.high - drawn.low)


def test_the_paired_bootstrap_equals_scipys() -> None:
    a, b = pair(only_a=30, only_b=12, both=140, neither=18)

    result = paired_bootstrap(a, b, seed=0, resamples=20_000)

    expected = stats.bootstrap((a * 1.0 - b,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    low, high = expected.confidence_interval
    assert (result.interval.low, result.interval.high) == pytest.approx((low, high), abs=0.0051)  # one step of 1/200


# ---- the mean of several models ----


def test_the_interval_of_one_model_is_wilsons() -> None:
    correct = np.arange(263) < 81

    interval = mean_accuracy_interval(correct[None])

    expected = wilson(81, 263)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_the_same_model_three_times_knows_no_more_than_once() -> None:
    correct = np.arange(263) < 81

    interval = mean_accuracy_interval(np.stack([correct] * 3))

    expected = wilson(81, 263)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_models_without_common_errors_count_as_more_images() -> None:
    correct = np.random.default_rng(0).random((4, 20_000)) < 0.8

    interval = mean_accuracy_interval(correct)

    expected = wilson(int(correct.sum()), correct.size)  # as if each answer came from an image of its own
    assert interval.high - interval.low == pytest.approx(expected.high - expected.low, rel=0.03)


def test_models_that_never_err_still_leave_room_for_error() -> None:
    # of 10 images: 1 / (1 + z^2 / 10) = 0.7225, whatever the number of models
    assert mean_accuracy_interval(np.ones((3, 10), bool)).low == pytest.approx(0.7225, abs=1e-4)


def test_the_interval_of_the_mean_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        difficulty = generator.beta(4, 1, 300)  # shared by three models; its mean is 0.8
        interval = mean_accuracy_interval(generator.random((3, 300)) < difficulty)
        covered.append(interval.low <= 0.8 <= interval.high)

    # 95 % of 400 is 380; four standard deviations of the count are 17
    assert 363 <= sum(covered) <= 397


# ---- tests ----


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 5), (5, 0), (8, 1), (4, 4), (30, 52), (300, 250)])
def test_exact_mcnemar_equals_statsmodels(only_a, only_b):
    expected = mcnemar([[10, only_a], [only_b, 10]], exact=True).pvalue

    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_mid_p_equals_the_published_worked_example():
    # Fagerland 2013, airway hyper-responsiveness (Bentur et al.): 1 against 7; exact 0.070, mid-p 0.039
    assert (round(mcnemar_exact(1, 7), 3), round(mcnemar_mid_p(1, 7), 3)) == (0.070, 0.039)


def test_mid_p_of_five_to_nothing_is_one_in_thirty_two():
    # two-sided exact 2/32; minus the probability 1/32 of what was seen
    assert mcnemar_mid_p(5, 0) == pytest.approx(1 / 32)


def test_mid_p_of_equal_counts_is_one_less_half_of_what_was_seen():
    # 2 against 2: P(seen) = 6/16
    assert mcnemar_mid_p(2, 2) == pytest.approx(1 - 3 / 16)


def test_no_discordant_image_is_no_evidence():
    assert (mcnemar_exact(0, 0), mcnemar_mid_p(0, 0)) == (1.0, 1.0)


def test_holm_worked_by_hand():
    # sorted .01 .03 .04 times 3, 2, 1 = .03 .06 .04, kept from falling: .03 .06 .06
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))


def test_holm_equals_statsmodels():
    p = np.random.default_rng(0).random(20) ** 3

    assert holm(p) == pytest.approx(tuple(multipletests(p, method="holm")[1]))


def test_holm_of_nothing_is_nothing():
    assert holm([]) == ()


def test_mean_and_sd_uses_n_minus_one():
    # deviations -1, 0, 1: 2 / (3 - 1) = 1
    assert mean_and_sd([1.0, 2.0, 3.0]) == (2.0, 1.0)


def test_one_run_has_a_mean_and_no_spread():
    mean, sd = mean_and_sd([0.9])

    assert mean == 0.9
    assert math.isnan(sd)
