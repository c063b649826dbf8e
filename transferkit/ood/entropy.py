"""Entropy of the softmax: -sum_c p_c log p_c, in nats.

Hendrycks and Gimpel, ICLR 2017 (arXiv:1610.02136) use it beside the maximum; the formula is Shannon's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score, fitted, require_more_than_msp, row_by_row
from transferkit.ood.softmax import sorted_log_softmax

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "how evenly probability is spread"
IS_DEFAULT = False  # of what reports show


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Nothing is fitted.

    Raises:
        NotApplicable: With one class, and with two, where msp says the same.
    """
    require_more_than_msp(train)
    return fitted("entropy", train, lambda outputs: row_by_row(entropy, outputs.logits))


def entropy(logits: Tensor) -> Tensor:
    """(N,) nats in [0, log C]; a probability that underflows to 0 adds 0."""
    log_p, _ = sorted_log_softmax(logits)
    return -(log_p.exp() * log_p).sum(dim=1)
