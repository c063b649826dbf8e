"""Maximum softmax probability, the baseline: -log max_c p_c.

Hendrycks and Gimpel, ICLR 2017 (arXiv:1610.02136), section 2. The logarithm keeps the order and has fewer ties: many
images of a well-trained network have p = 1 exactly in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score, fitted, require_several_classes, row_by_row
from transferkit.ood.softmax import sorted_log_softmax

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "how small the largest probability is"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Nothing is fitted.

    Raises:
        NotApplicable: With one class.
    """
    require_several_classes(train)
    return fitted("msp", train, lambda outputs: row_by_row(lambda z: -sorted_log_softmax(z)[0][:, 0], outputs.logits))
