"""Features of overlapping, collinear, imbalanced and other classes, for heads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from transferkit.models.linear import LinearHead

NONE = torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)


def blobs(n: int = 240, d: int = 8, classes: int = 4, spread: float = 1.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes in correlated features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    means, mixing = torch.randn(classes, d, generator=generator), torch.randn(d, d, generator=generator)
    noise = spread * torch.randn(n, d, generator=generator)
    return (means[labels] + noise) @ mixing / d**0.5, labels


def probabilities(head: LinearHead, features: Tensor) -> np.ndarray:
    return head.logits(features).softmax(1).numpy()
