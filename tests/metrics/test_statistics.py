"""Intervals and tests for accuracies: against published examples, scipy, statsmodels and plain loops."""

import math

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from transferkit.metrics.statistics import (
    clopper_pearson,
    holm,
    mcnemar_mid_p,
    mean_accuracy_interval,
    mean_accuracy_interval_over_seeds,
    mean_and_sd,
    mean_share_interval,
    newcombe,
    paired_difference,
    wilson,
)
from transferkit.metrics.statistics.paired_difference import BySeeds, Evidence, deviations, evidence, half_width
from transferkit.runtime.errors import TransferkitError

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


def test_interval_of_a_mean_of_two_shares_follows_from_newcombes_of_their_difference():
    # the mean of a and 1 - b is (1 + a - b) / 2
    shares, bounds = [56 / 70, 32 / 80], [wilson(56, 70).bounds, wilson(32, 80).bounds]

    interval = mean_share_interval(shares, bounds)

    expected = newcombe(56, 70, 48, 80).interval
    assert interval.bounds == pytest.approx(((1 + expected.low) / 2, (1 + expected.high) / 2), abs=1e-12)


def test_interval_of_balanced_accuracy_covers_the_truth_of_uneven_classes():
    generator, truth, n = np.random.default_rng(0), np.array([0.9, 0.6, 0.8]), np.array([100, 20, 8])
    counts = generator.binomial(n, truth, size=(1000, 3))
    intervals = [
        mean_share_interval(row / n, [wilson(int(right), int(size)).bounds for right, size in zip(row, n, strict=True)])
        for row in counts
    ]

    covered = np.mean([interval.low <= truth.mean() <= interval.high for interval in intervals])

    # 1,000 draws at 95 % vary by 0.7 points; the method is a little careful
    assert 0.93 <= covered <= 0.985


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


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 5), (5, 0), (8, 1), (4, 4), (30, 52), (300, 250)])
def test_two_single_runs_are_told_apart_by_mcnemar_with_one_image_more_on_either_side(only_a, only_b):
    a, b = pair(only_a, only_b, both=9_000, neither=400)

    result = paired_difference(a[None], b[None], "images")

    table = [[9_000, only_a + 1], [only_b + 1, 400]]
    assert result.p == pytest.approx(mcnemar(table, exact=False, correction=False).pvalue)
    assert result.difference == pytest.approx((only_a - only_b) / len(a))


def test_five_images_to_nothing_show_no_difference_and_six_do():
    # (b - c)^2 / (b + c + 2): 25 / 7 = 3.57 and 36 / 8 = 4.5, on either side of 1.96^2 = 3.84
    p = [paired_difference(*(x[None] for x in pair(count, 0, 80, 20)), "images").p for count in (5, 6)]

    assert p[1] < 0.05 < p[0]


def test_with_many_images_the_interval_over_images_is_that_of_a_mean():
    generator = np.random.default_rng(5)
    a = generator.random((3, 4_000)) < np.linspace(0.6, 0.95, 4_000)
    b = generator.random((2, 4_000)) < np.linspace(0.5, 0.95, 4_000)

    interval = paired_difference(a, b, "images").interval

    # the two images more widen the half of 1.19 points by 2 / (2 * 4,000 * 0.148) = 0.17 %, which is 2.0e-5; n - z^2
    # for n and z for t change it by less than 0.1e-5 together
    differences = a.mean(0) - b.mean(0)
    expected = stats.ttest_1samp(differences, 0).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=2.5e-5)


@pytest.mark.parametrize("n", [12, 60, 4_000])
def test_the_interval_over_images_ends_where_the_test_begins_to_reject(n):
    generator = np.random.default_rng(5)
    a, b = generator.random((3, n)) < 0.8, generator.random((2, n)) < 0.7

    interval = paired_difference(a, b, "images").interval

    differences = a.mean(0) - b.mean(0)

    def excess(true: float) -> float:  # (b - c)^2 / (b + c + 2), for answers that are shares: by plain sums
        return (differences - true).sum() ** 2 / (((differences - true) ** 2).sum() + 2) - stats.chi2.isf(0.05, 1)

    expected = [max(-1.0, min(1.0, optimize.brentq(excess, differences.mean(), end))) for end in (-50, 50)]
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("over", ["images", "seeds"])
def test_the_interval_leaves_out_zero_exactly_where_p_is_below_five_per_cent(over):
    generator = np.random.default_rng(2)
    outcomes = []
    for _ in range(300):
        ease = generator.normal(0, 1, 60)
        a, b = (generator.normal(0, 1, (3, 60)) + shift < ease + generator.normal(0, 0.2) for shift in (0, 0.5))
        result = paired_difference(a, b, over)
        outcomes.append((result.p < 0.05, not result.interval.low <= 0 <= result.interval.high))

    assert all(by_p == by_interval for by_p, by_interval in outcomes)
    assert 50 < sum(by_p for by_p, _ in outcomes) < 250  # both kinds were seen


def test_models_with_the_same_answers_show_nothing():
    a, _ = pair(0, 0, 800, 200)

    result = paired_difference(a[None], a[None], "images")

    # half the interval: 1.96 * sqrt(2 / 1000 / (1000 - 1.96^2))
    assert (result.difference, result.p) == (0.0, 1.0)
    assert result.interval.high == -result.interval.low == pytest.approx(0.00278, abs=1e-5)


def test_three_images_show_nothing_at_all():
    result = paired_difference(np.ones((1, 3), bool), np.zeros((1, 3), bool), "images")

    assert (result.interval.low, result.interval.high) == (-1.0, 1.0)
    assert result.p > 0.05


# ---- other seeds ----


def test_where_images_are_all_alike_the_seeds_are_compared_by_welch():
    a, b = [0.80, 0.83, 0.81], [0.78, 0.79, 0.70, 0.77]
    of_means = [np.var(x, ddof=1) / len(x) for x in (a, b)]
    freedom = sum(of_means) ** 2 / (of_means[0] ** 2 / 2 + of_means[1] ** 2 / 3)
    by_seeds = BySeeds(np.float64(sum(of_means)), np.float64(freedom), np.float64(0))

    found = Evidence(np.float64(np.mean(a) - np.mean(b)), np.float64(0), 10**9, by_seeds)

    welch = stats.ttest_ind(a, b, equal_var=False)
    assert 2 * stats.norm.sf(deviations(found)) == pytest.approx(welch.pvalue)
    low, high = welch.confidence_interval(0.95)
    assert half_width(found, stats.norm.isf(0.025)) == pytest.approx((high - low) / 2)


def test_the_variances_of_seeds_and_images_are_those_of_plain_loops():
    generator = np.random.default_rng(3)
    a = generator.random((3, 60)) < np.linspace(0.6, 0.95, 60)
    b = generator.random((4, 60)) < np.linspace(0.4, 0.95, 60)

    found = evidence(a, b, "seeds")

    welch = stats.ttest_ind(a.mean(1), b.mean(1), equal_var=False)
    within = np.mean([a[:, i].var(ddof=1) / 3 + b[:, i].var(ddof=1) / 4 for i in range(60)])
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert found.difference / np.sqrt(found.by_seeds.between) == pytest.approx(welch.statistic)
    assert found.by_seeds.freedom == pytest.approx(welch.df)
    assert found.by_seeds.beyond == pytest.approx(((a.mean(0) - b.mean(0)).var(ddof=1) - within) / 60)


def test_seeds_that_give_the_same_network_leave_the_images_alone():
    a, b = pair(300, 250, 9_000, 450)

    whole, single = (
        paired_difference(np.stack([a] * 3), np.stack([b] * 3), "seeds"),
        paired_difference(a[None], b[None], "images"),
    )

    assert whole.p == pytest.approx(single.p)
    assert whole.interval.low == pytest.approx(single.interval.low)


def test_how_seeds_are_numbered_changes_nothing():
    generator = np.random.default_rng(3)
    a = generator.random((5, 500)) < generator.normal(0.8, 0.03, (5, 1))
    b = generator.random((5, 500)) < generator.normal(0.78, 0.03, (5, 1))

    found = {repr(paired_difference(a[generator.permutation(5)], b, "seeds")) for _ in range(20)}

    assert len(found) == 1


def test_seeds_that_differ_widen_the_interval():
    images = np.arange(1_000)
    steady = np.stack([images < 900] * 4)
    spread = np.stack([images < 900 + shift for shift in (-60, -20, 20, 60)])
    other = np.stack([images < 880] * 4)

    narrow, wide = (paired_difference(arm, other, "seeds").interval for arm in (steady, spread))

    # Student's with 3 degrees of freedom: 3.18 * sd / 2, and the sd of the four is 5.16 points
    assert wide.high - wide.low > 2 * 3.18 * 0.0516 / 2
    assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)


def test_nothing_is_surer_over_seeds_than_with_the_networks_kept():
    generator = np.random.default_rng(7)
    for _ in range(50):
        a, b = (generator.random((2, 40)) < 0.7 for _ in range(2))

        assert paired_difference(a, b, "seeds").p >= paired_difference(a, b, "images").p


@pytest.mark.parametrize(("seeds", "scatter"), [(2, 0.0), (2, 0.05), (3, 0.0), (3, 0.05)])
def test_arms_that_are_equally_good_are_called_different_in_at_most_five_per_cent(seeds, scatter):
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 1, (500, 1, 300)) + generator.normal(0, 0.5, (2, 500, 1, 300))  # of an image for an arm
    level = stats.norm.isf(generator.normal(0.3, scatter, (2, 500, seeds, 1)))
    a, b = hard + generator.normal(0, 0.5, (2, 500, seeds, 300)) < level * np.sqrt(1.5)

    p = 2 * stats.norm.sf(deviations(evidence(a, b, "seeds")))

    assert np.mean(p <= 0.05) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 500)


def test_arms_on_different_images_are_refused_with_their_shapes():
    with pytest.raises(TransferkitError, match=r"found shapes \(2, 4\) and \(2, 5\)"):
        paired_difference(np.ones((2, 4), bool), np.ones((2, 5), bool), "seeds")


def test_one_run_says_nothing_of_other_seeds():
    with pytest.raises(TransferkitError, match="needs at least two runs of each arm; found 3 and 1"):
        paired_difference(np.ones((3, 4), bool), np.ones((1, 4), bool), "seeds")


def test_answers_of_a_cross_validation_widen_the_interval_by_the_root_of_their_dependence():
    a, b = pair(300, 200, 9_000, 500)

    alone, folds = (paired_difference(a[None], b[None], "images", dependence=d) for d in (1.0, 2.25))

    # 100 / sqrt(502) = 4.463 deviations become 2.975; the intervals' halves differ by a factor of 1.5
    assert folds.p == pytest.approx(2 * stats.norm.sf(100 / math.sqrt(502) / 1.5))
    assert folds.interval.high - 0.01 == pytest.approx(1.5 * (alone.interval.high - 0.01), rel=1e-3)


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


@pytest.mark.parametrize("accuracy", [0.03, 0.5, 0.97])
def test_the_same_model_in_every_seed_leaves_the_interval_over_images(accuracy) -> None:
    correct = np.stack([np.arange(400) < 400 * accuracy] * 3)

    assert mean_accuracy_interval_over_seeds(correct) == mean_accuracy_interval(correct)


def test_with_countless_images_the_interval_over_seeds_is_students() -> None:
    accuracies = [0.80, 0.83, 0.79]
    correct = np.stack([np.arange(1_000_000) < 1_000_000 * accuracy for accuracy in accuracies])

    interval = mean_accuracy_interval_over_seeds(correct)

    expected = stats.ttest_1samp(accuracies, 0).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_an_interval_over_seeds_stays_between_zero_and_one() -> None:
    interval = mean_accuracy_interval_over_seeds(np.stack([np.arange(10) < 9, np.arange(10) < 2]))

    assert (interval.low, interval.high) == (0.0, 1.0)


# ---- counts alone ----


def test_mid_p_equals_the_published_worked_example():
    # Fagerland 2013, airway hyper-responsiveness (Bentur et al.): 1 against 7; exact 0.070, mid-p 0.039
    assert round(mcnemar_mid_p(1, 7), 3) == 0.039


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 5), (5, 0), (8, 1), (30, 52), (300, 250)])
def test_mid_p_is_the_exact_p_of_statsmodels_less_the_probability_of_what_was_seen(only_a, only_b):
    exact = mcnemar([[10, only_a], [only_b, 10]], exact=True).pvalue

    seen = stats.binom.pmf(only_a, only_a + only_b, 0.5)
    assert mcnemar_mid_p(only_a, only_b) == pytest.approx(exact - seen, rel=1e-9)


def test_mid_p_of_five_to_nothing_is_one_in_thirty_two():
    # two-sided exact 2/32; minus the probability 1/32 of what was seen
    assert mcnemar_mid_p(5, 0) == pytest.approx(1 / 32)


def test_mid_p_of_equal_counts_is_one_less_half_of_what_was_seen():
    # 2 against 2: P(seen) = 6/16
    assert mcnemar_mid_p(2, 2) == pytest.approx(1 - 3 / 16)


def test_no_discordant_image_is_no_evidence():
    assert mcnemar_mid_p(0, 0) == 1.0


# ---- several tests ----


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
