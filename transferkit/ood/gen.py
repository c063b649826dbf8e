"""Generalised entropy: sum over the M most probable classes of p^gamma (1 - p)^gamma.

Liu, Lochman and Zach, CVPR 2023, with their gamma = 0.1 and M = 100. The sum is taken from log p in float64: in
float32 the p of a confident network underflow, and gamma = 0.1 makes much of just those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score, fitted, require_more_than_msp, row_by_row
from transferkit.ood.softmax import sorted_log_softmax

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

GAMMA = 0.1
MOST_CLASSES = 100
IN_WORDS = "how far the probabilities are from 0 and 1"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Nothing is fitted.

    Raises:
        NotApplicable: With one class, and with two, where msp says the same.
    """
    require_more_than_msp(train)
    return fitted("gen", train, lambda outputs: row_by_row(generalised_entropy, outputs.logits))


def generalised_entropy(logits: Tensor) -> Tensor:
    """(N,), 0 or above; 0 if one class has all the probability."""
    log_p, log_rest = sorted_log_softmax(logits)
    terms = (GAMMA * (log_p + log_rest)).exp()  # 0 where p or 1 - p is 0
    return terms[:, :MOST_CLASSES].sum(dim=1)
