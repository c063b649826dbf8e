"""Classifiers on the features of a frozen backbone: solved on train to choose and to judge, then on train and val."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transferkit.feature_store import Features
from transferkit.images import Splits
from transferkit.recipe import ProbeSettings
from transferkit.runtime import Runtime
from transferkit.solvers import Choice, LinearFits, LinearHead, choose_C, fit_chosen, given_C

ENOUGH_TO_CHOOSE = 500  # val images; with fewer, accuracies on val differ by chance more than by C


@dataclass(frozen=True)
class Known:
    """Features (N, D) and labels (N,) of train and val, on the device that solves."""

    train_features: Tensor
    train_labels: Tensor
    val_features: Tensor
    val_labels: Tensor
    num_classes: int

    @classmethod
    def of(cls, splits: Splits, train: Features, val: Features, runtime: Runtime) -> Known:
        """The features of the two open parts of a data set."""
        device = torch.device("cpu") if runtime.device.type == "mps" else runtime.device  # mps has no float64
        train_features, val_features = (torch.from_numpy(part).to(device) for part in (train, val))
        train_labels, val_labels = (torch.from_numpy(part.labels).to(device) for part in (splits.train, splits.val))
        return cls(train_features, train_labels, val_features, val_labels, len(splits.class_names))

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
    """

    head: LinearHead
    honest: Callable[[Tensor], Tensor]
    facts: dict[str, Any]
    lines: tuple[str, ...]


# ------------------------------------------------------------------------------------------------------ linear


def linear(known: Known, settings: ProbeSettings, seed: int) -> Solved:
    """Multinomial logistic regression; the solver goes on from each fit to the next and repeats none."""
    choice, honest = linear_start(known, settings, seed)
    final = honest
    if len(known.val_labels):
        weights = settings.class_weight
        final = fit_chosen(*known.everything, known.num_classes, choice, class_weight=weights, initial=honest)
    return Solved(final.head(0), honest.head(0).logits, linear_facts(choice, final), tuple(in_words(choice, final)))


def linear_start(known: Known, settings: ProbeSettings, seed: int) -> tuple[Choice, LinearFits]:
    """The choice of C, and the head fitted on train alone with it."""
    train = (known.train_features, known.train_labels)
    choice = chosen(known, settings, seed)
    return choice, fit_chosen(*train, known.num_classes, choice, class_weight=settings.class_weight)


def chosen(known: Known, settings: ProbeSettings, seed: int) -> Choice:
    """C as it is given, or chosen on val, or by cross-validation on train where val is small."""
    if settings.C is not None:
        return given_C(settings.C)
    judged = slice(None) if len(known.val_labels) >= ENOUGH_TO_CHOOSE else slice(0)
    return choose_C(
        known.train_features,
        known.train_labels,
        known.val_features[judged],
        known.val_labels[judged],
        known.num_classes,
        sweep=settings.sweep,
        class_weight=settings.class_weight,
        seed=seed,
    )


def linear_facts(choice: Choice, final: LinearFits) -> dict[str, Any]:
    """What the report shows of a linear probe."""
    return {
        "classifier": "linear",
        "C": choice.C,
        "grid": list(choice.grid),
        "validation_accuracy": list(choice.validation_accuracy),
        "on_boundary": choice.on_boundary,
        "chosen_by": choice.chosen_by,
        "converged": bool(final.converged.all()),
    }


def in_words(choice: Choice, final: LinearFits) -> Iterator[str]:
    """What the terminal says of a linear probe."""
    accuracies = choice.validation_accuracy
    accuracy = f", accuracy {100 * max(accuracies):.1f} %" if accuracies else ""
    yield f"probe: C = {choice.C:.3g}, chosen by {choice.chosen_by}{accuracy}"
    if choice.on_boundary:
        yield "probe: the best C lies on the boundary of the grid; set method.C or method.sweep=full."
    if not final.converged.all():
        yield "probe: the solver stopped before it converged; the head may be improvable."
