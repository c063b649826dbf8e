"""Penalised logistic regressions on the same columns: what is minimised, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transferkit.models.linear.chunks import rows_at_once
from transferkit.models.linear.rotation import RotatedData
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

ClassWeight = Literal["balanced"] | Tensor | None


@dataclass(frozen=True)
class Problems:
    """P problems on the same columns, each scaled to a mean over images so that float32 suffices.

    With S the sum of a problem's row weights and two classes counted once (see `_penalties`), it minimises
    sum_i (s_i / S) * loss_i + 0.5 / (C * S) * ||W||^2, which is scikit-learn's objective divided by C * S.
    """

    data: RotatedData
    row_weights: Tensor  # (G, N), every row sums to 1
    group: Tensor  # (P,) the row of `row_weights` that each problem uses
    penalty: Tensor  # (P, R + 1) float64, 0 for the intercept
    precondition: Tensor  # (P, R + 1) float64, weight = theta * precondition
    objective_scale: Tensor  # (P,) float64, C * S


def pose(data: RotatedData, row_weights: Tensor, C: Sequence[float]) -> Problems:
    """Every row of weights with every C, the values of C running fastest."""
    group = torch.arange(len(row_weights), device=row_weights.device).repeat_interleave(len(C))
    total = row_weights.sum(1)
    objective_scale = torch.tensor(C, dtype=torch.float64, device=total.device).repeat(len(total)) * total[group]
    penalty = _penalties(objective_scale, data)
    classes = len(data.present)
    curvature = (classes - 1) / classes**2  # p * (1 - p) when all classes are equally likely
    precondition = (curvature * data.spectrum + penalty).rsqrt()
    share = (row_weights / total[:, None]).to(data.columns.dtype)
    return Problems(data, share, group, penalty, precondition, objective_scale)


def _penalties(objective_scale: Tensor, data: RotatedData) -> Tensor:
    """(P, R + 1) one penalty per weight, none for the intercept.

    With two classes scikit-learn penalises the difference d of the two rows by 0.5 * d^2; the rows are then d / 2
    and -d / 2 with squares summing to d^2 / 2, so that doubling the penalty gives the same problem.
    """
    per_weight = (2.0 if len(data.present) == 2 else 1.0) / objective_scale
    penalty = per_weight[:, None].repeat(1, data.columns.shape[1])
    penalty[:, -1] = 0.0
    return penalty


def weights_of_rows(data: RotatedData, class_weight: ClassWeight, sample_weights: Tensor | None) -> Tensor:
    """(G, N) float64, sample weights times class weights."""
    rows = torch.ones(1, len(data.labels)) if sample_weights is None else sample_weights
    rows = rows.to(data.labels.device, torch.float64)
    per_class = torch.zeros(len(rows), len(data.present), dtype=torch.float64, device=rows.device)
    per_class.index_add_(1, data.labels, rows)
    if not bool((per_class > 0).all()):
        raise TransferkitError(
            "Sample weights leave a class without any weight in one of the problems. "
            "Every class among the labels needs a positive weight in each row of sample_weights."
        )
    return rows * _class_factors(data, class_weight, per_class)[:, data.labels]


def _class_factors(data: RotatedData, class_weight: ClassWeight, per_class: Tensor) -> Tensor:
    """(G, K) what each class is multiplied by; "balanced" is n / (K * n_k) as in scikit-learn."""
    if class_weight is None:
        return torch.ones_like(per_class)
    if isinstance(class_weight, Tensor):
        if len(class_weight) != data.num_classes:
            raise TransferkitError(
                f"class_weight has {counted(len(class_weight), 'value')}; expected one per class, {data.num_classes}."
            )
        return class_weight.to(per_class)[data.present].expand_as(per_class)
    return per_class.sum(1, keepdim=True) / (per_class.shape[1] * per_class)


def evaluate(problems: Problems, theta: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Value (P,) float64 and gradient by theta (P, K, R + 1) of the problems in `index`."""
    scale = problems.precondition[index, None].to(theta.dtype)
    penalty = problems.penalty[index, None].to(theta.dtype)
    weight = theta * scale
    loss, gradient = _loss(problems, weight, problems.group[index])
    value = loss + 0.5 * dot(penalty * weight, weight)
    return value, (gradient + penalty * weight) * scale


def _loss(problems: Problems, weight: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy (P,) float64 and its gradient (P, K, R + 1), a chunk of rows at a time."""
    count, classes, width = weight.shape
    flat = weight.reshape(count * classes, width)
    gradient = torch.zeros_like(flat)
    loss = torch.zeros(count, dtype=torch.float64, device=weight.device)
    for rows in _row_chunks(problems.data, count * classes):
        columns = problems.data.columns[rows].to(weight.dtype)
        row_weights = problems.row_weights[:, rows].to(weight.dtype)[group, None]  # (P, 1, n)
        log_p = (flat @ columns.T).view(count, classes, -1).log_softmax(dim=1)  # (P, K, n)
        losses, residual = _cross_entropy(log_p, problems.data.labels[rows].expand(count, 1, -1))
        loss += (losses * row_weights).sum((1, 2), dtype=torch.float64)
        gradient.addmm_(residual.mul_(row_weights).view(count * classes, -1), columns)
    return loss, gradient.view_as(weight)


def relative_curvature(problems: Problems, theta: Tensor, index: Tensor) -> Tensor:
    """(P, R + 1) diagonal of the Hessian by theta, the mean over classes; 1 where all are equally likely.

    Images that the head is sure of hardly bend the objective any more: with p(1 - p) of each image as it is now, the
    columns that only they need become flat.
    """
    scale, penalty = problems.precondition[index], problems.penalty[index]
    number, classes, width = theta.shape
    weight = (theta * scale[:, None].to(theta.dtype)).view(number * classes, width)
    curvature = torch.zeros_like(theta[:, 0])
    for rows in _row_chunks(problems.data, number * classes):
        columns = problems.data.columns[rows].to(theta.dtype)
        likely = (weight @ columns.T).view(number, classes, -1).softmax(dim=1)
        unsure = (1 - likely.square().sum(1)) / classes  # (P, n)
        unsure *= problems.row_weights[:, rows].to(theta.dtype)[problems.group[index]]
        curvature.addmm_(unsure, columns.square())
    return (curvature + penalty.to(theta.dtype)) * scale.to(theta.dtype).square()


def _cross_entropy(log_p: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (P, 1, n) and their gradient by the logits (P, K, n), which replaces `log_p`.

    1 - p(label) is summed from the other classes, never subtracted: float32 would lose what lies below 6e-8,
    which is all there is when the classes can be separated.
    """
    likely = log_p.gather(1, label)
    residual = log_p.exp_().scatter_(1, label, 0.0)
    missed = residual.sum(1, keepdim=True)
    residual.scatter_(1, label, -missed)
    return torch.where(missed < 0.5, -torch.log1p(-missed), -likely), residual


def _row_chunks(data: RotatedData, logits_per_row: int) -> Iterator[slice]:
    rows = rows_at_once(data.columns.device, logits_per_row)
    return (slice(start, start + rows) for start in range(0, len(data.labels), rows))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(P,) float64 inner products."""
    return (a * b).flatten(1).sum(1, dtype=torch.float64)
