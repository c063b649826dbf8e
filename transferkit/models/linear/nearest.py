"""Nearest neighbours and nearest class means: answers that need no solver."""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.models.linear.chunks import rows_at_once
from transferkit.models.linear.linear_head import LinearHead
from transferkit.models.linear.rotation import MISSING_CLASS_GAP
from transferkit.runtime.errors import TransferkitError

VOTE_TEMPERATURE = 0.07  # of nearest neighbours, Wu et al., CVPR 2018, section 3.4
NEVER = -1e30  # a finite logit below every other one


def knn_logits(
    train_features: Tensor,
    train_labels: Tensor,
    query_features: Tensor,
    num_classes: int,
    k: int,
    temperature: float = VOTE_TEMPERATURE,
) -> Tensor:
    """Log of the votes of the k nearest training images by cosine, each weighing exp(similarity / temperature).

    Wu et al., CVPR 2018 (arXiv:1805.01978), section 3.4; the temperature is theirs.

    Args:
        train_features: (N, D).
        train_labels: (N,) int64.
        query_features: (M, D).
        num_classes: Columns of the result.
        k: Neighbours, at most N.
        temperature: Small values let the nearest neighbour decide.

    Returns:
        (M, num_classes). A class without a vote gets -1 / temperature - 20, below any single vote, and finite.

    Raises:
        TransferkitError: If k is larger than the number of training images, or below 1.
    """
    nearest = neighbours(train_features, train_labels, query_features, k)
    return votes(*nearest, num_classes, temperature)


def neighbours(train_features: Tensor, train_labels: Tensor, query_features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines (M, k) of the k nearest training images of each query, nearest first, and their labels (M, k).

    Raises:
        TransferkitError: If k is larger than the number of training images, or below 1.
    """
    require_neighbours(k, len(train_features))
    train = torch.nn.functional.normalize(train_features, dim=1)
    queries = torch.nn.functional.normalize(query_features, dim=1)
    chunks = torch.split(queries, rows_at_once(train.device, len(train)))
    by_chunk = [(chunk @ train.T).topk(k, dim=1) for chunk in chunks]
    nearest, index = (torch.cat(parts) for parts in zip(*by_chunk, strict=True))
    return nearest, train_labels[index]


def require_neighbours(k: int, images: int) -> None:
    """Refuse more neighbours than there are images.

    Raises:
        TransferkitError: Names both numbers.
    """
    if not 1 <= k <= images:
        raise TransferkitError(
            f"k = {k} neighbours were asked for, but there are {images} training images. "
            f"Choose k between 1 and {images}."
        )


def votes(nearest: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """(M, num_classes) log votes from the (M, k) cosines and labels of neighbours, nearest first; see `knn_logits`."""
    weights = ((nearest - nearest[:, :1]) / temperature).exp()  # relative to the nearest, so that exp cannot overflow
    counted = nearest.new_zeros(len(nearest), num_classes).scatter_add_(1, labels, weights)
    return (counted.log() + nearest[:, :1] / temperature).clamp_(min=-1 / temperature - MISSING_CLASS_GAP)


def nearest_class_mean(train_features: Tensor, train_labels: Tensor, num_classes: int) -> LinearHead:
    """The nearest class mean in Euclidean distance, as a linear head: W = mu, b = -|mu|^2 / 2.

    From -|x - mu|^2 / 2 = mu.x - |mu|^2 / 2 - |x|^2 / 2, whose last term is the same for all classes. A class
    without images gets zero weights and a bias of -1e30, so that it never wins.
    """
    sums = torch.zeros(num_classes, train_features.shape[1], dtype=torch.float64, device=train_features.device)
    for features, labels in zip(torch.split(train_features, 4096), torch.split(train_labels, 4096), strict=True):
        sums.index_add_(0, labels, features.double())
    counts = train_labels.bincount(minlength=num_classes)
    means = sums / counts.clamp(min=1)[:, None]
    bias = torch.where(counts > 0, -0.5 * means.square().sum(1), NEVER)
    return LinearHead(means.float(), bias.float())
