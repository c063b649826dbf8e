"""How good the probabilities are: loss, Brier score and overconfidence."""

from __future__ import annotations

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.runtime.array_types import Floats


def nll(outputs: Outputs) -> float:
    """Mean negative log-probability of the label, in nats; 0 is best, log(C) is a uniform guess."""
    return mean_or_nan(losses_of(outputs))


def brier(outputs: Outputs) -> float:
    """Mean squared distance of the probabilities to the one-hot label, summed over classes; 0 is best, 2 worst.

    Brier, Monthly Weather Review 78 (1950), eq. 2.
    """
    target = np.eye(len(outputs.class_names))[outputs.require_labels()]
    return mean_or_nan(((np.exp(outputs.log_probabilities) - target) ** 2).sum(axis=1))


def signed_overconfidence(outputs: Outputs) -> float:
    """Mean confidence minus accuracy, in [-1, 1]; above 0 the classifier claims more than it keeps."""
    return mean_or_nan(outputs.confidences - outputs.is_right)


def losses_of(outputs: Outputs) -> Floats:
    losses: Floats = -outputs.log_probabilities[np.arange(len(outputs)), outputs.require_labels()]
    return losses


def mean_or_nan(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
