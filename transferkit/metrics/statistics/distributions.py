"""Tails and quantiles of the usual distributions, from `scipy.special`: `scipy.stats` takes a second to import.

Even `scipy.special` is imported at the first question: a prediction asks none.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.runtime.array_types import Floats


@cache
def special() -> Any:
    """The module `scipy.special`."""
    from scipy import special as module

    return module


def normal_cdf(z: npt.ArrayLike) -> Floats:
    """The chance that a standard normal variable is at most z.

    Example:
        >>> float(normal_cdf(0.0))
        0.5
    """
    share: Floats = special().ndtr(z)
    return share


def normal_upper_tail(z: npt.ArrayLike) -> Floats:
    """The chance that a standard normal variable is above z, exact far out, too."""
    return normal_cdf(np.negative(z))


def normal_quantile(share: npt.ArrayLike) -> Floats:
    """The z that a standard normal variable does not exceed with this chance."""
    z: Floats = special().ndtri(share)
    return z


def normal_critical(tail: npt.ArrayLike) -> Floats:
    """The z that a standard normal variable exceeds with the chance `tail`.

    Example:
        >>> round(float(normal_critical(0.025)), 4)
        1.96
    """
    return np.negative(normal_quantile(tail))


def student_critical(tail: npt.ArrayLike, freedom: npt.ArrayLike) -> Floats:
    """The t that Student's t exceeds with the chance `tail`.

    Example:
        >>> round(float(student_critical(0.025, 4)), 4)
        2.7764
    """
    t: Floats = np.where(np.equal(tail, 0), np.inf, np.negative(special().stdtrit(freedom, tail)))
    return t


def beta_quantile(share: float, a: float, b: float) -> float:
    """The value that a beta variable does not exceed with this chance."""
    return float(special().betaincinv(a, b, share))


def beta_critical(tail: float, a: float, b: float) -> float:
    """The value that a beta variable exceeds with the chance `tail`."""
    return 1 - float(special().betaincinv(b, a, tail))  # of the mirrored variable: scipy 1.11 has no `betainccinv`


def coin_pmf(heads: int, tosses: int) -> float:
    """The chance of exactly so many heads of a fair coin.

    Example:
        >>> round(coin_pmf(1, 2), 12)
        0.5
    """
    ways = special().gammaln(tosses + 1) - special().gammaln(heads + 1) - special().gammaln(tosses - heads + 1)
    return float(np.exp(ways - tosses * np.log(2)))


def coin_cdf(heads: int, tosses: int) -> float:
    """The chance of at most so many heads of a fair coin.

    Example:
        >>> coin_cdf(0, 2)
        0.25
    """
    return float(special().bdtr(heads, tosses, 0.5))


def hypergeometric_cdf(hits: int, drawn: int, all_hits: int, images: int) -> float:
    """The chance of at most so many hits among `drawn` of some images, of which `all_hits` are hits.

    Example:
        >>> round(hypergeometric_cdf(0, 1, 1, 4), 12)
        0.75
    """
    fewest, most = max(0, drawn - (images - all_hits)), min(hits, drawn, all_hits)
    counts = np.arange(fewest, most + 1)
    ways = _log_choose(all_hits, counts) + _log_choose(images - all_hits, drawn - counts)
    return float(min(1.0, np.exp(ways - _log_choose(images, drawn)).sum()))


def _log_choose(n: int, k: npt.ArrayLike) -> Floats:
    log_gamma = special().gammaln
    ways: Floats = log_gamma(n + 1) - log_gamma(np.add(k, 1)) - log_gamma(np.subtract(n + 1, k))
    return ways


def poisson_upper_tail(count: int, mean: float) -> float:
    """The chance of more than `count` events where `mean` are expected; 1 for a negative count."""
    return 1.0 if count < 0 else float(special().pdtrc(count, mean))
