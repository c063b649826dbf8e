"""Virtual-logit matching: alpha ||P (f - u)|| - log sum_c exp z_c.

Wang et al., CVPR 2022 (arXiv:2203.10807): u = -W^+ b is the point whose logits are 0, P projects onto the
directions in which training features vary least, and alpha makes the norm as large as the largest logit on average.
The dimension d of what P leaves out is that of OpenOOD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import (
    Floats,
    NotApplicable,
    OodSettings,
    Rows,
    Score,
    as_float64,
    chunks,
    fitted,
    linear_head,
    require_finite,
    require_several_classes,
    row_by_row,
    training_features,
)

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

SMALLEST_RESIDUAL = 1e-6  # of the length of f - u; below, it is rounding
IN_WORDS = "how far it leaves the main directions of train"


@dataclass(frozen=True)
class Residual:
    """How far features lie from the principal subspace of the training features.

    Attributes:
        origin: (D,), u of the paper.
        directions: (D, D - d), orthonormal.
    """

    origin: Tensor
    directions: Tensor

    def norm(self, features: Tensor) -> Tensor:
        """(n,) of (n, D) float64."""
        norm: Tensor = torch.linalg.vector_norm((features - self.origin) @ self.directions, dim=1)
        return norm


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Principal subspace and alpha of the training images.

    Raises:
        NotApplicable: With one class, without a linear head, or if the images are too few to leave a residual.
    """
    require_several_classes(train)
    rows = training_features(train)
    weight, bias = linear_head(head, train)
    residual = fit_residual(rows, -torch.linalg.pinv(weight) @ bias)
    alpha = _alpha(train, residual)

    def score(outputs: Outputs) -> Floats:
        energy = row_by_row(lambda z: -z.logsumexp(dim=1), outputs.logits)
        return alpha * row_by_row(residual.norm, outputs.features) + energy

    return fitted("vim", train, score)


def principal_dimension(width: int) -> int:
    """d for D features.

    Example:
        >>> principal_dimension(64), principal_dimension(512), principal_dimension(2048)
        (32, 256, 1000)
    """
    if width >= 2048:
        return 1000
    return 256 if width >= 512 else width // 2


def fit_residual(rows: Rows, origin: Tensor) -> Residual:
    """The directions of least variance around the origin.

    Raises:
        NotApplicable: If there are not more images than principal directions.
    """
    d = principal_dimension(rows.shape[1])
    if len(rows) <= d:
        raise NotApplicable(
            f"It needs more training images than the {d} principal directions it takes out; found {len(rows)}."
        )
    moment = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for chunk in chunks(rows):
        moment.addmm_((chunk - origin).T, chunk - origin)
    vectors = torch.linalg.eigh(moment / len(rows)).eigenvectors  # ascending
    return Residual(origin, vectors[:, : rows.shape[1] - d])


def _alpha(train: Outputs, residual: Residual) -> float:
    require_finite(train.logits, "training logits", train.ids)
    length = row_by_row(lambda f: torch.linalg.vector_norm(f - residual.origin, dim=1), train.features).mean()
    norm = row_by_row(residual.norm, train.features).mean()
    largest = float(as_float64(train.logits).amax(dim=1).mean())
    if norm <= SMALLEST_RESIDUAL * length:
        raise NotApplicable("The principal directions hold all of the training features; no residual is left.")
    if largest <= 0:
        raise NotApplicable(f"The largest logit of training images is {largest:.2g} on average; it must be above 0.")
    return float(largest / norm)
