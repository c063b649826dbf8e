"""Training by gradient steps: parameter groups, schedules, moving averages, and epochs that can be resumed."""

from transferkit.training.groups import ParameterGroup, parameter_groups, waking_epochs
from transferkit.training.keeping import require_choice
from transferkit.training.loop import train
from transferkit.training.resolved import ResolvedTraining, resolved_training

__all__ = [
    "ParameterGroup",
    "ResolvedTraining",
    "parameter_groups",
    "require_choice",
    "resolved_training",
    "train",
    "waking_epochs",
]
