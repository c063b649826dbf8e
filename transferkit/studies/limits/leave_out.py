"""Leaving out classes of the run itself: would the model have noticed images of a class it never learnt?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from transferkit import ood
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.features.fast_classifier import collect
from transferkit.metrics.bootstrap import percentile_interval
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.roc import auroc
from transferkit.metrics.statistics import Bounds, mean_and_sd
from transferkit.metrics.thresholds import threshold_at
from transferkit.models import backbones
from transferkit.models.linear import LinearHead, fit_probe
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits.settings import LeaveOut
from transferkit.studies.limits.shares import NotMeasured, Share, bounds, share_of
from transferkit.studies.limits.subject import LimitsSubject, OwnParts, linear_head, rows
from transferkit.training import methods

SINGLY_UP_TO = 20  # classes held out one by one; of more, some random pairs
PAIRS = 10
TRAIN_IMAGES, TEST_IMAGES = 5_000, 3_000  # at most, so that ten refits take seconds
RESAMPLES = 1_000
FEWEST_CLASSES = 3  # two remain


@dataclass(frozen=True)
class Reduced:
    """Outputs of a model that does not know some classes: on known train, val and test images and on unknown ones."""

    train: Outputs
    val: Outputs
    test: Outputs
    unknown: Outputs
    head: LinearHead | None


@dataclass(frozen=True)
class HeldOutScore:
    """How well one score tells held-out images apart; `accepted` at its threshold, None where it has none."""

    auroc: float | None
    auroc_interval: Bounds | None
    accepted: Share | None


@dataclass(frozen=True)
class MostCalled:
    """The class that held-out images are most often called, for a share of them."""

    name: str
    share: float


@dataclass(frozen=True)
class HeldOutRow:
    """What the model makes of classes that it did not learn.

    Attributes:
        n: Their test images.
        off: Scores that could not be fitted, with the reason.
        called: None without an image.
    """

    held_out: tuple[str, ...]
    n: int
    scores: dict[str, HeldOutScore]
    off: dict[str, str]
    called: MostCalled | None


@dataclass(frozen=True)
class HeldOutMean:
    """Mean AUROC over held-out classes.

    Attributes:
        sd: Over classes; None of one.
        interval: 95 %, of drawing classes.
        n: Classes.
        accepted: Mean share; None where no class has a threshold.
    """

    auroc: float
    sd: float | None
    interval: Bounds
    n: int
    accepted: float | None


@dataclass(frozen=True)
class HeldOutReport:
    """What leaving classes out shows.

    Attributes:
        how: What was done, and what it cannot show.
        clean: Whether the body has not seen the classes in training.
        score: That rows are ranked by, hardest first.
        mean: By score.
    """

    how: str
    clean: bool
    score: str
    rows: tuple[HeldOutRow, ...]
    mean: dict[str, HeldOutMean]


def measure_leave_out(
    subject: LimitsSubject, how: LeaveOut, seed: int, console: Console
) -> HeldOutReport | NotMeasured:
    """AUROC per held-out class, hardest first; `full` trains the network again, else only the head is fitted anew."""
    names = subject.test.class_names
    if how == "none":
        return NotMeasured("not asked for (--leave-out none)")
    if len(names) < FEWEST_CLASSES:
        return NotMeasured(f"needs at least {FEWEST_CLASSES} classes; the run has {len(names)}")
    groups = held_out_groups(len(names), seed)
    C = None if how == "full" else chosen_C(subject, seed)
    detectors = tuple(dict.fromkeys((subject.limits.score, ood.SUMMARY_SCORE)))
    rows = []
    with console.progress("leave classes out", len(groups), "refits") as progress:
        for group in groups:
            reduced = retrain(subject, group, seed) if C is None else refit(subject, group, C, seed)
            rows.append(_row(tuple(names[index] for index in group), reduced, detectors))
            progress.advance(1)
    score, by_auroc = _measured(rows, detectors)
    mean = {name: _mean([row for _, row in by_auroc], name, seed) for name in by_auroc[0][1].scores}
    hardest_first = tuple(row for _, row in sorted(by_auroc, key=lambda pair: pair[0]))
    clean = how == "full" or _is_frozen(subject)
    return HeldOutReport(how_words(subject, how), clean, score, hardest_first, mean)


def how_words(subject: LimitsSubject, how: LeaveOut) -> str:
    """What was done, and what it cannot show."""
    if how == "full":
        return "The whole network was trained again without each class; only its pretraining may have seen it."
    if _is_frozen(subject):
        return "The head was fitted again without each class; the frozen body has seen it in pretraining at most."
    return (
        "The head was fitted again without each class, but the body was trained with it, so these numbers are on the "
        "hopeful side; --leave-out full trains again."
    )


def _is_frozen(subject: LimitsSubject) -> bool:
    return subject.run.recipe.method.keeps_body


def held_out_groups(classes: int, seed: int) -> list[tuple[int, ...]]:
    """Every class alone, or ten random pairs where there are more than 20."""
    if classes <= SINGLY_UP_TO:
        return [(index,) for index in range(classes)]
    order = np.random.default_rng(seed).permutation(classes)[: 2 * PAIRS]
    return [(int(first), int(second)) for first, second in order.reshape(-1, 2)]


def chosen_C(subject: LimitsSubject, seed: int) -> float:
    """The penalty of the refitted heads, chosen once with all classes, on val or by cross-validation."""
    train = _stratified(subject.train, TRAIN_IMAGES, seed)
    val = subject.val if len(subject.val) >= 500 else rows(subject.val, np.zeros(0, np.int64))
    return fit_probe(*_tensors(train), *_tensors(val), len(train.class_names), seed=seed).C


def refit(subject: LimitsSubject, group: Sequence[int], C: float, seed: int) -> Reduced:
    """A new head on the same features, fitted without the group."""
    train = without(_stratified(subject.train, TRAIN_IMAGES, seed), group)
    nothing = rows(train, np.zeros(0, np.int64))
    head = fit_probe(*_tensors(train), *_tensors(nothing), len(train.class_names), C=C, seed=seed).head
    head = LinearHead(head.weight.float(), head.bias.float())
    test = _stratified(subject.test, TEST_IMAGES, seed)
    unknown = as_unknown(only(subject.test, group), train.class_names)
    parts = (train, without(subject.val, group), without(test, group), unknown)
    train_outputs, calibrating, known, other = (_under(head, part) for part in parts)
    return Reduced(train_outputs, calibrating, known, other, head)


def retrain(subject: LimitsSubject, group: Sequence[int], seed: int) -> Reduced:
    """The run's recipe carried out again on images without the group."""
    recipe = subject.run.recipe
    own = OwnParts(*(images_without(images, group) for images in subject.images.all))
    splits = Splits(own.train, own.val, SealedImages(own.test))
    machine.seed_everything(recipe.seed)
    classifier = backbones.load(recipe.backbone, splits.class_names, recipe.input_px, SILENT)
    context = Context(subject.runtime, SILENT, recipe.seed)
    methods.fit(classifier, splits, recipe.method, recipe.backbone, context)
    members = subject.images.test.subset(np.flatnonzero(np.isin(subject.images.test.require_labels(), group)))
    unknown = replace(members, labels=None, class_names=splits.class_names)
    sets = (*own.all, unknown)
    train, val, test, other = (collect(classifier, part, subject.runtime, SILENT, "") for part in sets)
    return Reduced(_stratified(train, TRAIN_IMAGES, seed), val, test, other, linear_head(classifier.head))


def _row(held_out: tuple[str, ...], reduced: Reduced, detectors: Sequence[str]) -> HeldOutRow:
    scores, off = ood.fit_all(detectors, reduced.train, reduced.val, reduced.head, ood.OodSettings())
    measured = {name: _score(score, reduced) for name, score in scores.items()}
    return HeldOutRow(held_out, len(reduced.unknown), measured, dict(off), _most_called(reduced))


def _score(score: ood.Score, reduced: Reduced) -> HeldOutScore:
    unknown = score(reduced.unknown)
    separation = auroc(score(reduced.test), unknown)
    threshold = threshold_at(score(reduced.val)) if len(reduced.val) else None
    accepted = None if threshold is None else share_of(unknown <= threshold)
    return HeldOutScore(separation.value, bounds(separation.interval), accepted)


def _most_called(reduced: Reduced) -> MostCalled | None:
    if not len(reduced.unknown):
        return None
    called = np.bincount(reduced.unknown.predictions, minlength=len(reduced.train.class_names))
    most = int(called.argmax())
    return MostCalled(reduced.train.class_names[most], float(called[most] / called.sum()))


def _measured(rows: Sequence[HeldOutRow], detectors: Sequence[str]) -> tuple[str, list[tuple[float, HeldOutRow]]]:
    """The last detector that ran, and the classes that have an AUROC of it, with it."""
    name = next((name for name in reversed(detectors) if all(name in row.scores for row in rows)), detectors[0])
    aurocs = [(row.scores[name].auroc if name in row.scores else None, row) for row in rows]
    known = [(value, row) for value, row in aurocs if value is not None]
    if not known:
        raise TransferkitError("No held-out class has a test image, so that nothing can be measured by leaving out.")
    return name, known


def _mean(rows: Sequence[HeldOutRow], name: str, seed: int) -> HeldOutMean:
    """Mean and standard deviation over held-out classes, and a bootstrap interval that draws classes."""
    values = np.array([row.scores[name].auroc for row in rows], dtype=np.float64)
    draws = np.random.default_rng(seed).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    shares = [accepted.value for row in rows if (accepted := row.scores[name].accepted)]
    return HeldOutMean(
        auroc=float(values.mean()),
        sd=mean_and_sd(values)[1] if len(values) > 1 else None,
        interval=percentile_interval(draws).bounds,
        n=len(values),
        accepted=float(np.mean(shares)) if shares else None,
    )


# ---- outputs without some classes ----


def without(outputs: Outputs, group: Sequence[int]) -> Outputs:
    """The images of the other classes, labels counted along the classes that are left."""
    left = [index for index in range(len(outputs.class_names)) if index not in group]
    others = rows(outputs, ~np.isin(outputs.require_labels(), group))
    names = tuple(outputs.class_names[index] for index in left)
    labels = np.searchsorted(left, others.require_labels()).astype(np.int64)
    return replace(others, logits=others.logits[:, left], labels=labels, class_names=names)


def only(outputs: Outputs, group: Sequence[int]) -> Outputs:
    """The images of the group."""
    return rows(outputs, np.isin(outputs.require_labels(), group))


def as_unknown(outputs: Outputs, class_names: tuple[str, ...]) -> Outputs:
    """The same features under other class names, among which they have no label."""
    logits = np.zeros((len(outputs), len(class_names)), np.float32)
    return Outputs(outputs.features, logits, None, outputs.ids, class_names)


def images_without(images: Images, group: Sequence[int]) -> Images:
    """The images of the other classes, labels counted along the classes that are left."""
    left = [index for index in range(len(images.class_names)) if index not in group]
    others = images.subset(np.flatnonzero(~np.isin(images.require_labels(), group)))
    names = tuple(images.class_names[index] for index in left)
    return replace(others, labels=np.searchsorted(left, others.require_labels()).astype(np.int64), class_names=names)


def _under(head: LinearHead, outputs: Outputs) -> Outputs:
    logits: npt.NDArray[np.float32] = head.logits(torch.from_numpy(outputs.features)).numpy()
    return replace(outputs, logits=logits)


def _stratified(outputs: Outputs, limit: int, seed: int) -> Outputs:
    """At most `limit` rows, as many of each class as there are, up to an equal share."""
    if len(outputs) <= limit:
        return outputs
    generator = np.random.default_rng(seed)
    per_class = max(1, limit // len(outputs.class_names))
    orders = [
        generator.permutation(np.flatnonzero(outputs.require_labels() == label))
        for label in range(len(outputs.class_names))
    ]
    return rows(outputs, np.sort(np.concatenate([order[:per_class] for order in orders])))


def _tensors(outputs: Outputs) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(outputs.features), torch.from_numpy(outputs.require_labels())
