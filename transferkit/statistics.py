"""Intervals and tests for accuracies: how sure a number is, and whether two of them differ.

Which question each answers:

- `wilson`, `clopper_pearson`: how far may this accuracy be from that on all images like these?
- `newcombe`: do two accuracies on *different* images differ?
- `paired_bootstrap`, `mcnemar_exact`, `mcnemar_mid_p`: do two models differ on the *same* images?
- `hierarchical_bootstrap`: do two recipes differ, if both the seeds and the images were drawn again?
- `image_bootstrap`: do the models trained so far differ, on other images?
- `mean_accuracy_interval`: how far may the mean accuracy of several models be from that on all images like these?
- `holm`: which of several such answers survive having asked several times?
- `rank_ranges`: which places in an order do the answers that survive leave to each?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from transferkit.errors import TransferkitError

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

BLOCK_ELEMENTS = 2**22  # resampled counts held at once, 32 MB


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much better a is than b, with its interval.

    Attributes:
        difference: accuracy(a) - accuracy(b), in [-1, 1].
        interval: Where it would lie if the experiment were repeated.
    """

    difference: float
    interval: Interval


# ---- one proportion ----


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion.

    Wilson, JASA 22 (1927), without continuity correction; Newcombe, Stat. Med. 17 (1998) 857, method 3.

    Args:
        successes: How many of the n.
        n: Trials; 0 gives the interval 0 to 1, since nothing was seen.
        confidence: Coverage, in (0, 1).

    Returns:
        Bounds in [0, 1]; the lower is exactly 0 for no success, the upper exactly 1 for no failure.

    Raises:
        TransferkitError: If successes lie outside 0..n.
    """
    _check_count(successes, n)
    if n == 0:
        return Interval(0.0, 1.0)
    return _score_interval(successes / n, n, confidence)


def _score_interval(share: float, n: float, confidence: float) -> Interval:
    """Wilson's interval of a share seen in n trials, of which there may be a fraction."""
    z = float(stats.norm.isf((1 - confidence) / 2))
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if share == 0 else max(0.0, float(centre - half))
    high = 1.0 if share == 1 else min(1.0, float(centre + half))
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact interval of a proportion: never covers less than it says, often more.

    Clopper and Pearson, Biometrika 26 (1934), by quantiles of the beta distribution.

    Args:
        successes: How many of the n.
        n: Trials; 0 gives the interval 0 to 1.
        confidence: Coverage, in (0, 1).

    Returns:
        Bounds in [0, 1].

    Raises:
        TransferkitError: If successes lie outside 0..n.
    """
    _check_count(successes, n)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(stats.beta.isf(tail, successes + 1, n - successes))
    return Interval(low, high)


def newcombe(successes_a: int, n_a: int, successes_b: int, n_b: int, confidence: float = 0.95) -> Difference:
    """Difference of two proportions from independent samples.

    Newcombe, Stat. Med. 17 (1998) 873, method 10: square-and-add of the two Wilson intervals.

    Args:
        successes_a: How many of the n_a.
        n_a: Trials of the first sample, at least 1.
        successes_b: How many of the n_b.
        n_b: Trials of the second sample, at least 1.
        confidence: Coverage, in (0, 1).

    Returns:
        successes_a / n_a - successes_b / n_b and its interval.

    Raises:
        TransferkitError: If a sample is empty or successes lie outside 0..n.
    """
    a, b = wilson(successes_a, n_a, confidence), wilson(successes_b, n_b, confidence)
    if 0 in (n_a, n_b):
        raise TransferkitError(f"A difference needs two samples with images; found n = {n_a} and n = {n_b}.")
    share_a, share_b = successes_a / n_a, successes_b / n_b
    below = float(np.hypot(share_a - a.low, b.high - share_b))
    above = float(np.hypot(a.high - share_a, share_b - b.low))
    difference = share_a - share_b
    return Difference(difference, Interval(difference - below, difference + above))


def _check_count(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise TransferkitError(f"{successes} successes of {n} trials is impossible; expected 0 <= successes <= n.")


# ---- two models on the same images ----


def paired_bootstrap(
    correct_a: Bools, correct_b: Bools, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """Difference in accuracy of two models on the same images, by resampling the images.

    Each image contributes +1 (only a is right), -1 (only b is right) or 0. Drawing n images with replacement
    draws these three counts from a multinomial distribution, so that is what is drawn: it is the same bootstrap,
    not an approximation of it, in a time that does not depend on the number of images.

    Args:
        correct_a: (N,) whether the first model is right on each image.
        correct_b: (N,) the same for the second.
        seed: Of the resampling.
        resamples: Bootstrap samples.
        confidence: Coverage of the percentile interval.

    Returns:
        Accuracy of a minus accuracy of b, and its percentile interval (Efron and Tibshirani 1993, section 13.3).

    Raises:
        TransferkitError: If the lengths differ or there are no images.
    """
    _check_paired(correct_a, correct_b)
    n = len(correct_a)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((~correct_a & correct_b).sum())
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)  # (resamples, 3)
    return Difference((only_a - only_b) / n, _percentiles((counts[:, 0] - counts[:, 1]) / n, confidence))


def hierarchical_bootstrap(
    correct_a: Bools, correct_b: Bools, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """Difference in mean accuracy of two arms, by resampling training seeds and then images.

    Every resample draws the seeds of each arm (the runs of two arms are not paired) and N images, the same images
    for both arms. Images with the same pattern of right and wrong over all runs are interchangeable, so the number
    drawn of each pattern is drawn at once, from a multinomial: the plain bootstrap, not an approximation of it.

    With few seeds the interval is too narrow: S draws from S values have (S - 1) / S of their variance.

    Args:
        correct_a: (S, N) whether each run of the first arm is right on each image.
        correct_b: (T, N) the same for the second arm.
        seed: Of the resampling.
        resamples: Bootstrap samples.
        confidence: Coverage of the percentile interval.

    Returns:
        Mean accuracy of a minus mean accuracy of b, and its percentile interval.

    Raises:
        TransferkitError: If the arms have different images, or there are no images or runs.
    """
    _check_arms(correct_a, correct_b)
    generator = np.random.default_rng(seed)
    runs = np.concatenate([correct_a, correct_b])  # (S + T, N)
    patterns, counts = np.unique(np.packbits(runs, axis=0), axis=1, return_counts=True)
    answers = np.unpackbits(patterns, axis=0, count=len(runs)).astype(np.float64)  # (S + T, U)
    weights = np.concatenate(
        [_seed_weights(generator, resamples, len(correct_a)), -_seed_weights(generator, resamples, len(correct_b))],
        axis=1,
    )  # (resamples, S + T)
    draws = _resampled_differences(generator, weights, answers, counts)
    difference = float(correct_a.mean() - correct_b.mean())
    return Difference(difference, _percentiles(draws, confidence))


def image_bootstrap(
    correct_a: Bools, correct_b: Bools, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """Difference in mean accuracy of two arms, by resampling the images alone: the trained models stay as they are.

    Args:
        correct_a: (S, N) whether each run of the first arm is right on each image.
        correct_b: (T, N) the same for the second arm.
        seed: Of the resampling.
        resamples: Bootstrap samples.
        confidence: Coverage of the percentile interval.

    Returns:
        Mean accuracy of a minus mean accuracy of b, and its percentile interval.

    Raises:
        TransferkitError: If the arms have different images, or there are no images or runs.
    """
    _check_arms(correct_a, correct_b)
    per_image = correct_a.mean(axis=0) - correct_b.mean(axis=0)  # (N,)
    values, counts = np.unique(per_image, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(per_image), counts / len(per_image), size=resamples)
    return Difference(float(per_image.mean()), _percentiles(drawn @ values / len(per_image), confidence))


def mean_accuracy_interval(correct: Bools, confidence: float = 0.95) -> Interval:
    """Interval over images of the mean accuracy of several models on the same images.

    Wilson's interval with the effective number of images in place of N (Franco, Little, Louis and Slud, J. Surv. Stat.
    Methodol. 7 (2019) 334): p (1 - p) over the variance of the share of models that are right on an image. It is N for
    one model, where this is `wilson`, and at most S x N, which models would reach whose errors have nothing in common.

    Args:
        correct: (S, N) whether each of S models is right on each of N images.
        confidence: Coverage, in (0, 1).

    Returns:
        Bounds in [0, 1] around the mean of `correct`.
    """
    models, n = correct.shape
    p, variance = float(correct.mean()), float(correct.mean(axis=0).var())
    independent = p * (1 - p) / models
    effective = n if p * (1 - p) == 0 else n * p * (1 - p) / max(variance, independent)
    return _score_interval(p, effective, confidence)


def _seed_weights(generator: np.random.Generator, resamples: int, seeds: int) -> Floats:
    """(resamples, seeds) the share that each run has in a resample."""
    return generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds


def _resampled_differences(
    generator: np.random.Generator, weights: Floats, answers: Floats, counts: npt.NDArray[np.int64]
) -> Floats:
    """(resamples,) sum over patterns of (share of images drawn) * (weighted answers), a block at a time."""
    n = int(counts.sum())
    rows = max(1, BLOCK_ELEMENTS // len(counts))
    blocks = np.split(weights, range(rows, len(weights), rows))
    drawn = [generator.multinomial(n, counts / n, size=len(block)) / n for block in blocks]
    parts = [((block @ answers) * share).sum(axis=1) for block, share in zip(blocks, drawn, strict=True)]
    return np.concatenate(parts)


def _percentiles(draws: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _check_paired(correct_a: Bools, correct_b: Bools) -> None:
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1 or not len(correct_a):
        raise TransferkitError(
            f"A paired comparison needs both models on the same images; found {correct_a.shape} and "
            f"{correct_b.shape}, expected two vectors of the same length, at least 1."
        )


def _check_arms(correct_a: Bools, correct_b: Bools) -> None:
    shapes = correct_a.shape, correct_b.shape
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise TransferkitError(
            f"Two arms need the same images; found shapes {shapes[0]} and {shapes[1]}, "
            "expected (seeds, images) with the same number of images, at least 1 of each."
        )


# ---- tests ----


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that two models err equally often on the same images.

    McNemar, Psychometrika 12 (1947), by the binomial distribution of the discordant pairs.

    Args:
        only_a: Images on which only the first model is right.
        only_b: Images on which only the second model is right.

    Returns:
        In (0, 1]; 1 when there is no discordant image.
    """
    fewer, discordant = min(only_a, only_b), only_a + only_b
    return min(1.0, 2 * float(stats.binom.cdf(fewer, discordant, 0.5)))


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """The exact test with half the probability of what was seen, which is less conservative.

    Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13 (2013) 91: exact p - P(what was seen), and
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
    seen = float(stats.binom.pmf(fewer, discordant, 0.5))
    if only_a == only_b:
        return 1 - seen / 2
    return 2 * float(stats.binom.cdf(fewer, discordant, 0.5)) - seen


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


def mean_and_sd(values: Sequence[float] | Floats) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); NaN where undefined: both for no value, the sd for one."""
    if not len(values):
        return float("nan"), float("nan")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), sd
