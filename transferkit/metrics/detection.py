"""How well scores tell unknown images from known ones, with intervals; scores larger = more out-of-distribution.

Two kinds of threshold, not to be compared: `fpr95_id` accepts 95 % of known images, which anybody can set without
unknown ones; `fpr95_openood` flags 95 % of the unknown ones, as OpenOOD v1.5 reports it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from transferkit.errors import TransferkitError
from transferkit.metrics.classification import Proportion
from transferkit.statistics import Interval, clopper_pearson, wilson

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Statistic = Callable[[Floats, Floats], Floats]  # weights of known (B, n0) and unknown images (B, n1) to (B,)

CONFIDENCE = 0.95
ACCEPTANCE = 0.95
FEWEST_VAL = 20  # below, a 95 % threshold is the largest score
FEWEST_FOR_WILSON = 40  # below, and at 0 or all, the exact interval
RESAMPLES = 1000
BLOCK_ELEMENTS = 2**22  # resampled counts held at once, 32 MB


# ---- AUROC ----


@dataclass(frozen=True)
class Auroc:
    """How often an unknown image scores above a known one.

    Attributes:
        value: In [0, 1], ties counted half; None if one of the sets is empty.
        interval: 95 %; None if value is, and for constant scores, about which nothing more can be said.
        n_id: Known images.
        n_ood: Unknown images.
        constant: Whether all scores are equal.
        reason: Why value or interval is missing or conservative; None if neither is.
    """

    value: float | None
    interval: Interval | None
    n_id: int
    n_ood: int
    constant: bool
    reason: str | None


def auroc(id_scores: Floats, ood_scores: Floats) -> Auroc:
    """AUROC by mid-ranks, with DeLong's interval on the logit scale.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), by ranks (Sun and Xu, IEEE Signal Processing Letters 21
    (2014)); the logit keeps the interval in [0, 1] and its coverage near 95 % at 20 images. If the sets do not overlap,
    the variance is 0 and the bound is one-sided, .05^(1/n) with n the smaller set: n of n successes.

    Args:
        id_scores: (n0,) of known images.
        ood_scores: (n1,) of unknown images.

    Raises:
        TransferkitError: If scores are NaN or infinite; says how many.
    """
    known, unknown = _finite(id_scores, "in-distribution"), _finite(ood_scores, "out-of-distribution")
    sizes = len(known), len(unknown)
    if not all(sizes):
        side = "in-distribution" if not sizes[0] else "out-of-distribution"
        return Auroc(None, None, *sizes, constant=False, reason=f"no {side} images")
    if min(known.min(), unknown.min()) == max(known.max(), unknown.max()):
        return Auroc(0.5, None, *sizes, constant=True, reason="constant: every image has the same score")
    of_known, of_unknown = _placements(known, unknown)
    value = float(of_unknown.mean())
    interval, reason = _auroc_interval(value, of_known, of_unknown)
    return Auroc(value, interval, *sizes, constant=False, reason=reason)


def _placements(known: Floats, unknown: Floats) -> tuple[Floats, Floats]:
    """Share of unknown scores above each known one (n0,), and of known scores below each unknown one (n1,)."""
    known_sorted, unknown_sorted = np.sort(known), np.sort(unknown)
    return 1 - _share_below(known, unknown_sorted), _share_below(unknown, known_sorted)


def _share_below(scores: Floats, ascending: Floats) -> Floats:
    """Share of `ascending` below each score, ties counted half."""
    below, up_to = (np.searchsorted(ascending, scores, side=side) for side in ("left", "right"))
    shares: Floats = (below + up_to) / (2 * len(ascending))
    return shares


def _auroc_interval(value: float, of_known: Floats, of_unknown: Floats) -> tuple[Interval, str | None]:
    fewest = min(len(of_known), len(of_unknown))
    bound = (1 - CONFIDENCE) ** (1 / fewest)
    if value == 1:
        return Interval(bound, 1.0), "the sets do not overlap: one-sided bound"
    if value == 0:
        return Interval(0.0, 1 - bound), "the sets do not overlap: one-sided bound"
    if fewest == 1:
        return Interval(0.0, 1.0), "one image has no spread: any value is possible"
    variance = of_known.var(ddof=1) / len(of_known) + of_unknown.var(ddof=1) / len(of_unknown)
    half = float(stats.norm.isf((1 - CONFIDENCE) / 2) * np.sqrt(variance) / (value * (1 - value)))
    centre = special.logit(value)
    return Interval(float(special.expit(centre - half)), float(special.expit(centre + half))), None


# ---- thresholds ----


def threshold_at(val_scores: Floats, acceptance: float = ACCEPTANCE) -> float | None:
    """The score up to which that share of validation images is accepted; None below 20 images.

    Args:
        val_scores: (n,) of in-distribution images that trained nothing.
        acceptance: In (0, 1].

    Returns:
        The ceil(acceptance * n)-th smallest score; accept an image if its score is not above.

    Raises:
        TransferkitError: If acceptance is no share, or scores are not finite.
    """
    if not 0 < acceptance <= 1:
        raise TransferkitError(f"acceptance is {acceptance}; expected a share above 0 and up to 1, such as 0.95.")
    scores = _finite(val_scores, "validation")
    if len(scores) < FEWEST_VAL:
        return None
    return float(np.sort(scores)[_ceil(acceptance * len(scores)) - 1])


@dataclass(frozen=True)
class FprId:
    """What a threshold set on validation images lets through.

    Attributes:
        threshold: Accept scores up to here; None if it could not be set, and then the rest is None too.
        ood_accepted: Share of unknown images accepted; less is better.
        id_accepted: Share of known test images accepted, 95 % if val and test are alike; ties make it more.
        reason: Why there is no threshold, else None.
    """

    threshold: float | None
    ood_accepted: Proportion | None
    id_accepted: Proportion | None
    reason: str | None


def fpr95_id(val_scores: Floats, test_scores: Floats, ood_scores: Floats) -> FprId:
    """Share of unknown images accepted where 95 % of the validation images are.

    The interval takes the threshold as given, as a user does who stores it.

    Args:
        val_scores: (n,) known images that set the threshold.
        test_scores: (n0,) known images that check it.
        ood_scores: (n1,) unknown images.

    Raises:
        TransferkitError: If scores are not finite.
    """
    threshold = threshold_at(val_scores)
    if threshold is None:
        return FprId(None, None, None, f"{len(val_scores)} validation images; a threshold needs {FEWEST_VAL}")
    return FprId(threshold, accepted(ood_scores, threshold), accepted(test_scores, threshold), None)


def accepted(scores: Floats, threshold: float) -> Proportion:
    """Share of images with scores up to the threshold.

    Raises:
        TransferkitError: If scores are not finite.
    """
    return share(_finite(scores, "given") <= threshold)


def share(hits: Bools) -> Proportion:
    """How many are true, with a 95 % interval: Wilson's, or Clopper and Pearson's below 40 and at none or all."""
    count, n = int(np.sum(hits)), len(hits)
    exact = n < FEWEST_FOR_WILSON or count in (0, n)
    interval = clopper_pearson(count, n, CONFIDENCE) if exact else wilson(count, n, CONFIDENCE)
    return Proportion(count, n, count / n if n else float("nan"), interval)


# ---- OpenOOD's FPR and AUPR ----


@dataclass(frozen=True)
class Estimate:
    """A number from two sets of images.

    Attributes:
        value: In [0, 1]; None if one of the sets is empty.
        interval: 95 %, by bootstrap of both sets; None where it would be made up or was not asked for.
        n_id: Known images.
        n_ood: Unknown images.
        reason: Why value or interval is missing or special; None otherwise.
    """

    value: float | None
    interval: Interval | None
    n_id: int
    n_ood: int
    reason: str | None


def fpr95_openood(id_scores: Floats, ood_scores: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Share of known images flagged where at least 95 % of the unknown ones are; ties flag more.

    The threshold is the ceil(.95 n1)-th largest unknown score. It needs unknown images, which nobody has beforehand:
    use it to compare with OpenOOD v1.5 only. At 0 and 1 the interval is Clopper and Pearson's of the known images.

    Args:
        id_scores: (n0,) of known images.
        ood_scores: (n1,) of unknown images.
        seed: Of the bootstrap.
        resamples: Of both sets; 0 leaves the interval out.

    Raises:
        TransferkitError: If scores are not finite.
    """
    known, unknown = _finite(id_scores, "in-distribution"), _finite(ood_scores, "out-of-distribution")
    result = _estimate(_weighted_fpr(known, unknown), len(known), len(unknown), seed, resamples)
    if result.value not in (0, 1) or result.interval is None:
        return result
    return replace(result, interval=clopper_pearson(round(result.value * len(known)), len(known), CONFIDENCE))


def aupr_out(
    id_scores: Floats, ood_scores: Floats, prevalence: float = 0.5, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Area under precision and recall with unknown images positive, at a stated share of unknown images.

    Precision is prevalence * TPR / (prevalence * TPR + (1 - prevalence) * FPR). Trapezoids from (recall 0, precision
    1), as in scikit-learn and OpenOOD, whose number it is at prevalence n1 / (n0 + n1). A random score gives the
    prevalence.

    Args:
        id_scores: (n0,) of known images.
        ood_scores: (n1,) of unknown images.
        prevalence: Share of unknown images among all, in (0, 1).
        seed: Of the bootstrap.
        resamples: Of both sets; 0 leaves the interval out.

    Raises:
        TransferkitError: If prevalence is no such share, or scores are not finite.
    """
    if not 0 < prevalence < 1:
        raise TransferkitError(f"prevalence is {prevalence}; expected a share between 0 and 1, such as 0.1.")
    known, unknown = _finite(id_scores, "in-distribution"), _finite(ood_scores, "out-of-distribution")
    result = _estimate(_weighted_aupr(known, unknown, prevalence), len(known), len(unknown), seed, resamples)
    if result.value is None or np.ptp(np.concatenate([known, unknown])) > 0:
        return _without_false_certainty(result)
    return replace(result, value=prevalence, interval=None, reason="constant: every image has the same score")


def _without_false_certainty(result: Estimate) -> Estimate:
    if result.interval is None or result.interval.low < 1:
        return result
    return replace(result, interval=None, reason="the sets do not overlap; see the bound of the AUROC")


def _estimate(statistic: Statistic, n_id: int, n_ood: int, seed: int, resamples: int) -> Estimate:
    if not n_id or not n_ood:
        return Estimate(None, None, n_id, n_ood, f"no {'out-of-' if n_id else 'in-'}distribution images")
    value = float(statistic(np.ones((1, n_id)), np.ones((1, n_ood)))[0])
    if min(n_id, n_ood) == 1:
        return Estimate(value, None, n_id, n_ood, "one image has no spread")
    if not resamples:
        return Estimate(value, None, n_id, n_ood, None)
    draws = stratified_bootstrap(statistic, n_id, n_ood, seed, resamples=resamples)
    return Estimate(value, percentile_interval(draws), n_id, n_ood, None)


def _weighted_fpr(known: Floats, unknown: Floats) -> Statistic:
    falling, rising = np.sort(unknown)[::-1], np.sort(known)
    by_unknown, by_known = np.argsort(-unknown, kind="stable"), np.argsort(known, kind="stable")

    def fpr(of_known: Floats, of_unknown: Floats) -> Floats:
        flagged = of_unknown[:, by_unknown].cumsum(axis=1)
        needed = np.ceil(np.round(ACCEPTANCE * flagged[:, -1:], 9))
        threshold = falling[(flagged < needed).sum(axis=1)]
        below = _from_zero(of_known[:, by_known])
        passed = below[np.arange(len(below)), np.searchsorted(rising, threshold, side="left")]
        flagged_known: Floats = 1 - passed / below[:, -1]
        return flagged_known

    return fpr


def _weighted_aupr(known: Floats, unknown: Floats, prevalence: float) -> Statistic:
    thresholds = np.unique(np.concatenate([known, unknown]))[::-1]
    flag_known, flag_unknown = _flagged(known, thresholds), _flagged(unknown, thresholds)

    def aupr(of_known: Floats, of_unknown: Floats) -> Floats:
        recall, fpr = flag_unknown(of_unknown), flag_known(of_known)
        positive = prevalence * recall
        flagged = positive + (1 - prevalence) * fpr
        precision = np.divide(positive, flagged, out=np.ones_like(flagged), where=flagged > 0)
        areas: Floats = ((precision[:, 1:] + precision[:, :-1]) * np.diff(recall)).sum(axis=1) / 2
        return areas

    return aupr


def _flagged(scores: Floats, thresholds: Floats) -> Callable[[Floats], Floats]:
    """Weighted share of scores at or above each falling threshold, (B, n) to (B, 1 + thresholds), from 0 to 1."""
    order = np.argsort(-scores, kind="stable")
    upto = np.concatenate([[0], np.searchsorted(-scores[order], -thresholds, side="right")])

    def shares(weights: Floats) -> Floats:
        cumulative = _from_zero(weights[:, order])
        flagged: Floats = cumulative[:, upto] / cumulative[:, -1:]
        return flagged

    return shares


def _from_zero(weights: Floats) -> Floats:
    """(B, n) to cumulative sums (B, n + 1) that begin with 0."""
    cumulative: Floats = np.pad(weights.cumsum(axis=1), ((0, 0), (1, 0)))
    return cumulative


# ---- two detectors or models on the same images ----


@dataclass(frozen=True)
class AurocDifference:
    """How much better a separates than b.

    Attributes:
        difference: AUROC(a) - AUROC(b).
        interval: 95 %, by paired bootstrap.
        p_value: Two-sided, by the same bootstrap; for Holm's correction of several.
    """

    difference: float
    interval: Interval
    p_value: float


def auroc_difference(
    id_a: Floats, ood_a: Floats, id_b: Floats, ood_b: Floats, seed: int = 0, resamples: int = RESAMPLES
) -> AurocDifference:
    """Difference of two AUROCs on the same images; both models see the same resamples.

    Args:
        id_a: (n0,) scores of known images by a.
        ood_a: (n1,) scores of unknown images by a.
        id_b: (n0,) scores of the same known images, in the same order, by b.
        ood_b: (n1,) of the same unknown images by b.
        seed: Of the bootstrap.
        resamples: How many.

    Raises:
        TransferkitError: If the images differ in number, a set has fewer than two, or scores are not finite.
    """
    a = _finite(id_a, "in-distribution"), _finite(ood_a, "out-of-distribution")
    b = _finite(id_b, "in-distribution"), _finite(ood_b, "out-of-distribution")
    n_id, n_ood = len(a[0]), len(a[1])
    if (n_id, n_ood) != (len(b[0]), len(b[1])) or min(n_id, n_ood) < 2:
        raise TransferkitError(
            "A paired difference needs the same images, two or more of each kind; "
            f"a has {n_id} known and {n_ood} unknown ones, b {len(b[0])} and {len(b[1])}."
        )
    of_a, of_b = _weighted_auroc(*a), _weighted_auroc(*b)
    ones = np.ones((1, n_id)), np.ones((1, n_ood))
    draws = stratified_bootstrap(lambda i, o: of_a(i, o) - of_b(i, o), n_id, n_ood, seed, resamples=resamples)
    tail = (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / (1 + resamples)
    difference = float((of_a(*ones) - of_b(*ones))[0])
    return AurocDifference(difference, percentile_interval(draws), min(1.0, 2 * float(tail)))


def _weighted_auroc(known: Floats, unknown: Floats) -> Statistic:
    order = np.argsort(known, kind="stable")
    below, up_to = (np.searchsorted(known[order], unknown, side=side) for side in ("left", "right"))

    def auroc_of(of_known: Floats, of_unknown: Floats) -> Floats:
        cumulative = _from_zero(of_known[:, order])
        won = ((cumulative[:, below] + cumulative[:, up_to]) * of_unknown).sum(axis=1) / 2
        values: Floats = won / (cumulative[:, -1] * of_unknown.sum(axis=1))
        return values

    return auroc_of


# ---- bootstrap ----


def stratified_bootstrap(
    statistic: Statistic,
    n_id: int,
    n_ood: int,
    seed: int,
    id_clusters: Integers | None = None,
    ood_clusters: Integers | None = None,
    resamples: int = RESAMPLES,
) -> Floats:
    """The statistic on resamples of both sets, each drawn within itself.

    Args:
        statistic: From how often each known (B, n_id) and unknown image (B, n_ood) was drawn, to (B,).
        n_id: Known images.
        n_ood: Unknown images.
        seed: Of the draws.
        id_clusters: (n_id,) source of each known image, if several come from one; then sources are drawn.
        ood_clusters: (n_ood,) the same for unknown images.
        resamples: How many, B in all.

    Returns:
        (resamples,), for `percentile_interval`. Below about 50 images such an interval is too narrow.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK_ELEMENTS // (n_id + n_ood))
    blocks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    draws = [
        statistic(_draw(generator, size, n_id, id_clusters), _draw(generator, size, n_ood, ood_clusters))
        for size in blocks
    ]
    return np.concatenate(draws)


def _draw(generator: np.random.Generator, rows: int, n: int, clusters: Integers | None) -> Floats:
    """(rows, n), how often each image was drawn."""
    if clusters is None:
        return _counts(generator, rows, n)
    sources, member = np.unique(clusters, return_inverse=True)
    return _counts(generator, rows, len(sources))[:, member]


def _counts(generator: np.random.Generator, rows: int, n: int) -> Floats:
    drawn = generator.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def percentile_interval(draws: Floats) -> Interval:
    """The middle 95 % of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def cluster_bootstrap(values: Floats, clusters: Integers, seed: int, resamples: int = RESAMPLES) -> Interval | None:
    """Interval of the mean of values that come in clusters, e.g. 75 corruptions of each image; clusters are drawn.

    Args:
        values: (N,).
        clusters: (N,) which cluster each belongs to.
        seed: Of the draws.
        resamples: How many.

    Returns:
        None for fewer than two clusters, which have no spread.

    Raises:
        TransferkitError: If there is not one cluster per value, or values are not finite.
    """
    checked = _finite(values, "given")
    if len(checked) != len(clusters):
        raise TransferkitError(
            f"Each value needs its cluster; found {len(checked)} values and {len(clusters)} clusters."
        )
    _, member, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return None
    sums = np.bincount(member, checked)
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK_ELEMENTS // len(sizes))
    counts = (_counts(generator, min(rows, resamples - i), len(sizes)) for i in range(0, resamples, rows))
    return percentile_interval(np.concatenate([drawn @ sums / (drawn @ sizes) for drawn in counts]))


# ---- the open world: known and unknown images mixed ----


def error_among_accepted(prevalence: float, id_accepted: float, id_error: float, ood_accepted: float) -> float | None:
    """Share of wrong answers among those given; every answer to an unknown image is wrong.

    Args:
        prevalence: Share of unknown images in the world, in [0, 1].
        id_accepted: Share of known images accepted.
        id_error: Share of wrong answers among known images accepted.
        ood_accepted: Share of unknown images accepted.

    Returns:
        In [0, 1]; None if nothing is accepted.

    Raises:
        TransferkitError: If one of them is not in [0, 1].
    """
    _shares(prevalence=prevalence, id_accepted=id_accepted, id_error=id_error, ood_accepted=ood_accepted)
    known, unknown = (1 - prevalence) * id_accepted, prevalence * ood_accepted
    return (known * id_error + unknown) / (known + unknown) if known + unknown else None


def largest_safe_prevalence(target: float, id_accepted: float, id_error: float, ood_accepted: float) -> float:
    """The share of unknown images up to which the error among accepted ones stays at or below the target.

    A_id (r - e) / (A_id (r - e) + A_ood (1 - r)), where `error_among_accepted` equals r; 0 if e >= r.

    Args:
        target: Error r that is acceptable, in [0, 1].
        id_accepted: A_id, share of known images accepted.
        id_error: e, share of wrong answers among known images accepted.
        ood_accepted: A_ood, share of unknown images accepted; 0 makes every prevalence safe.

    Raises:
        TransferkitError: If one of them is not in [0, 1].
    """
    _shares(target=target, id_accepted=id_accepted, id_error=id_error, ood_accepted=ood_accepted)
    slack = id_accepted * (target - id_error)
    return slack / (slack + ood_accepted * (1 - target)) if slack > 0 else 0.0


def _shares(**named: float) -> None:
    for name, value in named.items():
        if not 0 <= value <= 1:
            raise TransferkitError(f"{name} is {value}; expected a share from 0 to 1.")


@dataclass(frozen=True)
class OpenWorld:
    """What a threshold means where known and unknown images come mixed.

    Attributes:
        id_accepted: Share of known images accepted.
        id_error: Share of wrong answers among those; NaN if none is accepted.
        ood_accepted: Share of unknown images accepted.
        error: For each prevalence asked for, the error among accepted images and its interval; None if nothing is.
        safe_prevalence: Up to this share of unknown images the error stays at or below the target.
        safe_interval: Of `safe_prevalence`.
    """

    id_accepted: Proportion
    id_error: Proportion
    ood_accepted: Proportion
    error: dict[float, tuple[float, Interval] | None]
    safe_prevalence: float
    safe_interval: Interval


def open_world(
    id_accepted: Bools,
    id_right: Bools,
    ood_accepted: Bools,
    prevalences: Sequence[float],
    target: float,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> OpenWorld:
    """The error among accepted images at several shares of unknown ones, and the largest share that is safe.

    Both sets are resampled as counts with half an image added to every kind (Jeffreys' prior): a plain bootstrap of 0
    in n accepted unknown images would be sure that none ever is. With many images the two agree.

    Args:
        id_accepted: (n0,) whether each known image is accepted.
        id_right: (n0,) whether its answer is right.
        ood_accepted: (n1,) whether each unknown image is accepted.
        prevalences: Shares of unknown images, in [0, 1].
        target: Acceptable error among accepted images.
        seed: Of the draws.
        resamples: How many.

    Raises:
        TransferkitError: If a set is empty or a share lies outside [0, 1].
    """
    if not len(id_accepted) or len(id_accepted) != len(id_right) or not len(ood_accepted):
        raise TransferkitError(
            f"An open world needs known and unknown images; found {len(id_accepted)} known accepted or not, "
            f"{len(id_right)} right or wrong, and {len(ood_accepted)} unknown."
        )
    known, wrong, unknown = share(id_accepted), share(~id_right[id_accepted]), share(ood_accepted)
    observed = known.value, wrong.value if wrong.n else 0.0, unknown.value
    drawn = _drawn_worlds(known, wrong, unknown, np.random.default_rng(seed), resamples)
    safe = largest_safe_prevalence(target, *observed)
    safe_draws = np.array([largest_safe_prevalence(target, *one) for one in drawn])
    errors = {p: _error_with_interval(p, observed, drawn) for p in prevalences}
    return OpenWorld(known, wrong, unknown, errors, safe, _around(safe, safe_draws))


def _drawn_worlds(
    known: Proportion, wrong: Proportion, unknown: Proportion, generator: np.random.Generator, resamples: int
) -> list[tuple[float, float, float]]:
    """Accepted, error and accepted unknown, as they might be."""
    kinds = generator.dirichlet(
        np.array([known.hits - wrong.hits, wrong.hits, known.n - known.hits]) + 0.5, size=resamples
    )
    accepted_unknown = generator.beta(unknown.hits + 0.5, unknown.n - unknown.hits + 0.5, size=resamples)
    accepted_known = kinds[:, 0] + kinds[:, 1]
    return list(
        zip(accepted_known.tolist(), (kinds[:, 1] / accepted_known).tolist(), accepted_unknown.tolist(), strict=True)
    )


def _error_with_interval(
    prevalence: float, observed: tuple[float, float, float], drawn: list[tuple[float, float, float]]
) -> tuple[float, Interval] | None:
    value = error_among_accepted(prevalence, *observed)
    if value is None:
        return None
    draws = [error_among_accepted(prevalence, *one) for one in drawn]
    return value, _around(value, np.array([d for d in draws if d is not None]))


def _around(value: float, draws: Floats) -> Interval:
    """The middle 95 % of the draws, widened to hold the value itself."""
    interval = percentile_interval(draws)
    return Interval(min(value, interval.low), max(value, interval.high))


# ---- scores, checked ----


def _finite(scores: Floats, what: str) -> Floats:
    """(N,) float64."""
    checked: Floats = np.asarray(scores, dtype=np.float64)
    if checked.ndim != 1:
        raise TransferkitError(f"The {what} scores have shape {checked.shape}; expected one number per image, (N,).")
    bad = int((~np.isfinite(checked)).sum())
    if bad:
        raise TransferkitError(
            f"{bad} of {len(checked)} {what} scores are NaN or infinite; a score must be a number for every image."
        )
    return checked


def _ceil(product: float) -> int:
    """The next whole number, where 0.95 * 60 counts as 57 however it is rounded."""
    return math.ceil(round(product, 9))
