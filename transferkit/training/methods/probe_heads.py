"""Classifiers on the features of a frozen backbone: solved on train to choose and to judge, then on train and val."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from transferkit.data.groups import group_numbers
from transferkit.data.images import Labels, Splits
from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.metrics.results import Accuracy, NeighboursAccuracy
from transferkit.metrics.statistics import wilson
from transferkit.models.heads import NeighbourHead
from transferkit.models.linear import (
    Choice,
    LinearFits,
    LinearHead,
    choose_C,
    fit_chosen,
    given_C,
    nearest_class_mean,
    neighbours,
    votes,
)
from transferkit.recipe import ProbeSettings
from transferkit.runs.facts import ProbeFacts
from transferkit.runtime.array_types import Features
from transferkit.runtime.machine import Runtime
from transferkit.runtime.plurals import counted

NEIGHBOURS = 20  # whose answer is the result; Wu et al., CVPR 2018, use 200 of 1.3 million images
OTHER_NEIGHBOURS = (5, 20, 200)  # reported beside it
QUERIES = 1024  # test images whose neighbours are looked up at once


@dataclass(frozen=True)
class LabelledFeatures:
    """Features (N, D) and labels (N,) of train and val, on the device that solves; groups (N,) where there are any."""

    train_features: Tensor
    train_labels: Tensor
    val_features: Tensor
    val_labels: Tensor
    num_classes: int
    train_groups: Tensor | None = None

    @classmethod
    def of(cls, splits: Splits, train: Features, val: Features, runtime: Runtime) -> LabelledFeatures:
        """The features of the two open parts of a data set."""
        device = torch.device("cpu") if runtime.device.type == "mps" else runtime.device  # mps has no float64
        train_features, val_features = (torch.from_numpy(part).to(device) for part in (train, val))
        train_labels, val_labels = (
            torch.from_numpy(part.require_labels()).to(device) for part in (splits.train, splits.val)
        )
        groups = None if splits.train.groups is None else torch.from_numpy(group_numbers(splits.train.groups))
        return cls(train_features, train_labels, val_features, val_labels, len(splits.class_names), groups)

    @property
    def train(self) -> tuple[Tensor, Tensor]:
        """Features and labels of train."""
        return self.train_features, self.train_labels

    def of_result(self, settings: ProbeSettings) -> tuple[Tensor, Tensor]:
        """Those that the result learns from: of train and val together, or of train alone."""
        return self.everything if settings.refit else self.train

    @property
    def everything(self) -> tuple[Tensor, Tensor]:
        """Features and labels of train and val together."""
        features = torch.cat([self.train_features, self.val_features])
        return features, torch.cat([self.train_labels, self.val_labels])


@dataclass(frozen=True)
class Solved:
    """A classifier on features.

    Attributes:
        head: Solved on train and val.
        honest: Features (N, D) to logits (N, K), solved on train alone.
        facts: What the report shows of it.
        lines: What the terminal says of it.
        judge_others: From features and labels of the test images to accuracies for other numbers of neighbours; None
            where no neighbours answer.
    """

    head: nn.Module
    honest: Callable[[Tensor], Tensor]
    facts: ProbeFacts
    lines: tuple[str, ...]
    judge_others: Callable[[Features, Labels], tuple[NeighboursAccuracy, ...]] | None = None


# ------------------------------------------------------------------------------------------------------ linear


def linear(labelled: LabelledFeatures, settings: ProbeSettings, seed: int) -> Solved:
    """Multinomial logistic regression; the solver goes on from each fit to the next and repeats none."""
    choice, honest = linear_start(labelled, settings, seed)
    final = refitted(labelled, settings, choice, honest)
    facts, lines = linear_facts(choice, final), tuple(in_words(choice, final))
    return Solved(as_module(final.head(0)), honest.head(0).logits, facts, lines)


def linear_start(labelled: LabelledFeatures, settings: ProbeSettings, seed: int) -> tuple[Choice, LinearFits]:
    """The choice of C, and the head fitted on train alone with it."""
    choice = chosen(labelled, settings, seed)
    return choice, fit_chosen(*labelled.train, labelled.num_classes, choice, class_weight=settings.class_weight)


def refitted(labelled: LabelledFeatures, settings: ProbeSettings, choice: Choice, start: LinearFits) -> LinearFits:
    """The head on train and val together; the start itself where there is no val, or none is to be learnt from."""
    if not len(labelled.val_labels) or not settings.refit:
        return start
    weights = settings.class_weight
    return fit_chosen(*labelled.everything, labelled.num_classes, choice, class_weight=weights, initial=start)


def chosen(labelled: LabelledFeatures, settings: ProbeSettings, seed: int) -> Choice:
    """C as it is given, or chosen on val, or by cross-validation on train where val is small."""
    if settings.C is not None:
        return given_C(settings.C)
    judged = slice(None) if len(labelled.val_labels) >= FEWEST_TO_CHOOSE else slice(0)
    return choose_C(
        labelled.train_features,
        labelled.train_labels,
        labelled.val_features[judged],
        labelled.val_labels[judged],
        labelled.num_classes,
        sweep=settings.sweep,
        class_weight=settings.class_weight,
        seed=seed,
        groups=labelled.train_groups,
    )


def linear_facts(choice: Choice, final: LinearFits) -> ProbeFacts:
    """What the report shows of a linear probe."""
    return ProbeFacts(
        classifier="linear",
        C=choice.C,
        grid=tuple(choice.grid),
        validation_accuracy=tuple(choice.validation_accuracy),
        on_boundary=choice.on_boundary,
        chosen_by=choice.chosen_by,
        converged=bool(final.converged.all()),
    )


def in_words(choice: Choice, final: LinearFits) -> Iterator[str]:
    """What the terminal says of a linear probe."""
    accuracies = choice.validation_accuracy
    accuracy = f", accuracy {100 * max(accuracies):.1f} %" if accuracies else ""
    yield f"probe: C = {choice.C:.3g}, chosen by {choice.chosen_by}{accuracy}"
    if not final.converged.all():
        yield "probe: the solver stopped before it converged; the head may be improvable."


def as_module(head: LinearHead) -> nn.Linear:
    """The head as a layer of a classifier."""
    layer = nn.Linear(head.weight.shape[1], head.weight.shape[0], device=head.weight.device)
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        layer.bias.copy_(head.bias)
    return layer


# ----------------------------------------------------------------------------------------- neighbours and means


def knn(labelled: LabelledFeatures, settings: ProbeSettings, _seed: int) -> Solved:
    """Weighted votes of the k nearest training images by cosine; the head remembers their features."""
    images = len(labelled.train_labels)
    k = settings.k or min(NEIGHBOURS, images)
    honest, head = (
        NeighbourHead(*remembered, labelled.num_classes, k)
        for remembered in (labelled.train, labelled.of_result(settings))
    )
    others = sorted({k, *(number for number in OTHER_NEIGHBOURS if number <= images)})
    facts = ProbeFacts("knn", k=k, temperature=head.temperature, images=len(head.labels))
    lines = [
        f"probe: the {k} nearest of {counted(len(head.labels), 'image')} by cosine vote, temperature {head.temperature}"
    ]
    if settings.k is None and k < NEIGHBOURS:
        lines.append(f"probe: k = {k} instead of {NEIGHBOURS}, there are no more training images.")
    left_out = [str(number) for number in OTHER_NEIGHBOURS if number > images]
    if left_out:
        lines.append(f"probe: k = {', '.join(left_out)} left out, there are {images} training images.")
    return Solved(head, honest, facts, tuple(lines), partial(judged_neighbours, head, others))


def judged_neighbours(
    head: NeighbourHead, ks: Sequence[int], features: Features, labels: Labels
) -> tuple[NeighboursAccuracy, ...]:
    """Accuracy for several numbers of neighbours, each image's neighbours found once; the head's number is the result.

    All are reported and none is chosen by it.
    """
    correct = dict.fromkeys(ks, 0)
    for start in range(0, len(labels), QUERIES):
        queries, truth = (
            torch.from_numpy(part[start : start + QUERIES]).to(head.labels.device) for part in (features, labels)
        )
        nearest, called = neighbours(head.features, head.labels, queries, max(ks))
        for k in ks:
            log_votes = votes(nearest[:, :k], called[:, :k], head.num_classes, head.temperature)
            correct[k] += int((log_votes.argmax(1) == truth).sum())
    if not len(labels):
        return ()
    accuracies = {k: accuracy_of(correct[k], len(labels)) for k in ks}
    return tuple(
        NeighboursAccuracy(k, k == head.k, accuracy.n, accuracy.accuracy, accuracy.interval)
        for k, accuracy in accuracies.items()
    )


@torch.no_grad()
def hits(head: Callable[[Tensor], Tensor], features: Features, labels: Labels, device: torch.device) -> int:
    """How many images a head on some device answers rightly."""
    parts = [(features[at : at + QUERIES], labels[at : at + QUERIES]) for at in range(0, len(labels), QUERIES)]
    answers = ((head(torch.from_numpy(rows).to(device)).argmax(1).cpu().numpy(), truth) for rows, truth in parts)
    return sum(int((answer == truth).sum()) for answer, truth in answers)


def accuracy_of(right: int, n: int) -> Accuracy:
    """An accuracy with n and its 95 % interval; n is at least 1."""
    return Accuracy(n, right / n, wilson(right, n).bounds)


def ncm(labelled: LabelledFeatures, settings: ProbeSettings, _seed: int) -> Solved:
    """The class whose mean feature is nearest in Euclidean distance: a linear head without anything to choose."""
    honest = nearest_class_mean(*labelled.train, labelled.num_classes)
    features, labels = labelled.of_result(settings)
    final, images = nearest_class_mean(features, labels, labelled.num_classes), len(labels)
    facts = ProbeFacts("ncm", distance="Euclidean", images=images)
    line = f"probe: the nearest of {labelled.num_classes} class means of {counted(images, 'image')}, Euclidean distance"
    return Solved(as_module(final), honest.logits, facts, (line,))


def raw_pixels(labelled: LabelledFeatures, settings: ProbeSettings, seed: int) -> Solved:
    """A linear probe on pixels; the classifier's body is the backbone `pixels`, see input_sizes.resolved_backbone."""
    solved = linear(labelled, settings, seed)
    width = labelled.train_features.shape[1]
    line = f"probe: features are the {width:,} pixel values of the images, no network was used"
    return replace(solved, facts=replace(solved.facts, classifier="raw-pixels"), lines=(line, *solved.lines))


CLASSIFIERS: dict[str, Callable[[LabelledFeatures, ProbeSettings, int], Solved]] = {
    "linear": linear,
    "knn": knn,
    "ncm": ncm,
    "raw-pixels": raw_pixels,
}
