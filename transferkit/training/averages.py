"""Weights that follow those in training: the moving average that is kept beside them, and Lookahead's slow weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

EMA_HALF_LIFE = 0.05  # of the run
LOOKAHEAD_STEPS = 5  # Zhang et al. 2019, figure 1; Jordan 2024
LOOKAHEAD_KEEPS = 0.95  # of the slow weights, per step, at the end of the run


@torch.no_grad()
def follow(average: Mapping[str, Tensor], values: Mapping[str, Tensor], step: int, total_steps: int) -> None:
    """Move the average towards the values; its half-life is 5 % of the run, shorter at the beginning."""
    steps = max(1.0, min(EMA_HALF_LIFE * total_steps, step / 4))
    move(average, values, 1 - 0.5 ** (1 / steps))


@torch.no_grad()
def look_ahead(slow: Mapping[str, Tensor], values: Mapping[str, Tensor], step: int, total_steps: int) -> None:
    """Every five steps, move the slow weights towards the values, and put the values back to them.

    Lookahead (Zhang et al. 2019, arXiv:1907.08610, algorithm 1) as in Jordan 2024 (arXiv:2404.00498), section 3.4:
    the slow weights follow at once in the beginning, and less and less as the run goes on (see `kept_share`).
    """
    if step % LOOKAHEAD_STEPS:
        return
    move(slow, values, 1 - kept_share(step, total_steps))
    for name, value in values.items():
        value.copy_(slow[name])


def kept_share(step: int, total_steps: int) -> float:
    """How much of the slow weights stays at a step: 0.95^5 (step / total)^3, as airbench94 has it.

    Example:
        >>> round(kept_share(100, 100), 4), round(kept_share(50, 100), 4)
        (0.7738, 0.0967)
    """
    return LOOKAHEAD_KEEPS**LOOKAHEAD_STEPS * (step / total_steps) ** 3


def move(average: Mapping[str, Tensor], values: Mapping[str, Tensor], share: float) -> None:
    """average + share (values - average), in place; what is no floating-point number (a counter) is copied."""
    moving = [name for name, value in values.items() if value.is_floating_point()]
    counters = [name for name, value in values.items() if not value.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in moving], [values[name] for name in moving], share)
    if counters:
        torch._foreach_copy_([average[name] for name in counters], [values[name] for name in counters])
