"""Transfer learning with evidence: fine-tune, probe and compare image classifiers, and see their limits."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.api import compare, curve, finetune, labels, limits, probe, rank, scratch, serve, tune
    from transferkit.api.learning_rate import lr_find
    from transferkit.api.several_runs import folds, soup
    from transferkit.api.trained_run import TrainedRun
    from transferkit.api.transfer_classifier import TransferClassifier
    from transferkit.data.images import Images, Splits
    from transferkit.deploy.benchmark import benchmark
    from transferkit.deploy.export import export
    from transferkit.deploy.export.mask_rcnn import mask_rcnn
    from transferkit.deploy.prediction import load
    from transferkit.deploy.prediction_table import PredictionTable
    from transferkit.features.extractor import FeatureExtractor
    from transferkit.metrics.history import History
    from transferkit.metrics.outputs import Outputs
    from transferkit.metrics.results import Evaluation
    from transferkit.models.classifier import Classifier
    from transferkit.models.stored_model import InputSpec
    from transferkit.recipe import Recipe
    from transferkit.runs.label_check import LabelCheck
    from transferkit.runs.run_directory import Run
    from transferkit.runtime.errors import TransferkitError
    from transferkit.studies.compare.results import Comparison, LabelCurve
    from transferkit.studies.folds.cross_validation import CrossValidation
    from transferkit.studies.limits.comparison_results import LimitsComparison
    from transferkit.studies.limits.report import LimitsReport
    from transferkit.studies.lr_find.rate_range import RateRange
    from transferkit.studies.rank.results import Ranking
    from transferkit.studies.tune.results import Tuning
    from transferkit.training.resolved import ResolvedTraining

__version__ = "0.1.0"

_PLACES = {
    "Classifier": "models.classifier",
    "Comparison": "studies.compare.results",
    "CrossValidation": "studies.folds.cross_validation",
    "Evaluation": "metrics.results",
    "FeatureExtractor": "features.extractor",
    "History": "metrics.history",
    "Images": "data.images",
    "InputSpec": "models.stored_model",
    "LabelCheck": "runs.label_check",
    "LabelCurve": "studies.compare.results",
    "LimitsComparison": "studies.limits.comparison_results",
    "LimitsReport": "studies.limits.report",
    "Outputs": "metrics.outputs",
    "PredictionTable": "deploy.prediction_table",
    "RateRange": "studies.lr_find.rate_range",
    "Ranking": "studies.rank.results",
    "Recipe": "recipe",
    "ResolvedTraining": "training.resolved",
    "Run": "runs.run_directory",
    "Splits": "data.images",
    "TrainedRun": "api.trained_run",
    "TransferClassifier": "api.transfer_classifier",
    "TransferkitError": "runtime.errors",
    "Tuning": "studies.tune.results",
    "benchmark": "deploy.benchmark",
    "compare": "api",
    "curve": "api",
    "export": "deploy.export",
    "finetune": "api",
    "folds": "api.several_runs",
    "labels": "api",
    "limits": "api",
    "load": "deploy.prediction",
    "lr_find": "api.learning_rate",
    "mask_rcnn": "deploy.export.mask_rcnn",
    "probe": "api",
    "rank": "api",
    "scratch": "api",
    "serve": "api",
    "soup": "api.several_runs",
    "tune": "api",
}

__all__ = [
    "Classifier",
    "Comparison",
    "CrossValidation",
    "Evaluation",
    "FeatureExtractor",
    "History",
    "Images",
    "InputSpec",
    "LabelCheck",
    "LabelCurve",
    "LimitsComparison",
    "LimitsReport",
    "Outputs",
    "PredictionTable",
    "Ranking",
    "RateRange",
    "Recipe",
    "ResolvedTraining",
    "Run",
    "Splits",
    "TrainedRun",
    "TransferClassifier",
    "TransferkitError",
    "Tuning",
    "benchmark",
    "compare",
    "curve",
    "export",
    "finetune",
    "folds",
    "labels",
    "limits",
    "load",
    "lr_find",
    "mask_rcnn",
    "probe",
    "rank",
    "scratch",
    "serve",
    "soup",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import transferkit` itself is instant."""
    if name in _PLACES:
        return getattr(import_module(f"transferkit.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'transferkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
