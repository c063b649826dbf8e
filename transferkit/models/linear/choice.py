"""Chooses the C of a linear probe on val, or by cross-validation on train."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from transferkit.data.groups import group_folds
from transferkit.models.linear.checks import check_features, check_same_width
from transferkit.models.linear.linear_head import LinearFits, joined
from transferkit.models.linear.logistic import fit_rotated
from transferkit.models.linear.objective import ClassWeight, weights_of_rows
from transferkit.models.linear.rotation import RotatedData, rotate, standardising_scale

FULL_SWEEP = tuple(10.0 ** (-6.0 + 0.25 * step) for step in range(45))  # 1e-6 .. 1e5
Scaling: TypeAlias = Callable[[Tensor], Tensor]  # features (N, D) to what they are divided by (D,)
Criterion = Literal["accuracy", "loss"]

COARSE = FULL_SWEEP[::6]  # 1.5 decades apart
TOGETHER = 4  # of the coarse values, up to 0.03: few evaluations solve each; beyond it climbs one by one
TOLD_APART = 1.96  # standard errors of a paired difference
REFINED_STEPS = (-4, -2, 2, 4)  # then four values, half a decade apart, around the best
MAX_FOLDS = 5
DEFAULT_C = 1.0  # scikit-learn's default, used where nothing can be held out
SELECTION_TOLERANCE = 3e-4  # of the objective: far below what changes one validation answer
SELECTION_EVALUATIONS = 200  # only very large C on separable images need more; they are judged as they are then


@dataclass(frozen=True)
class Choice:
    """A value of C, and how it was chosen.

    Attributes:
        C: Inverse penalty, multiplying the sum of the losses.
        chosen_by: "val", "5-fold cross-validation" (or fewer folds), "given", or
            "default, no class has two images".
        grid: The values compared, ascending; empty if C was given or could not be chosen.
        validation_accuracy: One per grid value, in [0, 1].
        validation_loss: One per grid value, mean cross-entropy in nats.
        start: A fit at this C on train or most of it, for others to start from.
    """

    C: float
    chosen_by: str
    grid: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()
    start: LinearFits | None = None

    @property
    def loss(self) -> float:
        """Mean cross-entropy on the held-out images at the chosen C, in nats; infinite where nothing was held out."""
        return self.validation_loss[self.grid.index(self.C)] if self.validation_loss else math.inf

    @property
    def on_boundary(self) -> bool:
        """Whether the best value lies at an edge of the grid, so that a better one may lie outside."""
        return bool(self.grid) and self.C in (FULL_SWEEP[0], FULL_SWEEP[-1])


def given_C(C: float) -> Choice:
    """A C that was not chosen here."""
    return Choice(C, "given")


def choose_C(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    num_classes: int,
    *,
    sweep: Literal["coarse", "full"] = "coarse",
    class_weight: ClassWeight = None,
    seed: int = 0,
    scaling: Scaling = standardising_scale,
    by: Criterion = "accuracy",
    groups: Tensor | None = None,
) -> Choice:
    """The C of a head fitted on scaled train that is best on val, or on the folds of train.

    With no val images C is chosen by stratified cross-validation on train, with as many folds as the smallest class
    that has at least two images allows; classes with one image stay in every training part. By accuracy, ties go to the
    lower mean loss, then to the smaller C; by loss, to the smaller C. The coarse sweep goes up from 1e-6 by 1.5 decades
    and stops at a value whose loss is above the lowest by more than 1.96 standard errors (paired over the images) and
    whose accuracy is not above the best likewise; then it refines. Other arguments as for `fit_probe`.

    Args:
        scaling: What features are divided by before they are penalised; by default the standard deviation of each.
        by: What is best: the highest accuracy or the lowest mean cross-entropy.
        groups: (N,) int64, the group of each training image: a fold holds out whole groups. None: images are their own.

    Raises:
        TransferkitError: If features hold NaN, labels are out of range or train has fewer than two classes.
    """
    check_features(train_features, train_labels, num_classes, "training")
    if len(val_labels):
        check_features(val_features, val_labels, num_classes, "validation")
        check_same_width(train_features, val_features)
    held_out = _held_out(train_features, train_labels, val_features, val_labels, seed, groups)
    if held_out is None:
        return Choice(DEFAULT_C, f"default, no class has two {'images' if groups is None else 'groups'}")
    data = rotate(train_features, train_labels, num_classes, scaling(train_features), held_out.problems)
    return _choose(data, weights_of_rows(data, class_weight, held_out.train_weights), held_out, sweep, by)


@dataclass(frozen=True)
class _HeldOut:
    """What C is judged on: G ways to train on some images and to judge on others."""

    train_weights: Tensor  # (G, N) 1 where a training image is used
    features: Tensor  # (M, D)
    labels: Tensor  # (M,)
    judged: Tensor  # (G, M) bool
    name: str

    @property
    def problems(self) -> int:
        """How many problems are solved together in the coarse sweep."""
        return len(self.train_weights) * len(COARSE)


@dataclass(frozen=True)
class _Tried:
    """How one C did on the held-out images, those of all folds after one another."""

    C: float
    fits: LinearFits  # G heads
    correct: Tensor  # (M,) float64, 1 where the answer is right
    losses: Tensor  # (M,) float64, cross-entropy in nats

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


def _held_out(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    seed: int,
    groups: Tensor | None,
) -> _HeldOut | None:
    """Val if there is one, else folds of train, else nothing."""
    if len(val_labels):
        everyone = torch.ones(1, len(train_labels), device=train_labels.device)
        judged = torch.ones(1, len(val_labels), dtype=torch.bool, device=val_labels.device)
        return _HeldOut(everyone, val_features, val_labels, judged, "val")
    fold = _folds(train_labels, seed) if groups is None else _folds_of_groups(train_labels, groups, seed)
    count = int(fold.max()) + 1
    if count == 0:
        return None
    judged = fold == torch.arange(count, device=fold.device)[:, None]
    name = f"{count}-fold cross-validation{'' if groups is None else ' over groups'}"
    return _HeldOut((~judged).float(), train_features, train_labels, judged, name)


def _folds(labels: Tensor, seed: int) -> Tensor:
    """(N,) the fold that holds each image out, stratified; -1 for the only image of its class."""
    counts = labels.bincount()
    if not bool((counts >= 2).any()):
        return torch.full_like(labels, -1)
    folds = min(MAX_FOLDS, int(counts[counts >= 2].min()))
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    by_class = by_class[counts[labels[by_class]] >= 2]
    fold = torch.full_like(labels, -1)
    fold[by_class] = torch.arange(len(by_class), device=labels.device) % folds
    return fold


def _folds_of_groups(labels: Tensor, groups: Tensor, seed: int) -> Tensor:
    """(N,) the fold that holds each image's group out; -1 for the only group of a class."""
    fold = group_folds(labels.cpu().numpy(), groups.cpu().numpy(), MAX_FOLDS, seed)
    return torch.from_numpy(fold).to(labels.device)


# From values of C, and fits for each to start from or none, to how they did.
_Solve: TypeAlias = Callable[[Sequence[float], Sequence[LinearFits]], list[_Tried]]


def _choose(
    data: RotatedData, row_weights: Tensor, held_out: _HeldOut, sweep: Literal["coarse", "full"], by: Criterion
) -> Choice:
    """Coarse values first; what follows starts from their solutions."""
    solve = partial(_solve, data, row_weights, held_out)
    coarse = _climb(solve, by) if sweep == "coarse" else solve(COARSE, [])
    known = [tried.C for tried in coarse]
    finer = _refined(_best(coarse, by).C) if sweep == "coarse" else _others(FULL_SWEEP, known)
    nearest = [min(sum(c < value for c in known), len(known) - 1) for value in finer]  # the next higher one
    tried = coarse + solve(finer, [coarse[at].fits for at in nearest])
    best = _best(tried, by)
    ascending = sorted(tried, key=lambda attempt: attempt.C)
    grid, accuracies, losses = (
        tuple(getattr(attempt, name) for attempt in ascending) for name in ("C", "accuracy", "loss")
    )
    return Choice(best.C, held_out.name, grid, accuracies, losses, best.fits.select([0]))


def _climb(solve: _Solve, by: Criterion) -> list[_Tried]:
    """Coarse values upwards, until the held-out images tell that the best lies below.

    Large C, under which the images are separated ever further, take most of the evaluations and are seldom best.
    """
    tried = solve(COARSE[:TOGETHER], [])
    for C in COARSE[TOGETHER:]:
        if _is_past_the_best(tried, by):
            break
        tried += solve([C], [tried[-1].fits])
    return tried


def _is_past_the_best(tried: Sequence[_Tried], by: Criterion) -> bool:
    """Whether the last value has a loss told to be above another's, and no accuracy told to be above the best's."""
    last = tried[-1]
    costs_more = _exceeds(last.losses, _best(tried, "loss").losses)
    return costs_more and (by == "loss" or not _exceeds(last.correct, _best(tried[:-1], by).correct))


def _exceeds(values: Tensor, others: Tensor) -> bool:
    """Whether the mean of (M,) values is higher than that of others on the same images, by more than its interval."""
    difference = values - others
    return bool(difference.mean() > TOLD_APART * difference.std(unbiased=False) / math.sqrt(len(difference)))


def _refined(best: float) -> tuple[float, ...]:
    """Values of the full sweep around the best coarse one."""
    centre = FULL_SWEEP.index(best)
    return tuple(FULL_SWEEP[centre + step] for step in REFINED_STEPS if 0 <= centre + step < len(FULL_SWEEP))


def _others(values: Sequence[float], known: Sequence[float]) -> tuple[float, ...]:
    return tuple(value for value in values if value not in known)


def _best(tried: Sequence[_Tried], by: Criterion) -> _Tried:
    if by == "loss":
        return min(tried, key=lambda attempt: (attempt.loss, attempt.C))
    return max(tried, key=lambda attempt: (attempt.accuracy, -attempt.loss, -attempt.C))


def _solve(
    data: RotatedData, row_weights: Tensor, held_out: _HeldOut, C: Sequence[float], starts: Sequence[LinearFits]
) -> list[_Tried]:
    """Fit every C to every fold, together, and judge each."""
    count, folds = len(C), range(len(row_weights))
    start = joined([starts[at].select([fold]) for fold in folds for at in range(count)]) if starts else None
    fits = fit_rotated(data, row_weights, C, start, SELECTION_TOLERANCE, SELECTION_EVALUATIONS)
    return [_judged(held_out, value, fits.select([fold * count + at for fold in folds])) for at, value in enumerate(C)]


def _judged(held_out: _HeldOut, C: float, fits: LinearFits) -> _Tried:
    """What the heads of one C, one for each fold, answer to the images that each did not learn from."""
    correct, losses = [], []
    for fold, judged in enumerate(held_out.judged):
        features, labels = held_out.features[judged], held_out.labels[judged]
        log_p = fits.head(fold).logits(features).log_softmax(1)
        correct.append((log_p.argmax(1) == labels).double())
        losses.append(-log_p.gather(1, labels[:, None])[:, 0].double())
    return _Tried(C, fits, torch.cat(correct), torch.cat(losses))
