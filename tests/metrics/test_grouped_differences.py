"""Two arms on images that belong together: whole groups count as drawn by chance, in intervals and p-values."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from transferkit.metrics.grouped import accuracy_interval, accuracy_interval_over_seeds, share_interval
from transferkit.metrics.statistics import mean_accuracy_interval_over_seeds, paired_difference
from transferkit.metrics.statistics.paired_difference import evidence
from transferkit.metrics.statistics.units import Units, seed_variance
from transferkit.runtime.array_types import Bools
from transferkit.runtime.errors import TransferkitError


def names(sizes: list[int] | np.ndarray) -> list[str]:
    return [f"patient {number}" for number in np.repeat(np.arange(len(sizes)), sizes)]


def alike(
    groups: int, seed: int, *, gain: float = 0.0, runs: int = 1, per_group: int = 8
) -> tuple[Bools, Bools, list[str]]:
    """Two arms that each know some patients and others not; the first knows so many more of them."""
    generator = np.random.default_rng(seed)
    knows = generator.random((2, 1, groups)) < np.array([0.5 + gain, 0.5])[:, None, None]
    share = np.repeat(np.where(knows, 0.95, 0.15), per_group, axis=-1)  # (2, 1, N)
    a, b = generator.random((2, runs, groups * per_group)) < share
    return a, b, names([per_group] * groups)


def sums(a: Bools, b: Bools, groups: list[str]) -> np.ndarray:
    """The differences of each group, by a plain loop."""
    change = a.mean(0) - b.mean(0)
    return np.array([sum(d for d, g in zip(change, groups, strict=True) if g == name) for name in sorted(set(groups))])


def test_groups_of_one_image_change_nothing() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 90)) < 0.8, generator.random((3, 90)) < 0.7
    alone = [str(number) for number in range(90)]

    for over in ("images", "seeds"):
        by_groups, by_images = paired_difference(a, b, over, groups=alone), paired_difference(a, b, over)
        assert by_groups.p == pytest.approx(by_images.p)
        assert by_groups.interval.bounds == pytest.approx(by_images.interval.bounds)


def test_copies_of_an_image_count_as_one() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random((1, 60)) < 0.8, generator.random((1, 60)) < 0.6

    copied = paired_difference(a.repeat(8, 1), b.repeat(8, 1), "images", groups=names([8] * 60))

    once = paired_difference(a, b, "images")
    assert (copied.p, *copied.interval.bounds) == pytest.approx((once.p, *once.interval.bounds))


def test_p_is_that_of_turning_the_signs_of_whole_groups() -> None:
    a, b, groups = alike(14, 0, gain=0.4)
    by_group = sums(a, b, groups)

    found = paired_difference(a, b, "images", groups=groups).p

    turned = np.abs(np.array(list(product([-1, 1], repeat=14))) @ by_group)  # all 16,384 ways
    exact = np.mean(turned >= abs(by_group.sum()) - 1e-9)
    assert 0.01 < exact < 0.1
    assert exact <= found < exact + 0.05  # one more group on either side makes it careful
    assert paired_difference(a, b, "images").p < 1e-4  # as if 112 images stood for themselves


def test_of_many_groups_p_and_interval_are_those_of_turned_signs_and_of_a_bootstrap() -> None:
    generator = np.random.default_rng(3)
    sizes = generator.integers(4, 9, size=300)
    shift = np.repeat(generator.normal(0.06, 0.5, 300), sizes)
    a, b = generator.random((1, len(shift))) < 0.7 + np.clip(shift, -0.6, 0.3), generator.random((1, len(shift))) < 0.7
    groups = names(sizes)
    by_group, n = np.array([(a[0] * 1.0 - b[0])[np.array(groups) == g].sum() for g in dict.fromkeys(groups)]), sizes

    found = paired_difference(a, b, "images", groups=groups)

    drawn = generator.integers(0, 300, (4000, 300))
    low, high = np.quantile(by_group[drawn].sum(1) / n[drawn].sum(1), [0.025, 0.975])
    assert found.interval.bounds == pytest.approx((low, high), abs=0.006)
    signs = generator.choice([-1, 1], (4000, 300))
    assert found.p == pytest.approx(np.mean(np.abs(signs @ by_group) >= abs(by_group.sum())), abs=0.015)


def test_alike_images_widen_the_interval_of_a_difference_until_it_covers() -> None:
    grouped, ungrouped = [], []
    for seed in range(300):
        a, b, groups = alike(20, seed)
        for found, covers in ((groups, grouped), (None, ungrouped)):
            low, high = paired_difference(a, b, "images", groups=found).interval.bounds
            covers.append(low <= 0 <= high)

    assert np.mean(ungrouped) < 0.7  # 95 % is what it says
    assert np.mean(grouped) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 300)


@pytest.mark.parametrize("groups", [8, 20])
def test_no_difference_is_claimed_over_seeds_more_often_than_in_five_per_cent(groups: int) -> None:
    claims = []
    for seed in range(200):
        a, b, of = alike(groups, seed, runs=3)
        claims.append(paired_difference(a, b, "seeds", groups=of).p <= 0.05)

    assert np.mean(claims) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_fewer_than_four_groups_show_nothing_at_all() -> None:
    found = paired_difference(np.ones((1, 80), bool), np.zeros((1, 80), bool), "images", groups=names([30, 30, 20]))

    assert found.interval.bounds == (-1.0, 1.0)
    assert found.p > 0.05


def test_groups_of_several_sizes_count_as_kish_says() -> None:
    # (40 + 5 + 5)^2 / (1600 + 25 + 25) = 2500 / 1650
    assert Units.of(50, names([40, 5, 5])).effective == pytest.approx(2500 / 1650)


def test_variance_by_seeds_within_groups_is_that_of_a_plain_loop() -> None:
    generator = np.random.default_rng(4)
    correct, groups = generator.random((4, 30)) < 0.6, names([3, 7, 10, 10])

    found = seed_variance(correct, Units.of(30, groups))

    parts = [correct[:, np.array(groups) == name].sum(1).var(ddof=1) / 4 for name in set(groups)]
    assert found == pytest.approx(sum(parts) / 30**2)


def test_evidence_by_groups_has_the_variance_of_cameron_and_miller() -> None:
    a, b, groups = alike(12, 2)
    by_group = sums(a, b, groups)

    found = evidence(a, b, "images", Units.of(96, groups))

    assert found.units == pytest.approx(12)
    assert found.spread / found.units == pytest.approx(((by_group - by_group.mean()) ** 2).sum() / 96**2)


def test_a_name_for_each_image_is_asked_for() -> None:
    with pytest.raises(TransferkitError, match="2 groups for 3 images; expected one name for each image"):
        paired_difference(np.ones((1, 3), bool), np.ones((1, 3), bool), "images", groups=["a", "b"])


# ---- accuracies ----


def test_an_accuracy_of_one_model_has_the_interval_of_its_own_page() -> None:
    a, _, groups = alike(20, 0)

    assert accuracy_interval(a, groups) == share_interval(a[0], groups)


def test_an_interval_over_seeds_and_groups_is_wider_than_over_either() -> None:
    generator = np.random.default_rng(0)
    level = np.array([[0.05], [0.0], [-0.05]])
    known = np.repeat(generator.choice([0.2, 0.9], 20), 8)
    correct, groups = generator.random((3, 160)) < known + level, names([8] * 20)

    both, by_groups = accuracy_interval_over_seeds(correct, groups), accuracy_interval(correct, groups)
    by_images = mean_accuracy_interval_over_seeds(correct)

    assert both.low < min(by_groups.low, by_images.low)
    assert both.high > max(by_groups.high, by_images.high)


def test_many_alike_groups_leave_students_interval_over_seeds() -> None:
    accuracies = [0.80, 0.83, 0.79]
    correct = np.stack([np.tile(np.arange(100) < 100 * accuracy, 1000) for accuracy in accuracies])

    found = accuracy_interval_over_seeds(correct, names([100] * 1000))

    expected = stats.ttest_1samp(accuracies, 0).confidence_interval()
    assert found.bounds == pytest.approx((expected.low, expected.high), abs=1e-3)
