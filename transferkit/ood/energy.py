"""Energy: -log sum_c exp z_c, at temperature 1.

Liu et al., NeurIPS 2020 (arXiv:2010.03759), eq. 4. Depends on the scale of the logits: compare image sets of one model
with it, never models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score, fitted, require_several_classes, row_by_row

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "how small all logits are together"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Nothing is fitted.

    Raises:
        NotApplicable: With one class.
    """
    require_several_classes(train)
    return fitted("energy", train, lambda outputs: row_by_row(lambda z: -z.logsumexp(dim=1), outputs.logits))
