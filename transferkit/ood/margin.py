"""Margin: the second largest logit minus the largest.

The margin of a classifier, in log-odds of its two best classes; Hendrycks and Gimpel's baseline without the other
classes. Does not change if a constant is added to all logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score, fitted, require_more_than_msp, row_by_row

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "how close the two most likely classes are"
IS_DEFAULT = False  # of what reports show


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Nothing is fitted.

    Raises:
        NotApplicable: With one class, and with two, where msp says the same.
    """
    require_more_than_msp(train)
    return fitted("margin", train, lambda outputs: row_by_row(negative_margin, outputs.logits))


def negative_margin(logits: Tensor) -> Tensor:
    """(N,), 0 or below; 0 where two classes are equally likely."""
    two = logits.topk(2, dim=1).values
    return two[:, 1] - two[:, 0]
