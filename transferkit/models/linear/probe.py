"""The linear probe: choose C, then fit; the standardisation is folded into the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transferkit.models.linear.checks import check_features, check_same_width
from transferkit.models.linear.choice import Choice, Scaling, choose_C, given_C
from transferkit.models.linear.linear_head import LinearFits, LinearHead
from transferkit.models.linear.logistic import fit_linear
from transferkit.models.linear.objective import ClassWeight
from transferkit.models.linear.rotation import standardising_scale


@dataclass(frozen=True)
class ProbeFit:
    """A linear probe and how its C was chosen.

    Attributes:
        head: Acts on features as they were given; the standardisation is folded in.
        choice: Of C.
        converged: Whether the final fit reached its tolerance.
        iterations: Evaluations of loss and gradient in the final fit.
    """

    head: LinearHead
    choice: Choice
    converged: bool
    iterations: int

    @property
    def C(self) -> float:
        """Inverse penalty, multiplying the sum of the losses."""
        return self.choice.C


def fit_probe(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    num_classes: int,
    *,
    sweep: Literal["coarse", "full"] = "coarse",
    C: float | None = None,
    class_weight: ClassWeight = None,
    seed: int = 0,
    groups: Tensor | None = None,
) -> ProbeFit:
    """Standardise, choose C on val, refit on train and val together; fold the standardisation into the head.

    While C is chosen (see `choose_C`), mean and standard deviation come from train alone; the refit takes them from
    train and val.

    Args:
        train_features: (N, D) float32.
        train_labels: (N,) int64.
        val_features: (M, D) float32; M may be 0.
        val_labels: (M,) int64.
        num_classes: Rows of the head; a class without images gets a finite row that never wins.
        sweep: "coarse" tries up to 8 values 1.5 decades apart, as far up as it may pay, and 4 around the best; "full"
            tries 45, 1e-6 to 1e5.
        C: Skip the choice and use this value.
        class_weight: "balanced", (num_classes,) weights, or None.
        seed: Shuffles the folds; unused when val has images.
        groups: (N,) int64, the group of each training image, as in `choose_C`.

    Returns:
        The head for unstandardised features and how its C was chosen.

    Raises:
        TransferkitError: If features hold NaN, labels are out of range or train has fewer than two classes.
    """
    check_features(train_features, train_labels, num_classes, "training")
    parts = (train_features, train_labels, val_features, val_labels)
    choice = (
        given_C(C)
        if C is not None
        else choose_C(*parts, num_classes, sweep=sweep, class_weight=class_weight, seed=seed, groups=groups)
    )
    features, labels = train_features, train_labels
    if len(val_labels):
        check_features(val_features, val_labels, num_classes, "validation")
        check_same_width(train_features, val_features)
        features, labels = torch.cat([train_features, val_features]), torch.cat([train_labels, val_labels])
    fits = fit_chosen(features, labels, num_classes, choice, class_weight=class_weight)
    return ProbeFit(fits.head(0), choice, bool(fits.converged[0]), int(fits.iterations[0]))


def fit_chosen(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    choice: Choice,
    *,
    class_weight: ClassWeight = None,
    initial: LinearFits | None = None,
    scaling: Scaling = standardising_scale,
) -> LinearFits:
    """One head at the chosen C, on features scaled by these images; the scale is folded into it.

    Args:
        features: (N, D) float32.
        labels: (N,) int64.
        num_classes: Rows of the head.
        choice: From `choose_C`; its own fit is where the solver starts.
        class_weight: "balanced", (num_classes,) weights, or None.
        initial: One head to start from instead.
        scaling: As in `choose_C`.

    Raises:
        TransferkitError: As `fit_linear`.
    """
    return fit_linear(
        features,
        labels,
        num_classes,
        [choice.C],
        scale=scaling(features),
        class_weight=class_weight,
        initial=choice.start if initial is None else initial,
    )
