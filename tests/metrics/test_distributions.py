"""Tails and quantiles: as `scipy.stats` has them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from transferkit.metrics.statistics import distributions


@pytest.mark.parametrize("z", [-30.0, -1.96, 0.0, 2.5, 30.0])
def test_the_normal_distribution_is_scipys(z: float) -> None:
    assert distributions.normal_cdf(z) == pytest.approx(stats.norm.cdf(z), rel=1e-12)
    assert distributions.normal_upper_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-12)


@pytest.mark.parametrize("share", [1e-12, 0.025, 0.5, 0.975])
def test_normal_quantiles_are_scipys(share: float) -> None:
    assert distributions.normal_quantile(share) == pytest.approx(stats.norm.ppf(share), rel=1e-12)
    assert distributions.normal_critical(share) == pytest.approx(stats.norm.isf(share), rel=1e-12)


@pytest.mark.parametrize("freedom", [1.0, 2.5, 4.0, 1e6])
def test_students_t_is_scipys(freedom: float) -> None:
    tails = np.array([1e-9, 0.025, 0.3])

    critical = distributions.student_critical(tails, freedom)

    np.testing.assert_allclose(critical, stats.t.isf(tails, freedom), rtol=1e-9)


def test_students_t_exceeds_no_bound_with_chance_0() -> None:
    assert distributions.student_critical(0.0, 3) == np.inf


@pytest.mark.parametrize(("successes", "n"), [(1, 3), (59, 60), (7_000, 10_000)])
def test_the_beta_distribution_is_scipys(successes: int, n: int) -> None:
    low = distributions.beta_quantile(0.025, successes, n - successes + 1)
    high = distributions.beta_critical(0.025, successes + 1, n - successes)

    assert low == pytest.approx(stats.beta.ppf(0.025, successes, n - successes + 1), rel=1e-9)
    assert high == pytest.approx(stats.beta.isf(0.025, successes + 1, n - successes), rel=1e-9)


@pytest.mark.parametrize(("heads", "tosses"), [(0, 1), (3, 10), (490, 1_000), (10_000, 20_000)])
def test_a_fair_coin_is_scipys(heads: int, tosses: int) -> None:
    assert distributions.coin_pmf(heads, tosses) == pytest.approx(stats.binom.pmf(heads, tosses, 0.5), rel=1e-9)
    assert distributions.coin_cdf(heads, tosses) == pytest.approx(stats.binom.cdf(heads, tosses, 0.5), rel=1e-9)


@pytest.mark.parametrize("count", [-1, 0, 4, 40])
def test_the_tail_of_poissons_distribution_is_scipys(count: int) -> None:
    assert distributions.poisson_upper_tail(count, 5.0) == pytest.approx(stats.poisson.sf(count, 5.0), rel=1e-9)
