"""Whether one of two counts is larger than by chance, and what several tests together show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferkit.metrics.statistics.distributions import coin_cdf, coin_pmf, hypergeometric_cdf, normal_upper_tail
from transferkit.metrics.statistics.units import Units
from transferkit.runtime.array_types import Bools


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """P-value that of the images on which two sets of answers differ, each is as often right: exact McNemar, mid-p.

    Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13 (2013) 91: the exact two-sided p - P(what was seen), and
    1 - P(what was seen) / 2 where both counts are equal.

    Args:
        only_a: Images on which only the first model is right.
        only_b: Images on which only the second model is right.

    Returns:
        In (0, 1]; 1 when there is no discordant image.
    """
    fewer, discordant = min(only_a, only_b), only_a + only_b
    if discordant == 0:
        return 1.0
    probability = coin_pmf(fewer, discordant)
    if only_a == only_b:
        return 1 - probability / 2
    return 2 * coin_cdf(fewer, discordant) - probability


def fisher_lower_p(right: int, n: int, all_right: int, images: int) -> float:
    """P-value that n of some images are right no less often than the others: Fisher's exact test, one-sided.

    Fisher, J. Roy. Stat. Soc. 98 (1935) 39: the chance of so few right ones if all choices of n images are as likely.

    Args:
        right: How many of the n are right.
        n: Images looked at.
        all_right: How many of all images are right.
        images: All images, the n among them.

    Example:
        >>> round(fisher_lower_p(0, 2, 2, 4), 4)
        0.1667
    """
    return hypergeometric_cdf(right, n, all_right, images)


def grouped_lower_p(right: Bools, inside: Bools, units: Units) -> float:
    """The same question where images come in groups, each of which counts as a whole.

    Each group has a part in the covariance of `right` and `inside`. Their sum is held against the root of the sum of
    their squares: the score test with a variance by clusters (Liang and Zeger, Biometrika 73 (1986) 13). One more group
    is counted, as different as those inside are on average, which keeps it honest where there are few.

    Args:
        right: (N,) whether each image is right.
        inside: (N,) the images looked at.
        units: Of the N images.
    """
    parts = units.sums((inside - inside.mean()) * (right.mean() - right))  # (G,)
    touched = parts[units.sums(inside.astype(np.int64)) > 0]
    variance = float((parts**2).sum() + (touched**2).mean())
    return float(normal_upper_tail(parts.sum() / np.sqrt(variance))) if variance > 0 else 1.0


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values, in the order given; comparing them with alpha bounds any false claim by alpha.

    Holm, Scand. J. Stat. 6 (1979) 65: the i-th smallest of m is multiplied by m - i + 1, kept from falling.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return tuple(adjusted.tolist())


def rank_ranges(is_better: Bools) -> list[tuple[int, int]]:
    """The ranks that each of k may have: behind all that are shown to be better, before all shown to be worse.

    If all claims hold together with a certainty, as after `holm`, so do all ranges. The relation need not be an order:
    a may tie with b and b with c where a is better than c.

    Args:
        is_better: (k, k), row i column j: i is shown to be better than j.

    Returns:
        k pairs (highest rank, lowest rank), 1 = best; (1, k) where nothing is shown.

    Example:
        >>> rank_ranges(np.array([[False, False, True], [False, False, True], [False, False, False]]))
        [(1, 2), (1, 2), (3, 3)]
    """
    above, below = is_better.sum(axis=0).tolist(), is_better.sum(axis=1).tolist()
    return [(1 + better, len(is_better) - worse) for better, worse in zip(above, below, strict=True)]
