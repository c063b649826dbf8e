"""Refuses scores that are not one finite number per image."""

from __future__ import annotations

import numpy as np

from transferkit.runtime.array_types import Floats
from transferkit.runtime.errors import TransferkitError


def finite_scores(scores: Floats, what: str) -> Floats:
    """(N,) float64."""
    checked: Floats = np.asarray(scores, dtype=np.float64)
    if checked.ndim != 1:
        raise TransferkitError(f"The {what} scores have shape {checked.shape}; expected one number per image, (N,).")
    bad = int((~np.isfinite(checked)).sum())
    if bad:
        raise TransferkitError(
            f"{bad} of {len(checked)} {what} scores are NaN or infinite; a score must be a number for every image."
        )
    return checked
