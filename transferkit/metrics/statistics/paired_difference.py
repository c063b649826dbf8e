"""The difference of two arms tested on the same images: its interval and its p-value, from one computation.

Two questions can be asked, and `over` says which:

- `images`: would these very networks differ on other images? Only the images count as drawn by chance. With one network
  on either side the p-value is McNemar's (Psychometrika 12, 1947: chi-squared of the images that only one of them gets
  right), with one more such image counted on either side, which keeps it honest where there are few of them (as Bonett
  and Price do, J. Educ. Behav. Stat. 37 (2012) 479). Several networks of an arm are averaged image by image. The
  interval holds the differences that this test would not reject.
- `seeds`: would other trainings differ in the same way on other images? Seeds and images both count as drawn by chance.
  Between seeds the variance is that of the arms' accuracies, S - 1 in the denominator, with the degrees of freedom of
  Welch and Satterthwaite (Biometrika 34 (1947) 28; Biometrics 2 (1946) 110), so that few seeds have Student's wide
  quantiles. The images add what is beyond that: the variance over images of how much oftener one arm is right, less
  what seeds of one arm already differ by on one image. And nothing counts as more certain than with the networks kept.

Where images come in groups, such as the pictures of one patient, groups take the place of images throughout: the sum
of the differences in a group is what was drawn by chance. With one network on either side the p-value is then that of
McNemar's test for clustered pairs (Durkalski, Palesch, Lipsitz and Rust, Stat. Med. 22 (2003) 2417; Yang, Sun and
Hardin, Biometrical J. 52 (2010) 638), to which turning the signs of whole groups at random tends, with one more group
counted on either side, as different as those that differ are on average.

Seeds are not paired: seed 1 of one arm has no more to do with seed 1 of the other than with its seed 2, so it does not
matter how seeds are numbered. Where two arms do share something by their seed, as the labels in a label curve, their
difference is steadier than is assumed here, and the interval is wider than it need be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from transferkit.metrics.statistics.distributions import normal_critical, normal_upper_tail, student_critical
from transferkit.metrics.statistics.intervals import Interval
from transferkit.metrics.statistics.units import Units, seed_variance
from transferkit.runtime.array_types import Bools, Floats
from transferkit.runtime.errors import TransferkitError

Over: TypeAlias = Literal["seeds", "images"]

HALVINGS = 60  # of the bracket in which a p-value is sought: to the last digit


@dataclass(frozen=True)
class PairedDifference:
    """How much better a is than b, and how sure that is.

    Attributes:
        difference: Mean accuracy of a minus that of b, in [-1, 1].
        interval: The differences that agree with what was seen; it leaves out 0 where p is below 1 - confidence.
        p: Two-sided, in [0, 1], that the arms are equally good.
    """

    difference: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class BySeeds:
    """The variance of a difference where trainings count as drawn by chance, in squared accuracy.

    Attributes:
        between: (...) by the seeds.
        freedom: (...) degrees of freedom of `between`.
        beyond: (...) by the images or groups, as far as it is not in `between`.
    """

    between: Floats
    freedom: Floats
    beyond: Floats


@dataclass(frozen=True)
class Evidence:
    """What one pair of arms, or many (...), show of their difference.

    Attributes:
        difference: (...) mean accuracy of a minus that of b.
        spread: (...) variance over units of the mean difference on one unit; units are images, or whole groups.
        units: How many units; of groups of several sizes, how many of equal size tell as much.
        by_seeds: None where the networks count as given.
        more: (...) squared difference on the unit that is added on either side; 1 for an image.
    """

    difference: Floats
    spread: Floats
    units: float
    by_seeds: BySeeds | None = None
    more: Floats | float = 1.0

    @property
    def variance(self) -> Floats:
        """(...) of the difference with the networks kept, one unit more counted on either side."""
        variance: Floats = (self.spread + 2 * self.more / self.units) / self.units
        return variance


def paired_difference(
    correct_a: Bools,
    correct_b: Bools,
    over: Over,
    confidence: float = 0.95,
    dependence: float = 1.0,
    groups: Sequence[str] | None = None,
) -> PairedDifference:
    """The difference in mean accuracy of two arms on the same images.

    Args:
        correct_a: (S, N) whether each run of the first arm is right on each image.
        correct_b: (T, N) the same for the second arm.
        over: What counts as drawn by chance: the images, or seeds and images.
        confidence: Coverage of the interval, in (0, 1).
        dependence: By how much images that share a network vary together: the variance over images is that of
            independent ones times this. See `cross_validation_dependence`.
        groups: N names, what each image belongs to, as a patient; whole groups then count as drawn by chance.

    Raises:
        TransferkitError: If the arms have different images, no images or runs, or too few runs for `seeds`.
    """
    _check(correct_a, correct_b, over)
    measured = evidence(correct_a, correct_b, over, Units.of(correct_a.shape[1], groups))
    root = float(np.sqrt(dependence))
    z = float(normal_critical((1 - confidence) / 2))
    half = float(half_width(measured, np.float64(z * root)))
    middle = float(measured.difference)
    interval = Interval(max(-1.0, middle - half), min(1.0, middle + half))
    return PairedDifference(middle, interval, float(2 * normal_upper_tail(deviations(measured) / root)))


def cross_validation_dependence(folds: int, learnt: float, held: float) -> float:
    """How much wider than by independent images a difference is whose answers come from a cross-validation.

    Networks of different folds share most of their training images. Nadeau and Bengio (Machine Learning 52 (2003) 239,
    section 3) put the correlation of their test results at held / (held + learnt): the variance of a mean over J folds
    is then (1 / J + held / learnt) instead of 1 / J times that of a fold.

    Args:
        folds: How many.
        learnt: Training images, or their share, of each fold.
        held: Images, or their share, that each fold answers.

    Example:
        >>> cross_validation_dependence(5, learnt=4, held=1)
        2.25
    """
    return 1 + folds * held / learnt


# ---------------------------------------------------------------------------------------------------- variances


def evidence(correct_a: Bools, correct_b: Bools, over: Over, units: Units | None = None) -> Evidence:
    """What two arms show, for one pair of them or for many at once.

    Args:
        correct_a: (..., S, N) whether each run of the first arm is right on each image.
        correct_b: (..., T, N) the same for the second arm.
        over: What counts as drawn by chance.
        units: Of the N images; None: each stands for itself.
    """
    units = units or Units(correct_a.shape[-1])
    right = [units.sums(correct.sum(axis=-2, dtype=np.int64)) for correct in (correct_a, correct_b)]  # (..., G)
    of_units = right[0] / correct_a.shape[-2] - right[1] / correct_b.shape[-2]  # (..., G)
    difference = of_units.sum(axis=-1) / units.images
    scale = units.effective / units.images  # one over the size of a unit
    residuals = scale * (of_units - units.sizes * difference[..., None])
    spread = np.square(residuals).sum(axis=-1) / units.effective
    by_seeds = _by_seeds(correct_a, correct_b, units, spread) if over == "seeds" else None
    return Evidence(difference, spread, units.effective, by_seeds, _one_more(of_units, units, scale))


def _one_more(of_units: Floats, units: Units, scale: float) -> Floats:
    """(...) squared difference on a unit, averaged over those that differ; at least that of one image.

    Where none differs, a whole unit does.
    """
    differing = (of_units != 0).sum(axis=-1)
    mean = np.square(of_units).sum(axis=-1) / np.maximum(differing, 1)
    square: Floats = scale**2 * np.where(differing > 0, np.maximum(mean, 1.0), np.square(units.sizes).mean())
    return square


def _by_seeds(correct_a: Bools, correct_b: Bools, units: Units, spread: Floats) -> BySeeds:
    arms = correct_a, correct_b
    accuracies = [np.sort(correct.mean(axis=-1)) for correct in arms]  # so that no sum is rounded anew
    runs = correct_a.shape[-2], correct_b.shape[-2]
    of_means = [accuracy.var(axis=-1, ddof=1) / count for accuracy, count in zip(accuracies, runs, strict=True)]
    within = seed_variance(correct_a, units) + seed_variance(correct_b, units)
    beyond = np.maximum(0, spread / max(units.effective - 1, 1e-9) - within)
    return BySeeds(of_means[0] + of_means[1], _freedom(of_means, runs), beyond)


def _freedom(of_means: list[Floats], runs: tuple[int, int]) -> Floats:
    """(...) Satterthwaite's degrees of freedom of a sum of two variances; 1 where both are 0 and it does not count."""
    parts = sum(variance**2 / (count - 1) for variance, count in zip(of_means, runs, strict=True))
    whole = (of_means[0] + of_means[1]) ** 2
    return np.divide(whole, parts, out=np.ones_like(whole), where=parts > 0)


# ------------------------------------------------------------------------------------------ intervals and p-values


def half_width(measured: Evidence, z: Floats | np.float64) -> Floats:
    """(...) how far the interval reaches to either side, at the confidence of z standard deviations of a normal.

    The two sources are added as squares, each with its own quantile: t^2 of the seeds' variance and z^2 of the images'.
    That keeps the level exactly where one of them is everything, and never exceeds it between (P(Z^2 > c) is convex in
    c, so it is at most the mean of the levels of the parts; compare Mickey and Brown, Ann. Math. Stat. 37 (1966) 639).
    """
    alone = _over_units(measured, z)
    if measured.by_seeds is None:
        return alone
    both = _squared(measured.by_seeds, np.broadcast_to(z, measured.difference.shape), measured.units)
    return np.maximum(alone, np.sqrt(both))


def _over_units(measured: Evidence, z: Floats | np.float64) -> Floats:
    """(...) half the interval with the networks kept; everything where there are fewer units than z^2.

    By the variance that a difference d0 would have: (d - d0)^2 / (variance + (d - d0)^2 / units) = z^2.
    """
    room = _room(z, measured.units)
    return np.where(room > 0, np.sqrt(np.square(z) * measured.variance / np.where(room > 0, room, 1)), 2.0)


def _room(z: Floats | np.float64, units: float) -> Floats:
    """(...) by how much less than z^2 so many units can reach, which widens intervals as Student's t does."""
    room: Floats = 1 - np.square(z) / units
    return room


def _squared(by_seeds: BySeeds, z: Floats, units: float) -> Floats:
    """(...) half the interval where trainings are drawn by chance, squared."""
    t = student_critical(normal_upper_tail(z), by_seeds.freedom)
    between = np.multiply(np.square(t), by_seeds.between, out=np.zeros_like(t), where=by_seeds.between > 0)
    squared: Floats = between + np.square(z) * by_seeds.beyond / np.maximum(_room(z, units), 1e-9)
    return squared


def deviations(measured: Evidence) -> Floats:
    """(...) of how many standard deviations of a normal the interval may be before it reaches 0."""
    squared = np.square(measured.difference)
    alone: Floats = np.sqrt(squared / (measured.variance + squared / measured.units))
    if measured.by_seeds is None:
        return alone
    low, high = np.zeros_like(alone), alone
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_within = _squared(measured.by_seeds, middle, measured.units) <= squared
        low, high = np.where(is_within, middle, low), np.where(is_within, high, middle)
    return low


def _check(correct_a: Bools, correct_b: Bools, over: Over) -> None:
    shapes = correct_a.shape, correct_b.shape
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise TransferkitError(
            f"Two arms need the same images; found shapes {shapes[0]} and {shapes[1]}, "
            "expected (seeds, images) with the same number of images, at least 1 of each."
        )
    if over == "seeds" and min(shapes[0][0], shapes[1][0]) < 2:
        raise TransferkitError(
            f"A difference over seeds needs at least two runs of each arm; found {shapes[0][0]} and {shapes[1][0]}."
        )
