"""Pure functions of outputs: how right, how sure, and how well strangers are told apart.

Where a number is not defined, a single metric of no images at all is NaN, and an entry of a table (the recall of a
class without test images, the precision of a class never predicted) is None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.runtime.lazy_names import lazily

if TYPE_CHECKING:
    from transferkit.metrics.calibration import classwise_ece, ece, ece_equal_mass, reliability
    from transferkit.metrics.classification import (
        accuracy,
        accuracy_with_interval,
        confusion_matrix,
        macro_recall,
        per_class,
    )
    from transferkit.metrics.conformal import aps_sets, calibrate_aps, calibrate_lac, lac_sets, set_quality
    from transferkit.metrics.open_set import largest_safe_prevalence, open_world
    from transferkit.metrics.openood import aupr_out, fpr95_openood
    from transferkit.metrics.outputs import Outputs
    from transferkit.metrics.probabilities import brier, nll
    from transferkit.metrics.roc import auroc, auroc_difference
    from transferkit.metrics.selective import augrc, aurc, guaranteed_point, risk_coverage
    from transferkit.metrics.temperature import fit_temperature, with_temperature
    from transferkit.metrics.thresholds import fpr95_id, threshold_at

_PLACES = {
    "Outputs": "outputs",
    "accuracy": "classification",
    "accuracy_with_interval": "classification",
    "aps_sets": "conformal",
    "augrc": "selective",
    "aupr_out": "openood",
    "aurc": "selective",
    "auroc": "roc",
    "auroc_difference": "roc",
    "brier": "probabilities",
    "calibrate_aps": "conformal",
    "calibrate_lac": "conformal",
    "classwise_ece": "calibration",
    "confusion_matrix": "classification",
    "ece": "calibration",
    "ece_equal_mass": "calibration",
    "fit_temperature": "temperature",
    "fpr95_id": "thresholds",
    "fpr95_openood": "openood",
    "guaranteed_point": "selective",
    "lac_sets": "conformal",
    "largest_safe_prevalence": "open_set",
    "macro_recall": "classification",
    "nll": "probabilities",
    "open_world": "open_set",
    "per_class": "classification",
    "reliability": "calibration",
    "risk_coverage": "selective",
    "set_quality": "conformal",
    "threshold_at": "thresholds",
    "with_temperature": "temperature",
}

__all__ = [
    "Outputs",
    "accuracy",
    "accuracy_with_interval",
    "aps_sets",
    "augrc",
    "aupr_out",
    "aurc",
    "auroc",
    "auroc_difference",
    "brier",
    "calibrate_aps",
    "calibrate_lac",
    "classwise_ece",
    "confusion_matrix",
    "ece",
    "ece_equal_mass",
    "fit_temperature",
    "fpr95_id",
    "fpr95_openood",
    "guaranteed_point",
    "lac_sets",
    "largest_safe_prevalence",
    "macro_recall",
    "nll",
    "open_world",
    "per_class",
    "reliability",
    "risk_coverage",
    "set_quality",
    "threshold_at",
    "with_temperature",
]

__getattr__ = lazily(__name__, _PLACES)
