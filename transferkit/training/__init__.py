"""The methods (`methods/`), their defaults, training by gradient steps, and what a run costs (before: `estimates/`)."""

from transferkit.training.early_stopping import require_choice, stop_in_words
from transferkit.training.groups import ParameterGroup, parameter_groups, waking_epochs
from transferkit.training.loop import train
from transferkit.training.resolved import ResolvedTraining, resolved_training

__all__ = [
    "ParameterGroup",
    "ResolvedTraining",
    "parameter_groups",
    "require_choice",
    "resolved_training",
    "stop_in_words",
    "train",
    "waking_epochs",
]
