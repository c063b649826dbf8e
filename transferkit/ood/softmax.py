"""Logarithms of softmax probabilities that stay exact where the softmax saturates."""

from __future__ import annotations

import torch
from torch import Tensor


def sorted_log_softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """log p and log(1 - p) of every class, most probable first.

    The largest probability is never subtracted from 1: with S = sum over the other classes of exp(z - z_max),
    p_max = 1 / (1 + S) and 1 - p_max = S / (1 + S), which float64 resolves far below 1e-16.

    Args:
        logits: (N, C) float64, C >= 2.

    Returns:
        log p (N, C), falling along each row, and log(1 - p) (N, C).
    """
    shifted = logits.sort(dim=1, descending=True).values
    shifted = shifted - shifted[:, :1]
    log_others = shifted[:, 1:].logsumexp(dim=1, keepdim=True)  # (N, 1), log S
    log_total = torch.nn.functional.softplus(log_others, threshold=1000)  # (N, 1), log(1 + S)
    log_p = shifted - log_total
    log_rest = torch.cat([log_others - log_total, torch.log1p(-log_p[:, 1:].exp())], dim=1)
    return log_p, log_rest
