"""What stored outputs say: accuracy, confusions, calibration and selective prediction, as pure functions.

Where a number is not defined, a single metric of no images at all is NaN, and an entry of a table (the recall of a
class without test images, the precision of a class never predicted) is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from transferkit.errors import TransferkitError
from transferkit.outputs import Outputs
from transferkit.statistics import Interval, clopper_pearson, wilson

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BINS = 15  # Guo et al., ICML 2017 (arXiv:1706.04599), section 5
FEWEST_FOR_TEMPERATURE = 100  # with T = 2 its standard deviation is .13 at n = 200, .23 at 50; OOD.md, 5.2
COVERAGES = 20  # that a guarantee is looked for, fixed beforehand
TEMPERATURE_GRID = 81
TEMPERATURES = (0.05, 20.0)  # OOD.md, 5.2


# ---- accuracy and confusions ----


@dataclass(frozen=True)
class Proportion:
    """A share of images with its evidence.

    Attributes:
        hits: How many.
        n: Of how many.
        value: hits / n; NaN if n is 0.
        interval: 95 %, Wilson's unless said otherwise; 0 to 1 if n is 0.
    """

    hits: int
    n: int
    value: float
    interval: Interval


@dataclass(frozen=True)
class ClassScores:
    """One row of the per-class table; None where a number is not defined.

    Attributes:
        name: Class name.
        n: Test images of the class.
        predicted: Images given this class.
        precision: Share of `predicted` that is right; None if the class is never predicted.
        precision_interval: Wilson.
        recall: Share of `n` that is found; None if the class has no test images.
        recall_interval: Wilson.
        f1: Harmonic mean of precision and recall; 0 if no image is right, None if n and predicted are 0.
        f1_interval: From Wilson's interval of TP / (TP + FP + FN), see `per_class`.
    """

    name: str
    n: int
    predicted: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    f1_interval: Interval | None


@dataclass(frozen=True)
class Confusion:
    """Images of one class taken for another.

    Attributes:
        true: Name of the class they belong to.
        predicted: Name of the class they were given.
        count: How many.
        share: Of the true class, with interval.
    """

    true: str
    predicted: str
    count: int
    share: Proportion


def accuracy(outputs: Outputs) -> float:
    """Share of images whose largest logit is that of their label, in [0, 1]; NaN without images."""
    return accuracy_with_interval(outputs).value


def accuracy_with_interval(outputs: Outputs) -> Proportion:
    """Accuracy with n and Wilson's 95 % interval."""
    return _proportion(int(_hits(outputs).sum()), len(outputs))


def macro_recall(outputs: Outputs) -> float:
    """Mean recall of the classes that have test images, in [0, 1]; NaN without images."""
    counts = confusion_matrix(outputs)
    seen = counts.sum(axis=1) > 0
    return float(np.mean(np.diag(counts)[seen] / counts.sum(axis=1)[seen])) if seen.any() else float("nan")


def confusion_matrix(outputs: Outputs) -> Integers:
    """(C, C) counts, row = true class, column = predicted class."""
    classes = len(outputs.class_names)
    cells = outputs.labels * classes + outputs.predictions
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def per_class(outputs: Outputs) -> tuple[ClassScores, ...]:
    """Precision, recall and F1 of every class with 95 % intervals, in class order.

    F1 = 2 J / (1 + J) rises with J = TP / (TP + FP + FN), which is a share of the images that are of the class or
    given the class. Its Wilson interval, put through the same function, is the interval of F1 (the "Wilson
    indirect" method of Lam et al., arXiv:2309.14621). It takes TP + FP + FN as given, as the interval of precision
    takes the number of predictions as given.
    """
    counts = confusion_matrix(outputs)
    right, of_class, given = np.diag(counts).tolist(), counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()
    return tuple(_class_scores(*row) for row in zip(outputs.class_names, right, of_class, given, strict=True))


def _class_scores(name: str, right: int, of_class: int, given: int) -> ClassScores:
    either = of_class + given - right  # TP + FP + FN
    return ClassScores(
        name=name,
        n=of_class,
        predicted=given,
        precision=right / given if given else None,
        precision_interval=wilson(right, given) if given else None,
        recall=right / of_class if of_class else None,
        recall_interval=wilson(right, of_class) if of_class else None,
        f1=_f1(right / either) if either else None,
        f1_interval=_f1_interval(wilson(right, either)) if either else None,
    )


def _f1(jaccard: float) -> float:
    return 2 * jaccard / (1 + jaccard)


def _f1_interval(jaccard: Interval) -> Interval:
    return Interval(_f1(jaccard.low), _f1(jaccard.high))


def most_confused(outputs: Outputs, limit: int = 10) -> tuple[Confusion, ...]:
    """Pairs of true and predicted class with the most mistakes, largest first; ties in class order."""
    counts = confusion_matrix(outputs)
    of_class = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(cell), len(counts)) for cell in order]
    names = outputs.class_names
    return tuple(
        Confusion(names[i], names[j], int(wrong[i, j]), _proportion(int(wrong[i, j]), int(of_class[i])))
        for i, j in pairs
        if wrong[i, j]
    )


def most_confident_mistakes(outputs: Outputs, limit: int) -> Integers:
    """(at most limit,) positions of mistakes, most confident first; ties in image order."""
    wrong = np.flatnonzero(~_hits(outputs))
    return wrong[np.argsort(-outputs.confidences[wrong], kind="stable")][:limit]


def least_confident_hits(outputs: Outputs, limit: int) -> Integers:
    """(at most limit,) positions of hits, least confident first; ties in image order."""
    right = np.flatnonzero(_hits(outputs))
    return right[np.argsort(outputs.confidences[right], kind="stable")][:limit]


def _hits(outputs: Outputs) -> npt.NDArray[np.bool_]:
    """(N,) whether each image is classified as its label says."""
    hits: npt.NDArray[np.bool_] = outputs.predictions == outputs.labels
    return hits


def _proportion(hits: int, n: int) -> Proportion:
    return Proportion(hits, n, hits / n if n else float("nan"), wilson(hits, n))


# ---- probabilities ----


def nll(outputs: Outputs) -> float:
    """Mean negative log-probability of the label, in nats; 0 is best, log(C) is a uniform guess."""
    return _mean(_losses(outputs))


def brier(outputs: Outputs) -> float:
    """Mean squared distance of the probabilities to the one-hot label, summed over classes; 0 is best, 2 worst.

    Brier, Monthly Weather Review 78 (1950), eq. 2.
    """
    target = np.eye(len(outputs.class_names))[outputs.labels]
    return _mean(((np.exp(outputs.log_probabilities) - target) ** 2).sum(axis=1))


def signed_overconfidence(outputs: Outputs) -> float:
    """Mean confidence minus accuracy, in [-1, 1]; above 0 the classifier promises more than it keeps."""
    return _mean(outputs.confidences - _hits(outputs))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


# ---- calibration ----


@dataclass(frozen=True)
class ReliabilityBin:
    """Images of similar confidence.

    Attributes:
        low: Confidences lie above this (equal width), or are at least this (equal mass).
        high: Confidences lie at or below this.
        n: Images in the bin, at least 1.
        confidence: Their mean confidence.
        accuracy: Their accuracy, with Wilson's interval.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: Proportion


def reliability(outputs: Outputs, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins of equal width, ((b - 1) / bins, b / bins]; empty ones are left out.

    Closed on the right, so that a confidence of exactly 1 belongs to the last bin.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    member = np.searchsorted(edges[1:-1], outputs.confidences, side="left")
    return tuple(
        _bin(outputs, np.flatnonzero(member == b), float(edges[b]), float(edges[b + 1])) for b in np.unique(member)
    )


def reliability_equal_mass(outputs: Outputs, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins with equally many images; equal confidences stay together, in the lower bin."""
    confidences = outputs.confidences
    order = np.argsort(confidences, kind="stable")
    return tuple(
        _bin(outputs, part, float(confidences[part[0]]), float(confidences[part[-1]]))
        for part in _equal_mass(order, confidences[order], bins)
    )


def _equal_mass(order: npt.NDArray[np.intp], ascending: Floats, bins: int) -> Iterator[npt.NDArray[np.intp]]:
    """Parts of `order` cut where `array_split` cuts, each cut moved right past equal confidences."""
    sizes = [len(part) for part in np.array_split(order, bins)]
    cuts = np.cumsum(sizes)[:-1]
    cuts = cuts[cuts > 0]
    cuts = np.searchsorted(ascending, ascending[cuts - 1], side="right")
    return (part for part in np.split(order, np.unique(cuts)) if len(part))


def _bin(outputs: Outputs, members: npt.NDArray[np.intp], low: float, high: float) -> ReliabilityBin:
    hits = int(_hits(outputs)[members].sum())
    return ReliabilityBin(
        low, high, len(members), float(outputs.confidences[members].mean()), _proportion(hits, len(members))
    )


def ece(outputs: Outputs, bins: int = BINS) -> float:
    """Expected calibration error: mean gap of accuracy and confidence over bins of equal width, in [0, 1].

    Guo et al., ICML 2017 (arXiv:1706.04599), eq. 3. It is not 0 for a calibrated classifier and few images:
    compare it with `ece_if_calibrated`.
    """
    return _gap(reliability(outputs, bins))


def ece_equal_mass(outputs: Outputs, bins: int = BINS) -> float:
    """The same over bins with equally many images (Nguyen and O'Connor, EMNLP 2015, arXiv:1508.05154)."""
    return _gap(reliability_equal_mass(outputs, bins))


def _gap(bins: tuple[ReliabilityBin, ...]) -> float:
    n = sum(b.n for b in bins)
    return sum(b.n * abs(b.accuracy.value - b.confidence) for b in bins) / n if n else float("nan")


def ece_if_calibrated(outputs: Outputs, seed: int, draws: int = 200, bins: int = BINS) -> Interval:
    """The 95 % of ECE values that chance gives a classifier whose confidences are exactly right.

    Hits are drawn with the stated confidences as probabilities (Broecker and Smith, Weather and Forecasting 22
    (2007), consistency resampling). An ECE inside is not distinguishable from calibrated.
    """
    member = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], outputs.confidences, side="left")
    return _if_calibrated(outputs.confidences, member, seed, draws)


def ece_equal_mass_if_calibrated(outputs: Outputs, seed: int, draws: int = 200, bins: int = BINS) -> Interval:
    """The same for `ece_equal_mass`."""
    order = np.argsort(outputs.confidences, kind="stable")
    member = np.empty(len(order), np.int64)
    for number, part in enumerate(_equal_mass(order, outputs.confidences[order], bins)):
        member[part] = number
    return _if_calibrated(outputs.confidences, member, seed, draws)


def _if_calibrated(confidences: Floats, member: npt.NDArray[np.integer[Any]], seed: int, draws: int) -> Interval:
    """The 95 % of gaps over these bins when hits are drawn with the confidences as probabilities."""
    if not len(confidences):
        return Interval(float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    values = [
        np.abs(np.bincount(member, (generator.random(len(member)) < confidences) - confidences)).sum() / len(member)
        for _ in range(draws)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def debiased_rms_calibration_error(outputs: Outputs, bins: int = BINS) -> float:
    """Root mean square gap over bins of equal mass, less what chance adds to it; 0 where chance explains all of it.

    Kumar, Liang and Ma, NeurIPS 2019 (arXiv:1909.10155), section 5: sqrt of sum n_b / n [(conf_b - acc_b)^2 -
    acc_b (1 - acc_b) / (n_b - 1)]. Bins of one image cannot be corrected and are left out; NaN without others.
    """
    known = [b for b in reliability_equal_mass(outputs, bins) if b.n > 1]
    n = sum(b.n for b in known)
    if not n:
        return float("nan")
    gaps = [
        b.n * ((b.confidence - b.accuracy.value) ** 2 - b.accuracy.value * (1 - b.accuracy.value) / (b.n - 1))
        for b in known
    ]
    return float(np.sqrt(max(0.0, sum(gaps) / n)))


def classwise_ece(outputs: Outputs, bins: int = BINS) -> float:
    """Mean over classes of the gap between a class's probability and its share, over bins of equal mass.

    Nixon et al., CVPR workshops 2019 (arXiv:1904.01685), section 3.
    """
    if not len(outputs):
        return float("nan")
    probabilities = np.exp(outputs.log_probabilities)
    return _mean(np.array([_class_gap(outputs.labels == k, p, bins) for k, p in enumerate(probabilities.T)]))


def _class_gap(is_class: npt.NDArray[np.bool_], probability: Floats, bins: int) -> float:
    order = np.argsort(probability, kind="stable")
    parts = _equal_mass(order, probability[order], bins)
    return float(sum(abs((probability[part] - is_class[part]).sum()) for part in parts) / len(order))


@dataclass(frozen=True)
class ClassConfidence:
    """How far the answers with one class keep their promise.

    Attributes:
        name: Class name.
        confidence: Mean confidence of the images given this class.
        accuracy: Share of them that is right, with n and interval.
        gap: confidence - accuracy; above 0 the answers promise too much.
    """

    name: str
    confidence: float
    accuracy: Proportion
    gap: float


def confidence_by_class(outputs: Outputs) -> tuple[ClassConfidence, ...]:
    """One row for every class that was predicted, in class order."""
    classes = len(outputs.class_names)
    given = np.bincount(outputs.predictions, minlength=classes)
    right = np.bincount(outputs.predictions, _hits(outputs), classes)
    total = np.bincount(outputs.predictions, outputs.confidences, classes)
    rows = []
    for label in np.flatnonzero(given):
        accuracy = _proportion(int(right[label]), int(given[label]))
        confidence = float(total[label] / given[label])
        rows.append(ClassConfidence(outputs.class_names[label], confidence, accuracy, confidence - accuracy.value))
    return tuple(rows)


def fit_temperature(val: Outputs) -> float | None:
    """The T in [0.05, 20] for which logits / T have the lowest loss on validation images; None below 100 images.

    Guo et al., ICML 2017 (arXiv:1706.04599), section 4.2. The loss is convex in 1 / T, so that the search over
    log T meets one minimum. T above 1 means that the classifier was overconfident. Never fit it on test images.
    """
    if len(val) < FEWEST_FOR_TEMPERATURE:
        return None
    low, high = np.log(TEMPERATURES)
    found = optimize.minimize_scalar(
        lambda log_t: nll(with_temperature(val, float(np.exp(log_t)))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def temperature_interval(val: Outputs, seed: int, draws: int = 200) -> Interval | None:
    """The 95 % percentile bootstrap interval of `fit_temperature` over images; None below 100 images.

    The loss of every image is taken once on a grid of temperatures around the fitted one, a factor of 4 to each side;
    a resample's T is the vertex of the parabola through its best value and the two beside it. A resample that wants to
    go farther stays at the grid's end.
    """
    fitted = fit_temperature(val)
    if fitted is None:
        return None
    log_t = np.log(fitted) + np.linspace(-1, 1, TEMPERATURE_GRID) * np.log(4)
    losses = np.stack([_losses(with_temperature(val, float(np.exp(value)))) for value in log_t], axis=1)  # (N, G)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(val), np.full(len(val), 1 / len(val)), draws)  # (draws, N)
    low, high = np.quantile(np.exp(_vertices(log_t, counts @ losses)), [0.025, 0.975])
    return Interval(float(low), float(high))


def _losses(outputs: Outputs) -> Floats:
    losses: Floats = -outputs.log_probabilities[np.arange(len(outputs)), outputs.labels]
    return losses


def _vertices(xs: Floats, rows: Floats) -> Floats:
    """(R,), where the parabola through the smallest value of each row (R, G) and its neighbours is lowest."""
    middle = np.clip(rows.argmin(axis=1), 1, len(xs) - 2)
    left, best, right = (rows[np.arange(len(rows)), middle + step] for step in (-1, 0, 1))
    bend = left - 2 * best + right
    shift = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
    vertices: Floats = xs[middle] + (xs[1] - xs[0]) * np.clip(shift, -1, 1)
    return vertices


def with_temperature(outputs: Outputs, temperature: float) -> Outputs:
    """The same outputs with logits divided by the temperature; predictions stay, confidences change."""
    if not temperature > 0:
        raise TransferkitError(f"Temperature is {temperature}; expected a number above 0, as fit_temperature gives.")
    return replace(outputs, logits=(outputs.logits / np.float32(temperature)).astype(np.float32))


# ---- selective prediction ----


@dataclass(frozen=True)
class RiskCoverage:
    """What answering only the k most confident images would give, for k = 1..N.

    Attributes:
        coverage: (N,) k / N.
        risk: (N,) error rate among the images answered.
        generalized_risk: (N,) errors answered / N, the chance that an image is answered and wrong.
    """

    coverage: Floats
    risk: Floats
    generalized_risk: Floats


def risk_coverage(outputs: Outputs) -> RiskCoverage:
    """The risk-coverage curve; images of equal confidence count as if in random order, so that it is unique."""
    errors = _expected_errors(outputs)
    answered = np.arange(1, len(errors) + 1)
    return RiskCoverage(answered / len(answered), np.cumsum(errors) / answered, np.cumsum(errors) / len(answered))


def aurc(outputs: Outputs) -> float:
    """Area under the risk-coverage curve: mean risk over all coverages, in [0, 1], lower is better.

    Geifman, Uziel and El-Yaniv, ICLR 2019 (arXiv:1805.08206); ties as in `risk_coverage`.
    """
    return _mean(risk_coverage(outputs).risk)


def augrc(outputs: Outputs) -> float:
    """Area under the generalized risk-coverage curve: e^2 / 2 for the best order, e / 2 for a random one.

    Traub et al., NeurIPS 2024 (arXiv:2407.01032); e is the error rate and the values hold for many images.
    """
    return _mean(risk_coverage(outputs).generalized_risk)


def _expected_errors(outputs: Outputs) -> Floats:
    """(N,) errors by falling confidence, averaged within equal confidences."""
    _, group, sizes = np.unique(-outputs.confidences, return_inverse=True, return_counts=True)
    wrong = np.bincount(group, ~_hits(outputs), minlength=len(sizes))
    return np.repeat(wrong / sizes, sizes)


def error_auroc(outputs: Outputs) -> float:
    """The chance that a random hit is more confident than a random mistake, ties counting half; NaN without either.

    Hendrycks and Gimpel, ICLR 2017 (arXiv:1610.02136), section 2: success against error. By the rank sum.
    """
    hits = _hits(outputs)
    right, wrong = int(hits.sum()), int((~hits).sum())
    if not right or not wrong:
        return float("nan")
    ranks = stats.rankdata(outputs.confidences)
    return float((ranks[hits].sum() - right * (right + 1) / 2) / (right * wrong))


@dataclass(frozen=True)
class OperatingPoint:
    """Answering the images of at least some confidence, and what that guarantees.

    Attributes:
        target: The error rate that must not be exceeded.
        coverage: Share of images answered.
        threshold: Least confidence of an image answered.
        answered: The images answered, and the errors among them as `hits`.
        bound: Upper bound of the error rate.
    """

    target: float
    coverage: float
    threshold: float
    answered: Proportion
    bound: float


def guaranteed_point(outputs: Outputs, target: float, delta: float = 0.05) -> OperatingPoint | None:
    """The largest of 20 coverages whose error rate stays below `target` with probability 1 - delta; None if none does.

    The bound is Clopper and Pearson's one-sided one, at delta / 20, so that all 20 hold together (Bonferroni). The
    coverages 5 %, 10 %, ..., 100 % are fixed beforehand (Geifman and El-Yaniv, NeurIPS 2017, arXiv:1705.08500, search
    them instead); images as confident as the last one answered are answered too.
    It holds for images like these alone.
    """
    confidences = -np.sort(-outputs.confidences)
    errors = np.cumsum(_expected_errors(outputs))
    for share in range(COVERAGES, 0, -1):
        wanted = int(np.ceil(share / COVERAGES * len(outputs) - 1e-9))
        if not wanted:
            continue
        n = int(np.searchsorted(-confidences, -confidences[wanted - 1], side="right"))
        wrong = round(float(errors[n - 1]))
        bound = clopper_pearson(wrong, n, 1 - 2 * delta / COVERAGES).high
        if bound <= target:
            return OperatingPoint(
                target, n / len(outputs), float(confidences[n - 1]), _proportion(wrong, n), float(bound)
            )
    return None
