"""From features to rotated columns, and from heads on these back to heads on features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transferkit.models.linear.linear_head import LinearFits

FLOAT64_BELOW = 2e6  # multiply-adds of one evaluation below which float64 costs nothing noticeable
EXACT_UP_TO = 1024  # images or features up to which all principal axes cost less than they save
LEADING = 128  # axes looked for beyond that, where the others are as good as any
POWER_PASSES = 2  # over the images, each of which makes the leading axes clearer
MISSING_CLASS_GAP = 20.0  # e**-20 = 2e-9: the most probability that a class without training images can get


@dataclass(frozen=True)
class Axes:
    """The way from given features to rotated columns, ((x - mean) / scale) @ basis, and of heads back."""

    mean: Tensor  # (D,) float64
    scale: Tensor  # (D,) float64
    basis: Tensor  # (D, R) float64, orthonormal columns


@dataclass(frozen=True)
class RotatedData:
    """Rotated images, shared by all problems."""

    columns: Tensor  # (N, R + 1), the last column is 1 and carries the intercept
    spectrum: Tensor  # (R + 1,) float64, mean square of each column
    labels: Tensor  # (N,) in 0..K-1, classes without images left out
    present: Tensor  # (K,) the class that each row of a head stands for
    axes: Axes
    num_classes: int


def rotate(features: Tensor, labels: Tensor, num_classes: int, scale: Tensor | None, problems: int) -> RotatedData:
    """Rotate once; every problem on these images then uses the same columns."""
    present, compact = torch.unique(labels, return_inverse=True)
    mean = _mean(features)
    axes = Axes(mean, torch.ones_like(mean) if scale is None else scale.double(), mean)
    small = features.numel() * len(present) * problems < FLOAT64_BELOW
    dtype = torch.float64 if small else torch.float32
    axes = _axes(features, axes, dtype)
    columns = _rotated(features, axes, dtype)
    squares = [chunk.square().sum(0, dtype=torch.float64) for chunk in torch.split(columns, 4096)]
    spectrum = torch.stack(squares).sum(0) / len(columns)
    return RotatedData(columns, spectrum, compact, present, axes, num_classes)


def standardising_scale(features: Tensor) -> Tensor:
    """(D,) the standard deviation, or 1 where a feature does not vary beyond float64 rounding.

    In two passes, because one pass cancels for large means.
    """
    mean = _mean(features)
    squares = [(chunk - mean).square_().sum(0) for chunk in torch.split(features, 4096)]
    deviation = (torch.stack(squares).sum(0) / len(features)).sqrt()
    return torch.where(deviation <= 1e-12 * mean.abs(), 1.0, deviation)


def common_scale(features: Tensor) -> Tensor:
    """(D,) one scale for all features, the root mean square of their standard deviations.

    A penalty on features divided by it is the same for all of them. Standardising each feature instead lets one that is
    nearly dead have a weight of any size, and such a weight does harm as soon as the features move.
    """
    deviation = standardising_scale(features)
    return deviation.square().mean().sqrt().expand_as(deviation)


def _mean(features: Tensor) -> Tensor:
    """(D,) float64."""
    sums = [chunk.sum(0, dtype=torch.float64) for chunk in torch.split(features, 4096)]
    return torch.stack(sums).sum(0) / len(features)


def _axes(features: Tensor, axes: Axes, dtype: torch.dtype) -> Axes:
    """Those that make the problem well conditioned: all principal ones, or beyond some number the leading ones."""
    count, width = features.shape
    if min(count, width) > EXACT_UP_TO and width <= 2 * count:
        return _leading_axes(features, axes, dtype)
    return _span_of_images(features, axes) if count <= width else _principal_axes(features, axes, dtype)


def _leading_axes(features: Tensor, axes: Axes, dtype: torch.dtype) -> Axes:
    """The largest principal axes, about, and any that complete them to an orthonormal basis.

    Randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 53 (2011), algorithm 4.4).
    """
    start = torch.randn(features.shape[1], LEADING, generator=torch.Generator().manual_seed(0))
    leading = start.to(features.device, dtype)
    for _ in range(POWER_PASSES):
        leading = torch.linalg.qr(_gram_times(features, axes, leading))[0]
    small = leading.T @ _gram_times(features, axes, leading)
    leading = leading.double() @ torch.linalg.eigh((small + small.T).double())[1]
    return replace(axes, basis=torch.linalg.qr(leading, mode="complete")[0])


def _gram_times(features: Tensor, axes: Axes, vectors: Tensor) -> Tensor:
    """(D, L), the Gram matrix of the standardised columns times (D, L), without the matrix itself."""
    product = torch.zeros_like(vectors)
    for chunk in torch.split(features, 4096):
        rows = _standardised(chunk, axes, vectors.dtype)
        product.addmm_(rows.T, rows @ vectors)
    return product


def _principal_axes(features: Tensor, axes: Axes, dtype: torch.dtype) -> Axes:
    """All axes, from the Gram matrix of the columns; they only condition the problem, so `dtype` suffices."""
    gram = torch.zeros(features.shape[1], features.shape[1], dtype=dtype, device=features.device)
    for chunk in torch.split(features, 4096):
        rows = _standardised(chunk, axes, dtype)
        gram.addmm_(rows.T, rows)
    return replace(axes, basis=torch.linalg.eigh(gram.double())[1])


def _span_of_images(features: Tensor, axes: Axes) -> Axes:
    """Axes that span the images when they are no more than the columns; the optimum lies there."""
    rows = _standardised(features, axes, torch.float64)
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    is_spanned = values > values[-1] * len(rows) * torch.finfo(torch.float64).eps
    return replace(axes, basis=rows.T @ (vectors[:, is_spanned] / values[is_spanned].sqrt()))


def _standardised(chunk: Tensor, axes: Axes, dtype: torch.dtype) -> Tensor:
    return (chunk.to(dtype) - axes.mean.to(dtype)).div_(axes.scale.to(dtype))


def _rotated(features: Tensor, axes: Axes, dtype: torch.dtype) -> Tensor:
    """(N, R + 1) columns along the axes, then a column of ones for the intercept."""
    width = axes.basis.shape[1]
    columns = torch.ones(len(features), width + 1, dtype=dtype, device=features.device)
    for source, target in zip(torch.split(features, 4096), torch.split(columns, 4096), strict=True):
        target[:, :width] = _standardised(source, axes, dtype) @ axes.basis.to(dtype)
    return columns


def unrotated_heads(data: RotatedData, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(P, num_classes, D) weights and (P, num_classes) biases for features as they were given.

    The optimal weights of all classes sum to zero, so no image has all its logits below the mean bias. A class
    without images gets zero weights and a bias MISSING_CLASS_GAP below that mean: it never wins and stays finite,
    where the unpenalised intercept would go to minus infinity.
    """
    folded = weight[..., :-1] @ data.axes.basis.T / data.axes.scale
    bias = weight[..., -1] - folded @ data.axes.mean
    all_weights = folded.new_zeros(len(folded), data.num_classes, folded.shape[2])
    all_biases = (bias.mean(1, keepdim=True) - MISSING_CLASS_GAP).repeat(1, data.num_classes)
    all_weights[:, data.present], all_biases[:, data.present] = folded, bias
    return all_weights.float(), all_biases.float()


def rotated_heads(data: RotatedData, initial: LinearFits) -> Tensor:
    """(P, K, R + 1) weights in rotated coordinates, the inverse of `unrotated_heads`."""
    weight, bias = initial.weight[:, data.present].double(), initial.bias[:, data.present].double()
    intercept = bias + weight @ data.axes.mean
    return torch.cat([(weight * data.axes.scale) @ data.axes.basis, intercept[..., None]], dim=-1)
