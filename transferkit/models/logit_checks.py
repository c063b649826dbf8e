"""Whether what a network returns are logits, seen from its outputs alone, and what an activation does to the loss."""

from __future__ import annotations

import math

from torch import Tensor

from transferkit.runtime.plurals import counted

CLOSE = 1e-3  # sums of float32 rows differ from 1 by less


def activation(outputs: Tensor) -> str:
    """What is wrong with outputs (N, C) that went through a softmax or log-softmax; empty for logits."""
    sums = outputs.sum(1)
    if bool((outputs >= 0).all()) and bool(((sums - 1).abs() < CLOSE).all()):
        return (
            f"The network ends in a softmax: for each of {counted(len(outputs), 'image')} its outputs are positive "
            "and sum to 1. "
            f"Cross-entropy contains a softmax already; behind a second one the loss cannot fall below "
            f"{loss_floor(outputs.shape[1]):.3f}."
        )
    if bool((outputs <= 0).all()) and bool((outputs.logsumexp(1).abs() < CLOSE).all()):
        return (
            f"The network ends in a log-softmax: for each of {counted(len(outputs), 'image')} the exponentials of "
            "its outputs sum "
            "to 1. Cross-entropy contains it already; a second one leaves the loss as it is, but scores that need "
            "logits (energy, largest logit) lose their meaning."
        )
    return ""


def loss_floor(num_classes: int, spread: float = 1.0) -> float:
    """The least cross-entropy of outputs that differ by at most `spread`: `spread` for the class, 0 for all others.

    Example:
        >>> round(loss_floor(10), 3)
        1.461
    """
    return math.log(1 + (num_classes - 1) * math.exp(-spread))
