"""Sets of classes away from home: do they still hold the true class as often as val promised?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.metrics import conformal
from transferkit.metrics.conformal import ConformalCalibration
from transferkit.metrics.outputs import Outputs
from transferkit.studies.limits.shares import Share, share_of

ALPHA = 0.1  # share of images whose set may miss the true class, as in `predict`


@dataclass(frozen=True)
class SetsElsewhere:
    """What sets of classes, promised on val, do on other images.

    Attributes:
        coverage: Sets that hold the true class; 90 % of images like those of val.
        mean_size: Classes per set.
    """

    coverage: Share
    mean_size: float


def promise_of(val: Outputs) -> ConformalCalibration | None:
    """How sets are made; None where val has too few images to promise anything, or there is one class."""
    if val.logits.shape[1] < 2:
        return None
    calibration = conformal.calibrate_lac(val, ALPHA)
    return None if calibration.reason else calibration


def sets_elsewhere(promise: ConformalCalibration | None, outputs: Outputs) -> SetsElsewhere | None:
    """Coverage and size of the sets of these images; None where nothing was promised."""
    if promise is None or not len(outputs):
        return None
    sets = conformal.lac_sets(promise, outputs)  # (N, C)
    covered = sets[np.arange(len(outputs)), outputs.require_labels()]
    return SetsElsewhere(share_of(covered, outputs.groups), float(sets.sum(axis=1).mean()))
