"""Maximum logit: -max_c z_c.

Hendrycks et al., ICML 2022 (arXiv:1911.11132). Depends on the scale of the logits: compare image sets of one
model with it, never models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score, fitted, require_several_classes, row_by_row

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "how small the largest logit is"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Nothing is fitted.

    Raises:
        NotApplicable: With one class.
    """
    require_several_classes(train)
    return fitted("maxlogit", train, lambda outputs: row_by_row(lambda z: -z.amax(dim=1), outputs.logits))
