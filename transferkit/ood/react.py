"""Energy of rectified activations: -log sum_c exp z_c, where z = W min(f, r) + b and r is the 90th percentile of f.

Sun, Guo and Li, NeurIPS 2021 (arXiv:2111.12797), with their p = 90 over all activations of the training
images. It assumes features that are 0 or above, as a ReLU leaves them; for other backbones it can be worse than chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import (
    Floats,
    NotApplicable,
    OodSettings,
    Rows,
    Score,
    fitted,
    linear_head,
    require_several_classes,
    row_by_row,
    training_features,
)

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

PERCENTILE = 90

IN_WORDS = "as energy, with the largest features cut off"
IS_DEFAULT = False  # of what reports show


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """The clipping value of the training features.

    Raises:
        NotApplicable: With one class, without a linear head, or if features are negative or nearly all 0.
    """
    require_several_classes(train)
    clip = _clip(training_features(train))
    weight, bias = linear_head(head, train)

    def energy(features: Tensor) -> Tensor:
        return -(features.clamp(max=clip) @ weight.T + bias).logsumexp(dim=1)

    def score(outputs: Outputs) -> Floats:
        return row_by_row(energy, outputs.features)

    return fitted("react", train, score)


def _clip(rows: Rows) -> float:
    lowest = float(rows.min())
    if lowest < 0:
        raise NotApplicable(
            f"It clips features that a ReLU has left at 0 or above; here they reach down to {lowest:.3g}."
        )
    clip = float(np.percentile(rows, PERCENTILE))
    if clip == 0:
        raise NotApplicable(f"At least {PERCENTILE} % of the features are 0, so clipping there would leave nothing.")
    return clip
