"""Linear classifiers on features: one, or several fitted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier on features.

    Attributes:
        weight: (K, D).
        bias: (K,).
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(N, K) logits of (N, D) features."""
        return torch.addmm(self.bias, features, self.weight.T)


@dataclass(frozen=True)
class LinearFits:
    """P heads fitted together, with what is needed to judge each fit.

    Attributes:
        weight: (P, K, D) float32, acting on the features as they were given.
        bias: (P, K) float32.
        objective: (P,) float64, C * sum of losses + 0.5 * sum of squared weights, as scikit-learn counts it.
        converged: (P,) bool.
        iterations: (P,) int64, evaluations of loss and gradient.
    """

    weight: Tensor
    bias: Tensor
    objective: Tensor
    converged: Tensor
    iterations: Tensor

    def head(self, index: int) -> LinearHead:
        """The head of one problem."""
        return LinearHead(self.weight[index], self.bias[index])

    def select(self, indices: Sequence[int]) -> LinearFits:
        """Some of the problems, in the order asked for; an index may repeat."""
        chosen = torch.tensor(indices, device=self.weight.device)
        return LinearFits(*(getattr(self, field.name)[chosen] for field in fields(self)))


def joined(fits: Sequence[LinearFits]) -> LinearFits:
    """Problems of several calls, one after another."""
    return LinearFits(*(torch.cat([getattr(some, field.name) for some in fits]) for field in fields(LinearFits)))
