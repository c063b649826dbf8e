"""A detector that somebody adds; its one line stands in `ood.DETECTORS`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transferkit.metrics.outputs import Outputs
from transferkit.models.linear import LinearHead
from transferkit.ood import OodSettings, Score
from transferkit.ood.contract import fitted

IN_WORDS = "how far the mean of all training images is"


def fit(train: Outputs, _val: Outputs | None, _head: LinearHead | None, _settings: OodSettings) -> Score:
    """How far features lie from the mean of all training images."""
    mean = train.features.mean(axis=0)
    return fitted("toy-distance", train, lambda outputs: distances(outputs.features, mean))


def distances(features: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(N,), Euclidean."""
    distance: npt.NDArray[np.float64] = np.linalg.norm(features.astype(np.float64) - mean, axis=1)
    return distance
