"""Logistic regression for many C at once, equal to scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from transferkit.models.linear.checks import check_C, check_features
from transferkit.models.linear.lbfgs import minimise
from transferkit.models.linear.linear_head import LinearFits
from transferkit.models.linear.objective import ClassWeight, Problems, pose, weights_of_rows
from transferkit.models.linear.rotation import RotatedData, rotate, rotated_heads, unrotated_heads

TOLERANCE = 1e-6  # of the objective; an estimate, so that 1e-5 is kept, see tests/test_solvers.py
MAX_EVALUATIONS = 5000
STATE_ELEMENTS = 2**24  # weights optimised at once; L-BFGS keeps about 28 copies of them


def fit_linear(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    C: Sequence[float],
    *,
    scale: Tensor | None = None,
    class_weight: ClassWeight = None,
    sample_weights: Tensor | None = None,
    initial: LinearFits | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_EVALUATIONS,
) -> LinearFits:
    """Multinomial logistic regression for every C (and every row of sample weights) in one batch.

    Minimises what scikit-learn's LogisticRegression minimises: C * sum of losses + 0.5 * sum of squared weights,
    the intercept free; with two classes, one weight vector is penalised (the difference of the two rows).

    Args:
        features: (N, D) float32.
        labels: (N,) int64 in 0..num_classes-1. Classes that do not occur get a finite row that never wins.
        num_classes: Rows of each head.
        C: Inverse penalties, each positive.
        scale: (D,) divide the features by this before penalising; None leaves them as they are.
        class_weight: "balanced" (as in scikit-learn), (num_classes,) weights, or None.
        sample_weights: (G, N); then P = G * len(C), the values of C running fastest.
        initial: P heads to start from.
        tolerance: Stop when about this share of the objective is left to gain.
        max_iterations: Evaluations of loss and gradient per problem.

    Returns:
        P = len(C) heads, or G * len(C).

    Raises:
        TransferkitError: If features hold NaN, labels lie outside 0..num_classes-1 or hold fewer than two classes,
            or a C is not positive.
    """
    check_features(features, labels, num_classes, "training")
    check_C(C)
    groups = 1 if sample_weights is None else len(sample_weights)
    data = rotate(features, labels, num_classes, scale, groups * len(C))
    row_weights = weights_of_rows(data, class_weight, sample_weights)
    return fit_rotated(data, row_weights, C, initial, tolerance, max_iterations)


def fit_rotated(
    data: RotatedData,
    row_weights: Tensor,
    C: Sequence[float],
    initial: LinearFits | None,
    tolerance: float,
    max_iterations: int,
) -> LinearFits:
    """Every row of weights with every C on columns rotated before; the other arguments as for `fit_linear`."""
    problems = pose(data, row_weights, C)
    shape = (len(problems.group), len(data.present), data.columns.shape[1])
    start = data.spectrum.new_zeros(shape) if initial is None else rotated_heads(data, initial)
    return _solve(problems, start / problems.precondition[:, None], tolerance, max_iterations)


def _solve(problems: Problems, theta: Tensor, tolerance: float, max_iterations: int) -> LinearFits:
    """Minimise in the type of the columns, then in float64 what is left."""
    theta = theta.clone()
    value = theta.new_zeros(len(theta))
    converged = torch.zeros_like(value, dtype=torch.bool)
    evaluations = torch.zeros_like(value, dtype=torch.int64)
    for dtype in dict.fromkeys((problems.data.columns.dtype, torch.float64)):
        left = torch.nonzero(~converged & (evaluations < max_iterations))[:, 0]
        for part in torch.split(left, max(1, STATE_ELEMENTS // theta[0].numel())):
            for search, done in minimise(problems, theta[part].to(dtype), part, tolerance, max_iterations):
                theta[search.index], value[search.index] = search.theta.double(), search.value
                converged[search.index] = done
                evaluations[search.index] += search.evaluations
    weight, bias = unrotated_heads(problems.data, theta * problems.precondition[:, None])
    return LinearFits(weight, bias, value * problems.objective_scale, converged, evaluations)
